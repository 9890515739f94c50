"""Histories: every kind of question, and no question reads more than it must."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from tests.databases import open_in
from tests.unit.store.people import add_people
from tests.unit.store.test_messages import add_message
from ubiety.store import addresses, archive, archive_prefs, messages, users
from ubiety.store.archive import Query
from ubiety.store.database import Database
from ubiety.store.sql import Sql
from ubiety.store.writer_sqlite import DELETE_DELIVERIES, DROP_STREAMS

ME, OTHER = 1, 2


def fill(conn: Connection, count: int = 20) -> None:
    """Number n has the time 100 + n; even ones are with peer 10 (resource a or b), odd ones with 11."""
    for number in range(1, count + 1):
        add_message(conn, number, stamp=100.0 + number)
        resource = "a" if number % 4 else "b"
        peer = 10 if number % 2 == 0 else 11
        conn.execute(
            text(f"INSERT INTO archive VALUES ({ME}, {number}, {number}, {peer}, '{resource}', {number % 2})")
        )
    conn.execute(text(f"INSERT INTO archive VALUES ({OTHER}, 3, 3, 10, '', 0)"))


def ask(database: Database, **conditions: object) -> tuple[list[int], int | None, bool]:
    page = database.read_now(archive.query, Query(ME, **conditions))  # type: ignore[arg-type]
    return [row.number for row in page.rows], page.total, page.is_complete


def test_pages(database: Database) -> None:
    database.write_now(fill)
    everything = list(range(1, 21))
    assert ask(database) == (everything, 20, True)
    assert ask(database, limit=5) == ([1, 2, 3, 4, 5], 20, False)
    assert ask(database, limit=5, after=15) == ([16, 17, 18, 19, 20], 20, True)
    assert ask(database, limit=5, is_backwards=True) == ([16, 17, 18, 19, 20], 20, False)
    assert ask(database, limit=5, is_backwards=True, before=4) == ([1, 2, 3], 20, True)
    assert ask(database, limit=5, is_backwards=True, before=10) == ([5, 6, 7, 8, 9], 20, False)
    assert ask(database, limit=0) == ([], 20, False)
    assert ask(database, limit=3, is_counted=False) == ([1, 2, 3], None, False)
    # An id that does not exist is compared by order (design promise 2).
    assert ask(database, after=1_000) == ([], 20, True)


def test_a_row_has_all(database: Database) -> None:
    database.write_now(fill)
    page = database.read_now(archive.query, Query(ME, limit=1, after=3))
    assert page.rows == [archive.Archived(4, b"<message id='4'/>", 104.0, 10, "b", 0)]


def test_by_peer(database: Database) -> None:
    database.write_now(fill)
    assert ask(database, peer_id=10)[0] == list(range(2, 21, 2))
    assert ask(database, peer_id=10, peer_resource="b") == ([4, 8, 12, 16, 20], 5, True)
    assert ask(database, peer_id=12) == ([], 0, True)
    assert ask(database, peer_id=11, limit=2, is_backwards=True) == ([17, 19], 10, False)


def test_by_time(database: Database) -> None:
    database.write_now(fill)
    assert ask(database, start=118.0) == ([18, 19, 20], 3, True)
    assert ask(database, start=117.5)[0] == [18, 19, 20]
    assert ask(database, end=102.0)[0] == [1, 2]
    assert ask(database, end=102.5)[0] == [1, 2]
    assert ask(database, start=105.0, end=107.0, peer_id=11)[0] == [5, 7]
    assert ask(database, start=500.0) == ([], 0, True)
    assert ask(database, end=1.0) == ([], 0, True)
    assert database.read_now(archive.query, Query(99, start=1.0, end=5.0)).rows == []


@given(
    stamps=st.lists(st.integers(0, 12), max_size=12).map(sorted),
    start=st.none() | st.integers(-1, 13),
    end=st.none() | st.integers(-1, 13),
    gap=st.integers(1, 2**41),
)
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_halving_finds_what_scanning_finds(
    sqlite: Database, stamps: list[int], start: int | None, end: int | None, gap: int
) -> None:
    def prepare(conn: Connection) -> None:
        conn.execute(text("DELETE FROM messages"))
        conn.execute(text("DELETE FROM archive"))
        for index, stamp in enumerate(stamps):
            add_message(conn, index * gap, stamp=float(stamp), owner=ME)

    sqlite.write_now(prepare)
    expected = [
        index * gap
        for index, stamp in enumerate(stamps)
        if (start is None or stamp >= start) and (end is None or stamp <= end)
    ]
    found = ask(
        sqlite,
        start=None if start is None else float(start),
        end=None if end is None else float(end),
    )
    assert found == (expected, len(expected), True)


HOT = {
    **{f"page {kind} {order}": statement for (kind, order), statement in archive.PAGES.items()},
    **{f"count {kind}": statement for kind, statement in archive.COUNTS.items()},
    "stamp": archive.STAMP_FROM,
    "last": archive.LAST,
    "expire": archive.EXPIRE,
    "delete": archive.DELETE_SOME,
    "backlog": messages.BACKLOG,
    "count": messages.COUNT,
    "origin ids": messages.ORIGIN_IDS,
    "collect": messages.COLLECT,
    "orphans": messages.ORPHANS,
    "login by jid": users.LOGIN_BY_JID,
    "login by address": users.LOGIN_BY_ADDRESS,
    "credentials": users.CREDENTIALS,
    "find address": addresses.FIND,
    "forget": Sql(DELETE_DELIVERIES.texts[128]),
    "drop streams": Sql(DROP_STREAMS.texts[128]),
}


@pytest.fixture(scope="module", params=["empty", "full"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Some rows, of which SQLite has no statistics or has them."""
    database = open_in(tmp_path_factory.mktemp("filled"))
    database.write_now(fill, 500)
    if request.param == "full":
        database.write_now(lambda conn: conn.exec_driver_sql("ANALYZE"))
    yield database
    database.close()


