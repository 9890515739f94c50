"""A node's place in its cluster, wired: who serves whom, redundancy, services, the data monitor.

Below ``app.py``, which makes the node itself. A node alone on SQLite has the same parts, but for the bus.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from ubiety.cluster import monitor
from ubiety.cluster.alarms import Alarms
from ubiety.cluster.changes import Changes
from ubiety.cluster.control import ControlCenter, Hooks
from ubiety.cluster.health import Facts, Health, judge
from ubiety.cluster.links import NodeLinks
from ubiety.cluster.monitor import Check, DataMonitor
from ubiety.cluster.recovery import Recovery, Refused
from ubiety.cluster.recovery_settings import MONITOR_AUTHENTICATION
from ubiety.cluster.services import (
    ADMIN,
    CONFIG_MANAGER,
    CONNECTION_MANAGER,
    DATA_MONITOR,
    DATABASE,
    RECOVERY_MANAGER,
    ROUTER,
    SIP_FEDERATION,
    SIP_PROXY,
    Kind,
)
from ubiety.cluster.serving import Serving, Whereabouts, without_service
from ubiety.cluster.states import Request, State
from ubiety.cluster.tenures import AlwaysServing, PeopleFence, Tenures
from ubiety.cluster.topology import Topology, TopologyCopy
from ubiety.config import Config, bus_servers
from ubiety.net.drain import HandOverError
from ubiety.net.listeners import Listeners
from ubiety.net.service import C2sService
from ubiety.routing.homes import Homed, Homes
from ubiety.routing.links import Links
from ubiety.routing.remote import RemoteNodes
from ubiety.store.database import Database
from ubiety.store.nodes import NodeRow
from ubiety.telemetry import Counters
from ubiety.users.context import Context
from ubiety.users.homed import HomedPeople
from ubiety.users.remote_presence import RemotePresence
from ubiety.users.service import Users

BUS_ID = "main"
"""The cluster's name on the bus: clusters that share a bus would need names of their own."""
START_SECONDS = 15.0
"""Clients are let in after so long even when nobody is served here: they may belong to other nodes."""
LOOK_SECONDS = 0.02
HAND_OVER_SECONDS = 10.0
"""Time until a hand-over must have begun."""


class Bus:
    """The way to the other nodes of a cluster."""

    def __init__(self, config: Config, node_id: int, counters: Counters) -> None:
        self.check: Callable[[], None] = lambda: None
        """Called before anything that comes in is looked at: may this node still serve?"""
        # nats-py takes long to import, longer still where aiohttp is installed: a node alone does without.
        from ubiety.net.bus import NatsBus  # noqa: PLC0415

        self._driver = NatsBus(bus_servers(config.bus_url), config.node, config.bus_ca)
        self.links = NodeLinks(self._driver, BUS_ID, node_id, counters, before_input=lambda: self.check())

    @property
    def problem(self) -> str:
        """Why the bus cannot be used; empty: it can."""
        if self._driver.connected:
            return ""
        return str(self._driver.error) if self._driver.error is not None else "There is no connection yet."

    async def start(self) -> None:
        """Connect. Raises BusError; a bus that is away is tried until it is there."""
        await self._driver.start()
        await self.links.start()

    async def close(self) -> None:
        """Say good-bye."""
        await self.links.close()
        await self._driver.close()


class Neighbourhood:
    """When a set changes its home, those follow who send to other nodes or show what others told."""

    def __init__(self, homes: Homes, nodes: RemoteNodes, presence: RemotePresence) -> None:
        self._homes = homes
        self._nodes = nodes
        self._presence = presence

    def moved(self, set_id: int, node_id: int | None) -> None:
        """Another node, or nobody, serves a set from now on."""
        self._nodes.serving_changed(set_id)
        if node_id is None:
            self._presence.set_lost(set_id)
        else:
            self._presence.set_gained(node_id, set_id)

    # As ``routing.homes.Homed``: sets that this node begins and ends to serve.

    async def load(self, set_id: int) -> None:
        """This node serves a set from now on: what is held back for its people is theirs."""
        self._homes.serving.pop(set_id, None)
        self._nodes.serving_changed(set_id)
        self._presence.set_gained(self._homes.node_id, set_id)

    async def hand_over(self, set_id: int) -> None:
        """Nothing is kept here that another node would need."""

    def release(self, set_id: int) -> None:
        """This node serves a set no more."""
        self._nodes.serving_changed(set_id)


