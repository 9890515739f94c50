"""Requests and responses as values (RFC 3261 §7).

Parsing cuts the head into lines and no more. What a header says is parsed when somebody asks, and
kept; `validate` asks for all that a message must have.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from ubiety.sip.headers import CSeq, Headers, Via, parse_fields
from ubiety.sip.reasons import REASONS, reason_of
from ubiety.sip.syntax import (
    TOKEN,
    SipSyntaxError,
    is_token,
    parse_number,
    parse_params,
    shortened,
    split_list,
    unquote,
)
from ubiety.sip.uri import NameAddr, SipUri, Uri, parse_uri

__all__ = [
    "REASONS",
    "Event",
    "Message",
    "MessageError",
    "Request",
    "Response",
    "SipSyntaxError",
    "make_request",
    "make_response",
    "parse_message",
    "read_head",
    "read_length",
    "validate",
]

Parsed = TypeVar("Parsed")

MAX_SECONDS = 2**32 - 1  # RFC 3261 §20.19

_REQUEST_LINE = re.compile(rf"({TOKEN}++) ([^ \t]++) [sS][iI][pP]/([0-9]++\.[0-9]++)")
_STATUS_LINE = re.compile(r"[sS][iI][pP]/2\.0 ([1-6][0-9][0-9])(?: (.*))?", re.DOTALL)
_FOLD = re.compile(r"\r\n[ \t]++")
_MEDIA_TYPE = re.compile(rf"({TOKEN}++)[ \t]*+/[ \t]*+({TOKEN}++)[ \t]*+(?=;|$)")
_CALL_ID = re.compile("[!-~]+")
_SINGLE = (
    "from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type", "event", "expires"
)  # fmt: skip
_REPEATING = frozenset({"INVITE", "SUBSCRIBE", "REFER", "NOTIFY", "UPDATE"})  # answers take the Record-Route


class MessageError(SipSyntaxError):
    """A message is not well formed; `head` is what could be read, to answer with."""

    def __init__(
        self,
        text: str,
        status: int = 400,
        head: Headers | None = None,
        method: str | None = None,
        is_astray: bool = False,
    ) -> None:
        super().__init__(text, status)
        self.head = head
        self.method = method
        """The method of the request; None if it is a response or cannot be told."""
        self.is_astray = is_astray
        """Whether this looks like the middle of something, so that no length in it can be believed."""


class Event(NamedTuple):
    """What an Event header names."""

    package: str
    params: dict[str, str]


class Message:
    """What requests and responses have in common. The typed properties raise SipSyntaxError."""

    __slots__ = ()

    headers: Headers
    body: bytes
    _typed: dict[str, Any]

    def _ask(self, key: str, parse: Callable[[str], Parsed]) -> Parsed:
        """Return what a header that must be there says."""
        found: Parsed | None = self._typed.get(key)
        if found is None:
            value = self.headers.find(key)
            if value is None:
                raise SipSyntaxError(f"no {key}")
            found = self._typed[key] = parse(value)
        return found

    def _ask_optional(self, key: str, parse: Callable[[str], Parsed]) -> Parsed | None:
        found: Parsed | None = self._typed.get(key)
        if found is None:
            value = self.headers.find(key)
            if value is None:
                return None
            found = self._typed[key] = parse(value)
        return found

    @property
    def via(self) -> Via:
        """The topmost Via."""
        return self._ask("via", _parse_top_via)

    @property
    def vias(self) -> tuple[Via, ...]:
        """All Vias, the topmost first."""
        found: tuple[Via, ...] | None = self._typed.get("vias")
        if found is None:
            lines = self.headers.all("via")
            found = self._typed["vias"] = tuple([via for line in lines for via in Via.parse_list(line)])
        return found

    @property
    def from_(self) -> NameAddr:
        """The sender of the request."""
        return self._ask("from", NameAddr.parse)

    @property
    def to(self) -> NameAddr:
        """Whom the request is for."""
        return self._ask("to", NameAddr.parse)

    @property
    def call_id(self) -> str:
        """The Call-ID."""
        return self._ask("call-id", _parse_call_id)

    @property
    def cseq(self) -> CSeq:
        """The CSeq."""
        return self._ask("cseq", CSeq.parse)

    @property
    def max_forwards(self) -> int | None:
        """How many more hops are allowed; None if it is not said."""
        return self._ask_optional("max-forwards", _parse_max_forwards)

    @property
    def contacts(self) -> tuple[NameAddr, ...]:
        """All contacts; `*` stands for none."""
        found: tuple[NameAddr, ...] | None = self._typed.get("contacts")
        if found is None:
            lines = [line for line in self.headers.all("contact") if line != "*"]
            found = tuple([contact for line in lines for contact in NameAddr.parse_list(line)])
            self._typed["contacts"] = found
        return found

    @property
    def contact(self) -> NameAddr | None:
        """The first contact."""
        contacts = self.contacts
        return contacts[0] if contacts else None

    @property
    def routes(self) -> tuple[NameAddr, ...]:
        """All Route values."""
        return tuple([route for line in self.headers.all("route") for route in NameAddr.parse_list(line)])

    @property
    def record_routes(self) -> tuple[NameAddr, ...]:
        """All Record-Route values."""
        lines = self.headers.all("record-route")
        return tuple([route for line in lines for route in NameAddr.parse_list(line)])

    @property
    def expires(self) -> int | None:
        """Seconds of the Expires header, what is too large cut to 2**32 - 1; None if there is none."""
        return self._ask_optional("expires", _parse_seconds)

    @property
    def content_type(self) -> str:
        """The type of the body in lower case without parameters; "" if none is given."""
        media = self._ask_optional("content-type", _parse_media_type)
        return media[0] if media else ""

    @property
    def content_params(self) -> dict[str, str]:
        """The parameters of the Content-Type, names in lower case, values without quotes."""
        media = self._ask_optional("content-type", _parse_media_type)
        return media[1] if media else {}

    @property
    def event(self) -> Event | None:
        """The event package and its parameters."""
        return self._ask_optional("event", _parse_event)

    def _print(self, start_line: str) -> bytes:
        headers = self.headers
        length = str(len(self.body))
        if headers.get("content-length") != length or headers.count("content-length") != 1:
            headers = headers.with_("Content-Length", length)
        head = f"{start_line}\r\n{headers}\r\n"
        # A line break inside a value would make a header of whatever follows it.
        if head.count("\n") != len(headers) + 2 or head.count("\r") != len(headers) + 2:
            raise ValueError("a line break inside a header")
        return head.encode("utf-8", "surrogateescape") + self.body


@dataclass(frozen=True, slots=True)
class Request(Message):
    """A request."""

    method: str
    uri: str
    """The Request-URI as written; see `target`."""
    headers: Headers
    body: bytes = b""
    _typed: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def target(self) -> Uri:
        """The Request-URI as a value; raises SipSyntaxError."""
        found: Uri | None = self._typed.get("target")
        if found is None:
            found = self._typed["target"] = parse_uri(self.uri)
        return found

    def to_bytes(self) -> bytes:
        """Return the request as it is sent, with the right Content-Length."""
        return self._print(f"{self.method} {self.uri} SIP/2.0")

    def with_body(self, body: bytes) -> "Request":
        """Return the request with this body."""
        return Request(self.method, self.uri, self.headers, body)

    def replace(self, **fields: Any) -> "Request":
        """Return the request with some fields changed."""
        return replace(self, **fields)


@dataclass(frozen=True, slots=True)
class Response(Message):
    """A response."""

    status: int
    reason: str
    headers: Headers
    body: bytes = b""
    _typed: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def to_bytes(self) -> bytes:
        """Return the response as it is sent, with the right Content-Length."""
        return self._print(f"SIP/2.0 {self.status} {self.reason}")

    def with_body(self, body: bytes) -> "Response":
        """Return the response with this body."""
        return Response(self.status, self.reason, self.headers, body)

    def replace(self, **fields: Any) -> "Response":
        """Return the response with some fields changed."""
        return replace(self, **fields)


def parse_message(data: bytes) -> Request | Response:
    """Return the message in a datagram; what is behind its Content-Length is left out; raises MessageError.

    RFC 3261 §18.3: without a Content-Length the body ends with the datagram.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        raise _error(read_head(data.removesuffix(b"\r\n")), "the head has no end")
    message = read_head(data[:end])
    body = data[end + 4 :]
    length = read_length(message)
    if length is None:
        length = len(body)
    if length > len(body):
        raise _error(message, f"the body is shorter than its Content-Length of {length}")
    return message.with_body(body[:length]) if length else message


