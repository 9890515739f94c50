"""Messages that the sender's home writes because the recipient's home gives no verdict (design.md §2).

Open to any node: rows are only added, under numbers of an epoch that nobody else uses.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from ubiety.store import changes, epochs
from ubiety.store.epochs import COUNTER_BITS
from ubiety.store.sql import Sql

ADD_MESSAGE = Sql(
    "INSERT INTO messages (id, sender_id, recipient_id, stamp, origin_id, stanza)"
    " VALUES (:id, :sender_id, :recipient_id, :stamp, :origin_id, :stanza)"
)
ADD_DELIVERY = Sql("INSERT INTO deliveries (user_id, message_id) VALUES (:recipient_id, :id)")
EXISTS = Sql("SELECT id FROM messages WHERE id = :id")
FIND = Sql("SELECT id, stanza, stamp, sender_id FROM messages WHERE id = :id")
#: With the same index as the look-up of recent origin ids; the row is younger than the message, give or take
#: what clocks differ by.
SAME = Sql(
    "SELECT id FROM messages WHERE sender_id = :sender_id AND stamp >= :since AND origin_id = :origin_id"
    " AND recipient_id = :recipient_id LIMIT 1"
)
OF_EPOCH = Sql(
    "SELECT m.id, d.user_id, m.sender_id, m.origin_id"
    " FROM messages m JOIN deliveries d ON d.message_id = m.id"
    " WHERE m.id >= :first AND m.id < :after ORDER BY m.id"
)
CLOCKS_DIFFER = 600.0
#: Stands for the number in a stanza that has none yet; it cannot occur in XML.
NUMBER = b"\x00"


@dataclass(slots=True)
class Stray:
    """A message to be written. ``stanza`` holds ``NUMBER`` where its number goes."""

    recipient_id: int
    stamp: float
    stanza: bytes
    sender_id: int | None = None
    origin_id: str | None = None
    #: Numbers under which it may be there since a commit whose answer was lost; new ones are added.
    doubts: list[int] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class Row:
    """A message's row."""

    number: int
    stanza: bytes
    stamp: float
    sender_id: int | None


@dataclass(slots=True, frozen=True)
class Undelivered:
    """A message's row without the message."""

    number: int
    recipient_id: int
    sender_id: int | None
    origin_id: str | None


def draw(conn: Connection) -> tuple[int, int]:
    """Return an epoch for rows, and a greater one for their recipients' home to go on in."""
    return epochs.take_number(conn), epochs.take_number(conn)


def insert(conn: Connection, epoch: int, strays: Sequence[Stray]) -> list[int]:
    """Write messages, in this order, unless they are there.

    Returns the numbers of the rows, 0 for a message that somebody else had written.
    """
    numbers = []
    new = []
    for index, stray in enumerate(strays):
        number = _doubtful(conn, stray)
        if number is None and _is_written(conn, stray):
            number = 0
        if number is None:
            number = epoch << COUNTER_BITS | index
            stray.doubts.append(number)
            new.append(_row(stray, number))
        numbers.append(number)
    ADD_MESSAGE.run_many(conn, new)
    ADD_DELIVERY.run_many(conn, [{"recipient_id": row["recipient_id"], "id": row["id"]} for row in new])
    changes.note(conn, changes.MESSAGES, epoch)  # should this node not live to tell the recipients' homes
    return numbers


def find_same(
    conn: Connection, sender_id: int | None, recipient_id: int, origin_id: str | None, stamp: float
) -> int | None:
    """Return the number of a message's row if somebody has written it for its delivery."""
    if sender_id is None or not origin_id:
        return None
    number: int | None = SAME.value(
        conn,
        sender_id=sender_id,
        since=stamp - CLOCKS_DIFFER,
        origin_id=origin_id,
        recipient_id=recipient_id,
    )
    return number


def of_epoch(conn: Connection, epoch: int) -> list[Undelivered]:
    """Return the messages of an epoch that are still to be delivered."""
    first = epoch << COUNTER_BITS
    rows = OF_EPOCH.rows(conn, first=first, after=first + (1 << COUNTER_BITS))
    return [Undelivered(*row) for row in rows]


def find(conn: Connection, numbers: Iterable[int]) -> list[Row]:
    """Return messages by their numbers, those that are there."""
    found = (FIND.one(conn, id=number) for number in numbers)
    return [Row(*row) for row in found if row is not None]


def _doubtful(conn: Connection, stray: Stray) -> int | None:
    return next((number for number in stray.doubts if EXISTS.value(conn, id=number) is not None), None)


def _is_written(conn: Connection, stray: Stray) -> bool:
    found = find_same(conn, stray.sender_id, stray.recipient_id, stray.origin_id, stray.stamp)
    return found is not None


def _row(stray: Stray, number: int) -> dict[str, Any]:
    return {
        "id": number,
        "sender_id": stray.sender_id,
        "recipient_id": stray.recipient_id,
        "stamp": stray.stamp,
        "origin_id": stray.origin_id,
        "stanza": stray.stanza.replace(NUMBER, b"%d" % number),
    }
