"""Which sets this node serves now, kept with leases and holds; and the same where nobody else is there.

``Tenures`` is for PostgreSQL: it joins the pure ``Tenure``, the thread that talks with the database, and the
questions for holds over the links. ``AlwaysServing`` is for SQLite: the lock on the data directory is lease
enough (design.md §1, "Embedded default").
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from time import monotonic
from typing import Any

from sqlalchemy.engine import URL

from ubiety.cluster.leases import LeaseThread, take
from ubiety.cluster.tenure import LEASE, RENEW, AskHold, Lost, Tenure
from ubiety.routing.homes import Homes
from ubiety.routing.links import Links, NodeUnreachable
from ubiety.store import driver, epochs, leases
from ubiety.store.database import Database
from ubiety.store.errors import StoreError
from ubiety.store.leases import Held, Lease
from ubiety.telemetry import event

TICK = 0.25
HOLD_SECONDS = 1.0
"""An answer about a hold that takes longer is not waited for."""
READ_SECONDS = 1.5
"""Rows that were read longer ago say nothing."""
HOLD = "hold"


class ServedTwice(StoreError):
    """Another process serves as this node; the text names the cure."""


class Tenures:
    """The sets of one node on PostgreSQL. Everything is called in the loop, except where noted."""

    def __init__(self, node_id: int, url: URL, links: Links | None = None) -> None:
        self.node_id = node_id
        self.deadline = inf
        """Until when all of ``serving`` may be served, on the monotonic clock; changed by any thread."""
        self.on_deadline: Callable[[float], None] = lambda _deadline: None
        """Called, in any thread, with the deadline when it has changed."""
        self.leases: dict[int, Lease] = {}
        """The rows of all sets as they were read last, and when (monotonic) that was."""
        self.read_at = -inf
        self._held: tuple[Held, ...] = ()
        self._sets: frozenset[int] = frozenset()
        self._links = links
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._tenure = Tenure(node_id, monotonic())
        self._ticked = monotonic()
        self._thread = LeaseThread(url, self._tenure, self._lock, lambda: self._ticked, self._told)
        self._on_lost: list[Callable[[Lost], None]] = []
        self._on_change: list[Callable[[], None]] = []
        self._on_read: list[Callable[[Mapping[int, Lease]], None]] = []
        self._ticker: asyncio.TimerHandle | None = None
        self._asking: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        if links is not None:
            links.answer(HOLD, self._grant)

    def start(self) -> None:
        """Begin to renew and to look at the time."""
        self._tick()
        self._thread.start()

    async def wait_for_own(self, set_id: int, name: str) -> None:
        """Wait until the lease that an earlier process of this node has left behind has run out.

        Raises ServedTwice when it is renewed meanwhile. What the database cannot tell is not waited for.
        """
        deadline, first = monotonic() + LEASE + READ_SECONDS, inf
        while monotonic() < deadline:
            lease = self.leases.get(set_id)
            if self.read_at > -inf and (lease is None or lease.owner != self.node_id or lease.left < 0):
                return
            if lease is not None:
                ends = self.read_at + lease.left
                first = min(first, ends)
                if ends > first + RENEW / 2:
                    raise ServedTwice(
                        f"Another process serves as the node {name} on this database. Stop it, or give this "
                        "one a name of its own: UBIETY_NODE, or `name` below [node] in ubiety.toml."
                    )
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Renew no more. What is still served runs out by itself: give it before."""
        if self._ticker is not None:
            self._ticker.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._loop.run_in_executor(None, self._thread.stop)

    # -- what is served --------------------------------------------------------------------------------------

    def serving(self) -> dict[int, int]:
        """Return set -> epoch of what this node serves."""
        with self._lock:
            return self._tenure.serving()

    def held(self) -> Sequence[Held]:
        """Return the same as pairs, for the fence; in any thread."""
        return self._held

    def may_serve(self, set_id: int) -> bool:
        """Tell whether a set is among them."""
        return set_id in self._sets

    @property
    def has_database(self) -> bool:
        """Whether the database has answered lately."""
        with self._lock:
            return not self._tenure.is_blind(monotonic())

    def set_rivals(self, rivals: Mapping[int, int]) -> None:
        """Say which other node may take each set that we serve or might serve; those absent: none may."""
        with self._lock:
            self._tenure.set_rivals(rivals)

    @property
    def are_rivals_named(self) -> bool:
        """Whether the leases name them, so that they may take the sets when this node dies."""
        with self._lock:
            return self._tenure.are_rivals_named()

    def watch(self, notice: Callable[[Lost], None]) -> None:
        """Have ``notice(lost)`` called at once when a set may be served no more."""
        self._on_lost.append(notice)

    def watch_serving(self, notice: Callable[[], None]) -> None:
        """Have ``notice()`` called after each change of what is served here."""
        self._on_change.append(notice)

    def holders(self) -> Mapping[int, int] | None:
        """Return set -> the node whose lease on it lives, as just read; None while the database is away."""
        if not self.has_database or monotonic() - self.read_at > READ_SECONDS:
            return None
        return {set_id: lease.owner for set_id, lease in self.leases.items() if lease.is_live}

    def watch_leases(self, notice: Callable[[Mapping[int, Lease]], None]) -> None:
        """Have ``notice(set -> lease)`` called each time that the rows were read."""
        self._on_read.append(notice)

    async def take(self, set_id: int) -> int | None:
        """Begin to serve a set and return its new epoch; None when it is not ours to take, or not yet.

        Try again later: it may be promised to the other node, the database may be away.
        """
        with self._lock:
            order = self._tenure.take(set_id, monotonic())
        if order is None:
            return None
        epoch: int | None = None
        try:
            asked = self._thread.ask(lambda conn: take(conn, order, self.node_id))
            epoch = await asyncio.shield(asyncio.wrap_future(asked))
        except driver.Error as error:
            event("lease_not_taken", level="warning", set_id=set_id, reason=str(error).strip())
        finally:
            with self._lock:
                self._tenure.taken(order, epoch)
                until = self._tenure.until(set_id)
                self._mirror()
        if epoch is None or until <= monotonic():
            self.check()
            return None
        event("lease_taken", set_id=set_id, epoch=epoch, node=self.node_id, until=_wall(until))
        event("set_served", set_id=set_id, epoch=epoch, node=self.node_id, at=time.time())
        self._tell_change()
        return epoch

    async def give(self, set_id: int) -> None:
        """Free a set that is no longer served; when the database cannot be told it runs out by itself."""
        with self._lock:
            epoch = self._tenure.give(set_id)
            self._mirror()
        if epoch is None:
            return
        self._log_release(Lost(set_id, epoch, monotonic(), "given"))
        self._tell_change()
        try:
            asked = self._thread.ask(lambda conn: leases.give(conn, set_id, self.node_id, epoch))
            await asyncio.shield(asyncio.wrap_future(asked))
        except driver.Error as error:
            event("lease_not_given", level="warning", set_id=set_id, reason=str(error).strip())

    def check(self) -> None:
        """Stop at once to serve what may be served no more; call it when ``deadline`` has passed."""
        now = monotonic()
        if now < self.deadline:
            return
        with self._lock:
            over = self._tenure.expire(now)
            self._mirror()
        for lost in over:
            event("lease_lost", level="error", set_id=lost.set_id, epoch=lost.epoch, reason=lost.reason)
            for notice in self._on_lost:
                notice(lost)
            self._log_release(lost)
        if over:
            self._tell_change()

    def _tell_change(self) -> None:
        for notice in self._on_change:
            notice()

    def suspect(self) -> None:
        """Ask the database at once whether the leases are still ours: a write was refused."""
        self._thread.hurry()

    def _log_release(self, lost: Lost) -> None:
        event(
            "set_released",
            set_id=lost.set_id,
            epoch=lost.epoch,
            node=self.node_id,
            until=_wall(lost.until),
            at=time.time(),
            reason=lost.reason,
        )

    # -- the thread's news -----------------------------------------------------------------------------------

    def _told(self, found: Sequence[Lease] | None) -> None:
        """In the thread: pass on what a round has changed."""
        with self._lock:
            self._mirror()
        try:
            self._loop.call_soon_threadsafe(self._read, found)
        except RuntimeError:  # the loop is closed
            return

    def _mirror(self) -> None:
        """With the lock: show what the tenure says where it is read without one."""
        serving = self._tenure.serving()
        self._held, self._sets = tuple(serving.items()), frozenset(serving)
        deadline = self._tenure.deadline()
        if deadline != self.deadline:
            self.deadline = deadline
            self.on_deadline(deadline)

    def _read(self, found: Sequence[Lease] | None) -> None:
        self.check()
        if found is None:
            return
        self.read_at = now = monotonic()
        self.leases = {lease.set_id: self._with_hold(lease, now) for lease in found}
        for notice in self._on_read:
            notice(self.leases)

    def _with_hold(self, lease: Lease, now: float) -> Lease:
        """Return a lease as long as our promise to its owner, who may see the database later than we do."""
        with self._lock:
            left = self._tenure.promised(lease.set_id) - now
        return lease._replace(left=left) if lease.owner != self.node_id and left > lease.left else lease

    # -- the loop's timer ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._ticked = monotonic()
        self._ticker = self._loop.call_later(min(TICK, max(self.deadline - now, 0.01)), self._tick)
        self.check()
        self._thread.break_off(now)
        if self._links is not None and self.deadline != inf:
            with self._lock:
                asks = self._tenure.asks(now)
            for ask in asks:
                if ask.node_id not in self._asking:
                    self._spawn(self._ask(self._links, ask))

    # -- holds -----------------------------------------------------------------------------------------------

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, links: Links, ask: AskHold) -> None:
        self._asking.add(ask.node_id)
        try:
            sets = [list(pair) for pair in ask.sets]
            granted = await links.ask(ask.node_id, HOLD, sets, HOLD_SECONDS)
        except (NodeUnreachable, ValueError):
            return
        finally:
            self._asking.discard(ask.node_id)
        with self._lock:
            self._tenure.held(ask, granted, monotonic())
            self._mirror()

    async def _grant(self, _node_id: int, sets: Any) -> list[int]:
        with self._lock:
            granted = self._tenure.grant([(set_id, epoch) for set_id, epoch in sets], monotonic())
        if granted:
            event("hold_granted", level="debug", sets=granted)
        return granted


