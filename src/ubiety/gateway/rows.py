"""Dialogs put down in the database behind the events that change them, many in one transaction.

A row is what a node needs that takes over: of a subscription or a conversation its dialog, its state and its
time. Who promises something with it waits until it is `written`; the others are written soon after.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from ubiety.store import sip_dialogs, sip_subscriptions
from ubiety.store.database import Database
from ubiety.store.errors import Conflict, DataRefused, Fenced, StoreError
from ubiety.telemetry import event

RETRY_SECONDS: Final = 2.0
BATCH: Final = 500
OF_ONE_ROW: Final = (Conflict, DataRefused, Fenced)
"""Somebody was deleted or moved away meanwhile: of such a batch each row stands for itself."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]
Sleep = Callable[[float], Coroutine[Any, Any, None]]
Waiters = list[asyncio.Future[None]]


class Kept(NamedTuple):
    """What is kept of a dialog."""

    state: str
    """Of a subscription."""
    call_id: str
    record: Mapping[str, Any]
    at: float
    """When a subscription ends, or when a conversation was used last; in seconds since 1970."""


@dataclass(slots=True, eq=False)
class Row:
    """One dialog's place in the database; `id` is None until it has been written."""

    user_id: int
    peer: str
    direction: str = ""
    """Of a subscription."""
    id: int | None = None
    local_cseq: int = 0
    """The dialog's, as it is kept: how far the one in use may be ahead is for the owner to say."""
    is_dropped: bool = False
    unwritten: Kept | None = None


class Changes(NamedTuple):
    """What one transaction writes."""

    gone: list[int]
    changed: list[tuple[int, Kept]]
    fresh: list[tuple[Row, Kept]]


@dataclass(frozen=True, slots=True)
class Table:
    """Where rows of one kind are kept."""

    name: str
    """For the log."""
    write: Callable[[Connection, Changes], list[int]]
    """Returns the ids of the fresh rows, in order."""


class Rows:
    """The rows of one kind of this node's people that are still to be written."""

    def __init__(self, table: Table, database: Database, spawn: Spawn, sleep: Sleep) -> None:
        self._table = table
        self._database = database
        self._spawn = spawn
        self._sleep = sleep
        self._dirty: dict[Row, None] = {}
        self._waiters: dict[Row, Waiters] = {}
        self._under_way: dict[Row, Waiters] = {}
        """Who waits for the transaction that is being written."""
        self._lock = asyncio.Lock()  # a row that is being added has no id yet: it would be added again
        self._is_busy = False

    def __len__(self) -> int:
        return len(self._dirty)

    def put(self, row: Row, kept: Kept) -> None:
        """Have this written."""
        row.unwritten = kept
        self._mark(row)

    def drop(self, row: Row) -> None:
        """Have the row deleted."""
        if not row.is_dropped:
            row.is_dropped = True
            if row.id is not None or row.unwritten is not None:
                self._mark(row)

    def forget(self, row: Row) -> None:
        """Write nothing more of it: another node does from now on."""
        row.unwritten = None
        self._dirty.pop(row, None)
        self._fail(row, Fenced("The row is not this node's any more."))

    async def written(self, row: Row) -> None:
        """Wait until what was put last, or that it was dropped, is committed.

        Raises StoreError if it was not: it stays to be written, unless it is forgotten.
        """
        if row in self._dirty:
            waiters = self._waiters.setdefault(row, [])
        elif row in self._under_way:
            waiters = self._under_way[row]
        else:
            return
        waiter = asyncio.get_running_loop().create_future()
        waiters.append(waiter)
        await waiter

    async def flush(self) -> None:
        """Write all that is still to be written; raises StoreError."""
        async with self._lock:
            try:
                while self._dirty:
                    await self._write_batch()
            finally:
                self._go_on()

    def _mark(self, row: Row) -> None:
        self._dirty[row] = None
        self._go_on()

    def _go_on(self) -> None:
        if self._dirty and not self._is_busy:
            self._is_busy = True
            self._spawn(self._work())

    async def _work(self) -> None:
        try:
            while self._dirty:
                try:
                    async with self._lock:
                        await self._write_batch()
                except StoreError as error:
                    name = f"{self._table.name}s_not_written"
                    event(name, "warning", reason=str(error), rows=len(self))
                    await self._sleep(RETRY_SECONDS)
        finally:
            self._is_busy = False

    async def _write_batch(self) -> None:
        batch = list(self._dirty)[:BATCH]
        try:
            await self._write(batch)
        except OF_ONE_ROW:
            for row in batch:
                await self._write_alone(row)
        except StoreError as error:
            for row in batch:
                self._fail(row, error)
            raise

    async def _write_alone(self, row: Row) -> None:
        try:
            await self._write([row])
        except OF_ONE_ROW as error:
            event(f"{self._table.name}_not_kept", "warning", user_id=row.user_id, reason=str(error))
            self._dirty.pop(row, None)
            self._fail(row, error)

    async def _write(self, batch: Iterable[Row]) -> None:
        """Write these, as far as they are still to be written; after an error they still are."""
        taken = {row: row.unwritten for row in batch if row in self._dirty}
        waiters = self._under_way = {row: self._waiters.pop(row, []) for row in taken}
        for row in taken:
            del self._dirty[row]
        changes = _changes(taken)
        try:
            ids = await self._database.write(self._table.write, changes) if any(changes) else []
        except StoreError:
            for row, waiting in waiters.items():
                self._waiters.setdefault(row, []).extend(waiting)
                if row.is_dropped or row.unwritten is not None:
                    self._dirty.setdefault(row)  # else it was forgotten
            raise
        finally:
            self._under_way = {}
        for (row, _), id in zip(changes.fresh, ids, strict=True):
            row.id = id
        for row, kept in taken.items():
            if row.unwritten is kept:  # else there is something newer by now
                row.unwritten = None
            _settle(waiters[row], None)

    def _fail(self, row: Row, error: StoreError) -> None:
        _settle(self._waiters.pop(row, []), error)


def _settle(waiters: Waiters, error: StoreError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue  # who waited was cancelled
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)


def _changes(rows: Mapping[Row, Kept | None]) -> Changes:
    changes = Changes([], [], [])
    for row, kept in rows.items():
        if row.is_dropped:
            if row.id is not None:
                changes.gone.append(row.id)
        elif kept is not None and row.id is not None:
            changes.changed.append((row.id, kept))
        elif kept is not None:
            changes.fresh.append((row, kept))
    return changes


def _write_subscriptions(conn: Connection, changes: Changes) -> list[int]:
    sip_subscriptions.delete_many(conn, changes.gone)
    updates = [sip_subscriptions.Update(id, *kept) for id, kept in changes.changed]
    sip_subscriptions.update_many(conn, updates)
    fresh = [
        sip_subscriptions.Fresh(row.user_id, row.peer, row.direction, *kept) for row, kept in changes.fresh
    ]
    return sip_subscriptions.add_many(conn, fresh)


def _write_dialogs(conn: Connection, changes: Changes) -> list[int]:
    sip_dialogs.delete_many(conn, changes.gone)
    sip_dialogs.update_many(conn, [sip_dialogs.Update(id, *kept[1:]) for id, kept in changes.changed])
    fresh = [sip_dialogs.Fresh(row.user_id, row.peer, *kept[1:]) for row, kept in changes.fresh]
    return sip_dialogs.add_many(conn, fresh)


SUBSCRIPTIONS: Final = Table("sip_subscription", _write_subscriptions)
DIALOGS: Final = Table("sip_dialog", _write_dialogs)
