"""Finds the stanzas in a stream: what expat tells, and where in the input it happened.

`xmlstream.py` decides which bytes are parsed and kept; this module cuts elements out of them. Names
are checked here as expat reads them, because it is not namespace-aware: see `Scanner._read_slowly`.
"""

import re
from collections.abc import Mapping
from pyexpat import ParserCreate, XMLParserType
from typing import Final

from ubiety.conditions import StanzaError
from ubiety.element import Element, ElementError, parse_element
from ubiety.stanza import KINDS, ChildName, Stanza, build, from_element
from ubiety.xmpp import ns
from ubiety.xmpp.items import BadStanza, Limits, StreamItem, StreamOpened
from ubiety.xmpp.scope import (
    KNOWN_NAMESPACES,
    MAX_NAME,
    PLAIN_ATTRIBUTES,
    PLAIN_SCOPE,
    Refused,
    Scope,
    check_declaration,
    is_namespace,
    read_scope,
    refuse_markup,
)

SPACE: Final = b" \t\r\n"
TEXT_BETWEEN: Final = "text between two stanzas"
_SLASH: Final = 0x2F
_START_TAG: Final = re.compile(rb"""<(?:[^'">]|'[^']*'|"[^"]*")*>""")
_CLIENT: Final = ns.CLIENT
_CONTENT: Final = frozenset({ns.CLIENT, ns.SERVER})
_UNFIT_NAMESPACE: Final = "a namespace is not a URI or is reserved"


class Finished(Exception):
    """Ends the parser's run at the end of the stream."""


