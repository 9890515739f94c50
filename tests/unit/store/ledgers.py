"""What the tests of the ledger share."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from ubiety.store.batch import Entry
from ubiety.store.errors import StoreError

BODY = b"<message xmlns='jabber:client' from='ann@example.org/desk'><body>%d</body></message>"
FIRST = 7 << 40


@dataclass
class Settled:
    """Notes what the ledger says about entries, in the order in which it says it."""

    numbers: list[int] = field(default_factory=list)
    errors: dict[int, StoreError] = field(default_factory=dict)

    def __call__(self, entry: Entry, error: StoreError | None) -> None:
        self.numbers.append(entry.number)
        if error is not None:
            self.errors[entry.number] = error


@dataclass(eq=False)
class Stream:
    """A stream of which ``settled`` stanzas are settled already."""

    smid: str
    user_id: int = 1
    settled: int = 0

    def h_with(self, seqs: Iterable[int]) -> int:
        done, h = set(seqs), self.settled
        while h + 1 in done:
            h += 1
        return h


def make_entry(number: int, settled: Settled, recipient_id: int = 1, **fields: object) -> Entry:
    """Make an entry whose body is its number."""
    return Entry(
        number=number,
        recipient_id=recipient_id,
        stamp=time.time(),
        stanza=BODY % number,
        on_settled=settled,
        **fields,  # type: ignore[arg-type]
    )


def stored(conn: Connection) -> list[int]:
    """Return the numbers of all undelivered messages that have a body."""
    rows = conn.execute(
        text(
            "SELECT d.message_id FROM deliveries d JOIN messages m ON m.id = d.message_id"
            " ORDER BY d.message_id"
        )
    )
    return [number for (number,) in rows]
