"""Stanzas: reading, writing, answering, and what only a server may assert."""

import pytest

from ubiety.conditions import StanzaError
from ubiety.element import Element
from ubiety.jid import parse
from ubiety.stanza import Stanza, make_error, make_result, parse_stanza, strip_asserted

BOB = parse("bob@example.org")
MESSAGE = Stanza(
    "message",
    BOB,
    parse("alice@example.org/desk"),
    "i&1",
    "chat",
    "en",
    (("jabber:client", "body"), ("urn:x", "x")),
    b"<body>hi</body><x xmlns='urn:x'/>",
)
WRITTEN = (
    b"<message to='bob@example.org' from='alice@example.org/desk' id='i&amp;1' type='chat' xml:lang='en'>"
    b"<body>hi</body><x xmlns='urn:x'/></message>"
)


def test_head_and_raw_children_are_written():
    assert MESSAGE.to_bytes() == WRITTEN
    assert MESSAGE.to_bytes() == WRITTEN  # from the kept head
    assert MESSAGE.to_bytes(declare_ns=True).startswith(b"<message xmlns='jabber:client' to=")
    assert parse_stanza(MESSAGE.to_bytes(declare_ns=True)) == MESSAGE


def test_a_copy_for_somebody_else_and_more_children():
    desk = parse("bob@example.org/'desk'")
    data = MESSAGE.to_bytes(desk, b"<e xmlns='urn:e'/>")
    assert data.startswith(b"<message to='bob@example.org/&#x27;desk&#x27;' from=")
    assert data.endswith(b"<x xmlns='urn:x'/><e xmlns='urn:e'/></message>")
    assert parse_stanza(data).to == desk


def test_an_empty_stanza_is_an_empty_element():
    assert Stanza("presence").to_bytes() == b"<presence/>"
    assert Stanza("presence").to_bytes(extra=b"<x/>") == b"<presence><x/></presence>"


def test_a_changed_copy_is_written_anew():
    MESSAGE.to_bytes()
    assert b"type='normal'" in MESSAGE.replace(type="normal").to_bytes()
    assert b" from=" not in MESSAGE.replace(from_=None).to_bytes()


def test_children_are_parsed_when_asked_for():
    assert MESSAGE.has("urn:x", "x")
    assert not MESSAGE.has("urn:y", "x")
    assert MESSAGE.child("urn:x", "x") == Element("x", "urn:x")
    assert MESSAGE.child("urn:y", "x") is None
    body = MESSAGE.element.find("body")
    assert body is not None
    assert body.text == "hi"


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"<message to='@'/>", "jid-malformed"),
        (b"<message from='a@b@c'/>", "jid-malformed"),
        (b"<iq type='get'><x/></iq>", "bad-request"),
        (b"<iq id='1'/>", "bad-request"),
        (b"<iq id='1' type='odd'/>", "bad-request"),
        (b"<iq id='1' type='get'/>", "bad-request"),
        (b"<iq id='1' type='set'><a/><b/></iq>", "bad-request"),
        (b"<iq id='1' type='result'><a/><b/></iq>", "bad-request"),
        (b"<presence type='available'/>", "bad-request"),
        (b"<other/>", "bad-request"),
        (b"<message xmlns='jabber:server'/>", "bad-request"),
    ],
)
def test_heads_that_are_not_valid(data, condition):
    with pytest.raises(StanzaError) as refused:
        parse_stanza(data)
    assert refused.value.condition == condition


@pytest.mark.parametrize(
    "data",
    [
        b"<iq id='1' type='result'/>",
        b"<iq id='1' type='error'><a/><error/></iq>",
        b"<presence type='unavailable'/>",
        b"<message type='unheard-of'/>",  # RFC 6121 §5.2.2: treated as normal by whoever delivers
    ],
)
def test_heads_that_are_valid(data):
    assert parse_stanza(data).to_bytes() == data


def test_an_error_goes_back_without_the_payload():
    answer = make_error(MESSAGE, StanzaError("item-not-found", "nobody"))
    assert (answer.to, answer.from_, answer.id, answer.type) == (MESSAGE.from_, BOB, "i&1", "error")
    assert answer.children == (("jabber:client", "error"),)
    error = answer.element.find("error")
    assert error is not None
    assert [child.name for child in error.elements] == ["item-not-found", "text"]
    other = parse("example.org")
    assert make_error(MESSAGE, StanzaError("forbidden"), other).from_ == other


def test_a_result_answers_an_iq():
    iq = parse_stanza(b"<iq type='get' id='1' to='example.org' from='bob@example.org/x'><a/></iq>")
    assert (
        make_result(iq).to_bytes() == b"<iq to='bob@example.org/x' from='example.org' id='1' type='result'/>"
    )
    answer = make_result(iq, b"<q xmlns='urn:q'/>", (("urn:q", "q"),))
    assert answer.child("urn:q", "q") is not None


OWN = frozenset({"bob@example.org", "example.org"})


@pytest.mark.parametrize(
    ("child", "stays"),
    [
        ("<stanza-id xmlns='urn:xmpp:sid:0' by='bob@example.org' id='1'/>", False),
        ("<stanza-id xmlns='urn:xmpp:sid:0' by='BOB@example.org' id='1'/>", False),
        ("<p:stanza-id xmlns:p='urn:xmpp:sid:0' by='bob@example.org' id='1'/>", False),
        ("<stanza-id xmlns='urn:xmpp:sid:0' by='room@example.com' id='1'/>", True),
        ("<stanza-id xmlns='urn:xmpp:sid:0' by='@' id='1'/>", False),
        ("<stanza-id xmlns='urn:xmpp:sid:0' id='1'/>", True),
        ("<origin-id xmlns='urn:xmpp:sid:0' id='1'/>", True),
        ("<delay xmlns='urn:xmpp:delay' from='example.org' stamp='x'/>", False),
        ("<delay xmlns='urn:xmpp:delay' from='example.com' stamp='x'/>", True),
        ("<received xmlns='urn:xmpp:carbons:2'/>", False),
        ("<sent xmlns='urn:xmpp:carbons:2'/>", False),
        ("<private xmlns='urn:xmpp:carbons:2'/>", True),
        ("<x xmlns='urn:x'><delay xmlns='urn:xmpp:delay' from='example.org'/></x>", True),
    ],
)
def test_only_we_may_assert_some_children(child, stays):
    stanza = parse_stanza(f"<message to='bob@example.org'>{child}<body>a &lt; b</body></message>".encode())
    stripped = strip_asserted(stanza, OWN)
    assert (stripped is stanza) == stays
    assert stripped.children[-1] == ("jabber:client", "body")
    assert len(stripped.children) == (2 if stays else 1)
    assert stripped.payload.endswith(b"<body>a &lt; b</body>")
    assert parse_stanza(stripped.to_bytes()) == stripped
