"""vCards as their owners stored them (XEP-0054), and the hash of the photo within (XEP-0153)."""

from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store.sql import Sql

LOAD = Sql("SELECT xml, photo_hash FROM vcards WHERE user_id = :user_id")
HASH = Sql("SELECT photo_hash FROM vcards WHERE user_id = :user_id")
PUT = Sql(
    "INSERT INTO vcards (user_id, xml, photo_hash) VALUES (:user_id, :xml, :photo_hash)"
    " ON CONFLICT (user_id) DO UPDATE SET xml = excluded.xml, photo_hash = excluded.photo_hash"
)
DELETE = Sql("DELETE FROM vcards WHERE user_id = :user_id")


class Vcard(NamedTuple):
    """Canonical bytes of the ``<vCard/>``; ``photo_hash`` is SHA-1 in hexadecimal, "" without a photo."""

    xml: bytes
    photo_hash: str


def load(conn: Connection, user_id: int) -> Vcard | None:
    """Return a person's vCard, None if nothing was stored."""
    row = LOAD.one(conn, user_id=user_id)
    return Vcard(*row) if row else None


def photo_hash(conn: Connection, user_id: int) -> str:
    """Return the hash of the photo, "" without one."""
    return HASH.value(conn, user_id=user_id) or ""


def put(conn: Connection, user_id: int, xml: bytes, photo_hash: str = "") -> None:
    """Store a vCard in place of the old one."""
    PUT.run(conn, user_id=user_id, xml=xml, photo_hash=photo_hash)


def delete(conn: Connection, user_id: int) -> bool:
    """Delete a vCard; False if there was none."""
    return DELETE.run(conn, user_id=user_id) > 0
