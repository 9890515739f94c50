"""Nodes of one cluster in this process: real people, a real PostgreSQL, links over the bus of one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy import Connection

from tests.databases import open_migrated
from tests.unit.users.place import DOMAIN, Place
from ubiety.cluster import directory
from ubiety.cluster.bus import LocalBus
from ubiety.cluster.changes import Changes
from ubiety.cluster.links import NodeLinks
from ubiety.cluster.moving import Moving
from ubiety.cluster.topology import TopologyCopy
from ubiety.routing.homes import Movable
from ubiety.store import changes, epochs, nodes, users
from ubiety.store import domains as domain_rows
from ubiety.store import settings as setting_rows
from ubiety.store.database import Database

PATIENCE = 5.0


class ClusterNode:
    """One node: a ``Place`` with its copy of the topology, its links, and what reads changes."""

    def __init__(self, url: str, name: str, bus: LocalBus | None) -> None:
        self.name = name
        self.database = Database(url)
        self.place = Place(self.database)
        self.topology = TopologyCopy()
        self.luggage: list[Movable] = []
        """What goes with people besides their actors."""
        context, users = self.place.context, self.place.users
        self.people = directory.People(context, users.forget, self.end_sessions, self.luggage)
        self.moving = Moving(context, users, self.people, self.end_sessions, self.topology, self.luggage)
        self._bus = bus
        self.links: NodeLinks | None = None
        self.changes: Changes
        self._running: asyncio.Task[None] | None = None

    @property
    def id(self) -> int:
        """Its number, which is also the number of its set."""
        return self.place.context.homes.node_id

    async def start(self, *, follows: bool = True) -> None:
        """Register, load everything; ``follows``: look for changes as a node does."""
        horizon = await self.database.read(changes.horizon)
        row = await self.database.write(nodes.register, self.name, "1.0", f"{self.name}-boot", 1.0)
        homes = self.place.context.homes
        homes.node_id, homes.here = row.id, {row.id}
        await self.topology.refresh(self.database)
        await self.refresh_domains()
        await self.people.refresh(None)
        self.place.context.set_epoch(await self.database.write(epochs.next_epoch, row.id, self.name))
        self.changes = Changes(
            self.database,
            self.place.clock,
            horizon,
            {
                changes.TOPOLOGY: lambda _: self.refresh_topology(),
                changes.SETTINGS: lambda _: self.refresh_settings(),
                changes.DOMAINS: lambda _: self.refresh_domains(),
                changes.PEOPLE: self.people.refresh,
                changes.POLICY: self.people.refresh_policies,
            },
            lambda: self.topology.value.others(row.id),
        )
        if self._bus is not None:
            self.links = NodeLinks(self._bus, "test", row.id, self.place.context.counters)
            await self.links.start()
            self.place.context.links = self.links
            self.changes.join(self.links, asyncio.get_running_loop())
            self.moving.join(self.links)
        self._meet()
        if follows:
            self._running = asyncio.create_task(self.changes.run())

    async def stop(self) -> None:
        """End everything."""
        if self._running is not None:
            self._running.cancel()
        if self.links is not None:
            await self.links.close()
        await self.place.close()

    def serve(self, *node_ids: int) -> None:
        """Know that these other nodes serve their own sets."""
        self.place.context.homes.serving = {node_id: node_id for node_id in node_ids}

    async def refresh_topology(self) -> None:
        """Read the nodes again, and meet new ones."""
        await self.topology.refresh(self.database)
        self._meet()

    async def refresh_settings(self) -> None:
        """Read the settings again."""
        stored = await self.database.read(setting_rows.load)
        await directory.take_over_settings(self.place.settings, stored)

    async def refresh_domains(self) -> None:
        """Read the domains again."""
        rows = await self.database.read(domain_rows.list_all)
        self.place.context.homes.domains = {row.name for row in rows}

    async def end_sessions(self, user: object, condition: str, reason: str) -> None:
        """End all sessions of a person."""
        for session in list(user.sessions.values()):  # type: ignore[attr-defined]
            edge = session.edge
            self.place.users.end(session)
            if edge is not None:
                edge.close(condition, reason)

    def set_of(self, name: str) -> int | None:
        """The set to which a person belongs, as this node knows it."""
        person = self.place.context.homes.find(f"{name}@{DOMAIN}")
        return person.set_id if person is not None else None

    def _meet(self) -> None:
        if self.links is not None:
            self.links.set_peers(self.topology.value.others(self.id))


@asynccontextmanager
async def cluster(
    url: str, *names: str, bus: bool = True, follows: bool = True
) -> AsyncIterator[list[ClusterNode]]:
    """Some nodes on one database, all of whom know each other."""
    database = open_migrated(url)
    database.write_now(_add_domain)
    database.close()
    shared = LocalBus() if bus else None
    made = [ClusterNode(url, name, shared) for name in names]
    for node in made:
        await node.start(follows=follows)
    for node in made:
        await node.refresh_topology()
        node.serve(*node.topology.value.others(node.id))
    if bus:
        await until(
            lambda: all(one.links.is_up(two.id) for one in made for two in made if one.links is not None)
        )
    try:
        yield made
    finally:
        for node in made:
            await node.stop()


async def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so; AssertionError when it does not come to pass."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not is_so():
        assert asyncio.get_running_loop().time() < deadline, "it did not come to pass"
        await asyncio.sleep(0.01)


async def add(node: ClusterNode, name: str, set_id: int) -> users.User:
    """Add somebody to a set; nobody is told but by the table of changes."""
    return await node.database.write(_add_person, name, set_id)


def _add_domain(conn: Connection) -> None:
    domain_rows.add(conn, DOMAIN, 1.0, is_default=True)


def _add_person(conn: Connection, name: str, set_id: int) -> users.User:
    domain = domain_rows.find(conn, DOMAIN)
    assert domain is not None
    jid = f"{name}@{DOMAIN}"
    user_id = users.create(conn, jid, name, domain.id, 1.0, set_id=set_id)
    made = users.load(conn, user_id)
    assert made is not None
    return made
