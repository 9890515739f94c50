"""What one node has for another and is not acknowledged yet: numbered frames, bounded in bytes.

A frame is what its items became in one turn of the loop, packed; what is longer than a message may be is cut
into several. Presence ("sheddable") is sent once: when a frame has to be sent again, or there is no room, its
presence is taken out and the mark SHED put in, from which the receiver learns that it must look anew.
"""

from collections.abc import Sequence

from ubiety.cluster.packing import pack, unpack
from ubiety.routing.links import Item

DATA = 1
"""The message has a frame."""
SHED = 2
"""Presence was dropped here."""
MORE = 4
"""The frame's items go on in the next one."""

FRAME_BYTES = 512_000
"""A frame and its head stay below this: NATS takes 1 MiB unless told otherwise (design.md §2)."""
_OVERHEAD = 150
"""What the object of a frame costs beside its body."""


class Frame:
    """One numbered piece of what is sent; see DATA, SHED and MORE for its marks."""

    __slots__ = ("body", "is_sent", "marks", "presence", "whole")

    def __init__(self, marks: int, body: bytes, presence: Sequence[int], whole: Item | None) -> None:
        self.marks = marks
        self.body = body
        self.presence = presence
        """Positions of the sheddable items."""
        self.whole = whole
        """The item whose last piece this is, if it had to be cut."""
        self.is_sent = False

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return len(self.body) + _OVERHEAD

    def kept(self) -> list[Item]:
        """The items that end in this frame and may not be lost."""
        if self.whole is not None or self.marks & MORE:
            return [] if self.whole is None else [self.whole]
        shed = set(self.presence)
        return [item for position, item in enumerate(unpack(self.body)) if position not in shed]


class Outbox:
    """The unacknowledged frames, oldest first. Sans-IO."""

    def __init__(self, bound: int, frame_bytes: int = FRAME_BYTES) -> None:
        self.bound = bound
        self.frame_bytes = frame_bytes
        self.bytes = 0
        self.first = 1
        """Number of the oldest frame that is not acknowledged, or of the next one."""
        self.next = 1
        """Number that the next frame will get."""
        self._frames: dict[int, Frame] = {}
        self._is_tight = False

    def __getitem__(self, seq: int) -> Frame:
        return self._frames[seq]

    def add(self, items: list[Item], presence: list[int], sheds: bool) -> list[Item]:
        """Append items; ``sheds``: drop the sheddable ones at once. Returns what cannot be packed."""
        bad: list[Item] = []
        if presence and (sheds or self._is_tight):
            shed = set(presence)
            items = [item for position, item in enumerate(items) if position not in shed]
            presence = []
            self._mark_shed()
        if items:
            try:
                self._append(items, presence)
            except (TypeError, ValueError, OverflowError):
                bad = [item for item in items if not _is_packable(item)]
                for position, item in enumerate(items):
                    if _is_packable(item):
                        self._append([item], [0] if position in presence else [])
        if self.bytes > self.bound:
            self._is_tight = True
            for frame in self._frames.values():
                self.shed(frame)
        return bad

    def acknowledge(self, seq: int) -> int:
        """Forget the frames up to a number; returns the bytes of their bodies that were sent."""
        done = 0
        for number in range(self.first, seq + 1):
            frame = self._frames.pop(number)
            done += len(frame.body)
            self.bytes -= frame.size
        self.first = seq + 1
        if self._is_tight and self.bytes < self.bound // 4 * 3:
            self._is_tight = False
        return done

    def shed(self, frame: Frame) -> None:
        """Take the presence out of a frame."""
        if frame.presence:
            self.bytes -= frame.size
            frame.body = pack(frame.kept())
            frame.presence = ()
            frame.marks |= SHED
            self.bytes += frame.size

    def clear(self) -> list[Item]:
        """Forget everything and begin anew; returns the items that may not be lost, in order."""
        lost = [item for frame in self._frames.values() for item in frame.kept()]
        self._frames.clear()
        self.bytes, self.first, self.next, self._is_tight = 0, 1, 1, False
        return lost

    def _append(self, items: list[Item], presence: list[int]) -> None:
        body = pack(items)
        if len(body) <= self.frame_bytes:
            self._put(DATA, body, presence)
        elif len(items) > 1:
            half = len(items) // 2
            self._append(items[:half], [position for position in presence if position < half])
            self._append(items[half:], [position - half for position in presence if position >= half])
        else:
            size = self.frame_bytes
            last = (len(body) - 1) // size * size
            for start in range(0, last, size):
                self._put(DATA | MORE, body[start : start + size], ())
            self._put(DATA, body[last:], (), items[0])

    def _put(self, marks: int, body: bytes, presence: Sequence[int], whole: Item | None = None) -> None:
        frame = Frame(marks, body, presence, whole)
        self._frames[self.next] = frame
        self.next += 1
        self.bytes += frame.size

    def _mark_shed(self) -> None:
        last = self._frames.get(self.next - 1)
        if last is None or last.is_sent:
            self._put(DATA | SHED, pack([]), ())
        else:
            last.marks |= SHED


def _is_packable(item: Item) -> bool:
    try:
        pack(item)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
