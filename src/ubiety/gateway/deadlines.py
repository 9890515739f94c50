"""One timer for many things that each have a next deadline."""

from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from typing import Any, Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)

COMPACT_AT = 1024


class Handle(Protocol):
    """A call that is to be made later."""

    def cancel(self) -> None:
        """Do not make it."""


CallLater = Callable[[float, Callable[[], None]], Handle]
"""Makes a call after so many seconds, like the event loop's."""


class Deadlines(Generic[K]):
    """Calls `due` with each key once its time has come. Times are of `now`."""

    def __init__(self, now: Callable[[], float], call_later: CallLater, due: Callable[[K], Any]) -> None:
        self._now = now
        self._call_later = call_later
        self._due = due
        self._times: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []  # may hold times that hold no more
        self._count = 0  # keys need not be comparable
        self._handle: Handle | None = None
        self._armed_for = 0.0

    def __len__(self) -> int:
        return len(self._times)

    def set(self, key: K, at: float | None) -> None:
        """Have `due` called with this key at that time and no other; None: never."""
        if at is None:
            self._times.pop(key, None)
            if not self._times:
                self._clear()
            return
        if self._times.get(key) == at:
            return
        self._times[key] = at
        self._count += 1
        heappush(self._heap, (at, self._count, key))
        if len(self._heap) > COMPACT_AT and len(self._heap) > 2 * len(self._times):
            self._compact()
        self._arm()

    def _clear(self) -> None:
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _compact(self) -> None:
        self._heap = [(at, count, key) for at, count, key in self._heap if self._times.get(key) == at]
        heapify(self._heap)

    def _arm(self) -> None:
        while self._heap and self._times.get(self._heap[0][2]) != self._heap[0][0]:
            heappop(self._heap)
        if not self._heap:
            return
        at = self._heap[0][0]
        if self._handle is not None:
            if self._armed_for <= at:
                return
            self._handle.cancel()
        self._armed_for = at
        self._handle = self._call_later(max(0.0, at - self._now()), self._fire)

    def _fire(self) -> None:
        self._handle = None
        now = self._now()
        ready = []
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heappop(self._heap)
            if self._times.get(key) == at:
                del self._times[key]
                ready.append(key)
        try:
            for key in ready:
                if key not in self._times:  # else it was set anew by one before it
                    self._due(key)
        finally:
            self._arm()
