"""Names in the certificates of servers that may speak SIP with us (facts: TLS Peer Subjects)."""

from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store import changes
from ubiety.store.sql import Sql

COLUMNS = "id, subject, description"
ALL = Sql(f"SELECT {COLUMNS} FROM tls_peers ORDER BY subject")
INSERT = Sql("INSERT INTO tls_peers (subject, description) VALUES (:subject, :description) RETURNING id")
DELETE = Sql("DELETE FROM tls_peers WHERE subject = :subject")


class TlsPeer(NamedTuple):
    """One row: a host name in lower case."""

    id: int
    subject: str
    description: str


def list_all(conn: Connection) -> list[TlsPeer]:
    """Return all peers by subject."""
    return [TlsPeer(*row) for row in ALL.rows(conn)]


def add(conn: Connection, subject: str, description: str) -> int:
    """Add a peer and return its id. Raises ``Conflict`` when it is there."""
    made: int = INSERT.value(conn, subject=subject, description=description)
    changes.note(conn, changes.FEDERATION)
    return made


def delete(conn: Connection, subject: str) -> bool:
    """Delete a peer; False if there is none."""
    changes.note(conn, changes.FEDERATION)
    return DELETE.run(conn, subject=subject) > 0
