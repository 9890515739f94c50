"""Hostile or broken XML: the stream ends with the right error, and nobody else notices (RFC 6120 §4.9.3)."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness.client import Client
from tests.harness.wire import STREAMS, Wire
from tests.node import Node

ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
LAUGHS = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 12))
DTD = f"<!DOCTYPE x [<!ENTITY l0 'ha'>{LAUGHS}]>"

# Conditions that a parser may choose between: RFC 6120 defines bad-format as the superset of the others.
BROKEN = {"not-well-formed", "bad-format", "invalid-xml"}
RESTRICTED = {"restricted-xml"}
TOO_MUCH = {"policy-violation"}
UNKNOWN = {"unsupported-stanza-type"}
FOREIGN = {"invalid-namespace", "bad-namespace-prefix", *BROKEN}

INSIDE: dict[str, tuple[bytes, set[str]]] = {
    "unclosed-element": (b"<message><body>one</message>", BROKEN),
    "end-tag-of-nothing": (b"</message>", BROKEN),
    "attribute-twice": (b"<message to='a@example.org' to='b@example.org'/>", BROKEN),
    "attribute-without-quotes": (b"<message to=a/>", BROKEN),
    "bare-ampersand": (b"<message><body>a & b</body></message>", BROKEN),
    "nul-byte": (b"<message><body>\x00</body></message>", BROKEN),
    "control-character": (b"<message><body>\x08</body></message>", BROKEN),
    "character-reference-to-nul": (b"<message><body>&#0;</body></message>", BROKEN),
    "text-between-stanzas": (b"<presence/>hello<presence/>", BROKEN),
    "doctype": (DTD.encode(), RESTRICTED | BROKEN),
    "undefined-entity": (b"<message><body>&ha;</body></message>", RESTRICTED | BROKEN),
    "comment": (b"<message><body>a<!-- b -->c</body></message>", RESTRICTED),
    "comment-between-stanzas": (b"<!-- hello -->", RESTRICTED),
    "processing-instruction": (b"<message><?php echo 1 ?></message>", RESTRICTED),
    "unbound-prefix": (b"<message><x:y/></message>", FOREIGN),
    "unbound-attribute-prefix": (b"<message><y x:z='1'/></message>", FOREIGN),
    "two-colons": (b"<message><a:b:c xmlns:a='urn:a'/></message>", FOREIGN),
    "stanza-of-another-namespace": (b"<message xmlns='urn:example:other'/>", UNKNOWN | FOREIGN),
    "server-namespace": (b"<message xmlns='jabber:server'><body>x</body></message>", UNKNOWN | FOREIGN),
    "unknown-element": (b"<banana/>", UNKNOWN),
    "overlong-utf8": (b"<message><body>\xc0\x80</body></message>", BROKEN),
    "latin-1-byte": (b"<message><body>caf\xe9</body></message>", BROKEN),
    "utf8-surrogate": (b"<message><body>\xed\xa0\x80</body></message>", BROKEN),
    "truncated-utf8": (b"<message><body>\xe2\x82</body></message>", BROKEN),
    "non-character": (b"<message><body>\xef\xbf\xbf</body></message>", BROKEN),
    "oversized-stanza": (b"<message><body>" + b"a" * 300_000, TOO_MUCH),
    "oversized-attribute": (b"<message id='" + b"a" * 300_000, TOO_MUCH),
    "oversized-name": (b"<" + b"a" * 300_000, TOO_MUCH),
    "attribute-flood": (
        b"<message " + b" ".join(b"a%d='1'" % number for number in range(5000)) + b"/>",
        TOO_MUCH,
    ),
    "deep-nesting": (b"<message>" + b"<a>" * 10_000, TOO_MUCH),
    "child-flood": (b"<message>" + b"<a/>" * 20_000 + b"</message>", TOO_MUCH),
}

HEADER = (
    f"<stream:stream xmlns='jabber:client' xmlns:stream='{STREAMS}' to='example.org' version='1.0'>".encode()
)
BEFORE: dict[str, tuple[bytes, set[str]]] = {
    "not-xml": (b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", BROKEN),
    "doctype-first": (DTD.encode() + HEADER, RESTRICTED | BROKEN),
    "comment-first": (b"<!-- hello -->" + HEADER, RESTRICTED),
    "utf-16": (HEADER.decode().encode("utf-16"), BROKEN | {"unsupported-encoding"}),
    "latin-1-declared": (
        b"<?xml version='1.0' encoding='ISO-8859-1'?>" + HEADER + b"<message><body>\xe9</body></message>",
        BROKEN | {"unsupported-encoding"},
    ),
    "another-root": (HEADER.replace(b"stream:stream", b"stream:river"), FOREIGN),
    "another-stream-namespace": (HEADER.replace(STREAMS.encode(), b"urn:example:streams"), FOREIGN),
    "another-content-namespace": (HEADER.replace(b"jabber:client", b"urn:example:stanzas"), FOREIGN),
    "unknown-host": (HEADER.replace(b"example.org", b"elsewhere.example.com"), {"host-unknown"}),
    "stanza-before-login": (
        HEADER + b"<message to='a@example.org'><body>let me in</body></message>",
        {"not-authorized"},
    ),
    "bind-before-login": (
        HEADER + b"<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
        {"not-authorized"},
    ),
    "oversized-before-login": (HEADER + b"<auth>" + b"a" * 20_000, TOO_MUCH),
    "oversized-header": (HEADER.replace(b"to=", b"id='" + b"a" * 20_000 + b"' to="), TOO_MUCH),
    "attribute-flood-before-login": (
        HEADER + b"<a " + b" ".join(b"a%d='1'" % number for number in range(900)) + b"/>",
        TOO_MUCH,
    ),
    "deep-nesting-before-login": (HEADER + b"<a>" * 3000, TOO_MUCH),
}


@pytest.mark.parametrize("name", INSIDE)
async def test_bad_xml_after_login(culprit: Client, witness: Client, name: str) -> None:
    data, conditions = INSIDE[name]
    culprit.wire.write(data)
    assert await stream_error(culprit.wire) in conditions


@pytest.mark.parametrize("name", BEFORE)
async def test_bad_xml_before_login(shared_node: Node, witness: Client, name: str) -> None:
    data, conditions = BEFORE[name]
    wire = await Wire.open(shared_node.place.host, shared_node.place.port)
    wire.write(data)
    # RFC 6120 §4.9.1.2: the error comes inside a stream of the server's, even when ours never opened.
    assert await stream_error(wire) in conditions


@pytest.mark.parametrize("size", [1, 7])
async def test_answer_is_the_same_byte_by_byte(culprit: Client, witness: Client, size: int) -> None:
    data, conditions = INSIDE["comment"]
    for start in range(0, len(data), size):
        culprit.wire.write(data[start : start + size])
        await asyncio.sleep(0)
    assert await stream_error(culprit.wire) in conditions


async def test_nothing_behind_an_error_is_done(culprit: Client, witness: Client) -> None:
    culprit.wire.write(
        b"<banana/><message to='%s' type='chat'><body>too late</body></message>" % witness.jid.encode()
    )
    assert await stream_error(culprit.wire) in UNKNOWN
    await witness.is_served()
    assert "too late" not in [getattr(item, "text", "") for item in witness.wire.inbox]


async def test_largest_stanza_is_passed_on_whole(culprit: Client, witness: Client) -> None:
    body = "ä€😀&amp;" * 20_000
    culprit.send(f"<message to='{witness.jid}' type='chat'><body>{body[: 4 * 20_000]}</body></message>")
    got = await witness.expect(lambda tag: tag.name == "message" and len(tag.body() or "") > 10_000)
    assert got.body() == body[: 4 * 20_000].replace("&amp;", "&")


async def stream_error(wire: Wire) -> str:
    """Wait for the stream error and the end of the connection; returns the condition."""
    error = await wire.expect_tag("error")
    assert error.ns == STREAMS
    condition = error.condition()
    assert condition is not None
    assert error.child(condition, ERRORS) is not None
    await wire.lost()
    return condition
