"""Who may see a person: a default, and lists of people and domains (XEP-0191 is their client face)."""

from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store.sql import Sql

DEFAULT = Sql("SELECT default_action FROM policies WHERE user_id = :user_id")
SET_DEFAULT = Sql(
    "INSERT INTO policies (user_id, default_action) VALUES (:user_id, :action)"
    " ON CONFLICT (user_id) DO UPDATE SET default_action = excluded.default_action"
)
ENTRIES = Sql(
    "SELECT e.action, e.address_id, a.jid, e.domain FROM policy_entries e"
    " LEFT JOIN addresses a ON a.id = e.address_id WHERE e.user_id = :user_id ORDER BY e.id"
)
PUT_ADDRESS = Sql(
    "INSERT INTO policy_entries (user_id, action, address_id) VALUES (:user_id, :action, :address_id)"
    " ON CONFLICT (user_id, address_id) DO UPDATE SET action = excluded.action"
)
PUT_DOMAIN = Sql(
    "INSERT INTO policy_entries (user_id, action, domain) VALUES (:user_id, :action, :domain)"
    " ON CONFLICT (user_id, domain) DO UPDATE SET action = excluded.action"
)
REMOVE_ADDRESS = Sql(
    "DELETE FROM policy_entries"
    " WHERE user_id = :user_id AND address_id = :address_id AND (:action = '' OR action = :action)"
)
REMOVE_DOMAIN = Sql(
    "DELETE FROM policy_entries"
    " WHERE user_id = :user_id AND domain = :domain AND (:action = '' OR action = :action)"
)
CLEAR = Sql("DELETE FROM policy_entries WHERE user_id = :user_id AND action = :action")

ALLOW, BLOCK = "allow", "block"


class Entry(NamedTuple):
    """One entry: a person (address id and bare JID) or a whole domain."""

    action: str
    address_id: int | None
    jid: str | None
    domain: str | None


class Policy(NamedTuple):
    """``default_action`` is allow, block, or None for what the system says."""

    default_action: str | None
    entries: list[Entry]


def load(conn: Connection, user_id: int) -> Policy:
    """Return a person's whole policy."""
    default = DEFAULT.value(conn, user_id=user_id)
    return Policy(default, [Entry(*row) for row in ENTRIES.rows(conn, user_id=user_id)])


def set_default(conn: Connection, user_id: int, action: str | None) -> None:
    """Set what holds for those on no list; None: the system's setting."""
    SET_DEFAULT.run(conn, user_id=user_id, action=action)


def put_address(conn: Connection, user_id: int, action: str, address_id: int) -> None:
    """Allow or block a person; replaces an entry for the same person."""
    PUT_ADDRESS.run(conn, user_id=user_id, action=action, address_id=address_id)


def put_domain(conn: Connection, user_id: int, action: str, domain: str) -> None:
    """Allow or block a domain; replaces an entry for the same domain."""
    PUT_DOMAIN.run(conn, user_id=user_id, action=action, domain=domain)


def remove_address(conn: Connection, user_id: int, address_id: int, action: str = "") -> bool:
    """Remove the entry for a person (only if it has this action, if one is given); False if there is none."""
    return REMOVE_ADDRESS.run(conn, user_id=user_id, address_id=address_id, action=action) > 0


def remove_domain(conn: Connection, user_id: int, domain: str, action: str = "") -> bool:
    """Remove the entry for a domain (only if it has this action, if one is given); False if there is none."""
    return REMOVE_DOMAIN.run(conn, user_id=user_id, domain=domain, action=action) > 0


def clear(conn: Connection, user_id: int, action: str) -> int:
    """Remove all entries with this action; returns how many (XEP-0191: unblock all)."""
    return CLEAR.run(conn, user_id=user_id, action=action)
