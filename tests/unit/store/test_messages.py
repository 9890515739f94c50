"""What waits for its recipient, what was sent lately, and tidying up."""

import time

from sqlalchemy import Connection, text

from tests.unit.store.ledgers import FIRST
from tests.unit.store.people import add_people
from ubiety.store import messages, streams
from ubiety.store.database import Database

DAY = 86_400.0


def add_message(
    conn: Connection,
    number: int,
    *,
    to: int | None = None,
    stamp: float = 0.0,
    sender: int | None = None,
    origin: str | None = None,
    owner: int | None = None,
) -> None:
    """Write as the ledger does."""
    conn.execute(
        text("INSERT INTO messages VALUES (:number, :sender, :to, :stamp, :origin, :stanza)"),
        {
            "number": number,
            "sender": sender,
            "to": to,
            "stamp": stamp,
            "origin": origin,
            "stanza": b"<message id='%d'/>" % number,
        },
    )
    if to is not None:
        conn.execute(text(f"INSERT INTO deliveries VALUES ({to}, {number})"))
    if owner is not None:
        conn.execute(text(f"INSERT INTO archive VALUES ({owner}, {number}, {number}, 1, '', 0)"))


def test_a_backlog_comes_in_pages_in_order(database: Database) -> None:
    def fill(conn: Connection) -> None:
        for offset in (5, 1, 4, 2, 3):
            add_message(conn, FIRST + offset, to=7, stamp=float(offset), sender=2, origin="o")
        add_message(conn, FIRST + 9, to=8)

    database.write_now(fill)
    first = database.read_now(messages.backlog, 7, 0, 2)
    assert [row.number - FIRST for row in first] == [1, 2]
    assert first[0] == messages.Waiting(FIRST + 1, b"<message id='%d'/>" % (FIRST + 1), 1.0, 2, "o")
    rest = database.read_now(messages.backlog, 7, first[-1].number, 100)
    assert [row.number - FIRST for row in rest] == [3, 4, 5]
    assert database.read_now(messages.count, 7) == 5
    assert database.read_now(messages.count_all) == (6, 2)
    database.write_now(messages.delete, 7, [FIRST + 1, FIRST + 3])
    assert database.read_now(messages.count, 7) == 3


def test_recent_origin_ids(database: Database) -> None:
    now = time.time()

    def fill(conn: Connection) -> None:
        add_message(conn, 1, to=7, stamp=now - 2 * DAY, sender=2, origin="old")
        add_message(conn, 2, to=7, stamp=now - 100, sender=2, origin="a")
        add_message(conn, 3, to=8, stamp=now - 50, sender=2, origin="b")
        add_message(conn, 4, to=8, stamp=now - 50, sender=2)
        add_message(conn, 5, to=7, stamp=now, sender=3, origin="other")

    database.write_now(fill)
    assert database.read_now(messages.recent_origin_ids, 2, now - DAY) == [(8, "b"), (7, "a")]
    assert database.read_now(messages.recent_origin_ids, 2, now - DAY, 1) == [(8, "b")]
    assert database.read_now(messages.recent_origin_ids, 99, 0.0) == []


def test_tidying_keeps_what_is_needed(database: Database) -> None:
    ((user_id, _),) = database.write_now(add_people, 1)

    def fill(conn: Connection) -> None:
        add_message(conn, 1, to=user_id, stamp=1.0)  # waits
        add_message(conn, 2, stamp=1.0, owner=user_id)  # in a history
        add_message(conn, 3, stamp=1.0)  # of nobody
        add_message(conn, 4, to=999, stamp=1.0)  # for somebody who was deleted
        add_message(conn, 5, stamp=100.0)  # of nobody, but young
        for number in range(6, 20):
            add_message(conn, number, stamp=1.0)

    database.write_now(fill)
    removed, after, steps = 0, 0, 0
    while True:
        step = database.write_now(messages.gc_messages, 50.0, after, 4)
        removed += step.removed
        steps += 1
        if step.after is None:
            break
        assert step.after > after
        after = step.after
    assert (removed, steps) == (16, 5)
    kept = database.read_now(
        lambda conn: [n for (n,) in conn.execute(text("SELECT id FROM messages ORDER BY id"))]
    )
    assert kept == [1, 2, 5]
    assert database.read_now(messages.count_all) == (1, 1)
    assert database.write_now(messages.gc_messages, 50.0) == messages.Step(0, None)


def test_streams_grow_old(database: Database) -> None:
    def fill(conn: Connection) -> None:
        for smid, updated in (("old", 1.0), ("new", 9.0)):
            conn.execute(text(f"INSERT INTO sm_streams VALUES ('{smid}', 7, 3, {updated})"))

    database.write_now(fill)
    assert database.read_now(streams.list_of_user, 7) == [("new", 3), ("old", 3)]
    assert database.write_now(streams.gc_streams, 5.0) == 1
    assert database.read_now(streams.find, "old") is None
    assert database.read_now(streams.find, "new") == streams.Stream(7, 3)
    assert database.write_now(streams.delete, "new")
    assert not database.write_now(streams.delete, "new")
