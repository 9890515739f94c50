"""What clients keep with the server for themselves (XEP-0049)."""

from sqlalchemy import Connection

from ubiety.store.sql import Sql

LOAD = Sql("SELECT xml FROM private_xml WHERE user_id = :user_id AND ns = :ns AND name = :name")
PUT = Sql(
    "INSERT INTO private_xml (user_id, ns, name, xml) VALUES (:user_id, :ns, :name, :xml)"
    " ON CONFLICT (user_id, ns, name) DO UPDATE SET xml = excluded.xml"
)
USED = Sql("SELECT COUNT(*), COALESCE(SUM(LENGTH(xml)), 0) FROM private_xml WHERE user_id = :user_id")


def load(conn: Connection, user_id: int, ns: str, name: str) -> bytes | None:
    """Return the element stored under a namespace and name."""
    found: bytes | None = LOAD.value(conn, user_id=user_id, ns=ns, name=name)
    return found


def put(conn: Connection, user_id: int, ns: str, name: str, xml: bytes) -> None:
    """Store an element in place of the old one."""
    PUT.run(conn, user_id=user_id, ns=ns, name=name, xml=xml)


def used(conn: Connection, user_id: int) -> tuple[int, int]:
    """Return (elements, bytes) of one person, for a limit."""
    row = USED.one(conn, user_id=user_id)
    assert row is not None
    return int(row[0]), int(row[1])
