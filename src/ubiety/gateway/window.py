"""A bound on what is under way to one place: the rest waits its turn, in order.

Pure. Without it, what thousands of people change at once would go out in one piece, and a connection on which
too much is unsent counts as one whose peer does not read.
"""

from collections import deque
from collections.abc import Callable, Hashable

Go = Callable[[], bool]
"""Begins; False: there was nothing to begin, so that nothing will `leave`."""


class Window:
    """At most `size` are under way to a place at a time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._under_way: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, deque[Go]] = {}

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def under_way(self) -> int:
        """How many have begun and not left."""
        return sum(self._under_way.values())

    def enter(self, place: Hashable, go: Go) -> None:
        """Have `go` called: now, or when others on the way to this place have left."""
        number = self._under_way.get(place, 0)
        if number >= self._size:
            self._waiting.setdefault(place, deque()).append(go)
            return
        self._under_way[place] = number + 1
        if not go():
            self.leave(place)

    def leave(self, place: Hashable) -> None:
        """Note that one has arrived, or never will: the next one goes."""
        while (queue := self._waiting.get(place)) is not None:
            go = queue.popleft()
            if not queue:
                del self._waiting[place]
            if go():
                return
        self._under_way[place] -= 1
        if not self._under_way[place]:
            del self._under_way[place]
