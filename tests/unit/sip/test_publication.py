"""The compositor: initial publication, refresh, modification, removal, expiry (RFC 3903)."""

import itertools

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ubiety.sip.publication import MOST, Publications, Published, Refused, Removed

ANN = "ann"


def made(**limits: int) -> Publications[str]:
    numbers = itertools.count(1)
    return Publications(lambda: f"e{next(numbers)}", **limits)


def test_a_life() -> None:
    compositor = made()
    assert compositor.publish(ANN, None, 3600, True, 0.0) == Published(1, "e1", 3600, True)
    assert compositor.publish(ANN, "e1", 3600, False, 100.0) == Published(1, "e2", 3600, False)
    assert compositor.publish(ANN, "e2", None, True, 200.0) == Published(1, "e3", 3600, True)
    assert compositor.deadline() == 3800.0
    assert compositor.publish(ANN, "e3", 0, False, 300.0) == Removed(1, "e4")
    assert len(compositor) == 0 and compositor.deadline() is None
    assert compositor.expire(10_000.0) == []


@pytest.mark.parametrize(
    ("if_match", "expires", "has_state", "refusal"),
    [
        (None, 3600, False, Refused(400)),
        (None, 0, True, Refused(400)),
        (None, 10, True, Refused(423, 60)),
        ("e1", 10, False, Refused(423, 60)),
        ("e9", 3600, False, Refused(412)),
        ("", 3600, True, Refused(412)),
    ],
)
def test_refusals(if_match: str | None, expires: int, has_state: bool, refusal: Refused) -> None:
    compositor = made()
    compositor.publish(ANN, None, 3600, True, 0.0)
    assert compositor.publish(ANN, if_match, expires, has_state, 1.0) == refusal
    assert len(compositor) == 1


def test_an_old_tag_and_somebody_elses() -> None:
    compositor = made()
    compositor.publish(ANN, None, 60, True, 0.0)
    assert compositor.publish("bob", "e1", 60, False, 1.0) == Refused(412)
    compositor.publish(ANN, "e1", 60, False, 1.0)
    assert compositor.publish(ANN, "e1", 60, False, 2.0) == Refused(412)
    assert compositor.publish(ANN, "e2", 60, False, 61.5) == Refused(412)  # it is over
    assert compositor.deadline() == 0.0  # and nobody has been told yet
    assert compositor.expire(61.5) == [(ANN, 1)]


def test_expiry() -> None:
    compositor = made(max_expires=86_400)
    compositor.publish(ANN, None, 60, True, 0.0)
    compositor.publish(ANN, None, 100_000, True, 0.0)
    assert compositor.expire(59.9) == []
    assert compositor.expire(60.0) == [(ANN, 1)]
    assert compositor.deadline() == 86_400.0
    compositor.forget(lambda entity, id: (entity, id) == (ANN, 2))
    assert len(compositor) == 0
    assert compositor.expire(100_000.0) == []


def test_so_many_and_no_more() -> None:
    compositor = made()
    for _ in range(MOST):
        assert isinstance(compositor.publish(ANN, None, 60, True, 0.0), Published)
    assert compositor.publish(ANN, None, 60, True, 0.0) == Refused(503)
    assert isinstance(compositor.publish("bob", None, 60, True, 0.0), Published)
    assert isinstance(compositor.publish(ANN, None, 60, True, 60.0), Published)


class Compositor(RuleBasedStateMachine):
    """Against a plain dict of what must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.compositor = made()
        self.live: dict[str, tuple[str, int, float]] = {}
        self.old: list[str] = []
        self.over: list[tuple[str, int]] = []

    @rule(entity=st.sampled_from("ab"), expires=st.sampled_from([60, 600]))
    def begin(self, entity: str, expires: int) -> None:
        self.lapse()
        outcome = self.compositor.publish(entity, None, expires, True, self.now)
        if isinstance(outcome, Published):
            self.live[outcome.etag] = (entity, outcome.id, self.now + expires)

    @rule(data=st.data(), has_state=st.booleans(), expires=st.sampled_from([0, 60, 600]))
    def change(self, data: st.DataObject, has_state: bool, expires: int) -> None:
        self.lapse()
        if not self.live:
            return
        etag = data.draw(st.sampled_from(sorted(self.live)))
        entity, id, _ = self.live.pop(etag)
        outcome = self.compositor.publish(entity, etag, expires, has_state, self.now)
        self.old.append(etag)
        if expires:
            assert isinstance(outcome, Published) and outcome.id == id
            self.live[outcome.etag] = (entity, id, self.now + expires)
        else:
            assert isinstance(outcome, Removed) and outcome.id == id

    @rule(data=st.data())
    def try_an_old_one(self, data: st.DataObject) -> None:
        if self.old:
            etag = data.draw(st.sampled_from(self.old))
            assert self.compositor.publish("a", etag, 60, False, self.now) == Refused(412)

    @rule(seconds=st.integers(0, 300))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        self.lapse()
        assert sorted(self.compositor.expire(self.now)) == sorted(self.over)
        self.over.clear()

    def lapse(self) -> None:
        """Count out those whose time is over."""
        for etag in [etag for etag, one in self.live.items() if one[2] <= self.now]:
            entity, id, _ = self.live.pop(etag)
            self.old.append(etag)
            self.over.append((entity, id))

    @invariant()
    def has_a_deadline(self) -> None:
        deadline = self.compositor.deadline()
        first = min([one[2] for one in self.live.values()], default=None)
        assert deadline is not None or (first is None and not self.over)
        assert deadline is None or first is None or deadline <= first


TestCompositor = Compositor.TestCase
