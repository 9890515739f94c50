"""The people whom other nodes serve, as those of this node see them: what availability asks for.

``remote_presence.RemotePresence`` does it; where there is but one node ``Context.neighbours`` is None.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ubiety.jid import Jid
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Session
from ubiety.store.roster import Item
from ubiety.users.actor import User


@dataclass(frozen=True, slots=True)
class Change:
    """What was written about one contact of a person, to be followed by the person's home."""

    contact_id: int
    subscription: int
    """``NONE``, ``TO``, ``FROM`` or ``BOTH``."""
    version: int
    """Of the contact list, 0 when the change does not show in it."""
    item: Item | None
    """The row as it is shown now; None when that did not change."""
    waits: bool
    """A request of the contact waits for an answer."""
    deliver: Sequence[bytes]
    """Stanzas for the person's clients."""


class Neighbours(Protocol):
    """The way to the people whom other nodes serve. Nothing here waits."""

    def person(self, address_id: int) -> Person | None:
        """Return the person with this address if another node serves them."""

    def is_elsewhere(self, person: Person) -> bool:
        """Tell whether another node serves a person, or nobody at the moment."""

    def show(self, user: User, sender: Jid, is_available: bool, tail: bytes) -> None:
        """Show presence of one of ``user``'s sessions to all who may see it at other nodes."""

    def show_to(self, user: User, address_id: int, *, available: bool = True) -> None:
        """Show ``user``'s sessions to one watcher at another node, or make them disappear there."""

    def look_around(self, user: User, session: Session) -> None:
        """Have a new session shown whom its person watches at other nodes."""

    def look_at(self, user: User, address_id: int) -> None:
        """Have all sessions of ``user`` shown one person at another node."""

    def hide(self, user: User, address_id: int) -> None:
        """Make one person at another node disappear from all sessions of ``user``."""

    def note_look(self, user: User, to: Jid) -> None:
        """Remember that ``user`` looks at somebody at another node, who may be no contact."""

    def end_looks(self, user: User, address_ids: Iterable[int]) -> None:
        """Say that ``user``, who has signed out, looks at these people no more."""

    def notify(self, user: User, node: str, content: bytes) -> None:
        """Tell a personal event of ``user`` to all who may have it at other nodes."""

    def tell_change(self, user: User, peer: Person, change: Change | None, shows: int) -> None:
        """Tell the home of ``peer`` what was written there about ``user``.

        ``shows``: ``user`` sees ``peer`` from now on (1), no more (-1), or as before (0).
        """

    def abandoned(self, user: User) -> None:
        """``user`` is about to be dropped without a word: those who saw them here are to be told."""

    def resync(self, node_id: int | None = None) -> None:
        """Have a node, or all, show its people anew."""
