"""Where SIP requests are sent: static routes, as an administrator has put them down."""

from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store import changes
from ubiety.store.sql import Sql

FIELDS = (
    "pattern",
    "kind",
    "description",
    "next_hop",
    "port",
    "transport",
    "priority",
    "weight",
    "allow_less_specific",
    "in_service",
    "is_blocked",
)
COLUMNS = ", ".join(("id", *FIELDS))
ALL = Sql(f"SELECT {COLUMNS} FROM static_routes ORDER BY kind, pattern, priority, id")
FIND = Sql(f"SELECT {COLUMNS} FROM static_routes WHERE id = :id")
SAME_PATTERN = Sql("SELECT COUNT(*) FROM static_routes WHERE kind = :kind AND pattern = :pattern")
INSERT = Sql(
    f"INSERT INTO static_routes ({', '.join(FIELDS)})"
    f" VALUES ({', '.join(':' + name for name in FIELDS)}) RETURNING id"
)
UPDATE = Sql(f"UPDATE static_routes SET {', '.join(f'{name} = :{name}' for name in FIELDS)} WHERE id = :id")
DELETE = Sql("DELETE FROM static_routes WHERE id = :id")


class Route(NamedTuple):
    """One row; ``id`` is 0 for one that is to be added. The rules are those of ``gateway.static``."""

    id: int
    pattern: str
    kind: str
    description: str
    next_hop: str
    port: int
    transport: str
    priority: int
    weight: int
    allow_less_specific: bool
    in_service: bool
    is_blocked: bool


def list_all(conn: Connection) -> list[Route]:
    """Return all routes by kind, pattern and priority."""
    return [_route(row) for row in ALL.rows(conn)]


def find(conn: Connection, id: int) -> Route | None:
    """Return one route."""
    row = FIND.one(conn, id=id)
    return _route(row) if row else None


def count_same(conn: Connection, kind: str, pattern: str) -> int:
    """Return how many routes have a pattern."""
    found: int = SAME_PATTERN.value(conn, kind=kind, pattern=pattern)
    return found


def add(conn: Connection, route: Route) -> int:
    """Add a route and return its id. Raises ``Conflict`` when there is one like it."""
    values = route._asdict()
    del values["id"]
    made: int = INSERT.value(conn, **values)
    changes.note(conn, changes.FEDERATION)
    return made


def put(conn: Connection, route: Route) -> bool:
    """Replace the route with this id; False if there is none. Raises ``Conflict`` as ``add`` does."""
    changes.note(conn, changes.FEDERATION)
    return UPDATE.run(conn, **route._asdict()) > 0


def delete(conn: Connection, id: int) -> bool:
    """Delete a route; False if there is none."""
    changes.note(conn, changes.FEDERATION)
    return DELETE.run(conn, id=id) > 0


def _route(row: tuple[object, ...]) -> Route:
    *values, allow_less_specific, in_service, is_blocked = row
    flags = (bool(allow_less_specific), bool(in_service), bool(is_blocked))
    return Route._make((*values, *flags))
