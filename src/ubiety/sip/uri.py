"""SIP addresses as values: `SipUri`, `OtherUri` and `NameAddr` (RFC 3261 §19.1, §20.10).

What was parsed is printed as it came, character for character. That matters: `opaque=user:epid:AbC`
in a Microsoft GRUU must not be escaped anew.
"""

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any
from urllib.parse import unquote as percent_decoded
from urllib.parse import unquote_to_bytes

from ubiety.sip.syntax import (
    QUOTED,
    TOKEN,
    Params,
    SipSyntaxError,
    check_repeated,
    find_param,
    is_token,
    parse_params,
    print_params,
    quote,
    readable,
    set_param,
    shortened,
    split_list,
    unquote,
)

__all__ = ["NameAddr", "OtherUri", "Params", "SipSyntaxError", "SipUri", "Uri", "escape_user", "parse_uri"]

HOST = r"\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9_](?:[-A-Za-z0-9_.]*[A-Za-z0-9_.])?"
"""A host name, IPv4 address or IPv6 address in brackets, as a regular expression."""

_USER = r"(?:[-A-Za-z0-9_.!~*'()&=+$,;?/]|%[0-9A-Fa-f]{2})++"
_PASSWORD = r"(?:[-A-Za-z0-9_.!~*'()&=+$,]|%[0-9A-Fa-f]{2})*+"
_PARAM_CHAR = r"(?:[-A-Za-z0-9_.!~*'()\[\]/:&+$]|%[0-9A-Fa-f]{2})"
# An equals sign inside a value is not allowed, but base64 has it and it cannot be misread.
_PARAM = rf";({_PARAM_CHAR}++)(?:=((?:{_PARAM_CHAR}|=)*+))?"
_SIP = re.compile(
    rf"([sS][iI][pP][sS]?):(?:({_USER})(?::({_PASSWORD}))?@)?({HOST})(?::([0-9]{{1,5}}))?"
    r"((?:;[^;?]*+)*+)(?:\?([^\x00-\x20<>\"]++))?"
)
_URI_PARAM = re.compile(_PARAM)
_OTHER = re.compile(r"([A-Za-z][-+.A-Za-z0-9]*+):([^\x00-\x20<>\"\x7f]++)")
_UNRESERVED = re.compile(r"%([0-9A-Fa-f]{2})")
_NAME_ADDR = re.compile(
    rf"[ \t]*+(?:({QUOTED})[ \t]*+|((?:(?:{TOKEN}|[^\x00-\x7f])++[ \t]*+)*+))<([^<>]*+)>[ \t]*+", re.DOTALL
)
_ADDR_SPEC = re.compile(r"[ \t]*+([^ \t;,?<>\"]++)[ \t]*+")
_ALWAYS_COMPARED = frozenset({"user", "ttl", "method", "maddr"})  # RFC 3261 §19.1.4
_ESCAPED_IN_USER = re.compile(r"[^-A-Za-z0-9_.!~*'()&=+$,;?/]")
_CACHED_LENGTH = 256  # longer ones are not cached: a stranger could fill the memory with them


