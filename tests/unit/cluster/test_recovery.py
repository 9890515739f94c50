"""Two recovery managers on a real PostgreSQL, with leases, links, services and real time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic

import pytest
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from tests.databases import open_migrated
from ubiety.clock import SystemClock
from ubiety.cluster import recovery_settings, topology
from ubiety.cluster.alarms import FAILED, FAILOVER, Alarms
from ubiety.cluster.bus import LocalBus
from ubiety.cluster.control import ControlCenter, Hooks
from ubiety.cluster.links import NodeLinks
from ubiety.cluster.recovery import Recovery, Refused, pack, unpack
from ubiety.cluster.recovery_settings import CRITICAL_DELAY
from ubiety.cluster.services import PRESENCE_ENGINE, ROUTER, Kind
from ubiety.cluster.serving import Serving
from ubiety.cluster.states import Heartbeat, Reason, Request, State
from ubiety.cluster.tenures import Tenures
from ubiety.cluster.topology import Topology
from ubiety.routing.homes import Homes
from ubiety.settings import Settings
from ubiety.store import nodes
from ubiety.store.database import Database
from ubiety.telemetry import Counters

ONE, TWO = 1, 2
NORMAL = (State.NORMAL, Reason.NORMAL)
SLACK = 1.0
"""Of a busy machine."""


class Member:
    """One node of the pair: everything but people."""

    def __init__(self, node_id: int, url: str, bus: LocalBus, known: Topology) -> None:
        self.id = node_id
        self.broken: set[str] = set()
        self.known = known
        self.database = Database(url)
        self.settings = Settings(recovery_settings.SETTINGS)
        self.settings.apply(CRITICAL_DELAY.name, 1.0)
        self.links = NodeLinks(bus, "test", node_id, Counters())
        self.homes = Homes(node_id=node_id)
        self.homes.here.clear()
        self.tenures = Tenures(node_id, make_url(url), self.links)
        self.epochs: list[int] = []
        hooks = {name: Hooks(self._start(name), _done) for name in (ROUTER, PRESENCE_ENGINE)}
        self.center = ControlCenter(hooks, self.database, SystemClock(), asyncio.create_task, print)
        self.alarms = Alarms(self.database, SystemClock())
        node = self.database.read_now(nodes.load, node_id)
        assert node is not None
        self.recovery = Recovery(
            node_id=node_id,
            boot=f"boot {monotonic()}",
            was=node.state,
            topology=lambda: self.known,
            settings=self.settings,
            clock=SystemClock(),
            database=self.database,
            tenures=self.tenures,
            serving=Serving(self.tenures, self.homes, [], self.epochs.append),
            services=self.center,
            links=self.links,
            alarms=self.alarms,
        )

    def _start(self, name: str):  # type: ignore[no-untyped-def]
        async def start() -> None:
            if name in self.broken:
                raise RuntimeError("it does not start")

        return start

    async def start(self) -> None:
        self.links.set_peers([ONE, TWO])
        await self.links.start()
        self.tenures.start()
        await self.center.open(self.id)
        for kind in (Kind.NETWORK, Kind.FEATURE):
            await self.center.start_wanted(kind)
        self.center.watch(self.recovery.look)
        await self.recovery.start()

    async def die(self) -> None:
        """End without a word: nothing is handed over, nobody is told."""
        await self.recovery.stop()
        await self.links.close()
        await self.tenures.stop()
        self.database.close()

    @property
    def now(self) -> tuple[State, Reason]:
        return self.recovery.state, self.recovery.reason

    @property
    def written(self) -> tuple[str, str]:
        row = self.database.read_now(nodes.load, self.id)
        assert row is not None
        return row.state, row.reason


async def _done() -> None:
    return


class Pair:
    """Both nodes, and the fresh one that follows a dead one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bus = LocalBus()
        database = open_migrated(url)
        for name in ("north", "south"):
            database.write_now(nodes.register, name, "1.0", name, 1.0, group="pair")
        self.is_enabled(database, True)
        self.known = database.read_now(topology.load)
        database.close()
        self.members: dict[int, Member] = {}

    @staticmethod
    def is_enabled(database: Database, is_on: bool) -> None:
        def change(conn: Connection) -> None:
            group = nodes.find_group(conn, "pair")
            assert group is not None
            nodes.set_ha(conn, group.id, is_on)

        database.write_now(change)

    async def boot(self, *ids: int) -> None:
        for one in ids:
            self.members[one] = Member(one, self.url, self.bus, self.known)
        for one in ids:
            await self.members[one].start()

    async def until(self, one: object, two: object, seconds: float = 15.0) -> float:
        begun = monotonic()
        await until(lambda: self.now() == (one, two), seconds, self.now)
        return monotonic() - begun

    def now(self) -> tuple[object, object]:
        return self.members[ONE].now, self.members[TWO].now

    def here(self) -> tuple[set[int], set[int]]:
        return self.members[ONE].homes.here, self.members[TWO].homes.here


async def until(is_so: Callable[[], bool], seconds: float, told: Callable[[], object]) -> None:
    deadline = monotonic() + seconds
    while not is_so():
        assert monotonic() < deadline, told()
        await asyncio.sleep(0.02)


