"""Tokens for the REST interface: only a hash is kept (SHA-256 in hexadecimal)."""

import json
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store.sql import Sql

COLUMNS = "id, name, permissions, created"
ADD = Sql(
    "INSERT INTO tokens (name, hash, permissions, created) VALUES (:name, :hash, :permissions, :created)"
    " RETURNING id"
)
ALL = Sql(f"SELECT {COLUMNS} FROM tokens ORDER BY name")
FIND = Sql(f"SELECT {COLUMNS} FROM tokens WHERE hash = :hash")
DELETE = Sql("DELETE FROM tokens WHERE name = :name")


class Token(NamedTuple):
    """What is known of a token, never the token itself."""

    id: int
    name: str
    permissions: list[str]
    created: float


def add(conn: Connection, name: str, hash: str, permissions: Iterable[str], now: float) -> int:
    """Store a token and return its id. Raises ``Conflict`` when the name is taken."""
    text = json.dumps(sorted(permissions))
    made: int = ADD.value(conn, name=name, hash=hash, permissions=text, created=now)
    return made


def list_all(conn: Connection) -> list[Token]:
    """Return all tokens by name."""
    return [_token(*row) for row in ALL.rows(conn)]


def find(conn: Connection, hash: str) -> Token | None:
    """Return the token that has this hash."""
    row = FIND.one(conn, hash=hash)
    return _token(*row) if row else None


def delete(conn: Connection, name: str) -> bool:
    """Delete a token; False if there is none of that name."""
    return DELETE.run(conn, name=name) > 0


def _token(id: int, name: str, permissions: str, created: float) -> Token:
    return Token(id, name, json.loads(permissions), created)
