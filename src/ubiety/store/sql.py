"""Statements written once for both databases.

SQLAlchemy's own expressions cost 30-60 µs each to look up and run; the statements of the hot ways (login,
backlog, rosters) are constants instead, with ``:name`` parameters. Both databases speak the subset that we
use: ``RETURNING``, ``ON CONFLICT``, ``true``/``false``.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult

Row = tuple[Any, ...]
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")


class Sql:
    """One statement with named parameters, for SQLite and PostgreSQL."""

    __slots__ = ("_postgresql", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._postgresql = _PARAMETER.sub(r"%(\1)s", text.replace("%", "%%"))

    def execute(self, conn: Connection, params: Mapping[str, Any] | None = None) -> CursorResult[Any]:
        """Run it and return the open result."""
        text = self.text if conn.dialect.name == "sqlite" else self._postgresql
        return conn.exec_driver_sql(text, dict(params) if params else {})

    def run(self, conn: Connection, **params: Any) -> int:
        """Run it and return the number of rows that it changed."""
        result = self.execute(conn, params)
        count = result.rowcount
        result.close()
        return count

    def run_many(self, conn: Connection, params: Sequence[Mapping[str, Any]]) -> None:
        """Run it once for each set of parameters."""
        if params:
            text = self.text if conn.dialect.name == "sqlite" else self._postgresql
            conn.exec_driver_sql(text, [dict(p) for p in params]).close()

    def rows(self, conn: Connection, **params: Any) -> list[Row]:
        """Run it and return all rows as plain tuples."""
        result = self.execute(conn, params)
        rows: Sequence[Row] = result.cursor.fetchall() if result.cursor is not None else ()
        result.close()
        return list(rows)

    def one(self, conn: Connection, **params: Any) -> Row | None:
        """Run it and return the first row, or None."""
        rows = self.rows(conn, **params)
        return rows[0] if rows else None

    def value(self, conn: Connection, **params: Any) -> Any:
        """Run it and return the first column of the first row, or None."""
        row = self.one(conn, **params)
        return row[0] if row else None
