"""Several nodes' people in one process, on one PostgreSQL database, linked by real flows in the test's time.

``Nodes`` makes nodes, cuts and mends what is between them, lets time pass, kills and starts nodes, and moves
sets. Its devices and its account of what was promised are those of ``tests.unit.rig``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tests.databases import open_migrated
from tests.unit.rig import RESUME_SECONDS, WINDOW, Account, Device
from tests.unit.users.place import DOMAIN, Place
from ubiety.clock import ManualClock
from ubiety.cluster.changes import ORDER, Changes
from ubiety.cluster.flow import Flow
from ubiety.routing.homes import Person
from ubiety.routing.links import Item, Kind, LinkEvent, NodeUnreachable
from ubiety.store import changes, epochs
from ubiety.store.database import Database
from ubiety.store.errors import StoreError
from ubiety.users.elsewhere import Elsewhere
from ubiety.users.remote_presence import RemotePresence

STEP = 0.05
PATIENCE = 20.0


class Ends:
    """A node's links (``routing.links.Links``): the flows of ``cluster``, without a bus."""

    def __init__(self, nodes: Nodes, node_id: int) -> None:
        self._nodes = nodes
        self.node_id = node_id
        self.boot = next(nodes.boots)
        self.flows: dict[int, Flow] = {}
        self.dropped: set[Kind] = set()  # items that get lost although no flow loses any
        self._handlers: dict[int, Callable[[int, Item], None]] = {}
        self._watchers: list[Callable[[int, LinkEvent], None]] = []
        self._lost_watchers: list[Callable[[int, Sequence[Item]], None]] = []
        self._is_scheduled = False
        self.is_open = True

    def meet(self, other: int, bound: int = 1 << 22) -> None:
        """Begin a flow to another node."""
        self.flows[other] = Flow(self.boot, self._nodes.now, bound)

    def send(self, node_id: int, item: Item, *, sheddable: bool = False) -> None:
        """Queue an item until the end of this turn."""
        self.flows[node_id].send(item, sheddable)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self.turn)

    def handle(self, kind: Kind, receive: Callable[[int, Item], None]) -> None:
        """Have items handled."""
        self._handlers[kind] = receive

    async def ask(self, node_id: int, name: str, value: Any, seconds: float = 5.0) -> Any:
        """Nobody answers questions here."""
        raise NodeUnreachable(name)

    def answer(self, name: str, fn: Callable[[int, Any], Awaitable[Any]]) -> None:
        """Nobody asks here."""

    def is_up(self, node_id: int) -> bool:
        """Tell whether a node was heard of lately."""
        return node_id == self.node_id or self.flows[node_id].is_up

    def watch(self, notice: Callable[[int, LinkEvent], None]) -> None:
        """Have changes told."""
        self._watchers.append(notice)

    def watch_lost(self, notice: Callable[[int, Sequence[Item]], None]) -> None:
        """Have told what is given up."""
        self._lost_watchers.append(notice)

    def turn(self, tick: bool = False) -> None:
        """Send what is queued, and let time pass."""
        self._is_scheduled = False
        for other, flow in self.flows.items():
            if tick and flow.deadline() <= self._nodes.now:
                flow.tick(self._nodes.now)
            for data in flow.flush(self._nodes.now):
                self._nodes.carry(self.node_id, other, data)
            self._tell(other, flow)

    def receive(self, sender: int, data: bytes) -> None:
        """Take in what another node has sent."""
        flow = self.flows[sender]
        items = flow.receive(data, self._nodes.now)
        self._tell(sender, flow)
        for item in items:
            if item[0] not in self.dropped:
                self._handlers[item[0]](sender, item)
        if flow.is_urgent:
            self.turn()

    def _tell(self, other: int, flow: Flow) -> None:
        for happened in flow.take_events():
            for notice in self._watchers:
                notice(other, happened)
        lost = flow.take_lost()
        if lost:
            for notice_lost in self._lost_watchers:
                notice_lost(other, lost)


async def _nothing(_ids: Sequence[int] | None) -> None:
    """What is told of people and settings does not matter here."""