class PeopleFence:
    """What the ledger may write: rows of people in the sets that are served (``store.batch.Fence``)."""

    def __init__(self, tenures: Tenures, homes: Homes) -> None:
        self._tenures = tenures
        self._homes = homes

    def held(self) -> Sequence[Held]:
        """Return (set, epoch) of what is served."""
        return self._tenures.held()

    def covers(self, user_id: int) -> bool:
        """Tell whether a person is served here; nobody else writes for those who are unknown."""
        person = self._homes.user(user_id)
        return person is None or self._tenures.may_serve(person.set_id)


class AlwaysServing:
    """The sets of a node that is alone with its database: what it has taken it serves until it gives it."""

    deadline = inf
    are_rivals_named = True

    def __init__(self, database: Database, node_id: int, name: str) -> None:
        self._database = database
        self._node_id = node_id
        self._name = name
        self._serving: dict[int, int] = {}

    def serving(self) -> dict[int, int]:
        """Return set -> epoch of what this node serves."""
        return dict(self._serving)

    def set_rivals(self, rivals: Mapping[int, int]) -> None:
        """There are none."""

    def watch(self, notice: Callable[[Lost], None]) -> None:
        """Nothing is ever lost."""

    async def take(self, set_id: int) -> int | None:
        """Begin to serve a set and return its new epoch. Raises StoreError."""
        epoch = await self._database.write(epochs.next_epoch, set_id, self._name)
        self._serving[set_id] = epoch
        return epoch

    async def give(self, set_id: int) -> None:
        """Serve a set no more."""
        self._serving.pop(set_id, None)

    def holders(self) -> Mapping[int, int] | None:
        """Return set -> this node."""
        return dict.fromkeys(self._serving, self._node_id)


def _wall(moment: float) -> float | None:
    """Return a moment of the monotonic clock as seconds of the wall clock; None: without end."""
    if moment in (inf, -inf):
        return None
    return time.time() - (monotonic() - moment)
