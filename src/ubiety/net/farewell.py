"""Ending many streams at a pace: clients that are sent away all at once come back all at once."""

import asyncio
from collections import deque
from collections.abc import Callable

from ubiety.settings import Setting

CLOSE_RATE = Setting(
    "c2s.close_rate",
    int,
    1000,
    "clients per second",
    "Streams closed per second when the home of their clients has become another node.",
    minimum=1,
    maximum=100_000,
)
STEP_SECONDS = 0.05


class Farewells:
    """Calls what was added, in order, so many a second. ``rate`` is asked at each step."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rate: Callable[[], float]) -> None:
        self._loop = loop
        self._rate = rate
        self._queue: deque[Callable[[], None]] = deque()
        self._allowed = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, close: Callable[[], None]) -> None:
        """Have a stream closed when it is its turn."""
        self._queue.append(close)
        if self._timer is None:
            self._allowed = 0.0
            self._timer = self._loop.call_later(STEP_SECONDS, self._step)

    def _step(self) -> None:
        self._timer = self._loop.call_later(STEP_SECONDS, self._step) if self._queue else None
        self._allowed += self._rate() * STEP_SECONDS
        while self._queue and self._allowed >= 1:
            self._allowed -= 1
            self._queue.popleft()()

    def stop(self) -> None:
        """Call nothing any more."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
