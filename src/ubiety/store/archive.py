"""Histories of people (XEP-0313): pages by number, whatever they are asked by.

A number grows with time within one person's history, so a query for a time becomes a query for numbers: the
first number at or after that time is found by halving (about 60 look-ups by key, however long the history
is).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection

from ubiety.store.messages import Step
from ubiety.store.sql import Sql

LARGEST = 2**63 - 1

_COLUMNS = "a.number, m.stanza, m.stamp, a.peer_id, a.peer_resource, a.direction"
_ALL = "a.owner_id = :owner_id AND a.number >= :low AND a.number <= :high"
_WITH = "a.owner_id = :owner_id AND a.peer_id = :peer_id AND a.number >= :low AND a.number <= :high"
_RESOURCE = " AND a.peer_resource = :peer_resource"
_FILTERS = {
    "all": _ALL,
    "with": _WITH,
    "with full": _WITH + _RESOURCE,
}
PAGES = {
    (kind, order): Sql(
        f"SELECT {_COLUMNS} FROM archive a JOIN messages m ON m.id = a.message_id"
        f" WHERE {condition} ORDER BY a.number {order} LIMIT :limit"
    )
    for kind, condition in _FILTERS.items()
    for order in ("ASC", "DESC")
}
COUNTS = {
    kind: Sql(f"SELECT COUNT(*) FROM archive a WHERE {condition}") for kind, condition in _FILTERS.items()
}
STAMP_FROM = Sql(
    "SELECT a.number, m.stamp FROM archive a JOIN messages m ON m.id = a.message_id"
    " WHERE a.owner_id = :owner_id AND a.number >= :number ORDER BY a.number LIMIT 1"
)
LAST = Sql("SELECT MAX(number) FROM archive WHERE owner_id = :owner_id")
FIRST = Sql("SELECT MIN(number) FROM archive WHERE owner_id = :owner_id")
DELETE_SOME = Sql("DELETE FROM archive WHERE owner_id = :owner_id AND number <= :upto AND number >= :low")
NTH = Sql(
    "SELECT MAX(number), COUNT(*) FROM (SELECT number FROM archive WHERE owner_id = :owner_id"
    " ORDER BY number LIMIT :limit) AS step"
)
STEP = Sql(
    "SELECT COUNT(*), MAX(id) FROM"
    " (SELECT id FROM messages WHERE id > :after ORDER BY id LIMIT :limit) AS step"
)
EXPIRE = Sql(
    "DELETE FROM archive WHERE message_id IN"
    " (SELECT id FROM messages WHERE id > :after AND id <= :upto AND stamp < :older_than)"
)


@dataclass(frozen=True, slots=True)
class Query:
    """What a page is asked by; every condition narrows it (XEP-0313 §4, XEP-0059)."""

    owner_id: int
    limit: int = 50
    peer_id: int | None = None
    peer_resource: str | None = None  # only together with peer_id
    start: float | None = None
    end: float | None = None
    after: int | None = None
    before: int | None = None
    is_backwards: bool = False  # the last page of what matches, not the first
    is_counted: bool = True


class Archived(NamedTuple):
    """One message of a history; ``stanza`` is canonical bytes, ``direction`` 0 received, 1 sent."""

    number: int
    stanza: bytes
    stamp: float
    peer_id: int
    peer_resource: str
    direction: int


class Page(NamedTuple):
    """Messages in order; ``total`` counts all that match, whatever ``after`` and ``before`` are."""

    rows: list[Archived]
    total: int | None
    is_complete: bool


def query(conn: Connection, asked: Query) -> Page:
    """Return one page. Flush the ledger first."""
    low = 0 if asked.start is None else first_at(conn, asked.owner_id, asked.start)
    # The end is inclusive (XEP-0313 §4.1.2): the first number after it is the first too many.
    high = LARGEST if asked.end is None else first_at(conn, asked.owner_id, asked.end, after=True) - 1
    kind, params = _filter(asked)
    total = COUNTS[kind].value(conn, **params, low=low, high=high) if asked.is_counted else None
    if asked.after is not None:
        low = max(low, asked.after + 1)
    if asked.before is not None:
        high = min(high, asked.before - 1)
    order = "DESC" if asked.is_backwards else "ASC"
    rows = PAGES[kind, order].rows(conn, **params, low=low, high=high, limit=asked.limit + 1)
    page = [Archived(*row) for row in rows[: asked.limit]]
    if asked.is_backwards:
        page.reverse()
    return Page(page, total, len(rows) <= asked.limit)


def first_at(conn: Connection, owner_id: int, stamp: float, *, after: bool = False) -> int:
    """Return the first number with at least this time (``after``: a later one), LARGEST if there is none."""
    first, last = FIRST.value(conn, owner_id=owner_id), LAST.value(conn, owner_id=owner_id)
    if first is None:
        return LARGEST
    low, high = first, last + 1
    while low < high:
        row = STAMP_FROM.one(conn, owner_id=owner_id, number=(low + high) // 2)
        if row is None or row[1] > stamp or (row[1] == stamp and not after):
            high = (low + high) // 2
        else:
            low = row[0] + 1
    row = STAMP_FROM.one(conn, owner_id=owner_id, number=low)
    return LARGEST if row is None else int(row[0])


def delete_some(conn: Connection, owner_id: int, limit: int = 500) -> int:
    """Delete the oldest ``limit`` rows of one person's history; returns how many. Repeat until it says 0."""
    row = NTH.one(conn, owner_id=owner_id, limit=limit)
    if row is None or row[0] is None:
        return 0
    return DELETE_SOME.run(conn, owner_id=owner_id, low=0, upto=row[0])


def expire(conn: Connection, older_than: float, after: int = 0, limit: int = 500) -> Step:
    """Drop from all histories what is older, looking at ``limit`` messages; go on like ``gc_messages``."""
    row = STEP.one(conn, after=after, limit=limit)
    if row is None or not row[0]:
        return Step(0, None)
    removed = EXPIRE.run(conn, after=after, upto=row[1], older_than=older_than)
    return Step(removed, row[1] if row[0] == limit else None)


def _filter(asked: Query) -> tuple[str, dict[str, Any]]:
    params: dict[str, Any] = {"owner_id": asked.owner_id}
    if asked.peer_id is None:
        return "all", params
    params["peer_id"] = asked.peer_id
    if asked.peer_resource is None:
        return "with", params
    params["peer_resource"] = asked.peer_resource
    return "with full", params
