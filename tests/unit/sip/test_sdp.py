"""Offers and answers of IM sessions."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.sip import sdp
from ubiety.sip.sdp import SdpError

LYNC = b"""v=0\r
o=- 0 0 IN IP4 192.0.2.7\r
s=session\r
c=IN IP4 192.0.2.7\r
t=0 0\r
m=message 5060 sip null\r
a=accept-types:text/plain text/html image/gif multipart/alternative application/im-iscomposing+xml \
application/ms-imdn+xml text/x-msmsgsinvite\r
"""
LCS2005 = LYNC.replace(b"m=message", b"m=x-ms-message")
WITH_CALL = LYNC + b"m=audio 50010 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\n"


def test_microsofts_offer_is_read() -> None:
    media = sdp.parse(LYNC).message
    assert media is not None
    assert (media.kind, media.port, media.protocol, media.formats) == ("message", 5060, "sip", "null")
    assert "text/html" in media.accepts and "image/gif" in media.accepts


def test_an_answer_takes_the_messages() -> None:
    answer = sdp.answer(sdp.parse(LYNC), "192.0.2.1", 5061)
    assert answer == (
        b"v=0\r\no=- 0 0 IN IP4 192.0.2.1\r\ns=session\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
        b"m=message 5061 sip null\r\n"
        b"a=accept-types:text/plain text/html multipart/alternative multipart/related"
        b" application/im-iscomposing+xml message/cpim\r\n"
    )


def test_the_old_name_is_answered_by_the_old_name() -> None:
    assert b"m=x-ms-message 5061 sip null\r\n" in sdp.answer(sdp.parse(LCS2005), "192.0.2.1", 5061)


def test_a_call_beside_is_refused_in_its_place() -> None:
    lines = sdp.answer(sdp.parse(WITH_CALL), "2001:db8::1", 5061).decode().splitlines()
    assert [line for line in lines if line.startswith("m=")] == [
        "m=message 5061 sip null",
        "m=audio 0 RTP/AVP 0 8",
    ]
    assert "c=IN IP6 2001:db8::1" in lines


def test_an_offer_of_ours_is_answered_by_ours() -> None:
    offer = sdp.parse(sdp.offer("192.0.2.1", 5060))
    answer = sdp.parse(sdp.answer(offer, "192.0.2.2", 5061))
    assert answer.message is not None and answer.message.accepts == sdp.ACCEPTED
    assert b"m=message 5060 sip sip:ada@example.org\r\n" in sdp.offer("192.0.2.1", 5060, "ada@example.org")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"v=0\nm=message\n",
        b"v=0\nm=message x sip null\n",
        b"v=0\nm=message 999999999 sip null\n",
        b"v=0\n" + b"m=message 1 sip null\n" * 20,
        b"v=0\nm=audio 5000 RTP/AVP 0\n",
        b"v=0\nm=message 0 sip null\n",
    ],
)
def test_what_offers_no_messages_is_refused(body: bytes) -> None:
    with pytest.raises(SdpError):
        sdp.answer(sdp.parse(body), "192.0.2.1", 5060)


@given(st.binary(max_size=200))
def test_anything_else_raises_but_one_error(body: bytes) -> None:
    for data in (body, b"v=0\n" + body, b"v=0\nm=message 5060 sip null\n" + body):
        with contextlib.suppress(SdpError):
            sdp.answer(sdp.parse(data), "192.0.2.1", 5060)
