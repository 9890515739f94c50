"""The torture messages of RFC 4475: what becomes of each, in one table.

The files are the RFC's own bytes. "Accepted" means that the core hands the message on; who answers it
then, and with what, stands in the last column. A response that is refused is dropped. `test` is in the
RFC's archive but not in its text.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.sip.sip_inputs import receive_pieces, view
from ubiety.sip.framing import Malformed, Pong, StreamFraming, parse_datagram
from ubiety.sip.message import Message, Request, Response
from ubiety.sip.uri import OtherUri, SipUri

DATA = Path(__file__).parents[2] / "data" / "rfc4475"


@dataclass(frozen=True)
class Accepted:
    """The message is passed on."""


@dataclass(frozen=True)
class Refused:
    """The request is answered with this status, with a text that has these words."""

    status: int
    words: str


@dataclass(frozen=True)
class Dropped:
    """The response is not passed on; nothing is answered."""

    words: str


ACCEPTED = Accepted()

# name: section, what becomes of it, why (or who decides further on)
TABLE: dict[str, tuple[str, Accepted | Refused | Dropped, str]] = {
    "wsinv": ("3.1.1.1", ACCEPTED, "odd but legal white space, folding, compact names"),
    "intmeth": ("3.1.1.2", ACCEPTED, "every character that is legal; the user answers 405 or 501"),
    "esc01": ("3.1.1.3", ACCEPTED, "escapes stay as they are and are resolved for comparison"),
    "escnull": ("3.1.1.4", ACCEPTED, "an escaped NUL is part of the name"),
    "esc02": ("3.1.1.5", ACCEPTED, "a % outside an address escapes nothing"),
    "lwsdisp": ("3.1.1.6", ACCEPTED, "no space between name and <"),
    "longreq": ("3.1.1.7", ACCEPTED, "long values"),
    "dblreq": ("3.1.1.8", ACCEPTED, "the first request only: what follows in the datagram is left out"),
    "semiuri": ("3.1.1.9", ACCEPTED, "the semicolon belongs to the user"),
    "transports": ("3.1.1.10", ACCEPTED, "unknown transports in Via"),
    "mpart01": ("3.1.1.11", ACCEPTED, "multipart, with binary data"),
    "unreason": ("3.1.1.12", ACCEPTED, "a reason in UTF-8"),
    "noreason": ("3.1.1.13", ACCEPTED, "no reason"),
    "badinv01": ("3.1.2.1", Refused(400, "not a parameter"), "separators with nothing between"),
    "clerr": ("3.1.2.2", Refused(400, "shorter than its Content-Length"), ""),
    "ncl": ("3.1.2.3", Refused(400, "Content-Length is not a number"), ""),
    "scalar02": ("3.1.2.4", Refused(400, "CSeq is over"), "or Max-Forwards, which is over 255"),
    "scalarlg": ("3.1.2.5", Dropped("CSeq is over"), ""),
    "quotbal": ("3.1.2.6", Refused(400, "not an address"), "the quoted string has no end"),
    "ltgtruri": ("3.1.2.7", Refused(400, "not an address"), "the Request-URI is in <>"),
    "lwsruri": ("3.1.2.8", Refused(400, "not a request"), "space in the Request-URI"),
    "lwsstart": ("3.1.2.9", Refused(400, "not a request"), "two spaces; liberal reading is allowed too"),
    "trws": ("3.1.2.10", Refused(400, "not a request"), "spaces at the end; liberal reading is allowed too"),
    "escruri": ("3.1.2.11", Refused(400, "Request-URI"), "headers in the Request-URI"),
    "baddate": ("3.1.2.12", ACCEPTED, "a bad Date: we do not use it, which the RFC allows"),
    "regbadct": ("3.1.2.13", Refused(400, "not a parameter"), "a ? outside <>"),
    "badaspec": ("3.1.2.14", Refused(400, "not an address"), "spaces inside <>; may be read liberally too"),
    "baddn": (
        "3.1.2.15",
        Refused(400, "no end"),
        "a comma in a name without quotes; the file is cut short too",
    ),
    "badvers": ("3.1.2.16", Refused(505, "SIP/7.0"), ""),
    "mismatch01": ("3.1.2.17", Refused(400, "CSeq is for"), ""),
    "mismatch02": ("3.1.2.18", Refused(400, "CSeq is for"), "or 501, as the method is unknown too"),
    "bigcode": ("3.1.2.19", Dropped("not a response"), ""),
    "badbranch": ("3.2.1", ACCEPTED, "the transaction layer matches it as RFC 2543 has it"),
    "insuf": ("3.3.1", Refused(400, "no from"), "and no To and Call-ID"),
    "unkscm": ("3.3.2", Refused(416, "nobodyknowsthisscheme"), ""),
    "novelsc": ("3.3.3", Refused(416, "soap.beep"), ""),
    "unksm2": ("3.3.4", ACCEPTED, "other schemes in From, To, Contact: the registrar answers 400 or 404"),
    "bext01": ("3.3.5", ACCEPTED, "the user answers 420"),
    "invut": ("3.3.6", ACCEPTED, "the user answers 415"),
    "regaut01": ("3.3.7", ACCEPTED, "an unknown scheme proves nothing: challenged again, or let in without"),
    "multi01": ("3.3.8", Refused(400, "more than one from"), ""),
    "mcl01": ("3.3.9", Refused(400, "more than one Content-Length"), ""),
    "bcast": ("3.3.10", ACCEPTED, "the second Via is a broadcast: the agent drops responses with two Vias"),
    "zeromf": ("3.3.11", ACCEPTED, "a proxy answers 483, the user answers OPTIONS"),
    "cparam01": ("3.3.12", ACCEPTED, "the parameter is the header's"),
    "cparam02": ("3.3.13", ACCEPTED, "the parameter is the address's"),
    "regescrt": ("3.3.14", ACCEPTED, "the address in Contact has headers, which the registrar leaves out"),
    "sdp01": ("3.3.15", ACCEPTED, "the user answers 406"),
    "inv2543": ("3.4.1", ACCEPTED, "an INVITE of RFC 2543: no branch, no Max-Forwards, no length, no tag"),
    "test": ("-", Refused(400, "not a request"), "no version, no Via: not even answered"),
}


def bytes_of(name: str) -> bytes:
    """Return the RFC's message."""
    return (DATA / f"{name}.dat").read_bytes()


