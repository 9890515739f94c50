"""Interned bare addresses: one row for each, referred to by id (design: "Identity is a row").

Ids never die. A merge leaves the old row behind with ``merged_into``; every look-up here follows it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection, bindparam, select

from ubiety.store.schema import addresses
from ubiety.store.sql import Sql

FIND = Sql("SELECT COALESCE(merged_into, id) FROM addresses WHERE jid = :jid")
INSERT = Sql("INSERT INTO addresses (jid) VALUES (:jid) ON CONFLICT (jid) DO NOTHING RETURNING id")
TEXT = Sql("SELECT jid FROM addresses WHERE id = :id")
RENAME = Sql("UPDATE addresses SET jid = :jid WHERE id = :id")

T = TypeVar("T")

#: Below SQLite's limit of 32,766 variables in one statement.
CHUNK = 5_000

_LOOKUP = select(addresses.c.jid, addresses.c.id, addresses.c.merged_into).where(
    addresses.c.jid.in_(bindparam("jids", expanding=True))
)
_TEXTS = select(addresses.c.id, addresses.c.jid).where(addresses.c.id.in_(bindparam("ids", expanding=True)))


def find(conn: Connection, jid: str) -> int | None:
    """Return the id of a bare JID, None when nobody has a durable relation with it."""
    found: int | None = FIND.value(conn, jid=jid)
    return found


def intern(conn: Connection, jid: str) -> int:
    """Return the id of a bare JID and make one if it has none. Only for durable relations; write only."""
    found = find(conn, jid)
    if found is not None:
        return found
    made: int | None = INSERT.value(conn, jid=jid)
    if made is not None:
        return made
    again = find(conn, jid)  # another node was faster
    assert again is not None
    return again


def intern_many(conn: Connection, jids: Iterable[str]) -> dict[str, int]:
    """Return bare JID -> id for all of them, making those that are missing. Write only."""
    wanted = list(dict.fromkeys(jids))
    found = lookup_many(conn, wanted)
    missing = [jid for jid in wanted if jid not in found]
    for jid in missing:
        found[jid] = intern(conn, jid)
    return found


def lookup_many(conn: Connection, jids: Iterable[str]) -> dict[str, int]:
    """Return bare JID -> id for those that have one."""
    found: dict[str, int] = {}
    for chunk in _chunks(list(jids)):
        for jid, own, merged_into in conn.execute(_LOOKUP, {"jids": chunk}):
            found[jid] = own if merged_into is None else merged_into
    return found


def text(conn: Connection, address_id: int) -> str | None:
    """Return the bare JID of an id."""
    found: str | None = TEXT.value(conn, id=address_id)
    return found


def texts(conn: Connection, ids: Iterable[int]) -> dict[int, str]:
    """Return id -> bare JID."""
    found: dict[int, str] = {}
    for chunk in _chunks(list(ids)):
        found.update((own, jid) for own, jid in conn.execute(_TEXTS, {"ids": chunk}))
    return found


def rename(conn: Connection, address_id: int, jid: str) -> None:
    """Give an address a new text; everything that refers to it follows.

    Raises ``Conflict`` if it is taken.
    """
    RENAME.run(conn, id=address_id, jid=jid)


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
