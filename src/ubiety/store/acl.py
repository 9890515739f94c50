"""Who may send SIP requests without proving who they are (facts: System > Security > Incoming ACL)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from ubiety.store import changes
from ubiety.store.sql import Sql

COLUMNS = "id, kind, value, description, domains"
ALL = Sql(f"SELECT {COLUMNS} FROM acl_entries ORDER BY kind, value")
FIND = Sql(f"SELECT {COLUMNS} FROM acl_entries WHERE id = :id")
INSERT = Sql(
    "INSERT INTO acl_entries (kind, value, description, domains)"
    " VALUES (:kind, :value, :description, :domains) RETURNING id"
)
DELETE = Sql("DELETE FROM acl_entries WHERE id = :id")


class Entry(NamedTuple):
    """One row; what kinds there are and what they match says ``gateway.peers``."""

    id: int
    kind: str
    value: str
    description: str
    domains: tuple[str, ...] = ()
    """For whose people the peer may speak; empty: for those of every domain."""


def list_all(conn: Connection) -> list[Entry]:
    """Return all entries by kind and value."""
    return [_entry(row) for row in ALL.rows(conn)]


def find(conn: Connection, id: int) -> Entry | None:
    """Return one entry."""
    row = FIND.one(conn, id=id)
    return _entry(row) if row else None


def add(conn: Connection, kind: str, value: str, description: str, domains: Sequence[str] = ()) -> int:
    """Add an entry and return its id. Raises ``Conflict`` when it is there."""
    made: int = INSERT.value(conn, kind=kind, value=value, description=description, domains=",".join(domains))
    changes.note(conn, changes.FEDERATION)
    return made


def delete(conn: Connection, id: int) -> bool:
    """Delete an entry; False if there is none."""
    changes.note(conn, changes.FEDERATION)
    return DELETE.run(conn, id=id) > 0


def _entry(row: tuple[Any, ...]) -> Entry:
    *front, domains = row
    return Entry._make((*front, tuple(domains.split(",")) if domains else ()))
