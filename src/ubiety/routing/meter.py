"""How much is on its way to another node: what bounds the queue between a client and its home elsewhere."""

from collections.abc import Callable
from typing import Protocol

from ubiety.routing.links import Item, Kind, Links

MARK_BYTES = 256 * 1024
"""The other side is asked to confirm what it took after so many bytes."""


class Meter:
    """Counts the bytes sent to one node against those that it has confirmed. Pure.

    While it keeps up, one mark and one confirmation pass for each 256 KiB; ``is_over`` says that it does not.
    """

    __slots__ = ("_marked", "bound", "is_over", "sent", "taken")

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.sent = 0
        self.taken = 0
        self.is_over = False
        self._marked = 0

    def add(self, size: int) -> bool:
        """Count what is sent now. True: send a mark with ``sent`` behind it."""
        self.sent += size
        if self.sent - self.taken > self.bound:
            self.is_over = True
        if self.sent - self._marked < MARK_BYTES:
            return False
        self._marked = self.sent
        return True

    def confirm(self, taken: int) -> bool:
        """Take the other side's confirmation of a mark. True: there is room again after there was none."""
        self.taken = max(self.taken, taken)
        if self.is_over and self.sent - self.taken < self.bound // 2:
            self.is_over = False
            return True
        return False

    def reset(self) -> None:
        """Begin anew: the other side is a new process."""
        self.sent = self.taken = self._marked = 0
        self.is_over = False


class Metered(Protocol):
    """Another node to which bytes are counted."""

    @property
    def meter(self) -> Meter:
        """Counts them."""

    def note_room(self) -> None:
        """There is room again."""


def keep_marks(links: Links, sent: Kind, took: Kind, confirmed: Kind, node: Callable[[int], Metered]) -> None:
    """Answer each mark ``sent`` of another node with ``took``; take what it ``confirmed`` of ours."""

    def answer(node_id: int, item: Item) -> None:
        links.send(node_id, (took, item[1]))

    def take(node_id: int, item: Item) -> None:
        other = node(node_id)
        if other.meter.confirm(item[1]):
            other.note_room()

    links.handle(sent, answer)
    links.handle(confirmed, take)
