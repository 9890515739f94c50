"""SIP addresses: printed as they came, compared as RFC 3261 §19.1.4 says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.sip.syntax import SipSyntaxError
from ubiety.sip.uri import NameAddr, OtherUri, SipUri, escape_user, parse_uri

USER = st.text(alphabet="abcXYZ019-_.!~*'()&=+$,;?/", min_size=1, max_size=12)
ESCAPE = st.sampled_from(["%40", "%c3%A9", "%00", "%2D"])
HOST = st.sampled_from(
    ["example.com", "EXAMPLE.com", "192.0.2.1", "[2001:db8::1]", "h", "a-b.example.", "x_y"]
)
PARAM = st.tuples(
    st.sampled_from(["lr", "transport", "opaque", "gruu", "ms-opaque", "%6C%72", "x"]),
    st.none() | st.sampled_from(["", "user:epid:3A_k3K1e5", "tcp", "a[b]/c:d&e+f$g", "YWJj==", "%3B"]),
)


@st.composite
def sip_uris(draw):
    """Texts of SIP addresses in all their forms."""
    user = draw(st.none() | st.lists(USER | ESCAPE, min_size=1, max_size=3).map("".join))
    password = draw(st.none() | st.sampled_from(["", "se%20cret", "a,b"])) if user else None
    port = draw(st.none() | st.sampled_from(["5060", "05061", "0"]))
    params = draw(st.lists(PARAM, max_size=3, unique_by=lambda pair: pair[0]))
    headers = draw(st.none() | st.sampled_from(["Route=%3Csip:h%3E", "a=b&c=d"]))
    return "".join(
        [
            draw(st.sampled_from(["sip:", "sips:", "SIP:"])),
            "" if user is None else user + ("" if password is None else f":{password}") + "@",
            draw(HOST),
            "" if port is None else f":{port}",
            *(f";{name}" if value is None else f";{name}={value}" for name, value in params),
            "" if headers is None else f"?{headers}",
        ]
    )


def test_gruu_of_microsoft_is_not_escaped_anew():
    text = "sip:alice@example.com;opaque=user:epid:AbC;gruu"
    uri = SipUri.parse(text)
    assert str(uri) == text
    assert uri.param("opaque") == "user:epid:AbC"
    assert uri.has("gruu")
    assert uri.param("gruu") == ""
    assert str(uri.replace(port=5061)) == "sip:alice@example.com:5061;opaque=user:epid:AbC;gruu"
    assert str(uri.with_param("lr")) == text + ";lr"
    assert str(NameAddr.parse(f"<{text}>;tag=1").replace(params=())) == f"<{text}>"


@given(sip_uris())
def test_address_is_printed_as_it_came(text):
    uri = SipUri.parse(text)
    assert str(uri) == text
    assert uri.matches(uri)
    assert parse_uri(text) == uri


@given(sip_uris())
def test_new_address_says_the_same(text):
    uri = SipUri.parse(text)
    printed = str(uri.replace())
    assert SipUri.parse(printed) == uri
    assert SipUri.parse(printed).matches(uri)


@given(
    st.sampled_from(["", '"Alice \\"A\\" <x>, y" ', "Alice B. ", '"" ', "Zoë "]),
    sip_uris(),
    st.lists(st.sampled_from([";tag=1a", " ; epid = 3f", ';x="a;,>\\""', ";y="]), max_size=4, unique=True),
)
def test_name_and_address_are_printed_as_they_came(display, uri, params):
    text = f"{display}<{uri}>{''.join(params)}"
    value = NameAddr.parse(text)
    assert str(value) == text
    assert str(value.uri) == uri
    assert len(value.params) == len(params)
    assert NameAddr.parse(str(value.replace())) == value
    assert NameAddr.parse_list(f"{text}, {text}") == (value, value)


@given(st.text(max_size=20))
def test_any_text_can_be_a_user(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    if text:
        assert SipUri.parse(f"sip:{escape_user(text)}@h").decoded_user == text


@given(st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20))
def test_any_text_without_line_breaks_can_be_a_name(text):
    printed = str(NameAddr(text, SipUri("sip", "a", "", "h")))
    assert NameAddr.parse(printed).display == text


def test_parts():
    uri = SipUri.parse("sips:Al%69ce:secret@Example.COM:5061;transport=TLS;lr?Subject=x")
    assert (uri.scheme, uri.user, uri.password, uri.host, uri.port) == (
        "sips", "Al%69ce", "secret", "Example.COM", 5061
    )  # fmt: skip
    assert uri.aor == "Alice@example.com"
    assert uri.transport == "tls"
    assert uri.headers == "Subject=x"
    assert SipUri.parse("sip:pool.example.com").aor == "pool.example.com"
    assert SipUri.parse("sip:%ff@h").aor == "%ff@h"
    assert SipUri.parse("sip:[2001:db8::1]:5060").host == "[2001:db8::1]"


@pytest.mark.parametrize(
    "text",
    [
        "", "sip:", "sip:@h", "sip:a@", "sip:a@b@c", "sip:a b@h", "sip:a@h:", "sip:a@h:99999", "sip:a@h:1:2",
        "sip:a@h;", "sip:a@h;;lr", "sip:a@h;lr;LR", "sip:a@h;x=a@b", "sip:%zz@h", "sip:a@-h", "sip:a@h?",
        "sip:a@h\r\nVia: x", "sip:a@h;x=\0", "sip:ä@h", "<sip:a@h>", "sipx", "a@h", "1:2",
        "sip :a@h", "sip:[::1",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    with pytest.raises(SipSyntaxError):
        parse_uri(text)


def test_other_schemes_are_kept_as_text():
    uri = parse_uri("TEL:+1-201-555-0123;phone-context=example.com")
    assert uri == OtherUri("tel", "TEL:+1-201-555-0123;phone-context=example.com")
    assert str(uri) == "TEL:+1-201-555-0123;phone-context=example.com"
    assert parse_uri("sipx:a").scheme == "sipx"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
    ],
)  # the examples of RFC 3261 §19.1.4
def test_equal_addresses(left, right):
    assert SipUri.parse(left).matches(SipUri.parse(right))
    assert SipUri.parse(right).matches(SipUri.parse(left))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;user=phone"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;maddr=192.0.2.1"),
        ("sip:bob@biloxi.com:6000;transport=tcp", "sip:bob@biloxi.com"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:a%40b@h", "sip:a@h"),
        ("sip:a@h", "sips:a@h"),
        ("sip:%3b@h", "sip:;@h"),
    ],
)
def test_different_addresses(left, right):
    assert not SipUri.parse(left).matches(SipUri.parse(right))
    assert not SipUri.parse(right).matches(SipUri.parse(left))


def test_name_and_address():
    value = NameAddr.parse('"Bob \\"B\\"" <sip:bob@h;lr>;tag=a;+sip.instance="<urn:uuid:1>";flag')
    assert value.display == 'Bob "B"'
    assert value.uri.has("lr")
    assert not value.has("lr")
    assert value.tag == "a"
    assert value.param("+sip.instance") == "<urn:uuid:1>"
    assert value.param("flag") == ""
    assert value.param("other") is None
    assert str(value.without_params()) == '"Bob \\"B\\"" <sip:bob@h;lr>'


def test_name_that_is_no_utf_8_is_readable_and_printed_as_it_came():
    text = b'"Zo\xeb" <sip:z@h>'.decode("utf-8", "surrogateescape")
    assert NameAddr.parse(text).display == "Zo\ufffd"
    assert str(NameAddr.parse(text)) == text


def test_without_brackets_the_parameters_are_the_headers():
    value = NameAddr.parse("sip:bob@h;tag=7")
    assert str(value.uri) == "sip:bob@h"
    assert value.tag == "7"
    assert str(value.replace()) == "<sip:bob@h>;tag=7"


def test_parameter_is_added_or_changed():
    assert str(NameAddr.parse("Bob <sip:b@h>").with_param("tag", "1")) == "Bob <sip:b@h>;tag=1"
    assert str(NameAddr.parse("sip:b@h").with_param("tag", "1")) == "sip:b@h;tag=1"
    assert str(NameAddr.parse("<sip:b@h>;Tag=0;x").with_param("tag", "1")) == "<sip:b@h>;tag=1;x"
    assert str(NameAddr.parse("<sip:b@h>").with_param("y", "a b")) == '<sip:b@h>;y="a b"'
    assert str(NameAddr.parse("<sip:b@h>").with_param("lr")) == "<sip:b@h>;lr"


@pytest.mark.parametrize(
    "text",
    [
        "", "<>", "<sip:a@h", "sip:a@h>", '"a <sip:a@h>', "a, b <sip:a@h>", "< sip:a@h >", "<sip:a@h>;;",
        "<sip:a@h>x", "<sip:a@h>;tag=1;tag=2", '<sip:a@h>;x="', "sip:a@h?x=y", "<sip:a@h><sip:b@h>",
        "<sip:a@h>;tag=\xe4", "<sip:a@h>;tag=\udcff", "<sip:a@h>;x=\0",
        '"a" "b" <sip:a@h>', "*",
    ],
)  # fmt: skip
def test_what_is_no_name_and_address_is_refused(text):
    with pytest.raises(SipSyntaxError):
        NameAddr.parse(text)
