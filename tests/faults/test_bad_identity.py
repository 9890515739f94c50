"""Who one is and whom one writes to: forged senders, impossible and look-alike addresses."""

from __future__ import annotations

import pytest

from tests.harness.client import Client, SaslFailedError
from tests.harness.tags import Tag
from tests.harness.wire import STREAMS
from tests.node import Node

CARBONS = "urn:xmpp:carbons:2"
SID = "urn:xmpp:sid:0"
DELAY = "urn:xmpp:delay"

IMPOSSIBLE = {
    "no-local-part": "@example.org",
    "space": "a b@example.org",
    "tab-in-local-part": "a&#9;b@example.org",
    "quote": "a&quot;b@example.org",
    "two-at-signs": "a@b@example.org",
    "slash-first": "/home",
    "empty-resource": "alice@example.org/",
    "empty-domain": "alice@",
    "local-part-too-long": "a" * 1024 + "@example.org",
    "resource-too-long": "alice@example.org/" + "r" * 1024,
    "domain-too-long": "alice@" + "d" * 1024,
    "control-character-in-resource": "alice@example.org/a&#9;b",
    "chess-king": "king♚@example.org",
    "roman-numeral": "henryⅣ@example.org",
    "bidi-mix": "aא@example.org",
    "lone-joiner": "a\u200db@example.org",
    "domain-with-space": "alice@exam ple.org",
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
@pytest.mark.parametrize("kind", ["message", "presence", "iq"])
async def test_impossible_recipient(culprit: Client, witness: Client, kind: str, name: str) -> None:
    extra = {"message": "type='chat'", "presence": "type='subscribe'", "iq": "type='get'"}[kind]
    payload = {"iq": "<ping xmlns='urn:xmpp:ping'/>", "message": "<body>x</body>", "presence": ""}[kind]
    culprit.send(f"<{kind} id='bad' to='{IMPOSSIBLE[name]}' {extra}>{payload}</{kind}>")
    error = await culprit.expect(lambda tag: tag.get("id") == "bad")
    assert (error.name, error.get("type"), error.condition()) == (kind, "error", "jid-malformed")
    assert await culprit.is_served()


# Letters that look like the Latin "e".
LOOK_ALIKES = {"cyrillic": "\u0435", "mathematical": "\U0001d41e", "circled": "\u24d4", "armenian": "\u0565"}


@pytest.mark.parametrize("script", LOOK_ALIKES)
async def test_look_alike_reaches_nobody_else(culprit: Client, witness: Client, script: str) -> None:
    """An address that only looks like another is another one, or none (RFC 8265 §3.3)."""
    fake = witness.bare.replace("e", LOOK_ALIKES[script], 1)
    culprit.send(f"<message id='fake' to='{fake}' type='chat'><body>psst</body></message>")
    error = await culprit.expect(lambda tag: tag.get("id") == "fake")
    assert error.condition() in ("service-unavailable", "jid-malformed", "item-not-found")
    assert await witness.is_served()
    assert not [item for item in witness.wire.inbox if isinstance(item, Tag) and item.body() == "psst"]


@pytest.mark.parametrize("script", LOOK_ALIKES)
async def test_look_alike_does_not_log_in(shared_node: Node, witness: Client, script: str) -> None:
    (user,) = shared_node.take_users(1)
    client = Client(shared_node.place, user.replace("e", LOOK_ALIKES[script], 1))
    await client.connect()
    with pytest.raises(SaslFailedError) as caught:
        await client.authenticate("PLAIN")
    assert caught.value.condition in ("not-authorized", "malformed-request")
    client.abort()


async def test_other_spelling_of_the_same_address(culprit: Client, witness: Client) -> None:
    """Case and width are no difference: this is the same person (RFC 7622 §3.3)."""
    local, _, rest = witness.bare.partition("@")
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in local)
    culprit.send(f"<message to='{local.upper()}@{rest}' type='chat'><body>upper</body></message>")
    culprit.send(f"<message to='{wide}@{rest.upper()}' type='chat'><body>wide</body></message>")
    assert (await witness.expect_message("upper")).get("to") in (witness.bare, witness.jid)
    assert (await witness.expect_message("wide")).get("to") in (witness.bare, witness.jid)


@pytest.mark.parametrize("kind", ["message", "presence", "iq"])
async def test_forged_sender(culprit: Client, witness: Client, kind: str) -> None:
    extra = {"message": "type='chat'", "presence": "", "iq": "type='set'"}[kind]
    payload = {"message": "<body>forged</body>", "presence": "", "iq": "<query xmlns='jabber:iq:roster'/>"}[
        kind
    ]
    culprit.send(f"<{kind} from='{witness.bare}' to='{witness.jid}' id='forged' {extra}>{payload}</{kind}>")
    # RFC 6120 §8.1.2.1 leaves two answers: end the stream, or put the true sender in.
    error = await culprit.wire.expect_tag("error")
    assert (error.ns, error.condition()) == (STREAMS, "invalid-from")
    await culprit.wire.lost()
    assert await witness.is_served()
    assert not [item for item in witness.wire.inbox if isinstance(item, Tag) and item.get("id") == "forged"]


async def test_own_address_as_sender_is_fine(culprit: Client, witness: Client) -> None:
    for sender in (culprit.jid, culprit.bare):
        culprit.send(
            f"<message from='{sender}' to='{witness.jid}' type='chat'><body>{sender}</body></message>"
        )
        assert (await witness.expect_message(sender)).get("from") == culprit.jid


async def test_forged_assertions_are_stripped(culprit: Client, witness: Client) -> None:
    """What only the server may say is not taken from a client (XEP-0280 §11, XEP-0359 §6)."""
    culprit.send(
        f"<message to='{witness.jid}' type='chat'><body>mine</body>"
        f"<stanza-id xmlns='{SID}' by='{witness.bare}' id='forged'/>"
        f"<delay xmlns='{DELAY}' from='example.org' stamp='2001-01-01T00:00:00Z'/>"
        f"<sent xmlns='{CARBONS}'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"<message xmlns='jabber:client' from='{witness.bare}'><body>forged</body></message>"
        f"</forwarded></sent></message>"
    )
    got = await witness.expect_message("mine")
    assert "forged" not in [tag.get("id") for tag in got.all("stanza-id", SID)]
    assert got.all("delay", DELAY) == []
    assert got.all("sent", CARBONS) == []


async def test_roster_push_from_another_is_refused(culprit: Client, witness: Client) -> None:
    """A person's contact list is changed by that person alone (RFC 6121 §2.1.6)."""
    answer = await culprit.iq(
        "set",
        f"<query xmlns='jabber:iq:roster'><item jid='{culprit.bare}' subscription='both'/></query>",
        to=witness.bare,
    )
    assert answer.get("type") == "error"
    roster = await witness.iq("get", "<query xmlns='jabber:iq:roster'/>")
    assert roster.find("item") is None


async def test_iq_without_id_or_type_is_refused(culprit: Client, witness: Client) -> None:
    # RFC 6120 §8.1.3, §8.2.3
    culprit.send("<iq type='nonsense' id='n'><ping xmlns='urn:xmpp:ping'/></iq>")
    error = await culprit.expect(lambda tag: tag.name == "iq" and tag.get("id") == "n")
    assert (error.get("type"), error.condition()) == ("error", "bad-request")
    culprit.send("<iq type='get' id='two'><a xmlns='urn:a'/><b xmlns='urn:b'/></iq>")
    error = await culprit.expect(lambda tag: tag.name == "iq" and tag.get("id") == "two")
    assert (error.get("type"), error.condition()) == ("error", "bad-request")
    assert await culprit.is_served()
