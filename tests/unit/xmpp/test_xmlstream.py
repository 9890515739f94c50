"""The stream parser: what it yields, what it refuses, and what it keeps in memory."""

import gc
import sys

import pytest

from tests.unit.xmpp.stream_inputs import FOOTER, HEADER, feed_whole
from ubiety.element import Element
from ubiety.jid import parse
from ubiety.stanza import Stanza
from ubiety.xmpp import xmlstream
from ubiety.xmpp.xmlstream import (
    BadStanza,
    Limits,
    StreamClosed,
    StreamFault,
    StreamItem,
    StreamOpened,
    XmlStream,
)

MESSAGE = b"<message type='chat' to='bob@example.org' id='x1'><body>hello there</body></message>"


def opened(limits: Limits | None = None) -> XmlStream:
    stream = XmlStream(limits)
    (item,) = stream.feed(HEADER)
    assert isinstance(item, StreamOpened)
    stream.authenticated()
    return stream


def only(data: bytes, limits: Limits | None = None) -> StreamItem:
    """Return the one item that these bytes are in an open stream."""
    (item,) = opened(limits).feed(data)
    return item


def fault(data: bytes, limits: Limits | None = None) -> str:
    """Return the condition of the stream error that these bytes cause."""
    stream = opened(limits)
    *_, item = stream.feed(data)
    assert isinstance(item, StreamFault), item
    assert stream.feed(MESSAGE) == []
    assert stream.idle_bytes == 0
    return item.condition


# What is yielded


def test_a_message_with_its_raw_children():
    assert only(MESSAGE) == Stanza(
        "message",
        parse("bob@example.org"),
        None,
        "x1",
        "chat",
        "en",
        (("jabber:client", "body"),),
        b"<body>hello there</body>",
    )


def test_header_items_and_end():
    first, message, ack, second = feed_whole(
        HEADER + MESSAGE + b" <r xmlns='urn:xmpp:sm:3'/>\n" + FOOTER + b"junk<"
    )
    assert first == StreamOpened("example.org", None, "1.0", "en", None)
    assert isinstance(message, Stanza)
    assert ack == Element("r", "urn:xmpp:sm:3")
    assert second == StreamClosed()


def test_other_elements_are_trees():
    auth = only(b"<auth xmlns='urn:a' mechanism='PLAIN'>AGEAYg==</auth>")
    assert auth == Element("auth", "urn:a", {"mechanism": "PLAIN"}, ["AGEAYg=="])
    assert only(b"<a xmlns='urn:xmpp:sm:3' h='5'></a>") == Element("a", "urn:xmpp:sm:3", {"h": "5"})
    assert only(b"<message xmlns='urn:x'/>") == Element("message", "urn:x")
    assert only(b"<stream:error/>") == Element("error", "http://etherx.jabber.org/streams")


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (b"<presence/>", b""),
        (b"<presence></presence>", b""),
        (b"<presence ></presence\n>", b""),
        (b"<presence> </presence>", b" "),
        (b"<presence>/></presence>", b"/>"),
        (b"<presence id='/'/>", b""),
        (b"<presence id='>'/>", b""),
        (b"<presence id='/>' to='a@b/>'></presence>", b""),
        (b'<presence id="it\'s > "><x/></presence>', b"<x/>"),
        (b"<presence><x/></presence>", b"<x/>"),
        (b"<presence>a<x/>b<![CDATA[</presence>]]></presence>", b"a<x/>b<![CDATA[</presence>]]>"),
    ],
)
def test_payloads_are_cut_exactly(data, payload):
    first, second = opened().feed(data + MESSAGE)
    assert isinstance(first, Stanza)
    assert first.payload == payload
    assert second == only(MESSAGE)


def test_language_is_the_stanzas_else_the_streams_else_the_default():
    assert only(b"<message xml:lang='de'/>").lang == "de"  # type: ignore[union-attr]
    assert only(b"<message/>").lang == "en"  # type: ignore[union-attr]
    stream = XmlStream(default_lang="fr")
    stream.feed(HEADER.replace(b" xml:lang='en'", b""))
    (item,) = stream.feed(b"<message/>")
    assert isinstance(item, Stanza)
    assert item.lang == "fr"


@pytest.mark.parametrize(
    ("data", "condition", "kind"),
    [
        (b"<message to='@' id='1'/>", "jid-malformed", "message"),
        (b"<message from='a@b@c'/>", "jid-malformed", "message"),
        (b"<iq type='get'><x/></iq>", "bad-request", "iq"),
        (b"<presence type='odd'/>", "bad-request", "presence"),
        (b"<message><x xmlns='a[b'/></message>", "bad-request", "message"),
        (b"<message><x><y xmlns='http://www.w3.org/2000/xmlns/'/></x></message>", "bad-request", "message"),
        (b"<message><x xml:id='a b'/></message>", "bad-request", "message"),
        (b"<c:message xmlns:c='jabber:client' to='@'/>", "jid-malformed", "message"),
    ],
)
def test_a_bad_stanza_does_not_end_the_stream(data, condition, kind):
    bad, good = opened().feed(data + MESSAGE)
    assert isinstance(bad, BadStanza)
    assert (bad.condition, bad.kind) == (condition, kind)
    assert bad.text
    assert isinstance(good, Stanza)


