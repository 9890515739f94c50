"""Migrations from nothing give what the metadata says, and refuse what they do not know."""

import re
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from ubiety.store.database import Database
from ubiety.store.errors import SchemaTooNew
from ubiety.store.migrate import newest_revision, revision
from ubiety.store.schema import metadata


def test_migrations_from_empty_equal_the_metadata(database: Database) -> None:
    def differences(conn: Connection) -> list[object]:
        context = MigrationContext.configure(
            conn, opts={"compare_type": True, "compare_server_default": not database.is_sqlite}
        )
        return list(compare_metadata(context, metadata))

    assert database.read_now(differences) == []


def test_indexes_and_checks_equal_the_metadata(database_url: str) -> None:
    """What Alembic's comparison leaves out: checks, partial indexes, clustered tables."""
    migrated = Database(database_url)
    migrated.migrate()
    found = migrated.read_now(_shape)
    migrated.write_now(_drop_all)
    migrated.write_now(_create_all)
    created = migrated.read_now(_shape)
    migrated.close()
    assert found == created


def _create_all(conn: Connection) -> None:
    metadata.create_all(conn)


def _drop_all(conn: Connection) -> None:
    metadata.drop_all(conn)


def _shape(conn: Connection) -> dict[str, object]:
    look = inspect(conn)
    shape: dict[str, object] = {}
    for table in metadata.tables:
        shape[table] = (
            sorted(index["name"] or "" for index in look.get_indexes(table)),
            sorted(check["name"] or "" for check in look.get_check_constraints(table)),
            sorted(unique["name"] or "" for unique in look.get_unique_constraints(table)),
            sorted(key["name"] or "" for key in look.get_foreign_keys(table)),
        )
    if conn.dialect.name == "sqlite":
        rows = conn.execute(text("SELECT tbl_name, name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        # As written, but constraints in any order.
        shape["text"] = {
            name: sorted(
                " ".join(part.split()).strip(" ()") for part in re.split(r",\s*\n|\n\)", sql.replace('"', ""))
            )
            for table, name, sql in rows
            if table in metadata.tables
        }
    return shape


def test_migrating_twice_changes_nothing(database: Database) -> None:
    database.migrate()
    assert database.read_now(revision) == newest_revision()


def test_two_that_start_at_once_take_turns(database_url: str) -> None:
    errors: list[Exception] = []

    def start() -> None:
        database = Database(database_url)
        try:
            database.migrate()
        except Exception as error:  # noqa: BLE001
            errors.append(error)
        finally:
            database.close()

    # One after the other: Alembic has one environment per process; between processes the database has a lock.
    for thread in [threading.Thread(target=start), threading.Thread(target=start)]:
        thread.start()
        thread.join()
    assert errors == []


def test_a_newer_database_is_refused(database: Database) -> None:
    database.write_now(lambda conn: conn.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(SchemaTooNew, match="9999"):
        database.migrate()
