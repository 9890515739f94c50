"""The ledger when things fail: killed, disk full, locked, the database away."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.databases import open_in, open_migrated
from tests.postgres import Postgres, running
from tests.unit.store.ledgers import FIRST, Settled, make_entry, stored
from ubiety.store import streams
from ubiety.store.batch import State
from ubiety.store.database import Database
from ubiety.store.errors import DatabaseBusy, DatabaseFull, DatabaseUnavailable
from ubiety.store.ledger import Ledger

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent


async def wait_for(condition: object, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


# -- killed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reported", [1, 400, 1_500])
def test_killed_whatever_was_reported_is_there(database: Database, reported: int) -> None:
    child = subprocess.Popen(
        [sys.executable, str(HERE / "writing_child.py"), database.url.render_as_string()],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    told = [int(child.stdout.readline()) for _ in range(reported)]
    child.send_signal(signal.SIGKILL)
    told += [int(line) for line in child.stdout.read().splitlines() if line.endswith(b"") and line]
    child.wait()
    child.stdout.close()
    assert told == [FIRST + n for n in range(1, len(told) + 1)]
    if not database.is_sqlite:
        time.sleep(0.3)  # the server finishes or drops what the killed process had sent
    there = database.read_now(stored)
    assert there[: len(told)] == told
    stream = database.read_now(streams.find, "killed")
    assert stream is not None
    assert len(told) <= stream.h == len(there)  # the count was in the same transactions as the rows


# -- disk full ---------------------------------------------------------------------------------------------


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """Mount a disk of this size."""
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"mounting a tmpfs needs root (CAP_SYS_ADMIN): {done.stderr}"
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def test_disk_full_refuses_and_recovers(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        await fill_and_clear_sqlite(disk)


async def fill_and_clear_sqlite(small_disk: Path) -> None:
    database = open_in(small_disk)
    ledger, settled = Ledger(database), Settled()
    ledger.submit(make_entry(FIRST, settled))
    await ledger.flush()
    filler = small_disk / "filler"
    fill(filler)
    for number in range(1, 200):
        ledger.submit(make_entry(FIRST + number, settled))
    ledger.forget(1, FIRST)
    with pytest.raises(DatabaseFull):
        await ledger.flush()
    assert settled.numbers == [FIRST + n for n in range(200)]
    assert set(settled.errors) == {FIRST + n for n in range(1, 200)}
    assert all(isinstance(error, DatabaseFull) for error in settled.errors.values())
    with pytest.raises(DatabaseFull):
        await database.write(lambda conn: conn.execute(text("CREATE TABLE big AS SELECT zeroblob(300000)")))
    filler.unlink()
    # By itself, and with what was kept: the deletion.
    await wait_for(lambda: ledger.trouble is None)
    ledger.submit(make_entry(FIRST + 500, settled))
    await ledger.flush()
    assert FIRST + 500 not in settled.errors
    assert database.read_now(stored) == [FIRST + 500]
    await ledger.close()
    database.close()


async def test_disk_full_under_postgresql() -> None:
    with running() as server, small_disk(server.directory / "disk", "24m") as disk:
        server.give(disk)
        await fill_and_clear_postgresql(disk, server)
        server.stop("immediate")


async def fill_and_clear_postgresql(small_disk: Path, server: Postgres) -> None:
    database = open_migrated(server.make_database(place=small_disk))
    ledger, settled = Ledger(database), Settled()
    ledger.submit(make_entry(FIRST, settled))
    await ledger.flush()
    filler = small_disk / "filler"
    fill(filler)
    for number in range(1, 300):
        ledger.submit(make_entry(FIRST + number, settled))
    await ledger.flush()
    assert {type(error) for error in settled.errors.values()} == {DatabaseFull}
    filler.unlink()
    ledger.submit(make_entry(FIRST + 500, settled))
    await ledger.flush()
    assert database.read_now(stored) == [FIRST, FIRST + 500]
    await ledger.close()
    database.close()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass


# -- locked ------------------------------------------------------------------------------------------------


async def test_locked_by_another_process_refuses_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "ubiety.db"
    database = open_migrated(f"sqlite:///{path}", busy_timeout=0.2)
    ledger, settled = Ledger(database), Settled()
    child = subprocess.Popen(
        [sys.executable, str(HERE / "locking_child.py"), str(path), "1.5"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"locked\n"
    ledger.submit(make_entry(FIRST, settled))
    with pytest.raises(DatabaseBusy):
        await database.write(lambda conn: conn.execute(text("DELETE FROM settings")))
    await wait_for(lambda: settled.numbers == [FIRST])
    assert isinstance(settled.errors[FIRST], DatabaseBusy)
    assert child.wait() == 0
    child.stdout.close()
    ledger.submit(make_entry(FIRST + 1, settled))
    await ledger.flush()
    assert database.read_now(stored) == [FIRST + 1]
    assert ledger.trouble is None
    await ledger.close()
    database.close()


async def test_a_short_lock_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "ubiety.db"
    database = open_migrated(f"sqlite:///{path}")
    ledger, settled = Ledger(database), Settled()
    child = subprocess.Popen(
        [sys.executable, str(HERE / "locking_child.py"), str(path), "0.5"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    ledger.submit(make_entry(FIRST, settled))
    await ledger.flush()
    child.wait()
    child.stdout.close()
    assert not settled.errors
    await ledger.close()
    database.close()


async def test_a_locked_table_of_postgresql_refuses_and_recovers(
    postgres: Postgres, postgres_url: str
) -> None:
    database = open_migrated(postgres_url, busy_timeout=0.2)
    ledger, settled = Ledger(database), Settled()
    with postgres.connect(postgres_url.rpartition("/")[2]) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE deliveries IN EXCLUSIVE MODE")
        ledger.submit(make_entry(FIRST, settled))
        await ledger.flush()  # refused is settled
        other.execute("ROLLBACK")
    assert isinstance(settled.errors[FIRST], DatabaseBusy)
    ledger.submit(make_entry(FIRST + 1, settled))
    await ledger.flush()
    assert database.read_now(stored) == [FIRST + 1]
    await ledger.close()
    database.close()


# -- away --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_postgresql_restarted_in_the_middle(own_postgres: Postgres, mode: str) -> None:
    database = open_migrated(own_postgres.make_database())
    ledger, settled = Ledger(database), Settled()
    restart = asyncio.create_task(asyncio.to_thread(own_postgres.restart, mode))
    number = FIRST
    while not restart.done() or number < FIRST + 500:
        number += 1
        ledger.submit(make_entry(number, settled))
        await asyncio.sleep(0.002)
    await restart
    await wait_for(lambda: len(settled.numbers) == number - FIRST)
    expected = list(range(FIRST + 1, number + 1))
    assert settled.numbers == expected
    assert not settled.errors
    assert database.read_now(stored) == expected
    await ledger.close()
    database.close()


async def test_without_a_database_nothing_is_settled_and_all_can_be_cancelled(own_postgres: Postgres) -> None:
    url = own_postgres.make_database()
    database = open_migrated(url)
    ledger, settled = Ledger(database), Settled()
    ledger.submit(make_entry(FIRST, settled))
    await ledger.flush()
    await asyncio.to_thread(own_postgres.stop)
    kept, dropped = make_entry(FIRST + 1, settled), make_entry(FIRST + 2, settled)
    ledger.submit(kept)
    ledger.submit(dropped)
    with pytest.raises(DatabaseUnavailable):
        await ledger.flush()
    assert settled.numbers == [FIRST]
    assert (kept.state, dropped.state) == (State.QUEUED, State.QUEUED)
    assert kept.is_uncertain
    with pytest.raises(DatabaseUnavailable):
        await database.read(stored)
    with pytest.raises(DatabaseUnavailable):
        await database.write(stored)
    assert ledger.cancel(dropped)
    await asyncio.to_thread(own_postgres.start)
    await wait_for(lambda: settled.numbers == [FIRST, FIRST + 1])
    await ledger.flush()
    assert database.read_now(stored) == [FIRST, FIRST + 1]
    await ledger.close()
    database.close()


async def test_what_was_written_in_doubt_and_then_cancelled_is_deleted(
    own_postgres: Postgres,
) -> None:
    database = open_migrated(own_postgres.make_database())
    ledger, settled = Ledger(database), Settled()
    entry = make_entry(FIRST, settled)
    ledger.submit(entry)
    await ledger.flush()
    # As if the answer to that commit had been lost.
    entry.state, entry.is_uncertain = State.QUEUED, True
    ledger._weigh(entry.size)
    assert ledger.cancel(entry)
    await ledger.flush()
    assert database.read_now(stored) == []
    await ledger.close()
    database.close()


async def test_closing_does_not_wait_for_a_database_that_is_away(own_postgres: Postgres) -> None:
    database = open_migrated(own_postgres.make_database())
    ledger, settled = Ledger(database), Settled()
    await asyncio.to_thread(own_postgres.stop)
    ledger.submit(make_entry(FIRST, settled))
    begun = time.monotonic()
    await ledger.close()
    assert time.monotonic() - begun < 5
    assert settled.numbers == []
    database.close()
