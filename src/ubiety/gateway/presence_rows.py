"""Subscriptions put down in the database behind the events that change them, many in one transaction.

A row is what a node needs that takes over: the dialog, its state and its end. Rows are written soon after,
not before the peer is answered: should the node die in between, the peer finds no dialog and opens a new one.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection

from ubiety.store import sip_subscriptions as rows
from ubiety.store.database import Database
from ubiety.store.errors import Conflict, DataRefused, Fenced, StoreError
from ubiety.telemetry import event

RETRY_SECONDS = 2.0
BATCH = 500

NOTHING: Mapping[str, Any] = MappingProxyType({})

Spawn = Callable[[Coroutine[Any, Any, None]], object]
Sleep = Callable[[float], Coroutine[Any, Any, None]]


@dataclass(slots=True, eq=False)
class Row:
    """One subscription's place in the database; `id` is None until it has been written."""

    user_id: int
    peer: str
    direction: str
    id: int | None = None
    is_dropped: bool = False
    state: str = ""
    call_id: str = ""
    record: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    """Until it has been written."""
    expires: float = 0.0


class Rows:
    """The rows of this node's people that are still to be written."""

    def __init__(self, database: Database, spawn: Spawn, sleep: Sleep) -> None:
        self._database = database
        self._spawn = spawn
        self._sleep = sleep
        self._dirty: dict[Row, None] = {}
        self._is_busy = False

    def __len__(self) -> int:
        return len(self._dirty)

    def put(self, row: Row, state: str, call_id: str, record: Mapping[str, Any], expires: float) -> None:
        """Have this written; `expires` is in seconds since 1970."""
        row.state, row.call_id, row.record, row.expires = state, call_id, record, expires
        self._mark(row)

    def drop(self, row: Row) -> None:
        """Have the row deleted."""
        if not row.is_dropped:
            row.is_dropped = True
            self._mark(row)

    def forget(self, row: Row) -> None:
        """Write nothing more of it: another node does from now on."""
        self._dirty.pop(row, None)

    async def flush(self) -> None:
        """Write all that is still to be written; raises StoreError."""
        while self._dirty:
            await self._write_batch()

    def _mark(self, row: Row) -> None:
        self._dirty[row] = None
        if not self._is_busy:
            self._is_busy = True
            self._spawn(self._work())

    async def _work(self) -> None:
        try:
            while self._dirty:
                try:
                    await self._write_batch()
                except StoreError as error:
                    event("sip_subscriptions_not_written", "warning", reason=str(error), rows=len(self))
                    await self._sleep(RETRY_SECONDS)
        finally:
            self._is_busy = False

    async def _write_batch(self) -> None:
        batch = list(self._dirty)[:BATCH]
        for row in batch:
            del self._dirty[row]
        try:
            await self._write(batch)
        except (Conflict, DataRefused, Fenced):
            # Somebody was deleted or moved away meanwhile: of such a batch each row stands for itself.
            for row in batch:
                await self._write_alone(row)
        except StoreError:
            for row in batch:
                self._dirty.setdefault(row)
            raise

    async def _write_alone(self, row: Row) -> None:
        try:
            await self._write([row])
        except (Conflict, DataRefused, Fenced) as error:
            event("sip_subscription_not_kept", "warning", user_id=row.user_id, reason=str(error))

    async def _write(self, batch: list[Row]) -> None:
        gone = [row.id for row in batch if row.is_dropped and row.id is not None]
        changed = [_update(row.id, row) for row in batch if not row.is_dropped and row.id is not None]
        fresh = [row for row in batch if not row.is_dropped and row.id is None]
        records = [(row, row.record) for row in batch]
        ids = await self._database.write(_write, gone, changed, [_fresh(row) for row in fresh])
        for row, id in zip(fresh, ids, strict=True):
            row.id = id
        for row, record in records:
            if row.record is record:  # else there is a newer one by now
                row.record = NOTHING


def _update(id: int, row: Row) -> rows.Update:
    return rows.Update(id, row.state, row.call_id, row.record, row.expires)


def _fresh(row: Row) -> rows.Fresh:
    return rows.Fresh(row.user_id, row.peer, row.direction, row.state, row.call_id, row.record, row.expires)


def _write(
    conn: Connection, gone: list[int], changed: list[rows.Update], fresh: list[rows.Fresh]
) -> list[int]:
    if gone:
        rows.delete_many(conn, gone)
    if changed:
        rows.update_many(conn, changed)
    return rows.add_many(conn, fresh) if fresh else []
