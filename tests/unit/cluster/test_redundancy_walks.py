"""Random walks of a pair: never is a set served twice, and what is mended can be brought back to Normal."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.cluster.pair import CRITICAL, ONE, TWO, Pair, running
from ubiety.cluster.states import Limits, Reason, Request, State

NODES = st.sampled_from([ONE, TWO])
PAUSES = st.sampled_from([0.1, 0.3, 0.7, 1.5, 3.0, 6.0, 12.0, 35.0])
HAPPENINGS = st.sampled_from(
    [
        "kill",
        "boot",
        "restart",
        "shut_down",
        "hang",
        "wake",
        "cut",
        "join",
        "fail",
        "mend",
        "lose database",
        "find database",
        "moves fail",
        "moves work",
        "cannot start",
        "can start",
        "slow",
        "quick",
        "failover",
        "fallback",
        "recover",
        "break",
        "disable",
        "enable",
    ]
)
ALIKE = (State.NORMAL, Reason.NORMAL, State.NORMAL, Reason.NORMAL)


def happen(pair: Pair, what: str, one: int) -> None:
    """Have something happen to a pair."""
    machine = pair.machines[one]
    match what:
        case "kill":
            pair.kill(one)
        case "boot" if machine.core is None:
            pair.boot(one)
        case "restart" if machine.is_awake:
            pair.restart(one)
        case "shut_down" if machine.is_awake:
            pair.shut_down(one)
        case "hang" | "wake":
            machine.is_hung = what == "hang"
        case "cut" | "join":
            pair.is_linked = what == "join"
        case "fail":
            pair.fail(one)
        case "mend":
            pair.mend(one)
        case "lose database" | "find database":
            machine.has_database = what == "find database"
        case "moves fail" | "moves work":
            machine.moves_fail = what == "moves fail"
        case "cannot start" | "can start":
            machine.unstartable = set(CRITICAL) if what == "cannot start" else set()
        case "slow" | "quick":
            machine.lag = 5.0 if what == "slow" else 0.2
        case "failover" | "fallback" | "recover":
            pair.ask(one, Request(what))
        case "break" if machine.is_awake:
            pair.break_inside(one)
        case "disable" | "enable":
            set_high_availability(pair, what == "enable")
        case _:
            pass


def set_high_availability(pair: Pair, is_enabled: bool) -> None:
    """What the operation does: it turns it off only while both are Normal, and both are told."""
    may_be = pair.states() == ALIKE and all(machine.is_awake for machine in pair.machines.values())
    if is_enabled or may_be:
        pair.enable(is_enabled, ONE, TWO)


def heal(pair: Pair) -> None:
    """Mend every fault."""
    pair.is_linked = True
    for one, machine in pair.machines.items():
        for what in ("wake", "find database", "moves work", "can start", "quick", "boot"):
            happen(pair, what, one)
        if machine.written[0] is not State.IDLE:
            pair.mend(one)  # the services of an idle node stay stopped until fall-back
    pair.enable(True, ONE, TWO)
    pair.run(40)


def bring_back(pair: Pair) -> None:
    """Do what an administrator would: recover what failed, fall back what is failed over."""
    for one, machine in pair.machines.items():
        if machine.written[0] is State.FAILED:
            pair.ask(one, Request.RECOVER)
        elif machine.written[0] in (State.IDLE, State.FAILED_OVER):
            pair.ask(one, Request.FALLBACK)
        pair.run(15)
        if machine.written[0] is not State.IDLE:
            pair.mend(one)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(HAPPENINGS, NODES, PAUSES), max_size=14), st.sampled_from([None, 20.0]))
def test_any_walk_is_brought_back(walk: list[tuple[str, int, float]], fallback_after: float | None) -> None:
    pair = running(Limits(fallback_after=fallback_after, transition=30))
    for what, one, pause in walk:
        happen(pair, what, one)
        pair.run(pause)  # checks with each step that no set is served twice
    heal(pair)
    for _ in range(6):
        if pair.states() == ALIKE:
            break
        bring_back(pair)
    assert pair.states() == ALIKE, pair.seen[-8:]
    pair.run(5)
    assert pair.served() == {ONE: [ONE], TWO: [TWO]}
