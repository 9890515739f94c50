"""Contact lists between nodes: the one who acts writes both sides, the other's home is told what was written.

A node that is down is told nothing: it reads the database when it loads its people. What is lost on the way
to a node that lives is told again.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ubiety.routing.homes import Person
from ubiety.routing.links import Item, Kind, LinkEvent, Links
from ubiety.store import roster as rows
from ubiety.telemetry import event
from ubiety.users import availability, subscribing
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.neighbours import Change

KEPT = 10_000
"""Lost items that are kept for a node until it is heard of again."""


class People(Protocol):
    """The people of this node (``users.service.Users``)."""

    def when_loaded(self, person: Person, fn: Callable[[User | None], None]) -> bool:
        """Call ``fn`` with the actor once there is one; False: too much waits already."""


class RemoteRosters:
    """Sends and follows changes of contact lists."""

    def __init__(self, context: Context, people: People, links: Links) -> None:
        self._context = context
        self._people = people
        self._links = links
        self._lost: dict[int, list[Item]] = {}
        links.handle(Kind.ROSTER, self._take)
        links.watch(self._link_changed)
        links.watch_lost(self._note_lost)

    def tell(self, node_id: int, user: User, peer: Person, change: Change | None, shows: int) -> None:
        """Tell a node what was written about ``user`` in the list of ``peer``, one of its people."""
        fields: tuple[Any, ...] = ()
        if change is not None:
            fields = (
                change.subscription,
                change.version,
                tuple(change.item) if change.item is not None else None,
                change.waits,
                tuple(change.deliver),
            )
        self._links.send(node_id, (Kind.ROSTER, peer.address_id, user.person.address_id, shows, fields))

    def _take(self, node_id: int, item: Item) -> None:
        _, address_id, contact_id, shows, fields = item
        person = self._context.homes.at(address_id)
        if person is None or not self._context.homes.is_here(person):
            return  # whoever serves them has read, or will read, the database

        def follow(user: User | None) -> None:
            if user is None:
                return
            if fields:
                subscribing.take_change(self._context, user, _unpack(contact_id, fields))
            if shows:
                availability.show_by_id(self._context, user, contact_id, available=shows > 0)

        if not self._people.when_loaded(person, follow):
            event("roster_change_not_followed", level="error", user_id=person.user_id, node=node_id)

    def _note_lost(self, node_id: int, items: Sequence[Item]) -> None:
        kept = self._lost.setdefault(node_id, [])
        kept += [item for item in items if item[0] == Kind.ROSTER]
        del kept[KEPT:]
        if not kept:
            del self._lost[node_id]

    def _link_changed(self, node_id: int, happened: LinkEvent) -> None:
        if happened is LinkEvent.DOWN or node_id not in self._lost:
            return
        lost = self._lost.pop(node_id)
        if happened is not LinkEvent.RESTARTED:  # else it has read everything from the database
            for item in lost:
                self._links.send(node_id, item)


def _unpack(contact_id: int, fields: Sequence[Any]) -> Change:
    subscription, version, packed, waits, deliver = fields
    item = None
    if packed is not None:
        *head, groups = packed
        item = rows.Item._make((*head, tuple(groups)))
    return Change(contact_id, subscription, version, item, waits, deliver)
