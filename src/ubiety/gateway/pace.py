"""What begins no more than so many times in any second: what is late is not made up for all at once."""

from collections import deque
from collections.abc import Callable
from typing import Final

from ubiety.gateway.deadlines import CallLater

SECOND: Final = 1.02
"""A little more than one: on the way to a peer requests may draw together."""


class Pace:
    """Lets those who `enter` begin in their order, at most `rate` in a second. Times are of `now`."""

    def __init__(self, now: Callable[[], float], call_later: CallLater, rate: Callable[[], int]) -> None:
        self._now = now
        self._call_later = call_later
        self._rate = rate
        self._waiting: deque[Callable[[], None]] = deque()
        self._begun: deque[float] = deque()
        """When those of the last second have begun."""
        self._is_armed = False

    def enter(self, begin: Callable[[], None]) -> None:
        """Call this when its turn has come, perhaps at once."""
        self._waiting.append(begin)
        if not self._is_armed:
            self._go()

    def _go(self) -> None:
        self._is_armed = False
        now, rate = self._now(), self._rate()
        while self._begun and self._begun[0] + SECOND <= now:  # as it is armed for: no turn in vain
            self._begun.popleft()
        while self._waiting and len(self._begun) < rate:
            self._begun.append(now)
            self._waiting.popleft()()
        if self._waiting and not self._is_armed:
            self._is_armed = True
            self._call_later(max(0.0, self._begun[0] + SECOND - now), self._go)
