"""The Cisco Server Recovery Manager: drives the core of redundancy, and carries its orders out.

It tells the peer several times a second how this node is, hears the same of the peer, watches the critical
services, the database and the leases, and gives all of that to ``cluster/redundancy.py``. What comes back it
does: take sets over, hand them over, start and stop services, write state and reason down.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from math import inf
from typing import Any, Protocol

from ubiety.clock import Clock
from ubiety.cluster.alarms import FAILED, FAILOVER, Alarms
from ubiety.cluster.recovery_settings import (
    AUTOMATIC_FALLBACK,
    CRITICAL_DELAY,
    FALLBACK_MINUTES,
    HEARTBEAT_INTERVAL,
    HEARTBEAT_TIMEOUT,
    INITIAL_TIMEOUT,
)
from ubiety.cluster.redundancy import Redundancy
from ubiety.cluster.serving import Serving
from ubiety.cluster.states import (
    Announce,
    Broken,
    Configured,
    HandedOver,
    HandOver,
    HealthSeen,
    Heartbeat,
    Holder,
    Input,
    LeasesSeen,
    Limits,
    NotTaken,
    Order,
    Reason,
    Request,
    Requested,
    Services,
    ServicesSettled,
    ServingSeen,
    State,
    Taken,
    TakeOver,
)
from ubiety.cluster.tenure import Lost
from ubiety.cluster.topology import Topology
from ubiety.cluster.transitions import AIMS, Aim
from ubiety.routing.links import Item, Kind, LinkEvent, Links
from ubiety.settings import Settings
from ubiety.store import nodes
from ubiety.store.database import Database
from ubiety.store.errors import StoreError
from ubiety.telemetry import event

MINUTE = 60.0

COVERING = frozenset({State.TAKING_OVER, State.BACKUP, State.BACKUP_ACTIVATED, State.FALLING_BACK})
"""States in which a node serves its peer's people, or is about to."""
TURN = 0.25
"""The longest time between two looks at everything (seconds)."""
WRITE_SECONDS = 5.0
START_SECONDS = 60.0
"""Time that critical services have to start when the node does, before they count as down."""


class Tenures(Protocol):
    """The right to serve sets: leases and holds (``cluster/tenures.py``)."""

    def serving(self) -> Collection[int]:
        """The sets that this node may serve now."""

    def set_rivals(self, rivals: Mapping[int, int]) -> None:
        """Say which other node may take each set that we serve or might serve; those absent: none may."""

    @property
    def are_rivals_named(self) -> bool:
        """Whether the leases name them, so that they may take the sets when this node dies."""

    def watch(self, notice: Callable[[Lost], None]) -> None:
        """Have ``notice(lost)`` called when a set may be served no more."""

    def holders(self) -> Mapping[int, int] | None:
        """Set -> the node whose lease on it is alive, as just read; None while the database is away."""


class ServicesHealth(Protocol):
    """The critical services of this node (``cluster/control.py``)."""

    @property
    def held_back(self) -> str:
        """Why services have not been started yet; empty: they may."""

    def critical_down(self) -> list[str]:
        """The critical services that do not run, by name."""

    async def stop_all(self) -> None:
        """Stop the critical services."""

    async def start_all(self) -> list[str]:
        """Start them; returns the names of those that failed."""


class Refused(Exception):
    """A request does not fit the state of the pair; the text says which one does."""