def request(name: str) -> Request:
    """Return one of the requests that are accepted."""
    item = parse_datagram(bytes_of(name))
    assert isinstance(item, Request)
    return item


def response(name: str) -> Response:
    """Return one of the responses that are accepted."""
    item = parse_datagram(bytes_of(name))
    assert isinstance(item, Response)
    return item


def test_table_has_all_messages():
    assert {path.stem for path in DATA.glob("*.dat")} == set(TABLE)
    assert len(TABLE) == 50


@pytest.mark.parametrize("name", TABLE)
def test_outcome_in_a_datagram(name):
    _, expected, _ = TABLE[name]
    item = parse_datagram(bytes_of(name))
    if expected == ACCEPTED:
        assert isinstance(item, Message)
        return
    assert isinstance(item, Malformed)
    assert expected.words in item.error.text
    if isinstance(expected, Dropped) or name == "test":
        assert item.answer is None
        return
    assert item.error.status == expected.status
    answer = parse_datagram(item.answer)
    if name not in (
        "badinv01",
        "quotbal",
        "badaspec",
        "multi01",
        "insuf",
        "mismatch01",
        "mismatch02",
        "badvers",
    ):
        assert item.answer.startswith(b"SIP/2.0 %d " % expected.status)
    if isinstance(answer, Response):  # else the answer has to repeat what was bad
        assert answer.status == expected.status
        assert answer.to.tag


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row[1] == ACCEPTED])
def test_accepted_is_printed_without_loss(name):
    first = parse_datagram(bytes_of(name))
    printed = first.to_bytes()
    second = parse_datagram(printed)
    assert second.to_bytes() == printed
    assert second.body == first.body
    assert [pair for pair in second.headers if pair[0] != "Content-Length"] == [
        pair for pair in first.headers if pair[0] != "Content-Length"
    ]


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if name not in ("baddn", "test")])
def test_stream_tells_the_same_wherever_it_is_cut(name):
    data = bytes_of(name) + bytes_of("lwsdisp")
    whole = StreamFraming().receive(data)
    assert view(receive_pieces(data, list(range(len(data))))) == view(whole)
    _, expected, _ = TABLE[name]
    if name not in ("inv2543", "clerr"):  # without a length a stream cannot go on; with a wrong one it waits
        assert isinstance(whole[0], Malformed) is (expected != ACCEPTED)


@pytest.mark.parametrize("name", ["quotbal", "badinv01", "escruri", "mismatch01", "badvers", "unkscm"])
def test_stream_goes_on_behind_a_bad_message(name):
    items = StreamFraming().receive(bytes_of(name) + bytes_of("lwsdisp"))
    assert isinstance(items[0], Malformed)
    assert not items[0].is_fatal
    assert items[-1] == request("lwsdisp")


@pytest.mark.parametrize("name", ["ncl", "mcl01", "inv2543"])
def test_stream_ends_where_the_length_is_not_known(name):
    items = StreamFraming().receive(bytes_of(name) + bytes_of("lwsdisp"))
    assert len(items) == 1
    assert items[0].is_fatal


def test_two_requests_in_a_stream():
    items = StreamFraming().receive(bytes_of("dblreq"))
    assert [type(item) for item in items] == [Request, Pong, Request, Malformed]
    # The second body is three bytes longer than it says.
    assert items[-1].is_fatal
    assert [item.method for item in items if isinstance(item, Request)] == ["REGISTER", "INVITE"]


