"""Rows are written behind the events, in batches, again after a failure; nobody's fault is everybody's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.users.place import Place, open_place
from ubiety.gateway.presence_rows import BATCH, Row, Rows
from ubiety.store import sip_subscriptions as rows
from ubiety.store import users
from ubiety.store.database import Database
from ubiety.store.errors import DatabaseUnavailable
from ubiety.store.sip_subscriptions import Subscription


class Failing:
    """A database that cannot be reached for a while."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.failures = 0
        self.writes = 0

    async def write(self, fn: Callable[..., Any], *args: Any) -> Any:
        self.writes += 1
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable("gone")
        return await self.database.write(fn, *args)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    opened = open_place(tmp_path)
    yield opened
    await opened.close()


class Kept:
    """Rows on a database that may fail."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.failing = Failing(place.database)
        self.slept: list[float] = []
        self.rows = Rows(self.failing, place.spawn, self.sleep)  # type: ignore[arg-type]

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def put(self, row: Row, state: str, expires: float = 5.0) -> None:
        self.rows.put(row, state, "call", {"dialog": {"n": expires}}, expires)

    async def stored(self) -> list[Subscription]:
        await self.place.settle()
        return list(await self.place.database.read(rows.list_of_set, 1, 0, 10_000))


async def test_a_life(place: Place) -> None:
    (ann,) = await place.people("ann")
    kept = Kept(place)
    row = Row(ann.user_id, "ysam@example.org", "in")
    kept.put(row, "pending")
    kept.put(row, "granted", 7.0)
    (found,) = await kept.stored()
    assert (found.id, found.state, found.record, found.expires) == (
        row.id,
        "granted",
        {"dialog": {"n": 7.0}},
        7.0,
    )
    kept.put(row, "denied")
    assert [one.state for one in await kept.stored()] == ["denied"]
    kept.rows.drop(row)
    kept.put(row, "granted")
    assert await kept.stored() == []


async def test_what_is_written_is_kept_no_longer(place: Place) -> None:
    (ann,) = await place.people("ann")
    kept = Kept(place)
    row = Row(ann.user_id, "ysam@example.org", "in")
    kept.put(row, "pending", 1.0)
    await kept.stored()
    assert not row.record
    kept.put(row, "pending", 2.0)
    for _ in range(3):
        await asyncio.sleep(0)
    kept.put(row, "granted", 3.0)  # while the one before it is written
    assert row.record
    assert [(one.state, one.record) for one in await kept.stored()] == [("granted", {"dialog": {"n": 3.0}})]
    assert not row.record


async def test_one_that_is_over_before_it_was_written(place: Place) -> None:
    (ann,) = await place.people("ann")
    kept = Kept(place)
    row = Row(ann.user_id, "ysam@example.org", "in")
    kept.put(row, "granted")
    kept.rows.drop(row)
    assert await kept.stored() == []


async def test_one_that_is_over_while_it_is_written(place: Place) -> None:
    (ann,) = await place.people("ann")
    kept = Kept(place)
    row = Row(ann.user_id, "ysam@example.org", "in")
    kept.put(row, "granted")
    for _ in range(3):
        await asyncio.sleep(0)
    kept.rows.drop(row)
    assert await kept.stored() == []


async def test_many_are_written_together(place: Place) -> None:
    people = await place.people(*[f"u{number}" for number in range(30)])
    kept = Kept(place)
    for number in range(2 * BATCH + 1):
        kept.put(Row(people[number % 30].user_id, f"p{number}@example.org", "out"), "asked")
    assert len(await kept.stored()) == 2 * BATCH + 1
    assert kept.failing.writes == 3


async def test_a_database_that_is_away(place: Place) -> None:
    (ann,) = await place.people("ann")
    kept = Kept(place)
    kept.failing.failures = 3
    row = Row(ann.user_id, "ysam@example.org", "in")
    kept.put(row, "pending")
    await asyncio.sleep(0)
    kept.put(row, "granted")
    assert [one.state for one in await kept.stored()] == ["granted"]
    assert kept.slept == [2.0, 2.0, 2.0]
    kept.failing.failures = 1
    kept.put(row, "denied")
    assert [one.state for one in await kept.stored()] == ["denied"]


async def test_somebody_who_was_deleted_meanwhile(place: Place) -> None:
    ann, bob = await place.people("ann", "bob")
    await place.database.write(users.delete, ann.user_id)
    kept = Kept(place)
    kept.put(Row(ann.user_id, "ysam@example.org", "in"), "granted")
    kept.put(Row(bob.user_id, "ysam@example.org", "in"), "granted")
    assert [one.user_id for one in await kept.stored()] == [bob.user_id]
    assert len(kept.rows) == 0 and kept.slept == []
