"""Messages: RFC 6121 §8.5 from client to client, settings, forking, what only the server may say."""

import pytest

from tests.unit.users.place import Client, Place, condition
from ubiety.stanza import Stanza
from ubiety.users.messages import origin_id
from ubiety.users.preferences import IM_ENABLED, MULTI_DEVICE, OFFLINE_SUPPRESSED
from ubiety.xmpp import ns


def message(to: str, body: str = "hi", kind: str | None = "chat", extra: str = "") -> str:
    """A message."""
    type_ = f" type='{kind}'" if kind else ""
    return f"<message id='m1' to='{to}'{type_}><body>{body}</body>{extra}</message>"


async def refusal(client: Client) -> str | None:
    """The condition of the error that a client got, if it got one."""
    errors = [m for m in await client.take("message") if m.get("type") == "error"]
    return condition(errors[0]) if errors else None


async def test_what_only_the_server_may_say_is_taken_out(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    forged = (
        f"<stanza-id xmlns='{ns.STANZA_ID}' by='{bob.bare}' id='666'/>"
        f"<delay xmlns='{ns.DELAY}' from='example.org' stamp='2001-01-01T00:00:00Z'/>"
        f"<sent xmlns='{ns.CARBONS}'/>"
        f"<stanza-id xmlns='{ns.STANZA_ID}' by='elsewhere.example' id='1'/>"
    )
    alice.send(message(bob.bare, extra=forged))
    (got,) = await bob.take("message")
    ids = {e.get("by"): e.get("id") for e in got.findall("stanza-id", ns.STANZA_ID)}
    assert set(ids) == {bob.bare, "elsewhere.example"} and ids[bob.bare] != "666"
    assert got.find("delay", ns.DELAY) is None and got.find("sent", ns.CARBONS) is None


async def test_numbers_grow(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    for _ in range(3):
        alice.send(message(bob.bare))
    got = [m.find("stanza-id", ns.STANZA_ID) for m in await bob.take("message")]
    numbers = [int(e.get("id") or "") for e in got if e is not None]
    assert len(numbers) == 3 and numbers == sorted(set(numbers))


async def test_bare_and_full_addresses(place: Place) -> None:
    alice = await place.sign_in("alice")
    desk, phone = await place.sign_in("bob", "desk"), await place.sign_in("bob", "phone")
    robot = await place.sign_in("bob", "robot", presence="<presence><priority>-5</priority></presence>")
    silent = await place.sign_in("bob", "silent", presence=None)
    clients = (desk, phone, robot, silent)
    expected = {
        "bob@example.org": ["desk", "phone"],
        "bob@example.org/phone": ["phone"],
        "bob@example.org/robot": ["robot"],
        "bob@example.org/silent": ["silent"],
        "bob@example.org/gone": ["desk", "phone"],
    }
    for kind in ("chat", "normal", None):
        for to, names in expected.items():
            alice.send(message(to, kind=kind))
            got = [c.session.jid.resource for c in clients if await c.bodies()]
            assert got == names, (kind, to)
    assert await refusal(alice) is None


async def test_headlines_are_for_who_is_there(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    await place.people("carol")
    alice.send(message(bob.bare, kind="headline"))
    assert await bob.bodies() == ["hi"]
    for to in ("carol@example.org", "bob@example.org/gone"):
        alice.send(message(to, kind="headline"))
    assert await bob.bodies() == [] and await refusal(alice) is None
    carol = await place.sign_in("carol", presence=None)
    carol.send("<presence/>")
    assert await carol.bodies() == []


@pytest.mark.parametrize("to", ["bob@example.org", "bob@example.org/gone"])
async def test_group_chat_to_a_person_is_refused(place: Place, to: str) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    alice.send(message(to, kind="groupchat"))
    assert await refusal(alice) == "service-unavailable"
    assert await bob.bodies() == []


async def test_errors_go_to_one_device_and_are_never_answered(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    alice.send(message(bob.full, kind="error"))
    assert await bob.bodies() == ["hi"]
    for to in (bob.bare, "bob@example.org/gone", "nobody@example.org"):
        alice.send(message(to, kind="error"))
    assert await bob.bodies() == [] and await alice.take("message") == []


async def test_nobody_and_elsewhere(place: Place) -> None:
    alice = await place.sign_in("alice")
    for to, expected in (
        ("nobody@example.org", "service-unavailable"),
        ("somebody@elsewhere.example", "remote-server-not-found"),
        ("example.org", "service-unavailable"),
    ):
        alice.send(message(to))
        assert await refusal(alice) == expected


async def test_without_an_address_it_is_for_oneself(place: Place) -> None:
    alice = await place.sign_in("alice")
    alice.send("<message type='chat'><body>note</body></message>")
    (got,) = await alice.take("message")
    assert (got.get("from"), got.get("to")) == (alice.full, alice.bare)


async def test_disabled_people_get_nothing(place: Place) -> None:
    alice = await place.sign_in("alice")
    (bob,) = await place.people("bob")
    bob.enabled = False
    alice.send(message("bob@example.org"))
    assert await refusal(alice) == "service-unavailable"


async def test_chat_states_are_for_who_is_there(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    await place.people("carol")
    for to in (bob.bare, "carol@example.org"):
        alice.send(f"<message type='chat' to='{to}'><composing xmlns='{ns.CHAT_STATES}'/></message>")
    (got,) = await bob.take("message")
    assert got.elements[0].name == "composing" and got.find("stanza-id", ns.STANZA_ID) is None
    assert await refusal(alice) is None


async def test_what_the_server_does_not_know_passes_through(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    extra = (
        f"<request xmlns='{ns.DELIVERY_RECEIPTS}'/><replace xmlns='{ns.CORRECTION}' id='old'/>"
        f"<attention xmlns='{ns.ATTENTION}'/><markable xmlns='{ns.CHAT_MARKERS}'/>"
        "<x xmlns='urn:example:x' a='1'>t<y/>u</x>"
    )
    alice.send(f"<message type='chat' to='{bob.bare}' xml:lang='fr'><body>salut</body>{extra}</message>")
    (got,) = await bob.take("message")
    assert got.get("xml:lang") == "fr"
    names = [e.name for e in got.elements]
    assert names == ["body", "request", "replace", "attention", "markable", "x", "stanza-id"]
    assert got.elements[5].to_bytes() == b"<x xmlns='urn:example:x' a='1'>t<y/>u</x>"


async def test_instant_messaging_can_be_turned_off(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    place.set(IM_ENABLED, False)
    alice.send(message(bob.bare))
    assert await refusal(alice) == "service-unavailable" and await bob.bodies() == []


async def test_offline_messages_can_be_suppressed(place: Place) -> None:
    alice = await place.sign_in("alice")
    await place.people("bob")
    place.set(OFFLINE_SUPPRESSED, True)
    alice.send(message("bob@example.org"))
    assert await refusal(alice) == "service-unavailable"
    bob = await place.sign_in("bob", presence=None)
    bob.send("<presence/>")
    assert await bob.bodies() == []


async def test_forking_goes_to_the_device_that_answered(place: Place) -> None:
    place.set(MULTI_DEVICE, False)
    alice = await place.sign_in("alice")
    desk, phone = await place.sign_in("bob", "desk"), await place.sign_in("bob", "phone")
    alice.send(message(desk.bare, "1"))
    assert await desk.bodies() == ["1"] and await phone.bodies() == ["1"]
    phone.send(f"<message type='chat' to='{alice.full}'><composing xmlns='{ns.CHAT_STATES}'/></message>")
    alice.send(message(desk.bare, "2"))
    assert await desk.bodies() == ["2"] and await phone.bodies() == ["2"]  # typing is no answer
    phone.send(message(alice.bare, "yes"))
    alice.send(message(desk.bare, "3"))
    assert await desk.bodies() == [] and await phone.bodies() == ["3"]
    carol = await place.sign_in("carol")
    carol.send(message(desk.bare, "4"))
    assert await desk.bodies() == ["4"] and await phone.bodies() == ["4"]  # a conversation of its own
    phone.leave()
    alice.send(message(desk.bare, "5"))
    assert await desk.bodies() == ["5"]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"<origin-id xmlns='urn:xmpp:sid:0' id='a'/>", "a"),
        (b'<origin-id xmlns="urn:xmpp:sid:0" id="a b"/>', "a b"),
        (b"<origin-id id='a' xmlns='urn:xmpp:sid:0'/>", "a"),
        (b"<origin-id xmlns='urn:xmpp:sid:0' id='a&amp;b'/>", "a&b"),
        (b"<x xmlns='urn:x'><origin-id id='no'/></x><origin-id xmlns='urn:xmpp:sid:0' id='a'/>", "a"),
        (b"<origin-id xmlns='urn:xmpp:sid:0'/>", None),
        (b"<origin-id xmlns='urn:xmpp:sid:0' x='id=' id='a'/>", "a"),
        (b"<origin-id xmlns='urn:xmpp:sid:0' x=\" id='b'\" id='a'/>", "a"),
    ],
)
def test_origin_id(payload: bytes, expected: str | None) -> None:
    stanza = Stanza("message", children=((ns.STANZA_ID, "origin-id"),), payload=payload)
    assert origin_id(stanza) == expected
