"""Leases on a real PostgreSQL: who gets a set, who keeps it, and what a late writer may still write."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Connection, text

from tests.unit.store.ledgers import FIRST, Settled, make_entry, stored
from ubiety.store import leases, nodes
from ubiety.store.batch import collect
from ubiety.store.database import Database
from ubiety.store.errors import Fenced
from ubiety.store.ledger import Ledger
from ubiety.store.writer import Writer
from ubiety.store.writer_postgresql import PostgresqlDialect

ONE, TWO = 1, 2


@pytest.fixture
def postgresql(migrated_url: str) -> Iterator[Database]:
    """A migrated, empty PostgreSQL database."""
    database = Database(migrated_url)
    database.write_now(_empty)
    yield database
    database.close()


def _empty(conn: Connection) -> None:
    for table in ("deliveries", "messages", "leases", "nodes"):
        conn.execute(text(f"DELETE FROM {table}"))


@pytest.fixture
def conn(postgresql: Database) -> Iterator[leases.Conn]:
    with leases.connect(postgresql.url) as opened:
        yield opened


def run_out(conn: leases.Conn) -> None:
    """Let all leases run out."""
    conn.execute("UPDATE leases SET expires = 1 WHERE expires > 0")


def test_a_free_set_is_taken_and_renewed_and_given(conn: leases.Conn) -> None:
    epoch = leases.take(conn, ONE, ONE, TWO, has_waited=False)
    assert epoch is not None
    (lease,) = leases.renew(conn, ONE, [(ONE, epoch, TWO)])
    assert lease.is_renewed
    (lease,) = leases.show(conn)
    assert lease == (ONE, ONE, epoch, TWO, lease.left, False)
    assert 2.0 < lease.left <= leases.LEASE_SECONDS
    assert leases.take(conn, ONE, TWO, ONE, has_waited=True) is None, "it is not run out"
    assert leases.give(conn, ONE, ONE, epoch)
    assert not leases.give(conn, ONE, ONE, epoch)
    assert leases.take(conn, ONE, TWO, ONE, has_waited=False) == epoch + 1


def test_what_has_run_out_is_for_the_named_successor_and_for_its_owner(conn: leases.Conn) -> None:
    first = leases.take(conn, ONE, ONE, TWO, has_waited=False)
    assert first is not None
    run_out(conn)
    assert leases.take(conn, ONE, 3, ONE, has_waited=True) is None, "a stranger"
    assert leases.take(conn, ONE, TWO, ONE, has_waited=False) is None, "it was started just now"
    second = leases.take(conn, ONE, TWO, ONE, has_waited=True)
    assert second == first + 1
    (lease,) = leases.renew(conn, ONE, [(ONE, first, TWO)])
    assert not lease.is_renewed and (lease.owner, lease.epoch) == (TWO, second)
    run_out(conn)
    assert leases.take(conn, ONE, TWO, ONE, has_waited=False) == second + 1, "its own earlier process"


def test_nobody_takes_a_set_whose_owner_knows_of_no_successor(conn: leases.Conn) -> None:
    epoch = leases.take(conn, ONE, ONE, 0, has_waited=False)
    assert epoch is not None
    run_out(conn)
    assert leases.show(conn)[0].is_live
    assert leases.take(conn, ONE, TWO, ONE, has_waited=True) is None
    leases.renew(conn, ONE, [(ONE, epoch, TWO)])
    run_out(conn)
    assert leases.take(conn, ONE, TWO, ONE, has_waited=True) is not None


def test_a_name_in_a_row_of_an_older_release_owns_nothing(conn: leases.Conn) -> None:
    conn.execute("INSERT INTO leases (set_id, owner, epoch, expires) VALUES (1, 'node1', 5, 0)")
    conn.execute("INSERT INTO leases (set_id, owner, epoch, expires) VALUES (0, '', 5, 0)")
    assert leases.take(conn, ONE, ONE, 0, has_waited=False) == 6


def test_two_who_take_at_once(conn: leases.Conn, postgresql: Database) -> None:
    taken: list[int | None] = []

    def take(node_id: int) -> None:
        with leases.connect(postgresql.url) as own:
            taken.append(leases.take(own, ONE, node_id, 0, has_waited=True))

    threads = [threading.Thread(target=take, args=(node_id,)) for node_id in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([epoch for epoch in taken if epoch is not None]) == 1


# -- fencing -------------------------------------------------------------------------------------------------


async def test_a_late_batch_is_refused_as_a_whole(conn: leases.Conn, postgresql: Database) -> None:
    mine = leases.take(conn, ONE, ONE, TWO, has_waited=False)
    other = leases.take(conn, TWO, ONE, TWO, has_waited=False)
    assert mine is not None and other is not None
    writer, settled = Writer(postgresql, PostgresqlDialect), Settled()
    batch = collect([make_entry(FIRST, settled)])
    batch.fence = [(ONE, mine), (TWO, other)]
    assert writer.write(batch).error is None
    run_out(conn)
    assert leases.take(conn, TWO, TWO, ONE, has_waited=True) is not None
    late = collect([make_entry(FIRST + 1, settled), make_entry(FIRST + 2, settled)])
    late.fence = batch.fence
    outcome = writer.write(late)
    assert isinstance(outcome.error, Fenced) and len(outcome.unwritten) == 2
    late.fence = [(ONE, mine)]
    assert writer.write(late).error is None
    assert postgresql.read_now(stored) == [FIRST, FIRST + 1, FIRST + 2]
    writer.close()


async def test_the_ledger_keeps_what_it_may_still_write(conn: leases.Conn, postgresql: Database) -> None:
    """A set is lost: entries of its people fail, those of others are written, nothing in between."""
    mine = leases.take(conn, ONE, ONE, 0, has_waited=False)
    lost = leases.take(conn, TWO, ONE, TWO, has_waited=False)
    assert mine is not None and lost is not None

    class Fence:
        def __init__(self) -> None:
            self.sets = {ONE: mine or 0, TWO: lost or 0}
            self.homes = {1: ONE, 2: TWO}

        def held(self) -> list[tuple[int, int]]:
            return list(self.sets.items())

        def covers(self, user_id: int) -> bool:
            return self.homes[user_id] in self.sets

    ledger, settled, fence = Ledger(postgresql), Settled(), Fence()
    noticed: list[list[int]] = []
    ledger.fence = fence
    ledger.on_fenced = lambda: noticed.append(list(settled.numbers))
    run_out(conn)
    assert leases.take(conn, TWO, TWO, ONE, has_waited=True) is not None
    for number, person in enumerate((1, 2, 1)):
        ledger.submit(make_entry(FIRST + number, settled, person))
    with pytest.raises(Fenced):
        await ledger.flush()
    assert noticed == [[]], "nothing was settled: it is not known yet whose fault it is"
    del fence.sets[TWO]
    await ledger.flush()
    assert sorted(settled.numbers) == [FIRST, FIRST + 1, FIRST + 2]
    assert [(number, type(error)) for number, error in settled.errors.items()] == [(FIRST + 1, Fenced)]
    assert postgresql.read_now(stored) == [FIRST, FIRST + 2]
    assert ledger.queued_bytes == 0
    await ledger.close()


async def test_writes_are_fenced_and_some_are_open(conn: leases.Conn, postgresql: Database) -> None:
    epoch = leases.take(conn, ONE, ONE, TWO, has_waited=False)
    assert epoch is not None
    held = [(ONE, epoch)]
    postgresql.fence = lambda: held

    def add(conn: Connection, set_id: int) -> None:
        conn.execute(text("INSERT INTO leases (set_id, owner, epoch) VALUES (:id, '', 0)"), {"id": set_id})

    await postgresql.write(add, 10)
    run_out(conn)
    assert leases.take(conn, ONE, TWO, ONE, has_waited=True) is not None
    with pytest.raises(Fenced):
        await postgresql.write(add, 11)
    late = [postgresql.write(add, 12), postgresql.write(add, 13)]
    results = [await_error(task) for task in late]
    assert [type(await result) for result in results] == [Fenced, Fenced]
    await postgresql.write_open(add, 14)
    held.clear()
    await postgresql.write(add, 15)
    found = {lease.set_id for lease in leases.show(conn)}
    assert found == {ONE, 10, 14, 15}


async def await_error(write: object) -> BaseException | None:
    try:
        await write  # type: ignore[misc]
    except Exception as error:  # noqa: BLE001
        return error
    return None


def test_a_renewal_does_not_wait_for_a_write_and_a_take_does(conn: leases.Conn, postgresql: Database) -> None:
    epoch = leases.take(conn, ONE, ONE, TWO, has_waited=False)
    assert epoch is not None
    with leases.connect(postgresql.url) as writing, writing.transaction():
        writing.execute(*leases.fence([(ONE, epoch)]))
        begun = time.monotonic()
        (lease,) = leases.renew(conn, ONE, [(ONE, epoch, TWO)])
        assert lease.is_renewed and time.monotonic() - begun < 0.2
        run_out(conn)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            leases.take(conn, ONE, TWO, ONE, has_waited=True)
    assert leases.take(conn, ONE, TWO, ONE, has_waited=True) is not None


def test_a_stuck_write_of_a_node_that_is_gone_is_broken_off(conn: leases.Conn, migrated_url: str) -> None:
    old = Database(migrated_url, application=leases.APPLICATION + "one")
    old.write_now(lambda c: nodes.register(c, "one", "1.0", "boot", 0.0))
    node_id = old.read_now(lambda c: nodes.list_all(c))[0].id
    epoch = leases.take(conn, node_id, node_id, TWO + 5, has_waited=False)
    assert epoch is not None
    stuck = old.open_driver_connection()
    driver = stuck.driver_connection
    assert driver is not None
    # Without a Sync the server's own time-outs do not count.
    with contextlib.suppress(psycopg.OperationalError), driver.pipeline():
        driver.execute(*leases.fence([(node_id, epoch)]))
        driver.execute("SELECT 1").fetchone()
        time.sleep(leases.STUCK_SECONDS + 0.1)
        run_out(conn)
        assert leases.end_stuck(conn, node_id + 1) == 0
        assert leases.end_stuck(conn, node_id) == 1
        assert leases.take(conn, node_id, TWO + 5, node_id, has_waited=True) is not None
        with pytest.raises(psycopg.OperationalError):
            driver.execute("SELECT 1").fetchone()
    stuck.invalidate()
    old.close()


def test_who_serves_is_not_held_up_by_others_who_would_like_to(
    conn: leases.Conn, postgresql: Database
) -> None:
    epoch = leases.take(conn, ONE, ONE, TWO, has_waited=False)
    assert epoch is not None
    with leases.connect(postgresql.url) as writing, writing.transaction():
        writing.execute(*leases.fence([(ONE, epoch)]))
        begun = time.monotonic()
        assert leases.take(conn, ONE, TWO, ONE, has_waited=True) is None
        assert time.monotonic() - begun < 0.2
