"""Header fields, Via and CSeq."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.sip.headers import COMPACT, CSeq, Headers, Via
from ubiety.sip.syntax import SipSyntaxError, quote, split_list, unquote

HEADERS = Headers(
    [
        ("v", "SIP/2.0/TCP a;branch=1 , SIP/2.0/UDP b"),
        ("From", "<sip:a@h>"),
        ("VIA", "SIP/2.0/TLS c"),
        ("Subject", "one, two"),
        ("X-New", "x, y"),
    ]
)
NAMES = st.sampled_from(["Via", "v", "From", "f", "X-New", "x-new", "Contact", "Subject"])


def test_names_have_no_case_and_compact_forms_count():
    assert HEADERS.get("Via") == "SIP/2.0/TCP a;branch=1 , SIP/2.0/UDP b"
    assert HEADERS.get("f") == HEADERS.get("FROM") == "<sip:a@h>"
    assert HEADERS.get("To") is None
    assert "V" in HEADERS
    assert "t" not in HEADERS
    assert 7 not in HEADERS
    assert HEADERS.count("via") == 2


@pytest.mark.parametrize(("compact", "name"), COMPACT.items())
def test_compact_form(compact, name):
    assert Headers([(compact, "x")]).get(name) == "x"
    assert Headers([(name.title(), "x")]).get(compact.upper()) == "x"


def test_only_lists_are_split_at_commas():
    assert HEADERS.all("via") == ("SIP/2.0/TCP a;branch=1 , SIP/2.0/UDP b", "SIP/2.0/TLS c")
    assert HEADERS.values("via") == ("SIP/2.0/TCP a;branch=1", "SIP/2.0/UDP b", "SIP/2.0/TLS c")
    assert HEADERS.values("subject") == ("one, two",)
    assert HEADERS.values("x-new") == ("x, y",)
    assert HEADERS.values("accept") == ()
    assert Headers([("Accept", "")]).values("accept") == ()


def test_commas_in_quotes_and_brackets_do_not_split():
    assert split_list('"a, \\", b" <sip:x,y@h>;p="1,2", c') == ['"a, \\", b" <sip:x,y@h>;p="1,2"', "c"]
    assert split_list('"a, b') == ['"a, b']
    assert split_list("a,,b") == ["a", "", "b"]


def test_changes_make_new_headers():
    before = list(HEADERS)
    assert [name for name, _ in HEADERS.with_("via", "x")] == ["via", "From", "Subject", "X-New"]
    assert [name for name, _ in HEADERS.with_("To", "x")][-1] == "To"
    assert HEADERS.first("Via", "new").all("v")[0] == "new"
    assert next(iter(HEADERS.first("Max-Forwards", "70"))) == ("Max-Forwards", "70")
    assert next(iter(Headers([("From", "a"), ("Route", "b")]).first("Route", "c"))) == ("From", "a")
    assert HEADERS.added("v", "last").all("Via")[-1] == "last"
    assert HEADERS.without("VIA").all("via") == ()
    assert HEADERS.without("To") is HEADERS
    assert list(HEADERS) == before
    with pytest.raises(AttributeError):
        HEADERS.x = 1


@given(st.lists(st.tuples(NAMES, st.text(max_size=3)), max_size=8), NAMES)
def test_operations_agree_with_each_other(items, name):
    headers = Headers(items)
    rest = headers.without(name)
    assert rest.all(name) == ()
    assert headers.with_(name, "new").all(name) == ("new",)
    assert headers.with_(name, "new").without(name) == rest
    assert headers.added(name, "new").all(name) == (*headers.all(name), "new")
    assert headers.first(name, "new").all(name) == ("new", *headers.all(name))
    assert headers.get(name) == next(iter(headers.all(name)), None)
    for changed in (rest, headers.with_(name, "x"), headers.added(name, "x"), headers.first(name, "x")):
        assert changed == Headers(changed)
        assert all(changed.get(other) == Headers(list(changed)).get(other) for other, _ in changed)


@given(
    st.sampled_from(["SIP/2.0/UDP ", "SIP / 2.0 / TLS  ", "sip/2.0/WSS\t"]),
    st.sampled_from(["example.com", "[2001:db8::1]", "192.0.2.1:5060", "h : 5061"]),
    st.lists(
        st.sampled_from(
            [";branch=z9hG4bK-1.*", " ; received=2001:db8::1", ";rport", ';x="a;b"', ";ms-received-cid=3D"]
        ),
        max_size=4,
        unique=True,
    ),
)
def test_via_is_printed_as_it_came(protocol, sent_by, params):
    text = protocol + sent_by + "".join(params)
    via = Via.parse(text)
    assert str(via) == text
    assert Via.parse(str(via.replace())) == via
    assert Via.parse_list(f"{text},{text}") == (via, via)


def test_via():
    via = Via.parse("SIP/2.0/TCP proxy.example.com:5070;branch=z9hG4bK7;received=192.0.2.3;rport=4711")
    assert (via.transport, via.host, via.port) == ("TCP", "proxy.example.com", 5070)
    assert (via.branch, via.received, via.rport) == ("z9hG4bK7", "192.0.2.3", 4711)
    asked = Via.parse("SIP/2.0/UDP h;rport;branch=1")
    assert asked.rport is None
    assert asked.has("rport")
    answered = asked.with_param("received", "192.0.2.9").with_param("rport", "5062")
    assert str(answered) == "SIP/2.0/UDP h;rport=5062;branch=1;received=192.0.2.9"
    assert str(Via("TLS", "h", 5061, (("branch", "z9hG4bKx"),))) == "SIP/2.0/TLS h:5061;branch=z9hG4bKx"


@pytest.mark.parametrize(
    "text",
    ["", "SIP/2.0/UDP", "SIP/3.0/UDP h", "SIP/2.0/UDP h:", "SIP/2.0/UDP h:70000", "SIP/2.0/UDP h;;",
     "UDP h", "SIP/2.0/UDP h x", "SIP/2.0/UDP h;branch=1;branch=2", "SIP/2.0/UDP h,"],
)  # fmt: skip
def test_what_is_no_via_is_refused(text):
    with pytest.raises(SipSyntaxError):
        Via.parse_list(text)


@given(st.integers(0, 2**31 - 1), st.sampled_from(["INVITE", "a%b"]), st.sampled_from([" ", "\t", "  "]))
def test_cseq_is_printed_as_it_came(number, method, space):
    text = f"00{number}{space}{method}"
    assert str(CSeq.parse(text)) == text
    assert CSeq.parse(text) == CSeq(number, method)
    assert str(CSeq(number, method)) == f"{number} {method}"


@pytest.mark.parametrize(
    "text", ["", "1", "INVITE", "-1 INVITE", "2147483648 INVITE", "1 INVITE x", "1 a b", "١ INVITE"]
)
def test_what_is_no_cseq_is_refused(text):
    with pytest.raises(SipSyntaxError):
        CSeq.parse(text)


@given(st.text())
def test_quoting_can_be_undone(text):
    assert unquote(quote(text)) == text
