"""The Presence Engine stopped and started: nothing is shown, then all that was missed."""

from tests.unit.users.place import Place
from ubiety.users import presence_service


async def test_nothing_is_shown_while_it_is_stopped(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    await presence_service.stop(place.context)
    alice.send("<presence><show>away</show></presence>")
    assert await bob.presences() == []
    phone = await place.sign_in("bob", "phone", presence=None)
    phone.send("<presence/>")
    phone.send(f"<presence type='probe' to='{alice.bare}'/>")
    # A person's own devices are not the engine's affair.
    assert {address for address, _ in await phone.presences()} == {phone.full, bob.full}
    assert (await bob.presences()) == [(phone.full, None)]
    assert await alice.presences() == [(alice.full, None)]
    alice.send(f"<message to='{bob.bare}' type='chat'><body>still here</body></message>")
    assert "still here" in await bob.bodies()


async def test_what_was_missed_is_shown_at_the_start(place: Place) -> None:
    alice, bob, carol = await place.friends("alice", "bob", "carol")
    for client in (alice, bob, carol):
        await client.presences()
    await presence_service.stop(place.context)
    alice.send("<presence><show>dnd</show></presence>")
    carol.leave()
    phone = await place.sign_in("carol", "phone")
    assert await bob.presences() == []
    await presence_service.start(place.context)
    await place.settle()
    shown = {stanza.get("from"): stanza for stanza in await bob.take("presence")}
    show = shown[alice.full].find("show")
    assert show is not None and show.text == "dnd"
    assert shown[carol.full].get("type") == "unavailable"
    assert shown[phone.full].get("type") is None
    alice.send("<presence/>")
    assert await bob.presences() == [(alice.full, None)]


async def test_who_left_and_came_back_is_not_shown_as_gone(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    await bob.presences()
    await presence_service.stop(place.context)
    alice.send("<presence type='unavailable'/>")
    alice.send("<presence/>")
    await presence_service.start(place.context)
    await place.settle()
    shown = [entry for entry in await bob.presences() if entry[0] != bob.full]
    assert shown == [(alice.full, None)]


async def test_stopped_again_at_once_it_shows_nothing(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    await bob.presences()
    await presence_service.stop(place.context)
    alice.send("<presence><show>away</show></presence>")
    await presence_service.start(place.context)
    await presence_service.stop(place.context)
    await place.settle()
    assert await bob.presences() == []