def read_head(data: bytes) -> Request | Response:
    """Return the message whose head this is, without its body; raises MessageError."""
    text = data.decode("utf-8", "surrogateescape")
    if "\r\n " in text or "\r\n\t" in text:
        text = _FOLD.sub(" ", text)  # RFC 3261 §7.3.1
    lines = text.split("\r\n")
    headers, fault = parse_fields(lines[1:])
    start = lines[0]
    if text.count("\n") >= len(lines) or text.count("\r") >= len(lines):
        raise MessageError("a line break that is none", 400, headers, _guess_method(start), is_astray=True)
    match = _REQUEST_LINE.fullmatch(start)
    if match is not None and match[3] == "2.0":
        if fault:
            raise MessageError(fault, head=headers, method=match[1])
        return Request(match[1], match[2], headers)
    if match is not None:
        raise MessageError(f"SIP/{match[3]} is not spoken here", 505, headers, match[1])
    if start[:4].upper() != "SIP/":
        is_astray = "SIP/" not in start.upper()
        error = f"not a request: {shortened(start)}"
        raise MessageError(error, 400, headers, _guess_method(start), is_astray)
    match = _STATUS_LINE.fullmatch(start)
    if match is None or fault:
        raise MessageError(fault or f"not a response: {shortened(start)}", head=headers)
    return Response(int(match[1]), match[2] or "", headers)


def _guess_method(start: str) -> str | None:
    method = start.split(" ", 1)[0]
    return method if is_token(method) else None


