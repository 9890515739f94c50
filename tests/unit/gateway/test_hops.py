"""The health of next hops: taken out after a failure, asked, taken back."""

from hypothesis import given
from hypothesis import strategies as st

from ubiety.gateway.hops import FIRST_PAUSE, LONGEST_PAUSE, PROBE_SECONDS, Hops


def test_a_hop_that_fails_is_dead_until_it_answers() -> None:
    told: list[tuple[str, str]] = []
    hops = Hops[str](lambda hop, reason: told.append((hop, reason)))
    assert not hops.is_dead("a") and hops.deadline() is None and hops.due_probes(0.0) == []
    hops.failed("a", "It took no connection.", 10.0)
    assert hops.is_dead("a") and not hops.is_dead("b")
    assert hops.deadline() == 10.0 + FIRST_PAUSE
    assert hops.due_probes(14.9) == []
    assert hops.due_probes(15.0) == ["a"]
    assert hops.due_probes(15.1) == [], "one probe at a time"
    hops.answered("a", 404, 15.2)
    assert not hops.is_dead("a") and hops.deadline() is None
    assert told == [("a", "It took no connection."), ("a", "")]


def test_probes_come_ever_more_seldom() -> None:
    hops = Hops[str]()
    now, pauses = 0.0, []
    hops.failed("a", "no answer", now)
    for _ in range(6):
        due = hops.deadline()
        assert due is not None
        pauses.append(due - now)
        now = due
        assert hops.due_probes(now) == ["a"]
        hops.failed("a", "no answer", now)
    assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    health = hops.dead()["a"]
    assert (health.since, health.failures, health.reason) == (0.0, 7, "no answer")


def test_503_takes_a_hop_out_for_as_long_as_it_says() -> None:
    hops = Hops[str]()
    hops.answered("a", 503, 0.0, retry_after=120.0)
    assert hops.is_dead("a") and hops.deadline() == 120.0
    hops.answered("a", 503, 1.0)
    assert hops.deadline() == 120.0, "requests that were on their way do not move the probe"
    hops.answered("b", 503, 0.0, retry_after=1e9)
    assert hops.dead()["b"].probe_at == 600.0
    for status in (200, 401, 404, 405, 486, 500, 603):
        hops.failed("c", "time-out", 0.0)
        hops.answered("c", status, 1.0)
        assert not hops.is_dead("c"), "whoever answers is there"


def test_a_probe_of_whose_outcome_nobody_told_is_repeated() -> None:
    hops = Hops[str]()
    hops.failed("a", "", 0.0)
    assert hops.due_probes(5.0) == ["a"]
    assert hops.deadline() == 5.0 + PROBE_SECONDS
    assert hops.due_probes(5.0 + PROBE_SECONDS) == ["a"]


def test_hops_without_routes_are_forgotten() -> None:
    watched = {"a", "b"}
    hops = Hops[str](is_watched=watched.__contains__)
    hops.failed("a", "", 0.0)
    hops.failed("b", "", 0.0)
    hops.failed("c", "only a dialog leads there", 0.0)
    assert list(hops.dead()) == ["a", "b"]
    watched.remove("a")
    hops.tidy()
    assert list(hops.dead()) == ["b"]


EVENTS = st.lists(
    st.tuples(st.sampled_from("fap"), st.sampled_from("xyz"), st.floats(0.0, 100.0)), max_size=60
)


@given(EVENTS)
def test_whoever_is_dead_is_probed_again(events: list[tuple[str, str, float]]) -> None:
    hops = Hops[str]()
    now = 0.0
    for kind, hop, passed in events:
        now += passed
        if kind == "f":
            hops.failed(hop, "", now)
        elif kind == "a":
            hops.answered(hop, 200, now)
        else:
            assert set(hops.due_probes(now)) <= set(hops.dead())
        for health in hops.dead().values():
            assert health.probe_at <= now + LONGEST_PAUSE
        assert (hops.deadline() is None) == (not hops.dead())
