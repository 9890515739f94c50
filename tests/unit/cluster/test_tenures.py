"""Two nodes' tenures on a real PostgreSQL, over the bus of one process: killed, stopped, cut, restarted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from time import monotonic

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from tests.databases import open_in
from tests.postgres import Postgres
from ubiety.cluster.bus import LocalBus
from ubiety.cluster.leases import LOOP_SECONDS
from ubiety.cluster.links import NodeLinks
from ubiety.cluster.serving import Serving, Whereabouts
from ubiety.cluster.tenure import LEASE, Lost
from ubiety.cluster.tenures import AlwaysServing, Tenures
from ubiety.routing.homes import Homes
from ubiety.store import leases, nodes
from ubiety.store.database import Database
from ubiety.store.errors import Fenced
from ubiety.telemetry import Counters

ONE, TWO = 1, 2
SLACK = 0.6
"""Of a busy machine."""


class Member:
    """One of the two nodes, as far as leases go."""

    def __init__(self, node_id: int, url: str, bus: LocalBus | None) -> None:
        self.id = node_id
        self.other = TWO if node_id == ONE else ONE
        self.links = NodeLinks(bus, "test", node_id, Counters()) if bus is not None else None
        self.tenures = Tenures(node_id, make_url(url), self.links)
        self.homes = Homes(node_id=node_id)
        self.homes.here.clear()
        self.lost: list[Lost] = []
        self.epochs: list[int] = []
        self.serving = Serving(self.tenures, self.homes, [], self.epochs.append)
        self.where = Whereabouts(self.homes, self.tenures.serving, self.links, lambda: [self.other])
        self.tenures.watch(self.lost.append)
        self.tenures.watch_leases(self.where.read)
        self.tenures.watch_serving(self.where.announce)
        self.rivals({ONE: self.other, TWO: self.other})

    def rivals(self, rivals: dict[int, int]) -> None:
        self.tenures.set_rivals(rivals)

    async def start(self) -> None:
        if self.links is not None:
            self.links.set_peers([self.other])
            await self.links.start()
        self.tenures.start()

    async def stop(self) -> None:
        await self.tenures.stop()
        if self.links is not None:
            await self.links.close()

    def serves(self) -> set[int]:
        now = monotonic()
        return {s for s in self.tenures.serving() if now < self.tenures.deadline} & self.homes.here

    async def takes_over(self, seconds: float = 2 * LEASE) -> float:
        """Try to take the other's set until it works; return how long that took."""
        begun = monotonic()
        while not await self.serving.begin(self.other):
            assert monotonic() - begun < seconds, "it was not taken"
            await asyncio.sleep(0.02)
        return monotonic() - begun


@pytest.fixture
async def url(postgres_url: str) -> str:
    return postgres_url


@asynccontextmanager
async def pair(url: str, bus: LocalBus | None) -> AsyncIterator[tuple[Member, Member]]:
    """Both nodes, each serving its own set."""
    members = [Member(node_id, url, bus) for node_id in (ONE, TWO)]
    for member in members:
        await member.start()
    for member in members:
        assert await member.serving.begin(member.id)
    await until(lambda: all(m.homes.serving == {m.other: m.other} for m in members))
    try:
        yield members[0], members[1]
    finally:
        for member in members:
            await member.stop()


