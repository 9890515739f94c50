"""Addresses of XMPP: parsed, prepared and compared once, then passed around as values.

RFC 7622 says how the three parts are prepared, XEP-0106 how characters that a local part may not
hold are escaped. Two addresses are the same if and only if their `text` is the same.
"""

import re
from functools import lru_cache
from html import escape
from ipaddress import IPv6Address
from sys import intern
from typing import Any, NoReturn

import idna
from precis_i18n import get_profile

MAX_PART_BYTES = 1023  # RFC 7622 §3.1
_CACHED_LENGTH = 256  # longer addresses are not cached: a stranger could fill the memory with them
_CACHE_ENTRIES = 32_768

_local_profile = get_profile("UsernameCaseMapped:ToLower")
_resource_profile = get_profile("OpaqueString")

# What plain ASCII may look like where no preparation is needed (beyond lower case).
_ASCII_LOCAL = re.compile(r"[!#$%()*+,\-.0-9;=?A-Z\[\\\]^_`a-z{|}~]+")
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_ASCII_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ASCII_RESOURCE = re.compile(r"[ -~]+")
_PLAIN = re.compile(r"[^&<>'\"]*")  # needs no escape in XML
_LOCAL_FORBIDDEN = frozenset("\"&'/:<>@")  # RFC 7622 §3.3.1


class JidError(ValueError):
    """An address is not well formed; `reason` says in one phrase what is wrong with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Jid:
    """An address. Made by `parse` or `make`, never changed afterwards.

    `local` and `resource` are "" when absent; `bare` is "local@domain" or "domain"; `text` is the
    whole address; `xml` is the whole address escaped for an attribute value.
    """

    __slots__ = ("bare", "domain", "local", "resource", "text", "xml")

    local: str
    domain: str
    resource: str
    bare: str
    text: str
    xml: str

    def __init__(self, local: str, domain: str, resource: str) -> None:
        domain = intern(domain)  # there are few, and one address in memory for each person and client
        bare = f"{local}@{domain}" if local else domain
        text = f"{bare}/{resource}" if resource else bare
        fields = (local, domain, resource, bare, text, text if _PLAIN.fullmatch(text) else escape(text))
        for name, value in zip(("local", "domain", "resource", "bare", "text", "xml"), fields, strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a Jid cannot be changed (tried to set {name})")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Jid cannot be changed (tried to delete {name})")

    @property
    def is_bare(self) -> bool:
        """Whether the address has no resource."""
        return not self.resource

    def bare_jid(self) -> "Jid":
        """Return the address without its resource."""
        return parse(self.bare) if self.resource else self

    def with_resource(self, resource: str) -> "Jid":
        """Return the address with this resource; raises JidError if the resource cannot be one."""
        return parse(f"{self.bare}/{resource}")

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Jid) and self.text == other.text)

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Jid({self.text!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (parse, (self.text,))


def parse(text: str) -> Jid:
    """Return the prepared address that this text names; raises JidError.

    RFC 7622 §3: the resource begins behind the first "/", the domain behind the first "@" before it.
    """
    return _parse_cached(text) if len(text) <= _CACHED_LENGTH else _parse(text)


def make(local: str, domain: str, resource: str = "") -> Jid:
    """Return the address made of these parts, prepared and checked; raises JidError."""
    _check_lengths(local, domain, resource)
    return Jid(
        _prepare_local(local) if local else "",
        _prepare_domain(domain),
        _prepare_resource(resource) if resource else "",
    )


def _parse(text: str) -> Jid:
    before, slash, resource = text.partition("/")
    local, at, domain = before.partition("@")
    if not at:
        local, domain = "", before
    elif not local:
        raise JidError("nothing stands before the @")
    if slash and not resource:
        raise JidError("nothing stands behind the /")
    return make(local, domain, resource)


_parse_cached = lru_cache(maxsize=_CACHE_ENTRIES)(_parse)


def _check_lengths(*parts: str) -> None:
    """Bound the work of the preparation and what it gives back (RFC 7622 §3.1)."""
    for part in parts:
        if len(part.encode("utf-8", "surrogatepass")) > MAX_PART_BYTES:
            raise JidError(f"a part is longer than {MAX_PART_BYTES} bytes")


def _prepare_local(local: str) -> str:
    if _ASCII_LOCAL.fullmatch(local):
        return local.lower()
    prepared = _enforce(_local_profile, local, "the part before the @")
    if not _LOCAL_FORBIDDEN.isdisjoint(prepared):
        raise JidError("the part before the @ holds one of \"&'/:<>@")
    _check_lengths(prepared)
    return prepared


def _prepare_resource(resource: str) -> str:
    if _ASCII_RESOURCE.fullmatch(resource):
        return resource
    prepared = _enforce(_resource_profile, resource, "the part behind the /")
    _check_lengths(prepared)
    return prepared


def _enforce(profile: Any, part: str, where: str) -> str:
    try:
        return str(profile.enforce(part))
    except UnicodeError:
        raise JidError(f"{where} holds a character that is not allowed there") from None


def _prepare_domain(domain: str) -> str:
    name = domain.removesuffix(".")  # RFC 7622 §3.2: the root label is dropped
    lowered = name.lower() if name.isascii() else name
    if _ASCII_DOMAIN.fullmatch(lowered) and "xn--" not in lowered and len(lowered) <= 253:
        return lowered
    if name.startswith("[") and name.endswith("]"):
        return _prepare_ipv6(name[1:-1])
    return _prepare_idn(name)


def _prepare_ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise JidError("the domain is not an IPv6 address") from None
    if address.scope_id is not None:
        raise JidError("the domain is an IPv6 address with a zone")
    return f"[{address.compressed}]"


def _prepare_idn(name: str) -> str:
    """Return the name with Unicode labels (RFC 7622 §3.2.1), mapped by UTS 46 first."""
    if not name:
        raise JidError("the domain is empty")
    try:
        prepared = idna.decode(idna.encode(name, uts46=True))
    except UnicodeError:  # IDNAError is one
        raise JidError("the domain is not a valid name") from None
    _check_lengths(prepared)
    return prepared.removesuffix(".")


_ESCAPES = {c: f"\\{ord(c):02x}" for c in " \"&'/:<>@\\"}  # XEP-0106 §4
_UNESCAPES = {escape: c for c, escape in _ESCAPES.items()}
_ANY_ESCAPE = "20|22|26|27|2f|3a|3c|3e|40|5c"
_TO_ESCAPE = re.compile(rf"[ \"&'/:<>@]|\\(?={_ANY_ESCAPE})")
_TO_UNESCAPE = re.compile(rf"\\(?:{_ANY_ESCAPE})")


def escape_local(user: str) -> str:
    """Return the local part that stands for this user name, which may hold "@" and spaces (XEP-0106).

    Raises JidError for a name that is empty or begins or ends with a space.
    """
    if not user or user.startswith(" ") or user.endswith(" "):
        raise JidError("a user name is empty or begins or ends with a space")  # XEP-0106 §4.2
    return _TO_ESCAPE.sub(lambda match: _ESCAPES[match[0]], user)


def unescape_local(local: str) -> str:
    """Return the user name that this local part stands for (XEP-0106); never fails."""
    if local.startswith("\\20") or local.endswith("\\20"):
        return local  # XEP-0106 §4.2: such a name was never escaped by anybody
    return _TO_UNESCAPE.sub(lambda match: _UNESCAPES[match[0]], local)
