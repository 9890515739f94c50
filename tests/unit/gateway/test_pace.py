"""Nothing begins more often than it may, in no second, however late the clock is looked at."""

from bisect import bisect_left
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from ubiety.gateway.pace import Pace


class Late:
    """Calls that are made when their time has come, or some time later."""

    def __init__(self, delays: list[float]) -> None:
        self.now = 0.0
        self.delays = delays
        self.calls: list[tuple[float, object]] = []
        self.begun: list[tuple[float, int]] = []
        self.pace = Pace(lambda: self.now, self.call_later, lambda: 10)

    def call_later(self, delay: float, fn: object) -> "Late":
        self.calls.append((self.now + delay, fn))
        return self

    def cancel(self) -> None:
        """Nobody does."""

    def enter(self, number: int) -> None:
        self.pace.enter(lambda: self.begun.append((self.now, number)))

    def run(self) -> None:
        """Make the calls, each late."""
        while self.calls:
            self.calls.sort(key=lambda one: one[0])
            at, fn = self.calls.pop(0)
            self.now = max(self.now, at) + (self.delays.pop() if self.delays else 0.0)
            fn()  # type: ignore[operator]


@given(st.lists(st.floats(0, 3), max_size=60), st.lists(st.floats(0, 2), max_size=60))
def test_no_second_has_more_than_it_may(times: list[float], delays: list[float]) -> None:
    late = Late(delays)
    for number, at in enumerate(sorted(times)):
        late.calls.append((at, partial(late.enter, number)))
    late.run()
    assert [number for _, number in late.begun] == list(range(len(times)))
    begun = [at for at, _ in late.begun]
    for index, at in enumerate(begun):
        assert bisect_left(begun, at + 1.0) - index <= 10


def test_whoever_comes_alone_does_not_wait() -> None:
    late = Late([])
    late.enter(0)
    assert late.begun == [(0.0, 0)] and late.calls == []
