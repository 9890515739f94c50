"""Cutting streams and datagrams into messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sip.sip_inputs import MESSAGE, NOTIFY, OK, ORDINARY, SUBSCRIBE, receive_pieces, view
from ubiety.sip.framing import Malformed, Ping, Pong, StreamFraming, parse_datagram
from ubiety.sip.message import Request, Response, parse_message


def answer_of(data: bytes) -> Response:
    """Return the answer that a bad datagram gets."""
    item = parse_datagram(data)
    assert isinstance(item, Malformed)
    answer = parse_datagram(item.answer)
    assert isinstance(answer, Response)
    return answer


def test_messages_that_come_together():
    items = StreamFraming().receive(b"".join(ORDINARY))
    assert items == [parse_message(data) for data in ORDINARY]


@given(
    st.lists(st.sampled_from([*ORDINARY, b"\r\n", b"\r\n\r\n"]), max_size=6),
    st.lists(st.integers(0, 4000), max_size=8),
)
def test_cutting_makes_no_difference(parts, places):
    data = b"".join(parts)
    assert view(receive_pieces(data, places)) == view(StreamFraming().receive(data))


def test_ping_is_told_from_pong():
    framing = StreamFraming()
    assert framing.receive(b"\r\n") == [Pong()]
    assert framing.receive(b"\r") == []
    assert framing.receive(b"\n") == [Ping()]
    assert framing.receive(b"\r\n\r\n" + OK + b"\r\n") == [Pong(), Ping(), parse_message(OK), Pong()]


def test_body_is_waited_for():
    framing = StreamFraming()
    assert framing.receive(MESSAGE[:-5]) == []
    assert framing.buffered == 29
    assert framing.receive(MESSAGE[-5:]) == [parse_message(MESSAGE)]
    assert framing.buffered == 0


def test_bad_message_is_answered_and_the_next_one_is_read():
    bad = MESSAGE.replace(b"CSeq: 4 MESSAGE", b"CSeq: four")
    worse = MESSAGE.replace(b"Call-ID:", b"Call-ID")
    items = StreamFraming().receive(bad + worse + NOTIFY)
    assert [type(item) for item in items] == [Malformed, Malformed, Request]
    assert [item.is_fatal for item in items[:2]] == [False, False]
    assert all(item.answer.startswith(b"SIP/2.0 400 ") for item in items[:2])
    assert items[2] == parse_message(NOTIFY)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"x" * 40_000, "too long"),
        (SUBSCRIBE[:-2] + b"X: " + b"y" * 40_000 + b"\r\n\r\n", "too long"),
        (MESSAGE.replace(b"Content-Length: 34", b"Content-Length: 262145"), "too large"),
        (MESSAGE.replace(b"Content-Length: 34\r\n", b""), "no Content-Length"),
        (MESSAGE.replace(b"Content-Length: 34", b"Content-Length: 3l"), "not a number"),
        (MESSAGE.replace(b"Content-Length: 34", b"l: 34\r\nContent-Length: 34"), "more than one"),
        (MESSAGE.replace(b"MESSAGE sip", b"HELLO\nMESSAGE sip"), "a line break"),
        (MESSAGE.replace(b"Max-", b"X: a\rMax-"), "a line break"),
        (b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "not a request"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", "not a request"),
    ],
)
def test_nothing_is_read_behind_what_has_no_certain_end(data, words):
    framing = StreamFraming()
    items = framing.receive(data + SUBSCRIBE)
    assert len(items) == 1
    assert items[0].is_fatal
    assert words in items[0].error.text
    assert framing.receive(SUBSCRIBE) == []
    assert framing.buffered == 0
    assert view(receive_pieces(data + SUBSCRIBE, list(range(0, len(data), 1000)))) == view(items)


def test_bounds_are_exact():
    head = SUBSCRIBE[:-4]
    assert isinstance(StreamFraming(max_head=len(head)).receive(SUBSCRIBE)[0], Request)
    assert isinstance(StreamFraming(max_head=len(head) - 1).receive(SUBSCRIBE)[0], Malformed)
    assert isinstance(StreamFraming(max_body=34).receive(MESSAGE)[0], Request)
    too_large = StreamFraming(max_body=33).receive(MESSAGE)[0]
    assert too_large.error.status == 513
    assert too_large.answer.startswith(b"SIP/2.0 513 Message Too Large\r\n")


def test_no_body_is_collected_before_its_length_is_known_to_be_allowed():
    framing = StreamFraming(max_body=10)
    framing.receive(MESSAGE.replace(b"Content-Length: 34", b"Content-Length: 999999999"))
    framing.receive(b"x" * 100_000)
    assert framing.buffered == 0


@pytest.mark.parametrize("data", [b"", b"\r\n", b"\r\n\r\n", b"\0", b"\0\0\0\0", b" \r\n"])
def test_datagrams_that_keep_a_way_open_are_nothing(data):
    assert parse_datagram(data) is None


def test_answer_repeats_what_the_request_says():
    answer = answer_of(SUBSCRIBE.replace(b"Max-Forwards: 69", b"Max-Forwards: 6g"))
    request = parse_message(SUBSCRIBE)
    assert answer.status == 400
    assert answer.vias == request.vias
    assert (answer.from_, answer.call_id, answer.cseq) == (request.from_, request.call_id, request.cseq)
    assert answer.to.uri == request.to.uri
    assert answer.headers.get("Warning") == "399 ubiety \"Max-Forwards is not a number: '6g'\""


def test_answer_has_the_same_tag_each_time():
    bad = SUBSCRIBE.replace(b"Max-Forwards: 69", b"Max-Forwards: x")
    assert answer_of(bad).to.tag == answer_of(bad).to.tag
    assert answer_of(bad).to.tag != answer_of(bad.replace(b"CSeq: 1", b"CSeq: 2")).to.tag
    in_dialog = answer_of(NOTIFY.replace(b"Max-Forwards: 70", b"Max-Forwards: x"))
    assert in_dialog.to.tag == "6b1c8f1d0f"


@pytest.mark.parametrize(
    "data",
    [
        OK.replace(b"CSeq: 2", b"CSeq: x"),
        MESSAGE.replace(b"MESSAGE", b"ACK").replace(b"CSeq: 4", b"CSeq: x"),
        MESSAGE.replace(b"Via: ", b"Vi: "),
        SUBSCRIBE.replace(b"Call-ID: 8", b"Call-ID: \r8"),
        SUBSCRIBE.replace(b"Max-Forwards: 69", b"Max-Forwards: x").replace(b"bob", b"b" * 10_000),
        b"hello",
        b"\x80\x81",
    ],
)
def test_some_get_no_answer(data):
    item = parse_datagram(data)
    assert isinstance(item, Malformed)
    assert item.answer is None
