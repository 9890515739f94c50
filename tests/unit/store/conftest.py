"""Fixtures for tests of the store: a migrated database of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tests.databases import open_in
from tests.postgres import Postgres
from ubiety.store.database import Database
from ubiety.store.schema import metadata


@pytest.fixture(scope="session")
def migrated_url(postgres: Postgres) -> str:
    """A migrated database that the tests use one after the other, emptied in between."""
    return postgres.make_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A migrated, empty database."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite")
        return
    database = Database(request.getfixturevalue("migrated_url"))
    database.write_now(_empty)
    yield database
    database.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    """A migrated, empty SQLite database."""
    database = open_in(tmp_path)
    yield database
    database.close()


def _empty(conn: Connection) -> None:
    for table in reversed(metadata.sorted_tables):
        conn.execute(table.delete())
