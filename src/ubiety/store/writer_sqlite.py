"""How the ledger writes to SQLite, and when it checkpoints."""

import os
import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, cast

from ubiety.store.batch import Batch
from ubiety.store.database import Database
from ubiety.store.errors import DatabaseBusy
from ubiety.store.writer import (
    NAME_MESSAGE,
    NEWER_H,
    archive_rows,
    delivery_rows,
    forget_rows,
    message_rows,
    outgoing_rows,
    stream_rows,
)


class Statement:
    """A statement for many rows at once.

    Each step of SQLite gives up the interpreter's lock, and while the loop is busy taking it back can last
    up to 5 ms: with a step per row a batch of 200 took two seconds beside a busy loop. So rows go in
    groups, one step each.
    """

    GROUPS = (128, 32, 8, 1)

    def __init__(self, head: str, columns: int, tail: str) -> None:
        row = "(" + ", ".join("?" * columns) + ")"
        self.texts = {size: f"{head} {', '.join([row] * size)}{tail}" for size in self.GROUPS}

    def run(self, conn: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run it for all rows."""
        start, left = 0, len(rows)
        for size, text in self.texts.items():
            while left >= size:
                conn.execute(text, list(chain.from_iterable(rows[start : start + size]))).close()
                start, left = start + size, left - size


ADD_MESSAGES = Statement(
    "INSERT INTO messages (id, sender_id, recipient_id, stamp, origin_id, stanza) VALUES",
    6,
    f" ON CONFLICT (id) DO {NAME_MESSAGE}",
)
ADD_DELIVERIES = Statement(
    "INSERT INTO deliveries (user_id, message_id) VALUES", 2, " ON CONFLICT (user_id, message_id) DO NOTHING"
)
ADD_OUTGOING = Statement(
    "INSERT INTO outgoing_messages (sender_id, number, recipient, stamp, stanza) VALUES",
    5,
    " ON CONFLICT (sender_id, number) DO NOTHING",
)
ADD_ARCHIVE = Statement(
    "INSERT INTO archive (owner_id, number, message_id, peer_id, peer_resource, direction) VALUES",
    6,
    " ON CONFLICT (owner_id, number) DO NOTHING",
)
#: By way of a table expression: with the values in place SQLite reads the whole table.
DELETE_DELIVERIES = Statement(
    "WITH gone (user_id, message_id) AS (VALUES",
    2,
    ") DELETE FROM deliveries WHERE (user_id, message_id) IN (SELECT user_id, message_id FROM gone)",
)
DELETE_OUTGOING = Statement(
    "WITH gone (sender_id, number) AS (VALUES",
    2,
    ") DELETE FROM outgoing_messages WHERE (sender_id, number) IN (SELECT sender_id, number FROM gone)",
)
SAVE_STREAMS = Statement(
    "INSERT INTO sm_streams (smid, user_id, h, updated) VALUES",
    4,
    f" ON CONFLICT (smid) DO UPDATE SET h = {NEWER_H}, updated = excluded.updated",
)
DROP_STREAMS = Statement("DELETE FROM sm_streams WHERE smid IN (VALUES", 1, ")")
ADD_ADDRESSES = Statement("INSERT INTO addresses (jid) VALUES", 1, " ON CONFLICT (jid) DO NOTHING")
FIND_ADDRESS = "SELECT COALESCE(merged_into, id) FROM addresses WHERE jid = ?"

#: The log is copied into the database when it is longer than this; and cut off when it is longer than that.
CHECKPOINT_BYTES = 4 * 1024 * 1024
TRUNCATE_BYTES = 64 * 1024 * 1024


Work = Sequence[tuple[Statement, Sequence[tuple[Any, ...]]]]


class SqliteDialect:
    """The ledger's connection to SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pooled = database.open_driver_connection()
        self._conn = cast(sqlite3.Connection, self._pooled.driver_connection)
        self._log = f"{database.path}-wal"
        self._seen: tuple[int, int] | None = None

    def commit(self, batch: Batch, peers: dict[str, int]) -> None:
        """Write the batch in one transaction."""
        kept, ended = stream_rows(batch)
        work: Work = [
            (ADD_MESSAGES, message_rows(batch)),
            (ADD_DELIVERIES, delivery_rows(batch.entries)),
            (ADD_OUTGOING, outgoing_rows(batch.entries)),
            (ADD_ARCHIVE, archive_rows(batch, peers)),
            (DELETE_DELIVERIES, forget_rows(batch, False)),
            (DELETE_OUTGOING, forget_rows(batch, True)),
            (SAVE_STREAMS, kept),
            (DROP_STREAMS, ended),
        ]
        self._transact(work)

    def intern(self, jids: Iterable[str]) -> dict[str, int]:
        """Make and find the addresses."""
        wanted = [(jid,) for jid in jids]
        self._transact([(ADD_ADDRESSES, wanted)])
        return {key[0]: self._conn.execute(FIND_ADDRESS, key).fetchone()[0] for key in wanted}

    def maintain(self) -> None:
        """Copy the log into the database when it has grown since the last time."""
        try:
            status = os.stat(self._log)
        except FileNotFoundError:
            return
        now = (status.st_size, status.st_mtime_ns)
        if status.st_size < CHECKPOINT_BYTES or now == self._seen:
            return
        self._conn.execute("PRAGMA wal_checkpoint(PASSIVE)").close()
        if status.st_size > TRUNCATE_BYTES:
            self._truncate()
        self._seen = now

    def close(self) -> None:
        """Close the connection."""
        self._pooled.invalidate()

    def _truncate(self) -> None:
        """Start the log afresh; somebody who reads for long makes us try again later, not wait."""
        lock = self._database.writer_lock
        if not lock.acquire(timeout=0.05):
            return
        try:
            self._conn.execute("PRAGMA busy_timeout=50").close()
            self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        finally:
            self._conn.execute(f"PRAGMA busy_timeout={int(self._database.busy_timeout * 1000)}").close()
            lock.release()

    def _transact(self, work: Work) -> None:
        conn = self._conn
        lock = self._database.writer_lock
        if not lock.acquire(timeout=self._database.busy_timeout):
            raise DatabaseBusy("another writer of this process holds the lock")
        try:
            conn.execute("BEGIN IMMEDIATE")
            for statement, rows in work:
                statement.run(conn, rows)
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise
        finally:
            lock.release()
