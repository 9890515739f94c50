"""A SUBSCRIBE is answered with 200 when its row is committed, and not before; what fails is answered 503."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.unit.gateway.failing import Failing
from tests.unit.gateway.rig import Rig
from tests.unit.users.place import DOMAIN, Client
from ubiety.gateway.presence import Presence
from ubiety.gateway.rows import SUBSCRIPTIONS, Rows
from ubiety.gateway.subscriptions import Means
from ubiety.gateway.watchers import Watchers
from ubiety.jid import parse
from ubiety.sip.message import Response
from ubiety.store import sip_subscriptions as rows
from ubiety.store.sip_subscriptions import Subscription
from ubiety.users.preferences import AUTO_AUTHORIZE

ANN = f"ann@{DOMAIN}"
YSAM = f"ysam@{DOMAIN}"


class Durable:
    """Two sides that speak SIP; ours writes its rows through a gate."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.failing = Failing(rig.place.database)
        ours = rig.ours
        self.rows = Rows(SUBSCRIPTIONS, self.failing, rig.place.spawn, self.sleep)  # type: ignore[arg-type]
        means = Means(
            rig.place.context,
            ours,
            ours.sender,
            ours.roads,
            self.rows,
            rig.timeline.call_later,
            rig.presence.watchers._token,
            rig.presence.watchers._pace,
        )
        self.presence._rows = self.rows
        self.presence.watchers = Watchers(means)

    @property
    def presence(self) -> Presence:
        return self.rig.presence

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    async def wait(self) -> None:
        """Let happen what can happen while the gate is shut."""
        for _ in range(20):
            self.rig._carry()
            await asyncio.sleep(0.005)

    def shut(self) -> None:
        self.failing.may_write.clear()

    async def open(self) -> None:
        self.failing.may_write.set()
        await self.rig.settle()

    def subscribe(self, call_id: str = "c1", **changes: object) -> int:
        return self.rig.theirs.subscribe(ANN, call_id=call_id, **changes)  # type: ignore[arg-type]

    async def subscribed(self) -> None:
        """Have YSAM watch Ann; forget what was told."""
        self.subscribe()
        await self.rig.settle()
        assert self.told() == [("active", "open")]

    def answer(self, key: int) -> Response | None:
        response = self.rig.theirs.responses.get(key)
        assert response is None or isinstance(response, Response)
        return response

    def status(self, key: int) -> int | None:
        response = self.answer(key)
        return response.status if response is not None else None

    def told(self) -> list[tuple[str, str | None]]:
        return self.rig.theirs.take_noted()

    async def stored(self) -> list[Subscription]:
        return list(await self.rig.place.database.read(rows.list_of_set, 1))

    def is_refused_for_now(self, key: int) -> bool:
        response = self.answer(key)
        return response is not None and (response.status, response.headers.get("retry-after")) == (503, "10")


@pytest.fixture
async def durable(rig: Rig) -> AsyncIterator[Durable]:
    made = Durable(rig)
    yield made
    made.failing.may_write.set()


@pytest.fixture
async def ann(durable: Durable) -> Client:
    return await durable.rig.place.sign_in("ann")


async def test_the_answer_and_the_first_notify_wait_for_the_row(durable: Durable, ann: Client) -> None:
    durable.shut()
    key = durable.subscribe()
    await durable.wait()
    assert (durable.failing.writes, durable.status(key), durable.told()) == (1, None, [])
    ann.send("<presence><show>away</show></presence>")
    await durable.wait()
    assert durable.told() == []
    await durable.open()
    assert durable.status(key) == 200
    assert durable.told() == [("active", "away")]  # what is by now, once
    assert len(await durable.stored()) == 1


async def test_many_answers_wait_for_one_transaction(durable: Durable, ann: Client) -> None:
    durable.shut()
    first = durable.subscribe("c0")
    await durable.wait()
    keys = [durable.subscribe(f"c{number}", sender=f"y{number}@{DOMAIN}") for number in range(1, 60)]
    await durable.wait()
    assert durable.failing.writes == 1
    await durable.open()
    assert [durable.status(key) for key in (first, *keys)] == [200] * 60
    assert durable.failing.writes == 2
    assert durable.told() == [("active", "open")] * 60


async def test_a_database_that_fails(durable: Durable, ann: Client) -> None:
    durable.failing.failures = 1
    key = durable.subscribe()
    await durable.rig.settle()
    assert durable.is_refused_for_now(key)
    assert durable.told() == []
    assert await durable.stored() == []
    assert len(durable.presence.watchers) == durable.presence.watchers.timers == len(durable.rows) == 0
    key = durable.subscribe()
    await durable.rig.settle()
    assert durable.status(key) == 200 and len(await durable.stored()) == 1
    assert durable.told() == [("active", "open")]


async def test_a_node_that_dies_before_the_commit_has_promised_nothing(durable: Durable, ann: Client) -> None:
    durable.shut()
    key = durable.subscribe()
    await durable.wait()
    durable.failing.failures = 1  # what was not committed when the process ended never is
    durable.presence.release(1)
    await durable.open()
    assert durable.is_refused_for_now(key)
    await durable.presence.load(1)
    await durable.rig.advance(1)
    assert (await durable.stored(), durable.told()) == ([], [])


