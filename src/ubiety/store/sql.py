"""Statements written once for both databases.

SQLAlchemy's expressions cost 30-60 µs each to look up and run, and its plain statements still 15 µs. The
statements of the hot ways (login, backlog, rosters) go to the driver as they are, in the transaction that
SQLAlchemy keeps, with ``:name`` parameters. Both databases speak the subset that we use: ``RETURNING``,
``ON CONFLICT``, ``true``/``false``.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

Row = tuple[Any, ...]
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")


class Sql:
    """One statement with named parameters, for SQLite and PostgreSQL.

    ``postgresql`` is given where the two must differ.
    """

    __slots__ = ("_postgresql", "text")

    def __init__(self, text: str, postgresql: str = "") -> None:
        self.text = text
        self._postgresql = _PARAMETER.sub(r"%(\1)s", (postgresql or text).replace("%", "%%"))

    def run(self, conn: Connection, **params: Any) -> int:
        """Run it and return the number of rows that it changed."""
        cursor = self._execute(conn, params)
        count: int = cursor.rowcount
        cursor.close()
        return count

    def run_many(self, conn: Connection, params: Sequence[Mapping[str, Any]]) -> None:
        """Run it once for each set of parameters."""
        if not params:
            return
        cursor = _driver(conn).cursor()
        cursor.executemany(self.text if conn.dialect.name == "sqlite" else self._postgresql, params)
        cursor.close()

    def rows(self, conn: Connection, **params: Any) -> list[Row]:
        """Run it and return all rows as plain tuples."""
        rows: list[Row] = self._execute(conn, params).fetchall()
        return rows

    def one(self, conn: Connection, **params: Any) -> Row | None:
        """Run it and return the first row, or None."""
        rows = self.rows(conn, **params)
        return rows[0] if rows else None

    def value(self, conn: Connection, **params: Any) -> Any:
        """Run it and return the first column of the first row, or None."""
        row = self.one(conn, **params)
        return row[0] if row else None

    def _execute(self, conn: Connection, params: dict[str, Any]) -> Any:
        text = self.text if conn.dialect.name == "sqlite" else self._postgresql
        return _driver(conn).execute(text, params)


def _driver(conn: Connection) -> Any:
    return conn.connection.driver_connection
