"""What a stream offers, and the small things that it says."""

from itertools import product

import pytest

from ubiety import jid
from ubiety.element import Element, parse_element
from ubiety.xmpp import features, ns
from ubiety.xmpp.features import C2sConfig


def config(**fields) -> C2sConfig:
    return C2sConfig(domains=lambda domain: True, default_domain="example.org", secret=b"s", **fields)


def parsed(data: bytes) -> Element:
    return parse_element(data, ns.CLIENT, {"stream": ns.STREAM})


SCRAM = ["SCRAM-SHA-256", "SCRAM-SHA-1"]
SCRAM_PLUS = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"]


@pytest.mark.parametrize(
    ("secure", "required", "plus", "endpoint_hash", "expected"),
    [
        (False, True, False, None, []),
        (False, True, True, b"h", []),
        (False, False, False, None, SCRAM),
        (False, False, True, b"h", SCRAM),
        (True, True, False, None, [*SCRAM, "PLAIN"]),
        (True, True, False, b"h", [*SCRAM, "PLAIN"]),
        (True, True, True, None, [*SCRAM, "PLAIN"]),
        (True, False, True, b"h", [*SCRAM_PLUS, *SCRAM, "PLAIN"]),
    ],
)
def test_mechanisms(secure, required, plus, endpoint_hash, expected):
    assert (
        features.list_mechanisms(secure, config(tls_required=required, plus=plus), endpoint_hash) == expected
    )


def test_plain_is_never_offered_in_the_clear():
    for required, plus, endpoint_hash in product((True, False), (True, False), (None, b"h")):
        assert "PLAIN" not in features.list_mechanisms(
            False, config(tls_required=required, plus=plus), endpoint_hash
        )


def test_login_features():
    found = parsed(features.login_features(False, config(), []))
    assert found.find("starttls", ns.TLS).find("required") is not None
    assert found.find("mechanisms", ns.SASL) is None
    found = parsed(features.login_features(False, config(tls_required=False), SCRAM))
    assert found.find("starttls", ns.TLS).find("required") is None
    found = parsed(features.login_features(True, config(registration=True), [*SCRAM_PLUS, *SCRAM]))
    assert found.find("starttls", ns.TLS) is None
    assert [m.text for m in found.find("mechanisms", ns.SASL).findall("mechanism")] == [*SCRAM_PLUS, *SCRAM]
    binding = found.find("sasl-channel-binding", ns.SASL_CHANNEL_BINDING)
    assert [child.get("type") for child in binding.elements] == ["tls-server-end-point"]
    assert found.find("register", ns.REGISTER_FEATURE) is not None


def test_session_features():
    extra = b"<c xmlns='http://jabber.org/protocol/caps'/>"
    found = parsed(features.session_features("example.org", config(extra_features=lambda domain: extra)))
    assert [(child.ns, child.name) for child in found.elements] == [
        (ns.BIND, "bind"),
        (ns.SESSION, "session"),
        (ns.SM, "sm"),
        (ns.CSI, "csi"),
        (ns.ROSTER_VERSIONING, "ver"),
        (ns.PRE_APPROVAL, "sub"),
        (ns.CAPS, "c"),
    ]


def test_header_escapes_what_it_quotes():
    data = features.stream_header("example.org", "a'b<&", jid.parse("o\\27neil@example.org/x"))
    header = parse_element(data.removeprefix(b"<?xml version='1.0'?>") + features.STREAM_END)
    assert (header.ns, header.name) == (ns.STREAM, "stream")
    assert header.attrs == {
        "from": "example.org",
        "to": r"o\27neil@example.org",
        "id": "a'b<&",
        "version": "1.0",
        "xml:lang": "en",
    }


def test_stream_error_carries_an_application_condition():
    error = parsed(features.stream_error("undefined-condition", "a < b", b"<mine xmlns='urn:example:x'/>"))
    assert [(child.ns, child.name) for child in error.elements] == [
        (ns.STREAM_ERRORS, "undefined-condition"),
        (ns.STREAM_ERRORS, "text"),
        ("urn:example:x", "mine"),
    ]
    assert error.find("text", ns.STREAM_ERRORS).text == "a < b"


def test_sasl_failure():
    failure = parsed(features.sasl_failure("not-authorized", "<no>"))
    assert [child.name for child in failure.elements] == ["not-authorized", "text"]
    with pytest.raises(KeyError):
        features.sasl_failure("no-such-condition")


def test_results_and_refusals_escape_what_they_quote():
    address = jid.make("alice", "example.org", "a&b<c>'")
    result = parsed(features.bind_result("i'd", address))
    assert result.get("id") == "i'd"
    assert result.find("bind", ns.BIND).find("jid").text == address.text
    refusal = parsed(features.stanza_refusal("message", "<'>", "x@example.org/'", "jid-malformed", "a < b"))
    assert refusal.attrs == {"type": "error", "id": "<'>", "from": "x@example.org/'"}
    assert refusal.find("error").get("type") == "modify"
    assert parsed(features.stanza_refusal("presence", None, None, "bad-request")).attrs == {"type": "error"}


def test_stream_management_answers():
    assert parsed(features.sm_enabled("i<d", 300, True)).attrs == {
        "id": "i<d",
        "resume": "true",
        "max": "300",
    }
    assert parsed(features.sm_enabled("id", None, True)).attrs == {"id": "id", "resume": "true"}
    assert parsed(features.sm_enabled("id", 300, False)).attrs == {}
    assert parsed(features.sm_resumed("i'd", 7)).attrs == {"previd": "i'd", "h": "7"}
    failed = parsed(features.sm_failed("item-not-found", 3))
    assert failed.attrs == {"h": "3"}
    assert failed.find("item-not-found", ns.STANZA_ERRORS) is not None
