"""The compositor: initial publication, refresh, modification, removal, expiry (RFC 3903)."""

import itertools

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ubiety.sip.publication import MAX_PER_ENTITY, Publications, Published, Refused

ANN = "ann"


def made() -> Publications[str]:
    numbers = itertools.count(1)
    return Publications(lambda: f"e{next(numbers)}")


def test_a_life() -> None:
    compositor = made()
    assert compositor.publish(ANN, None, 3600, "talking", 0.0) == Published("e1", 3600, 1)
    assert compositor.current(ANN) == ["talking"]
    assert compositor.publish(ANN, "e1", 3600, None, 100.0) == Published("e2", 3600, 1)
    assert compositor.current(ANN) == ["talking"]
    assert compositor.publish(ANN, "e2", None, "idle", 200.0) == Published("e3", 3600, 1)
    assert compositor.current(ANN) == ["idle"]
    assert compositor.deadline() == 3800.0
    assert compositor.publish(ANN, "e3", 0, None, 300.0) == Published("e4", 0, 1)
    assert compositor.current(ANN) == []
    assert len(compositor) == 0 and compositor.deadline() is None


@pytest.mark.parametrize(
    ("if_match", "expires", "value", "refusal"),
    [
        (None, 3600, None, Refused(400)),
        (None, 0, "talking", Refused(400)),
        (None, 10, "talking", Refused(423, 60)),
        ("e1", 10, None, Refused(423, 60)),
        ("e9", 3600, None, Refused(412)),
        ("", 3600, "x", Refused(412)),
    ],
)
def test_refusals(if_match: str | None, expires: int, value: str | None, refusal: Refused) -> None:
    compositor = made()
    compositor.publish(ANN, None, 3600, "talking", 0.0)
    assert compositor.publish(ANN, if_match, expires, value, 1.0) == refusal
    assert compositor.current(ANN) == ["talking"]


def test_an_old_tag_and_somebody_elses() -> None:
    compositor = made()
    compositor.publish(ANN, None, 60, "talking", 0.0)
    assert compositor.publish("bob", "e1", 60, None, 1.0) == Refused(412)
    compositor.publish(ANN, "e1", 60, None, 1.0)
    assert compositor.publish(ANN, "e1", 60, None, 2.0) == Refused(412)
    assert compositor.publish(ANN, "e2", 60, None, 61.5) == Refused(412)  # it is over


def test_expiry() -> None:
    compositor = made()
    compositor.publish(ANN, None, 60, "one", 0.0)
    compositor.publish(ANN, None, 100_000, "two", 0.0)
    assert compositor.expired(59.9) == []
    assert compositor.expired(60.0) == [(ANN, 1)]
    assert compositor.current(ANN) == ["two"]
    assert compositor.deadline() == 86_400.0
    assert compositor.drop(ANN) == [2]
    assert compositor.drop(ANN) == []
    assert len(compositor) == 0


def test_so_many_and_no_more() -> None:
    compositor = made()
    for _ in range(MAX_PER_ENTITY):
        assert isinstance(compositor.publish(ANN, None, 60, "x", 0.0), Published)
    assert compositor.publish(ANN, None, 60, "x", 0.0) == Refused(403)


class Compositor(RuleBasedStateMachine):
    """Against a plain dict of what must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.compositor = made()
        self.live: dict[str, tuple[str, str, float]] = {}
        self.old: list[str] = []

    @rule(entity=st.sampled_from("ab"), value=st.sampled_from("xyz"), expires=st.sampled_from([60, 600]))
    def begin(self, entity: str, value: str, expires: int) -> None:
        outcome = self.compositor.publish(entity, None, expires, value, self.now)
        if isinstance(outcome, Published):
            self.live[outcome.etag] = (entity, value, self.now + expires)

    @rule(data=st.data(), value=st.sampled_from(["x", None]), expires=st.sampled_from([0, 60, 600]))
    def change(self, data: st.DataObject, value: str | None, expires: int) -> None:
        if not self.live:
            return
        etag = data.draw(st.sampled_from(sorted(self.live)))
        entity, old, expires_at = self.live.pop(etag)
        outcome = self.compositor.publish(entity, etag, expires, value, self.now)
        assert isinstance(outcome, Published) == (expires_at > self.now)
        self.old.append(etag)
        if isinstance(outcome, Published) and expires:
            self.live[outcome.etag] = (entity, value or old, self.now + expires)

    @rule(data=st.data())
    def try_an_old_one(self, data: st.DataObject) -> None:
        if self.old:
            etag = data.draw(st.sampled_from(self.old))
            assert self.compositor.publish("a", etag, 60, None, self.now) == Refused(412)

    @rule(seconds=st.integers(0, 300))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.compositor.expired(self.now)
        self.live = {etag: one for etag, one in self.live.items() if one[2] > self.now}

    @invariant()
    def agrees(self) -> None:
        for entity in "ab":
            expected = sorted(
                value for one, value, at in self.live.values() if one == entity and at > self.now
            )
            assert sorted(self.compositor.current(entity)) == expected


TestCompositor = Compositor.TestCase
