"""Messages on their way to somebody whom another node serves: one lane per recipient, in order."""

from ubiety.routing.homes import Person
from ubiety.routing.verdict import Pending
from ubiety.stanza import Stanza

OVERHEAD_BYTES = 800
"""What a waiting message costs besides its payload, for the bound on memory."""


class Waiting:
    """A message without a verdict."""

    __slots__ = (
        "doubts",
        "is_again",
        "lane",
        "node",
        "pending",
        "promised",
        "sender_id",
        "since",
        "size",
        "stamp",
        "stanza",
        "token",
    )

    def __init__(
        self,
        token: int,
        lane: "Lane",
        stanza: Stanza,
        sender_id: int,
        promised: bool,
        since: float,
        stamp: float,
    ) -> None:
        self.token = token
        self.lane = lane
        self.stanza = stanza
        self.sender_id = sender_id
        self.promised = promised
        self.pending = Pending()
        self.since = since  # monotonic
        self.stamp = stamp
        self.size = len(stanza.payload) + OVERHEAD_BYTES
        self.node = 0  # to which it was sent, 0 while it is held
        self.is_again = False  # somebody may have it already
        self.doubts: list[int] | None = None  # numbers of rows that a broken connection may have written


class Lane:
    """What waits for one recipient, the oldest first.

    All that is sent is at one node. While something is held, newer messages are held behind it. What is held
    goes another way only when everything sent before has its verdict: so order holds whichever way that is.
    """

    __slots__ = (
        "grant",
        "is_locked",
        "is_stalled",
        "items",
        "node",
        "person",
        "sent",
        "stored",
        "telling",
        "told",
        "told_at",
        "turned_away_by",
    )

    def __init__(self, person: Person) -> None:
        self.person = person
        self.items: dict[int, Waiting] = {}
        self.node = 0  # where the sent ones are
        self.sent = 0
        self.is_stalled = False  # new messages are held
        self.is_locked = False  # the database is being asked
        self.turned_away_by = 0  # the node that said last that it is not the home
        self.stored: dict[int, int] = {}  # token -> number of a row that the home was not told of
        self.grant: tuple[int, int] | None = None  # (node, epoch) to number in after those rows
        self.telling = 0  # the question to the home whether it has heard, 0 while none is on its way
        self.told: list[int] = []
        self.told_at = 0.0

    @property
    def held(self) -> bool:
        """Something is not on its way to anybody."""
        return len(self.items) > self.sent

    def is_in_line(self, node: int | None) -> bool:
        """Tell whether what is held may go at once: behind all that was sent, the same way."""
        if not self.sent:
            return True
        if self.node != node or self.stored:
            return False
        states = [bool(waiting.node) for waiting in self.items.values()]
        return all(states[: self.sent]) and not any(waiting.is_again for waiting in self.items.values())

    def is_empty(self) -> bool:
        """There is nothing to remember."""
        return not (self.items or self.stored or self.is_locked)

    def take_back(self, waiting: Waiting, is_again: bool) -> None:
        """Hold a message that was sent."""
        waiting.node = 0
        waiting.is_again = waiting.is_again or is_again
        self.is_stalled = True
        self.sent -= 1
        if not self.sent:
            self.node = 0

    def take_all_back(self) -> None:
        """Hold everything that was sent: whether it arrived nobody will tell."""
        for waiting in self.items.values():
            if waiting.node:
                self.take_back(waiting, is_again=True)
