"""What the sender's home does in the database for messages that got no verdict (design.md §2).

It writes them to the recipients' rows, draws the epochs that recipients' homes go on in, and looks up, before
a message is sent a second time, whether the node that was silent has committed it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from sqlalchemy import Connection

from ubiety.clock import Clock
from ubiety.routing.homes import Homes
from ubiety.routing.lanes import Lane, Waiting
from ubiety.routing.remote_home import Home, mark_of
from ubiety.routing.verdict import DELIVERED, Settled
from ubiety.store import epochs, strays
from ubiety.store.database import Database
from ubiety.store.errors import CommitUnknown, StoreError
from ubiety.store.strays import NUMBER, Stray
from ubiety.telemetry import Counters, event

BATCH = 500
PAUSE_SECONDS = 1.0
"""Before the database is asked again after it failed."""


class Sender(Protocol):
    """Whose messages are written (``remote.RemoteNodes``)."""

    homes: Homes
    home: Home
    counters: Counters

    def node_of(self, lane: Lane) -> int | None:
        """Return the node that serves a lane's recipient."""

    def is_waiting(self, waiting: Waiting) -> bool:
        """Tell whether a message has no verdict yet."""

    def settle(self, waiting: Waiting, verdict: Settled) -> None:
        """Give a message its verdict."""

    def unlock(self, lane: Lane) -> None:
        """The database has answered: go on with a lane."""


