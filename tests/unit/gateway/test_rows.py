"""Rows are written behind the events, in batches, again after a failure; nobody's fault is everybody's."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.gateway.failing import Failing
from tests.unit.users.place import Place, open_place
from ubiety.gateway.rows import BATCH, DIALOGS, SUBSCRIPTIONS, Kept, Row, Rows, Table
from ubiety.store import sip_dialogs, sip_subscriptions, users
from ubiety.store.errors import Conflict, DatabaseUnavailable, Fenced, StoreError
from ubiety.store.sip_dialogs import DialogRow
from ubiety.store.sip_subscriptions import Subscription

YSAM = "ysam@example.org"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    opened = open_place(tmp_path)
    yield opened
    await opened.close()


class Held:
    """Rows on a database that may fail."""

    def __init__(self, place: Place, table: Table = SUBSCRIPTIONS) -> None:
        self.place = place
        self.failing = Failing(place.database)
        self.slept: list[float] = []
        self.rows = Rows(table, self.failing, place.spawn, self.sleep)  # type: ignore[arg-type]

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def put(self, row: Row, state: str, at: float = 5.0) -> None:
        self.rows.put(row, Kept(state, "call", {"dialog": {"n": at}}, at))

    async def put_and_wait(self, row: Row, state: str) -> StoreError | None:
        """Return why it was not written."""
        self.put(row, state)
        try:
            await self.rows.written(row)
        except StoreError as error:
            return error
        return None

    async def stored(self) -> list[Subscription]:
        await self.place.settle()
        return await self.committed()

    async def committed(self) -> list[Subscription]:
        """What is there now."""
        return list(await self.place.database.read(sip_subscriptions.list_of_set, 1, 0, 10_000))

    async def dialogs(self) -> list[DialogRow]:
        await self.place.settle()
        return await self.place.database.read(sip_dialogs.list_of_set, 1)


async def test_a_life(place: Place) -> None:
    (ann,) = await place.people("ann")
    held = Held(place)
    row = Row(ann.user_id, YSAM, "in")
    held.put(row, "pending")
    held.put(row, "granted", 7.0)
    (found,) = await held.stored()
    assert (found.id, found.direction, found.state, found.record, found.expires) == (
        row.id,
        "in",
        "granted",
        {"dialog": {"n": 7.0}},
        7.0,
    )
    held.put(row, "denied")
    assert [one.state for one in await held.stored()] == ["denied"]
    held.rows.drop(row)
    held.put(row, "granted")
    assert await held.stored() == []


async def test_the_life_of_a_conversation(place: Place) -> None:
    (ann,) = await place.people("ann")
    held = Held(place, DIALOGS)
    row = Row(ann.user_id, YSAM)
    held.put(row, "", 5.0)
    assert [(one.id, one.call_id, one.updated) for one in await held.dialogs()] == [(row.id, "call", 5.0)]
    held.put(row, "", 6.0)
    assert [(one.record, one.updated) for one in await held.dialogs()] == [({"dialog": {"n": 6.0}}, 6.0)]
    held.rows.drop(row)
    assert await held.dialogs() == []


async def test_what_is_written_is_kept_no_longer(place: Place) -> None:
    (ann,) = await place.people("ann")
    held = Held(place)
    row = Row(ann.user_id, YSAM, "in")
    held.put(row, "pending", 1.0)
    await held.stored()
    assert row.unwritten is None
    held.put(row, "pending", 2.0)
    for _ in range(3):
        await asyncio.sleep(0)
    held.put(row, "granted", 3.0)  # while the one before it is written
    assert row.unwritten is not None
    assert [(one.state, one.record) for one in await held.stored()] == [("granted", {"dialog": {"n": 3.0}})]
    assert row.unwritten is None


@pytest.mark.parametrize("turns", [0, 3])
async def test_one_that_is_over_before_it_was_written_or_meanwhile(place: Place, turns: int) -> None:
    (ann,) = await place.people("ann")
    held = Held(place)
    row = Row(ann.user_id, YSAM, "in")
    held.put(row, "granted")
    for _ in range(turns):
        await asyncio.sleep(0)
    held.rows.drop(row)
    await held.rows.written(row)
    assert await held.committed() == []


async def test_what_was_never_put_is_not_deleted(place: Place) -> None:
    (ann,) = await place.people("ann")
    held = Held(place)
    row = Row(ann.user_id, YSAM, "in")
    held.rows.drop(row)
    assert len(held.rows) == 0
    await place.settle()
    assert held.failing.writes == 0


async def test_many_are_written_together(place: Place) -> None:
    people = await place.people(*[f"u{number}" for number in range(30)])
    held = Held(place)
    rows = [
        Row(people[number % 30].user_id, f"p{number}@example.org", "out") for number in range(2 * BATCH + 1)
    ]
    assert await asyncio.gather(*[held.put_and_wait(row, "asked") for row in rows]) == [None] * len(rows)
    assert len(await held.committed()) == 2 * BATCH + 1
    assert held.failing.writes == 3


async def test_a_database_that_is_away(place: Place) -> None:
    (ann,) = await place.people("ann")
    held = Held(place)
    held.failing.failures = 3
    row = Row(ann.user_id, YSAM, "in")
    held.put(row, "pending")
    await asyncio.sleep(0)
    held.put(row, "granted")
    assert [one.state for one in await held.stored()] == ["granted"]
    assert held.slept == [2.0, 2.0, 2.0]
    held.failing.failures = 1
    held.put(row, "denied")
    assert [one.state for one in await held.stored()] == ["denied"]


@pytest.mark.parametrize("table", [SUBSCRIPTIONS, DIALOGS])
async def test_somebody_who_was_deleted_meanwhile(place: Place, table: Table) -> None:
    ann, bob = await place.people("ann", "bob")
    await place.database.write(users.delete, ann.user_id)
    held = Held(place, table)
    rows = [Row(person.user_id, YSAM, "in") for person in (ann, bob)]
    first, second = await asyncio.gather(*[held.put_and_wait(row, "granted") for row in rows])
    assert isinstance(first, Conflict) and second is None
    found = await held.committed() if table is SUBSCRIPTIONS else await held.dialogs()
    assert [one.user_id for one in found] == [bob.user_id]
    assert len(held.rows) == 0 and held.slept == []


# -- who waits -------------------------------------------------------------------------------------


async def test_who_waits_goes_on_when_it_is_committed_and_not_before(place: Place) -> None:
    (ann,) = await place.people("ann")
    held = Held(place)
    held.failing.may_write.clear()
    row = Row(ann.user_id, YSAM, "in")
    waiting = asyncio.create_task(held.put_and_wait(row, "granted"))
    await asyncio.sleep(0.02)
    late = asyncio.create_task(held.rows.written(row))  # when it is being written already
    await asyncio.sleep(0.02)
    assert held.failing.writes == 1 and not waiting.done() and not late.done()
    held.failing.may_write.set()
    assert await waiting is None
    await late
    assert [one.id for one in await held.committed()] == [row.id]
    await held.rows.written(row)  # there is nothing to wait for


async def test_what_was_put_meanwhile_is_waited_for_too(place: Place) -> None:
    (ann,) = await place.people("ann")
    held = Held(place)
    held.failing.may_write.clear()
    row = Row(ann.user_id, YSAM, "in")
    held.put(row, "pending")
    await asyncio.sleep(0.02)
    waiting = asyncio.create_task(held.put_and_wait(row, "granted"))
    await asyncio.sleep(0)
    held.failing.may_write.set()
    assert await waiting is None
    assert [one.state for one in await held.committed()] == ["granted"]


async def test_who_waits_is_told_that_it_failed(place: Place) -> None:
    ann, bob = await place.people("ann", "bob")
    held = Held(place)
    held.failing.failures = 1
    kept, refused = (Row(person.user_id, YSAM, "in") for person in (ann, bob))
    held.put(kept, "granted")
    assert isinstance(await held.put_and_wait(refused, "granted"), DatabaseUnavailable)
    held.rows.forget(refused)
    assert [one.user_id for one in await held.stored()] == [ann.user_id]  # it was tried again
    assert refused.id is None


async def test_who_waits_for_what_another_node_has_now(place: Place) -> None:
    (ann,) = await place.people("ann")
    held = Held(place)
    held.failing.may_write.clear()
    held.put(Row(ann.user_id, "ybob@example.org", "in"), "granted")
    await asyncio.sleep(0.02)
    row = Row(ann.user_id, YSAM, "in")
    waiting = asyncio.create_task(held.put_and_wait(row, "granted"))
    await asyncio.sleep(0)
    held.rows.forget(row)
    assert isinstance(await waiting, Fenced)
    held.failing.may_write.set()
    assert [one.peer for one in await held.stored()] == ["ybob@example.org"]


async def test_what_is_forgotten_while_its_writing_fails_is_not_tried_again(place: Place) -> None:
    (ann,) = await place.people("ann")
    held = Held(place)
    held.failing.failures = 1
    held.failing.may_write.clear()
    row = Row(ann.user_id, YSAM, "in")
    held.put(row, "granted")
    await asyncio.sleep(0.02)
    held.rows.forget(row)
    held.failing.may_write.set()
    assert await held.stored() == []


# -- flushing --------------------------------------------------------------------------------------


async def test_flushing_waits_for_what_is_being_written(place: Place) -> None:
    (ann,) = await place.people("ann")
    held = Held(place)
    held.failing.may_write.clear()
    row = Row(ann.user_id, YSAM, "in")
    held.put(row, "granted")
    await asyncio.sleep(0.02)
    assert len(held.rows) == 0
    flushing = asyncio.create_task(held.rows.flush())
    await asyncio.sleep(0.02)
    assert not flushing.done()
    held.failing.may_write.set()
    await flushing
    assert [one.id for one in await held.committed()] == [row.id]


async def test_what_is_being_added_is_not_added_again(place: Place) -> None:
    (ann,) = await place.people("ann")
    held = Held(place)
    held.failing.may_write.clear()
    row = Row(ann.user_id, YSAM, "in")
    held.put(row, "pending")
    await asyncio.sleep(0.02)
    held.put(row, "granted")
    flushing = asyncio.create_task(held.rows.flush())
    await asyncio.sleep(0.02)
    held.failing.may_write.set()
    await flushing
    assert [(one.id, one.state) for one in await held.stored()] == [(row.id, "granted")]


async def test_flushing_tells_of_a_failure_and_the_rest_is_written_later(place: Place) -> None:
    (ann,) = await place.people("ann")
    held = Held(place)
    held.failing.failures = 2
    row = Row(ann.user_id, YSAM, "in")
    held.put(row, "granted")
    with pytest.raises(DatabaseUnavailable):
        await held.rows.flush()
    assert [one.id for one in await held.stored()] == [row.id]