def test_wsinv_is_understood():
    message = request("wsinv")
    assert message.call_id == "wsinv.ndaksdj@192.0.2.1"
    assert [(via.transport, via.host, via.branch) for via in message.vias] == [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ]
    assert message.max_forwards == 68
    assert (message.cseq.number, message.cseq.method) == (9, "INVITE")
    assert message.to.tag == "1918181833n"
    assert message.from_.display == 'J Rosenberg \\"'
    assert message.from_.tag == "98asjd8"
    assert message.headers.get("Subject") == ""
    assert message.headers.get("newfangledheader") == "newfangled value continued newfangled value"
    assert message.contact.display == 'Quoted string ""'
    assert (message.contact.param("newparam"), message.contact.param("q")) == ("newvalue", "0.33")
    assert message.contact.has("secondparam")
    route = message.routes[0].uri
    assert (route.param("lr"), route.param("unknownwith"), route.has("unknown-no-value")) == (
        "",
        "value",
        True,
    )
    assert message.content_type == "application/sdp"
    assert len(message.body) == 150


def test_intmeth_is_understood():
    message = request("intmeth")
    assert message.method == message.cseq.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert message.target.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert message.target.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert message.to.display == "BEL:\a NUL:\0 DEL:\x7f"
    assert message.from_.display == "token1~` token2'+_ token3*%!.-"
    assert message.from_.param("fromparam''~+*_!.-%") == "работающий"
    assert message.from_.tag == "_token~1'+`*%!-."
    assert message.headers.get("extensionHeader-!.%*+_`'~") == "\ufeff大停電"
    assert message.max_forwards == 255


def test_escapes_are_understood():
    message = request("esc01")
    assert message.target.decoded_user == "sips:user@example.com"
    assert message.target.aor == "sips:user@example.com@example.net"
    assert message.to.uri.aor == "user@example.com"
    assert message.from_.uri.decoded_user == "I have spaces"
    assert message.contact.uri.matches(
        SipUri.parse("sip:caller@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31")
    )
    assert message.contact.uri.matches(SipUri.parse("sip:caller@host5.example.net;lr;name=value%2541"))
    assert request("escnull").to.uri.decoded_user == "null-\0-null"
    assert [contact.uri.decoded_user for contact in request("escnull").contacts] == ["\0", "\0\0"]


def test_percent_escapes_nothing_outside_addresses():
    message = request("esc02")
    assert message.method == "RE%47IST%45R"
    assert message.to.display == "%Z%45"
    assert message.via.branch == "z9hG4bK209%fzsnel234"
    assert [contact.uri.user for contact in message.contacts] == ["alias1", "alias3"]
    assert message.headers.get("C%6Fntact") == "<sip:alias2@host2.example.com>"


def test_other_valid_ones_are_understood():
    assert request("lwsdisp").from_.display == "caller"
    assert len(request("longreq").vias) == 34
    assert request("longreq").from_.uri.user == "amazinglylongcallername" * 5
    assert request("dblreq").method == "REGISTER"
    assert request("dblreq").body == b""
    assert request("semiuri").target.decoded_user == "user;par=u@example.net"
    assert request("semiuri").target.host == "example.com"
    assert request("semiuri").headers.values("accept")[-1] == "message/sipfrag"
    assert [via.transport for via in request("transports").vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]
    assert request("mpart01").content_params == {"boundary": "7a9cbec02ceef655"}
    assert len(request("mpart01").body) == 553
    assert response("unreason").reason.startswith("= 2**3 * 5**2 но сто девяносто девять")
    assert response("noreason").reason == ""


def test_what_the_user_has_to_answer_can_be_seen():
    assert request("badbranch").via.branch == "z9hG4bK"
    assert request("zeromf").max_forwards == 0
    assert request("bext01").headers.values("Require") == ("nothingSupportsThis", "nothingSupportsThisEither")
    assert request("invut").content_type == "application/unknownformat"
    assert request("sdp01").headers.get("Accept") == "text/nobodyKnowsThis"
    assert isinstance(request("unksm2").to.uri, OtherUri)
    assert request("unksm2").from_.uri.scheme == "http"
    assert str(request("unksm2").contact.uri) == "name:John_Smith"
    assert request("cparam01").contact.has("unknownparam")
    assert not request("cparam01").contact.uri.has("unknownparam")
    assert request("cparam02").contact.uri.has("unknownparam")
    assert request("regescrt").contact.uri.headers == "Route=%3Csip:sip.example.com%3E"
    assert len(response("bcast").vias) == 2
    old = request("inv2543")
    assert (old.via.branch, old.max_forwards, old.from_.tag) == (None, None, None)
    assert old.body.endswith(b"m=audio 49217 RTP/AVP 0\r\n")