async def test_a_node_that_dies_behind_the_commit(durable: Durable, ann: Client) -> None:
    durable.shut()
    key = durable.subscribe()
    await durable.wait()
    durable.presence.release(1)  # the person is served elsewhere, just now
    await durable.open()
    assert (durable.status(key), durable.told()) == (200, [])
    await durable.presence.load(1)
    await durable.rig.advance(1)
    assert durable.told() == [("active", "open")]


async def test_what_the_person_decides_meanwhile_is_told(durable: Durable, ann: Client) -> None:
    durable.rig.place.set(AUTO_AUTHORIZE, False)
    durable.shut()
    key = durable.subscribe()
    await durable.wait()
    ann.send(f"<presence type='subscribed' to='{YSAM}'/>")
    await durable.wait()
    assert (durable.status(key), durable.told()) == (None, [])
    await durable.open()
    assert durable.status(key) == 200
    assert durable.told() == [("active", "open")]
    assert [row.state for row in await durable.stored()] == ["granted"]


async def test_a_person_who_is_deleted_meanwhile(durable: Durable, ann: Client) -> None:
    durable.shut()
    key = durable.subscribe()
    await durable.wait()
    durable.presence.deleted(ann.user.person)
    await durable.open()
    assert durable.status(key) == 200
    assert durable.told() == [("terminated;reason=noresource", "open")]
    assert await durable.stored() == []


async def test_a_look_promises_nothing_and_is_not_written(durable: Durable, ann: Client) -> None:
    durable.shut()
    key = durable.subscribe(expires=0)
    await durable.wait()
    assert durable.status(key) == 200
    assert [state for state, _ in durable.told()] == ["terminated;reason=timeout"]
    assert durable.failing.writes == 0


# -- in a dialog -----------------------------------------------------------------------------------


async def test_a_refresh_waits_for_its_row(durable: Durable, ann: Client) -> None:
    await durable.subscribed()
    (before,) = await durable.stored()
    durable.shut()
    key = durable.subscribe(expires=7200)
    await durable.wait()
    assert (durable.status(key), durable.told()) == (None, [])
    await durable.open()
    assert durable.status(key) == 200
    assert durable.told() == [("active", "open")]
    (after,) = await durable.stored()
    assert after.id == before.id
    assert after.expires - before.expires == pytest.approx(3600)


async def test_a_refresh_that_fails_leaves_what_was_promised_last(durable: Durable, ann: Client) -> None:
    await durable.subscribed()
    durable.failing.failures = 1
    key = durable.subscribe(expires=7200)
    await durable.rig.settle()
    assert durable.is_refused_for_now(key)
    assert durable.told() == []
    ann.send("<presence><show>away</show></presence>")
    await durable.rig.advance(2)
    assert durable.told() == [("active", "away")]
    await durable.rig.advance(3600)
    assert durable.told() == [("terminated;reason=timeout", "away")]
    assert await durable.stored() == []


async def test_the_end_waits_until_the_row_is_deleted(durable: Durable, ann: Client) -> None:
    await durable.subscribed()
    durable.shut()
    key = durable.subscribe(expires=0)
    await durable.wait()
    assert (durable.status(key), durable.told()) == (None, [])
    await durable.open()
    assert durable.status(key) == 200
    assert durable.told() == [("terminated;reason=timeout", "open")]
    assert await durable.stored() == []
    assert len(durable.presence.watchers) == 0


async def test_an_end_that_cannot_be_written_is_one_nevertheless(durable: Durable, ann: Client) -> None:
    await durable.subscribed()
    durable.failing.failures = 1
    key = durable.subscribe(expires=0)
    await durable.rig.settle()
    assert durable.is_refused_for_now(key)
    assert durable.told() == [("terminated;reason=timeout", "open")]
    assert await durable.stored() == []  # it was tried again
    again = durable.subscribe(expires=0)
    await durable.rig.settle()
    assert durable.status(again) == 481


async def test_what_ends_while_its_refresh_is_written_is_not_confirmed(durable: Durable, ann: Client) -> None:
    await durable.subscribed()
    durable.shut()
    key = durable.subscribe(expires=7200)
    await durable.wait()
    durable.presence.deleted(ann.user.person)
    await durable.open()
    assert durable.status(key) == 481
    assert durable.told() == [("terminated;reason=noresource", "open")]


async def test_after_a_restart_not_every_notify_writes(durable: Durable, ann: Client) -> None:
    await durable.subscribed()
    durable.presence.release(1)
    await durable.presence.load(1)
    await durable.rig.advance(1)
    before = durable.failing.writes
    for show in ("away", "dnd") * 5:
        ann.send(f"<presence><show>{show}</show></presence>")
        await durable.rig.advance(2)
    assert len(durable.told()) == 11
    assert durable.failing.writes == before
    (row,) = await durable.stored()
    assert row.record["dialog"]["local_cseq"] > 1000, "the next restart leaps from here"
    assert parse(row.peer) == parse(YSAM)
