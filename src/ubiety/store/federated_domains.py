"""Domains of others with whom our own people exchange presence and messages, each over one protocol."""

from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store import changes
from ubiety.store.sql import Sql

ALL = Sql("SELECT name, protocol, description FROM federated_domains ORDER BY name")
FIND = Sql("SELECT name, protocol, description FROM federated_domains WHERE name = :name")
INSERT = Sql(
    "INSERT INTO federated_domains (name, protocol, description) VALUES (:name, :protocol, :description)"
)
DELETE = Sql("DELETE FROM federated_domains WHERE name = :name")

SIP, XMPP = "sip", "xmpp"


class FederatedDomain(NamedTuple):
    """One row: the prepared name of a domain, and how it is reached."""

    name: str
    protocol: str
    description: str


def list_all(conn: Connection) -> list[FederatedDomain]:
    """Return all of them by name."""
    return [FederatedDomain(*row) for row in ALL.rows(conn)]


def find(conn: Connection, name: str) -> FederatedDomain | None:
    """Return one by its prepared name."""
    row = FIND.one(conn, name=name)
    return FederatedDomain(*row) if row else None


def add(conn: Connection, name: str, protocol: str, description: str) -> None:
    """Add a domain. Raises ``Conflict`` when it is federated already, over whatever protocol."""
    INSERT.run(conn, name=name, protocol=protocol, description=description)
    changes.note(conn, changes.FEDERATION)


def delete(conn: Connection, name: str) -> bool:
    """Delete a domain; False if there is none."""
    changes.note(conn, changes.FEDERATION)
    return DELETE.run(conn, name=name) > 0
