"""The ledger while all is well: what it reports is there, in order, in groups (design promises 1 and 2)."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.unit.store.ledgers import FIRST, Settled, Stream, make_entry, stored
from ubiety.store import addresses, archive, messages, settings, streams
from ubiety.store.batch import ArchiveRow, State
from ubiety.store.database import Database
from ubiety.store.errors import DataRefused
from ubiety.store.ledger import Ledger


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[Ledger]:
    made = Ledger(database)
    yield made
    await made.close()


def history(owner_id: int, number: int, **fields: object) -> ArchiveRow:
    given: dict[str, object] = {"message_id": number, "direction": 0, "stanza": b"<message/>", "peer_id": 9}
    return ArchiveRow(owner_id, number, stamp=time.time(), **(given | fields))  # type: ignore[arg-type]


async def test_what_is_reported_is_there(database: Database, ledger: Ledger) -> None:
    settled = Settled()
    entry = make_entry(FIRST, settled, recipient_id=5, sender_id=3, origin_id="o1")
    ledger.submit(entry)
    assert ledger.queued_bytes == entry.size
    await ledger.flush()
    assert settled.numbers == [FIRST]
    assert not settled.errors
    (row,) = await database.read(messages.backlog, 5)
    assert (row.number, row.stanza, row.stamp) == (FIRST, entry.stanza, entry.stamp)
    assert (row.sender_id, row.origin_id) == (3, "o1")
    assert ledger.queued_bytes == 0
    assert entry.state is State.SETTLED


async def test_a_window_is_one_batch_and_is_settled_in_order(database: Database, ledger: Ledger) -> None:
    settled = Settled()
    numbers = [FIRST + n for n in (3, 1, 2, 9, 0)]
    for number in numbers:
        ledger.submit(make_entry(number, settled))
    assert settled.numbers == []
    await wait_for(lambda: len(settled.numbers) == 5)
    assert settled.numbers == numbers
    assert ledger.batches == 1
    assert database.read_now(stored) == sorted(numbers)


async def test_the_window_begins_with_the_first_entry(database: Database) -> None:
    ledger = Ledger(database, window=0.1)
    settled = Settled()
    for number in range(1_000):  # for five seconds: later entries do not put the first one off
        ledger.submit(make_entry(FIRST + number, settled))
        await asyncio.sleep(0.005)
        if settled.numbers:
            break
    assert 1 < len(settled.numbers) < 1_000
    await ledger.close()
    assert settled.numbers == [FIRST + n for n in range(len(settled.numbers))]


async def test_a_queue_longer_than_a_batch_keeps_its_order(database: Database, ledger: Ledger) -> None:
    settled = Settled()
    for number in range(4_500):
        ledger.submit(make_entry(FIRST + number, settled, recipient_id=number % 7))
    await ledger.flush()
    assert settled.numbers == [FIRST + n for n in range(4_500)]
    assert ledger.batches == 3
    assert ledger.written == 4_500


async def test_cancelled_in_time_it_is_never_written(database: Database, ledger: Ledger) -> None:
    settled = Settled()
    entries = [make_entry(FIRST + n, settled) for n in range(3)]
    for entry in entries:
        ledger.submit(entry)
    assert ledger.cancel(entries[1])
    assert ledger.cancel(entries[1])  # and again
    await ledger.flush()
    assert settled.numbers == [FIRST, FIRST + 2]
    assert database.read_now(stored) == [FIRST, FIRST + 2]
    assert ledger.queued_bytes == 0


async def test_cancelled_too_late_it_is_forgotten(database: Database, ledger: Ledger) -> None:
    settled = Settled()
    entry = make_entry(FIRST, settled)
    ledger.submit(entry)
    flush = asyncio.create_task(ledger.flush())
    await asyncio.sleep(0)  # handed over now
    assert entry.state is State.HANDED_OVER
    assert not ledger.cancel(entry)
    ledger.forget(1, FIRST)
    await flush
    await ledger.flush()
    assert settled.numbers == [FIRST]
    assert database.read_now(stored) == []
    assert not ledger.cancel(entry)


async def test_all_cancelled_is_no_batch(ledger: Ledger) -> None:
    settled = Settled()
    entry = make_entry(FIRST, settled)
    ledger.submit(entry)
    ledger.cancel(entry)
    await ledger.flush()
    await asyncio.sleep(0.05)
    assert ledger.batches == 0
    assert settled.numbers == []


async def test_the_streams_count_is_in_the_same_batch(database: Database, ledger: Ledger) -> None:
    settled, stream = Settled(), Stream("s1", user_id=4, settled=2)
    for seq in (3, 4, 6):
        ledger.submit(make_entry(FIRST + seq, settled, stream=stream, seq=seq))
    await ledger.flush()
    assert database.read_now(streams.find, "s1") == streams.Stream(4, 4)
    stream.settled = 6
    ledger.submit(make_entry(FIRST + 7, settled, stream=stream, seq=7))
    await ledger.flush()
    assert database.read_now(streams.find, "s1") == streams.Stream(4, 7)
    ledger.drop_stream("s1")
    await ledger.flush()
    assert database.read_now(streams.find, "s1") is None


async def test_a_stream_that_ends_in_the_batch_leaves_no_row(database: Database, ledger: Ledger) -> None:
    ledger.save_stream("s2", 4, 0)
    ledger.submit(make_entry(FIRST, Settled(), stream=Stream("s2"), seq=1))
    ledger.drop_stream("s2")
    await ledger.flush()
    assert database.read_now(streams.find, "s2") is None
    assert database.read_now(stored) == [FIRST]


async def test_a_stream_is_saved_by_itself(database: Database, ledger: Ledger) -> None:
    ledger.save_stream("s3", 4, 2**32 - 1)
    await wait_for(lambda: database.read_now(streams.find, "s3") is not None)
    assert database.read_now(streams.list_of_user, 4) == [("s3", 2**32 - 1)]


async def test_how_far_a_stream_is_settled_never_goes_back(database: Database, ledger: Ledger) -> None:
    for h, kept in ((4, 4), (7, 7), (5, 7), (2**32 - 1, 7), (2**31, 2**31), (2**32 - 1, 2**32 - 1), (3, 3)):
        ledger.save_stream("s4", 4, h)
        await ledger.flush()
        assert database.read_now(streams.find, "s4") == streams.Stream(4, kept)


async def test_two_histories_share_a_body(database: Database, ledger: Ledger) -> None:
    ledger.submit(make_entry(FIRST, Settled(), recipient_id=1))
    ledger.archive(history(1, FIRST))
    ledger.archive(history(2, FIRST, direction=1))
    await ledger.flush()
    count = database.read_now(lambda conn: conn.exec_driver_sql("SELECT COUNT(*) FROM messages").scalar())
    assert count == 1
    for owner in (1, 2):
        page = database.read_now(archive.query, archive.Query(owner))
        assert [row.number for row in page.rows] == [FIRST]


async def test_a_message_has_its_origin_id_also_when_a_history_has_it_first(
    database: Database, ledger: Ledger
) -> None:
    def known() -> list[tuple[int, str]]:
        return database.read_now(messages.recent_origin_ids, 3, 0.0)

    ledger.archive(history(1, FIRST, sender_id=3, recipient_id=5))
    await ledger.flush()
    assert known() == []  # it may not be delivered yet
    entry = make_entry(FIRST, Settled(), recipient_id=5, sender_id=3, origin_id="o1")
    ledger.submit(entry)
    await ledger.flush()
    assert known() == [(5, "o1")]
    ledger.archive(history(2, FIRST, sender_id=3, recipient_id=5))
    await ledger.flush()
    assert known() == [(5, "o1")]


async def test_peers_are_interned(database: Database, ledger: Ledger) -> None:
    known = database.write_now(addresses.intern, "known@example.com")
    merged = database.write_now(addresses.intern, "old@example.com")
    database.write_now(
        lambda conn: conn.exec_driver_sql(f"UPDATE addresses SET merged_into = {known} WHERE id = {merged}")
    )
    peers = ["new@example.com", "known@example.com", "old@example.com", "new@example.com"]
    for offset, peer in enumerate(peers):
        ledger.archive(history(1, FIRST + offset, peer_id=None, peer=peer))
        await ledger.flush()
    new = database.read_now(addresses.find, "new@example.com")
    page = database.read_now(archive.query, archive.Query(1))
    assert [row.peer_id for row in page.rows] == [new, known, known, new]


@pytest.mark.parametrize("count", [1, 2, 50])
async def test_one_row_that_cannot_be_stored_does_not_spoil_the_batch(
    database: Database, ledger: Ledger, count: int
) -> None:
    settled = Settled()
    bad = FIRST + count // 2
    for number in range(FIRST, FIRST + count):
        ledger.submit(make_entry(number, settled, origin_id="\ud800" if number == bad else "fine"))
    ledger.archive(history(1, FIRST, peer_id=None, peer="\udfff@example.com"))
    ledger.archive(history(2, FIRST))
    await ledger.flush()
    assert settled.numbers == list(range(FIRST, FIRST + count))
    assert list(settled.errors) == [bad]
    assert isinstance(settled.errors[bad], DataRefused)
    assert database.read_now(stored) == [n for n in range(FIRST, FIRST + count) if n != bad]
    assert database.read_now(archive.query, archive.Query(2)).total == 1
    assert ledger.trouble is None


async def test_a_nul_is_refused_or_stored_but_spoils_nothing(database: Database, ledger: Ledger) -> None:
    settled = Settled()
    ledger.submit(make_entry(FIRST, settled, origin_id="a\0b"))
    ledger.submit(make_entry(FIRST + 1, settled))
    await ledger.flush()
    assert FIRST + 1 in database.read_now(stored)
    if not database.is_sqlite:
        assert isinstance(settled.errors[FIRST], DataRefused)


async def test_a_mistaken_callback_stops_nobody(ledger: Ledger) -> None:
    seen: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["message"]))
    settled = Settled()

    def fail(*_: object) -> None:
        raise ValueError("mistake")

    entry = make_entry(FIRST, settled)
    entry.on_settled = fail
    ledger.submit(entry)
    ledger.submit(make_entry(FIRST + 1, settled))
    await ledger.flush()
    assert settled.numbers == [FIRST + 1]
    assert seen == ["a settlement failed"]


async def test_a_message_may_be_submitted_again(database: Database, ledger: Ledger) -> None:
    settled = Settled()
    for _ in range(2):
        ledger.submit(make_entry(FIRST, settled))
        await ledger.flush()
    assert settled.numbers == [FIRST, FIRST]
    assert not settled.errors
    assert database.read_now(stored) == [FIRST]


async def test_over_its_bound_it_says_so(database: Database) -> None:
    told: list[bool] = []
    ledger = Ledger(database, bound_bytes=20_000, on_overload=told.append)
    settled = Settled()
    for number in range(100):
        ledger.submit(make_entry(FIRST + number, settled))
    assert ledger.overloaded
    assert told == [True]
    await ledger.flush()
    assert not ledger.overloaded
    assert told == [True, False]
    await ledger.close()


async def test_flush_waits_only_for_what_came_before(ledger: Ledger) -> None:
    settled = Settled()
    ledger.submit(make_entry(FIRST, settled))
    first = asyncio.create_task(ledger.flush())
    await asyncio.sleep(0)
    ledger.submit(make_entry(FIRST + 1, settled))
    await first
    assert settled.numbers == [FIRST]
    await ledger.flush()
    await ledger.flush()  # nothing queued: at once
    assert settled.numbers == [FIRST, FIRST + 1]


async def test_closing_writes_what_is_queued(database: Database) -> None:
    ledger, settled = Ledger(database), Settled()
    ledger.submit(make_entry(FIRST, settled))
    await ledger.close()
    assert settled.numbers == [FIRST]
    assert database.read_now(stored) == [FIRST]


async def test_only_the_ledger_copies_the_log_into_the_file(sqlite: Database) -> None:
    assert sqlite.path is not None

    def size() -> int:
        assert sqlite.path is not None
        return sqlite.path.stat().st_size

    before = size()
    big = "x" * 2_000_000
    for number in range(4):
        await sqlite.write(settings.put, f"n{number}", big)
    await asyncio.sleep(0.2)
    assert size() == before
    ledger = Ledger(sqlite)  # without a single entry: others write too
    await wait_for(lambda: size() > before + 8_000_000)
    await ledger.close()


async def wait_for(condition: object) -> None:
    deadline = time.monotonic() + 5
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
