"""People handed over, slowly, and dropped, at once: what is written, what is acknowledged, what is left."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest
from sqlalchemy import text

from tests.postgres import Postgres
from tests.unit.users.place import DOMAIN, Client, Place, open_place_on
from ubiety.conditions import StanzaError
from ubiety.store import streams
from ubiety.store.errors import Fenced, StoreError
from ubiety.users import homed as homed_people
from ubiety.users.homed import CLOSE_RATE, LOADED_SECONDS, HomedPeople
from ubiety.users.offline import Inbox

SET = 1


def rows(place: Place) -> list[tuple[int, int]]:
    """Return what waits for somebody in the database."""
    found = place.database.read_now(
        lambda conn: conn.execute(text("SELECT user_id, message_id FROM deliveries ORDER BY 2")).fetchall()
    )
    return [(int(user_id), int(number)) for user_id, number in found]


def write(client: Client, to: str, number: int) -> None:
    client.send(f"<message type='chat' to='{to}'><body>{number}</body></message>")


class Fence:
    """This node serves the sets that are given to it."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def held(self) -> Sequence[tuple[int, int]]:
        return [(set_id, 1) for set_id in self.place.context.homes.here]

    def covers(self, user_id: int) -> bool:
        person = self.place.context.homes.user(user_id)
        return person is None or self.place.context.homes.is_here(person)


async def test_handing_over_writes_everything_and_keeps_nobody(place: Place) -> None:
    ann = await place.sign_in("ann", managed=True)
    bob = await place.sign_in("bob", managed=True)
    (cat,) = await place.people("cat")
    write(ann, bob.bare, 1)  # sent to bob, who acknowledges nothing
    write(ann, f"cat@{DOMAIN}", 2)
    assert ann.session.smacks is not None
    smid, bob_id = ann.session.smacks.smid, bob.user.person.user_id
    homed = HomedPeople(place.context, place.users)
    await homed.hand_over(SET)
    assert [user_id for user_id, _ in rows(place)] == [bob_id, cat.user_id]
    assert (ann.edge.closed, bob.edge.closed) == ("reset", "reset")
    assert place.context.actors == {} and place.context.homes.here == set()
    assert place.context.homes.leaving == set()
    stored = await place.database.read(streams.find, smid)
    assert stored is not None and stored.h == 3  # presence and two messages
    assert place.context.counters.client_sessions == place.context.counters.online_users == 0
    with pytest.raises(Fenced):
        await place.users.load(cat)
    place.context.homes.here.add(SET)  # it comes back
    await homed.load(SET)
    again = await place.sign_in("bob", presence=None)
    again.send("<presence/>")
    assert await again.bodies() == ["1"]


async def test_nobody_signs_in_while_a_set_is_handed_over_and_closing_is_paced(place: Place) -> None:
    place.set(CLOSE_RATE, 40)
    clients = [await place.sign_in(f"p{number}") for number in range(6)]
    user = clients[-1].user
    homed = HomedPeople(place.context, place.users)
    task = asyncio.create_task(homed.hand_over(SET))
    await asyncio.sleep(0.06)
    closed = sum(client.edge.closed is not None for client in clients)
    assert 2 <= closed <= 4
    assert user is clients[-1].user
    with pytest.raises(StanzaError):
        place.users.bind(user, "new", clients[-1].edge)
    await task
    assert all(client.edge.closed for client in clients)


async def test_a_database_that_stays_away_holds_up_no_stop_for_ever(
    own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homed_people, "FLUSH_SECONDS", 0.5)
    place = open_place_on(own_postgres.make_database())
    try:
        ann = await place.sign_in("ann", managed=True)
        bob = await place.sign_in("bob", managed=True)
        assert ann.session.smacks is not None
        settled = ann.session.smacks.h
        own_postgres.stop("immediate")
        write(ann, bob.bare, 1)  # bob acknowledges nothing
        with pytest.raises(StoreError):
            await asyncio.wait_for(HomedPeople(place.context, place.users).hand_over(SET), 10)
        assert ann.session.smacks.h == settled, "what could not be written was not acknowledged"
    finally:
        own_postgres.start()
        async with asyncio.timeout(10):
            while place.ledger.trouble is not None:
                await asyncio.sleep(0.05)
        await place.close()


async def test_dropping_writes_nothing_and_acknowledges_nothing(place: Place) -> None:
    place.ledger.fence = Fence(place)
    place.ledger.window = 30.0
    ann = await place.sign_in("ann", managed=True)
    bob = await place.sign_in("bob", managed=True)
    await place.people("cat")
    await place.ledger.flush()
    assert ann.session.smacks is not None
    smacks = ann.session.smacks
    write(ann, bob.bare, 1)
    write(ann, f"cat@{DOMAIN}", 2)
    await asyncio.sleep(0.05)
    assert smacks.h == 1, "only the presence is settled"
    inboxes = {id(user.inbox) for user in place.context.actors.values()}
    edges = [ann.edge, bob.edge]
    homed = HomedPeople(place.context, place.users)
    for edge in edges:
        edge.written.clear()
    place.context.homes.here.discard(SET)
    homed.release(SET)
    await asyncio.sleep(0)
    assert [edge.closed for edge in edges] == ["reset", "reset"]
    assert [edge.written for edge in edges] == [[], []], "nothing is said to anybody any more"
    await place.ledger.flush()
    assert rows(place) == []
    assert place.ledger.queued_bytes == 0
    assert place.database.read_now(lambda conn: conn.execute(text("SELECT 1 FROM sm_streams")).all()) == []
    assert place.context.actors == {}
    counters = place.context.counters
    assert (counters.client_sessions, counters.online_users, counters.suspended_sessions) == (0, 0, 0)
    assert (counters.roster_subscriptions, counters.roster_watchers) == (0, 0)
    del ann, bob, smacks
    await asyncio.sleep(LOADED_SECONDS / 10)
    gc.collect()
    left = [one for one in gc.get_objects() if isinstance(one, Inbox) and id(one) in inboxes]
    assert left == [], "memory is gone"


async def test_who_waits_to_be_loaded_is_refused(place: Place) -> None:
    ann = await place.sign_in("ann")
    people = await place.people("cat")
    people[0].set_id = 2
    place.context.homes.put(people[0])
    place.context.homes.here.add(2)
    write(ann, f"cat@{DOMAIN}", 1)  # cat is being loaded now
    place.context.homes.here.discard(2)
    HomedPeople(place.context, place.users).release(2)
    (error,) = await ann.take("message")
    assert error.get("type") == "error"
    assert place.context.actors.keys() == {ann.session.address_id}
    assert rows(place) == []


async def test_a_suspended_session_is_dropped_too(place: Place) -> None:
    ann = await place.sign_in("ann", managed=True)
    place.users.disconnect(ann.session)
    assert place.context.counters.suspended_sessions == 1
    HomedPeople(place.context, place.users).release(SET)
    assert place.context.counters.suspended_sessions == 0
    place.clock.advance(1000)
    place.users.expire()


async def test_a_drain_under_way_ends(place: Place) -> None:
    ann = await place.sign_in("ann")
    (bob,) = await place.people("bob")
    for number in range(250):
        write(ann, f"bob@{DOMAIN}", number)
    await place.settle()
    late = await place.sign_in("bob", presence=None)
    late.send("<presence/>")
    await asyncio.sleep(0)
    place.context.homes.here.discard(SET)
    HomedPeople(place.context, place.users).release(SET)
    late.edge.written.clear()
    await place.settle()
    assert late.edge.written == []
    assert len(rows(place)) == 250
    assert bob.address_id not in place.context.actors