@dataclass(frozen=True, slots=True)
class SipUri:
    """A `sip:` or `sips:` address; its parts are as they were written, with their escapes."""

    scheme: str
    """`sip` or `sips`."""
    user: str
    """"" when there is none."""
    password: str
    """"" when there is none."""
    host: str
    """As it was written; an IPv6 address is in its brackets."""
    port: int | None = None
    params: Params = ()
    headers: str = ""
    """What is behind the `?`."""
    text: str = field(default="", repr=False, compare=False)
    """What was parsed; "" for a new one."""

    @staticmethod
    def parse(text: str) -> "SipUri":
        """Return the address; raises SipSyntaxError."""
        return _parse_cached(text) if len(text) <= _CACHED_LENGTH else _parse_sip(text)

    def __str__(self) -> str:
        return self.text or self._print()

    def _print(self) -> str:
        password = f":{self.password}" if self.password else ""
        user = f"{self.user}{password}@" if self.user else ""
        port = "" if self.port is None else f":{self.port}"
        headers = f"?{self.headers}" if self.headers else ""
        return f"{self.scheme}:{user}{self.host}{port}{print_params(self.params)}{headers}"

    @property
    def aor(self) -> str:
        """The address of record: "user@host" without escapes and with the host in lower case, or "host"."""
        host = self.host.lower()
        return f"{self.decoded_user}@{host}" if self.user else host

    @property
    def decoded_user(self) -> str:
        """The user without escapes; as written if they are not UTF-8."""
        if "%" not in self.user:
            return self.user
        try:
            return percent_decoded(self.user, errors="strict")
        except UnicodeDecodeError:
            return self.user

    def param(self, name: str) -> str | None:
        """Return the value of a parameter, "" for a flag, None if it is not there."""
        return find_param(self.params, name)

    def has(self, name: str) -> bool:
        """Return whether the parameter is there."""
        return find_param(self.params, name) is not None

    @property
    def transport(self) -> str | None:
        """The transport that is asked for, in lower case."""
        value = find_param(self.params, "transport")
        return value.lower() if value else None

    def replace(self, **fields: Any) -> "SipUri":
        """Return the address with some fields changed."""
        return replace(self, text="", **fields)

    def with_param(self, name: str, value: str | None = None) -> "SipUri":
        """Return the address with this parameter."""
        return self.replace(params=set_param(self.params, name, value))

    def matches(self, other: object) -> bool:
        """Return whether both are the same address (RFC 3261 §19.1.4)."""
        return isinstance(other, SipUri) and (
            self.scheme == other.scheme
            and _normal(self.user) == _normal(other.user)
            and _normal(self.password) == _normal(other.password)
            and self.host.lower() == other.host.lower()
            and self.port == other.port
            and _match_params(self.params, other.params)
            and _sorted_headers(self.headers) == _sorted_headers(other.headers)
        )


@dataclass(frozen=True, slots=True)
class OtherUri:
    """An address of another scheme, such as `tel:`; `text` is all of it."""

    scheme: str
    """In lower case."""
    text: str

    def __str__(self) -> str:
        return self.text


Uri = SipUri | OtherUri


def parse_uri(text: str) -> Uri:
    """Return the address that this text is; raises SipSyntaxError."""
    if text[:5].lower().startswith(("sip:", "sips:")):
        return SipUri.parse(text)
    match = _OTHER.fullmatch(text)
    if match is None:
        raise SipSyntaxError(f"not an address: {shortened(text)}")
    return OtherUri(match[1].lower(), text)


def escape_user(text: str) -> str:
    """Return the text as the user of a SIP address: what may not stand there is escaped."""
    return _ESCAPED_IN_USER.sub(
        lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape")), text
    )


