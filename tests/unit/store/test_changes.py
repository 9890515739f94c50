"""The list of changes on PostgreSQL: nothing is missed, whatever order transactions end in."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, text

from ubiety.store import changes
from ubiety.store.changes import Change
from ubiety.store.database import Database


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    """PostgreSQL without changes."""
    database = Database(migrated_url)
    database.write_now(lambda conn: conn.execute(text("DELETE FROM changes")))
    yield database
    database.close()


def _kinds(found: list[Change]) -> list[tuple[str, int]]:
    return [(one.kind, one.ref_id) for one in found]


def test_a_reader_sees_what_was_noted_since_it_last_read(database: Database) -> None:
    horizon = database.read_now(changes.horizon)
    database.write_now(changes.note, changes.PEOPLE, 7, 8)
    seen = database.read_now(changes.read, horizon)
    assert _kinds(seen.changes) == [("people", 7), ("people", 8)]
    database.write_now(changes.note, changes.SETTINGS)
    assert _kinds(database.read_now(changes.read, seen.horizon).changes) == [("settings", 0)]


def test_a_transaction_that_ends_late_is_not_missed(database: Database) -> None:
    """It has the smaller revision, and a reader has gone past it when it becomes visible."""
    horizon = database.read_now(changes.horizon)
    engine = database._write_engine  # a second connection, to hold a transaction open
    with engine.connect() as slow:
        with slow.begin():
            changes.note(slow, changes.PEOPLE, 1)
            database.write_now(changes.note, changes.PEOPLE, 2)
            seen = database.read_now(changes.read, horizon)
            assert _kinds(seen.changes) == [("people", 2)]
        later = database.read_now(changes.read, seen.horizon)
    assert _kinds(later.changes) == [("people", 1), ("people", 2)]
    assert _kinds(database.read_now(changes.read, later.horizon).changes) == []


def test_what_is_rolled_back_was_no_change(database: Database) -> None:
    horizon = database.read_now(changes.horizon)

    def fail(conn: Connection) -> None:
        changes.note(conn, changes.DOMAINS)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        database.write_now(fail)
    assert database.read_now(changes.read, horizon).changes == []


def test_old_changes_are_deleted(database: Database) -> None:
    database.write_now(changes.note, changes.DOMAINS)
    database.write_now(changes.gc_changes)
    assert len(database.read_now(changes.read, 0).changes) == 1
    database.write_now(changes.gc_changes, -1.0)
    assert database.read_now(changes.read, 0).changes == []
