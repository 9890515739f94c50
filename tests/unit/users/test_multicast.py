"""One message to many (XEP-0033)."""

from tests.unit.users.place import Client, Place, condition
from ubiety.element import Element
from ubiety.users.multicast import MULTICAST_MAX
from ubiety.xmpp import ns


def message(*addresses: tuple[str, str], body: str = "hello", extra: str = "") -> str:
    """A message to the server for others."""
    listed = "".join(f"<address type='{kind}' jid='{jid}'/>" for kind, jid in addresses)
    return (
        f"<message type='chat' id='m1' to='example.org'><body>{body}</body>"
        f"<addresses xmlns='{ns.ADDRESS}'>{listed}</addresses>{extra}</message>"
    )


def named(stanza: Element) -> list[tuple[str | None, str | None, str | None]]:
    """Whom a copy names."""
    addresses = stanza.find("addresses", ns.ADDRESS)
    assert addresses is not None
    return [(a.get("type"), a.get("jid"), a.get("delivered")) for a in addresses.elements]


async def three(place: Place) -> list[Client]:
    """Alice, Bob and Carol."""
    return [await place.sign_in(name) for name in ("alice", "bob", "carol")]


async def test_everybody_gets_a_copy_and_nobody_sees_the_secret_ones(place: Place) -> None:
    alice, bob, carol = await three(place)
    await place.people("dave")
    to = [("to", bob.bare), ("bcc", carol.bare), ("cc", "dave@example.org"), ("to", bob.bare)]
    alice.send(message(*to, ("replyto", alice.bare)))
    shown = [
        ("to", bob.bare, "true"),
        ("cc", "dave@example.org", "true"),
        ("to", bob.bare, "true"),
        ("replyto", alice.bare, None),
    ]
    for client in (bob, carol):
        (copy,) = await client.take("message")
        assert (copy.get("from"), copy.get("to"), copy.get("id")) == (alice.full, client.bare, "m1")
        assert named(copy) == shown
    dave = await place.sign_in("dave", presence=None)
    dave.send("<presence/>")
    assert await dave.bodies() == ["hello"]
    assert await alice.take("message") == []


async def test_refusals_are_told_one_by_one(place: Place) -> None:
    alice, bob, carol = await three(place)
    await carol.ask("set", f"<block xmlns='{ns.BLOCKING}'><item jid='{alice.bare}'/></block>")
    alice.send(message(("to", bob.bare), ("to", carol.bare), ("to", "nobody@example.org")))
    assert await bob.bodies() == ["hello"]
    refused = {m.get("from"): condition(m) for m in await alice.take("message")}
    assert refused == {carol.bare: "service-unavailable", "nobody@example.org": "service-unavailable"}


async def test_sender_with_stream_management_is_promised_all_copies(place: Place) -> None:
    alice = await place.sign_in("alice", managed=True)
    bob = await place.sign_in("bob", managed=True)
    await place.people("dave")
    smacks = alice.session.smacks
    assert smacks is not None
    before = smacks.h
    origin = f"<origin-id xmlns='{ns.STANZA_ID}' id='o1'/>"
    alice.send(message(("to", bob.bare), ("to", "dave@example.org"), extra=origin))
    assert smacks.h == before  # nothing is written yet, and Bob has not acknowledged
    await place.settle()
    assert smacks.h == before + 1
    alice.send(message(("to", bob.bare), ("to", "dave@example.org"), extra=origin))
    assert await bob.bodies() == ["hello"]


async def test_bad_addresses_are_refused(place: Place) -> None:
    alice, bob, _ = await three(place)
    place.set(MULTICAST_MAX, 2)
    expected = {
        message(): "bad-request",
        message(("replyto", bob.bare)): "bad-request",
        message(("to", "a@b@c")): "jid-malformed",
        message(("to", "")): "jid-malformed",
        message(("to", "example.org")): "not-acceptable",
        message(("to", bob.bare), ("to", "a@b"), ("to", "b@b")): "not-acceptable",
        "<message to='example.org'><body>x</body></message>": "service-unavailable",
    }
    for xml, refusal in expected.items():
        alice.send(xml)
        (error,) = await alice.take("message")
        assert condition(error) == refusal, xml
    assert await bob.bodies() == []


async def test_feature_is_announced(place: Place) -> None:
    alice = await place.sign_in("alice")
    answer = await alice.ask("get", f"<query xmlns='{ns.DISCO_INFO}'/>", "example.org")
    assert ns.ADDRESS in [f.get("var") for f in answer.elements[0].findall("feature")]
