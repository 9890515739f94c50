"""Dialogs of conversations are written behind the events; what one row cannot, the others can."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.users.place import Place, open_place
from ubiety.gateway.im_rows import DialogRows, Row
from ubiety.store import sip_dialogs, users
from ubiety.store.errors import StoreError
from ubiety.store.sip_dialogs import DialogRow

BOB = "bob@example.org"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    opened = open_place(tmp_path)
    yield opened
    await opened.close()


async def _never(seconds: float) -> None:
    raise StoreError(f"it is not to be tried again after {seconds} s")


async def _stored(place: Place) -> list[DialogRow]:
    await place.settle()
    return await place.database.read(sip_dialogs.list_of_set, 1)


async def test_who_is_deleted_meanwhile_keeps_nobody_from_being_written(place: Place) -> None:
    rows = DialogRows(place.database, place.spawn, _never)
    ann, cid = await place.people("ann", "cid")
    await place.database.write(users.delete, ann.user_id)
    dialogs = [Row(person.user_id, BOB, f"call-{person.user_id}", {"n": 1}, 5.0) for person in (ann, cid)]
    for row in dialogs:
        rows.put(row)
    assert [one.user_id for one in await _stored(place)] == [cid.user_id]
    assert len(rows) == 0


async def test_a_row_is_added_changed_and_deleted(place: Place) -> None:
    rows = DialogRows(place.database, place.spawn, _never)
    [ann] = await place.people("ann")
    row = Row(ann.user_id, BOB, "call", {"n": 1}, 5.0)
    rows.put(row)
    assert [(one.id, one.record) for one in await _stored(place)] == [(row.id, {"n": 1})]
    row.record = {"n": 2}
    rows.put(row)
    assert [one.record for one in await _stored(place)] == [{"n": 2}]
    rows.drop(row)
    assert await _stored(place) == []


async def test_a_row_that_is_dropped_before_it_was_written_is_never_there(place: Place) -> None:
    rows = DialogRows(place.database, place.spawn, _never)
    [ann] = await place.people("ann")
    row = Row(ann.user_id, BOB, "call", {}, 5.0)
    rows.put(row)
    rows.drop(row)
    assert await _stored(place) == []
