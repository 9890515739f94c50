"""The people of a node: sessions opened and ended, actors loaded and let go."""

import pytest

from tests.unit.users.place import NOW, Place, PlainEdge
from ubiety.conditions import StanzaError
from ubiety.store import users
from ubiety.users import service
from ubiety.users.preferences import MAX_SESSIONS


async def test_newer_session_of_the_same_resource_wins(place: Place) -> None:
    old = await place.sign_in("alice", "desk")
    new = await place.sign_in("alice", "desk")
    assert old.session.ended and old.edge.closed == "conflict"
    assert new.user.sessions == {"desk": new.session}
    assert place.context.counters.client_sessions == 1


async def test_people_have_only_so_many_devices(place: Place) -> None:
    place.set(MAX_SESSIONS, 2)
    alice = await place.sign_in("alice", "1")
    await place.sign_in("alice", "2")
    with pytest.raises(StanzaError) as caught:
        place.users.bind(alice.user, "3", PlainEdge())
    assert caught.value.condition == "resource-constraint"
    place.users.bind(alice.user, "2", PlainEdge())


async def test_bad_resource(place: Place) -> None:
    alice = await place.sign_in("alice")
    with pytest.raises(StanzaError) as caught:
        place.users.bind(alice.user, "\u0007", PlainEdge())
    assert caught.value.condition == "bad-request"


async def test_counters_follow_people_and_sessions(place: Place) -> None:
    counters = place.context.counters
    clients = [
        await place.sign_in("alice", "1"),
        await place.sign_in("alice", "2"),
        await place.sign_in("bob"),
    ]
    assert (counters.online_users, counters.client_sessions, counters.sessions) == (2, 3, 3)
    clients[0].leave()
    clients[0].leave()
    assert (counters.online_users, counters.client_sessions) == (2, 2)
    for client in clients[1:]:
        client.leave()
    assert (counters.online_users, counters.client_sessions, counters.sessions) == (0, 0, 3)


async def test_actor_is_loaded_once_however_many_ask(place: Place) -> None:
    (person,) = await place.people("bob")
    alice = await place.sign_in("alice")
    for number in range(20):
        alice.send(f"<message type='chat' to='bob@example.org'><body>{number}</body></message>")
    await place.settle()
    users = {id(await place.users.load(person)) for _ in range(3)}
    assert users == {id(place.context.actors[person.address_id])}


async def test_idle_actors_are_let_go_when_there_are_too_many(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "IDLE_ACTORS", 2)
    people = await place.people("a", "b", "c", "d")
    for person in people:
        await place.users.load(person)
    busy = await place.sign_in("d")
    assert len(place.context.actors) == 4
    place.clock.advance(service.IDLE_SECONDS)
    place.users.unload_idle()
    assert set(place.context.actors) == {people[1].address_id, people[2].address_id, people[3].address_id}
    busy.leave()
    again = await place.users.load(people[0])
    assert again.person is people[0]


async def test_stanzas_for_people_who_are_not_loaded_are_bounded(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_QUEUED", 3)
    alice = await place.sign_in("alice")
    await place.people("bob")
    for number in range(5):
        alice.send(f"<message id='{number}' type='chat' to='bob@example.org'><body>x</body></message>")
    errors = [m.get("id") for m in await alice.take("message") if m.get("type") == "error"]
    assert errors == ["3", "4"]


async def test_logins_and_farewells_are_written_down_together(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    place.clock.advance(10)
    alice.leave()
    place.users.expire()
    await place.settle()
    rows = {
        client: await place.database.read(users.load, client.user.person.user_id) for client in (alice, bob)
    }
    moments = {
        client.bare: (row.last_login, row.last_seen) for client, row in rows.items() if row is not None
    }
    assert moments == {alice.bare: (NOW, NOW + 10), bob.bare: (NOW, None)}
