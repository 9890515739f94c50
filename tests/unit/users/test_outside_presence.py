"""Presence to and from people outside: composed, once for each change, to those who may see it."""

import pytest

from tests.unit.routing.nodes import Nodes
from tests.unit.users.beyond import MICROSOFT, REMOTE, Beyond, befriend
from tests.unit.users.place import DOMAIN, Client, Place
from tests.unit.users.test_subscribing import interested
from ubiety.jid import parse
from ubiety.presence.model import OFFLINE, Composed, State, Statement
from ubiety.routing.homes import Person
from ubiety.store import addresses
from ubiety.store import policy as rows
from ubiety.users import policy_changes, presence_service
from ubiety.users.homed import HomedPeople
from ubiety.users.outsiders import come_home, composed_of, seen_by, watchers_outside
from ubiety.users.policy_changes import BLOCK
from ubiety.users.preferences import SHARING_ENABLED

TALKING = Statement(State.ON_THE_PHONE)
SEEN = f"{MICROSOFT}/sip"


@pytest.fixture
def beyond(place: Place) -> Beyond:
    """Somebody outside in our domain and somebody in another one."""
    return Beyond(place)


async def watched(beyond: Beyond, name: str = "alice") -> Client:
    """Sign somebody in who sees, and is seen by, somebody outside."""
    client = await interested(beyond.place, name)
    await befriend(beyond, client)
    return client


def told(beyond: Beyond) -> list[tuple[State, str]]:
    """Take what all watchers of all people were told."""
    return [(state, note) for _, state, note, _ in beyond.take_told()]


# -- what watchers are told ---------------------------------------------------------------------------