class Recovery:
    """The recovery manager of one node. Made and used in the loop."""

    def __init__(
        self,
        *,
        node_id: int,
        boot: str,
        was: str,
        topology: Callable[[], Topology],
        settings: Settings,
        clock: Clock,
        database: Database,
        tenures: Tenures,
        serving: Serving,
        services: ServicesHealth,
        links: Links | None,
        alarms: Alarms,
    ) -> None:
        """``was``: the state of this node that was written down before this start."""
        self.node_id = node_id
        self._boot = boot
        self._was = _known_state(was)
        self._topology = topology
        self._settings = settings
        self._clock = clock
        self._database = database
        self._tenures = tenures
        self._serving = serving
        self._services = services
        self._links = links
        self._alarms = alarms
        self._down_since: float | None = None
        self._were_up = False
        self._made_at = clock.monotonic()
        self._said_at = float("-inf")
        self._poke = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._run: asyncio.Task[None] | None = None
        self._written: tuple[State, Reason] | None = None
        self._is_writing = False
        self.core = self._make_core(self._was)
        tenures.watch(lambda _lost: self.look())
        if links is not None:
            links.handle(Kind.HEARTBEAT, self._hear)
            links.watch(self._link_changed)

    # -- what others call ------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to work: the start of the service."""
        if self._run is None:
            self.core = self._make_core(self._was)
            self._written = None
            self._run = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """End the service: people stay served as they are, nobody fails over any more."""
        if self._run is not None:
            run, self._run = self._run, None
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
            self._was = self.core.state

    async def leave(self) -> None:
        """End the node on purpose: hand everybody over and say good-bye, so that the peer need not wait."""
        await self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=WRITE_SECONDS)
        for set_id in sorted(self._tenures.serving()):
            await self._hand_over(set_id, self.core)
        self._send(self.core.heartbeat(self._clock.monotonic(), is_leaving=True))

    def look(self) -> None:
        """Look at everything again, soon: something has changed."""
        self._poke.set()

    @property
    def state(self) -> State:
        """The state of this node."""
        return self.core.state

    @property
    def reason(self) -> Reason:
        """Why it is in it."""
        return self.core.reason

    @property
    def is_settled(self) -> bool:
        """Whether it is decided, and done, what this node serves after its start."""
        if self.state is State.INITIALIZING:
            return False
        return AIMS[self.state][0] is not Aim.TAKE or self.node_id in self._tenures.serving()

    @property
    def is_enabled(self) -> bool:
        """Whether this node has taken over that high availability is on."""
        return self.core.facts.is_enabled

    @property
    def is_in_force(self) -> bool:
        """Whether the peer could take over if this node died now."""
        return self.is_enabled and self._tenures.are_rivals_named

    @property
    def is_running(self) -> bool:
        """Whether the service runs."""
        return self._run is not None

    @property
    def has_database(self) -> bool:
        """Whether this node reaches the database."""
        return self._tenures.holders() is not None

    @property
    def peer_id(self) -> int:
        """The other node of the group, 0 if there is none."""
        backup = self._topology().backup_of(self.node_id)
        return backup.id if backup is not None else 0

    def ask(self, request: Request) -> None:
        """Do what an administrator asks for. Raises Refused."""
        if self._run is None:
            raise Refused("The Cisco Server Recovery Manager does not run on this node.")
        if not self.is_enabled:
            raise Refused("High availability is off for this group.")
        refusal = self.core.refusal(request, self._clock.monotonic())
        if refusal:
            raise Refused(refusal)
        event("redundancy_requested", request=request.value, state=self.state.value)
        self._give(Requested(request))

    def critical_down(self) -> list[str]:
        """The services that count as critical and do not run."""
        return self._services.critical_down()

    # -- the loop ----------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            self._poke.clear()
            try:
                self._look_around()
            except Exception as error:  # noqa: BLE001  redundancy goes on, and shows that it is broken
                event("redundancy_broken", level="error", reason=str(error), exc_info=error)
                self._perform(self.core.receive(Broken(), self._clock.monotonic()))
            try:
                async with asyncio.timeout(self._pause()):
                    await self._poke.wait()
            except TimeoutError:
                pass

    def _look_around(self) -> None:
        peer_id = self.peer_id
        if peer_id != self.core.facts.peers:  # the group was changed
            self.core = self._make_core(State.UNKNOWN)
        is_on = self._is_ha_on()
        # Whatever is switched, a set's own node may always take it back when its backup is gone.
        self._tenures.set_rivals({self.node_id: peer_id if is_on else 0, peer_id: peer_id})
        self._give(Configured(is_on, self._limits()))
        self._give(ServingSeen(frozenset(self._tenures.serving())))
        holders = self._tenures.holders()
        self._give(HealthSeen(self._see_services(), holders is not None))
        if holders is not None:
            self._give(LeasesSeen(self._holder(holders, self.node_id), self._holder(holders, peer_id)))
        now = self._clock.monotonic()
        if now - self._said_at >= self._settings.get(HEARTBEAT_INTERVAL):
            self._say(self.core.heartbeat(now))
        self._write_down()

    def _pause(self) -> float:
        now = self._clock.monotonic()
        due = self._said_at + self._settings.get(HEARTBEAT_INTERVAL)
        deadline = self.core.deadline(now)
        return max(0.01, min(TURN, due - now, TURN if deadline is None else deadline - now))

    def _is_ha_on(self) -> bool:
        group = self._topology().group_of(self.node_id)
        return group is not None and group.is_pair and group.ha_enabled

    def _limits(self) -> Limits:
        get = self._settings.get
        minutes = get(FALLBACK_MINUTES) if get(AUTOMATIC_FALLBACK) else None
        return Limits(
            heartbeat_timeout=max(get(HEARTBEAT_TIMEOUT), 3 * get(HEARTBEAT_INTERVAL)),
            initial_timeout=get(INITIAL_TIMEOUT),
            critical_delay=get(CRITICAL_DELAY),
            fallback_after=None if minutes is None else minutes * MINUTE,
        )

    def _see_services(self) -> float | None:
        now = self._clock.monotonic()
        if not self.critical_down():
            self._were_up, self._down_since = True, None
        elif self._services.held_back or (not self._were_up and now - self._made_at < START_SECONDS):
            self._down_since = inf  # not started yet
        elif self._down_since is None or self._down_since == inf:
            self._down_since = now
        return self._down_since

    def _holder(self, holders: Mapping[int, int], set_id: int) -> Holder:
        owner = holders.get(set_id, 0)
        if not owner:
            return Holder.FREE
        return Holder.OURS if owner == self.node_id else Holder.PEERS

    # -- heartbeats --------------------------------------------------------------------------------

    def _say(self, heartbeat: Heartbeat) -> None:
        self._said_at = self._clock.monotonic()
        self._send(heartbeat)

    def _send(self, heartbeat: Heartbeat) -> None:
        if self._links is not None and self.peer_id and self._links.is_up(self.peer_id):
            self._links.send(self.peer_id, pack(heartbeat))

    def _link_changed(self, node_id: int, what: LinkEvent) -> None:
        if node_id == self.core.facts.peers and what in (LinkEvent.UP, LinkEvent.RESTARTED):
            self._said_at = float("-inf")
            self.look()

    def _hear(self, node_id: int, item: Item) -> None:
        if self._run is None or node_id != self.core.facts.peers:
            return
        heartbeat = unpack(item)
        if heartbeat is not None:
            self._give(heartbeat)

    # -- orders ------------------------------------------------------------------------------------

    def _make_core(self, was: State) -> Redundancy:
        return Redundancy(self.node_id, self.peer_id, self._boot, was, self._clock.monotonic())

    def _give(self, given: Input) -> None:
        self._perform(self.core.receive(given, self._clock.monotonic()))

    def _perform(self, orders: Iterable[Order]) -> None:
        for order in orders:
            match order:
                case TakeOver(set_id):
                    self._spawn(self._take_over(set_id, self.core))
                case HandOver(set_id):
                    self._spawn(self._hand_over(set_id, self.core))
                case Services():
                    self._spawn(self._order_services(order, self.core))
                case Announce(heartbeat):
                    self._announce(heartbeat)

    def _announce(self, heartbeat: Heartbeat) -> None:
        self._say(heartbeat)
        self._write_down()
        self._tell_alarms()

    def _tell_alarms(self) -> None:
        if self.state in COVERING:
            name_of, reason = self._topology().name_of, self.reason.value
            text = f"{name_of(self.node_id)} serves the people of {name_of(self.peer_id)} as well: {reason}."
            self._alarms.begin(FAILOVER, text)
        else:
            self._alarms.end(FAILOVER)
        if self.state is State.FAILED:
            self._alarms.begin(FAILED, f"The redundancy group is in failed mode: {self.reason.value}.")
        else:
            self._alarms.end(FAILED)

    async def _take_over(self, set_id: int, core: Redundancy) -> None:
        began, is_taken = self._clock.monotonic(), False
        try:
            is_taken = await self._serving.begin(set_id)
        except StoreError as error:
            event("take_over_failed", level="warning", set=set_id, reason=str(error))
        except Exception as error:  # noqa: BLE001  tried again until it is overdue
            event("take_over_failed", level="error", set=set_id, reason=str(error), exc_info=error)
        if is_taken:
            seconds = round(self._clock.monotonic() - began, 3)
            event("set_taken_over", set=set_id, seconds=seconds, state=self.state.value)
        self._answer(core, Taken(set_id) if is_taken else NotTaken(set_id))

    async def _hand_over(self, set_id: int, core: Redundancy) -> None:
        try:
            await self._serving.end(set_id)
            event("set_handed_over", set=set_id, state=self.state.value)
        except StoreError as error:
            event("hand_over_failed", level="warning", set=set_id, reason=str(error))
        except Exception as error:  # noqa: BLE001  the set is served here no more in any case
            event("hand_over_failed", level="error", set=set_id, reason=str(error), exc_info=error)
        self._answer(core, HandedOver(set_id))

    async def _order_services(self, order: Services, core: Redundancy) -> None:
        failed: list[str] = []
        try:
            if order is not Services.START:
                await self._until_served_elsewhere(order)
                await self._services.stop_all()
            if order is not Services.STOP:
                failed = await self._services.start_all()
        except Exception as error:  # noqa: BLE001  whatever it was, they do not run
            event("services_not_settled", level="error", order=order.value, reason=str(error), exc_info=error)
            failed = self.critical_down() or [str(error)]
        self._see_services()
        self._answer(core, ServicesSettled(tuple(failed)))

    def _answer(self, core: Redundancy, given: Input) -> None:
        if core is self.core and self._run is not None:
            self._give(ServingSeen(frozenset(self._tenures.serving())))
            self._give(given)
        self.look()

    async def _until_served_elsewhere(self, order: Services) -> None:
        """Whoever is served here is handed over before the services stop."""
        deadline = self._clock.monotonic() + self.core.facts.limits.transition
        while order is Services.STOP and self._tenures.serving() and self._clock.monotonic() < deadline:
            await asyncio.sleep(TURN)

    # -- writing down ------------------------------------------------------------------------------

    def _write_down(self) -> None:
        now = (self.state, self.reason)
        if now == self._written or self._is_writing or not self.core.facts.has_database:
            return
        self._is_writing = True
        event("redundancy_changed", state=now[0].value, reason=now[1].value)
        self._spawn(self._write(now))

    async def _write(self, now: tuple[State, Reason]) -> None:
        at = self._clock.now()
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._database.write_open(nodes.set_state, self.node_id, now[0].value, now[1].value, at)
            self._written = now
        except (StoreError, TimeoutError) as error:
            event("state_not_written", level="warning", reason=str(error))
        finally:
            self._is_writing = False
            self.look()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def pack(heartbeat: Heartbeat) -> Item:
    """Return a heartbeat as an item for the links."""
    return (
        Kind.HEARTBEAT,
        heartbeat.state.name,
        heartbeat.reason.name,
        heartbeat.is_ready,
        heartbeat.is_broken,
        heartbeat.has_database,
        heartbeat.boot,
        heartbeat.is_leaving,
    )


def unpack(item: Item) -> Heartbeat | None:
    """Return the heartbeat of an item; None when a newer release says what this one does not know."""
    try:
        _, state, reason, is_ready, is_broken, has_database, boot, is_leaving = item[:8]
        return Heartbeat(State[state], Reason[reason], is_ready, is_broken, has_database, boot, is_leaving)
    except (KeyError, ValueError):
        return None


def _known_state(text: str) -> State:
    return next((state for state in State if state.value == text), State.UNKNOWN)
