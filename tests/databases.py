"""Migrated, empty databases for tests that are not about migrating: a copy of one that was migrated once.

Migrating takes 70 ms on SQLite and a good deal longer on PostgreSQL. For PostgreSQL see ``postgres``: its
``make_database`` copies as well.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

from ubiety.store.database import Database


def migrate(url: str) -> None:
    """Bring a database to the newest form, as a node does when it starts."""
    database = Database(url)
    database.migrate()
    database.close()


def open_migrated(url: str, **options: Any) -> Database:
    """Open a migrated database: a new SQLite file, one that is there, or one that PostgreSQL's rig made.

    ``options`` are those of ``Database``.
    """
    database = Database(url, **options)
    if database.path is not None and not database.path.exists():
        database.path.write_bytes(_sqlite_template())
    return database


def open_in(folder: Path, **options: Any) -> Database:
    """Open the SQLite database of a node whose folder this is."""
    return open_migrated(f"sqlite:///{folder / 'ubiety.db'}", **options)


@functools.cache
def _sqlite_template() -> bytes:
    with tempfile.TemporaryDirectory(prefix="ubiety-") as folder:
        path = Path(folder) / "ubiety.db"
        migrate(f"sqlite:///{path}")
        return path.read_bytes()