def read_length(message: Request | Response) -> int | None:
    """Return the Content-Length, None if there is none; raises MessageError for a bad one or several."""
    count = message.headers.count("content-length")
    if not count:
        return None
    if count > 1:
        raise _error(message, "more than one Content-Length")
    try:
        return parse_number(message.headers.get("content-length") or "", "the Content-Length")
    except SipSyntaxError as error:
        raise _error(message, error.text) from None


def _error(message: Request | Response, text: str, status: int = 400) -> MessageError:
    method = message.method if isinstance(message, Request) else None
    return MessageError(text, status, message.headers, method)


def validate(message: Request | Response) -> None:
    """Check what every message must have (RFC 3261 §8.1.1, §8.2, §20); raises MessageError."""
    try:
        _validate_headers(message)
        if isinstance(message, Request):
            _validate_request(message)
    except MessageError:
        raise
    except SipSyntaxError as error:
        raise _error(message, error.text, error.status) from None


def _validate_headers(message: Request | Response) -> None:
    repeated = message.headers.find_repeated(_SINGLE)
    if repeated is not None:
        raise SipSyntaxError(f"more than one {repeated}")
    if not message.vias:
        raise SipSyntaxError("no via")
    _ = (message.from_, message.to, message.call_id, message.cseq, message.contacts)
    _ = (message.max_forwards, message.expires, message.content_type, message.event)


def _validate_request(request: Request) -> None:
    if request.cseq.method != request.method:
        raise SipSyntaxError(f"the CSeq is for {shortened(request.cseq.method)}")
    target = request.target
    if not isinstance(target, SipUri):
        raise SipSyntaxError(f"no requests for {shortened(target.scheme)} here", 416)  # RFC 3261 §8.2.2.1
    if target.headers or target.has("method"):  # RFC 3261 §19.1.1
        raise SipSyntaxError("the Request-URI has a part that it may not have")


def make_request(
    method: str,
    uri: str | Uri,
    from_: str | NameAddr,
    to: str | NameAddr,
    call_id: str,
    cseq: int,
    max_forwards: int = 70,
    contact: str | NameAddr | None = None,
    headers: Iterable[tuple[str, str]] = (),
    content_type: str = "",
    body: bytes = b"",
) -> Request:
    """Return a request without a Via, which the agent adds; the given headers stand behind the others."""
    items = [
        ("Max-Forwards", str(max_forwards)),
        ("From", str(from_)),
        ("To", str(to)),
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} {method}"),
    ]
    if contact is not None:
        items.append(("Contact", str(contact)))
    items += headers
    if content_type:
        items.append(("Content-Type", content_type))
    return Request(method, str(uri), Headers(items), body)


def make_response(
    request: Request,
    status: int,
    reason: str | None = None,
    to_tag: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    content_type: str = "",
    body: bytes = b"",
) -> Response:
    """Return the response to a request (RFC 3261 §8.2.6); `to_tag` is taken only if To has no tag yet."""
    ours = request.headers
    to = request.to
    if to_tag is not None and to.tag is None:
        to = to.with_param("tag", to_tag)
    items = [("Via", value) for value in ours.all("via")]
    if 100 < status < 300 and request.method in _REPEATING:  # RFC 3261 §12.1.1
        items += [("Record-Route", value) for value in ours.all("record-route")]
    items.append(("From", ours.get("from") or ""))
    items.append(("To", str(to)))
    items.append(("Call-ID", ours.get("call-id") or ""))
    items.append(("CSeq", ours.get("cseq") or ""))
    if status == 100 and "timestamp" in ours:  # RFC 3261 §8.2.6.1
        items.append(("Timestamp", ours.get("timestamp") or ""))
    items += headers
    if content_type:
        items.append(("Content-Type", content_type))
    return Response(status, reason_of(status) if reason is None else reason, Headers(items), body)


def _parse_top_via(text: str) -> Via:
    return Via.parse(split_list(text)[0])


def _parse_call_id(text: str) -> str:
    if not _CALL_ID.fullmatch(text):
        raise SipSyntaxError(f"not a Call-ID: {shortened(text)}")
    return text


def _parse_max_forwards(text: str) -> int:
    return parse_number(text, "Max-Forwards", 255)


def _parse_seconds(text: str) -> int:
    return min(parse_number(text, "Expires", 2**32), MAX_SECONDS)


def _parse_media_type(text: str) -> tuple[str, dict[str, str]]:
    match = _MEDIA_TYPE.match(text)
    if match is None:
        raise SipSyntaxError(f"not a media type: {shortened(text)}")
    return f"{match[1]}/{match[2]}".lower(), _params_of(text, match.end())


def _parse_event(text: str) -> Event:
    package = text.partition(";")[0]
    name = package.rstrip(" \t")
    if not is_token(name):
        raise SipSyntaxError(f"not an event package: {shortened(text)}")
    return Event(name, _params_of(text, len(package)))


def _params_of(text: str, start: int) -> dict[str, str]:
    return {name.lower(): unquote(value or "") for name, value in parse_params(text, start)}
