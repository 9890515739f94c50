"""Subscriptions to presence over SIP, kept for the time after a restart or a take-over.

``record`` is JSON of the gateway's own (the dialog, see ``sip.dialog.Dialog.to_record``). Only the home of
the person writes; what is one person's moves with ``users.set_id``. Peers are interned addresses.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from ubiety.store import addresses
from ubiety.store.sql import Sql

IN, OUT = "in", "out"
"""An outsider watches one of our people; one of our people watches an outsider."""

COLUMNS = "s.id, s.user_id, s.peer_id, a.jid, s.direction, s.state, s.call_id, s.record, s.expires"
FROM = "FROM sip_subscriptions s JOIN addresses a ON a.id = s.peer_id"
PAGE_OF_SET = Sql(
    f"SELECT {COLUMNS} {FROM} JOIN users u ON u.id = s.user_id"
    " WHERE u.set_id = :set_id AND s.id > :after ORDER BY s.id LIMIT :limit"
)
PAGE = Sql(
    "SELECT s.id, p.jid, a.jid, s.direction, s.state, s.expires"
    f" {FROM} JOIN users u ON u.id = s.user_id JOIN addresses p ON p.id = u.address_id"
    " WHERE s.id > :after AND (:address = '' OR p.jid = :address OR a.jid = :address)"
    " ORDER BY s.id LIMIT :limit"
)
OF_USER = Sql(f"SELECT {COLUMNS} {FROM} WHERE s.user_id = :user_id ORDER BY s.id")
FIND = Sql(f"SELECT {COLUMNS} {FROM} WHERE s.id = :id")
INSERT = Sql(
    "INSERT INTO sip_subscriptions (user_id, peer_id, direction, state, call_id, record, expires)"
    " VALUES (:user_id, :peer_id, :direction, :state, :call_id, :record, :expires) RETURNING id"
)
UPDATE = Sql(
    "UPDATE sip_subscriptions SET state = :state, call_id = :call_id, record = :record, expires = :expires"
    " WHERE id = :id"
)
DELETE = Sql("DELETE FROM sip_subscriptions WHERE id = :id")
DELETE_PEER = Sql(
    "DELETE FROM sip_subscriptions WHERE user_id = :user_id AND peer_id = :peer_id AND direction = :direction"
)
COUNTS = Sql("SELECT direction, state, COUNT(*) FROM sip_subscriptions GROUP BY direction, state")
COLLECT = Sql("DELETE FROM sip_subscriptions WHERE direction = 'in' AND expires < :before")


class Subscription(NamedTuple):
    """One row. ``expires`` is in seconds since 1970."""

    id: int
    user_id: int
    peer_id: int
    peer: str
    direction: str
    state: str
    call_id: str
    record: dict[str, Any]
    expires: float


class Listed(NamedTuple):
    """One row as people read it."""

    id: int
    person: str
    peer: str
    direction: str
    state: str
    expires: float


class Fresh(NamedTuple):
    """One to be added."""

    user_id: int
    peer: str
    direction: str
    state: str
    call_id: str
    record: Mapping[str, Any]
    expires: float


class Update(NamedTuple):
    """What has changed of the row ``id``."""

    id: int
    state: str
    call_id: str
    record: Mapping[str, Any]
    expires: float


def list_of_set(conn: Connection, set_id: int, after: int = 0, limit: int = 1000) -> Sequence[Subscription]:
    """Return a page of what belongs to the people of a set: those with an id above ``after``."""
    return [_read(row) for row in PAGE_OF_SET.rows(conn, set_id=set_id, after=after, limit=limit)]


def list_page(conn: Connection, after: int = 0, limit: int = 100, address: str = "") -> list[Listed]:
    """Return a page of all, or of those of one address on either side: those with an id above ``after``."""
    return [Listed._make(row) for row in PAGE.rows(conn, after=after, limit=limit, address=address)]


def list_of_user(conn: Connection, user_id: int) -> list[Subscription]:
    """Return one person's, in both directions."""
    return [_read(row) for row in OF_USER.rows(conn, user_id=user_id)]


def find(conn: Connection, id: int) -> Subscription | None:
    """Return one."""
    row = FIND.one(conn, id=id)
    return _read(row) if row else None


def add(conn: Connection, fresh: Fresh) -> int:
    """Add one and return its id."""
    return add_many(conn, [fresh])[0]


def add_many(conn: Connection, many: Iterable[Fresh]) -> list[int]:
    """Add many in one transaction; returns their ids in order."""
    rows = list(many)
    peers = addresses.intern_many(conn, (fresh.peer for fresh in rows))
    made = []
    for fresh in rows:
        values = fresh._asdict()
        values["peer_id"] = peers[values.pop("peer")]
        values["record"] = json.dumps(fresh.record)
        made.append(INSERT.value(conn, **values))
    return made


def update(conn: Connection, one: Update) -> bool:
    """Put down a new state; False if the row is gone."""
    return UPDATE.run(conn, **_values(one)) > 0


def update_many(conn: Connection, many: Iterable[Update]) -> None:
    """Put down new states of many; rows that are gone are passed over."""
    UPDATE.run_many(conn, [_values(one) for one in many])


def delete(conn: Connection, id: int) -> bool:
    """Delete one; False if it is gone."""
    return DELETE.run(conn, id=id) > 0


def delete_many(conn: Connection, ids: Iterable[int]) -> None:
    """Delete many; those that are gone are passed over."""
    DELETE.run_many(conn, [{"id": id} for id in ids])


def delete_peer(conn: Connection, user_id: int, peer: str, direction: str) -> int:
    """Delete all of one person with one outsider in a direction; returns how many."""
    peer_id = addresses.find(conn, peer)
    if peer_id is None:
        return 0
    return DELETE_PEER.run(conn, user_id=user_id, peer_id=peer_id, direction=direction)


def count(conn: Connection) -> dict[tuple[str, str], int]:
    """Return how many there are by direction and state."""
    return {(direction, state): number for direction, state, number in COUNTS.rows(conn)}


def gc_subscriptions(conn: Connection, before: float) -> int:
    """Delete inbound ones that ended before a time; returns how many."""
    return COLLECT.run(conn, before=before)


def _values(one: Update) -> dict[str, Any]:
    return {**one._asdict(), "record": json.dumps(one.record)}


def _read(row: tuple[Any, ...]) -> Subscription:
    *front, record, expires = row
    return Subscription._make((*front, json.loads(record), expires))
