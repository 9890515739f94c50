"""The header fields of a message, and the typed values Via and CSeq (RFC 3261 §7.3, §20)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from ubiety.sip.syntax import (
    TOKEN,
    Params,
    SipSyntaxError,
    find_param,
    parse_number,
    parse_params,
    print_params,
    set_param,
    shortened,
    split_list,
    unquote,
)
from ubiety.sip.uri import HOST

COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
}
"""The compact forms and what they stand for."""

LISTS = frozenset((
    "accept", "accept-contact", "accept-encoding", "accept-language", "alert-info", "allow", "allow-events",
    "call-info", "contact", "content-encoding", "content-language", "diversion", "error-info",
    "history-info", "in-reply-to", "p-asserted-identity", "p-associated-uri", "p-preferred-identity",
    "path", "proxy-require", "record-route", "reject-contact", "require", "route", "security-client",
    "security-server", "security-verify", "service-route", "supported", "unsupported", "via", "warning",
))  # fmt: skip
"""The headers whose values may stand in one line with commas between them (RFC 3261 §7.3.1)."""

MAX_CSEQ = 2**31 - 1  # RFC 3261 §8.1.1.5

_FIELD_NAME = re.compile(TOKEN + "++")
_VIA = re.compile(
    rf"[ \t]*+[sS][iI][pP][ \t]*+/[ \t]*+2\.0[ \t]*+/[ \t]*+({TOKEN}++)[ \t]++({HOST})"
    r"(?:[ \t]*+:[ \t]*+([0-9]{1,5}))?[ \t]*+(?=;|$)"
)
_CSEQ = re.compile(rf"([0-9]++)[ \t]++({TOKEN}++)")

# The spellings that nearly all messages use, to spare the work for them.
_KEYS = {name: name for name in LISTS} | dict(COMPACT)
_USUAL = (
    "Accept", "Allow", "Allow-Events", "Authorization", "CSeq", "Call-ID", "Contact", "Content-Length",
    "Content-Type", "Date", "Event", "Expires", "From", "Max-Forwards", "Min-Expires",
    "P-Asserted-Identity", "Proxy-Authorization", "Record-Route", "Require", "Retry-After", "Route",
    "Server", "SIP-ETag", "SIP-If-Match", "Subject", "Subscription-State", "Supported", "To", "User-Agent",
    "Via", "WWW-Authenticate", "Warning", "Ms-Conversation-ID", "ms-text-format",
)  # fmt: skip
_KEYS |= {name: name.lower() for name in _USUAL}

Items = tuple[tuple[str, str], ...]


def key_of(name: str) -> str:
    """Return what a header is known by: its name in lower case, in the long form."""
    key = _KEYS.get(name)
    if key is None:
        key = name.lower()
        key = COMPACT.get(key, key)
    return key


class Headers:
    """The header fields in their order, never changed.

    Names are compared without case, and a compact form equals the long one.
    Every method that changes something returns a new value.
    """

    __slots__ = ("_items", "_keys")

    _items: Items
    _keys: tuple[str, ...]

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        items = tuple(items)
        _set(self, "_items", items)
        _set(self, "_keys", tuple([key_of(name) for name, _ in items]))

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"headers cannot be changed (tried to set {name})")

    def get(self, name: str) -> str | None:
        """Return the first value of this header."""
        return self.find(key_of(name))

    def find(self, key: str) -> str | None:
        """Return the first value of a header whose name is given as `key_of` has it."""
        keys = self._keys
        return self._items[keys.index(key)][1] if key in keys else None

    def find_repeated(self, keys: Iterable[str]) -> str | None:
        """Return the first of these keys that several fields have; None if there is none."""
        ours = self._keys
        for key in keys:
            if ours.count(key) > 1:
                return key
        return None

    def all(self, name: str) -> tuple[str, ...]:
        """Return the values of all fields of this name, each as it was written."""
        key = key_of(name)
        if key not in self._keys:
            return ()
        return tuple([item[1] for item, other in zip(self._items, self._keys, strict=True) if other == key])

    def values(self, name: str) -> tuple[str, ...]:
        """Return all values of this header, one by one also where several share a line."""
        found = self.all(name)
        if key_of(name) not in LISTS:
            return found
        return tuple([part for value in found for part in split_list(value) if part])

    def count(self, name: str) -> int:
        """Return how many fields have this name."""
        return self._keys.count(key_of(name))

    def with_(self, name: str, value: str) -> "Headers":
        """Return them with this the only field of its name, in the place of the first or at the end."""
        key = key_of(name)
        if key not in self._keys:
            return self.added(name, value)
        place = self._keys.index(key)
        rest = self.without(name)
        return _made(
            (*rest._items[:place], (name, value), *rest._items[place:]),
            (*rest._keys[:place], key, *rest._keys[place:]),
        )

    def added(self, name: str, value: str) -> "Headers":
        """Return them with one field more at the end."""
        return _made((*self._items, (name, value)), (*self._keys, key_of(name)))

    def first(self, name: str, value: str) -> "Headers":
        """Return them with one field more, before the others of its name (at the top if there are none)."""
        key = key_of(name)
        place = self._keys.index(key) if key in self._keys else 0
        return _made(
            (*self._items[:place], (name, value), *self._items[place:]),
            (*self._keys[:place], key, *self._keys[place:]),
        )

    def without(self, name: str) -> "Headers":
        """Return them without the fields of this name."""
        key = key_of(name)
        if key not in self._keys:
            return self
        kept = [place for place, other in enumerate(self._keys) if other != key]
        return _made(tuple([self._items[i] for i in kept]), tuple([self._keys[i] for i in kept]))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and key_of(name) in self._keys

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._items == other._items

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        return f"Headers({list(self._items)!r})"

    def __str__(self) -> str:
        return "".join([f"{name}: {value}\r\n" for name, value in self._items])


_set = object.__setattr__


def parse_fields(lines: list[str]) -> tuple[Headers, str]:
    """Return the fields in the lines that are any, and what is wrong with the first other one or ""."""
    items = []
    keys = []
    fault = ""
    for line in lines:
        name, colon, value = line.partition(":")
        key = _KEYS.get(name)
        if key is None:
            name = name.rstrip(" \t")
            if not colon or not _FIELD_NAME.fullmatch(name):
                fault = fault or f"not a header: {shortened(line)}"
                continue
            key = key_of(name)
        elif not colon:
            fault = fault or f"not a header: {shortened(line)}"
            continue
        items.append((name, value.strip(" \t")))
        keys.append(key)
    return _made(tuple(items), tuple(keys)), fault


def _made(items: Items, keys: tuple[str, ...]) -> Headers:
    made = Headers.__new__(Headers)
    _set(made, "_items", items)
    _set(made, "_keys", keys)
    return made


@dataclass(frozen=True, slots=True)
class Via:
    """One Via value (RFC 3261 §20.42)."""

    transport: str
    """As written: UDP, TCP, TLS ..."""
    host: str
    port: int | None = None
    params: Params = ()
    text: str = field(default="", repr=False, compare=False)
    """What was parsed; "" for a new one."""

    @staticmethod
    def parse(text: str) -> "Via":
        """Return the one Via that this text is; raises SipSyntaxError."""
        match = _VIA.match(text)
        if match is None:
            raise SipSyntaxError(f"not a Via: {shortened(text)}")
        port = None if match[3] is None else parse_number(match[3], "the port of the Via", 65535)
        return Via(match[1], match[2], port, parse_params(text, match.end()), text)

    @staticmethod
    def parse_list(text: str) -> tuple["Via", ...]:
        """Return the Vias of a comma-separated list; raises SipSyntaxError."""
        return tuple([Via.parse(part) for part in split_list(text)])

    def __str__(self) -> str:
        return self.text or self._print()

    def _print(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"SIP/2.0/{self.transport} {self.host}{port}{print_params(self.params)}"

    @property
    def branch(self) -> str | None:
        """The transaction's name, None if the peer is of RFC 2543."""
        return self.param("branch")

    @property
    def received(self) -> str | None:
        """The address that the request came from, where it differs."""
        return self.param("received")

    @property
    def rport(self) -> int | None:
        """The port that the request came from (RFC 3581); None also where it is only asked for."""
        value = self.param("rport")
        return parse_number(value, "rport", 65535) if value else None

    def param(self, name: str) -> str | None:
        """Return what a parameter says, without quotes; "" for a flag, None if it is not there."""
        value = find_param(self.params, name)
        return unquote(value) if value else value

    def has(self, name: str) -> bool:
        """Return whether the parameter is there."""
        return find_param(self.params, name) is not None

    def with_param(self, name: str, value: str | None = None) -> "Via":
        """Return it with this parameter."""
        return self.replace(params=set_param(self.params, name, value))

    def replace(self, **fields: Any) -> "Via":
        """Return it with some fields changed."""
        return replace(self, text="", **fields)


@dataclass(frozen=True, slots=True)
class CSeq:
    """The place of a request in its dialog (RFC 3261 §20.16)."""

    number: int
    method: str
    text: str = field(default="", repr=False, compare=False)
    """What was parsed; "" for a new one."""

    @staticmethod
    def parse(text: str) -> "CSeq":
        """Return the value; raises SipSyntaxError."""
        match = _CSEQ.fullmatch(text)
        if match is None:
            raise SipSyntaxError(f"not a CSeq: {shortened(text)}")
        return CSeq(parse_number(match[1], "the number of the CSeq", MAX_CSEQ), match[2], text)

    def __str__(self) -> str:
        return self.text or f"{self.number} {self.method}"