@pytest.fixture
async def pair(postgres_url: str) -> AsyncIterator[Pair]:
    made = await asyncio.to_thread(Pair, postgres_url)
    await made.boot(ONE, TWO)
    await made.until(NORMAL, NORMAL)
    await until(lambda: made.here() == ({ONE}, {TWO}), 5, made.here)
    await asyncio.sleep(2.5)  # a node that was started just now takes nothing from the other
    yield made
    for member in made.members.values():
        await member.die()


async def test_failover_and_fallback_by_hand(pair: Pair) -> None:
    one, two = pair.members[ONE], pair.members[TWO]
    with pytest.raises(Refused, match="Idle or Failed Over"):
        one.recovery.ask(Request.FALLBACK)
    one.recovery.ask(Request.FAILOVER)
    await pair.until((State.IDLE, Reason.ADMIN), (State.BACKUP, Reason.ADMIN))
    assert pair.here() == (set(), {ONE, TWO})
    assert two.alarms.current[FAILOVER].text == "south serves the people of north as well: On Admin Request."
    await until(lambda: one.center.critical_down() == [ROUTER, PRESENCE_ENGINE], 5, one.center.critical_down)
    await until(lambda: one.written == ("Idle", "On Admin Request"), 2, lambda: one.written)
    assert two.written == ("Running in Backup Mode", "On Admin Request")
    one.recovery.ask(Request.FALLBACK)
    await pair.until(NORMAL, NORMAL)
    assert pair.here() == ({ONE}, {TWO})
    assert one.center.critical_down() == []
    assert two.alarms.current == {}
    assert one.epochs == sorted(one.epochs)


async def test_a_dead_node_is_noticed_in_three_seconds_and_falls_back(pair: Pair) -> None:
    begun = monotonic()
    await pair.members[ONE].die()
    two = pair.members[TWO]
    await until(lambda: two.homes.here == {ONE, TWO}, 3 + SLACK, lambda: two.now)
    print(f"noticed and taken over {monotonic() - begun:.2f} s after the node's death")
    await until(lambda: two.now == (State.BACKUP, Reason.PEER_DOWN), 1, lambda: two.now)
    await pair.boot(ONE)
    await pair.until((State.FAILED_OVER, Reason.INITIALIZATION), (State.BACKUP, Reason.PEER_DOWN))
    pair.members[ONE].recovery.ask(Request.FALLBACK)
    await pair.until(NORMAL, NORMAL)
    assert pair.here() == ({ONE}, {TWO})


async def test_a_node_that_leaves_is_taken_over_at_once(pair: Pair) -> None:
    begun = monotonic()
    await pair.members[ONE].recovery.leave()
    two = pair.members[TWO]
    await until(lambda: two.now == (State.BACKUP, Reason.PEER_REBOOT), 2, lambda: two.now)
    print(f"taken over {monotonic() - begun:.2f} s after the node began to leave")
    assert two.homes.here == {ONE, TWO}


async def test_a_critical_service_that_fails(pair: Pair) -> None:
    one = pair.members[ONE]
    one.broken = {ROUTER}
    one.center.failed(ROUTER, "it crashed")
    state = (State.FAILED_OVER_UNWELL, Reason.SERVICE_DOWN)
    await pair.until(state, (State.BACKUP, Reason.SERVICE_DOWN))
    one.broken = set()
    await one.center.start(ROUTER)
    await pair.until((State.FAILED_OVER, Reason.SERVICE_DOWN), (State.BACKUP, Reason.SERVICE_DOWN))
    one.recovery.ask(Request.FALLBACK)
    await pair.until(NORMAL, NORMAL)


async def test_services_that_do_not_start_again(pair: Pair) -> None:
    one, two = pair.members[ONE], pair.members[TWO]
    one.recovery.ask(Request.FAILOVER)
    await pair.until((State.IDLE, Reason.ADMIN), (State.BACKUP, Reason.ADMIN))
    one.broken = {PRESENCE_ENGINE}
    await until(lambda: not one.recovery.core.facts.settling, 5, lambda: one.now)
    one.recovery.ask(Request.FALLBACK)
    failed = (State.FAILED, Reason.START_FAILED)
    await pair.until(failed, failed)
    assert two.homes.here == {ONE, TWO}
    assert "Start of Critical Services Failed" in one.alarms.current[FAILED].text
    one.broken = set()
    two.recovery.ask(Request.RECOVER)
    await pair.until(NORMAL, NORMAL)
    await until(lambda: pair.here() == ({ONE}, {TWO}), 5, pair.here)


async def test_high_availability_that_is_turned_off(pair: Pair) -> None:
    database = pair.members[ONE].database
    await asyncio.to_thread(pair.is_enabled, database, False)
    known = await database.read(topology.load)
    for member in pair.members.values():
        member.known = known
        member.recovery.look()
    off = (State.UNKNOWN, Reason.NOT_ENABLED)
    await pair.until(off, off)
    with pytest.raises(Refused, match="off for this group"):
        pair.members[ONE].recovery.ask(Request.FAILOVER)
    await pair.members[ONE].die()
    await asyncio.sleep(4)
    assert pair.members[TWO].homes.here == {TWO}
    await pair.boot(ONE)


def test_a_heartbeat_of_a_newer_release_is_not_believed() -> None:
    beat = Heartbeat(State.NORMAL, Reason.NORMAL, True, False, True, "boot")
    item = pack(beat)
    assert unpack(item) == beat
    assert unpack((*item, "more")) == beat
    assert unpack((item[0], "DREAMING", *item[2:])) is None
