"""Where one message ends and the next begins: on a stream by Content-Length, in a datagram by its end.

RFC 3261 §18.3, RFC 5626 §3.5.1. What comes out is checked (`validate`); what is not well formed comes
out as `Malformed`, with the answer that it gets.
"""

from dataclasses import dataclass
from hashlib import blake2s

from ubiety.sip.headers import Headers
from ubiety.sip.message import (
    MessageError,
    Request,
    Response,
    parse_message,
    read_head,
    read_length,
    validate,
)
from ubiety.sip.reasons import reason_of

_CRLF = b"\r\n"
_MAX_COPIED = 8192  # of a bad head into its answer


@dataclass(frozen=True, slots=True)
class Ping:
    """The double CRLF by which a peer asks whether we are there; a CRLF answers it."""


@dataclass(frozen=True, slots=True)
class Pong:
    """One CRLF: the answer to a ping, or the first half of one."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something that is no good message."""

    error: MessageError
    answer: bytes | None
    """The response to send; None if it gets none: it was a response, an ACK, or its Via cannot be read."""
    is_fatal: bool = False
    """Whether nothing behind it can be read, so that the connection must be closed."""


Item = Request | Response | Ping | Pong | Malformed

PING_ANSWER = _CRLF
"""What a `Ping` is answered."""


class StreamFraming:
    """Cuts the bytes of one connection into messages. After a fatal `Malformed` it reads nothing more."""

    def __init__(self, max_head: int = 32_768, max_body: int = 262_144) -> None:
        self._max_head = max_head
        self._max_body = max_body
        self._buffer = bytearray()
        self._searched = 0
        self._crlfs = 0
        self._is_dead = False
        # Once the head is read: it and the length of its body; a bad one is only skipped.
        self._head: Request | Response | MessageError | None = None
        self._length = 0

    @property
    def buffered(self) -> int:
        """How many bytes wait for the rest of their message."""
        return len(self._buffer)

    def receive(self, data: bytes) -> list[Item]:
        """Return what is complete with these bytes."""
        if self._is_dead:
            return []
        self._buffer += data
        items: list[Item] = []
        while (item := self._next()) is not None:
            items.append(item)
            if isinstance(item, Malformed) and item.is_fatal:
                self._is_dead = True
                self._buffer.clear()
                break
        return items

    def _next(self) -> Item | None:
        if self._head is None:
            item = self._next_crlf() or self._next_head()
            if item is not None or self._head is None:
                return item
        return self._next_body(self._head)

    def _next_crlf(self) -> Item | None:
        if self._searched or not self._buffer.startswith(_CRLF):
            return None
        del self._buffer[:2]
        self._crlfs += 1
        return Pong() if self._crlfs % 2 else Ping()

    def _next_head(self) -> Item | None:
        """Read the head if it is complete; return what cannot be gone on from."""
        end = self._buffer.find(b"\r\n\r\n", self._searched)
        if end > self._max_head or (end < 0 and len(self._buffer) > self._max_head + 3):
            return Malformed(MessageError("the head is too long", 513), None, is_fatal=True)
        if end < 0:
            self._searched = max(0, len(self._buffer) - 3)
            return None
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        self._searched = self._crlfs = 0
        return self._read(head)

    def _read(self, head: bytes) -> Malformed | None:
        try:
            message = read_head(head)
            length = read_length(message)
        except MessageError as error:
            # The head is bad, but if it says how long the body is, the next message can be found.
            length = _length_of(error.head)
            if error.is_astray or length is None or length > self._max_body:
                return _malformed(error, is_fatal=True)
            self._head, self._length = error, length
            return None
        fault = ""
        if length is None:  # RFC 3261 §20.14: it must be there on a stream
            fault = "no Content-Length"
        elif length > self._max_body:
            fault = "the body is too large"
        if length is None or fault:
            method = message.method if isinstance(message, Request) else None
            status = 513 if length else 400
            return _malformed(MessageError(fault, status, message.headers, method), is_fatal=True)
        self._head, self._length = message, length
        return None

    def _next_body(self, head: Request | Response | MessageError) -> Item | None:
        if len(self._buffer) < self._length:
            return None
        body = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        self._head = None
        if isinstance(head, MessageError):
            return _malformed(head)
        return _checked(head.with_body(body) if body else head)


def parse_datagram(data: bytes) -> Item | None:
    """Return what is in a datagram; None if it holds nothing but white space or zeros.

    Empty datagrams and such are sent to keep a way through a NAT open.
    """
    data = data.lstrip(_CRLF)
    if not data.strip(b"\0 \t\r\n"):
        return None
    try:
        return _checked(parse_message(data))
    except MessageError as error:
        return _malformed(error)


def _checked(message: Request | Response) -> Item:
    try:
        validate(message)
    except MessageError as error:
        return _malformed(error)
    return message


def _malformed(error: MessageError, is_fatal: bool = False) -> Malformed:
    return Malformed(error, answer_to(error), is_fatal)


def _length_of(head: Headers | None) -> int | None:
    values: tuple[str, ...] = head.all("content-length") if head is not None else ()
    is_good = len(values) == 1 and values[0].isascii() and values[0].isdigit() and len(values[0]) < 10
    return int(values[0]) if is_good else None


def answer_to(error: MessageError) -> bytes | None:
    """Return the answer to a malformed request, made of what could be read of it; None if it gets none."""
    head = error.head
    if head is None or error.method is None or error.method == "ACK" or "via" not in head:
        return None
    lines = [f"SIP/2.0 {error.status} {reason_of(error.status)}"]
    lines += [f"Via: {value}" for value in head.all("via")]
    for name in ("From", "To", "Call-ID", "CSeq"):
        value = head.get(name)
        if value is not None:
            lines.append(f"{name}: {value}{_tag_for(value, head) if name == 'To' else ''}")
    lines.append(f"Warning: 399 ubiety {_quoted(error.text)}")  # RFC 3261 §20.43
    lines += ["Content-Length: 0", "", ""]
    answer = "\r\n".join(lines)
    breaks = len(lines) - 1  # more of them are inside a value, and would make headers of what follows
    if len(answer) > _MAX_COPIED or answer.count("\n") != breaks or answer.count("\r") != breaks:
        return None
    return answer.encode("utf-8", "surrogateescape")


def _tag_for(to: str, head: Headers) -> str:
    """Return the tag that To must get; the same each time the request comes (RFC 3261 §8.2.7)."""
    if "tag" in to.rpartition(">")[2].replace(" ", "").lower():
        return ""
    seen = "\n".join([to, *head.all("via"), *head.all("call-id"), *head.all("cseq")])
    return f";tag={blake2s(seen.encode('utf-8', 'surrogateescape'), digest_size=8).hexdigest()}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "").replace('"', "'") + '"'
