"""What a stream header declares, and which namespaces may pass."""

from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from ubiety.xmpp import ns
from ubiety.xmpp.scope import PLAIN_SCOPE, Refused, is_namespace, read_scope

PLAIN = {"xmlns": ns.CLIENT, "xmlns:stream": ns.STREAM, "to": "example.org", "version": "1.0"}


def test_the_usual_header_is_the_plain_scope():
    assert read_scope("stream:stream", PLAIN) is PLAIN_SCOPE
    assert PLAIN_SCOPE.prefixes == {"stream": ns.STREAM}


def test_other_prefixes_are_remembered():
    scope = read_scope("s:stream", {"xmlns": ns.CLIENT, "xmlns:s": ns.STREAM, "xmlns:x": "urn:x", "x:a": "1"})
    assert (scope.root, scope.default) == ("s:stream", ns.CLIENT)
    assert scope.prefixes == {"s": ns.STREAM, "x": "urn:x"}
    assert read_scope("stream", {"xmlns": ns.STREAM, "xmlns:c": ns.CLIENT}).default == ns.STREAM


@pytest.mark.parametrize(
    ("name", "attrs", "condition"),
    [
        ("stream:stream", {**PLAIN, "xmlns": "jabber:server"}, "invalid-namespace"),
        ("stream:stream", {**PLAIN, "xmlns": "urn:x"}, "invalid-namespace"),
        ("stream:stream", {**PLAIN, "xmlns:stream": "urn:x"}, "invalid-namespace"),
        ("stream:features", PLAIN, "invalid-namespace"),
        ("html", {}, "invalid-namespace"),
        ("stream:stream", {**PLAIN, "xmlns:x": "not a uri"}, "not-well-formed"),
        ("stream:stream", {**PLAIN, "xmlns:x": "a[b"}, "invalid-namespace"),
        ("s:stream", PLAIN, "not-well-formed"),
        ("stream:stream", {**PLAIN, "x:a": "1"}, "not-well-formed"),
        ("stream:stream:x", PLAIN, "invalid-namespace"),
    ],
)
def test_headers_that_are_refused(name, attrs, condition):
    with pytest.raises(Refused) as refused:
        read_scope(name, attrs)
    assert refused.value.condition in (condition, "not-well-formed")
    assert refused.value.text


def test_our_own_namespaces_may_pass():
    known = [value for name, value in vars(ns).items() if name.isupper() and name not in ("XML", "XMLNS")]
    assert len(known) > 50
    assert all(is_namespace(uri) for uri in known)
    assert not is_namespace(ns.XML)
    assert not is_namespace(ns.XMLNS)


@pytest.mark.parametrize(
    "uri", ["a b", "\n", "é", "a[b]", "a%zz", "a#b#c", "http://a:b/", "1:2", "//", "a\\b", "{a}"]
)
def test_what_is_no_uri_may_not_pass(uri):
    assert not is_namespace(uri)


@given(
    st.text("ab1:/?#@!$&'()*+,;=%.-~_2f[]é ", min_size=1, max_size=12),
    st.sampled_from(["", "urn:", "http://", "http://a"]),
)
def test_another_parser_takes_what_passes(rest, scheme):
    uri = scheme + rest
    if is_namespace(uri):
        assert etree.fromstring(f"<x xmlns='{escape(uri)}'/>").tag == f"{{{uri}}}x"
