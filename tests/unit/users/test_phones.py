"""A person's phone, as those see it who see devices."""

from tests.unit.users.place import Client, Place
from ubiety.element import Element
from ubiety.presence import devices
from ubiety.presence.model import State, Statement
from ubiety.xmpp import ns

CALL, QUIET = Statement(State.ON_THE_PHONE), Statement(State.DND)


def put(place: Place, client: Client, said: Statement | None) -> None:
    """The phone of a client's person says something."""
    place.context.sources.put_phone(client.user.person.user_id, "line", said)


def texts(presence: Element) -> tuple[str | None, str | None]:
    """Return what a presence shows: show and status."""
    found = [presence.find(name, ns.CLIENT) for name in ("show", "status")]
    show, status = (element.text if element is not None else None for element in found)
    return show, status


async def shown(client: Client) -> dict[str, tuple[str | None, str | None]]:
    """Take all presence and return what each device shows."""
    return {p.get("from") or "": texts(p) for p in await client.take("presence")}


async def test_who_is_on_the_phone_is_shown_so_and_as_before_afterwards(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    alice.send(
        "<presence id='p' xml:lang='de'><priority>5</priority><status>At &lt;work&gt;</status>"
        "<c xmlns='http://jabber.org/protocol/caps' node='n' ver='v' hash='sha-1'/></presence>"
    )
    await bob.take()
    put(place, alice, CALL)
    (seen,) = await bob.take("presence")
    assert texts(seen) == ("dnd", "On the Phone")
    assert (seen.get("id"), seen.get("xml:lang")) == ("p", "de")
    priority = seen.find("priority", ns.CLIENT)
    assert priority is not None and priority.text == "5"
    assert seen.find("c", "http://jabber.org/protocol/caps") is not None
    assert devices.read(alice.session.presence_tail, 5, 0.0).state is State.ON_THE_PHONE  # SIP watchers
    phone = await place.sign_in("bob", "phone", presence=None)
    phone.send("<presence/>")  # whoever comes later sees it too
    assert (await shown(phone))[alice.full] == ("dnd", "On the Phone")
    await bob.take()
    put(place, alice, CALL)
    assert await bob.take("presence") == []  # the same is no news
    put(place, alice, None)
    assert await shown(bob) == {alice.full: (None, "At <work>")}


async def test_what_the_client_says_during_a_call_is_shown_after_it(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    put(place, alice, CALL)
    await bob.take()
    alice.send("<presence><show>away</show><status>tea</status></presence>")
    assert await shown(bob) == {alice.full: ("dnd", "On the Phone")}
    put(place, alice, None)
    assert await shown(bob) == {alice.full: ("away", "tea")}


async def test_do_not_disturb_of_one_device_hides_the_call_at_all(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    put(place, alice, CALL)
    phone = await place.sign_in("alice", "phone", presence=None)
    await bob.take()
    phone.send("<presence><show>dnd</show></presence>")
    assert await shown(bob) == {phone.full: ("dnd", None), alice.full: (None, None)}
    phone.leave()
    assert await shown(bob) == {phone.full: (None, None), alice.full: ("dnd", "On the Phone")}


async def test_a_phone_that_is_not_to_be_disturbed_keeps_the_words(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    alice.send("<presence><status>here</status></presence>")
    await bob.take()
    put(place, alice, QUIET)
    assert await shown(bob) == {alice.full: ("dnd", "here")}


async def test_signed_out_people_show_no_phone_to_those_who_see_devices(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    put(place, alice, CALL)
    alice.leave()
    await bob.take()
    put(place, alice, None)
    put(place, alice, CALL)
    assert await bob.take("presence") == []
