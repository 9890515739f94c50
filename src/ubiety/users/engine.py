"""Whether this node distributes presence, and what nobody was told while it did not."""

from ubiety.jid import Jid
from ubiety.users.actor import User


class Engine:
    """The switch of the "Cisco Presence Engine" (``presence_service.py``). Availability asks it."""

    __slots__ = ("_missed", "runs")

    def __init__(self) -> None:
        self.runs = True
        self._missed: dict[Jid, tuple[User, bytes]] = {}

    def miss(self, user: User, session: Jid, tail: bytes) -> None:
        """Remember that a session went away and nobody was told."""
        self._missed[session] = (user, tail)

    def found(self, session: Jid) -> None:
        """A session is back under the same address: it never was away."""
        self._missed.pop(session, None)

    def take_missed(self) -> dict[Jid, tuple[User, bytes]]:
        """Return who went away meanwhile, and forget it."""
        missed, self._missed = self._missed, {}
        return missed
