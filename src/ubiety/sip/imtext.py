"""The bodies of instant messages: what arrives as plain text or as typing, and what is sent.

Whatever a Microsoft client puts into an IM session is read here (MS-CONFIM, MS-SIP; RFC 3994 for typing); the
rest is ``Unsupported`` and gets 415. All of Unicode passes; what cannot be decoded becomes U+FFFD, nothing
raises.
"""

import base64
import binascii
import codecs
import quopri
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ubiety.element import Element, ElementError, parse_content
from ubiety.sip.imhtml import to_text

ACCEPTED: Final[tuple[str, ...]] = (
    "text/plain",
    "text/html",
    "multipart/alternative",
    "multipart/related",
    "application/im-iscomposing+xml",
    "message/cpim",
)
"""What is understood in a MESSAGE, for Accept and for SDP."""

MAX_DEPTH: Final = 4
MAX_PARTS: Final = 32
FIRST_BYTES: Final = 2_000
"""A longer first message does not travel in the INVITE: it would not fit into a datagram's head."""

NS_COMPOSING: Final = "urn:ietf:params:xml:ns:im-iscomposing"
MULTIPART: Final = frozenset({"multipart/alternative", "multipart/related", "multipart/mixed"})

# The codecs that mail and chat use. Python knows others by name that are no character sets at all.
_CHARSETS: Final = re.compile(
    r"utf-?(8|7|16|16-?[lb]e|32|32-?[lb]e)|us-ascii|ascii|iso-?8859-\d{1,2}|(windows|cp)-?\d{3,4}|koi8-[rut]"
    r"|shift_?jis|euc-?(jp|kr)|iso-2022-(jp|kr)|gb(2312|k|18030)|big5(hkscs)?|latin-?1|tis-620"
)
_ILLEGAL = re.compile("[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0 §2.2
_PARAMETER = re.compile(r";\s*([^\s;=]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^;]*))")
_END_OF_HEAD = re.compile(rb"\A\r?\n|\r?\n\r?\n")
_DECLARATION = re.compile(rb"^\s*<\?xml[^>]*\?>")


@dataclass(frozen=True, slots=True)
class Text:
    """A message to be shown."""

    plain: str


@dataclass(frozen=True, slots=True)
class Typing:
    """The other side writes, or has stopped."""

    is_typing: bool


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Nothing that can be shown here: 415 (RFC 3261 §21.4.13)."""

    content_type: str


Body = Text | Typing | Unsupported


def read(content_type: str, params: Mapping[str, str], body: bytes) -> Body:
    """Return what a body says. ``content_type`` is lower case and without its parameters."""
    return _read(content_type, params, body, 0)


def _read(content_type: str, params: Mapping[str, str], body: bytes, depth: int) -> Body:
    if content_type in MULTIPART:
        return _read_parts(content_type, params, body, depth)
    if content_type == "message/cpim":
        return _read_cpim(body, depth)
    if content_type == "application/im-iscomposing+xml":
        return _read_composing(body)
    if content_type == "application/xml":
        return _read_activity(body)
    if content_type not in ("text/plain", "text/html"):
        return Unsupported(content_type)
    text = _decode(body, params.get("charset", ""))
    if text is None:
        return Unsupported(f"{content_type}; charset={params.get('charset', '')}")
    return Text(clean(to_text(text) if content_type == "text/html" else text))


def clean(text: str) -> str:
    """Return a text with single line feeds and without what XML cannot carry."""
    return _ILLEGAL.sub("\ufffd", text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))


def _decode(body: bytes, charset: str) -> str | None:
    """Return a body's text; None when nobody knows its character set."""
    name = charset.strip("\"' ").lower()
    if not name:
        return body.decode("utf-8", "replace")
    if not _CHARSETS.fullmatch(name):
        return None
    try:
        return body.decode(codecs.lookup(name).name, "replace")
    except (LookupError, UnicodeError):
        return None


# -- parts ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    content_type: str
    params: dict[str, str]
    content_id: str
    body: bytes


def _read_parts(content_type: str, params: Mapping[str, str], body: bytes, depth: int) -> Body:
    """Choose among the parts: plain text, then HTML; of related ones the root (RFC 2046 §5.1.4, RFC 2387)."""
    boundary = params.get("boundary", "")
    if not boundary or depth >= MAX_DEPTH:
        return Unsupported(content_type)
    parts = list(_split(boundary.encode("utf-8", "replace"), body))
    if content_type == "multipart/related" and params.get("start"):
        parts.sort(key=lambda part: part.content_id != params["start"])
    if content_type != "multipart/related":
        parts.sort(key=lambda part: _RANKS.get(part.content_type, 2))
    for part in parts:
        found = _read(part.content_type, part.params, part.body, depth + 1)
        if not isinstance(found, Unsupported):
            return found
    return Unsupported(content_type)


_RANKS = {"text/plain": 0, "text/html": 1}


def _split(boundary: bytes, body: bytes) -> Iterator[_Part]:
    pieces = re.split(
        rb"(?:^|\r?\n)--" + re.escape(boundary) + rb"(?=--|[ \t]*\r?\n)", body, maxsplit=MAX_PARTS
    )
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            return
        piece = piece.lstrip(b" \t").removeprefix(b"\r").removeprefix(b"\n")
        gap = _END_OF_HEAD.search(piece)
        if gap is not None:
            yield _part(piece[: gap.start()], piece[gap.end() :])


def _read_cpim(body: bytes, depth: int) -> Body:
    """A message in an envelope of its own: its headers, a blank line, a MIME part (RFC 3862 §2)."""
    gap = _END_OF_HEAD.search(body)
    if gap is None or depth >= MAX_DEPTH:
        return Unsupported("message/cpim")
    inner = body[gap.end() :]
    gap = _END_OF_HEAD.search(inner)
    part = _part(b"", inner) if gap is None else _part(inner[: gap.start()], inner[gap.end() :])
    return _read(part.content_type, part.params, part.body, depth + 1)


def _part(head: bytes, content: bytes) -> _Part:
    headers = {}
    for line in re.sub(r"\r?\n[ \t]+", " ", head.decode("utf-8", "replace")).splitlines():
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    content_type, params = read_type(headers.get("content-type", "text/plain"))
    encoding = headers.get("content-transfer-encoding", "").lower()
    return _Part(content_type, params, headers.get("content-id", ""), _unpack(content, encoding))


def _unpack(content: bytes, encoding: str) -> bytes:
    if encoding == "quoted-printable":
        return quopri.decodestring(content)
    if encoding == "base64":
        try:
            return base64.b64decode(content)
        except binascii.Error:
            return b""
    return content


def read_type(value: str) -> tuple[str, dict[str, str]]:
    """Return a content type in lower case, and its parameters by lower-case names."""
    params = {}
    for name, quoted, token in _PARAMETER.findall(value):
        params[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted else token.strip()
    return value.partition(";")[0].strip().lower(), params


# -- typing --------------------------------------------------------------------------------------------------


def _read_composing(body: bytes) -> Body:
    """RFC 3994 §3."""
    root = _parse(body)
    if root is None or root.name != "isComposing":
        return Unsupported("application/im-iscomposing+xml")
    state = root.find("state")
    return Typing(state is not None and state.text.strip() == "active")


def _read_activity(body: bytes) -> Body:
    """MS-SIP: the body of INFO."""
    root = _parse(body)
    status = root.find("status") if root is not None and root.name == "KeyboardActivity" else None
    if status is None:
        return Unsupported("application/xml")
    return Typing(status.get("status") == "type")


def _parse(body: bytes) -> Element | None:
    try:
        content = parse_content(_DECLARATION.sub(b"", body.removeprefix(codecs.BOM_UTF8), count=1), "")
    except ElementError:
        return None
    return content.elements[0] if content.elements else None


def write_typing(is_typing: bool) -> tuple[str, bytes]:
    """Return (content type, body) of an INFO that tells whether somebody types, as Microsoft's clients do."""
    status = b"type" if is_typing else b"idle"
    body = b'<?xml version="1.0"?><KeyboardActivity><status status="%b"/></KeyboardActivity>' % status
    return "application/xml", body


# -- text ----------------------------------------------------------------------------------------------------


def write(text: str) -> tuple[str, bytes]:
    """Return (content type, body) of a message."""
    # RFC 2046 §4.1.1: a line ends with CRLF.
    lines = text.replace("\r\n", "\n").replace("\n", "\r\n")
    return "text/plain;charset=UTF-8", lines.encode("utf-8", "replace")


def read_first(header: str) -> Text | None:
    """Return the first message that an INVITE carries in ``ms-text-format``; None when it cannot be read.

    Who is not told that it was taken sends it again as a MESSAGE.
    """
    content_type, params = read_type(header)
    packed = params.get("ms-body", "")
    if not packed:
        return None
    try:
        body = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    found = read(content_type, {"charset": params.get("charset", "UTF-8")}, body)
    return found if isinstance(found, Text) and found.plain else None


def write_first(text: str) -> str | None:
    """Return the ``ms-text-format`` header of an INVITE; None when the text is too long for a header."""
    body = write(text)[1]
    if len(body) > FIRST_BYTES:
        return None
    return f"text/plain; charset=UTF-8;ms-body={base64.b64encode(body).decode()}"
