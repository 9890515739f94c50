"""Messages to outsiders that are acknowledged to their sender and not yet taken by the other side.

The commit of the row settles the message (design: promise 1); the row goes when the other side has taken the
message, or when the sender has been told that it will not. After a crash the sender's home sends what is
left, in order.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store.sql import Sql

COLUMNS = "m.sender_id, m.number, m.recipient, m.stamp, m.stanza"
PAGE_OF_SET = Sql(
    f"SELECT {COLUMNS} FROM outgoing_messages m JOIN users u ON u.id = m.sender_id"
    " WHERE u.set_id = :set_id AND (m.sender_id > :sender_id"
    " OR (m.sender_id = :sender_id AND m.number > :number))"
    " ORDER BY m.sender_id, m.number LIMIT :limit"
)
OF_SENDER = Sql(f"SELECT {COLUMNS} FROM outgoing_messages m WHERE m.sender_id = :sender_id ORDER BY m.number")
INSERT = Sql(
    "INSERT INTO outgoing_messages (sender_id, number, recipient, stamp, stanza)"
    " VALUES (:sender_id, :number, :recipient, :stamp, :stanza) ON CONFLICT (sender_id, number) DO NOTHING"
)
DELETE = Sql("DELETE FROM outgoing_messages WHERE sender_id = :sender_id AND number = :number")
COUNT = Sql("SELECT COUNT(*) FROM outgoing_messages")
COLLECT = Sql(
    "DELETE FROM outgoing_messages"
    " WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.id = outgoing_messages.sender_id)"
)


class Outgoing(NamedTuple):
    """One message: ``number`` is ordered by time (epoch, counter), ``recipient`` a bare address."""

    sender_id: int
    number: int
    recipient: str
    stamp: float
    stanza: bytes


def list_of_set(
    conn: Connection, set_id: int, after: tuple[int, int] = (0, 0), limit: int = 500
) -> list[Outgoing]:
    """Return a page of what the people of a set have sent; ``after``: sender and number of the last one."""
    rows = PAGE_OF_SET.rows(conn, set_id=set_id, sender_id=after[0], number=after[1], limit=limit)
    return [Outgoing(*row) for row in rows]


def list_of_sender(conn: Connection, sender_id: int) -> list[Outgoing]:
    """Return what one person has sent, in order."""
    return [Outgoing(*row) for row in OF_SENDER.rows(conn, sender_id=sender_id)]


def add(conn: Connection, message: Outgoing) -> None:
    """Store one; storing it twice does nothing."""
    INSERT.run(conn, **message._asdict())


def add_many(conn: Connection, many: Iterable[Outgoing]) -> None:
    """Store many."""
    INSERT.run_many(conn, [message._asdict() for message in many])


def delete(conn: Connection, sender_id: int, number: int) -> bool:
    """Delete one: it is taken, or refused; False if it is gone."""
    return DELETE.run(conn, sender_id=sender_id, number=number) > 0


def delete_many(conn: Connection, many: Iterable[tuple[int, int]]) -> None:
    """Delete many by sender and number."""
    DELETE.run_many(conn, [{"sender_id": sender_id, "number": number} for sender_id, number in many])


def count(conn: Connection) -> int:
    """Return how many wait."""
    found: int = COUNT.value(conn)
    return found


def gc_outgoing(conn: Connection) -> int:
    """Delete those whose sender does not exist any more; returns how many."""
    return COLLECT.run(conn)
