"""XML elements as trees: made when somebody asks, written canonically, read namespace-aware.

Canonical means: default namespaces only, no prefixes except `xml:` and those that a namespaced
attribute cannot do without. The stream itself never builds trees (see `xmpp/xmlstream.py`).
"""

import re
from collections.abc import Iterable, Mapping
from pyexpat import ErrorString, ExpatError, ParserCreate
from typing import Final, NoReturn

NS_CLIENT: Final = "jabber:client"
NS_XML: Final = "http://www.w3.org/XML/1998/namespace"
MAX_DEPTH = 200  # more would exhaust the interpreter's stack when written

# Everything but the characters that may stand as they are; XML cannot carry what has no reference.
_SPECIAL_TEXT = re.compile("[^\t\n -%'-;=?-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL_ATTRIBUTE = re.compile("[^ !#-%(-;=?-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REFERENCES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "'": "&apos;",
    '"': "&quot;",
    "\t": "&#9;",
    "\n": "&#10;",
    "\r": "&#13;",
}


class ElementError(ValueError):
    """Bytes are not an element that may be passed on; `reason` says why.

    `restricted` is true when they hold what XMPP forbids although XML allows it (RFC 6120 §11.1).
    """

    def __init__(self, reason: str, restricted: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.restricted = restricted


def escape_text(text: str) -> str:
    """Return the text escaped for element content; what XML cannot carry becomes U+FFFD."""
    return _SPECIAL_TEXT.sub(_reference, text)


def escape_attribute(text: str) -> str:
    """Return the text escaped for an attribute value in either kind of quotes."""
    return _SPECIAL_ATTRIBUTE.sub(_reference, text)


def _reference(match: re.Match[str]) -> str:
    return _REFERENCES.get(match[0], "\ufffd")


class Element:
    """An element: name, namespace, attributes and children (elements and text, in order).

    Attributes in a namespace have the key "{namespace}name", those of `xml:` keep their prefix.
    """

    __slots__ = ("attrs", "children", "name", "ns")

    def __init__(
        self,
        name: str,
        ns: str = "",
        attrs: Mapping[str, str] | None = None,
        children: "list[Child] | tuple[Child, ...]" = (),
    ) -> None:
        self.name = name
        self.ns = ns
        self.attrs: dict[str, str] = dict(attrs) if attrs else {}
        self.children: list[Child] = list(children)

    @property
    def elements(self) -> "list[Element]":
        """The children that are elements."""
        return [child for child in self.children if isinstance(child, Element)]

    @property
    def text(self) -> str:
        """The text directly below this element."""
        return "".join([child for child in self.children if isinstance(child, str)])

    def get(self, attr: str) -> str | None:
        """Return an attribute's value or None."""
        return self.attrs.get(attr)

    def find(self, name: str, ns: str | None = None) -> "Element | None":
        """Return the first child of this name (in this namespace; None: in this element's own)."""
        wanted = self.ns if ns is None else ns
        for child in self.children:
            if isinstance(child, Element) and child.name == name and child.ns == wanted:
                return child
        return None

    def findall(self, name: str, ns: str | None = None) -> "list[Element]":
        """Return all children of this name (in this namespace; None: in this element's own)."""
        wanted = self.ns if ns is None else ns
        return [child for child in self.elements if child.name == name and child.ns == wanted]

    def add(self, child: "Child") -> "Element":
        """Append a child and return this element, so that calls can be chained."""
        self.children.append(child)
        return self

    def to_bytes(self, parent_ns: str = "") -> bytes:
        """Return the element in canonical form, to stand where `parent_ns` is the default namespace."""
        parts: list[str] = []
        _write(self, parent_ns, parts)
        return "".join(parts).encode()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Element)
            and self.name == other.name
            and self.ns == other.ns
            and self.attrs == other.attrs
            and self.children == other.children
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Element({self.to_bytes()!r})"


Child = Element | str


def write_content(children: Iterable[Child], ns: str) -> bytes:
    """Return elements and text in canonical form, to stand where `ns` is the default namespace."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, str):
            parts.append(escape_text(child))
        else:
            _write(child, ns, parts)
    return "".join(parts).encode()


def _write(element: Element, parent_ns: str, parts: list[str]) -> None:
    ns = element.ns
    # Only the prefix xml exists for elements without a declaration.
    name = f"xml:{element.name}" if ns == NS_XML else element.name
    inner_ns = parent_ns if ns == NS_XML else ns
    parts.append(f"<{name}")
    if inner_ns != parent_ns:
        parts.append(f" xmlns='{escape_attribute(inner_ns)}'")
    _write_attributes(element.attrs, parts)
    if not element.children:
        parts.append("/>")
        return
    parts.append(">")
    for child in element.children:
        if isinstance(child, str):
            parts.append(escape_text(child))
        else:
            _write(child, inner_ns, parts)
    parts.append(f"</{name}>")


def _write_attributes(attrs: Mapping[str, str], parts: list[str]) -> None:
    prefixes: dict[str, str] = {}
    for key, value in attrs.items():
        if key[0] == "{":
            ns, _, local = key[1:].rpartition("}")
            if ns not in prefixes:
                prefixes[ns] = f"ns{len(prefixes)}"
                parts.append(f" xmlns:{prefixes[ns]}='{escape_attribute(ns)}'")
            key = f"{prefixes[ns]}:{local}"
        parts.append(f" {key}='{escape_attribute(value)}'")


def parse_element(data: bytes, ns: str = NS_CLIENT, prefixes: Mapping[str, str] | None = None) -> Element:
    """Return the one element that these bytes are; raises ElementError.

    `ns` and `prefixes` are the default namespace and the prefixes in scope around it. The bytes must
    be namespace-well-formed; document types, comments and processing instructions are refused.
    """
    return parse_elements(data, ns, prefixes, only_one=True)[0]


def parse_elements(
    data: bytes, ns: str = NS_CLIENT, prefixes: Mapping[str, str] | None = None, *, only_one: bool = False
) -> list[Element]:
    """Return the elements that these bytes are, as `parse_element` does for one."""
    root = parse_content(data, ns, prefixes)
    if only_one and (len(root.children) != 1 or isinstance(root.children[0], str)):
        raise ElementError("this is not one element")
    return root.elements


def parse_content(data: bytes, ns: str = NS_CLIENT, prefixes: Mapping[str, str] | None = None) -> Element:
    """Return an element without a name whose children are these bytes; raises ElementError."""
    builder = _Builder()
    parser = ParserCreate("UTF-8", " ")
    parser.buffer_text = True
    parser.ordered_attributes = True
    parser.namespace_prefixes = False
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.CommentHandler = _refuse
    parser.ProcessingInstructionHandler = _refuse
    parser.StartDoctypeDeclHandler = _refuse
    declared = "".join([f" xmlns:{p}='{escape_attribute(uri)}'" for p, uri in (prefixes or {}).items()])
    head = f"<_ xmlns='{escape_attribute(ns)}'{declared}>"
    try:
        parser.Parse(head.encode(), False)
        parser.Parse(data, False)
        if len(builder.stack) != 2:
            raise ElementError("an element is not closed")
        parser.Parse(b"</_>", True)
    except ExpatError as error:
        raise ElementError(ErrorString(error.code) or "not well-formed") from None
    return builder.root


def _refuse(*_: object) -> NoReturn:
    raise ElementError("a document type, comment or processing instruction is not allowed", restricted=True)


class _Builder:
    """Receives the parser's calls and builds the tree below `root`, the wrapper around the data."""

    def __init__(self) -> None:
        self.root = Element("")
        self.stack: list[Element] = [self.root]

    def start(self, name: str, attrs: list[str]) -> None:
        stack = self.stack
        if len(stack) == 1:  # the wrapper itself
            stack.append(self.root)
            return
        if len(stack) > MAX_DEPTH:
            raise ElementError("elements are nested too deeply")
        ns, _, local = name.rpartition(" ")
        element = Element(local, ns)
        for i in range(0, len(attrs), 2):
            element.attrs[_attribute_key(attrs[i])] = attrs[i + 1]
        stack[-1].children.append(element)
        stack.append(element)

    def end(self, _name: str) -> None:
        self.stack.pop()

    def data(self, text: str) -> None:
        children = self.stack[-1].children
        if children and isinstance(children[-1], str):
            children[-1] += text
        else:
            children.append(text)


def _attribute_key(name: str) -> str:
    ns, _, local = name.rpartition(" ")
    if not ns:
        return local
    return f"xml:{local}" if ns == NS_XML else f"{{{ns}}}{local}"
