"""The cluster's directory in memory: address -> person -> set (design.md §1, "Home node").

Every lookup that a stanza needs is answered here without a database. Whoever changes people or
domains in the database tells this copy afterwards.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from ubiety.jid import Jid

NOBODY = 0
"""The set of people who are assigned to no node: they may not sign in."""


@dataclass(slots=True)
class Person:
    """A licensed person of this cluster; the ids are rows, the address is a property."""

    user_id: int
    address_id: int
    jid: Jid
    enabled: bool = True
    set_id: int = 1


class Homed(Protocol):
    """Live state that has a home node: people, later rooms and dialogs (docs: how state joins a home)."""

    async def load(self, set_id: int) -> None:
        """Begin to serve a set; the lease is ours."""

    async def hand_over(self, set_id: int) -> None:
        """Make everything of a set durable and take no more for it; the lease is still ours."""

    def release(self, set_id: int) -> None:
        """Serve a set no more, at once: close its streams. The lease may be gone: nothing is written."""


class Movable(Protocol):
    """Live state of a person that goes with them from node to node, besides what their actor holds.

    Whole sets are the affair of ``Homed``; these are single people of a set.
    """

    def arrived(self, person: Person) -> None:
        """This node serves somebody from now on whom another one has served."""

    async def hand_over_person(self, person: Person) -> None:
        """Make everything of somebody durable and serve them no more. Raises StoreError."""

    def left(self, person: Person) -> None:
        """Another node serves somebody by now: nothing is written."""

    def deleted(self, person: Person) -> None:
        """Somebody is no person of this cluster any more."""


class Homes:
    """Who is ours, by address and by id, and which node serves them. One instance per node."""

    def __init__(self, people: Iterable[Person] = (), domains: Iterable[str] = (), node_id: int = 1) -> None:
        self.node_id = node_id
        self.here: set[int] = {node_id}
        """The sets that this node serves now."""
        self.leaving: set[int] = set()
        """Those of them that are being handed over: nobody signs in there any more."""
        self.serving: dict[int, int] = {}
        """Set -> the other node that serves it, as last heard."""
        self.lapsed: set[int] = set()
        """Sets whose node has not renewed its lease for a while: it is dead, or has no database."""
        self.moving: set[int] = set()
        """User ids of those whom this node is handing to another one at this moment: nobody serves them."""
        self._by_bare: dict[str, Person] = {}
        self._by_address: dict[int, Person] = {}
        self._by_user: dict[int, Person] = {}
        self._sizes: Counter[int] = Counter()
        self.domains: set[str] = set(domains)
        for person in people:
            self.put(person)

    def put(self, person: Person) -> None:
        """Add a person, or change the one who is known under the same id (rename, disable, move).

        Who keeps a ``Person`` keeps the one that is known, and sees the change.
        """
        old = self._by_user.get(person.user_id)
        if old is not None:
            self._by_bare.pop(old.jid.bare, None)
            self._by_address.pop(old.address_id, None)
            self._sizes[old.set_id] -= 1
            old.address_id, old.jid = person.address_id, person.jid
            old.enabled, old.set_id = person.enabled, person.set_id
            person = old
        self._by_bare[person.jid.bare] = person
        self._by_address[person.address_id] = person
        self._by_user[person.user_id] = person
        self._sizes[person.set_id] += 1

    def remove(self, user_id: int) -> None:
        """Forget a person who was deleted."""
        person = self._by_user.pop(user_id, None)
        if person is not None:
            self._by_bare.pop(person.jid.bare, None)
            self._by_address.pop(person.address_id, None)
            self._sizes[person.set_id] -= 1

    def find(self, bare: str) -> Person | None:
        """Return the person with this bare address."""
        return self._by_bare.get(bare)

    def at(self, address_id: int) -> Person | None:
        """Return the person whose interned address has this id; None for people elsewhere."""
        return self._by_address.get(address_id)

    def strangers(self, address_ids: Iterable[int]) -> list[int]:
        """Return those of these addresses that belong to nobody of this cluster."""
        known = self._by_address
        return [address_id for address_id in address_ids if address_id not in known]

    def user(self, user_id: int) -> Person | None:
        """Return the person with this user id."""
        return self._by_user.get(user_id)

    def is_here(self, person: Person) -> bool:
        """Tell whether this node serves a person."""
        return person.set_id in self.here and person.user_id not in self.moving

    def node_of(self, person: Person) -> int | None:
        """Return the node that serves a person, as last heard; None when nobody does."""
        if person.set_id in self.here:
            return self.node_id if person.user_id not in self.moving else None
        return self.serving.get(person.set_id)

    def count_here(self) -> int:
        """Return how many people this node serves, signed in or not."""
        return sum(self._sizes[set_id] for set_id in self.here)

    def count_in(self, set_id: int) -> int:
        """Return how many people belong to a set."""
        return self._sizes[set_id]

    def __len__(self) -> int:
        return len(self._by_user)

    def __iter__(self) -> Iterator[Person]:
        return iter(self._by_user.values())
