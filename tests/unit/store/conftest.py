"""Fixtures for tests of the store: a migrated database of each kind."""

from collections.abc import Iterator

import pytest

from ubiety.store.database import Database


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated, empty database."""
    made = Database(database_url)
    made.migrate()
    yield made
    made.close()