async def test_each_change_is_told_once(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    alice.send("<presence><show>dnd</show><status>Exam</status></presence>")
    assert beyond.take_told() == [(alice.bare, State.DND, "Exam", [MICROSOFT])]
    alice.send("<presence><status>Exam</status><show>dnd</show><priority>1</priority></presence>")
    assert beyond.take_told() == []
    alice.send("<presence><show>dnd</show><status>Still</status></presence>")
    alice.send("<presence><show>xa</show></presence>")
    assert told(beyond) == [(State.DND, "Still"), (State.EXTENDED_AWAY, "")]
    alice.leave()
    assert told(beyond) == [(State.OFFLINE, "")]


async def test_signing_in_and_out_is_told(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    alice.leave()
    beyond.take_told()
    again = await place.sign_in("alice", presence=None)
    assert told(beyond) == []  # a session without presence is not there
    again.send("<presence/>")
    assert told(beyond) == [(State.AVAILABLE, "")]
    again.send("<presence type='unavailable'/>")
    assert told(beyond) == [(State.OFFLINE, "")]
    again.leave()
    assert told(beyond) == []


async def test_several_devices_are_one_person(place: Place, beyond: Beyond) -> None:
    desk = await watched(beyond)
    phone = await place.sign_in("alice", "phone", presence="<presence><show>away</show></presence>")
    assert told(beyond) == []
    desk.leave()
    assert told(beyond) == [(State.AWAY, "")]
    phone.leave()
    assert told(beyond) == [(State.OFFLINE, "")]


async def test_the_time_of_a_state_is_kept(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    place.clock.advance(10)
    alice.send("<presence><show>away</show></presence>")
    began = place.clock.now()
    place.clock.advance(10)
    alice.send("<presence><show>away</show><status>Lunch</status></presence>")
    assert beyond.sinces[-2:] == [began, began]
    assert composed_of(place.context, alice.user.person) == Composed(State.AWAY, "Lunch", began)


async def test_people_without_watchers_outside_are_nobodys_business(place: Place, beyond: Beyond) -> None:
    alice, bob = await place.friends("alice", "bob")
    alice.send("<presence><show>away</show></presence>")
    alice.send(f"<presence type='subscribe' to='{MICROSOFT}'/>")  # watches, is not watched
    await place.settle()
    alice.send("<presence><show>dnd</show></presence>")
    bob.leave()
    assert beyond.told == []


async def test_people_here_see_devices_and_people_outside_one_state(place: Place, beyond: Beyond) -> None:
    alice, bob = await place.friends("alice", "bob")
    await befriend(beyond, alice)
    await bob.take()
    alice.send("<presence><show>away</show></presence>")
    assert await bob.presences() == [(alice.full, None)]
    assert told(beyond) == [(State.AWAY, "")]


# -- other sources --------------------------------------------------------------------------------------


async def test_the_phone_is_told(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    user_id = alice.user.person.user_id
    place.context.sources.put_phone(user_id, "desk", TALKING)
    assert told(beyond) == [(State.ON_THE_PHONE, "")]
    alice.send("<presence><show>away</show></presence>")
    assert told(beyond) == []  # still on the phone
    place.context.sources.put_phone(user_id, "desk", None)
    assert told(beyond) == [(State.AWAY, "")]


async def test_the_phone_of_somebody_who_is_not_even_loaded(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    person = alice.user.person
    alice.leave()
    place.users.forget(place.context.actors[person.address_id])
    beyond.take_told()
    assert composed_of(place.context, person) == OFFLINE
    place.context.sources.put_phone(person.user_id, "desk", TALKING)
    await place.settle()
    assert beyond.take_told() == [(alice.bare, State.OFFLINE_ON_THE_PHONE, "", [MICROSOFT])]
    assert composed_of(place.context, person).state is State.OFFLINE_ON_THE_PHONE
    place.context.sources.put_phone(person.user_id, "desk", None)
    assert told(beyond) == [(State.OFFLINE, "")]


async def test_a_source_of_somebody_unknown_or_without_watchers(place: Place, beyond: Beyond) -> None:
    (bob,) = await place.people("bob")
    place.context.sources.put_phone(bob.user_id, "desk", TALKING)
    place.context.sources.put_phone(999, "desk", TALKING)
    await place.settle()
    assert beyond.told == []
    place.context.outside = None
    place.context.sources.put_phone(bob.user_id, "desk", None)
    await place.settle()


async def test_a_choice_holds_until_the_person_has_signed_out(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    user_id = alice.user.person.user_id
    place.context.sources.put_own(user_id, Statement(State.BUSY, "Writing"))
    alice.send("<presence><show>away</show></presence>")
    assert told(beyond) == [(State.BUSY, "Writing")]
    alice.leave()
    assert told(beyond) == [(State.OFFLINE, "")]
    assert not place.context.sources.knows(user_id)
    await place.sign_in("alice")
    assert told(beyond) == [(State.AVAILABLE, "")]


# -- who may see it -------------------------------------------------------------------------------------


async def test_who_is_blocked_sees_offline_at_once_and_nothing_later(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    await beyond.ask(alice.user.person, sender=REMOTE)
    await policy_changes.put(place.context, alice.user.person, BLOCK, [parse(MICROSOFT)])
    assert beyond.take_told() == [(alice.bare, State.OFFLINE, "", [MICROSOFT])]
    alice.send("<presence><show>away</show></presence>")
    assert beyond.take_told() == [(alice.bare, State.AWAY, "", [REMOTE])]
    context, person = place.context, alice.user.person
    assert seen_by(context, person, parse(MICROSOFT)) == OFFLINE
    assert seen_by(context, person, parse(REMOTE)).state is State.AWAY
    assert seen_by(context, person, parse("stranger@contoso.example")) == OFFLINE
    assert sorted(jid.bare for jid in watchers_outside(alice.user)) == [MICROSOFT, REMOTE]
    await policy_changes.clear(context, person, BLOCK)
    assert beyond.take_told() == [(alice.bare, State.AWAY, "", [MICROSOFT])]


async def test_a_whole_domain_is_blocked(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    await beyond.ask(alice.user.person, sender=REMOTE)
    await policy_changes.put(place.context, alice.user.person, BLOCK, [parse("contoso.example")])
    assert beyond.take_told() == [(alice.bare, State.OFFLINE, "", [REMOTE])]
    await policy_changes.put(place.context, alice.user.person, BLOCK, [parse("bob@example.org")])
    assert beyond.take_told() == []


async def test_a_policy_of_somebody_who_is_not_loaded(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    await beyond.ask(alice.user.person, sender=REMOTE)
    context, person = place.context, alice.user.person
    alice.leave()
    place.users.forget(context.actors[person.address_id])
    beyond.take_told()
    await policy_changes.put(context, person, BLOCK, [parse(REMOTE)])
    assert beyond.take_told() == []  # everybody saw offline and still does
    context.sources.put_phone(person.user_id, "desk", TALKING)
    assert beyond.take_told() == [(person.jid.bare, State.OFFLINE_ON_THE_PHONE, "", [MICROSOFT])]
    place.users.forget(context.actors[person.address_id])
    await policy_changes.put(context, person, BLOCK, [parse(MICROSOFT)])
    assert beyond.take_told() == [(person.jid.bare, State.OFFLINE, "", [MICROSOFT, REMOTE])]
    place.users.forget(context.actors[person.address_id])
    await place.database.write(rows.clear, person.user_id, BLOCK)  # as another node does
    await policy_changes.read_again(context, person)
    assert beyond.take_told() == [(person.jid.bare, State.OFFLINE_ON_THE_PHONE, "", [MICROSOFT, REMOTE])]


async def test_a_policy_that_another_node_has_changed(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    person = alice.user.person
    contact = await place.database.read(lambda conn: addresses.find(conn, MICROSOFT))
    assert contact is not None
    await place.database.write(rows.put_address, person.user_id, BLOCK, contact)
    await policy_changes.read_again(place.context, person)
    assert beyond.take_told() == [(alice.bare, State.OFFLINE, "", [MICROSOFT])]
    (bob,) = await place.people("bob")
    await policy_changes.read_again(place.context, bob)
    assert bob.address_id not in place.context.actors


async def test_a_contact_who_is_blocked_disappears_and_comes_back(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    beyond.known = {SEEN: "<show>away</show>"}
    beyond.send(SEEN, None, alice.bare)
    assert await alice.presences() == [(SEEN, None)]
    await policy_changes.put(place.context, alice.user.person, BLOCK, [parse(MICROSOFT)])
    assert await alice.presences() == [(SEEN, "unavailable")]
    beyond.send(SEEN, None, alice.bare)
    assert await alice.presences() == []
    await policy_changes.clear(place.context, alice.user.person, BLOCK)
    assert await alice.presences() == [(SEEN, None)]


async def test_nobody_sees_anybody_while_sharing_is_off(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    beyond.known = {SEEN: ""}
    beyond.send(SEEN, None, alice.bare)
    await alice.take()
    place.set(SHARING_ENABLED, False)
    assert await alice.presences() == [(SEEN, "unavailable")]
    assert told(beyond) == [(State.OFFLINE, "")]
    alice.send("<presence><show>away</show></presence>")
    beyond.send(SEEN, None, alice.bare)
    assert (await alice.presences(), told(beyond)) == ([(alice.full, None)], [])
    assert composed_of(place.context, alice.user.person) == OFFLINE
    place.set(SHARING_ENABLED, True)
    assert await alice.presences() == [(SEEN, None)]
    assert told(beyond) == [(State.AWAY, "")]


async def test_nothing_is_told_while_the_engine_is_stopped(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    await presence_service.stop(place.context)
    alice.send("<presence><show>away</show></presence>")
    place.context.sources.put_phone(alice.user.person.user_id, "desk", TALKING)
    beyond.send(SEEN, None, alice.bare)
    assert (await alice.presences(), told(beyond)) == ([(alice.full, None)] * 2, [])  # their own devices are
    assert seen_by(place.context, alice.user.person, parse(MICROSOFT)).state is State.AVAILABLE
    beyond.known = {SEEN: ""}
    await presence_service.start(place.context)
    assert (SEEN, None) in await alice.presences()
    assert told(beyond) == [(State.ON_THE_PHONE, "")]


async def test_who_leaves_while_the_engine_is_stopped(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    await presence_service.stop(place.context)
    alice.leave()
    assert told(beyond) == []
    await presence_service.start(place.context)
    await place.settle()
    assert (State.OFFLINE, "") in told(beyond)


# -- what our people see --------------------------------------------------------------------------------


async def test_only_subscribers_are_shown_somebody_outside(place: Place, beyond: Beyond) -> None:
    alice, bob = await watched(beyond), await place.sign_in("bob")
    await beyond.ask(bob.user.person)  # they see bob, bob does not see them
    for client in (alice, bob):
        beyond.send(SEEN, None, client.bare, "<show>away</show>")
        beyond.send(SEEN, "probe", client.bare)
    assert [p.get("from") for p in await alice.take("presence")] == [SEEN]
    assert await bob.presences() == []
    beyond.send(SEEN, "unavailable", alice.bare)
    assert await alice.presences() == [(SEEN, "unavailable")]


async def test_errors_come_through(place: Place, beyond: Beyond) -> None:
    alice = await place.sign_in("alice")
    beyond.send(MICROSOFT, "error", alice.bare, "<error type='cancel'/>")
    assert await alice.presences() == [(MICROSOFT, "error")]


async def test_looks_and_directed_presence_never_leave(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    for to in (MICROSOFT, REMOTE, f"{MICROSOFT}/sip"):
        alice.send(f"<presence to='{to}'/>")
        alice.send(f"<presence type='probe' to='{to}'/>")
        alice.send(f"<presence type='unavailable' to='{to}'/>")
    await place.settle()
    alice.leave()
    assert beyond.routed == []
    assert not place.context.looked_at


async def test_a_new_session_is_shown_all_contacts(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    beyond.known = {SEEN: "", f"{REMOTE}/sip": ""}
    second = await place.sign_in("alice", "phone", presence=None)
    second.send("<presence/>")
    assert beyond.looked == [second.full]
    seen = await second.presences()
    assert (SEEN, None) in seen and (f"{REMOTE}/sip", None) not in seen  # not a contact of hers
    assert [p for p in await alice.presences() if p[0] == SEEN] == []
    second.send("<presence><show>away</show></presence>")
    assert beyond.looked == [second.full]


async def test_somebody_outside_is_moved_here(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    beyond.send(SEEN, None, alice.bare)
    await alice.take()
    (max_,) = await place.people("max")
    come_home(place.context, [max_.address_id])
    assert await alice.presences() == [(SEEN, "unavailable")]
    assert watchers_outside(alice.user) == []
    alice.send("<presence><show>away</show></presence>")
    assert beyond.told == []
    client = await place.sign_in("max")
    alice.send(f"<presence type='subscribe' to='{MICROSOFT}'/>")  # nobody has brought his list along
    await place.settle()
    await alice.take()
    client.send("<presence><show>away</show></presence>")
    assert await alice.presences() == [(client.full, None)]
    assert beyond.routed == []
    come_home(place.context, [])


# -- homes ----------------------------------------------------------------------------------------------


async def test_people_who_are_handed_over_are_shown_as_gone(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    place.context.sources.put_phone(alice.user.person.user_id, "desk", TALKING)
    beyond.take_told()
    await HomedPeople(place.context, place.users).hand_over(1)
    assert told(beyond) == [(State.OFFLINE_ON_THE_PHONE, "")]
    assert beyond.dropped == [alice.bare]
    assert len(place.context.sources) == 0


async def test_nobody_is_told_of_people_who_may_be_served_elsewhere(place: Place, beyond: Beyond) -> None:
    alice = await watched(beyond)
    place.context.sources.put_phone(alice.user.person.user_id, "desk", TALKING)
    beyond.take_told()
    HomedPeople(place.context, place.users).release(1)
    assert beyond.take_told() == []
    assert beyond.dropped == [alice.bare]
    assert len(place.context.sources) == 0


async def test_a_new_home_tells_once(nodes: Nodes) -> None:
    (desk,) = await nodes.person("ann", 1, "desk")
    first, second = (Beyond(node.place) for node in nodes.nodes.values())
    await desk.sign_in()
    person = first.place.context.homes.find(f"ann@{DOMAIN}")
    assert isinstance(person, Person)
    await first.ask(person)
    desk.give("<presence><show>away</show></presence>")
    assert told(first) == [(State.AWAY, "")]
    await nodes.kill(1)
    nodes.take_over(1, 2)
    assert told(second) == []
    await desk.sign_in()
    desk.give("<presence><show>away</show></presence>")
    await nodes.calm()
    assert told(second) == [(State.AVAILABLE, ""), (State.AWAY, "")]
    assert told(first) == []


async def test_presence_from_outside_finds_the_home(nodes: Nodes) -> None:
    (desk,) = await nodes.person("ann", 2, "desk")
    here, home = (Beyond(node.place) for node in nodes.nodes.values())
    await desk.sign_in()
    person = home.place.context.homes.find(f"ann@{DOMAIN}")
    assert isinstance(person, Person)
    desk.give(f"<presence type='subscribe' to='{MICROSOFT}'/>")
    await nodes.calm()
    assert home.take_routed() == [(f"ann@{DOMAIN}", MICROSOFT, "subscribe")]
    here.send(MICROSOFT, "subscribed", f"ann@{DOMAIN}")
    await nodes.advance(1)
    user = home.place.context.actors[person.address_id]
    assert user.outside is not None and user.outside.is_watched(parse(MICROSOFT))
    assert home.looked == [f"ann@{DOMAIN} {MICROSOFT}"]
