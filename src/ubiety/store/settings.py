"""Values of settings that differ from their defaults, as JSON text by name."""

from sqlalchemy import Connection

from ubiety.store import changes
from ubiety.store.sql import Sql

ALL = Sql("SELECT name, value FROM settings ORDER BY name")
PUT = Sql(
    "INSERT INTO settings (name, value) VALUES (:name, :value)"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
DELETE = Sql("DELETE FROM settings WHERE name = :name")


def load(conn: Connection) -> dict[str, str]:
    """Return name -> JSON text."""
    return dict(ALL.rows(conn))


def put(conn: Connection, name: str, value: str) -> None:
    """Store one value (JSON text)."""
    PUT.run(conn, name=name, value=value)
    changes.note(conn, changes.SETTINGS)


def delete(conn: Connection, name: str) -> bool:
    """Back to the default; False if it was not stored."""
    changes.note(conn, changes.SETTINGS)
    return DELETE.run(conn, name=name) > 0
