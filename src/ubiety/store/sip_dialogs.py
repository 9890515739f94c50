"""Conversations with outsiders over SIP, so that another node can go on with them.

``record`` is JSON of the gateway's own (see ``sip.dialog.Dialog.to_record``). Only the person's home writes.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection

from ubiety.store import addresses
from ubiety.store.sql import Sql

COLUMNS = "d.id, d.user_id, d.peer_id, a.jid, d.call_id, d.record, d.updated"
FROM = "FROM sip_dialogs d JOIN addresses a ON a.id = d.peer_id"
PAGE_OF_SET = Sql(
    f"SELECT {COLUMNS} {FROM} JOIN users u ON u.id = d.user_id"
    " WHERE u.set_id = :set_id AND d.id > :after ORDER BY d.id LIMIT :limit"
)
OF_USER = Sql(f"SELECT {COLUMNS} {FROM} WHERE d.user_id = :user_id ORDER BY d.id")
INSERT = Sql(
    "INSERT INTO sip_dialogs (user_id, peer_id, call_id, record, updated)"
    " VALUES (:user_id, :peer_id, :call_id, :record, :updated) RETURNING id"
)
UPDATE = Sql("UPDATE sip_dialogs SET call_id = :call_id, record = :record, updated = :updated WHERE id = :id")
DELETE = Sql("DELETE FROM sip_dialogs WHERE id = :id")
COUNT = Sql("SELECT COUNT(*) FROM sip_dialogs")
COLLECT = Sql("DELETE FROM sip_dialogs WHERE updated < :before")


class DialogRow(NamedTuple):
    """One row. ``updated`` is in seconds since 1970."""

    id: int
    user_id: int
    peer_id: int
    peer: str
    call_id: str
    record: dict[str, Any]
    updated: float


class Fresh(NamedTuple):
    """One to be added."""

    user_id: int
    peer: str
    call_id: str
    record: Mapping[str, Any]
    updated: float


class Update(NamedTuple):
    """What has changed of the row ``id``."""

    id: int
    call_id: str
    record: Mapping[str, Any]
    updated: float


def list_of_set(conn: Connection, set_id: int, after: int = 0, limit: int = 1000) -> list[DialogRow]:
    """Return a page of what belongs to the people of a set: those with an id above ``after``."""
    return [_read(row) for row in PAGE_OF_SET.rows(conn, set_id=set_id, after=after, limit=limit)]


def list_of_user(conn: Connection, user_id: int) -> list[DialogRow]:
    """Return one person's."""
    return [_read(row) for row in OF_USER.rows(conn, user_id=user_id)]


def add_many(conn: Connection, many: Iterable[Fresh]) -> list[int]:
    """Add conversations with bare addresses; returns their ids in order."""
    rows = list(many)
    peers = addresses.intern_many(conn, (fresh.peer for fresh in rows))
    made = []
    for fresh in rows:
        values = _values(fresh)
        values["peer_id"] = peers[values.pop("peer")]
        made.append(INSERT.value(conn, **values))
    return made


def update_many(conn: Connection, many: Iterable[Update]) -> None:
    """Put down how they are now; rows that are gone are passed over."""
    UPDATE.run_many(conn, [_values(one) for one in many])


def delete_many(conn: Connection, ids: Iterable[int]) -> None:
    """Delete many; those that are gone are passed over."""
    DELETE.run_many(conn, [{"id": id} for id in ids])


def count(conn: Connection) -> int:
    """Return how many there are."""
    found: int = COUNT.value(conn)
    return found


def gc_dialogs(conn: Connection, before: float) -> int:
    """Delete those that were last used before a time; returns how many."""
    return COLLECT.run(conn, before=before)


def _values(one: Fresh | Update) -> dict[str, Any]:
    return {**one._asdict(), "record": json.dumps(one.record)}


def _read(row: tuple[Any, ...]) -> DialogRow:
    *front, record, updated = row
    return DialogRow._make((*front, json.loads(record), updated))