class Scanner:
    """The handlers of one stream's parser and the state between their calls.

    `base`, `start` and `end` count bytes as expat does: of the buffer's first byte, of the beginning
    of the present first-level element, of the end of the last one. `depth` is 1 between stanzas.
    """

    __slots__ = (
        "_always_slow",
        "_asserted",
        "_attrs",
        "_children",
        "_default_lang",
        "_force_slow",
        "_lang",
        "_limits",
        "_scope",
        "_slow",
        "_unfit",
        "_watched",
        "base",
        "buffer",
        "count",
        "depth",
        "end",
        "items",
        "parser",
        "start",
    )

    def __init__(
        self, limits: Limits, default_lang: str, asserted: frozenset[ChildName], force_slow: bool
    ) -> None:
        self._limits = limits
        self._default_lang = default_lang
        self._asserted = asserted
        self._watched = _CONTENT.union([uri for uri, _ in asserted])
        self._force_slow = force_slow
        self.reset()

    def reset(self) -> None:
        """Expect a stream header."""
        self.parser: XMLParserType | None = None
        self.buffer: bytes | bytearray = b""
        self.items: list[StreamItem] = []
        self.base = self.start = self.end = 0
        self.depth = 0
        self._scope: Scope | None = None
        self._lang = self._default_lang
        self._always_slow = self._force_slow
        self._forget_element()

    def release(self) -> None:
        """Drop the parser; `parse` makes a new one that stands between two stanzas."""
        self.parser = None  # its handlers refer to us
        self._forget_element()

    def _forget_element(self) -> None:
        self.count = 0
        self._attrs: dict[str, str] = {}
        self._children: list[ChildName] = []
        self._slow = False
        self._unfit = ""

    def parse(self, data: bytes) -> None:
        """Parse bytes that stand in `buffer`; raises ExpatError, Refused, Finished."""
        (self.parser or self._new_parser()).Parse(data, False)

    def _new_parser(self) -> XMLParserType:
        """Make a parser that stands where the stream stands: before its header or between two stanzas."""
        parser = ParserCreate("UTF-8")  # else a declaration could choose another encoding
        if hasattr(parser, "SetReparseDeferralEnabled"):
            parser.SetReparseDeferralEnabled(False)  # else the end of a stanza could be held back
        self.base = self.end = 0
        if self._scope is not None:
            header = b"<%b>" % self._scope.root.encode()
            parser.Parse(header, False)
            self.base = self.end = len(header)
        parser.StartElementHandler = self._on_start
        parser.EndElementHandler = self._on_end
        parser.XmlDeclHandler = check_declaration
        parser.CommentHandler = refuse_markup
        parser.ProcessingInstructionHandler = refuse_markup
        parser.StartDoctypeDeclHandler = refuse_markup
        parser.EntityDeclHandler = refuse_markup
        self.parser = parser
        return parser

    # --- What expat tells

    def _on_start(self, name: str, attrs: dict[str, str]) -> None:
        depth = self.depth
        self.depth = depth + 1
        if depth > 1:
            self.count = count = self.count + 1
            if count > self._limits.children or depth > self._limits.depth:
                raise Refused(
                    "policy-violation", "an element holds too many others or too deeply nested ones"
                )
            if ":" in name or len(name) > MAX_NAME:
                self._inspect_name(name)
            uri = self._inspect(attrs) if attrs else None
            if depth == 2:
                child = (_CLIENT if uri is None else uri, name)
                if uri in self._watched and (uri in _CONTENT or child in self._asserted):
                    self._slow = True
                self._children.append(child)
        elif depth == 1:
            self._begin(name, attrs)
        else:
            self._open(name, attrs)

    def _on_end(self, name: str) -> None:
        depth = self.depth = self.depth - 1
        if depth == 1:
            self._finish(name)
        elif depth == 0:
            self._check_between(self._index())
            raise Finished

    def _index(self) -> int:
        """Where in the buffer the thing is that expat is telling."""
        parser = self.parser
        assert parser is not None
        return parser.CurrentByteIndex - self.base

    def _open(self, name: str, attrs: dict[str, str]) -> None:
        """Read the stream header."""
        if any(">" in value for value in attrs.values()):
            raise Refused("bad-format", "an attribute of the stream header holds a >")
        self._scope = scope = read_scope(name, attrs)
        self.end = self.base + self.buffer.find(b">", self._index()) + 1
        self._always_slow = self._force_slow or scope.default != _CLIENT
        self._lang = attrs.get("xml:lang", self._default_lang)
        get = attrs.get
        self.items.append(StreamOpened(get("to"), get("from"), get("version"), get("xml:lang"), get("id")))

    def _begin(self, name: str, attrs: dict[str, str]) -> None:
        """A first-level element begins."""
        index = self._index()
        self.start = start = self.base + index
        if start != self.end:
            self._check_between(index)
        self.count = 0
        self._attrs = attrs
        self._children = []
        self._slow = self._always_slow
        self._unfit = ""
        if ":" in name or len(name) > MAX_NAME:
            self._inspect_name(name)
        self._inspect(attrs)

    def _check_between(self, index: int) -> None:
        """Refuse anything but white space between two first-level elements."""
        end = self.end - self.base
        if self.buffer[end:index].strip(SPACE):
            raise Refused("bad-format", TEXT_BETWEEN)

    # --- Names

    def _inspect_name(self, name: str) -> None:
        if len(name) > MAX_NAME:
            raise Refused("policy-violation", f"a name is longer than {MAX_NAME} characters")
        self._slow = True

    def _inspect(self, attrs: dict[str, str]) -> str | None:
        """Look for what calls for the slow path; return the default namespace that is declared."""
        if len(attrs) > self._limits.attributes:
            raise Refused(
                "policy-violation", f"an element has more than {self._limits.attributes} attributes"
            )
        if not PLAIN_ATTRIBUTES.issuperset(attrs):
            self._inspect_attributes(attrs)
        uri = attrs.get("xmlns")
        if uri and uri not in KNOWN_NAMESPACES and not is_namespace(uri):
            self._slow = True
            self._unfit = _UNFIT_NAMESPACE
        return uri

    def _inspect_attributes(self, attrs: dict[str, str]) -> None:
        for key, value in attrs.items():
            if len(key) > MAX_NAME:
                self._inspect_name(key)
            if ":" in key and key != "xml:lang":
                self._slow = True
                if key == "xml:id":
                    self._unfit = "xml:id is not supported"  # libxml2 wants them valid and unique
                elif key.startswith("xmlns:") and not is_namespace(value):
                    self._unfit = _UNFIT_NAMESPACE

    # --- A first-level element is complete

    def _finish(self, name: str) -> None:
        """Cut the element out of the buffer and add the item that it is."""
        index = self._index()
        buffer = self.buffer
        attrs = self._attrs
        start = self.start - self.base
        head_end = buffer.find(b">", start) + 1
        for value in attrs.values():
            if ">" in value:  # it may stand there as it is
                head_end = _find_head_end(buffer, start)
                break
        # For an empty element expat's index is behind it, for others before the end tag.
        is_empty = index == head_end and buffer[index - 2] == _SLASH
        end = index if is_empty else buffer.find(b">", index) + 1
        is_stanza = name in KINDS and attrs.get("xmlns", _CLIENT) == _CLIENT
        item: StreamItem
        if is_stanza and self._unfit:
            item = _bad_stanza(name, attrs, StanzaError("bad-request", self._unfit))
        elif is_stanza and not self._slow:
            item = self._read_quickly(name, bytes(buffer[head_end:index]))
        elif index == head_end and not self._slow:
            item = Element(name, attrs.pop("xmlns", _CLIENT), attrs)
        else:
            item = self._read_slowly(bytes(buffer[start:end]))
        self.end = self.base + end
        self.items.append(item)

    def _read_quickly(self, kind: str, payload: bytes) -> Stanza | BadStanza:
        """Take the children as they came: any parser reads them as we would."""
        try:
            return build(kind, self._attrs, self._lang, tuple(self._children), payload)
        except StanzaError as error:
            return _bad_stanza(kind, self._attrs, error)

    def _read_slowly(self, data: bytes) -> Stanza | BadStanza | Element:
        """Parse as a tree, with what the stream header declares in scope, and write canonically.

        expat accepts an unbound prefix or two colons in a name; whoever got that would lose the stream.
        """
        scope = self._scope or PLAIN_SCOPE
        try:
            element = parse_element(data, scope.default, scope.prefixes)
        except ElementError as error:
            raise Refused("not-well-formed", error.reason) from None
        if element.name not in KINDS or element.ns != _CLIENT:
            return element
        try:
            if self._unfit:
                raise StanzaError("bad-request", self._unfit)
            return from_element(element, self._lang)
        except StanzaError as error:
            return _bad_stanza(element.name, element.attrs, error)


def _find_head_end(buffer: bytes | bytearray, start: int) -> int:
    match = _START_TAG.match(buffer, start)
    assert match is not None  # expat has accepted it
    return match.end()


def _bad_stanza(kind: str, attrs: Mapping[str, str], error: StanzaError) -> BadStanza:
    get = attrs.get
    return BadStanza(kind, get("id"), get("type"), get("from"), get("to"), error.condition, error.text)