def test_a_bad_stanza_tells_what_was_written():
    bad = only(b"<iq type='set' id='7' to='a@b@c' from='x'><q/></iq>")
    assert bad == BadStanza("iq", "7", "set", "x", "a@b@c", "jid-malformed", bad.text)  # type: ignore[union-attr]


# The slow path


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (b"<message><p:x xmlns:p='urn:p'/></message>", b"<x xmlns='urn:p'/>"),
        (b"<message><stream:x/></message>", b"<x xmlns='http://etherx.jabber.org/streams'/>"),
        (b"<message><body xmlns='jabber:client'>x</body></message>", b"<body>x</body>"),
        (b"<message><body xmlns='jabber:server'>x</body></message>", b"<body xmlns='jabber:server'>x</body>"),
        (b"<c:message xmlns:c='jabber:client'><c:body/></c:message>", b"<body/>"),
        (b"<message><delay xmlns = 'urn:xmpp:delay'></delay></message>", b"<delay xmlns='urn:xmpp:delay'/>"),
        (b"<message>a<x xml:space='preserve'/></message>", b"a<x xml:space='preserve'/>"),
    ],
)
def test_what_could_be_read_in_two_ways_is_written_anew(data, payload):
    item = only(data)
    assert isinstance(item, Stanza)
    assert item.payload == payload


def test_a_stream_with_another_default_namespace():
    header = b"<stream xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client'>"
    items = feed_whole(header + b"<c:message><c:body>x</c:body><x/></c:message></stream>")
    assert isinstance(items[1], Stanza)
    assert items[1].payload == b"<body>x</body><x xmlns='http://etherx.jabber.org/streams'/>"
    assert items[2] == StreamClosed()


# What is refused


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"<message><x:y/></message>", "not-well-formed"),
        (b"<message><a:b:c xmlns:a='urn:a'/></message>", "not-well-formed"),
        (b"<message></stream:stream></message>", "not-well-formed"),
        (b"<message><a x='1' x='2'/></message>", "not-well-formed"),
        (b"<message>]]></message>", "not-well-formed"),
        (b"<message>\0</message>", "not-well-formed"),
        (b"<message>\xff</message>", "not-well-formed"),
        (b"<message>&e;</message>", "not-well-formed"),
        (b"<message></presence>", "not-well-formed"),
        (b"<!-- c --><message/>", "restricted-xml"),
        (b"<message><!-- c --></message>", "restricted-xml"),
        (b"<message><?p i?></message>", "restricted-xml"),
        (b"text<message/>", "bad-format"),
        (b"<message/>text", "bad-format"),
        (b"<![CDATA[ ]]><message/>", "bad-format"),
        (b"\xff", "bad-format"),
        (b"<message>" * 65, "policy-violation"),
        (b"<a>" * 10_000, "policy-violation"),
        (b"<message " + b" ".join(b"a%d=''" % i for i in range(65)) + b"/>", "policy-violation"),
        (b"<message><x " + b" ".join(b"a%d=''" % i for i in range(65)) + b"/></message>", "policy-violation"),
        (b"<message>" + b"<a/>" * 10_001 + b"</message>", "policy-violation"),
        (b"<message><" + b"n" * 1025 + b"/></message>", "policy-violation"),
        (b"<message><x " + b"n" * 1025 + b"=''/></message>", "policy-violation"),
        (b"<message id='" + b"x" * 262_144 + b"'/>", "policy-violation"),
    ],
)
def test_faults_end_the_stream(data, condition):
    assert fault(data) == condition


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"GET / HTTP/1.1\r\n", "not-well-formed"),
        (b"\x16\x03\x01\x02", "not-well-formed"),
        (b"\xef\xbb\xbf" + HEADER, "not-well-formed"),
        (HEADER.decode().encode("utf-16"), "not-well-formed"),
        (HEADER.decode().encode("utf-16-be"), "not-well-formed"),
        (HEADER.decode().encode("utf-16-le"), "unsupported-encoding"),
        (HEADER.replace(b"?>", b" encoding='ISO-8859-1'?>", 1), "unsupported-encoding"),
        (HEADER.replace(b"'1.0'?>", b"'1.1'?>"), "not-well-formed"),
        (b"<!DOCTYPE s [<!ENTITY a 'a'>]>" + HEADER, "restricted-xml"),
        (b"<!-- c -->" + HEADER, "restricted-xml"),
        (b"<html>", "invalid-namespace"),
        (HEADER.replace(b"jabber:client", b"jabber:server"), "invalid-namespace"),
        (HEADER.replace(b"xmlns:stream", b"xmlns:other"), "not-well-formed"),
        (HEADER.replace(b"to='", b"to='>"), "bad-format"),
        (b"<stream:stream " + b"x" * 20_000, "policy-violation"),
    ],
)
def test_headers_that_are_refused(data, condition):
    assert [getattr(item, "condition", None) for item in feed_whole(data)] == [condition]


