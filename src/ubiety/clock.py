"""Time as an argument: the two clocks of a node, and one that tests move by hand."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time of day and the time that passes, both in seconds."""

    def now(self) -> float:
        """Wall clock: seconds since 1970-01-01 UTC. It may jump."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start. It never goes back; deadlines are kept in it."""


class SystemClock:
    """The clock of the operating system."""

    def now(self) -> float:
        """Wall clock: seconds since 1970-01-01 UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since an arbitrary start, never going back."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is moved, for tests."""

    def __init__(self, now: float = 1_700_000_000.0, monotonic: float = 1000.0) -> None:
        self._now = now
        self._monotonic = monotonic

    def now(self) -> float:
        """Wall clock: seconds since 1970-01-01 UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since an arbitrary start, never going back."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Lets `seconds` pass on both clocks. Raises ValueError when negative."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self._now += seconds
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Sets the wall clock forward or back, as an administrator or NTP does."""
        self._now += seconds
