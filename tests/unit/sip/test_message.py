"""Messages as values. The first four tests are faults that another SIP library was seen to have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sip.sip_inputs import MESSAGE, NOTIFY, OK, ORDINARY
from ubiety.sip.framing import Pong, StreamFraming, parse_datagram
from ubiety.sip.headers import Headers
from ubiety.sip.message import (
    REASONS,
    MessageError,
    Request,
    Response,
    make_request,
    make_response,
    parse_message,
    validate,
)
from ubiety.sip.reasons import reason_of
from ubiety.sip.syntax import SipSyntaxError
from ubiety.sip.uri import NameAddr, SipUri

SUBSCRIBE = (
    b"SUBSCRIBE sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKabc\r\n"
    b"Max-Forwards: 70\r\n"
    b"From: <sip:alice@example.com>;tag=a1\r\n"
    b"To: <sip:bob@example.com>\r\n"
    b"Call-ID: c1@example.com\r\n"
    b"CSeq: 1 SUBSCRIBE\r\n"
    b"Contact: <sip:alice@example.com;opaque=user:epid:AbC;gruu>\r\n"
    b"Event: presence;id=7\r\n"
    b"Content-Length: 0\r\n"
    b"\r\n"
)


def changed(old: bytes, new: bytes) -> Request:
    """Return the request with some of its bytes replaced."""
    assert old in SUBSCRIBE
    message = parse_message(SUBSCRIBE.replace(old, new))
    assert isinstance(message, Request)
    validate(message)
    return message


def test_folded_lines_belong_to_the_header_above():
    request = changed(
        b"bob@example.com>\r\n",
        b"bob@example.com>\r\n\t;x=1\r\n ;Subject: not=header\r\n".replace(b": ", b""),
    )
    assert [name for name, _ in request.headers] == [name for name, _ in changed(b"70", b"70").headers]
    assert (request.to.param("x"), request.to.param("Subjectnot")) == ("1", "header")
    with_colon = changed(b"Event: presence;id=7", b"Event: presence\r\n ;id=7\r\nSubject: one\r\n To: two")
    assert with_colon.headers.get("Subject") == "one To: two"
    assert with_colon.headers.count("To") == 1
    assert with_colon.event == ("presence", {"id": "7"})


def test_space_before_the_colon_is_not_part_of_the_name():
    request = changed(b"Call-ID: c1", b"Call-ID \t: c1")
    assert request.call_id == "c1@example.com"
    assert request.headers.get("call-id") == "c1@example.com"


def test_line_breaks_before_a_message_are_left_out():
    assert parse_datagram(b"\r\n\r\n" + SUBSCRIBE) == parse_message(SUBSCRIBE)
    items = StreamFraming().receive(b"\r\n" + SUBSCRIBE)
    assert items == [Pong(), parse_message(SUBSCRIBE)]


def test_parameters_of_addresses_are_not_escaped_anew():
    request = changed(b"sip:bob@example.com SIP", b"sip:bob@example.com;opaque=user:epid:AbC SIP")
    assert b";opaque=user:epid:AbC SIP/2.0" in request.to_bytes()
    assert str(request.target) == "sip:bob@example.com;opaque=user:epid:AbC"
    assert str(request.contact) == "<sip:alice@example.com;opaque=user:epid:AbC;gruu>"


@pytest.mark.parametrize("data", [*ORDINARY, SUBSCRIBE])
def test_message_is_printed_as_it_came(data):
    message = parse_message(data)
    validate(message)
    assert message.to_bytes() == data


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Subject", "X-a.b!", "v", "Accept"]),
            st.text(
                alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=10
            ).map(lambda text: text.strip(" \t")),
        ),
        max_size=5,
    ),
    st.binary(max_size=40),
)
def test_any_headers_and_body_come_back(items, body):
    request = Request("MESSAGE", "sip:a@h", Headers(items), body)
    data = request.to_bytes()
    back = parse_message(data)
    assert back.body == body
    assert list(back.headers) == [*items, ("Content-Length", str(len(body)))]
    assert back.to_bytes() == data


@given(st.binary(max_size=60).filter(lambda data: b"\r" not in data and b"\n" not in data))
def test_bytes_that_are_no_utf_8_come_back(value):
    data = SUBSCRIBE.replace(b"70", b"70\r\nX: " + value.strip(b" \t"))
    assert parse_message(data).to_bytes() == data


def test_typed_values():
    request = parse_message(NOTIFY)
    assert request.via is request.via
    assert (request.via.host, request.via.branch) == ("192.0.2.7", "z9hG4bKb33f")
    assert (request.from_.tag, request.to.display, request.to.param("epid")) == (
        "77",
        "Alice Example",
        "3f1e9a7b21",
    )
    assert (request.cseq.number, request.max_forwards, request.expires) == (2, 70, None)
    assert (request.content_type, request.content_params) == ("application/pidf+xml", {})
    assert request.contact.uri.host == "group.example.com"
    assert request.routes[0].uri.port == 5061
    assert request.record_routes == ()
    assert parse_message(MESSAGE).content_params == {"charset": "UTF-8"}
    assert parse_message(MESSAGE).body.decode().startswith("Shall we meet at ten? ☕")
    response = parse_message(OK)
    assert (response.status, response.reason, response.content_type) == (200, "OK", "")
    assert (response.event, response.contact, response.expires) == (None, None, None)


def test_contact_of_all_stands_for_none():
    request = changed(b"<sip:alice@example.com;opaque=user:epid:AbC;gruu>", b"*")
    assert request.contacts == ()
    assert request.headers.get("Contact") == "*"


def test_numbers_out_of_bounds():
    assert changed(b"Event:", b"Expires: 99999999999999999999\r\nEvent:").expires == 2**32 - 1
    assert changed(b"Max-Forwards: 70", b"Max-Forwards: 0255").max_forwards == 255
    for old, new in [
        (b"Max-Forwards: 70", b"Max-Forwards: 256"),
        (b"Max-Forwards: 70", b"Max-Forwards: -1"),
        (b"CSeq: 1", b"CSeq: 2147483648"),
        (b"Event:", b"Expires: soon\r\nEvent:"),
    ]:
        with pytest.raises(MessageError) as caught:
            changed(old, new)
        assert caught.value.status == 400
        assert caught.value.method == "SUBSCRIBE"
        assert caught.value.head.get("Call-ID") == "c1@example.com"


@pytest.mark.parametrize("line", ["Via", "From", "To", "Call-ID", "CSeq"])
def test_what_must_be_there_is_missed(line):
    message = parse_message(SUBSCRIBE)
    with pytest.raises(MessageError, match=f"no {line.lower()}"):
        validate(message.replace(headers=message.headers.without(line)))


@pytest.mark.parametrize("line", ["From", "To", "Call-ID", "CSeq", "Max-Forwards", "Event", "Content-Length"])
def test_what_may_be_there_once_is_refused_twice(line):
    message = parse_message(SUBSCRIBE)
    twice = message.headers.added(line, message.headers.get(line))
    with pytest.raises(MessageError, match="more than one"):
        validate(message.replace(headers=twice))


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"SIP/2.0\r\nVia", b"SIP/3.0\r\nVia", 505),
        (b"sip:bob@example.com SIP", b"tel:+1 SIP", 416),
        (b"sip:bob@example.com SIP", b"sip:bob@example.com;method=BYE SIP", 400),
        (b"CSeq: 1 SUBSCRIBE", b"CSeq: 1 subscribe", 400),
        (b"Call-ID: c1@", b"Call-ID: c1 @", 400),
        (b"Call-ID: c1@", b"Call-ID: c1\xff@", 400),
        (b"tag=a1", b"tag=\xff", 400),
        (b"Max-Forwards: 70\r\n", b"Max-Forwards: 70\r\nSubject\r\n", 400),
        (b"Max-Forwards: 70\r\n", b"Max-Forwards: 70\r\n: x\r\n", 400),
        (b"Max-Forwards: 70\r\n", b"Max-Forwards: 70\r\nA B: x\r\n", 400),
        (b"Max-Forwards: 70\r\n", b"Max-Forwards: 70\nVia: x\r\n", 400),
        (b"Max-Forwards: 70\r\n", b"Max-Forwards: 70\rVia: x\r\n", 400),
        (b"Content-Length: 0", b"Content-Length: 1", 400),
        (b"Content-Length: 0", b"Content-Length: x", 400),
        (b"Event: presence", b"Event: pre sence", 400),
        (b"Content-Length: 0", b"Content-Type: text\r\nContent-Length: 0", 400),
        (b"Contact: <", b"Contact: a, <", 400),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused(old, new, status):
    with pytest.raises(MessageError) as caught:
        changed(old, new)
    assert caught.value.status == status
    assert caught.value.method == "SUBSCRIBE"


def test_body_of_a_datagram_ends_at_its_length_or_its_end():
    assert parse_message(MESSAGE + b"more").body == parse_message(MESSAGE).body
    without = SUBSCRIBE.replace(b"Content-Length: 0\r\n", b"") + b"to the end"
    assert parse_message(without).body == b"to the end"


def test_made_request():
    request = make_request(
        "MESSAGE",
        SipUri.parse("sip:bob@h"),
        NameAddr.parse("<sip:alice@h>;tag=1"),
        "<sip:bob@h>",
        "c1",
        7,
        contact="<sip:group.example.com>",
        headers=[("Supported", "x")],
        content_type="text/plain",
        body="Zoë".encode(),
    ).replace(method="MESSAGE")
    assert request.to_bytes() == (
        b"MESSAGE sip:bob@h SIP/2.0\r\nMax-Forwards: 70\r\nFrom: <sip:alice@h>;tag=1\r\nTo: <sip:bob@h>\r\n"
        b"Call-ID: c1\r\nCSeq: 7 MESSAGE\r\nContact: <sip:group.example.com>\r\nSupported: x\r\n"
        b"Content-Type: text/plain\r\nContent-Length: 4\r\n\r\nZo\xc3\xab"
    )
    validate(request.replace(headers=request.headers.first("Via", "SIP/2.0/TCP h;branch=z9hG4bK1")))


def test_made_response():
    request = parse_message(
        SUBSCRIBE.replace(b"Max-", b"v: SIP/2.0/UDP h\r\nRecord-Route: <sip:p;lr>\r\nTimestamp: 54\r\nMax-")
    )
    response = make_response(request, 200, to_tag="b2", headers=[("Expires", "60")])
    assert response.to_bytes() == (
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKabc\r\nVia: SIP/2.0/UDP h\r\n"
        b"Record-Route: <sip:p;lr>\r\n"
        b"From: <sip:alice@example.com>;tag=a1\r\nTo: <sip:bob@example.com>;tag=b2\r\n"
        b"Call-ID: c1@example.com\r\nCSeq: 1 SUBSCRIBE\r\nExpires: 60\r\nContent-Length: 0\r\n\r\n"
    )
    validate(response)
    trying = make_response(request, 100)
    assert trying.to.tag is None
    assert trying.headers.get("Timestamp") == "54"
    assert "Record-Route" not in trying.headers
    refusal = make_response(request, 499, "Odd", to_tag="x", content_type="text/plain", body=b"why")
    assert (refusal.reason, refusal.content_type, refusal.body) == ("Odd", "text/plain", b"why")
    assert refusal.replace(body=b"").to_bytes().endswith(b"Content-Length: 0\r\n\r\n")
    assert isinstance(refusal, Response)


def test_tag_that_is_there_is_kept():
    request = changed(b"bob@example.com>", b"bob@example.com>;tag=old")
    assert make_response(request, 200, to_tag="new").to.tag == "old"


@pytest.mark.parametrize("text", ["a\r\nEvil: 1", "a\nEvil: 1", "a\rb"])
def test_line_break_in_a_header_is_never_printed(text):
    message = parse_message(SUBSCRIBE)
    with pytest.raises(ValueError, match="line break"):
        message.replace(headers=message.headers.added("Subject", text)).to_bytes()
    with pytest.raises(ValueError, match="line break"):
        message.replace(uri=text).to_bytes()


def test_wrong_length_is_corrected():
    assert (
        parse_message(SUBSCRIBE).replace(body=b"four").to_bytes().endswith(b"Content-Length: 4\r\n\r\nfour")
    )


def test_reasons():
    assert reason_of(404) == REASONS[404] == "Not Found"
    assert reason_of(499) == "Bad Request"
    assert reason_of(199) == "Session Progress"


def test_missing_header_is_a_syntax_error():
    with pytest.raises(SipSyntaxError):
        _ = Request("BYE", "sip:a@h", Headers()).via