async def until(is_so: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = monotonic() + seconds
    while not is_so():
        assert monotonic() < deadline
        await asyncio.sleep(0.01)


async def watch(members: tuple[Member, ...], seconds: float) -> list[tuple[set[int], ...]]:
    """Look again and again who serves what; fail when a set is served twice."""
    seen = []
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        now = tuple(member.serves() for member in members)
        assert not now[0] & now[1], "a set is served twice"
        seen.append(now)
        await asyncio.sleep(0.02)
    return seen


async def test_leases_are_kept_and_both_know_who_serves(url: str) -> None:
    async with pair(url, LocalBus()) as (one, two):
        seen = await watch((one, two), LEASE + 1)
        assert all(now == ({ONE}, {TWO}) for now in seen)
        assert one.tenures.holders() == {ONE: ONE, TWO: TWO}
        assert 1.0 < one.tenures.deadline - monotonic() < LEASE
        assert two.epochs[0] > one.epochs[0]
        assert one.tenures.held() == ((ONE, one.epochs[0]),)


async def test_a_set_that_is_given_is_taken_at_once(url: str) -> None:
    async with pair(url, LocalBus()) as (one, two):
        await one.serving.end(ONE)
        begun = monotonic()
        assert await two.serving.begin(ONE)
        assert monotonic() - begun < SLACK
        assert (one.serves(), two.serves()) == (set(), {ONE, TWO})
        await until(lambda: one.homes.serving == {ONE: TWO, TWO: TWO})
        assert one.lost == []


@pytest.mark.alone
async def test_a_dead_node_is_taken_over_in_three_seconds(url: str) -> None:
    async with pair(url, LocalBus()) as (one, two):
        await asyncio.sleep(LEASE)  # a node that was started just now takes nothing
        await one.stop()
        took = await two.takes_over()
        print(f"taken over {took:.2f} s after the node's death")
        assert took < 3.0
        assert two.epochs[-1] > max(one.epochs)


async def test_a_node_that_was_started_just_now_takes_nothing(url: str) -> None:
    async with pair(url, LocalBus()) as (one, two):
        await one.stop()
        with leases.connect(url) as conn:
            conn.execute("UPDATE leases SET expires = 1 WHERE set_id = 1")
        again = Member(TWO, url, None)
        again.tenures.start()
        assert not await again.serving.begin(ONE)
        assert await two.takes_over() < 3.0 + SLACK
        await again.stop()


async def test_a_stopped_node_serves_nobody_when_it_wakes_up(url: str) -> None:
    """The process is a child: it is stopped for longer than a lease, and writes down what it does then."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STOPPED, url, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    assert child.stdout is not None
    assert (await child.stdout.readline()).split()[0] == b"serves"
    two = Member(TWO, url, None)
    two.tenures.start()
    await asyncio.sleep(LEASE)
    child.send_signal(signal.SIGSTOP)
    stopped = time.time()
    took = await two.takes_over()
    assert took < 3.0
    child.send_signal(signal.SIGCONT)
    lines = [line.split() for line in (await child.stdout.read()).splitlines()]
    await child.wait()
    last = max(float(moment) for word, moment in lines if word == b"input")
    lost = [float(moment) for word, moment in lines if word == b"lost"]
    print(f"taken {took:.2f} s after the stop; served until {stopped - last:.3f} s before it")
    assert len(lost) == 1, "it noticed, once"
    assert last < stopped + 0.05 < lost[0]
    await two.stop()


STOPPED = """
import asyncio, sys, time
from sqlalchemy.engine import make_url
from ubiety.cluster.tenures import Tenures
from ubiety.telemetry import configure_log

async def main():
    tenures = Tenures(1, make_url(sys.argv[1]))
    tenures.set_rivals({1: 2})
    gone = []
    tenures.watch(lambda lost: (gone.append(lost), print("lost", time.time(), flush=True)))
    tenures.start()
    assert await tenures.take(1)
    print("serves", 0, flush=True)
    while not gone:  # as a connection does: first the time, then the input
        if time.monotonic() >= tenures.deadline:
            tenures.check()
            continue
        moment = time.time()
        if time.monotonic() < tenures.deadline:
            print("input", moment, flush=True)
        await asyncio.sleep(0.01)
    await tenures.stop()

configure_log(None, console=False)
asyncio.run(main())
"""


async def test_a_busy_loop_loses_nothing_and_a_hung_one_does(url: str) -> None:
    async with pair(url, LocalBus()) as (one, _):
        time.sleep(LEASE + 1)
        assert monotonic() < one.tenures.deadline
        assert one.lost == []
        one.tenures._ticked -= 2 * LOOP_SECONDS
        with leases.connect(url) as conn:
            time.sleep(LEASE + 0.5)
            lease = next(lease for lease in leases.show(conn) if lease.set_id == ONE)
        assert lease.left < 0
        one.tenures.check()
        assert [lost.reason for lost in one.lost] == ["neither lease nor hold"]


async def test_without_a_rival_an_outage_ends_nothing(own_postgres: Postgres) -> None:
    url = own_postgres.make_database()
    one = Member(ONE, url, None)
    one.rivals({})
    one.tenures.start()
    assert await one.serving.begin(ONE)
    assert one.tenures.deadline == inf
    await asyncio.to_thread(own_postgres.stop, "immediate")
    await asyncio.sleep(LEASE + 0.5)
    assert one.serves() == {ONE} and not one.tenures.has_database and one.tenures.holders() is None
    await asyncio.to_thread(own_postgres.start)
    await until(lambda: one.tenures.has_database)
    assert one.serves() == {ONE}
    one.rivals({ONE: TWO})  # high availability is turned on
    await until(lambda: one.tenures.deadline < inf)
    await until(lambda: one.tenures.leases[ONE].successor == TWO)
    await one.stop()


async def test_an_outage_is_survived_by_both_and_nobody_takes_over(own_postgres: Postgres) -> None:
    url = own_postgres.make_database()
    async with pair(url, LocalBus()) as (one, two):
        await asyncio.sleep(LEASE)
        stopped = asyncio.ensure_future(asyncio.to_thread(own_postgres.stop, "immediate"))
        seen = await watch((one, two), 2 * LEASE + 1)
        await stopped
        assert all(now == ({ONE}, {TWO}) for now in seen)
        read: list[bool] = []
        one.tenures.watch_leases(lambda found: read.append(found[TWO].is_live and found[ONE].is_live))
        started = asyncio.ensure_future(asyncio.to_thread(own_postgres.start))
        tries = [asyncio.ensure_future(m.serving.begin(m.other)) for m in (one, two)]
        seen = await watch((one, two), LEASE + 1)
        await started
        assert [await each for each in tries] == [False, False]
        assert all(now == ({ONE}, {TWO}) for now in seen)
        assert read and all(read), "both count as alive in the first round already"
        assert one.homes.serving == {TWO: TWO}
        assert one.lost == two.lost == []


async def test_a_database_that_hangs_is_an_outage_too(own_postgres: Postgres) -> None:
    url = own_postgres.make_database()
    async with pair(url, LocalBus()) as (one, two):
        pids = backends(own_postgres)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            seen = await watch((one, two), 2 * LEASE)
        finally:
            assert own_postgres._server is not None
            for pid in (*pids, own_postgres._server.pid):
                os.kill(pid, signal.SIGCONT)
        assert all(now == ({ONE}, {TWO}) for now in seen)
        await until(lambda: one.tenures.has_database and two.tenures.has_database)
        assert one.lost == two.lost == []


def backends(server: Postgres) -> list[int]:
    """Return the processes of a server."""
    with server.connect() as conn:
        found = conn.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()").fetchall()
    main = int((server.data / "postmaster.pid").read_text().splitlines()[0])
    return [main, *(int(str(pid)) for (pid,) in found)]


async def test_without_database_and_bus_nobody_serves(own_postgres: Postgres) -> None:
    url = own_postgres.make_database()
    members = [Member(node_id, url, None) for node_id in (ONE, TWO)]
    for member in members:
        await member.start()
        assert await member.serving.begin(member.id)
    await asyncio.to_thread(own_postgres.stop, "immediate")
    await asyncio.sleep(LEASE)
    for member in members:
        assert member.serves() == set() and member.homes.here == set()
        assert [lost.reason for lost in member.lost] == ["neither lease nor hold"]
        await member.stop()


async def test_a_late_write_is_fenced(url: str) -> None:
    database = Database(url)
    one = Member(ONE, url, None)
    one.tenures.start()
    assert await one.serving.begin(ONE)
    database.fence = one.tenures.held
    await database.write(lambda conn: conn.execute(text("SELECT 1")))
    with leases.connect(url) as conn:
        conn.execute("UPDATE leases SET expires = 1 WHERE set_id = 1")
        assert leases.take(conn, ONE, TWO, ONE, has_waited=True)
    with pytest.raises(Fenced):
        await database.write(lambda conn: conn.execute(text("SELECT 1")))
    one.tenures.suspect()
    await until(lambda: one.lost != [], 0.4)
    assert one.lost[0].reason == "another node has taken it"
    await database.write(lambda conn: conn.execute(text("SELECT 1")))  # nothing is believed any more
    await one.stop()
    database.close()


async def test_on_sqlite_nothing_runs_out(tmp_path: Path) -> None:
    database = open_in(tmp_path)
    tenures = AlwaysServing(database, ONE, "node1")
    first = await tenures.take(ONE)
    assert tenures.serving() == {ONE: first} and tenures.deadline == inf
    await tenures.give(ONE)
    assert await tenures.take(ONE) == (first or 0) + 1
    assert tenures.holders() == {ONE: ONE}
    database.close()


async def test_a_write_that_a_dead_node_has_left_open_does_not_hold_up_the_take_over(url: str) -> None:
    """Half a batch has reached the database, then nothing more: no time-out of the server counts that."""
    old = Database(url, application=leases.APPLICATION + "one")
    await old.write(nodes.register, "one", "1.0", "boot", 0.0)
    async with pair(url, LocalBus()) as (one, two):
        await asyncio.sleep(LEASE)
        stuck = old.open_driver_connection()
        driver = stuck.driver_connection
        assert driver is not None
        with contextlib.suppress(psycopg.OperationalError), driver.pipeline():
            driver.execute(*leases.fence(one.tenures.held()))
            driver.execute("SELECT 1").fetchone()
            await one.stop()
            took = await two.takes_over()
        print(f"taken over {took:.2f} s after the node's death")
        assert took < 3.0 + SLACK
        stuck.invalidate()
    old.close()
