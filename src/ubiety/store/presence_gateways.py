"""Phone systems that say who is on the phone (facts: Presence > Gateways)."""

from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store import changes
from ubiety.store.sql import Sql

FIELDS = ("kind", "address", "port", "transport", "is_asked", "description")
COLUMNS = ", ".join(("id", *FIELDS))
ALL = Sql(f"SELECT {COLUMNS} FROM presence_gateways ORDER BY id")
INSERT = Sql(
    f"INSERT INTO presence_gateways ({', '.join(FIELDS)})"
    f" VALUES ({', '.join(':' + name for name in FIELDS)}) RETURNING id"
)
DELETE = Sql("DELETE FROM presence_gateways WHERE address = :address")
PHONES = Sql(
    "SELECT id, phone FROM users WHERE set_id = :set_id AND enabled AND phone <> '' AND id > :after"
    " ORDER BY id LIMIT :limit"
)
PHONE = Sql("SELECT phone FROM users WHERE id = :user_id AND enabled")

CUCM = "cucm"
"""Unified CM."""


class PresenceGateway(NamedTuple):
    """One row; ``id`` is 0 for one that is to be added."""

    id: int
    kind: str
    address: str
    """IP address or name; with port 0 a name that has SRV records."""
    port: int
    transport: str
    is_asked: bool
    """Whether it is asked for the state of people's phones; else it is expected to publish that itself."""
    description: str


def list_all(conn: Connection) -> list[PresenceGateway]:
    """Return all of them, in the order in which they were added."""
    return [_gateway(row) for row in ALL.rows(conn)]


def add(conn: Connection, gateway: PresenceGateway) -> int:
    """Add one and return its id. Raises ``Conflict`` when there is one of that address."""
    values = gateway._asdict()
    del values["id"]
    made: int = INSERT.value(conn, **values)
    changes.note(conn, changes.FEDERATION)
    return made


def delete(conn: Connection, address: str) -> bool:
    """Delete one; False if there is none."""
    changes.note(conn, changes.FEDERATION)
    return DELETE.run(conn, address=address) > 0


def phones(conn: Connection, set_id: int, after: int = 0, limit: int = 1000) -> list[tuple[int, str]]:
    """Return a page of the people of a set who have a phone: user id and number, by id above ``after``."""
    return [(id, phone) for id, phone in PHONES.rows(conn, set_id=set_id, after=after, limit=limit)]


def phone_of(conn: Connection, user_id: int) -> str:
    """Return a person's number, "" for somebody who has none or is disabled."""
    row = PHONE.one(conn, user_id=user_id)
    return str(row[0]) if row else ""


def _gateway(row: tuple[object, ...]) -> PresenceGateway:
    *front, is_asked, description = row
    return PresenceGateway._make((*front, bool(is_asked), description))
