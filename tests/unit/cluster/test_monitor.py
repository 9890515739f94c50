"""The data monitor over a real PostgreSQL that is stopped and started."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.postgres import Postgres
from ubiety.clock import SystemClock
from ubiety.cluster import alarms as alarm_names
from ubiety.cluster import monitor, readiness
from ubiety.cluster.alarms import Alarms
from ubiety.cluster.monitor import Check, DataMonitor
from ubiety.store import alarms as rows
from ubiety.store import nodes, replication
from ubiety.store.database import Database


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "QUIET_SECONDS", 0.3)
    monkeypatch.setattr(monitor, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(alarm_names, "RETRY_SECONDS", 0.1)


def checks(database: Database) -> list[Check]:
    async def ping() -> str:
        await database.read(replication.ping)
        return ""

    async def primary() -> str:
        return await database.read(replication.primary_problem)

    async def schema() -> str:
        return await database.read(replication.schema_problem)

    return [
        Check(monitor.DATABASE, ping),
        Check(monitor.SCHEMA, schema, needs=monitor.DATABASE),
        Check(monitor.REPLICATION, primary, is_essential=False, needs=monitor.DATABASE),
    ]


async def wait_for(condition: object, seconds: float = 20.0) -> None:
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


async def test_a_node_waits_for_its_database_and_tells_of_an_outage(own_postgres: Postgres) -> None:
    url = own_postgres.make_database()
    database = Database(url)
    database.write_now(nodes.register, "node1", "0.1.0", "boot", 1.0)
    own_postgres.stop()

    held: list[str] = []
    alarms = Alarms(database, SystemClock())
    watcher = DataMonitor(checks(database), alarms, SystemClock(), held.append)
    tasks = [asyncio.create_task(watcher.run()), asyncio.create_task(alarms.run())]
    try:
        await wait_for(lambda: alarm_names.REPLICATION_FAILURE in alarms.current)
        assert "database" in alarms.current[alarm_names.REPLICATION_FAILURE].text
        assert held[-1].startswith("database:")
        assert not watcher.core.is_released

        own_postgres.start()
        async with asyncio.timeout(20):
            await watcher.released()
        assert held[-1] == ""
        assert all(not standing.problem for standing in watcher.standings)
        assert alarms.current == {}

        own_postgres.stop("immediate")
        await wait_for(lambda: alarm_names.DATABASE_ERROR in alarms.current)
        own_postgres.start()
        await wait_for(lambda: not alarms.current)
        await wait_for(lambda: not alarms._waiting)
        kept = await database.read(rows.list_page, with_cleared=True)
        assert [one.name for one in reversed(kept)] == [
            "IDSReplicationFailure",
            "IDSReplicationInformation",
            "PEDatabaseError",
        ]
        assert all(one.cleared is not None for one in kept)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)
        database.close()


async def test_a_node_waits_for_the_first_run_of_a_directory_sync(tmp_path: Path) -> None:
    """Whatever fills the directory hands its condition over: it holds back like all others."""
    problem = "it has not run yet"

    async def well() -> str:
        return ""

    async def synced() -> str:
        return problem

    database = Database(f"sqlite:///{tmp_path}/ubiety.db")
    alarms = Alarms(database, SystemClock())
    conditions = [
        Check(monitor.DIRECTORY, well, is_essential=False, needs=monitor.DATABASE),
        Check(monitor.SYNC, synced, is_essential=False, needs=monitor.DATABASE),
    ]
    watchers = [
        DataMonitor(conditions, alarms, SystemClock(), print, is_publisher=is_publisher, timeout=0.0)
        for is_publisher in (True, False)
    ]
    for watcher in watchers:
        await watcher.look()
    publisher, subscriber = watchers
    assert publisher.core.is_released, "its time is over"
    assert subscriber.core.waiting_for == "directory sync: it has not run yet"
    problem = ""
    await subscriber.look()
    assert subscriber.core.is_released
    database.close()


async def test_conditions_that_share_an_alarm_end_it_together(tmp_path: Path) -> None:
    problems = {monitor.SCHEMA: "", monitor.REPLICATION: ""}

    def check(name: str) -> Check:
        async def look() -> str:
            return problems[name]

        return Check(name, look)

    database = Database(f"sqlite:///{tmp_path}/ubiety.db")
    alarms = Alarms(database, SystemClock())
    watcher = DataMonitor([check(name) for name in problems], alarms, SystemClock(), print)

    async def text() -> str:
        await watcher.look()
        await asyncio.sleep(readiness.QUIET_SECONDS)
        await watcher.look()
        alarm = alarms.current.get(alarm_names.REPLICATION_FAILURE)
        return alarm.text if alarm is not None else ""

    assert await text() == ""
    problems.update(dict.fromkeys(problems, "bad"))
    assert await text() == "schema: bad replication: bad"
    problems[monitor.SCHEMA] = ""
    assert await text() == "replication: bad"
    problems[monitor.REPLICATION] = ""
    assert await text() == ""
    database.close()


async def test_who_is_not_heard_of_is_told_with_what_it_means(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/ubiety.db")
    alarms = Alarms(database, SystemClock())
    peers = monitor.Peers(alarms)
    lost = {"west": "", "east": "2 people of east are without service."}
    peers.seen(lost, 100.0)
    assert not alarms.current, "a moment is not worth an alarm"
    peers.seen(lost, 100.0 + monitor.PEER_SECONDS)
    told = alarms.current[alarm_names.PEER_FAILURE].text
    assert told == "Not heard of: east, west. 2 people of east are without service."
    peers.seen({"west": ""}, 110.0)
    assert alarms.current[alarm_names.PEER_FAILURE].text == "Not heard of: west."
    peers.seen({}, 111.0)
    assert not alarms.current
    database.close()


async def test_a_bus_that_is_away_is_told_with_the_cause(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/ubiety.db")
    alarms = Alarms(database, SystemClock())
    bus = monitor.Bus(alarms)
    bus.seen("It cannot be reached.", 100.0)
    assert not alarms.current, "a moment is not worth an alarm"
    bus.seen("", 101.0)
    bus.seen("It cannot be reached.", 102.0)
    bus.seen("It refuses the login.", 102.0 + monitor.BUS_SECONDS)
    assert alarms.current[alarm_names.BUS_FAILURE].text == "It refuses the login."
    bus.seen("", 110.0)
    assert not alarms.current
    database.close()


async def test_one_look_at_a_time_however_long_it_takes(postgres_url: str) -> None:
    asked = 0

    async def hang() -> str:
        nonlocal asked
        asked += 1
        await asyncio.sleep(60)
        return ""

    database = Database(postgres_url)
    watcher = DataMonitor([Check("database", hang)], Alarms(database, SystemClock()), SystemClock(), print)
    monitor_seconds, monitor.ANSWER_SECONDS = monitor.ANSWER_SECONDS, 0.05
    try:
        for _ in range(3):
            await watcher.look()
        assert asked == 1
        assert watcher.problem("database") == "no answer for 0 s"
    finally:
        monitor.ANSWER_SECONDS = monitor_seconds
        database.close()


async def test_an_old_and_a_new_schema_are_told_apart(database_url: str) -> None:
    database = Database(database_url)
    assert "no tables yet" in await database.read(replication.schema_problem)
    database.migrate()
    assert await database.read(replication.schema_problem) == ""
    report = await database.read(replication.report)
    assert report.rows["users"] == 0
    assert report.bytes > 0
    assert report.version.startswith("SQLite" if database.is_sqlite else "PostgreSQL")
    assert await database.read(replication.primary_problem) == ""
    if not database.is_sqlite:
        where = await database.read(replication.position)
        problem = await asyncio.to_thread(replication.replica_problem, database_url, where, 5.0)
        assert "no replica" in problem
        away = database_url.replace("127.0.0.1:", "127.0.0.1:1")[: len(database_url)]
        assert "does not answer" in await asyncio.to_thread(replication.replica_problem, away, where, 5.0)
    database.close()


async def test_a_replica_that_follows_lags_and_goes_away(own_postgres: Postgres) -> None:
    url = own_postgres.make_database()
    directory = Path(tempfile.mkdtemp(prefix="ubiety-replica-"))
    replica = Postgres(directory)
    try:
        replica.give(directory)
        directory.chmod(0o755)
        origin = ["-h", "127.0.0.1", "-p", str(own_postgres.port), "-U", "postgres", "--checkpoint=fast"]
        await asyncio.to_thread(replica._run, "pg_basebackup", "-D", str(replica.data), "-R", *origin)
        await asyncio.to_thread(replica.start)
        follower = url.replace(f":{own_postgres.port}/", f":{replica.port}/")

        def problem(limit: float = 60.0) -> str:
            where = database.read_now(replication.position)
            return replication.replica_problem(follower, where, limit)

        database = Database(url)
        await wait_for(lambda: problem() == "")
        (shown,) = (await database.read(replication.report)).replicas
        assert shown.state.startswith("streaming")
        with replica.connect() as conn:
            conn.execute("SELECT pg_wal_replay_pause()")
        database.write_now(nodes.register, "node1", "0.1.0", "boot", 1.0)
        await asyncio.sleep(1.1)
        assert problem() == ""
        assert "s behind" in problem(limit=1.0)
        standby = Database(follower)
        assert "is a replica" in standby.read_now(replication.primary_problem)
        standby.close()
        replica.stop()
        assert "does not answer" in problem()
        database.close()
    finally:
        replica.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)