def test_billion_laughs_are_not_heard():
    entities = b"".join(b"<!ENTITY e%d '%b'>" % (i + 1, b"&e%d;" % i * 10) for i in range(9))
    (item,) = feed_whole(b"<!DOCTYPE x [<!ENTITY e0 'ha'>" + entities + b"]><x>&e9;</x>")
    assert isinstance(item, StreamFault)
    assert item.condition == "restricted-xml"


# Limits


def test_the_size_of_a_stanza_is_bounded_and_less_before_authentication():
    limits = Limits(stanza_bytes_before_auth=300, stanza_bytes=1000)
    fits = b"<message id='" + b"x" * (1000 - 16) + b"'/>"
    assert len(fits) == 1000
    assert isinstance(only(fits, limits), Stanza)
    assert fault(fits.replace(b"x", b"xx", 1), limits) == "policy-violation"
    stream = XmlStream(limits)
    stream.feed(HEADER)
    assert isinstance(stream.feed(fits)[-1], StreamFault)


@pytest.mark.parametrize("size", [1, 7, 999, 1000, 10_000])
def test_many_small_stanzas_in_one_piece_are_not_a_large_one(size):
    limits = Limits(stanza_bytes=1000)
    stream = opened(limits)
    data = MESSAGE * 100
    items = [item for at in range(0, len(data), size) for item in stream.feed(data[at : at + size])]
    assert items == [only(MESSAGE)] * 100


def test_an_element_in_very_many_pieces_is_refused_before_it_costs_much():
    stream = opened(Limits(stanza_bytes=40_000))
    stream.feed(b"<message id='")
    fed = 0
    while not (items := stream.feed(b">")):
        fed += 1
    assert isinstance(items[-1], StreamFault)
    assert fed < 5000


def test_text_in_many_pieces_is_accepted():
    data = b"<message><body>" + b"word > " * 2000 + b"</body></message>"
    stream = opened()
    items = [item for i in range(len(data)) for item in stream.feed(data[i : i + 1])]
    assert items == [only(data)]


# Memory


def test_the_parser_is_released_between_stanzas_and_comes_back():
    stream = opened()
    assert stream.release()
    assert stream.feed(b" \n") == []
    assert stream.release()
    assert stream.feed(b"<message") == []
    assert not opened().feed(b"<message><body")
    assert stream.feed(b"/>") == [only(b"<message/>")]
    assert stream.feed(b"<message>") == []
    assert not stream.release()
    assert stream.feed(b"</message>") == [only(b"<message/>")]
    assert stream.release()
    assert stream.feed(FOOTER) == [StreamClosed()]


def test_prefixes_of_the_header_outlive_the_parser():
    stream = XmlStream()
    stream.feed(
        b"<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client' xmlns:p='urn:p'>"
    )
    assert stream.release()
    item, end = stream.feed(b"<message><p:x/></message></s:stream>")
    assert isinstance(item, Stanza)
    assert item.payload == b"<x xmlns='urn:p'/>"
    assert end == StreamClosed()


def test_the_parser_is_renewed_from_time_to_time(monkeypatch):
    monkeypatch.setattr(xmlstream, "RENEW_AFTER", 1000)
    stream = opened()
    renewals = 0
    for _ in range(100):
        assert stream.feed(MESSAGE) == [only(MESSAGE)]
        renewals += stream._scanner.parser is None
    assert renewals == 100 * len(MESSAGE) // 1000


def test_the_parser_is_renewed_in_the_midst_of_a_stanza_too(monkeypatch):
    monkeypatch.setattr(xmlstream, "RENEW_AFTER", 1000)
    stream = opened()
    data = MESSAGE * 100
    parsers, items = [], []
    for at in range(0, len(data), len(MESSAGE) - 3):
        items += stream.feed(data[at : at + len(MESSAGE) - 3])
        if stream._scanner.parser not in parsers:
            parsers.append(stream._scanner.parser)
    assert items == [only(MESSAGE)] * 100
    assert len(parsers) > 5


def test_nothing_large_is_kept():
    stream = opened()
    stream.feed(b"<message><body>" + b"x" * 200_000)
    assert stream.idle_bytes > 200_000
    (item,) = stream.feed(b"</body></message>" + MESSAGE * 100 + b"<pres")[:1]
    assert isinstance(item, Stanza)
    assert stream.idle_bytes == 5
    assert sys.getsizeof(stream._pending) < 10_000


def test_a_closed_stream_needs_no_garbage_collector():
    gc.disable()
    try:
        stream = opened()
        stream.feed(MESSAGE)
        stream.close()
        references = sys.getrefcount(stream._scanner)
        assert references == 2  # the stream's and the call's, none of a parser
    finally:
        gc.enable()


def test_reset_expects_a_new_stream_and_forgets_the_rest():
    stream = XmlStream()
    stream.feed(HEADER + b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><message><body>injected")
    stream.reset()
    assert stream.idle_bytes == 0
    first, second = stream.feed(b"\n" + HEADER + MESSAGE)
    assert isinstance(first, StreamOpened)
    assert isinstance(second, Stanza)
    assert b"injected" not in second.payload
