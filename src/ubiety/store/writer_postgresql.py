"""How the ledger writes to PostgreSQL: arrays instead of rows, one round trip for a transaction."""

from collections.abc import Iterable
from typing import Any, cast

from ubiety.store import driver, leases
from ubiety.store.batch import Batch
from ubiety.store.database import Database
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

ADD_MESSAGES = (
    "INSERT INTO messages (id, sender_id, recipient_id, stamp, origin_id, stanza)"
    " SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::float8[], %s::text[], %s::bytea[])"
    f" ON CONFLICT (id) DO {NAME_MESSAGE}"
)
ADD_DELIVERIES = (
    "INSERT INTO deliveries (user_id, message_id) SELECT * FROM unnest(%s::bigint[], %s::bigint[])"
    " ON CONFLICT (user_id, message_id) DO NOTHING"
)
ADD_OUTGOING = (
    "INSERT INTO outgoing_messages (sender_id, number, recipient, stamp, stanza)"
    " SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::float8[], %s::bytea[])"
    " ON CONFLICT (sender_id, number) DO NOTHING"
)
ADD_ARCHIVE = (
    "INSERT INTO archive (owner_id, number, message_id, peer_id, peer_resource, direction)"
    " SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[],"
    " %s::smallint[])"
    " ON CONFLICT (owner_id, number) DO NOTHING"
)
DELETE_DELIVERIES = (
    "DELETE FROM deliveries d USING unnest(%s::bigint[], %s::bigint[]) AS gone (user_id, message_id)"
    " WHERE d.user_id = gone.user_id AND d.message_id = gone.message_id"
)
DELETE_OUTGOING = (
    "DELETE FROM outgoing_messages o USING unnest(%s::bigint[], %s::bigint[]) AS gone (sender_id, number)"
    " WHERE o.sender_id = gone.sender_id AND o.number = gone.number"
)
SAVE_STREAMS = (
    "INSERT INTO sm_streams (smid, user_id, h, updated) SELECT * FROM unnest("
    "%s::text[], %s::bigint[], %s::bigint[], %s::float8[])"
    f" ON CONFLICT (smid) DO UPDATE SET h = {NEWER_H}, updated = excluded.updated"
)
DROP_STREAMS = "DELETE FROM sm_streams WHERE smid = ANY(%s::text[])"
ADD_ADDRESSES = "INSERT INTO addresses (jid) SELECT unnest(%s::text[]) ON CONFLICT (jid) DO NOTHING"
FIND_ADDRESSES = "SELECT jid, COALESCE(merged_into, id) FROM addresses WHERE jid = ANY(%s::text[])"


class PostgresqlDialect:
    """The ledger's connection to PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._pooled = database.open_driver_connection()
        self._conn = cast("driver.Connection[Any]", self._pooled.driver_connection)

    def commit(self, batch: Batch, peers: dict[str, int]) -> None:
        """Write the batch in one transaction, sent in one go; fails as a whole unless its sets are ours."""
        kept, ended = stream_rows(batch)
        work: list[tuple[str, list[Any]]] = [
            (ADD_MESSAGES, message_rows(batch)),
            (ADD_DELIVERIES, delivery_rows(batch.entries)),
            (ADD_OUTGOING, outgoing_rows(batch.entries)),
            (ADD_ARCHIVE, archive_rows(batch, peers)),
            (DELETE_DELIVERIES, forget_rows(batch, False)),
            (DELETE_OUTGOING, forget_rows(batch, True)),
            (SAVE_STREAMS, kept),
            (DROP_STREAMS, ended),
        ]
        try:
            with self._conn.pipeline():
                if batch.fence:
                    self._conn.execute(*leases.fence(batch.fence))
                for statement, rows in work:
                    if rows:
                        self._conn.execute(statement, [list(column) for column in zip(*rows, strict=True)])
                self._conn.commit()
        except BaseException:
            self._roll_back()
            raise

    def intern(self, jids: Iterable[str]) -> dict[str, int]:
        """Make and find the addresses."""
        wanted = sorted(jids)
        try:
            self._conn.execute(ADD_ADDRESSES, [wanted])
            found = self._conn.execute(FIND_ADDRESSES, [wanted]).fetchall()
            self._conn.commit()
        except BaseException:
            self._roll_back()
            raise
        return dict(found)

    def maintain(self) -> None:
        """PostgreSQL looks after its files itself."""

    def close(self) -> None:
        """Close the connection."""
        self._pooled.invalidate()

    def _roll_back(self) -> None:
        if not self._conn.closed:
            self._conn.rollback()
