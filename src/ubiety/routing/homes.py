"""The cluster's directory in memory: address -> person -> set (design.md §1, "Home node").

Every lookup that a stanza needs is answered here without a database. Whoever changes people or
domains in the database tells this copy afterwards.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ubiety.jid import Jid


@dataclass(slots=True)
class Person:
    """A licensed person of this cluster; the ids are rows, the address is a property."""

    user_id: int
    address_id: int
    jid: Jid
    enabled: bool = True
    set_id: int = 1


class Homes:
    """Who is ours, by address and by id. One instance per node."""

    def __init__(self, people: Iterable[Person] = (), domains: Iterable[str] = ()) -> None:
        self._by_bare: dict[str, Person] = {}
        self._by_address: dict[int, Person] = {}
        self._by_user: dict[int, Person] = {}
        self.domains: set[str] = set(domains)
        for person in people:
            self.put(person)

    def put(self, person: Person) -> None:
        """Add a person, or replace what was known under the same ids (rename, disable)."""
        old = self._by_user.get(person.user_id)
        if old is not None:
            self._by_bare.pop(old.jid.bare, None)
        self._by_bare[person.jid.bare] = person
        self._by_address[person.address_id] = person
        self._by_user[person.user_id] = person

    def remove(self, user_id: int) -> None:
        """Forget a person who was deleted."""
        person = self._by_user.pop(user_id, None)
        if person is not None:
            self._by_bare.pop(person.jid.bare, None)
            self._by_address.pop(person.address_id, None)

    def find(self, bare: str) -> Person | None:
        """Return the person with this bare address."""
        return self._by_bare.get(bare)

    def at(self, address_id: int) -> Person | None:
        """Return the person whose interned address has this id; None for people elsewhere."""
        return self._by_address.get(address_id)

    def user(self, user_id: int) -> Person | None:
        """Return the person with this user id."""
        return self._by_user.get(user_id)

    def __len__(self) -> int:
        return len(self._by_user)

    def __iter__(self) -> Iterator[Person]:
        return iter(self._by_user.values())
