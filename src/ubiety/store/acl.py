"""Who may send SIP requests without proving who they are (facts: System > Security > Incoming ACL)."""

from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store import changes
from ubiety.store.sql import Sql

COLUMNS = "id, kind, value, description"
ALL = Sql(f"SELECT {COLUMNS} FROM acl_entries ORDER BY kind, value")
FIND = Sql(f"SELECT {COLUMNS} FROM acl_entries WHERE id = :id")
INSERT = Sql(
    "INSERT INTO acl_entries (kind, value, description) VALUES (:kind, :value, :description) RETURNING id"
)
DELETE = Sql("DELETE FROM acl_entries WHERE id = :id")


class Entry(NamedTuple):
    """One row; what kinds there are and what they match says ``gateway.peers``."""

    id: int
    kind: str
    value: str
    description: str


def list_all(conn: Connection) -> list[Entry]:
    """Return all entries by kind and value."""
    return [Entry(*row) for row in ALL.rows(conn)]


def find(conn: Connection, id: int) -> Entry | None:
    """Return one entry."""
    row = FIND.one(conn, id=id)
    return Entry(*row) if row else None


def add(conn: Connection, kind: str, value: str, description: str) -> int:
    """Add an entry and return its id. Raises ``Conflict`` when it is there."""
    made: int = INSERT.value(conn, kind=kind, value=value, description=description)
    changes.note(conn, changes.FEDERATION)
    return made


def delete(conn: Connection, id: int) -> bool:
    """Delete an entry; False if there is none."""
    changes.note(conn, changes.FEDERATION)
    return DELETE.run(conn, id=id) > 0
