"""One timer for many deadlines: each is called once, at its time, and none is left."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from ubiety.gateway.deadlines import COMPACT_AT, Deadlines


class Loop:
    """Time that a test moves, and calls that are made when it comes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[Scheduled] = []

    def call_later(self, delay: float, fn: Callable[[], None]) -> "Scheduled":
        call = Scheduled(self, self.now + delay, fn)
        self.calls.append(call)
        return call

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            due = [call for call in self.calls if call.at <= end]
            if not due:
                break
            call = min(due, key=lambda one: one.at)
            self.calls.remove(call)
            self.now = max(self.now, call.at)
            call.fn()
        self.now = end


class Scheduled:
    """One call."""

    def __init__(self, loop: Loop, at: float, fn: Callable[[], None]) -> None:
        self.loop, self.at, self.fn = loop, at, fn

    def cancel(self) -> None:
        if self in self.loop.calls:
            self.loop.calls.remove(self)


def test_each_at_its_time() -> None:
    loop, called = Loop(), list[tuple[str, float]]()
    deadlines: Deadlines[str] = Deadlines(
        lambda: loop.now, loop.call_later, lambda k: called.append((k, loop.now))
    )
    deadlines.set("b", 20.0)
    deadlines.set("a", 10.0)
    deadlines.set("c", 30.0)
    deadlines.set("b", 5.0)
    deadlines.set("c", None)
    assert len(loop.calls) == 1
    loop.advance(100)
    assert called == [("b", 5.0), ("a", 10.0)]
    assert loop.calls == [] and len(deadlines) == 0


def test_one_that_is_set_anew_while_others_are_called() -> None:
    loop, called = Loop(), list[str]()

    def due(key: str) -> None:
        called.append(key)
        if key == "a":
            deadlines.set("b", 50.0)

    deadlines: Deadlines[str] = Deadlines(lambda: loop.now, loop.call_later, due)
    deadlines.set("a", 10.0)
    deadlines.set("b", 10.0)
    loop.advance(40)
    assert called == ["a"]
    loop.advance(40)
    assert called == ["a", "b"]


def test_one_that_fails_stops_nobody_else() -> None:
    loop, called = Loop(), list[str]()

    def due(key: str) -> None:
        called.append(key)
        if key == "a":
            raise ValueError

    deadlines: Deadlines[str] = Deadlines(lambda: loop.now, loop.call_later, due)
    deadlines.set("a", 1.0)
    deadlines.set("b", 2.0)
    try:
        loop.advance(1.5)
    except ValueError:
        loop.now = 1.5
    loop.advance(5)
    assert called == ["a", "b"]


def test_what_is_set_again_and_again_takes_no_memory() -> None:
    loop = Loop()
    deadlines: Deadlines[int] = Deadlines(lambda: loop.now, loop.call_later, lambda key: None)
    for number in range(10 * COMPACT_AT):
        deadlines.set(number % 3, 1000.0 + number)
    assert len(deadlines._heap) <= 2 * COMPACT_AT


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.floats(0, 100), st.floats(0, 20)), max_size=40))
def test_nothing_is_missed(steps: list[tuple[int, float | None, float]]) -> None:
    loop, wanted = Loop(), dict[int, float]()

    def due(key: int) -> None:
        assert wanted.pop(key) <= loop.now

    deadlines: Deadlines[int] = Deadlines(lambda: loop.now, loop.call_later, due)
    for key, delay, pause in steps:
        at = None if delay is None else loop.now + delay
        deadlines.set(key, at)
        wanted.pop(key, None)
        if at is not None:
            wanted[key] = at
        loop.advance(pause)
        assert all(at > loop.now for at in wanted.values())
        assert len(deadlines) == len(wanted)
        assert len(loop.calls) == (1 if wanted else 0)
