"""How the ledger writes to SQLite, and when it checkpoints."""

import os
import sqlite3
from collections.abc import Iterable
from typing import Any, cast

from ubiety.store.batch import Batch
from ubiety.store.database import Database
from ubiety.store.errors import DatabaseBusy
from ubiety.store.writer import archive_rows, delivery_rows, message_rows, stream_rows

ADD_MESSAGE = (
    "INSERT INTO messages (id, sender_id, recipient_id, stamp, origin_id, stanza)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
)
ADD_DELIVERY = (
    "INSERT INTO deliveries (user_id, message_id) VALUES (?, ?) ON CONFLICT (user_id, message_id) DO NOTHING"
)
ADD_ARCHIVE = (
    "INSERT INTO archive (owner_id, number, message_id, peer_id, peer_resource, direction)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (owner_id, number) DO NOTHING"
)
DELETE_DELIVERY = "DELETE FROM deliveries WHERE user_id = ? AND message_id = ?"
SAVE_STREAM = (
    "INSERT INTO sm_streams (smid, user_id, h, updated) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (smid) DO UPDATE SET h = excluded.h, updated = excluded.updated"
)
DROP_STREAM = "DELETE FROM sm_streams WHERE smid = ?"
FIND_ADDRESS = "SELECT COALESCE(merged_into, id) FROM addresses WHERE jid = ?"
ADD_ADDRESS = "INSERT INTO addresses (jid) VALUES (?) ON CONFLICT (jid) DO NOTHING"

#: The log is copied into the database when it is longer than this; and cut off when it is longer than that.
CHECKPOINT_BYTES = 4 * 1024 * 1024
TRUNCATE_BYTES = 64 * 1024 * 1024


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
        work: list[tuple[str, list[Any]]] = [
            (ADD_MESSAGE, message_rows(batch)),
            (ADD_DELIVERY, delivery_rows(batch.entries)),
            (ADD_ARCHIVE, archive_rows(batch, peers)),
            (DELETE_DELIVERY, [(item.user_id, item.number) for item in batch.forgets]),
            (SAVE_STREAM, kept),
            (DROP_STREAM, ended),
        ]
        self._transact(work)

    def intern(self, jids: Iterable[str]) -> dict[str, int]:
        """Make and find the addresses."""
        wanted = [(jid,) for jid in jids]
        self._transact([(ADD_ADDRESS, wanted)])
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

    def _transact(self, work: list[tuple[str, list[Any]]]) -> None:
        conn = self._conn
        lock = self._database.writer_lock
        if not lock.acquire(timeout=self._database.busy_timeout):
            raise DatabaseBusy("another writer of this process holds the lock")
        try:
            conn.execute("BEGIN IMMEDIATE")
            for statement, rows in work:
                if rows:
                    conn.executemany(statement, rows)
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise
        finally:
            lock.release()
