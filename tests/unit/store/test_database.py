"""Reads and writes: in order, whole or not at all, with typed errors, through restarts of the server."""

import asyncio
import sqlite3
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, text

from tests.databases import open_migrated
from tests.postgres import Postgres
from ubiety.store import settings
from ubiety.store.database import Database
from ubiety.store.errors import (
    CommitUnknown,
    Conflict,
    DatabaseBusy,
    DatabaseFull,
    DatabaseUnavailable,
    DataRefused,
    StoreError,
    translate,
)


async def test_a_write_is_seen_by_the_next_read(database: Database) -> None:
    await database.write(settings.put, "colour", '"blue"')
    assert await database.read(settings.load) == {"colour": '"blue"'}
    await database.write(settings.put, "colour", '"red"')
    assert await database.read(settings.load) == {"colour": '"red"'}
    assert await database.write(settings.delete, "colour")
    assert not await database.write(settings.delete, "colour")


async def test_writes_keep_their_order(database: Database) -> None:
    await asyncio.gather(*(database.write(settings.put, "last", str(number)) for number in range(100)))
    assert await database.read(settings.load) == {"last": "99"}


async def test_a_failed_write_leaves_nothing(database: Database) -> None:
    def fail(conn: Connection) -> None:
        settings.put(conn, "a", "1")
        raise ValueError("mistake")

    with pytest.raises(ValueError, match="mistake"):
        await database.write(fail)
    assert await database.read(settings.load) == {}


async def test_writes_that_share_a_commit_fail_alone(database: Database) -> None:
    def put(conn: Connection, number: int) -> int:
        settings.put(conn, f"n{number}", "1")
        if number % 10 == 3:
            raise ValueError(str(number))
        if number % 10 == 7:
            conn.execute(text("INSERT INTO settings (name, value) VALUES ('n0', 'again')"))
        return number

    results = await asyncio.gather(*(database.write(put, n) for n in range(60)), return_exceptions=True)
    for number, result in enumerate(results):
        if number % 10 == 3:
            assert isinstance(result, ValueError)
        elif number % 10 == 7:
            assert isinstance(result, Conflict)
        else:
            assert result == number
    kept = await database.read(settings.load)
    assert set(kept) == {f"n{n}" for n in range(60) if n % 10 not in (3, 7)}
    assert kept["n0"] == "1"


async def test_one_whose_waiter_left_is_done_all_the_same(database: Database) -> None:
    task = asyncio.create_task(database.write(settings.put, "a", "1"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.write(settings.put, "b", "2")
    assert await database.read(settings.load) == {"a": "1", "b": "2"}


async def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(Exception, match=r"read-?only"):
        await database.read(settings.put, "a", "1")
    assert await database.read(settings.load) == {}


async def test_a_closed_database_says_so(fresh_url: str) -> None:
    database = open_migrated(fresh_url)
    database.close()
    with pytest.raises(RuntimeError, match="closed"):
        await database.read(settings.load)
    database.close()


async def test_foreign_keys_are_kept(database: Database) -> None:
    with pytest.raises(Conflict):
        await database.write(
            lambda conn: conn.execute(
                text("INSERT INTO policies (user_id, default_action) VALUES (9, 'allow')")
            )
        )


async def test_a_restarted_server_is_not_noticed(own_postgres: Postgres) -> None:
    database = open_migrated(own_postgres.make_database())
    await asyncio.gather(*(database.write(settings.put, "a", str(n)) for n in range(5)))
    await asyncio.gather(*(database.read(settings.load) for _ in range(20)))
    await asyncio.to_thread(own_postgres.restart, "immediate")
    await database.write(settings.put, "b", "1")
    found = await asyncio.gather(*(database.read(settings.load) for _ in range(20)))
    assert all(values == {"a": "4", "b": "1"} for values in found)
    database.close()


async def test_a_server_that_is_away_is_unavailable() -> None:
    database = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable):
        await database.read(settings.load)
    with pytest.raises(DatabaseUnavailable):
        await database.write(settings.put, "a", "1")
    database.close()


async def test_a_directory_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/missing/ubiety.db")
    with pytest.raises(DatabaseUnavailable):
        await database.read(settings.load)
    database.close()


def test_sqlite_is_set_up_to_last(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/ubiety.db")
    database.migrate()

    def pragmas(conn: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "wal_autocheckpoint")
        return [conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    full = 2
    assert database.write_now(pragmas) == ["wal", full, 1, 0]
    assert database.read_now(pragmas) == ["wal", full, 1, 0]
    database.close()


def _sqlite(name: str) -> sqlite3.Error:
    error = sqlite3.OperationalError("x")
    error.sqlite_errorname = name
    return error


def _postgresql(code: str) -> psycopg.Error:
    return psycopg.errors.lookup(code)("x")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (_sqlite("SQLITE_FULL"), DatabaseFull),
        (_sqlite("SQLITE_BUSY"), DatabaseBusy),
        (_sqlite("SQLITE_BUSY_SNAPSHOT"), DatabaseBusy),
        (_sqlite("SQLITE_CONSTRAINT_UNIQUE"), Conflict),
        (_sqlite("SQLITE_IOERR_WRITE"), DatabaseUnavailable),
        (_sqlite("SQLITE_CORRUPT"), DatabaseUnavailable),
        (_sqlite("SQLITE_TOOBIG"), DataRefused),
        (_postgresql("53100"), DatabaseFull),
        (_postgresql("53300"), DatabaseUnavailable),
        (_postgresql("57P01"), DatabaseUnavailable),
        (_postgresql("57P03"), DatabaseUnavailable),
        (_postgresql("08006"), DatabaseUnavailable),
        (_postgresql("25006"), DatabaseUnavailable),
        (_postgresql("57014"), DatabaseBusy),
        (_postgresql("55P03"), DatabaseBusy),
        (_postgresql("40P01"), DatabaseBusy),
        (_postgresql("23505"), Conflict),
        (_postgresql("22003"), DataRefused),
        (psycopg.OperationalError("connection failed"), DatabaseUnavailable),
        (psycopg.DataError("NUL"), DataRefused),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogate"), DataRefused),
        (CommitUnknown("x"), CommitUnknown),
    ],
)
def test_errors_have_types(error: Exception, kind: type[StoreError]) -> None:
    assert type(translate(error)) is kind


@pytest.mark.parametrize("error", [ValueError("x"), _sqlite("SQLITE_ERROR"), _postgresql("42601")])
def test_mistakes_of_our_own_stay_what_they_are(error: Exception) -> None:
    assert translate(error) is None