class Node:
    """One node: its people, its end of the links."""

    def __init__(self, nodes: Nodes, node_id: int, database: Database) -> None:
        self.node_id = node_id
        self.place = Place(database)
        self.links = Ends(nodes, node_id)
        context = self.place.context
        context.homes.node_id = node_id
        context.homes.here = set()
        context.clock = self.place.clock = nodes.clock
        context.links = self.links
        self.place.ledger.window = WINDOW
        self.elsewhere = Elsewhere(context, self.place.users, self.links, lambda *_: None)
        self.place.users.elsewhere = self.elsewhere
        self.presence = RemotePresence(
            context, self.place.users, self.links, lambda _, fn: asyncio.get_running_loop().call_soon(fn)
        )
        context.neighbours = self.presence
        take_over = dict.fromkeys(ORDER, _nothing) | {changes.MESSAGES: self.place.users.rows_added}
        horizon = database.read_now(changes.horizon)
        self.changes = Changes(database, nodes.clock, horizon, take_over, lambda: ())

    def serve(self, *sets: int) -> None:
        """Begin to serve sets: the numbers are greater than all before."""
        epoch = self.place.database.write_now(epochs.take_number)
        self.place.context.set_epoch(epoch)
        self.place.context.homes.here.update(sets)


class Seat:
    """Where somebody's home is at the moment: what a device asks of its rig."""

    def __init__(self, nodes: Nodes, set_id: int) -> None:
        self.nodes = nodes
        self.set_id = set_id

    @property
    def place(self) -> Place:
        """The node that serves the set."""
        return self.nodes.nodes[self.nodes.serving[self.set_id]].place

    def __getattr__(self, name: str) -> Any:
        return getattr(self.nodes, name)


