"""What the other nodes of a cluster have to read again: one row per change, in the change's transaction.

Only PostgreSQL has several nodes; on SQLite nothing is written. Revisions become visible out of order (a
sequence counts when a row is written, others see it when its transaction ends), so nobody reads "all above
the last one". Each row carries the number of its transaction, each reader the oldest transaction that was
still running when it last read: whatever an older one wrote it has seen by then.
"""

from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store.sql import Sql

PEOPLE = "people"
"""``ref_id`` is the id of an address: that person was added, changed or deleted."""
POLICY = "policy"
"""``ref_id`` is the id of an address: that person's privacy policy was changed."""
DOMAINS = "domains"
SETTINGS = "settings"
TOPOLOGY = "topology"
"""Nodes, their groups and states."""
FEDERATION = "federation"
"""Static routes, trusted peers, federated domains."""
MICROSOFT = "microsoft"
"""Addresses of the Microsoft side."""

MESSAGES = "messages"
"""``ref_id`` is an epoch: the senders' home has written messages in it (see ``strays``)."""

KEEP_SECONDS = 3600.0
"""Nodes that have not read for that long read everything anew."""

NOTE = Sql(
    "INSERT INTO changes (kind, ref_id, at, xact) VALUES (:kind, :ref_id,"
    " EXTRACT(EPOCH FROM clock_timestamp()), pg_current_xact_id()::text::bigint)"
)
NOTE_USER = Sql(
    "INSERT INTO changes (kind, ref_id, at, xact) SELECT :kind, address_id,"
    " EXTRACT(EPOCH FROM clock_timestamp()), pg_current_xact_id()::text::bigint FROM users WHERE id = :id"
)
READ = Sql(
    "WITH oldest AS (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xact)"
    " SELECT oldest.xact, c.revision, c.kind, c.ref_id"
    " FROM oldest LEFT JOIN changes c ON c.xact >= :horizon ORDER BY c.revision"
)
HORIZON = Sql("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
DELETE = Sql("DELETE FROM changes WHERE at < EXTRACT(EPOCH FROM clock_timestamp()) - :seconds")


class Change(NamedTuple):
    """One row: something of a kind was changed."""

    revision: int
    kind: str
    ref_id: int


class Seen(NamedTuple):
    """What one reading gave: pass ``horizon`` to the next one."""

    horizon: int
    changes: list[Change]
    """In the order in which they were written; some may have been given before."""


NOTED = "changes_noted"
"""Key in a connection's ``info``: something was noted since its last commit."""


def note(conn: Connection, kind: str, *ref_ids: int) -> None:
    """Have the other nodes read something again once this transaction is committed."""
    if conn.dialect.name != "sqlite":
        NOTE.run_many(conn, [{"kind": kind, "ref_id": ref_id} for ref_id in ref_ids or (0,)])
        conn.info[NOTED] = True


def note_user(conn: Connection, kind: str, user_id: int) -> None:
    """The same for one person by ``users.id``; before the row is deleted."""
    if conn.dialect.name != "sqlite":
        NOTE_USER.run(conn, kind=kind, id=user_id)
        conn.info[NOTED] = True


def horizon(conn: Connection) -> int:
    """Return where to begin to read: call it before reading what the changes are about."""
    return int(HORIZON.value(conn)) if conn.dialect.name != "sqlite" else 0


def read(conn: Connection, horizon: int) -> Seen:
    """Return what was changed since the reading that gave this horizon."""
    if conn.dialect.name == "sqlite":
        return Seen(0, [])
    rows = READ.rows(conn, horizon=horizon)
    return Seen(rows[0][0], [Change(*row[1:]) for row in rows if row[1] is not None])


def gc_changes(conn: Connection, seconds: float = KEEP_SECONDS) -> None:
    """Delete what every node has read long ago."""
    if conn.dialect.name != "sqlite":
        DELETE.run(conn, seconds=seconds)
