"""Presence: who is told what, and who is told nothing (RFC 6121 §4)."""

import pytest

from tests.unit.users.place import Place, condition
from ubiety.store import users as rows
from ubiety.users import availability
from ubiety.users.preferences import (
    AUTO_AUTHORIZE,
    SHARING_ENABLED,
    TEMPORARY_ENABLED,
    TEMPORARY_MAX,
    TEMPORARY_SECONDS,
)
from ubiety.users.stamps import parse_stamp
from ubiety.xmpp import ns


async def test_initial_presence_goes_to_watchers_and_own_devices(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    stranger = await place.sign_in("stranger")
    phone = await place.sign_in("alice", "phone", presence=None)
    phone.send("<presence><show>away</show><priority>5</priority></presence>")
    assert await bob.presences() == [(phone.full, None)]
    assert await alice.presences() == [(phone.full, None)]
    # §4.2.2: its own presence too; §4.3: whom it watches, and its person's other devices
    assert sorted(await phone.presences()) == sorted(
        [(phone.full, None), (alice.full, None), (bob.full, None)]
    )
    assert await stranger.presences() == []
    assert (phone.session.priority, phone.session.available) == (5, True)


async def test_later_presence_replaces_and_is_shown_to_who_comes_later(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    alice.send(
        "<presence xml:lang='de' id='p1'><show>dnd</show><status>Bitte nicht &amp; nie</status></presence>"
    )
    (seen,) = await bob.take("presence")
    status = seen.find("status")
    assert (seen.get("to"), seen.get("id"), seen.get("xml:lang")) == (bob.bare, "p1", "de")
    assert status is not None and status.text == "Bitte nicht & nie"
    phone = await place.sign_in("bob", "phone", presence=None)
    phone.send("<presence/>")
    shown = [p for p in await phone.take("presence") if p.get("from") == alice.full]
    assert [show.text for p in shown if (show := p.find("show")) is not None] == ["dnd"]


async def test_unavailable_presence_carries_its_words(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    alice.send("<presence type='unavailable'><status>gone home</status></presence>")
    (seen,) = await bob.take("presence")
    status = seen.find("status")
    assert seen.get("type") == "unavailable" and status is not None and status.text == "gone home"
    alice.send("<presence type='unavailable'/>")
    assert await bob.presences() == []  # once is enough


async def test_session_that_ends_shows_unavailable(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    place.users.disconnect(alice.session)
    assert await bob.presences() == [(alice.full, "unavailable")]


async def test_session_that_can_be_resumed_stays_available(place: Place) -> None:
    _, bob = await place.friends("alice", "bob")
    phone = await place.sign_in("alice", "phone", managed=True)
    await bob.take()
    place.users.disconnect(phone.session)
    assert await bob.presences() == []
    place.clock.advance(301)
    place.users.expire()
    assert await bob.presences() == [(phone.full, "unavailable")]


async def test_unavailable_client_gets_no_presence(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    bob.send("<presence type='unavailable'/>")
    await bob.take()
    alice.send("<presence><show>away</show></presence>")
    assert await bob.presences() == []


async def test_directed_presence_is_taken_back_at_the_end(place: Place) -> None:
    alice, stranger = await place.sign_in("alice"), await place.sign_in("stranger")
    alice.send(f"<presence to='{stranger.full}'><show>chat</show></presence>")
    assert await stranger.presences() == [(alice.full, None)]
    alice.send("<presence><show>away</show></presence>")
    assert await stranger.presences() == []
    alice.leave()
    assert await stranger.presences() == [(alice.full, "unavailable")]


async def test_directed_presence_that_was_taken_back_is_not_taken_back_again(place: Place) -> None:
    alice, stranger = await place.sign_in("alice"), await place.sign_in("stranger")
    alice.send(f"<presence to='{stranger.bare}'/>")
    alice.send(f"<presence type='probe' to='{stranger.bare}'/>")  # changes nothing
    alice.send(f"<presence to='{stranger.bare}' type='unavailable'/>")
    assert await stranger.presences() == [(alice.full, None), (alice.full, "unavailable")]
    alice.leave()
    assert await stranger.presences() == []


async def test_probe_does_not_make_directed_presence_forgotten(place: Place) -> None:
    alice, stranger = await place.sign_in("alice"), await place.sign_in("stranger")
    alice.send(f"<presence to='{stranger.bare}'/>")
    alice.send(f"<presence type='probe' to='{stranger.bare}'/>")
    await stranger.take()
    alice.leave()
    assert await stranger.presences() == [(alice.full, "unavailable")]


async def test_directed_presence_has_a_bound(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "MAX_DIRECTED", 3)
    alice = await place.sign_in("alice")
    for room in range(4):
        alice.send(f"<presence to='room{room}@rooms.example.com/alice' id='p{room}'/>")
    (refused,) = [p for p in await alice.take("presence") if p.get("id") == "p3"]
    assert refused.get("from") == "room3@rooms.example.com/alice"
    assert condition(refused) == "resource-constraint"
    assert len(alice.session.directed or ()) == 3
    alice.send("<presence to='room1@rooms.example.com/alice'/>")  # is one of the three
    alice.send("<presence to='room0@rooms.example.com/alice' type='unavailable'/>")
    alice.send("<presence to='room3@rooms.example.com/alice'/>")
    assert "error" not in [type_ for _, type_ in await alice.presences()]
    assert sorted(str(to) for to in alice.session.directed or ()) == [
        f"room{room}@rooms.example.com/alice" for room in (1, 2, 3)
    ]


async def test_directed_presence_that_is_answered_with_an_error_is_forgotten(place: Place) -> None:
    alice, stranger = await place.sign_in("alice"), await place.sign_in("stranger")
    alice.send(f"<presence to='{stranger.full}'/>")
    stranger.send(
        f"<presence to='{alice.full}' type='error'><error type='cancel'>"
        "<conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
    )
    assert (stranger.full, "error") in await alice.presences()
    assert not alice.session.directed


async def test_presence_to_one_device(place: Place) -> None:
    alice = await place.sign_in("alice")
    desk, phone = await place.sign_in("bob", "desk"), await place.sign_in("bob", "phone")
    await desk.take()
    alice.send(f"<presence to='{phone.full}'/>")
    assert await phone.presences() == [(alice.full, None)]
    assert await desk.presences() == []


async def test_bad_priorities_count_as_none(place: Place) -> None:
    alice = await place.sign_in("alice")
    for text, expected in (
        ("127", 127),
        ("-128", -128),
        ("+3", 3),
        (" 7 ", 7),
        ("128", 0),
        ("x", 0),
        ("", 0),
    ):
        alice.send(f"<presence><priority>{text}</priority></presence>")
        assert alice.session.priority == expected, text


async def test_presence_of_an_unknown_kind_needs_an_address(place: Place) -> None:
    alice = await place.sign_in("alice")
    alice.send("<presence type='subscribe' id='x'/>")
    (answer,) = await alice.take("presence")
    assert answer.get("type") == "error"


async def test_sharing_can_be_turned_off(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    place.set(SHARING_ENABLED, False)
    assert await bob.presences() == [(alice.full, "unavailable")]
    assert await alice.presences() == [(bob.full, "unavailable")]
    alice.send("<presence><show>away</show></presence>")
    alice.send(f"<presence to='{bob.full}'/>")
    assert await bob.presences() == []
    assert await alice.presences() == [(alice.full, None)]  # facts §4.1: people see only their own
    phone = await place.sign_in("alice", "phone", presence=None)
    phone.send("<presence/>")
    assert sorted(await phone.presences()) == sorted([(phone.full, None), (alice.full, None)])


# -- looking up people who are not contacts ----------------------------------------------------------------


async def test_probe_by_a_stranger_makes_a_temporary_subscription(place: Place) -> None:
    alice, stranger = await place.sign_in("alice"), await place.sign_in("stranger")
    probe = f"<presence type='probe' to='{alice.bare}'/>"
    stranger.send(probe)
    assert await stranger.presences() == [(alice.full, None)]
    assert place.context.counters.temporary_subscriptions == 1
    alice.send("<presence><show>away</show></presence>")
    assert await stranger.presences() == [(alice.full, None)]
    place.clock.advance(place.settings.get(TEMPORARY_SECONDS))
    place.users.expire()
    assert await stranger.presences() == [(alice.full, "unavailable")]
    alice.send("<presence/>")
    assert await stranger.presences() == []
    counters = place.context.counters
    assert (counters.temporary_subscriptions, counters.temporary_removed) == (0, 1)


async def test_temporary_subscriptions_are_bounded_and_can_be_turned_off(place: Place) -> None:
    alice, one, other = [await place.sign_in(name) for name in ("alice", "one", "other")]
    place.set(TEMPORARY_MAX, 1)
    for client in (one, other):
        client.send(f"<presence type='probe' to='{alice.bare}'/>")
    assert [len(await client.presences()) for client in (one, other)] == [1, 0]
    place.set(TEMPORARY_MAX, 0)
    for setting in (TEMPORARY_ENABLED, AUTO_AUTHORIZE):
        place.set(setting, False)
        other.send(f"<presence type='probe' to='{alice.bare}'/>")
        assert await other.presences() == []
        place.set(setting, True)


async def test_probe_of_nobody_and_of_one_who_was_never_there(place: Place) -> None:
    alice = await place.sign_in("alice")
    await place.people("bob")
    alice.send("<presence type='probe' to='nobody@example.org'/>")
    assert await alice.take("presence") == []
    alice.send("<presence type='probe' to='bob@example.org'/>")
    (seen,) = await alice.take("presence")
    assert (seen.get("from"), seen.get("type"), seen.children) == ("bob@example.org", "unavailable", [])


async def test_probe_of_a_contact_who_has_left_tells_when_and_with_which_words(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    phone = await place.sign_in("alice", "phone")
    stranger = await place.sign_in("stranger")
    left = place.clock.now()
    bob.send("<presence type='unavailable'><status>R &amp; R</status></presence>")
    bob.leave()
    person = bob.session.address_id
    for is_reloaded in (False, True):
        place.clock.advance(60)
        await place.settle()
        if is_reloaded:  # what is known comes from the database
            await place.users.note_seen()
            place.users.forget(place.context.actors[person])
        for client in (alice, phone, stranger):
            client.edge.written.clear()
        alice.send(f"<presence type='probe' to='{bob.bare}'/>")
        (seen,) = await alice.take("presence")
        status, delay = seen.find("status"), seen.find("delay", ns.DELAY)
        assert (seen.get("from"), seen.get("to"), seen.get("type")) == (bob.bare, alice.full, "unavailable")
        assert status is not None and status.text == "R & R"
        assert delay is not None and parse_stamp(delay.get("stamp") or "") == left
        assert await phone.take("presence") == []  # it did not ask
    place.set(TEMPORARY_ENABLED, False)
    stranger.send(f"<presence type='probe' to='{bob.bare}'/>")
    assert await stranger.take("presence") == []  # who may not see them learns nothing
    row = await place.database.read(rows.load, place.context.actors[person].person.user_id)
    assert row is not None and row.last_status == "R & R"


async def test_words_of_an_earlier_farewell_are_not_those_of_the_last(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    bob.send("<presence type='unavailable'><status>lunch</status></presence>")
    bob.send("<presence/>")
    place.users.disconnect(bob.session)  # without a word
    await alice.take()
    alice.send(f"<presence type='probe' to='{bob.bare}'/>")
    (seen,) = await alice.take("presence")
    assert seen.find("status") is None and seen.find("delay", ns.DELAY) is not None
    phone = await place.sign_in("bob", "phone")
    phone.send(f"<presence type='unavailable'><status>{'x' * 9000}</status></presence>")
    assert phone.user.left_with == b""  # too much to be kept
