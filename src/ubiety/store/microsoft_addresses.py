"""Who has an account on the Microsoft side (``user@domain``, prepared); read in the advanced routing mode."""

from collections.abc import Iterable

from sqlalchemy import Connection

from ubiety.store import changes
from ubiety.store.sql import Sql

PAGE = Sql("SELECT address FROM microsoft_addresses WHERE address > :after ORDER BY address LIMIT :limit")
FIND = Sql("SELECT 1 FROM microsoft_addresses WHERE address = :address")
COUNT = Sql("SELECT COUNT(*) FROM microsoft_addresses")
INSERT = Sql("INSERT INTO microsoft_addresses (address) VALUES (:address) ON CONFLICT (address) DO NOTHING")
DELETE = Sql("DELETE FROM microsoft_addresses WHERE address = :address")


def list_page(conn: Connection, after: str = "", limit: int = 1000) -> list[str]:
    """Return addresses in order, those behind ``after``."""
    return [row[0] for row in PAGE.rows(conn, after=after, limit=limit)]


def has(conn: Connection, address: str) -> bool:
    """Tell whether somebody has an account on the Microsoft side."""
    return FIND.value(conn, address=address) is not None


def count(conn: Connection) -> int:
    """Return how many there are."""
    found: int = COUNT.value(conn)
    return found


def add_many(conn: Connection, addresses: Iterable[str]) -> int:
    """Add those that are missing; returns how many."""
    before = count(conn)
    INSERT.run_many(conn, [{"address": address} for address in addresses])
    changes.note(conn, changes.MICROSOFT)
    return count(conn) - before


def delete(conn: Connection, address: str) -> bool:
    """Delete one; False if it is not there."""
    changes.note(conn, changes.MICROSOFT)
    return DELETE.run(conn, address=address) > 0
