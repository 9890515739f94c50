"""Bodies of instant messages, as Microsoft's clients write them and as nobody should."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.sip import imtext
from ubiety.sip.imtext import Body, Text, Typing, Unsupported, read, read_first, read_type, write, write_first


def read_whole(content_type: str, body: bytes) -> Body:
    return read(*read_type(content_type), body)


ALTERNATIVE = (
    b"preamble\r\n"
    b"--b1\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<b>rich</b>\r\n"
    b"--b1\r\ncontent-type: text/plain;\r\n charset=utf-8\r\n\r\nplain \xf0\x9f\x98\x80\r\nline\r\n"
    b"--b1--\r\nepilogue"
)
RELATED = (
    b"--'x\r\nContent-Type: image/gif\r\nContent-ID: <1>\r\nContent-Transfer-Encoding: base64\r\n\r\nR0lG\r\n"
    b"--'x\r\nContent-Type: text/html\r\nContent-ID: <root>\r\n\r\nHello <img alt=':)'>\r\n--'x--"
)
NESTED = (
    b"--o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n"
    b"--i\r\nContent-Type: text/rtf\r\n\r\n{}\r\n--i\r\n\r\nno head\r\n--i--\r\n--o--\r\n"
)
QUOTED = (
    b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"caf=E9\r\n--b--"
)

CASES: dict[str, tuple[str, bytes, Body]] = {
    "plain": ("text/plain", b"Hello", Text("Hello")),
    "as Communicator writes it": (
        "text/plain; charset=UTF-8;msgr=WAAtAE0ATQBTAC0ASQBNAC0ARgBvAHIAbQBhAHQA",
        "Grüße \U0001f600 :-)".encode(),
        Text("Grüße \U0001f600 :-)"),
    ),
    "line ends": ("text/plain", b"a\r\nb\rc\nd", Text("a\nb\nc\nd")),
    "utf-16 with a mark": ("text/plain; charset=utf-16", "Ж\U0001f600".encode("utf-16"), Text("Ж\U0001f600")),
    "latin": ('text/plain; charset="ISO-8859-1"', b"caf\xe9", Text("café")),
    "mark of utf-8": ("text/plain", b"\xef\xbb\xbfHello", Text("Hello")),
    "broken utf-8": ("text/plain; charset=utf-8", b"a\xff\xc3", Text("a\ufffd\ufffd")),
    "what XML cannot carry": ("text/plain", b"a\x00b\x1bc\td", Text("a\ufffdb\ufffdc\td")),
    "odd utf-16": ("text/plain; charset=utf-16le", b"\x00\xd8a", Text("\ufffd")),
    "nothing": ("text/plain", b"", Text("")),
    "unknown character set": ("text/plain; charset=x-q", b"Qa", Unsupported("text/plain; charset=x-q")),
    "a codec that is no character set": (
        "text/plain; charset=unicode_escape",
        b"\\x41",
        Unsupported("text/plain; charset=unicode_escape"),
    ),
    "html": ("text/html; charset=UTF-8", b"<p>a &amp; b</p><p>c</p>", Text("a & b\nc")),
    "alternative": ("multipart/alternative; boundary=b1", ALTERNATIVE, Text("plain \U0001f600\nline")),
    "related": ('multipart/related; boundary="\'x"; start="<root>"', RELATED, Text("Hello :)")),
    "nested": ("multipart/mixed;boundary=o", NESTED, Text("no head")),
    "quoted-printable": ("multipart/alternative; boundary=b", QUOTED, Text("café")),
    "in an envelope": (
        "message/cpim",
        b"From: <im:a@example.org>\r\nDateTime: 2026-11-22T08:00:00Z\r\n\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n\r\nHello \xe2\x82\xac",
        Text("Hello \u20ac"),
    ),
    "an envelope without anything": ("message/cpim", b"From: x", Unsupported("message/cpim")),
    "without boundary": ("multipart/alternative", b"", Unsupported("multipart/alternative")),
    "without parts": ("multipart/alternative;boundary=b", b"x", Unsupported("multipart/alternative")),
    "a file": ("text/x-msmsgsinvite", b"Invitation-Command: X", Unsupported("text/x-msmsgsinvite")),
    "rtf": ("text/rtf", b"{}", Unsupported("text/rtf")),
    "delivery notification": ("application/ms-imdn+xml", b"<imdn/>", Unsupported("application/ms-imdn+xml")),
    "group chat": ("application/x-ms-mim", b"<action/>", Unsupported("application/x-ms-mim")),
    "no type": ("", b"x", Unsupported("")),
    "composing": (
        "application/im-iscomposing+xml",
        b"<?xml version='1.0' encoding='UTF-8'?>\n<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'>"
        b"<state>active</state><contenttype>text/plain</contenttype><refresh>90</refresh></isComposing>",
        Typing(True),
    ),
    "no longer composing": (
        "application/im-iscomposing+xml",
        b"<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'><state>idle</state></isComposing>",
        Typing(False),
    ),
    "typing": (
        "application/xml",
        b'<?xml version="1.0"?><KeyboardActivity> <status status="type" /></KeyboardActivity>\r\n',
        Typing(True),
    ),
    "idle": ("application/xml", b"<KeyboardActivity><status/></KeyboardActivity>", Typing(False)),
    "other xml": ("application/xml", b"<action/>", Unsupported("application/xml")),
    "no xml": ("application/xml", b"<<<", Unsupported("application/xml")),
    "entities": (
        "application/xml",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]><KeyboardActivity><status status='type'/></KeyboardActivity>",
        Unsupported("application/xml"),
    ),
}


@pytest.mark.parametrize(("content_type", "body", "expected"), CASES.values(), ids=CASES.keys())
def test_a_body_is_read(content_type: str, body: bytes, expected: Body) -> None:
    assert read_whole(content_type, body) == expected


def test_parts_in_parts_end_somewhere() -> None:
    body = b"x"
    for depth in range(20):
        head = b"text/plain" if depth == 0 else b"multipart/mixed; boundary=b%d" % (depth - 1)
        body = b"--b%d\r\nContent-Type: %b\r\n\r\n%b\r\n--b%d--" % (depth, head, body, depth)
    assert read_whole("multipart/mixed; boundary=b19", body) == Unsupported("multipart/mixed")


CONTROLS = "".join(chr(code) for code in range(32) if code not in (9, 10))
XML_TEXT = st.text(
    alphabet=st.characters(exclude_categories=["Cs"], exclude_characters=f"{CONTROLS}\ufeff\ufffe\uffff")
)


@given(XML_TEXT)
def test_every_text_survives_the_way_out_and_in(text: str) -> None:
    content_type, body = write(text)
    assert read_whole(content_type, body) == Text(text)


@given(XML_TEXT.filter(bool))
def test_a_first_message_survives_the_header(text: str) -> None:
    header = write_first(text)
    if header is None:
        assert len(write(text)[1]) > imtext.FIRST_BYTES
    else:
        assert header.isascii() and "\n" not in header
        assert read_first(header) == Text(text)


def test_lone_surrogates_are_written_as_something() -> None:
    assert write("a\ud800")[1] == b"a?"


def test_a_first_message_as_communicator_writes_it() -> None:
    packed = base64.b64encode("hé".encode()).decode()
    assert read_first(f"text/plain; charset=UTF-8;msgr=WAAt;ms-body={packed}") == Text("hé")
    assert read_first(f'text/plain; charset="UTF-8"; ms-body="{packed.rstrip("=")}"') == Text("hé")
    html = base64.b64encode(b"<b>x</b>").decode()
    assert read_first(f"text/html; charset=UTF-8;ms-body={html}") == Text("x")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "text/plain",
        "text/plain;ms-body=",
        "text/plain;ms-body=*",
        "text/plain;ms-body=\xe9",
        "text/rtf;ms-body=aGk=",
        "text/plain;ms-body=aGk=a",
    ],
)
def test_a_first_message_that_cannot_be_read_is_none(header: str) -> None:
    assert read_first(header) is None


@pytest.mark.parametrize("is_typing", [True, False])
def test_typing_survives(is_typing: bool) -> None:
    content_type, body = imtext.write_typing(is_typing)
    assert read_whole(content_type, body) == Typing(is_typing)


@given(st.text(max_size=60), st.binary(max_size=300))
def test_nothing_raises(content_type: str, body: bytes) -> None:
    read_whole(content_type, body)
    for known in (*imtext.ACCEPTED, "application/xml"):
        read_whole(f"{known};boundary=a;charset={content_type}", body)
        read_whole(f"{known};boundary=a", b"--a\r\n" + body + b"\r\n--a--")
    read_first(content_type)
