"""Epochs: a number for each time that a node begins to serve a set, larger than all before.

They come from one counter for all sets (the row of set 0), so that numbers made of an epoch and a counter
never meet and still grow when a person moves to another set.
"""

from sqlalchemy import Connection

from ubiety.store.sql import Sql

#: Numbers are ``epoch << COUNTER_BITS | counter``.
COUNTER_BITS = 40

COUNTER_SET = 0
NEXT = Sql(
    "INSERT INTO leases (set_id, owner, epoch, expires) VALUES (:set_id, '', 1, 0)"
    " ON CONFLICT (set_id) DO UPDATE SET epoch = leases.epoch + 1 RETURNING epoch"
)
TAKE = Sql(
    "INSERT INTO leases (set_id, owner, epoch, expires) VALUES (:set_id, :owner, :epoch, 0)"
    " ON CONFLICT (set_id) DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch"
)
FIND = Sql("SELECT owner, epoch FROM leases WHERE set_id = :set_id")


def next_epoch(conn: Connection, set_id: int, owner: str) -> int:
    """Begin a new epoch of a set under this owner's name and return it."""
    epoch: int = NEXT.value(conn, set_id=COUNTER_SET)
    TAKE.run(conn, set_id=set_id, owner=owner, epoch=epoch)
    return epoch


def take_number(conn: Connection) -> int:
    """Return an epoch for the numbers of messages alone, greater than every number given out before."""
    epoch: int = NEXT.value(conn, set_id=COUNTER_SET)
    return epoch


def find(conn: Connection, set_id: int) -> tuple[str, int] | None:
    """Return (owner, epoch) of a set that was ever served."""
    row = FIND.one(conn, set_id=set_id)
    return (row[0], row[1]) if row else None
