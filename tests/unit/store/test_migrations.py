"""Migrations from nothing give what the metadata says, and refuse what they do not know.

An empty database is not migrated: its tables are made from the metadata. So the two must not differ.
"""

import re
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from ubiety.store.database import Database
from ubiety.store.errors import SchemaTooNew
from ubiety.store.migrate import known_revisions, newest_revision, revision
from ubiety.store.revisions import MIGRATIONS, apply
from ubiety.store.schema import metadata

CATALOG = (
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace",
    "SELECT relname, relkind::text, coalesce(reloptions::text, '') FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace",
    "SELECT table_name, column_name, data_type, is_nullable, coalesce(column_default, ''), is_identity,"
    " coalesce(character_maximum_length, 0), coalesce(collation_name, '')"
    " FROM information_schema.columns WHERE table_schema = 'public'",
)
"""What PostgreSQL knows of the tables, but for the order of their columns."""


def test_migrations_from_empty_equal_the_metadata(database_url: str) -> None:
    database = Database(database_url)

    def differences(conn: Connection) -> list[object]:
        context = MigrationContext.configure(
            conn, opts={"compare_type": True, "compare_server_default": not database.is_sqlite}
        )
        return list(compare_metadata(context, metadata))

    database.write_now(apply)
    found = database.read_now(differences)
    database.close()
    assert found == []


def test_an_empty_database_gets_what_migrations_give(database_url: str) -> None:
    """Also what Alembic's comparison leaves out: checks, partial indexes, clustered tables."""
    database = Database(database_url)
    database.write_now(apply)
    migrated = database.read_now(_shape)
    database.write_now(_drop_all)
    database.migrate()
    made = database.read_now(_shape)
    database.close()
    assert migrated == made


def test_the_revisions_are_those_of_alembic() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert known_revisions() == {script.revision for script in scripts.walk_revisions()}
    assert newest_revision() == scripts.get_current_head()


def test_tables_of_an_older_release_are_migrated(database_url: str) -> None:
    database = Database(database_url)
    database.write_now(apply, "0001")
    database.migrate()
    found = database.read_now(revision)
    database.close()
    assert found == newest_revision()


def _drop_all(conn: Connection) -> None:
    metadata.drop_all(conn)
    conn.execute(text("DROP TABLE alembic_version"))


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
    if conn.dialect.name == "postgresql":
        shape["text"] = [sorted(map(tuple, conn.execute(text(query)))) for query in CATALOG]
    else:
        rows = conn.execute(text("SELECT tbl_name, name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        # As written, but constraints in any order.
        shape["text"] = {
            name: sorted(
                " ".join(part.split()).strip(" ()") for part in re.split(r",\s*\n|\n\)", sql.replace('"', ""))
            )
            for table, name, sql in rows
            if table in {*metadata.tables, "alembic_version"}
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
