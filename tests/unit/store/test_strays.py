"""Messages that a sender's home writes for another node's people."""

from collections.abc import Iterator

import pytest

from tests.databases import open_migrated
from ubiety.store import changes, messages, strays
from ubiety.store.database import Database
from ubiety.store.epochs import COUNTER_BITS
from ubiety.store.strays import NUMBER, Stray

BOB, CAT = 7, 8
NOW = 1_700_000_000.0


@pytest.fixture
def database(fresh_url: str) -> Iterator[Database]:
    """An empty database of either kind."""
    made = open_migrated(fresh_url)
    yield made
    made.close()


def stray(recipient_id: int = BOB, origin_id: str | None = "o1") -> Stray:
    return Stray(recipient_id, NOW, b"<message id='" + NUMBER + b"'/>", sender_id=5, origin_id=origin_id)


def test_rows_wait_under_numbers_of_their_epoch(database: Database) -> None:
    epoch, grant = database.write_now(strays.draw)
    assert grant > epoch
    numbers = database.write_now(strays.insert, epoch, [stray(BOB, "a"), stray(CAT, "b"), stray(BOB, "c")])
    assert numbers == [epoch << COUNTER_BITS | index for index in range(3)]
    found = database.read_now(messages.backlog, BOB)
    assert [row.number for row in found] == [numbers[0], numbers[2]]
    assert found[0].stanza == b"<message id='%d'/>" % numbers[0]
    rows = database.read_now(strays.of_epoch, epoch)
    assert [(row.number, row.recipient_id, row.sender_id, row.origin_id) for row in rows] == [
        (numbers[0], BOB, 5, "a"),
        (numbers[1], CAT, 5, "b"),
        (numbers[2], BOB, 5, "c"),
    ]
    assert [row.number for row in database.read_now(strays.find, numbers)] == numbers


def test_a_message_that_has_a_row_gets_no_second_one(database: Database) -> None:
    first, _ = database.write_now(strays.draw)
    database.write_now(strays.insert, first, [stray()])
    second, _ = database.write_now(strays.draw)
    assert second > first
    numbers = database.write_now(strays.insert, second, [stray(), stray(CAT), stray(BOB, "o2")])
    assert numbers == [0, second << COUNTER_BITS | 1, second << COUNTER_BITS | 2]
    assert len(database.read_now(messages.backlog, BOB)) == 2


def test_a_message_in_doubt_keeps_the_number_under_which_it_was_written(database: Database) -> None:
    one = stray(BOB, None)
    first, _ = database.write_now(strays.draw)
    numbers = database.write_now(strays.insert, first, [one])  # and say that the answer was lost
    second, _ = database.write_now(strays.draw)
    assert database.write_now(strays.insert, second, [one]) == numbers
    assert len(database.read_now(messages.backlog, BOB)) == 1
    other = stray(BOB, None)
    other.doubts.append(second << COUNTER_BITS | 99)  # it was not written after all
    assert database.write_now(strays.insert, second, [other]) == [second << COUNTER_BITS]


def test_all_nodes_are_told_in_the_same_transaction(postgres_url: str) -> None:
    database = open_migrated(postgres_url)
    horizon = database.read_now(changes.horizon)
    epoch, _ = database.write_now(strays.draw)
    database.write_now(strays.insert, epoch, [stray()])
    seen = database.read_now(changes.read, horizon)
    assert [(change.kind, change.ref_id) for change in seen.changes] == [(changes.MESSAGES, epoch)]
    database.close()
