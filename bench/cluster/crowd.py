"""Who exists on a cluster, who is whose contact, and who signs in where: the same for all servers.

People are numbers from 0 on. They stand in a ring; the contacts of each are the nearest ones. Homes are given
out in turn, so that of anybody's contacts one in so many as there are nodes lives at the same node.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass

from bench.people import DOMAIN

_PER_ADDRESS = 100


@dataclass(frozen=True)
class Crowd:
    """How many people, nodes and contacts; `spread`: people sign in anywhere, not at their home."""

    people: int
    nodes: int
    contacts: int
    spread: bool = False

    @property
    def steps(self) -> list[int]:
        """Where in the ring a person's contacts stand, seen from there."""
        half = self.contacts // 2
        return [*range(-half, 0), *range(1, half + 1)]

    def home(self, person: int) -> int:
        """The number, from 0 on, of the node to which somebody is assigned."""
        return person % self.nodes

    def edge(self, person: int) -> int:
        """The node at which somebody signs in while all are alive."""
        return random.Random(person).randrange(self.nodes) if self.spread else self.home(person)

    def edge_after(self, person: int, dead: int) -> int:
        """The node of somebody's session after one has died: those who were there chose at random."""
        before = self.edge(person)
        if before != dead:
            return before
        return random.Random(~person).choice([node for node in range(self.nodes) if node != dead])

    def partner(self, person: int, is_cross: bool) -> int:
        """With whom somebody chats: each has one partner of the same home and one of the next home.

        The ring is cut into blocks of two people for each node.
        """
        block, place = divmod(person, 2 * self.nodes)
        side, home = divmod(place, self.nodes)
        if is_cross:
            home = (home + (-1 if side else 1)) % self.nodes
        return (block * 2 + 1 - side) * self.nodes + home

    def chatters(self, wanted: int) -> int:
        """So many people, from the first on, as make whole blocks: about `wanted`."""
        block = 2 * self.nodes
        return max(1, min(wanted, self.people) // block) * block

    def as_json(self) -> dict[str, object]:
        """For the generator's processes."""
        return asdict(self)


def name(person: int) -> str:
    """The user id."""
    return f"person{person:05d}"


def jid(person: int) -> str:
    """The bare address."""
    return f"{name(person)}@{DOMAIN}"


def source(person: int) -> str:
    """The loopback address from which somebody comes: `_PER_ADDRESS` people share one."""
    number = person // _PER_ADDRESS
    return f"127.1.{number // 250}.{number % 250 + 1}"
