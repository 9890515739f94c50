"""What administrators did: one row per operation, refused ones too."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection

from ubiety.store.sql import Sql

ADD = Sql(
    "INSERT INTO audit (at, actor, operation, arguments, outcome)"
    " VALUES (:at, :actor, :operation, :arguments, :outcome) RETURNING id"
)
PAGE = Sql(
    "SELECT id, at, actor, operation, arguments, outcome FROM audit"
    " WHERE id < :before ORDER BY id DESC LIMIT :limit"
)
COLLECT = Sql("DELETE FROM audit WHERE at < :older_than")

LARGEST = 2**63 - 1


class Record(NamedTuple):
    """One operation; ``arguments`` without secrets (the caller leaves them out)."""

    id: int
    at: float
    actor: str
    operation: str
    arguments: dict[str, Any]
    outcome: str


def add(
    conn: Connection, at: float, actor: str, operation: str, arguments: Mapping[str, Any], outcome: str
) -> int:
    """Note an operation and return the id of the row."""
    text = json.dumps(dict(arguments), default=str)
    made: int = ADD.value(conn, at=at, actor=actor, operation=operation, arguments=text, outcome=outcome)
    return made


def list_page(conn: Connection, *, before: int = LARGEST, limit: int = 100) -> list[Record]:
    """Return the newest operations with an id below ``before``, newest first."""
    rows = PAGE.rows(conn, before=before, limit=limit)
    return [Record(i, at, actor, op, json.loads(args), outcome) for i, at, actor, op, args, outcome in rows]


def gc_audit(conn: Connection, older_than: float) -> int:
    """Delete what is older; returns how many."""
    return COLLECT.run(conn, older_than=older_than)
