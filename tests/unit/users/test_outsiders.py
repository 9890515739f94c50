"""Subscriptions between our people and people outside: rows, prompts, roster pushes, what goes out."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.users.beyond import MICROSOFT, REMOTE, Beyond, befriend
from tests.unit.users.place import DOMAIN, Client, Place, condition, open_place, open_place_on
from tests.unit.users.test_subscribing import interested, kinds, pushed, send, side
from ubiety.conditions import StanzaError
from ubiety.jid import parse
from ubiety.users import policy_changes
from ubiety.users.outsiders import Standing, watchers_outside
from ubiety.users.policy_changes import ALLOW, BLOCK
from ubiety.users.preferences import AUTO_AUTHORIZE, MAX_CONTACTS, MAX_WATCHERS
from ubiety.xmpp import ns


@pytest.fixture(params=["sqlite", "postgresql"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """People on both databases, who are asked, unless a test says otherwise."""
    is_sqlite = request.param == "sqlite"
    opened = open_place(tmp_path) if is_sqlite else open_place_on(request.getfixturevalue("postgres_url"))
    opened.set(AUTO_AUTHORIZE, False)
    yield opened
    await opened.close()


@pytest.fixture
def beyond(place: Place) -> Beyond:
    """Somebody outside in our domain and somebody in another one."""
    return Beyond(place)


async def remove(client: Client, contact: str) -> str | None:
    """Take a contact off the list; return the type of the answer."""
    item = f"<item jid='{contact}' subscription='remove'/>"
    answer = await client.ask("set", f"<query xmlns='{ns.ROSTER}'>{item}</query>")
    await client.place.settle()
    return answer.get("type")


# -- somebody outside asks to see one of our people -------------------------------------------------


async def test_nobody_is_asked_where_everybody_may_see_everybody(place: Place, beyond: Beyond) -> None:
    place.set(AUTO_AUTHORIZE, True)
    alice = await interested(place, "alice")
    assert await beyond.ask(alice.user.person) is Standing.GRANTED
    got = await alice.take()
    assert pushed(got) == [(MICROSOFT, "from", None)] and kinds(got) == []
    assert await side(alice, MICROSOFT) == "from"
    assert [one.bare for one in watchers_outside(alice.user)] == [MICROSOFT]
    assert await beyond.ask(alice.user.person) is Standing.GRANTED
    assert await alice.take() == []
    assert beyond.take_routed() == []  # who asked by the call has had the answer by return


async def test_a_person_is_asked_and_accepts(place: Place, beyond: Beyond) -> None:
    alice = await interested(place, "alice")
    assert await beyond.ask(alice.user.person) is Standing.PENDING
    got = await alice.take()
    assert kinds(got) == [(MICROSOFT, "subscribe")] and pushed(got) == []
    assert await side(alice, MICROSOFT) == "none pending hidden"
    assert watchers_outside(alice.user) == []
    assert await beyond.ask(alice.user.person) is Standing.PENDING
    assert await alice.take() == []  # asked once
    await send(alice, "subscribed", MICROSOFT)
    assert pushed(await alice.take()) == [(MICROSOFT, "from", None)]
    assert beyond.take_routed() == [(alice.bare, MICROSOFT, "subscribed")]
    assert await beyond.ask(alice.user.person) is Standing.GRANTED


async def test_a_person_who_is_away_is_asked_later_and_refuses(place: Place, beyond: Beyond) -> None:
    (alice_person,) = await place.people("alice")
    assert await beyond.ask(alice_person, sender=REMOTE) is Standing.PENDING
    place.users.forget(place.context.actors[alice_person.address_id])
    alice = await place.sign_in("alice", presence=None)
    alice.send("<presence/>")
    assert (REMOTE, "subscribe") in kinds(await alice.take())
    await send(alice, "unsubscribed", REMOTE)
    assert beyond.take_routed() == [(alice.bare, REMOTE, "unsubscribed")]
    assert await side(alice, REMOTE) == "nothing"
    assert await beyond.ask(alice.user.person, sender=REMOTE) is Standing.PENDING  # they may ask again


async def test_whom_the_person_has_allowed_before_is_let_in(place: Place, beyond: Beyond) -> None:
    alice = await interested(place, "alice")
    await policy_changes.put(
        place.context, alice.user.person, ALLOW, [parse(MICROSOFT), parse("contoso.example")]
    )
    assert await beyond.ask(alice.user.person) is Standing.GRANTED
    assert await beyond.ask(alice.user.person, sender=REMOTE) is Standing.GRANTED
    assert kinds(await alice.take()) == []


async def test_the_policy_is_the_one_that_holds_between_our_own_people(place: Place) -> None:
    alice, bob = await interested(place, "alice"), await interested(place, "bob")
    await policy_changes.put(place.context, bob.user.person, ALLOW, [parse(alice.bare)])
    await send(alice, "subscribe", bob.bare)
    assert (await side(alice, bob.bare), await side(bob, alice.bare)) == ("to", "from")
    assert kinds(await bob.take()) == []
    await policy_changes.put(place.context, bob.user.person, BLOCK, [parse(alice.bare)])
    assert bob.user.policy is not None and not bob.user.policy.admits(parse(alice.bare))


async def test_approval_in_advance_holds_for_people_outside(place: Place, beyond: Beyond) -> None:
    alice = await interested(place, "alice")
    await send(alice, "subscribed", MICROSOFT)
    assert beyond.take_routed() == []  # RFC 6121 A.2.3: nobody has asked
    assert await beyond.ask(alice.user.person) is Standing.GRANTED
    assert await side(alice, MICROSOFT) == "from approved"


async def test_who_is_blocked_is_denied_without_a_trace(place: Place, beyond: Beyond) -> None:
    place.set(AUTO_AUTHORIZE, True)
    alice = await interested(place, "alice")
    await policy_changes.put(place.context, alice.user.person, BLOCK, [parse(MICROSOFT)])
    assert await beyond.ask(alice.user.person) is Standing.DENIED
    assert await alice.take() == [] and await side(alice, MICROSOFT) == "nothing"
    assert await beyond.ask(alice.user.person, sender=REMOTE) is Standing.GRANTED
    await policy_changes.put(place.context, alice.user.person, BLOCK, [parse("contoso.example")])
    assert await beyond.ask(alice.user.person, sender=REMOTE) is Standing.DENIED
    assert await side(alice, REMOTE) == "from"
    assert await beyond.ask(alice.user.person, "unsubscribe", REMOTE) is Standing.ENDED
    assert kinds(await alice.take()) == [] and await side(alice, REMOTE) == "nothing"


async def test_not_more_watchers_than_are_allowed(place: Place, beyond: Beyond) -> None:
    place.set(AUTO_AUTHORIZE, True)
    place.set(MAX_WATCHERS, 1)
    alice = await interested(place, "alice")
    assert await beyond.ask(alice.user.person) is Standing.GRANTED
    with pytest.raises(StanzaError) as refused:
        await beyond.ask(alice.user.person, sender=REMOTE)
    assert refused.value.condition == "resource-constraint"
    assert await beyond.ask(alice.user.person) is Standing.GRANTED
    assert await side(alice, REMOTE) == "nothing"


async def test_who_has_a_full_contact_list_cannot_be_watched_by_more(place: Place, beyond: Beyond) -> None:
    place.set(AUTO_AUTHORIZE, True)
    place.set(MAX_CONTACTS, 1)
    alice = await interested(place, "alice")
    await send(alice, "subscribe", REMOTE)
    with pytest.raises(StanzaError):
        await beyond.ask(alice.user.person)


async def test_a_watcher_ends_the_subscription(place: Place, beyond: Beyond) -> None:
    place.set(AUTO_AUTHORIZE, True)
    alice = await interested(place, "alice")
    await beyond.ask(alice.user.person)
    await alice.take()
    assert await beyond.ask(alice.user.person, "unsubscribe") is Standing.ENDED
    got = await alice.take()
    assert pushed(got) == [(MICROSOFT, "none", None), (MICROSOFT, "remove", None)]
    assert kinds(got) == [(MICROSOFT, "unsubscribe")]
    assert watchers_outside(alice.user) == []
    assert await beyond.ask(alice.user.person, "unsubscribe", "stranger@contoso.example") is Standing.ENDED


async def test_a_request_may_come_as_a_stanza_and_is_answered_by_one(place: Place, beyond: Beyond) -> None:
    place.set(AUTO_AUTHORIZE, True)
    alice = await interested(place, "alice")
    beyond.send(MICROSOFT, "subscribe", alice.full)
    await place.settle()
    assert beyond.take_routed() == [(alice.bare, MICROSOFT, "subscribed")]
    assert await side(alice, MICROSOFT) == "from"
    place.set(AUTO_AUTHORIZE, False)
    beyond.send(REMOTE, "subscribe", alice.bare)
    assert (REMOTE, "subscribe") in kinds(await alice.take())
    assert beyond.take_routed() == []
    beyond.people.discard("nobody@contoso.example")
    beyond.send("nobody@contoso.example", "subscribe", alice.bare)
    assert await alice.take() == []


async def test_a_person_who_was_deleted_meanwhile(place: Place, beyond: Beyond) -> None:
    (alice,) = await place.people("alice")
    await place.database.write(lambda conn: conn.exec_driver_sql("DELETE FROM users"))
    with pytest.raises(LookupError):
        await beyond.ask(alice)


# -- one of our people asks to see somebody outside --------------------------------------------------


@pytest.mark.parametrize("contact", [MICROSOFT, REMOTE])
async def test_ask_outside_and_be_accepted(place: Place, beyond: Beyond, contact: str) -> None:
    alice = await interested(place, "alice")
    await send(alice, "subscribe", f"{contact}/device")
    assert pushed(await alice.take()) == [(contact, "none", "subscribe")]
    assert beyond.take_routed() == [(alice.bare, contact, "subscribe")]
    beyond.known = {f"{contact}/sip": "<show>away</show>"}
    beyond.send(contact, "subscribed", alice.bare)
    got = await alice.take()
    assert pushed(got) == [(contact, "to", None)]
    assert sorted(kinds(got), key=str) == [(contact, "subscribed"), (f"{contact}/sip", None)]
    assert beyond.looked == [f"{alice.bare} {contact}"]
    assert await side(alice, contact) == "to"
    assert await beyond.ask(alice.user.person, "subscribed", contact) is Standing.ENDED  # they are no watcher
    assert await alice.take() == []


async def test_a_stranger_in_our_own_domain_cannot_be_asked(place: Place, beyond: Beyond) -> None:
    alice = await interested(place, "alice")
    alice.send(f"<presence id='1' type='subscribe' to='nobody@{DOMAIN}'/>")
    (error,) = await alice.take("presence")
    assert condition(error) == "item-not-found"
    assert beyond.take_routed() == []


async def test_ask_outside_and_be_refused(place: Place, beyond: Beyond) -> None:
    alice = await interested(place, "alice")
    await send(alice, "subscribe", MICROSOFT)
    await alice.take()
    assert await beyond.ask(alice.user.person, "unsubscribed") is Standing.ENDED
    got = await alice.take()
    assert pushed(got) == [(MICROSOFT, "none", None)] and kinds(got) == [(MICROSOFT, "unsubscribed")]
    beyond.send(f"{MICROSOFT}/sip", None, alice.bare)
    assert await alice.take() == []


async def test_nobody_is_shown_who_was_not_asked_for(place: Place, beyond: Beyond) -> None:
    alice = await interested(place, "alice")
    assert await beyond.ask(alice.user.person, "subscribed") is Standing.ENDED
    assert await side(alice, MICROSOFT) == "nothing"
    beyond.send(f"{MICROSOFT}/sip", None, alice.bare)
    assert await alice.take() == []


async def test_an_accepted_subscription_ends_from_outside(place: Place, beyond: Beyond) -> None:
    alice = await interested(place, "alice")
    await befriend(beyond, alice)
    beyond.send(f"{MICROSOFT}/sip", None, alice.bare)
    await alice.take()
    await beyond.ask(alice.user.person, "unsubscribed")
    got = await alice.take()
    assert pushed(got) == [(MICROSOFT, "from", None)]
    assert sorted(kinds(got), key=str) == [(MICROSOFT, "unsubscribed"), (f"{MICROSOFT}/sip", "unavailable")]


async def test_our_person_ends_it(place: Place, beyond: Beyond) -> None:
    alice = await interested(place, "alice")
    await befriend(beyond, alice)
    beyond.send(f"{MICROSOFT}/sip", None, alice.bare)
    await alice.take()
    await send(alice, "unsubscribe", MICROSOFT)
    got = await alice.take()
    assert pushed(got) == [(MICROSOFT, "from", None)] and kinds(got) == [(f"{MICROSOFT}/sip", "unavailable")]
    await send(alice, "unsubscribed", MICROSOFT)
    assert pushed(await alice.take()) == [(MICROSOFT, "none", None)]
    assert watchers_outside(alice.user) == []
    assert beyond.take_routed() == [
        (alice.bare, MICROSOFT, "unsubscribe"),
        (alice.bare, MICROSOFT, "unsubscribed"),
    ]


async def test_the_way_out_refuses_a_request(place: Place, beyond: Beyond) -> None:
    alice = await interested(place, "alice")
    beyond.refuses = True
    alice.send(f"<presence id='1' type='subscribe' to='{MICROSOFT}'/>")
    (error,) = await alice.take("presence")
    assert (condition(error), error.get("from")) == ("remote-server-timeout", MICROSOFT)


async def test_nothing_is_asked_of_somebody_who_is_blocked(place: Place, beyond: Beyond) -> None:
    alice = await interested(place, "alice")
    await policy_changes.put(place.context, alice.user.person, BLOCK, [parse(MICROSOFT)])
    await send(alice, "subscribe", MICROSOFT)
    assert beyond.take_routed() == []
    assert await beyond.ask(alice.user.person, "subscribed") is Standing.ENDED
    assert await side(alice, MICROSOFT) == "none ask"


async def test_removing_a_contact_ends_both_directions(place: Place, beyond: Beyond) -> None:
    alice = await interested(place, "alice")
    await befriend(beyond, alice)
    beyond.send(f"{MICROSOFT}/sip", None, alice.bare)
    await alice.take()
    assert await remove(alice, MICROSOFT) == "result"
    got = await alice.take()
    assert pushed(got) == [(MICROSOFT, "remove", None)]
    assert kinds(got) == [(f"{MICROSOFT}/sip", "unavailable")]
    assert beyond.take_routed() == [
        (alice.bare, MICROSOFT, "unsubscribe"),
        (alice.bare, MICROSOFT, "unsubscribed"),
    ]
    assert await side(alice, MICROSOFT) == "nothing"
    assert watchers_outside(alice.user) == []


async def test_removing_a_contact_who_has_asked_or_was_asked(place: Place, beyond: Beyond) -> None:
    alice = await interested(place, "alice")
    await send(alice, "subscribe", MICROSOFT)
    assert await beyond.ask(alice.user.person) is Standing.PENDING
    beyond.take_routed()
    assert await remove(alice, MICROSOFT) == "result"
    assert beyond.take_routed() == [
        (alice.bare, MICROSOFT, "unsubscribe"),
        (alice.bare, MICROSOFT, "unsubscribed"),
    ]
    assert await remove(alice, MICROSOFT) == "error"
    assert beyond.take_routed() == []


async def test_relations_outlive_the_actor(place: Place, beyond: Beyond) -> None:
    alice = await interested(place, "alice")
    await befriend(beyond, alice)
    person = alice.user.person
    alice.leave()
    place.users.forget(place.context.actors[person.address_id])
    assert beyond.dropped == [alice.bare]
    user = await place.users.load(person)
    assert user.outside is not None
    assert list(user.outside.watched_jids()) == watchers_outside(user) == [parse(MICROSOFT)]


async def test_who_has_no_contacts_outside_has_nothing_to_do_with_it(place: Place, beyond: Beyond) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    place.set(AUTO_AUTHORIZE, True)
    await send(alice, "subscribe", bob.bare)
    assert alice.user.outside is None and bob.user.outside is None
    alice.leave()
    place.users.forget(alice.user)
    assert (
        await place.users.load(alice.place.context.homes.find(alice.bare) or bob.user.person)
    ).outside is None
    assert beyond.told == [] and beyond.dropped == [] and beyond.looked == []


async def test_two_answers_at_once_leave_what_the_database_holds(place: Place, beyond: Beyond) -> None:
    alice = await interested(place, "alice")
    await send(alice, "subscribe", MICROSOFT)
    await alice.take()
    beyond.send(MICROSOFT, "subscribed", alice.bare)
    alice.send(f"<presence type='unsubscribe' to='{MICROSOFT}'/>")
    await place.settle()
    stored = await side(alice, MICROSOFT)
    assert alice.user.outside is not None
    assert bool(alice.user.outside.watched) == (stored == "to")
