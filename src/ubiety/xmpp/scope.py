"""What a stream's header declares, and which names may pass: the namespace half of the stream parser.

The parser in `xmlstream.py` knows nothing of namespaces; it asks here what its rules need.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NoReturn

from ubiety.element import ElementError, escape_attribute, parse_element
from ubiety.xmpp import ns

MAX_NAME: Final = 1024  # characters; libxml2 ends a stream with a name of 50,000

# Attribute names that need no closer look. What is missing here is only a little slower.
PLAIN_ATTRIBUTES: Final = frozenset(
    (
        "action",
        "affiliation",
        "ask",
        "by",
        "category",
        "code",
        "from",
        "h",
        "hash",
        "id",
        "jid",
        "label",
        "max",
        "name",
        "node",
        "queryid",
        "resume",
        "role",
        "stamp",
        "subscription",
        "to",
        "type",
        "url",
        "uri",
        "value",
        "var",
        "ver",
        "version",
        "xml:lang",
        "xmlns",
    )
)

_PIECE = r"(?:[A-Za-z0-9._~!$&'()*+,;=@/-]|%[0-9A-Fa-f]{2})*"
_HOST = r"[A-Za-z0-9._~-]+(?::[0-9]{1,5})?(?=[/?#]|$)"
_NAMESPACE = re.compile(
    rf"(?:[A-Za-z][A-Za-z0-9+.-]*:(?://{_HOST})?(?!//)(?:{_PIECE}:)*|(?!//)){_PIECE}(?:\?{_PIECE})?(?:#{_PIECE})?"
)
_RESERVED = frozenset({ns.XML, ns.XMLNS})
KNOWN_NAMESPACES: Final = frozenset([uri for name, uri in vars(ns).items() if name.isupper()]) - _RESERVED


class Refused(Exception):
    """The stream must end: `condition` is a stream error (RFC 6120 §4.9.3), `text` says why."""

    def __init__(self, condition: str, text: str) -> None:
        super().__init__(condition, text)
        self.condition = condition
        self.text = text


@dataclass(frozen=True, slots=True)
class Scope:
    """What is declared around the stanzas: the root's name, the default namespace, the prefixes."""

    root: str = "stream:stream"
    default: str = ns.CLIENT
    prefixes: Mapping[str, str] = field(default_factory=dict)


PLAIN_SCOPE: Final = Scope(prefixes={"stream": ns.STREAM})
_PLAIN_HEADER = frozenset({"xmlns", "xmlns:stream", "to", "from", "id", "version", "xml:lang"})


def read_scope(name: str, attrs: Mapping[str, str]) -> Scope:
    """Return what a stream header of this name and these attributes declares; raises Refused.

    RFC 6120 §4.8: the element is `stream` in the streams namespace, the default is jabber:client.
    """
    default = attrs.get("xmlns", "")
    if (
        name == "stream:stream"
        and default == ns.CLIENT
        and attrs.get("xmlns:stream") == ns.STREAM
        and _PLAIN_HEADER.issuperset(attrs)
    ):
        return PLAIN_SCOPE
    written = "".join([f" {key}='{escape_attribute(value)}'" for key, value in attrs.items()])
    try:
        element = parse_element(f"<{name}{written}/>".encode(), "")
    except ElementError as error:
        raise Refused("not-well-formed", error.reason) from None
    if element.name != "stream" or element.ns != ns.STREAM:
        raise Refused("invalid-namespace", "this is not the header of an XMPP stream")
    if default not in (ns.CLIENT, ns.STREAM, ""):
        raise Refused("invalid-namespace", "the default namespace has to be jabber:client")
    prefixes = {key[6:]: uri for key, uri in attrs.items() if key.startswith("xmlns:")}
    if not all(is_namespace(uri) for uri in prefixes.values()):
        raise Refused("invalid-namespace", "a prefix stands for something that is not a URI")
    return Scope(name, default, prefixes)


def is_namespace(uri: str) -> bool:
    """Whether every parser accepts this namespace name: a URI, and none that XML keeps for itself.

    expat takes anything; a client that reads with libxml2 would lose its stream.
    """
    return _is_namespace_cached(uri) if len(uri) < 128 else _is_namespace(uri)


def _is_namespace(uri: str) -> bool:
    return uri not in _RESERVED and _NAMESPACE.fullmatch(uri) is not None


_is_namespace_cached = lru_cache(maxsize=2048)(_is_namespace)


def refuse_markup(*_: object) -> NoReturn:
    """Raise Refused: XMPP does without this part of XML (RFC 6120 §11.1)."""
    raise Refused("restricted-xml", "comments, processing instructions and document types are not allowed")


def check_declaration(version: str, encoding: str | None, _standalone: int) -> None:
    """Raise Refused unless an XML declaration is what RFC 6120 §11.5 and §11.6 allow."""
    if version != "1.0":
        raise Refused("not-well-formed", "a stream is in XML 1.0")
    if encoding is not None and encoding.upper() != "UTF-8":
        raise Refused("unsupported-encoding", "a stream is in UTF-8")  # RFC 6120 §11.6
