"""Dialogs of conversations put down in the database behind the events that change them.

A row is what a node needs that goes on with the conversation. It is written soon after the dialog is made:
should the node die in between, the other side finds no dialog and opens a new one.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from ubiety.store import sip_dialogs
from ubiety.store.database import Database
from ubiety.store.errors import Conflict, DataRefused, Fenced, StoreError
from ubiety.telemetry import event

RETRY_SECONDS: Final = 2.0
BATCH: Final = 200

Spawn = Callable[[Coroutine[Any, Any, None]], object]
Sleep = Callable[[float], Coroutine[Any, Any, None]]


@dataclass(slots=True, eq=False)
class Row:
    """One dialog's place in the database; `id` is None until it has been written."""

    user_id: int
    peer: str
    call_id: str
    record: Mapping[str, Any]
    updated: float
    id: int | None = None
    is_dropped: bool = False


class DialogRows:
    """The rows of this node's people that are still to be written."""

    def __init__(self, database: Database, spawn: Spawn, sleep: Sleep) -> None:
        self._database = database
        self._spawn = spawn
        self._sleep = sleep
        self._dirty: dict[Row, None] = {}
        self._is_busy = False

    def __len__(self) -> int:
        return len(self._dirty)

    def put(self, row: Row) -> None:
        """Have a row written as it is now."""
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
                    event("sip_dialogs_not_written", "warning", reason=str(error), rows=len(self))
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
            for row in batch:  # somebody was deleted or moved away meanwhile: each row stands for itself
                await self._write_alone(row)
        except StoreError:
            for row in batch:
                self._dirty.setdefault(row)
            raise

    async def _write_alone(self, row: Row) -> None:
        try:
            await self._write([row])
        except (Conflict, DataRefused, Fenced) as error:
            event("sip_dialog_dropped", "warning", user_id=row.user_id, reason=str(error))

    async def _write(self, batch: list[Row]) -> None:
        gone = [row.id for row in batch if row.is_dropped and row.id is not None]
        changed = [(row.id, *_values(row)) for row in batch if not row.is_dropped and row.id is not None]
        fresh = [row for row in batch if not row.is_dropped and row.id is None]
        about = [(row.user_id, row.peer, *_values(row)) for row in fresh]
        ids = await self._database.write(_write, gone, changed, about)
        for row, id in zip(fresh, ids, strict=True):
            row.id = id


Values = tuple[str, Mapping[str, Any], float]


def _values(row: Row) -> Values:
    return row.call_id, row.record, row.updated


def _write(
    conn: Connection,
    gone: list[int],
    changed: list[tuple[int, str, Mapping[str, Any], float]],
    fresh: list[tuple[int, str, str, Mapping[str, Any], float]],
) -> list[int]:
    for id in gone:
        sip_dialogs.delete(conn, id)
    for values in changed:
        sip_dialogs.update(conn, *values)
    return [sip_dialogs.add(conn, *one) for one in fresh]
