"""Copies to a person's other devices (XEP-0280)."""

import pytest

from tests.unit.users.place import Client, Place, condition
from ubiety.element import Element
from ubiety.stanza import Stanza
from ubiety.users.carbons import is_eligible
from ubiety.users.preferences import MULTI_DEVICE
from ubiety.xmpp import ns

ENABLE, DISABLE = f"<enable xmlns='{ns.CARBONS}'/>", f"<disable xmlns='{ns.CARBONS}'/>"


async def with_carbons(place: Place, name: str, *resources: str) -> list[Client]:
    """Somebody's clients, all of which want copies."""
    clients = [await place.sign_in(name, resource) for resource in resources]
    for client in clients:
        assert (await client.ask("set", ENABLE)).get("type") == "result"
        client.edge.written.clear()
    return clients


def copies(stanzas: list[Element]) -> list[tuple[str, str | None, str | None, str]]:
    """What the copies among stanzas hold: direction, sender, recipient, body."""
    found = []
    for stanza in stanzas:
        for direction in ("sent", "received"):
            wrapper = stanza.find(direction, ns.CARBONS)
            if wrapper is None:
                continue
            forwarded = wrapper.find("forwarded", ns.FORWARD)
            assert forwarded is not None and stanza.get("type") == "chat"
            message = forwarded.find("message", ns.CLIENT)
            assert message is not None
            body = message.find("body")
            text = body.text if body is not None else ""
            found.append((direction, message.get("from"), message.get("to"), text))
            assert stanza.get("from") == (stanza.get("to") or "").split("/")[0]
    return found


async def test_sent_and_received(place: Place) -> None:
    desk, phone = await with_carbons(place, "alice", "desk", "phone")
    bob = await place.sign_in("bob")
    desk.send(f"<message type='chat' to='{bob.full}'><body>hi</body></message>")
    assert copies(await phone.take()) == [("sent", desk.full, bob.full, "hi")]
    assert await desk.take("message") == []
    bob.send(f"<message type='chat' to='{desk.full}'><body>yes?</body></message>")
    assert copies(await phone.take()) == [("received", bob.full, desk.full, "yes?")]
    assert await desk.bodies() == ["yes?"]


async def test_device_that_gets_the_message_gets_no_copy(place: Place) -> None:
    desk, phone = await with_carbons(place, "alice", "desk", "phone")
    bob = await place.sign_in("bob")
    bob.send(f"<message type='chat' to='{desk.bare}'><body>all of you</body></message>")
    for client in (desk, phone):
        got = await client.take("message")
        assert copies(got) == [] and len(got) == 1


async def test_negative_priority_gets_a_copy(place: Place) -> None:
    desk, quiet = await with_carbons(place, "alice", "desk", "quiet")
    bob = await place.sign_in("bob")
    quiet.send("<presence><priority>-1</priority></presence>")
    await quiet.take()
    bob.send(f"<message type='chat' to='{desk.bare}'><body>x</body></message>")
    assert copies(await quiet.take()) == [("received", bob.full, desk.bare, "x")]


async def test_copies_can_be_turned_off(place: Place) -> None:
    desk, phone = await with_carbons(place, "alice", "desk", "phone")
    bob = await place.sign_in("bob")
    for _ in range(2):
        assert (await phone.ask("set", DISABLE)).get("type") == "result"
    bob.send(f"<message type='chat' to='{desk.full}'><body>x</body></message>")
    assert await phone.take("message") == []
    assert desk.user.carbon_sessions == 1
    desk.leave()
    assert phone.user.carbon_sessions == 0
    place.set(MULTI_DEVICE, False)
    assert condition(await phone.ask("set", ENABLE)) == "not-allowed"


async def test_private_messages_and_refused_ones_are_not_copied(place: Place) -> None:
    desk, phone = await with_carbons(place, "alice", "desk", "phone")
    bob = await place.sign_in("bob")
    private = f"<private xmlns='{ns.CARBONS}'/>"
    desk.send(f"<message type='chat' to='{bob.full}'><body>x</body>{private}</message>")
    bob.send(f"<message type='chat' to='{desk.full}'><body>x</body>{private}</message>")
    desk.send("<message type='chat' to='nobody@example.org'><body>x</body></message>")
    assert await phone.take("message") == []


async def test_message_to_oneself_comes_once(place: Place) -> None:
    desk, phone = await with_carbons(place, "alice", "desk", "phone")
    desk.send(f"<message type='chat' to='{desk.bare}'><body>note</body></message>")
    for client in (desk, phone):
        got = await client.take("message")
        assert len(got) == 1 and copies(got) == []


BODY, RECEIPT = (ns.CLIENT, "body"), (ns.DELIVERY_RECEIPTS, "received")
STATE, MARKER = (ns.CHAT_STATES, "composing"), (ns.CHAT_MARKERS, "displayed")


@pytest.mark.parametrize(
    ("type_", "children", "expected"),
    [
        ("chat", (), True),
        ("chat", (BODY,), True),
        (None, (BODY,), True),
        ("normal", (BODY,), True),
        ("normal", (), False),
        (None, (STATE,), True),
        (None, (RECEIPT,), True),
        (None, (MARKER,), True),
        ("headline", (BODY,), False),
        ("groupchat", (BODY,), False),
        ("error", (BODY,), False),
        ("chat", (BODY, (ns.CARBONS, "private")), False),
        ("chat", (BODY, (ns.HINTS, "no-copy")), False),
    ],
)
def test_what_is_copied(type_: str | None, children: tuple[tuple[str, str], ...], expected: bool) -> None:
    assert is_eligible(Stanza("message", type=type_, children=children)) is expected  # XEP-0280 §6.1
