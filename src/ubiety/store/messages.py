"""Reading and tidying the ledger's tables: what is still to be delivered, what was sent lately.

Writing is the ledger's alone; see ``ledger``.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store.sql import Sql

BACKLOG = Sql(
    "SELECT d.message_id, m.stanza, m.stamp, m.sender_id, m.origin_id"
    " FROM deliveries d JOIN messages m ON m.id = d.message_id"
    " WHERE d.user_id = :user_id AND d.message_id > :after ORDER BY d.message_id LIMIT :limit"
)
COUNT = Sql("SELECT COUNT(*) FROM deliveries WHERE user_id = :user_id")
COUNT_ALL = Sql("SELECT COUNT(*), COUNT(DISTINCT user_id) FROM deliveries")
DELETE = Sql("DELETE FROM deliveries WHERE user_id = :user_id AND message_id = :number")
ORIGIN_IDS = Sql(
    "SELECT recipient_id, origin_id FROM messages"
    " WHERE sender_id = :sender_id AND stamp >= :since AND origin_id IS NOT NULL AND recipient_id IS NOT NULL"
    " ORDER BY stamp DESC LIMIT :limit"
)
STEP = Sql(
    "SELECT COUNT(*), MAX(id) FROM"
    " (SELECT id FROM messages WHERE id > :after ORDER BY id LIMIT :limit) AS step"
)
COLLECT = Sql(
    "DELETE FROM messages WHERE id > :after AND id <= :upto AND stamp < :older_than"
    " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = messages.id)"
    " AND NOT EXISTS (SELECT 1 FROM archive a WHERE a.message_id = messages.id)"
)
ORPHANS = Sql(
    "DELETE FROM deliveries WHERE message_id > :after AND message_id <= :upto"
    " AND NOT EXISTS (SELECT 1 FROM users u WHERE u.id = deliveries.user_id)"
)


class Waiting(NamedTuple):
    """A message that waits for its recipient; ``stanza`` is canonical bytes, ``stamp`` when it was taken."""

    number: int
    stanza: bytes
    stamp: float
    sender_id: int | None
    origin_id: str | None


class Step(NamedTuple):
    """One step of tidying: how many rows went, and where to go on (None: all was seen)."""

    removed: int
    after: int | None


def backlog(conn: Connection, user_id: int, after: int = 0, limit: int = 100) -> list[Waiting]:
    """Return the next undelivered messages of one person, in the order of their numbers."""
    return [Waiting(*row) for row in BACKLOG.rows(conn, user_id=user_id, after=after, limit=limit)]


def count(conn: Connection, user_id: int) -> int:
    """Count the undelivered messages of one person."""
    found: int = COUNT.value(conn, user_id=user_id)
    return found


def count_all(conn: Connection) -> tuple[int, int]:
    """Return (undelivered messages, people they wait for)."""
    row = COUNT_ALL.one(conn)
    assert row is not None
    return row[0], row[1]


def delete(conn: Connection, user_id: int, numbers: Iterable[int]) -> None:
    """Give up undelivered messages (an administrator's order; a delivery goes through the ledger)."""
    DELETE.run_many(conn, [{"user_id": user_id, "number": number} for number in numbers])


def recent_origin_ids(
    conn: Connection, sender_id: int, since: float, limit: int = 1_000
) -> list[tuple[int, str]]:
    """Return (recipient's user id, origin id) of what one address sent since, newest first.

    A repeat within 24 hours is not delivered again (XEP-0359 §3.2, design promise 1).
    """
    return [(row[0], row[1]) for row in ORIGIN_IDS.rows(conn, sender_id=sender_id, since=since, limit=limit)]


def gc_messages(conn: Connection, older_than: float, after: int = 0, limit: int = 500) -> Step:
    """Look at the next ``limit`` messages and remove those that nobody refers to and that are old enough.

    Call it in writes of their own with the returned ``after`` until that is None. ``older_than`` is a time
    at least 24 hours ago: the origin ids are needed until then.
    """
    row = STEP.one(conn, after=after, limit=limit)
    if row is None or not row[0]:
        return Step(0, None)
    ORPHANS.run(conn, after=after, upto=row[1])
    removed = COLLECT.run(conn, after=after, upto=row[1], older_than=older_than)
    return Step(removed, row[1] if row[0] == limit else None)