class Member:
    """What a node has beside its people and its listeners. Made in the loop; ``start`` begins to serve."""

    def __init__(
        self,
        *,
        row: NodeRow,
        boot: str,
        config: Config,
        context: Context,
        users: Users,
        service: C2sService,
        topology: TopologyCopy,
        changes: Changes,
        bus: Bus | None,
        neighbourhood: Neighbourhood | None,
        hooks: Mapping[str, Hooks],
        homed: Sequence[Homed],
        alarms: Alarms,
        web: Listeners,
        drop_web: Callable[[], Awaitable[None]],
        conditions: Sequence[Check] = (),
    ) -> None:
        """``hooks``: of the services that clients and peers see (``net.control.client_hooks``, ``border``).

        ``homed``: what else than people has a home node.
        ``conditions``: what else feature services wait for at the start.
        ``web``: the listeners of the API; ``drop_web`` closes its connections.
        """
        database, clock = context.database, context.clock
        links = bus.links if bus is not None else None
        self.node_id = row.id
        self._name = config.node
        self._context = context
        self._service = service
        self._topology = topology
        self._changes = changes
        self.tenures = _make_tenures(row, config, database, links)
        joined = [neighbourhood] if neighbourhood is not None else []
        everything: list[Homed] = [HomedPeople(context, users), *joined, *homed]
        self.serving = Serving(self.tenures, context.homes, everything, context.set_epoch)
        self.alarms = alarms
        self.alarms.node_id = row.id
        self._peers, self._bus_alarm = monitor.Peers(self.alarms), monitor.Bus(self.alarms)
        self._bus = bus
        self.services = ControlCenter(
            {**hooks, **self._own_hooks(web, drop_web)},
            database,
            clock,
            context.spawn,
            context.settings.restarted,
        )
        self.services.is_authentication_critical = lambda: context.settings.get(MONITOR_AUTHENTICATION)
        self.recovery = self._make_recovery(row, boot, links)
        self.monitor = self._make_monitor(row.is_publisher, config.replica_url, conditions)
        self._whereabouts = Whereabouts(
            context.homes, self.tenures.serving, links, lambda: topology.value.others(row.id)
        )
        self._is_up = False
        self._fence(bus)
        if neighbourhood is not None:
            self._whereabouts.watch(neighbourhood.moved)

    def _make_recovery(self, row: NodeRow, boot: str, links: Links | None) -> Recovery:
        context = self._context
        return Recovery(
            node_id=row.id,
            boot=boot,
            was=row.state,
            topology=lambda: self._topology.value,
            settings=context.settings,
            clock=context.clock,
            database=context.database,
            tenures=self.tenures,
            serving=self.serving,
            services=self.services,
            links=links,
            alarms=self.alarms,
        )

    def _make_monitor(self, is_publisher: bool, replica_url: str, conditions: Sequence[Check]) -> DataMonitor:
        context = self._context
        directory = Check(monitor.DIRECTORY, self._look_at_copies, is_essential=False, needs=monitor.DATABASE)
        return DataMonitor(
            [
                *monitor.database_checks(context.database, replica_url, context.settings),
                directory,
                *conditions,
            ],
            self.alarms,
            context.clock,
            self._hold_back,
            is_publisher=is_publisher,
            timeout=context.settings.get(monitor.TIMEOUT),
            after_look=self._tell,
        )

    async def _look_at_copies(self) -> str:
        if self.monitor.core.is_released and not self.services.is_running(CONFIG_MANAGER):
            return ""  # an administrator wants it so
        return await self._changes.problem()

    # -- start and stop ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take what is ours and let clients in, as soon as the data monitor lets us. Raises StoreError."""
        context = self._context
        context.spawn(self.alarms.run())
        if isinstance(self.tenures, Tenures):
            self.tenures.start()
            await self.tenures.wait_for_own(self.node_id, self._name)
        await self.services.open(self.node_id)
        if self.services.find(DATA_MONITOR).is_wanted:
            self._hold_back("The data monitor has not looked yet.")
        _raise_first(self.services, await self.services.start_wanted(Kind.NETWORK))
        self._topology.watch(self._follow)

    async def open(self) -> None:
        """Let clients in once the data monitor and the lease of our own people allow it."""
        if self.services.is_running(DATA_MONITOR):
            await self.monitor.released()
        clock = self._context.clock
        deadline = clock.monotonic() + START_SECONDS
        while not self.recovery.is_settled and clock.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
        if self.recovery.state is not State.IDLE:  # its services stay stopped until fall-back
            _raise_first(self.services, await self.services.start_wanted(Kind.FEATURE))
        self._is_up = True
        self.recovery.look()

    async def stop(self) -> None:
        """Hand everybody over, then stop the services."""
        await self.recovery.leave()
        await self.services.close()
        if isinstance(self.tenures, Tenures):
            await self.tenures.stop()

    async def hand_over(self) -> None:
        """Give all people to the other node of the group, as an administrator's fail-over does.

        Nothing is done where high availability is off: they stay this node's. Raises HandOverError.
        """
        recovery, homes = self.recovery, self._context.homes
        if not recovery.is_enabled or not homes.here:
            return
        try:
            recovery.ask(Request.FAILOVER)
        except Refused as refused:
            raise HandOverError(str(refused)) from None
        before = recovery.state
        has_begun = False
        deadline = self._context.clock.monotonic() + HAND_OVER_SECONDS
        while homes.here or recovery.state is State.FAILING_OVER:
            is_back = has_begun and recovery.state in (before, State.FAILED)
            if is_back or (not has_begun and self._context.clock.monotonic() > deadline):
                raise HandOverError("The other node has not taken over. See: ubiety utils ha status")
            has_begun = has_begun or recovery.state is not before
            await asyncio.sleep(LOOK_SECONDS)

    @property
    def health(self) -> Health:
        """Return whether a load balancer may send clients here."""
        down = [name for name in _FOR_CLIENTS if not self.services.is_running(name)]
        sets = self.tenures.serving()
        return judge(
            Facts(
                self._is_up,
                self.services.held_back,
                self._service.is_draining,
                sets,
                self.node_id,
                down,
            )
        )

    @property
    def sip_health(self) -> Health:
        """Return whether a load balancer may send SIP requests here.

        A routing node serves nobody, its SIP federation service is deactivated: it passes on (facts §5.1).
        """
        federation = self.services.find(SIP_FEDERATION)
        needed = [ROUTER, SIP_PROXY] + [SIP_FEDERATION] * federation.decision.activated
        return judge(
            Facts(
                self._is_up,
                self.services.held_back,
                self._service.is_draining,
                self.tenures.serving(),
                self.node_id,
                [name for name in needed if not self.services.is_running(name)],
                passes_on=self._sees_others(),
            )
        )

    def _sees_others(self) -> bool:
        links = self._context.links
        others = self._topology.value.others(self.node_id)
        return links is not None and any(links.is_up(other) for other in others)

    # -- parts ---------------------------------------------------------------------------------------

    def _own_hooks(self, web: Listeners, drop_web: Callable[[], Awaitable[None]]) -> dict[str, Hooks]:
        async def close_web() -> None:
            web.close()
            await drop_web()

        return {
            ADMIN: Hooks(web.open, close_web),
            DATA_MONITOR: self._supervised(DATA_MONITOR, lambda: self.monitor.run()),
            CONFIG_MANAGER: self._supervised(CONFIG_MANAGER, self._changes.run),
            RECOVERY_MANAGER: Hooks(lambda: self.recovery.start(), lambda: self.recovery.stop()),
        }

    def _supervised(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> Hooks:
        """Return the hooks of a service that is one coroutine: when that ends, the service has failed."""

        async def start() -> None:
            self.services.supervise(name, run())

        async def stop() -> None:
            self.services.release(name)

        return Hooks(start, stop)

    def _hold_back(self, why: str) -> None:
        self.services.held_back = why

    def _fence(self, bus: Bus | None) -> None:
        """Have nothing written and nothing answered for a set that is another node's by now."""
        homes, tenures = self._context.homes, self.tenures
        if not isinstance(tenures, Tenures):
            return
        self._context.database.fence = tenures.held
        self._context.ledger.fence = PeopleFence(tenures, homes)
        self._context.ledger.on_fenced = tenures.suspect
        tenures.on_deadline = partial(setattr, self._service, "serves_until")
        self._service.overdue = tenures.check
        if bus is not None:
            bus.check = tenures.check
        tenures.watch_serving(self._whereabouts.announce)
        tenures.watch_leases(self._whereabouts.read)

    def _say_what_misses(self, node_id: int) -> str:
        """What it means for people that a node is not heard of, and what can be done."""
        name = self._topology.value.name_of(node_id)
        words = without_service(self._context.homes, self._context.links, self._topology.value, node_id)
        return (
            f"{words} Start {name}; gone for good: ubiety node remove {name} --move-people." if words else ""
        )

    def _follow(self, topology: Topology) -> None:
        """The nodes of the cluster were changed."""
        own = topology.node(self.node_id)
        self.monitor.core.is_publisher = own is None or own.is_publisher
        self.recovery.look()

    def _tell(self) -> None:
        """Begin and end the alarms about what is no condition of the data monitor."""
        services, links = self.services, self._context.links
        services.outside(DATABASE, self.monitor.problem(monitor.DATABASE))
        monitor.tell_restarts(self.alarms, self._context.settings.restart_needed())
        monitor.tell_services(self.alarms, services.not_running() if self._is_up else {})
        if self._bus is not None:
            self._bus_alarm.seen(self._bus.problem, self._context.clock.monotonic())
        if links is not None:
            topology = self._topology.value
            others = topology.others(self.node_id)
            missing = {
                topology.name_of(one): self._say_what_misses(one) for one in others if not links.is_up(one)
            }
            self._peers.seen(missing, self._context.clock.monotonic())


_FOR_CLIENTS = (ROUTER, CONNECTION_MANAGER)


def _raise_first(services: ControlCenter, failed: Sequence[str]) -> None:
    """End the start of the node when a service cannot start: a taken port must not go unseen."""
    for name in failed:
        error = services.find(name).error
        if error is not None:
            raise error


def _make_tenures(
    row: NodeRow, config: Config, database: Database, links: Links | None
) -> Tenures | AlwaysServing:
    if database.is_sqlite:
        return AlwaysServing(database, row.id, config.node)
    return Tenures(row.id, database.url, links)