@dataclass(frozen=True, slots=True)
class NameAddr:
    """An address with a name and parameters, as From, To, Contact, Route and others have it."""

    display: str
    """The name without quotes; "" when there is none."""
    uri: Uri
    params: Params = ()
    """Those of the header; values as written, quotes and all."""
    text: str = field(default="", repr=False, compare=False)
    """What was parsed; "" for a new one."""

    @staticmethod
    def parse(text: str) -> "NameAddr":
        """Return the one address that this text is; raises SipSyntaxError."""
        return _parse_name_cached(text) if len(text) <= _CACHED_LENGTH else _parse_name(text)

    @staticmethod
    def parse_list(text: str) -> tuple["NameAddr", ...]:
        """Return the addresses of a comma-separated list; raises SipSyntaxError."""
        return tuple(NameAddr.parse(part) for part in split_list(text))

    def __str__(self) -> str:
        return self.text or self._print()

    def _print(self) -> str:
        display = f"{quote(self.display)} " if self.display else ""
        return f"{display}<{self.uri}>{print_params(self.params)}"

    @property
    def tag(self) -> str | None:
        """The tag of From and To."""
        return self.param("tag")

    def param(self, name: str) -> str | None:
        """Return what a parameter says, without quotes; "" for a flag, None if it is not there."""
        value = find_param(self.params, name)
        return unquote(value) if value else value

    def has(self, name: str) -> bool:
        """Return whether the parameter is there."""
        return find_param(self.params, name) is not None

    def with_param(self, name: str, value: str | None = None) -> "NameAddr":
        """Return the address with this parameter; a value that is no token is quoted."""
        if value is not None and not is_token(value) and value[:1] != '"':
            value = quote(value)
        params = set_param(self.params, name, value)
        is_new = self.text and len(params) > len(self.params)
        text = self.text.rstrip(" \t") + print_params(params[-1:]) if is_new else ""
        return NameAddr(self.display, self.uri, params, text)

    def without_params(self) -> "NameAddr":
        """Return the name and the address alone."""
        return NameAddr(self.display, self.uri)

    def replace(self, **fields: Any) -> "NameAddr":
        """Return it with some fields changed."""
        return replace(self, text="", **fields)


def _parse_sip(text: str) -> SipUri:
    match = _SIP.fullmatch(text)
    if match is None:
        raise SipSyntaxError(f"not a SIP address: {shortened(text)}")
    scheme, user, password, host, port, params, headers = match.groups()
    if port is not None and int(port) > 65535:
        raise SipSyntaxError(f"no such port: {port}")
    return SipUri(
        scheme.lower(),
        user or "",
        password or "",
        host,
        int(port) if port else None,
        _parse_params(params) if params else (),
        headers or "",
        text,
    )


_parse_cached = lru_cache(8192)(_parse_sip)


def _parse_name(text: str) -> NameAddr:
    match = _NAME_ADDR.match(text)
    if match is not None:
        display = unquote(match[1]) if match[1] else match[2].rstrip(" \t")
        return NameAddr(readable(display), parse_uri(match[3]), parse_params(text, match.end()), text)
    # RFC 3261 §20.10: without <> a comma, semicolon or question mark is not part of the address.
    match = _ADDR_SPEC.match(text)
    if match is None:
        raise SipSyntaxError(f"not an address: {shortened(text)}")
    return NameAddr("", parse_uri(match[1]), parse_params(text, match.end()), text)


# Those of a conversation come again with each of its messages.
_parse_name_cached = lru_cache(4096)(_parse_name)


def _parse_params(text: str) -> Params:
    params: list[tuple[str, str | None]] = []
    start = 0
    while start < len(text):
        match = _URI_PARAM.match(text, start)
        if match is None:
            raise SipSyntaxError(f"not a parameter of an address: {shortened(text[start:])}")
        params.append((match[1], match[2]))
        start = match.end()
    check_repeated(params)
    return tuple(params)


def _normal(text: str) -> str:
    """Return the text with unreserved characters unescaped and other escapes in upper case."""
    return _UNRESERVED.sub(_unescaped_if_unreserved, text) if "%" in text else text


def _unescaped_if_unreserved(match: re.Match[str]) -> str:
    char = unquote_to_bytes(match[0]).decode("latin-1")
    return char if char.isascii() and (char.isalnum() or char in "-_.!~*'()") else match[0].upper()


def _match_params(ours: Params, theirs: Params) -> bool:
    left = {_normal(name).lower(): _normal(value or "").lower() for name, value in ours}
    right = {_normal(name).lower(): _normal(value or "").lower() for name, value in theirs}
    return all(left.get(name) == right.get(name) for name in (left.keys() & right.keys()) | _ALWAYS_COMPARED)


def _sorted_headers(text: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in text.split("&"))
    return sorted((_normal(name).lower(), _normal(value)) for name, _, value in pairs)
