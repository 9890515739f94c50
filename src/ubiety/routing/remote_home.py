"""Both ends of a stanza's way between nodes: what the items say, and what a home does with what arrives."""

from typing import Protocol

from ubiety.routing.homes import Person
from ubiety.routing.verdict import Delivered, Refused, Verdict
from ubiety.stanza import Stanza

PROMISED, FIRST = 1, 2
"""Flags of a STANZA: the sender was made a promise; of this recipient nothing else is on its way."""
ROW = Delivered()
"""The verdict about a message that is a row because its sender's home has written it: the row is needed."""
NOT_HOME = "not-home"
"""The verdict of a node that does not serve the recipient."""


def mark_of(node: int, token: int) -> str:
    """Return what stands for the origin id in the row of a message that has none; no client can write it."""
    return f"\x1f{node}:{token}"


def read_mark(text: str) -> tuple[int, int] | None:
    """Return the node and token of a mark; None for an origin id."""
    node, _, token = text[1:].partition(":")
    return (int(node), int(token)) if text[:1] == "\x1f" else None


class RemoteOrigin:
    """Who sent a message that came from another node: as much of a session as delivering asks for."""

    __slots__ = ("address_id", "cursor", "inbound", "smacks")

    def __init__(self, address_id: int, promised: bool) -> None:
        self.address_id = address_id
        self.smacks = True if promised else None
        self.cursor = None  # how far the stream is settled is written by the sender's home
        self.inbound = 0


class Home(Protocol):
    """What this node does for the people whom it serves."""

    def take(self, person: Person, stanza: Stanza, origin: RemoteOrigin) -> Verdict:
        """Deliver a stanza that was routed to this node."""

    def origin_id(self, stanza: Stanza) -> str | None:
        """Return the id that the sender's client gave a message (XEP-0359 §3.2)."""

    async def refusals(self, messages: list[tuple[Person, Stanza]]) -> list[Refused | None]:
        """Return what recipients served elsewhere would refuse, by their policies. Raises StoreError."""

    def go_on_in(self, epoch: int) -> None:
        """Number messages in this epoch from now on, unless the present one is greater."""

    def rows_stored(self, person: Person, numbers: list[int]) -> None:
        """Another node has added rows for a person: deliver them in their turn."""

    def row_superfluous(self, person: Person, number: int) -> None:
        """A row that another node has added is of a message that was here already."""
