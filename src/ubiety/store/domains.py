"""The domains that this installation serves or knows."""

from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store import changes
from ubiety.store.errors import Conflict
from ubiety.store.sql import Sql

COLUMNS = "id, name, kind, is_default, created"
ALL = Sql(f"SELECT {COLUMNS} FROM domains ORDER BY name")
FIND = Sql(f"SELECT {COLUMNS} FROM domains WHERE name = :name")
DEFAULT = Sql(f"SELECT {COLUMNS} FROM domains WHERE is_default")
INSERT = Sql(
    "INSERT INTO domains (name, kind, is_default, created) VALUES (:name, :kind, :is_default, :created)"
)
CLEAR_DEFAULT = Sql("UPDATE domains SET is_default = false WHERE is_default")
MAKE_DEFAULT = Sql("UPDATE domains SET is_default = true WHERE name = :name")
DELETE = Sql("DELETE FROM domains WHERE id = :id")
PEOPLE = Sql("SELECT COUNT(*) FROM users WHERE domain_id = :id")


class Domain(NamedTuple):
    """One row of ``domains``; ``kind`` is ``local`` for those that we serve."""

    id: int
    name: str
    kind: str
    is_default: bool
    created: float


def list_all(conn: Connection) -> list[Domain]:
    """Return all domains by name."""
    return [_domain(*row) for row in ALL.rows(conn)]


def find(conn: Connection, name: str) -> Domain | None:
    """Return a domain by its name (already in lower case, U-label form)."""
    row = FIND.one(conn, name=name)
    return _domain(*row) if row else None


def default(conn: Connection) -> Domain | None:
    """Return the domain in which user ids are looked up that name none."""
    row = DEFAULT.one(conn)
    return _domain(*row) if row else None


def add(conn: Connection, name: str, now: float, *, kind: str = "local", is_default: bool = False) -> Domain:
    """Add a domain; the first local one becomes the default. Raises ``Conflict`` if it exists."""
    first = kind == "local" and default(conn) is None
    if is_default:
        CLEAR_DEFAULT.run(conn)
    INSERT.run(conn, name=name, kind=kind, is_default=is_default or first, created=now)
    changes.note(conn, changes.DOMAINS)
    made = find(conn, name)
    assert made is not None
    return made


def make_default(conn: Connection, name: str) -> bool:
    """Make a domain the default; False if there is no such domain."""
    if find(conn, name) is None:
        return False
    CLEAR_DEFAULT.run(conn)
    changes.note(conn, changes.DOMAINS)
    return MAKE_DEFAULT.run(conn, name=name) > 0


def delete(conn: Connection, name: str) -> bool:
    """Delete a domain; False if there is none.

    Raises ``Conflict`` while people have it or it is the default.
    """
    found = find(conn, name)
    if found is None:
        return False
    people = PEOPLE.value(conn, id=found.id)
    if people:
        raise Conflict(f"{people} people still belong to {name}")
    if found.is_default:
        raise Conflict(f"{name} is the default domain")
    changes.note(conn, changes.DOMAINS)
    return DELETE.run(conn, id=found.id) > 0


def _domain(id: int, name: str, kind: str, is_default: object, created: float) -> Domain:
    return Domain(id, name, kind, bool(is_default), created)