class Nodes(Account):
    """The nodes 1 to ``count``, each of which serves the set of its number. Make it with ``open_nodes``."""

    def __init__(self, url: str, count: int = 2) -> None:
        super().__init__()
        self.url = url
        self.clock = ManualClock()
        self.boots = itertools.count(1)
        self.cut: set[frozenset[int]] = set()
        self.nodes: dict[int, Node] = {}
        self.serving: dict[int, int] = {}
        self._people: list[Person] = []
        self._looked = self._read = 0.0
        self.kills = 0
        for node_id in range(1, count + 1):
            self.start(node_id)
            self.nodes[node_id].serve(node_id)
            self.serving[node_id] = node_id
        self.publish()

    @property
    def now(self) -> float:
        """The time of the flows."""
        return self.clock.monotonic()

    def start(self, node_id: int) -> Node:
        """Start a node that serves nothing yet."""
        database = open_migrated(self.url)
        node = self.nodes[node_id] = Node(self, node_id, database)
        for person in self._people:
            node.place.context.homes.put(person)
        for other in self.nodes.values():
            if other is not node:
                node.links.meet(other.node_id)
                if node_id not in other.links.flows:
                    other.links.meet(node_id)
        return node

    def publish(self) -> None:
        """Tell all nodes who serves which set."""
        for node in self.nodes.values():
            homes = node.place.context.homes
            for set_id, owner in self.serving.items():
                if owner == node.node_id:
                    homes.serving.pop(set_id, None)
                else:
                    homes.serving[set_id] = owner
            for set_id in self.serving:
                node.elsewhere.nodes.serving_changed(set_id)

    def carry(self, sender: int, receiver: int, data: bytes) -> None:
        """Carry a message, unless the way is cut."""
        node = self.nodes.get(receiver)
        if node is not None and node.links.is_open and frozenset((sender, receiver)) not in self.cut:
            asyncio.get_running_loop().call_soon(self._arrive, sender, node, data)

    def _arrive(self, sender: int, node: Node, data: bytes) -> None:
        if node.links.is_open:
            node.links.receive(sender, data)

    # -- people --------------------------------------------------------------------------------------

    async def person(self, name: str, set_id: int, *resources: str, managed: bool = True) -> list[Device]:
        """Add a person of a set with devices, not signed in yet."""
        seat: Any = Seat(self, set_id)
        if self.know(f"{name}@{DOMAIN}"):
            (made,) = await seat.place.people(name)
            person = Person(made.user_id, made.address_id, made.jid, True, set_id)
            self._people.append(person)
            for node in self.nodes.values():
                node.place.context.homes.put(person)
        devices = [Device(seat, name, resource, managed) for resource in resources]
        self.devices.update({device.name: device for device in devices})
        return devices

    # -- time ----------------------------------------------------------------------------------------

    async def pause(self, turns: int = 10) -> None:
        """Let the loop go on for some turns."""
        for _ in range(turns):
            await asyncio.sleep(0)

    async def calm(self) -> None:
        """Wait until nothing is under way in any node: no tasks, empty ledgers."""
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                for node in list(self.nodes.values()):
                    while node.place.tasks:
                        await asyncio.wait(list(node.place.tasks))
                        await asyncio.sleep(0)
                    while True:
                        try:
                            await node.place.ledger.flush()
                            break
                        except StoreError:
                            await asyncio.sleep(0.05)
                await self.pause()

    async def advance(self, seconds: float) -> None:
        """Let time pass, with all that happens meanwhile."""
        for step in range(max(1, round(seconds / STEP))):
            if step % 5 == 4:
                await self.calm()  # the database's time is not ours
            self.clock.advance(STEP)
            for node in list(self.nodes.values()):
                node.links.turn(tick=True)
            if self.now >= self._looked + 0.25:
                self._looked = self.now
                for node in list(self.nodes.values()):
                    node.elsewhere.nodes.look()
            if self.now >= self._read + 1:
                self._read = self.now
                for node in list(self.nodes.values()):
                    with contextlib.suppress(StoreError):
                        await node.changes.look()
            await self.pause(3)
        await self.calm()

    async def run(self, seconds: float) -> None:
        """Let time pass without waiting for the database."""
        for _ in range(round(seconds / STEP)):
            self.clock.advance(STEP)
            for node in self.nodes.values():
                node.links.turn(tick=True)
                node.elsewhere.nodes.look()
            await asyncio.sleep(0.005)

    # -- what happens ----------------------------------------------------------------------------------

    async def kill(self, node_id: int) -> None:
        """A node dies; what it had in memory is gone. Its sets are served by nobody for now."""
        self.note_refusals()
        node = self.nodes.pop(node_id)
        node.links.is_open = False
        for device in self.devices.values():
            seat: Any = device.rig
            if self.serving.get(seat.set_id) == node_id:
                device.lose()
                device.session = None
        self.kills += 1
        for set_id, owner in list(self.serving.items()):
            if owner == node_id:
                del self.serving[set_id]
        await close(node, kill=True)

    def take_over(self, set_id: int, node_id: int) -> None:
        """A node begins to serve a set that nobody serves, and all are told."""
        self.nodes[node_id].serve(set_id)
        self.serving[set_id] = node_id
        for node in self.nodes.values():
            node.place.context.homes.serving.pop(set_id, None)
        self.publish()

    def note_refusals(self) -> None:
        """Sessions are about to end: errors that their clients will not get are errors all the same."""
        for device in self.devices.values():
            if device.session is not None and device.session.smacks is not None:
                for data, _ in device.session.smacks.unacked:
                    self.note_error(data)

    # -- the end ---------------------------------------------------------------------------------------

    async def quiet(self) -> None:
        """All clients read and acknowledge everything until nothing more comes."""
        while True:
            await self.advance(0.5)
            before = sum(device.count_in for device in self.devices.values())
            for device in self.devices.values():
                device.read()
                device.acknowledge()
                device.request()
                device.read()
            await self.pause()
            if sum(device.count_in for device in self.devices.values()) == before and not self.waiting():
                return

    def waiting(self) -> int:
        """Messages without a verdict, and rows of which nobody was told."""
        return sum(len(node.elsewhere.nodes.lanes) for node in self.nodes.values())

    async def finish(self) -> int:
        """Mend everything, have everybody read all, check all promises; returns the messages shown."""
        self.cut.clear()
        for node in self.nodes.values():
            node.links.dropped.clear()
        await self.advance(4)
        for device in self.devices.values():
            device.congest(False)
            if not device.online or device.session is None or device.session.ended:
                await device.sign_in()
            else:
                device.give("<presence/>")
        async with asyncio.timeout(60):
            await self.quiet()
            self.note_refusals()
            self.clock.advance(2 * RESUME_SECONDS)
            for node in self.nodes.values():
                node.place.users.expire()
            await self.quiet()
        await self._check_empty()
        return self.check_shown()

    async def _check_empty(self) -> None:
        node = next(iter(self.nodes.values()))
        rows = await node.place.database.read(
            lambda conn: conn.exec_driver_sql("SELECT user_id, message_id FROM deliveries").fetchall()
        )
        assert rows == [], "rows are left"
        for node in self.nodes.values():
            assert node.elsewhere.nodes.waiting_bytes == 0
            for user in node.place.context.actors.values():
                assert user.inbox.inflight == {}, f"{user.jid} has messages in flight"
                assert not user.inbox.waiting, f"{user.jid} is thought to have rows"
        for device in self.devices.values():
            assert not device.outbox, f"{device.name} was not acknowledged: {device.outbox[0].name}"

    async def close(self) -> None:
        """End everything; raises what a task beside has raised."""
        for node in self.nodes.values():
            node.links.is_open = False
        for node in self.nodes.values():
            await close(node)


async def close(node: Node, kill: bool = False) -> None:
    """End a node; ``kill``: what its ledger has not written is not written any more."""
    place = node.place
    for task in list(place.tasks):
        task.cancel()
    await asyncio.gather(*place.tasks, return_exceptions=True)
    if kill:  # what was in its memory is gone
        place.ledger._queue.clear()
        place.ledger._done = place.ledger._accepted
    await place.ledger.close()
    await asyncio.to_thread(place.database.close)
    if place.failures:
        raise place.failures[0]
