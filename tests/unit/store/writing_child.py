"""A process to be killed: writes messages without end and prints each number that the ledger reports."""

import asyncio
import os
import sys

from tests.unit.store.ledgers import FIRST, Stream, make_entry
from ubiety.store.batch import Entry
from ubiety.store.database import Database
from ubiety.store.errors import StoreError
from ubiety.store.ledger import Ledger


async def write(url: str) -> None:
    """Submit forever."""
    ledger = Ledger(Database(url), window=0.005)
    stream = Stream("killed", user_id=1)

    def settled(entry: Entry, error: StoreError | None) -> None:
        assert error is None
        stream.settled = entry.seq
        os.write(1, b"%d\n" % entry.number)

    number = FIRST
    while True:
        for _ in range(10):
            number += 1
            ledger.submit(make_entry(number, settled, stream=stream, seq=number - FIRST))  # type: ignore[arg-type]
        await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1]))
