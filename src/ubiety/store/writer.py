"""The ledger's thread: writes batches, each in one transaction without round trips inside.

Everything here runs in that one thread, on the driver's own connection: SQLAlchemy's cost per statement is
more than the cost of a row. All statements may be repeated: after a commit whose answer was lost the batch
is written again.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol

from ubiety.store.batch import ArchiveRow, Batch, Entry, Outcome
from ubiety.store.database import Database
from ubiety.store.errors import DatabaseBusy, DatabaseFull, DatabaseUnavailable, Fenced, StoreError

#: These stop the ledger for a while; any other error is the fault of one row.
STOPPING = (DatabaseUnavailable, DatabaseFull, DatabaseBusy, Fenced)

#: Addresses that the ledger interned lately (bare JID -> id).
PEERS_KEPT = 20_000

#: How far a stream is settled only grows, mod 2**32: a batch on its way may hold more than was known when
#: the stream was saved.
NEWER_H = (
    "CASE WHEN ((excluded.h - sm_streams.h) & 4294967295) < 2147483648 THEN excluded.h ELSE sm_streams.h END"
)

#: The body may be there already for somebody's history, but only a delivery makes a repeat of it superfluous.
NAME_MESSAGE = (
    "UPDATE SET origin_id = excluded.origin_id"
    " WHERE messages.origin_id IS NULL AND excluded.origin_id IS NOT NULL"
)

MessageRow = tuple[int, int | None, int | None, float, str | None, bytes]


class Dialect(Protocol):
    """How one kind of database writes a batch."""

    def commit(self, batch: Batch, peers: dict[str, int]) -> None:
        """Write the batch and commit it; raises the driver's errors."""

    def intern(self, jids: Iterable[str]) -> dict[str, int]:
        """Return bare JID -> id, making the rows that are missing, committed."""

    def maintain(self) -> None:
        """Look after files, now and then."""

    def close(self) -> None:
        """Close the connection."""


class Writer:
    """Writes batches; keeps the connection, finds the row that spoils a batch."""

    def __init__(self, database: Database, make: Callable[[Database], Dialect]) -> None:
        self._database = database
        self._make = make
        self._dialect: Dialect | None = None
        self._peers: OrderedDict[str, int] = OrderedDict()

    def write(self, batch: Batch) -> Outcome:
        """Write a batch. Never raises: see ``Outcome``."""
        try:
            dialect = self._open()
            dialect.commit(batch, self._intern(dialect, batch))
        except Exception as error:  # noqa: BLE001  whatever a driver raises, the queue goes on
            typed = self._database.translate(error) or StoreError(f"{type(error).__name__}: {error}")
            self._drop(typed)
            return self._give_up(batch, typed)
        return Outcome()

    def maintain(self) -> None:
        """Checkpoint when due. Never raises."""
        try:
            self._open().maintain()
        except Exception as error:  # noqa: BLE001  the next batch will tell
            self._drop(self._database.translate(error) or StoreError(str(error)))

    def close(self) -> None:
        """Close the connection."""
        if self._dialect is not None:
            self._dialect.close()
            self._dialect = None

    def _open(self) -> Dialect:
        if self._dialect is None:
            self._dialect = self._make(self._database)
        return self._dialect

    def _intern(self, dialect: Dialect, batch: Batch) -> dict[str, int]:
        wanted = {row.peer for row in batch.archive if row.peer_id is None}
        if not wanted:
            return {}
        missing = wanted - self._peers.keys()
        if missing:
            self._peers.update(dialect.intern(missing))
            while len(self._peers) > PEERS_KEPT + len(wanted):
                self._peers.popitem(last=False)
        return {jid: self._peers[jid] for jid in wanted}

    def _give_up(self, batch: Batch, error: StoreError) -> Outcome:
        items = batch.items()
        if isinstance(error, STOPPING):
            return Outcome(error, items)
        if len(items) == 1:
            return Outcome(refused=[(items[0], error)])
        first, second = batch.split()
        outcome = self.write(first)
        if outcome.error is not None:
            outcome.unwritten += second.items()
            return outcome
        after = self.write(second)
        after.refused = outcome.refused + after.refused
        return after

    def _drop(self, error: StoreError) -> None:
        """A connection that failed in an unknown way is not used again."""
        if isinstance(error, DatabaseUnavailable):
            self.close()


def message_rows(batch: Batch) -> list[MessageRow]:
    """Return the rows for ``messages``, each body once."""
    rows: dict[int, MessageRow] = {
        e.number: (e.number, e.sender_id, e.recipient_id, e.stamp, e.origin_id, e.stanza)
        for e in batch.entries
        if not e.outside
    }
    for row in batch.archive:
        if row.message_id not in rows:
            rows[row.message_id] = _message_of(row)
    return list(rows.values())


def _message_of(row: ArchiveRow) -> MessageRow:
    return (row.message_id, row.sender_id, row.recipient_id, row.stamp, row.origin_id, row.stanza)


def archive_rows(batch: Batch, peers: dict[str, int]) -> list[tuple[int, int, int, int, str, int]]:
    """Return the rows for ``archive``."""
    return [
        (
            row.owner_id,
            row.number,
            row.message_id,
            peers[row.peer] if row.peer_id is None else row.peer_id,
            row.peer_resource,
            row.direction,
        )
        for row in batch.archive
    ]


def delivery_rows(entries: Iterable[Entry]) -> list[tuple[int, int]]:
    """Return the rows for ``deliveries``."""
    return [(entry.recipient_id, entry.number) for entry in entries if not entry.outside]


def outgoing_rows(entries: Iterable[Entry]) -> list[tuple[int, int, str, float, bytes]]:
    """Return the rows for ``outgoing_messages``."""
    return [(e.recipient_id, e.number, e.outside, e.stamp, e.stanza) for e in entries if e.outside]


def forget_rows(batch: Batch, is_outgoing: bool) -> list[tuple[int, int]]:
    """Return whose rows are to go from ``outgoing_messages``, or from ``deliveries``."""
    return [(item.user_id, item.number) for item in batch.forgets if item.is_outgoing is is_outgoing]


def stream_rows(batch: Batch) -> tuple[list[tuple[str, int, int, float]], list[tuple[str]]]:
    """Return the rows of ``sm_streams`` to write, and the keys of those to delete."""
    now = time.time()
    rows = {row.smid: row for row in batch.streams}
    for row in batch.cursors:
        if row.smid not in rows or rows[row.smid].h is not None:
            rows[row.smid] = row
    kept = [(row.smid, row.user_id, row.h, now) for row in rows.values() if row.h is not None]
    return kept, [(row.smid,) for row in rows.values() if row.h is None]
