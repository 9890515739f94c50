"""What must be so before high availability is turned on, and for how long that is asked for."""

from collections.abc import Callable

import pytest

from ubiety.admin import prg
from ubiety.admin.ha import GroupView, NodeView
from ubiety.admin.prg import Seen
from ubiety.admin.problems import Problem
from ubiety.admin.replication import GOOD, NodeState
from ubiety.clock import SystemClock


def view(number: int, **fields: object) -> NodeView:
    about = {"state": "Unknown", "reason": "", "answers": True, "manager_runs": True, "has_database": True}
    return NodeView.model_validate({"id": number, "name": f"node{number}", "release": "1.0"} | about | fields)


def state(number: int, **fields: object) -> NodeState:
    about = {"address": "", "publisher": number == 1, "ping": 1.0, "database": True, "answers": True}
    about |= {"monitor": True, "state": GOOD, "problems": []}
    return NodeState.model_validate({"id": number, "node": f"node{number}"} | about | fields)


def pair(two: NodeView | None = None, database: NodeState | None = None) -> Seen:
    nodes = [view(1), two or view(2)]
    group = GroupView(name="pair", description="", high_availability=False, nodes=nodes)
    return group, [state(1), database or state(2)]


def test_a_pair_that_is_well() -> None:
    prg.check_may_enable(*pair(), False)


@pytest.mark.parametrize(
    ("seen", "words", "may_be_forced"),
    [
        (pair(view(2, answers=False)), "node2 does not answer", False),
        (pair(view(2, manager_runs=False)), "Recovery Manager does not run on node2", False),
        (pair(view(2, critical_down=["Cisco XCP Router"])), "do not run on node2: Cisco XCP Router", True),
        (pair(view(2, release="1.1")), "node1 has 1.0, node2 has 1.1", False),
        (pair(view(2, has_database=False)), "node2 does not reach the database", False),
        (pair(database=state(2, database=False)), "node2 does not reach the database", False),
        (
            pair(database=state(2, problems=["replication: the replica is 90 s behind"])),
            "as node2 sees it: replication: the replica is 90 s behind",
            True,
        ),
        (pair(database=state(2, monitor=False)), "Data Monitor does not run on node2", True),
    ],
)
def test_what_is_in_the_way(seen: Seen, words: str, may_be_forced: bool) -> None:
    with pytest.raises(Problem, match=words) as raised:
        prg.check_may_enable(*seen, False)
    assert raised.value.cure
    if may_be_forced:
        prg.check_may_enable(*seen, True)
    else:
        with pytest.raises(Problem, match=words):
            prg.check_may_enable(*seen, True)


class Answers:
    """Answers one after the other; the last one for ever."""

    def __init__(self, *answers: Seen) -> None:
        self.left = list(answers)
        self.asked = 0

    async def see(self) -> Seen:
        self.asked += 1
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


LATE: dict[str, Callable[[], Seen]] = {
    "lease": lambda: pair(view(2, has_database=False)),
    "ping": lambda: pair(database=state(2, database=False, ping=None)),
    "look": lambda: pair(database=state(2, problems=["database: no answer for 3 s"])),
    "start": lambda: pair(view(2, answers=False)),
}


@pytest.mark.parametrize("late", LATE)
async def test_one_late_answer_is_no_fault(late: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prg, "LOOK_SECONDS", 0.0)
    answers = Answers(LATE[late](), pair())
    await prg.until_ready(answers.see, SystemClock(), False)
    assert answers.asked == 2


async def test_what_stays_so_is_told_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prg, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(prg, "PATIENCE_SECONDS", 0.1)
    answers = Answers(LATE["lease"]())
    with pytest.raises(Problem, match="node2 does not reach the database"):
        await prg.until_ready(answers.see, SystemClock(), False)
    assert answers.asked > 2


async def test_what_does_not_pass_by_itself_is_told_at_once() -> None:
    answers = Answers(pair(view(2, manager_runs=False)))
    with pytest.raises(Problem, match="Recovery Manager"):
        await prg.until_ready(answers.see, SystemClock(), False)
    assert answers.asked == 1
