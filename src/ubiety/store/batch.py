"""What the ledger is asked to write, and one batch of it: plain values, no I/O."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from ubiety.store.errors import StoreError

#: What a queued thing costs besides its bytes, for the bound on memory.
OVERHEAD_BYTES = 300

IN, OUT = 0, 1


class StreamCursor(Protocol):
    """The sender's stream as the ledger sees it; read in the loop only."""

    @property
    def smid(self) -> str:
        """The stream management id, "" when the stream has none."""

    @property
    def user_id(self) -> int:
        """Whose stream it is."""

    def h_with(self, seqs: Iterable[int]) -> int:
        """Return what ``h`` would be if these stanzas were settled too."""


class Fence(Protocol):
    """What this node may write for: the sets that it serves (design.md §1, "Fencing")."""

    def held(self) -> Sequence[tuple[int, int]]:
        """Return (set, epoch) of all that this node believes to serve; in any thread."""

    def covers(self, user_id: int) -> bool:
        """Tell whether a person is served here; in the loop."""


class State(IntEnum):
    """Where an entry is on its way to the disk."""

    NEW = 0
    QUEUED = 1
    HANDED_OVER = 2
    SETTLED = 3
    CANCELLED = 4


@dataclass(slots=True, eq=False)
class Entry:
    """A message to one person that must not be lost: one row in ``messages`` and one in ``deliveries``.

    To somebody outside: one row in ``outgoing_messages``, which is the sender's; ``recipient_id`` is the
    sender's user id then.
    """

    number: int
    recipient_id: int
    stamp: float
    stanza: bytes
    on_settled: "Callable[[Entry, StoreError | None], None]"
    sender_id: int | None = None
    origin_id: str | None = None
    stream: StreamCursor | None = None
    seq: int = 0
    #: The bare address outside that it is for; "" for one of our people.
    outside: str = ""
    state: State = State.NEW
    #: A batch with it was sent and the answer was lost: the row may exist already.
    is_uncertain: bool = False

    @property
    def size(self) -> int:
        """Bytes that it holds while it waits."""
        return len(self.stanza) + OVERHEAD_BYTES


@dataclass(slots=True, eq=False)
class ArchiveRow:
    """A message in one person's history; its body is stored once for all who share ``message_id``.

    ``peer_id`` is the address of the other side; when it is None ``peer``, a bare JID, is interned.
    """

    owner_id: int
    number: int
    message_id: int
    direction: int
    stamp: float
    stanza: bytes
    peer_id: int | None = None
    peer: str = ""
    peer_resource: str = ""
    sender_id: int | None = None
    recipient_id: int | None = None
    origin_id: str | None = None

    @property
    def size(self) -> int:
        """Bytes that it holds while it waits."""
        return len(self.stanza) + OVERHEAD_BYTES


@dataclass(slots=True, frozen=True)
class Forget:
    """A delivered message's row in ``deliveries``, or ``outgoing_messages``, is to go."""

    user_id: int
    number: int
    is_outgoing: bool = False


@dataclass(slots=True, frozen=True)
class StreamRow:
    """How far a stream's stanzas are settled; ``h`` None: the stream has ended, its row is to go."""

    smid: str
    user_id: int
    h: int | None


Item = Entry | ArchiveRow | Forget | StreamRow


@dataclass(slots=True)
class Batch:
    """What is written in one transaction, in this order."""

    entries: list[Entry] = field(default_factory=list)
    archive: list[ArchiveRow] = field(default_factory=list)
    forgets: list[Forget] = field(default_factory=list)
    streams: list[StreamRow] = field(default_factory=list)
    #: How far the entries' streams are settled once this is committed; the same transaction, never kept.
    cursors: list[StreamRow] = field(default_factory=list)
    #: The sets, with their epochs, that must still be ours when it is written; empty: it is not checked.
    fence: Sequence[tuple[int, int]] = ()

    def __len__(self) -> int:
        return len(self.entries) + len(self.archive) + len(self.forgets) + len(self.streams)

    def items(self) -> list[Item]:
        """Return everything in the order of writing."""
        return [*self.entries, *self.archive, *self.forgets, *self.streams]

    def split(self) -> "tuple[Batch, Batch]":
        """Return its two halves, to find the one row that spoils it.

        What is refused is settled too, so the streams' counts hold for the second half as they are.
        """
        items = self.items()
        middle = len(items) // 2
        first, second = collect(items[:middle]), collect(items[middle:])
        second.cursors = self.cursors
        first.fence = second.fence = self.fence
        return first, second


def collect(items: Iterable[Item]) -> Batch:
    """Make a batch of loose items."""
    batch = Batch()
    for item in items:
        if isinstance(item, Entry):
            batch.entries.append(item)
        elif isinstance(item, ArchiveRow):
            batch.archive.append(item)
        elif isinstance(item, Forget):
            batch.forgets.append(item)
        else:
            batch.streams.append(item)
    return batch


@dataclass(slots=True)
class Outcome:
    """What became of a batch. What is neither ``unwritten`` nor ``refused`` is on disk."""

    error: StoreError | None = None  # why the writing stopped
    unwritten: list[Item] = field(default_factory=list)
    refused: list[tuple[Item, StoreError]] = field(default_factory=list)
