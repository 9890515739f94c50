"""Nodes of a cluster in one process: real sockets, one PostgreSQL, a bus that can be cut."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.databases import open_migrated
from tests.harness.client import Client
from tests.harness.client import Place as Address
from tests.unit.users.place import DOMAIN, NOW, Place
from ubiety.clock import SystemClock
from ubiety.cluster.bus import LocalBus
from ubiety.cluster.links import NodeLinks
from ubiety.directory import passwords
from ubiety.jid import parse
from ubiety.net.c2s import ClientConnection
from ubiety.net.certificates import Certificates
from ubiety.net.service import TLS_REQUIRED, C2sService
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Session
from ubiety.store import addresses, domains
from ubiety.store import users as rows
from ubiety.store.database import Database

PASSWORD = "secret"
ITERATIONS = 4096
HOME, EDGE, BACKUP = 1, 2, 3
SET = HOME
EPOCH_BITS = 40


class CuttableBus(LocalBus):
    """A bus whose cable to a node can be pulled: what is published from or to it is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.unplugged: set[int] = set()
        self.carried = 0

    def publish(self, subject: str, data: bytes) -> None:
        """Carry a message unless one of its ends is unplugged."""
        *_, to, sender = subject.split(".")
        if self.unplugged.isdisjoint((int(to), int(sender))):
            self.carried += len(data)
            super().publish(subject, data)


class Node:
    """One node; it ends with ``stop``, or without a word with ``kill``."""

    def __init__(self, cluster: Cluster, node_id: int, boot: int = 1) -> None:
        loop = asyncio.get_running_loop()
        self.cluster = cluster
        self.id = node_id
        self.place = Place(Database(cluster.url))
        context = self.place.context
        context.next_number = itertools.count(node_id * 8 + boot << EPOCH_BITS).__next__
        context.homes.node_id = node_id
        context.homes.here = {node_id} if node_id == HOME else set()
        context.homes.serving = {} if node_id == HOME else {SET: HOME}
        self.links = context.links = NodeLinks(cluster.bus, "test", node_id, context.counters)
        self.place.set(TLS_REQUIRED, False)
        certificates = Certificates(cluster.folder / f"certificates{node_id}", SystemClock(), None, ())
        certificates.open([DOMAIN])
        place = self.place
        self.service = C2sService(
            context, place.users, certificates, b"secret", place.registration,
            place.features.stream_feature, loop,
        )  # fmt: skip
        self.address: Address
        self._server: asyncio.Server

    async def start(self, port: int = 0) -> None:
        """Listen, and meet the others."""
        loop = asyncio.get_running_loop()
        self.links.set_peers(self.cluster.nodes)
        await self.links.start()
        self._server = await loop.create_server(
            lambda: ClientConnection(self.service, False), "127.0.0.1", port, backlog=4096
        )
        port = self._server.sockets[0].getsockname()[1]
        self.address = Address("127.0.0.1", port, 0, DOMAIN)
        for other in self.cluster.nodes.values():
            other.links.set_peers(self.cluster.nodes)

    def client(self, user: str, resource: str = "desk") -> Client:
        """Return a client that will connect here."""
        return Client(self.address, user, PASSWORD, resource)

    async def sign_in(self, user: str, resource: str = "desk", *, managed: bool = False) -> Client:
        """Sign somebody in through this node, with initial presence."""
        client = self.client(user, resource)
        await client.login("none")
        if managed:
            await client.enable()
        client.send("<presence/>")
        await client.is_served()
        return client

    def session(self, full: str) -> Session:
        """Return the session of a full address, which this node is home to."""
        jid = parse(full)
        person = self.place.context.homes.find(jid.bare)
        assert person is not None
        return self.place.context.actors[person.address_id].sessions[jid.resource]

    async def kill(self) -> None:
        """End like a killed process: nobody hears of it any more."""
        self.cluster.bus.unplugged.add(self.id)
        await self._close()
        self.cluster.bus.unplugged.discard(self.id)

    async def stop(self) -> None:
        """End as an administrator stops it."""
        self._server.close()
        await self.service.stop()
        await self._close()

    async def _close(self) -> None:
        del self.cluster.nodes[self.id]
        self._server.close()
        await self.links.close(0.2)
        self.service.remote_edges = None
        await self.service.stop()
        await self.place.close()


class Cluster:
    """The nodes, and the people who all belong to the set of the node HOME."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.bus = CuttableBus()
        self.nodes: dict[int, Node] = {}
        self.people: list[Person] = []

    async def add_people(self, *names: str) -> None:
        """Write people to the database, all with the same password."""
        keys = passwords.dump_keys(passwords.hash_password(PASSWORD, ITERATIONS, [b"salt" * 4] * 2))
        database = open_migrated(self.url)

        def add(conn):  # type: ignore[no-untyped-def]
            domain = domains.find(conn, DOMAIN) or domains.add(conn, DOMAIN, NOW, is_default=True)
            for name in names:
                jid = f"{name}@{DOMAIN}"
                user_id = rows.create(conn, jid, name, domain.id, NOW, {})
                rows.set_scram(conn, user_id, keys)
                address_id = addresses.find(conn, jid)
                assert address_id is not None
                self.people.append(Person(user_id, address_id, parse(jid), set_id=SET))

        await database.write(add)
        await asyncio.get_running_loop().run_in_executor(None, database.close)

    async def start(self, node_id: int, boot: int = 1, port: int = 0) -> Node:
        """Start a node."""
        node = Node(self, node_id, boot)
        for person in self.people:
            node.place.context.homes.put(person)
        self.nodes[node_id] = node
        await node.start(port)
        return node

    def serve(self, node_id: int) -> None:
        """Let a node serve the set from now on, and tell the others."""
        for node in self.nodes.values():
            homes = node.place.context.homes
            homes.here.discard(SET)
            homes.serving[SET] = node_id
            if node.id == node_id:
                homes.here.add(SET)
                del homes.serving[SET]


@asynccontextmanager
async def running(url: str, folder: Path, *people: str) -> AsyncIterator[Cluster]:
    """Run a cluster of two nodes, HOME and EDGE."""
    cluster = Cluster(url, folder)
    await cluster.add_people(*people)
    for node_id in (HOME, EDGE):
        await cluster.start(node_id)
    home, edge = cluster.nodes[HOME], cluster.nodes[EDGE]
    await eventually(lambda: home.links.is_up(EDGE) and edge.links.is_up(HOME), "the nodes to meet")
    try:
        yield cluster
    finally:
        for node in list(cluster.nodes.values()):
            await node.stop()


async def eventually(is_so, what: str, seconds: float = 10.0) -> None:  # type: ignore[no-untyped-def]
    """Wait until something is so."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not is_so():
        assert asyncio.get_running_loop().time() < deadline, f"waited {seconds} s for {what}"
        await asyncio.sleep(0.01)