@pytest.mark.parametrize("name", HOT)
def test_hot_statements_never_scan_a_table(filled: Database, name: str) -> None:
    """Whether the tables are empty or have statistics, SQLite finds rows by key."""
    statement = HOT[name].text
    given = dict.fromkeys((part for part in _names(statement)), 1)
    values: object = [1] * statement.count("?") if "?" in statement else given

    def plan(conn: Connection) -> list[str]:
        driver = conn.connection.driver_connection
        assert driver is not None
        return [row[3] for row in driver.execute("EXPLAIN QUERY PLAN " + statement, values)]

    steps = filled.read_now(plan)
    tables = {"messages", "deliveries", "archive", "users", "addresses", "sm_streams", "roster_items"}
    aliases = {"a", "m", "d", "u", "b", "p"}
    scans = [step for step in steps if step.startswith("SCAN") and step.split()[1] in tables | aliases]
    assert scans == []


def _names(statement: str) -> list[str]:
    return [word.lstrip(":").rstrip("),") for word in statement.split() if word.startswith(":")]


def test_deleting_in_steps(database: Database) -> None:
    database.write_now(fill)
    counts = []
    while gone := database.write_now(archive.delete_some, ME, 8):
        counts.append(gone)
    assert counts == [8, 8, 4]
    assert ask(database) == ([], 0, True)
    assert database.read_now(archive.query, Query(OTHER)).total == 1


def test_expiring(database: Database) -> None:
    database.write_now(fill)
    removed, after = 0, 0
    while True:
        step = database.write_now(archive.expire, 110.0, after, 6)
        removed += step.removed
        if step.after is None:
            break
        after = step.after
    assert removed == 10  # nine of ours, one of the other's
    assert ask(database)[0] == list(range(10, 21))
    database.write_now(messages.gc_messages, 1_000.0)
    count = database.read_now(lambda conn: conn.execute(text("SELECT COUNT(*) FROM messages")).scalar())
    assert count == 11


def test_prefs(database: Database) -> None:
    (me, one), (_, two) = database.write_now(add_people, 2)
    assert database.read_now(archive_prefs.load, me) is None
    database.write_now(archive_prefs.store, me, "roster", [one, two], [two])
    assert database.read_now(archive_prefs.load, me) == archive_prefs.Prefs(
        "roster", {one: "person0@example.org"}, {two: "person1@example.org"}
    )
    database.write_now(archive_prefs.store, me, "never", [], [])
    assert database.read_now(archive_prefs.load, me) == archive_prefs.Prefs("never", {}, {})
