"""Which contacts of a person have no home in this cluster: Microsoft users in our own domains, and others.

Pure. An actor has one of these only if there is such a contact; for all others ``User.outside`` is None.
"""

from collections.abc import Iterator

from ubiety.jid import Jid
from ubiety.presence.model import Composed
from ubiety.users.subscriptions import FROM, TO


class OutsideContacts:
    """The contacts outside of one person who is loaded."""

    __slots__ = ("jids", "seen", "shown", "watched", "watchers")

    def __init__(self) -> None:
        self.jids: dict[int, Jid] = {}
        """Bare addresses by their ids, of those who watch or are watched."""
        self.watchers: set[int] = set()
        """Who is subscribed to the person (from, both)."""
        self.watched: set[int] = set()
        """Whom the person is subscribed to (to, both)."""
        self.shown: Composed | None = None
        """What the watchers were told last, or would have been when the person was loaded; None: unknown."""
        self.seen: set[Jid] = set()
        """Addresses of contacts that the person's clients were shown as available."""

    def follow(self, address_id: int, jid: Jid, subscription: int) -> None:
        """Take over what was written about a contact: NONE, TO, FROM or BOTH."""
        for members, bit in ((self.watched, TO), (self.watchers, FROM)):
            if subscription & bit:
                members.add(address_id)
            else:
                members.discard(address_id)
        if subscription:
            self.jids[address_id] = jid
        else:
            self.jids.pop(address_id, None)

    def drop(self, address_id: int) -> None:
        """Forget somebody who has a home in this cluster from now on."""
        self.watchers.discard(address_id)
        self.watched.discard(address_id)
        self.jids.pop(address_id, None)

    def watcher_jids(self) -> Iterator[Jid]:
        """Yield the bare addresses of the watchers."""
        return (self.jids[address_id] for address_id in self.watchers)

    def watched_jids(self) -> Iterator[Jid]:
        """Yield the bare addresses of those whom the person watches."""
        return (self.jids[address_id] for address_id in self.watched)

    def is_watcher(self, jid: Jid) -> bool:
        """Tell whether somebody is subscribed to the person."""
        return any(watcher.bare == jid.bare for watcher in self.watcher_jids())

    def is_watched(self, jid: Jid) -> bool:
        """Tell whether the person is subscribed to somebody."""
        return any(watched.bare == jid.bare for watched in self.watched_jids())

    def take_seen(self, bare: str = "") -> set[Jid]:
        """Return and forget what was shown of a contact, of all without ``bare``."""
        taken = {jid for jid in self.seen if not bare or jid.bare == bare}
        self.seen -= taken
        return taken