class Rescue:
    """Writes and looks up; at most one of each at a time, for all lanes that need it together."""

    def __init__(
        self,
        sender: Sender,
        database: Database,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        clock: Clock,
    ) -> None:
        self._sender = sender
        self._database = database
        self._spawn = spawn
        self._clock = clock
        self._is_storing = False
        self._rests_until = 0.0
        self._doubtful: list[Lane] = []
        self._ungranted: dict[int, list[Lane]] = {}

    # -- writing -----------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """True while messages are being written, and for a moment after the database failed."""
        return self._is_storing or self._clock.monotonic() < self._rests_until

    def store(self, lanes: list[Lane]) -> None:
        """Write all messages of some lanes: a newer one must not go another way than an older one."""
        self._is_storing = True
        _lock(lanes)
        self._spawn(self._store(lanes))

    async def store_all(self, lanes: list[Lane]) -> None:
        """Write all messages of some lanes and wait for it."""
        lanes = [lane for lane in lanes if not lane.is_locked]
        self._is_storing = True
        _lock(lanes)
        await self._store(lanes)

    async def _store(self, lanes: list[Lane]) -> None:
        try:
            for node, group in self._by_node(lanes).items():
                waiting = [waiting for lane in group for waiting in lane.items.values()]
                for start in range(0, len(waiting), BATCH):
                    await self._store_batch(node, waiting[start : start + BATCH])
        except StoreError as error:
            event("messages_not_stored", level="error", reason=str(error))
            self._rests_until = self._clock.monotonic() + PAUSE_SECONDS
        finally:
            self._is_storing = False
            for lane in lanes:
                self._sender.unlock(lane)

    def _by_node(self, lanes: Iterable[Lane]) -> dict[int | None, list[Lane]]:
        """One epoch is for the people of one node only."""
        groups: dict[int | None, list[Lane]] = {}
        for lane in lanes:
            groups.setdefault(self._sender.node_of(lane), []).append(lane)
        return groups

    async def _store_batch(self, node: int | None, batch: list[Waiting]) -> None:
        sender = self._sender
        refusals = await sender.home.refusals([(w.lane.person, w.stanza) for w in batch])
        for waiting, refusal in zip(batch, refusals, strict=True):
            if refusal is not None and sender.is_waiting(waiting):
                sender.settle(waiting, refusal)
        batch = [waiting for waiting in batch if sender.is_waiting(waiting)]
        if not batch:
            return
        rows = [self._stray(waiting) for waiting in batch]
        doubts = [len(row.doubts) for row in rows]
        try:
            # Apart from the rows: until it is committed nobody else gets an epoch.
            epoch, grant = await self._database.write_open(strays.draw)
            numbers = await self._database.write_open(strays.insert, epoch, rows)
        except CommitUnknown:
            raise
        except StoreError:
            for row, known in zip(rows, doubts, strict=True):
                del row.doubts[known:]  # of this try nothing is there
            raise
        for waiting, number in zip(batch, numbers, strict=True):
            lane = waiting.lane
            lane.stored[waiting.token] = number
            lane.grant = (node, grant) if node is not None else None
            waiting.doubts = None
            if sender.is_waiting(waiting):
                sender.settle(waiting, DELIVERED)
        sender.counters.unanswered_messages += len(batch)
        event("messages_stored", count=len(batch), node=node or 0)

    def _stray(self, waiting: Waiting) -> Stray:
        person, stanza = waiting.lane.person, waiting.stanza
        if waiting.doubts is None:
            waiting.doubts = []
        by = person.jid.bare_jid().xml.encode()
        stanza_id = b"<stanza-id xmlns='urn:xmpp:sid:0' by='%b' id='%b'/>" % (by, NUMBER)
        return Stray(
            recipient_id=person.user_id,
            stamp=waiting.stamp,
            stanza=stanza.to_bytes(extra=stanza_id),
            sender_id=waiting.sender_id or None,
            origin_id=self._origin_id(waiting) or mark_of(self._sender.homes.node_id, waiting.token),
            doubts=waiting.doubts,
        )

    def _origin_id(self, waiting: Waiting) -> str | None:
        """Return by what the recipient's home knows a repeat: only those of promised messages count."""
        return self._sender.home.origin_id(waiting.stanza) if waiting.promised else None

    # -- epochs ------------------------------------------------------------------------------------

    def draw(self, lane: Lane, node: int) -> None:
        """Get an epoch for the home of a recipient to go on in, one for all who need it now."""
        _lock([lane])
        lanes = self._ungranted.setdefault(node, [])
        lanes.append(lane)
        if len(lanes) == 1:
            self._spawn(self._draw(node))

    async def _draw(self, node: int) -> None:
        await asyncio.sleep(0)  # whoever needs one now shares it; later ones may need a greater one
        lanes = self._ungranted.pop(node)
        epoch = 0
        if self._clock.monotonic() >= self._rests_until:
            try:
                epoch = await self._database.write_open(epochs.take_number)
            except StoreError as error:
                event("epoch_not_drawn", level="warning", reason=str(error))
                self._rests_until = self._clock.monotonic() + PAUSE_SECONDS
        for lane in lanes:
            lane.grant = (node, epoch) if epoch else None
            if epoch:
                self._sender.unlock(lane)
            else:
                lane.is_locked = False  # the next look tries again

    # -- before a message is sent again --------------------------------------------------------------

    def look_up(self, lane: Lane) -> None:
        """Settle those messages of a lane that were sent before and are committed."""
        _lock([lane])
        self._doubtful.append(lane)
        if len(self._doubtful) == 1:
            self._spawn(self._look_up())

    async def _look_up(self) -> None:
        while self._doubtful:
            lanes = self._doubtful[:BATCH]
            doubtful = [w for lane in lanes for w in lane.items.values() if w.is_again]
            found: list[bool] = []
            try:
                found = await self._database.read(_committed, [self._stray(waiting) for waiting in doubtful])
            except StoreError as error:  # at worst it comes twice, with the same origin id
                event("messages_not_looked_up", level="warning", reason=str(error))
            for waiting, is_there in zip(doubtful, found, strict=False):
                if is_there and self._sender.is_waiting(waiting):
                    self._sender.settle(waiting, DELIVERED)
            for waiting in doubtful:
                waiting.is_again = False
            del self._doubtful[: len(lanes)]
            for lane in lanes:
                self._sender.unlock(lane)


def _lock(lanes: Iterable[Lane]) -> None:
    for lane in lanes:
        lane.is_locked = lane.is_stalled = True


def _committed(conn: Connection, rows: list[Stray]) -> list[bool]:
    return [
        strays.find_same(conn, row.sender_id, row.recipient_id, row.origin_id, row.stamp) is not None
        for row in rows
    ]
