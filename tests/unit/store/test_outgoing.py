"""Messages to the outside in the ledger: their rows are the sender's, and go when the other side has them."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.store.ledgers import FIRST, Settled, Stream, make_entry, stored
from ubiety.store import messages, outgoing_messages, streams
from ubiety.store.database import Database
from ubiety.store.ledger import Entry, Ledger
from ubiety.store.outgoing_messages import Outgoing

SENDER = 5
OUTSIDE = "bob@example.com"


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[Ledger]:
    made = Ledger(database)
    yield made
    await made.close()


def outgoing(number: int, settled: Settled, **fields: object) -> Entry:
    entry = make_entry(number, settled, recipient_id=SENDER, **fields)  # type: ignore[arg-type]
    entry.outside = OUTSIDE
    return entry


async def rows(database: Database) -> list[Outgoing]:
    return await database.read(outgoing_messages.list_of_sender, SENDER)


async def test_the_commit_settles_it(database: Database, ledger: Ledger) -> None:
    settled = Settled()
    stream = Stream("smid", SENDER)
    entry = outgoing(FIRST, settled, stream=stream, seq=1)
    ledger.submit(entry)
    await ledger.flush()
    assert settled.numbers == [FIRST]
    assert await rows(database) == [Outgoing(SENDER, FIRST, OUTSIDE, entry.stamp, entry.stanza)]
    found = await database.read(streams.find, "smid")
    assert found is not None and found.h == 1, "the stream's count is written with it"


async def test_it_is_no_delivery_to_its_sender(database: Database, ledger: Ledger) -> None:
    ledger.submit(outgoing(FIRST, Settled()))
    ledger.submit(make_entry(FIRST + 1, Settled(), recipient_id=SENDER))
    await ledger.flush()
    assert [row.number for row in await database.read(messages.backlog, SENDER)] == [FIRST + 1]
    assert database.read_now(stored) == [FIRST + 1]
    assert [row.number for row in await rows(database)] == [FIRST]


async def test_it_goes_when_the_other_side_has_it(database: Database, ledger: Ledger) -> None:
    for number in range(3):
        ledger.submit(outgoing(FIRST + number, Settled()))
    ledger.submit(make_entry(FIRST + 1, Settled(), recipient_id=SENDER))
    await ledger.flush()
    ledger.forget(SENDER, FIRST + 1, True)
    await ledger.flush()
    assert [row.number for row in await rows(database)] == [FIRST, FIRST + 2]
    assert len(await database.read(messages.backlog, SENDER)) == 1, "of the same number, in the other table"


async def test_taken_in_time_it_is_never_written(database: Database, ledger: Ledger) -> None:
    settled = Settled()
    entry = outgoing(FIRST, settled)
    ledger.submit(entry)
    assert ledger.cancel(entry)
    await ledger.flush()
    assert await rows(database) == [] and settled.numbers == []


async def test_of_an_uncertain_one_the_row_is_deleted(database: Database, ledger: Ledger) -> None:
    entry = outgoing(FIRST, Settled())
    await database.write(
        outgoing_messages.add, Outgoing(SENDER, FIRST, OUTSIDE, entry.stamp, entry.stanza)
    )  # the commit whose answer was lost
    ledger.submit(entry)
    entry.is_uncertain = True
    assert ledger.cancel(entry)
    await ledger.flush()
    assert await rows(database) == []
