"""XML documents inside SIP bodies, read safely: no entities, no internal document type, bounded."""

import re
from pyexpat import ErrorString, ExpatError, ParserCreate
from typing import Final, NoReturn

from ubiety.element import Element

MAX_BYTES: Final = 131_072
MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 4_000

_DECLARED = re.compile(rb"""<\?xml[^>]*\sencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_BYTE_ORDERS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_WITHOUT_MARK = ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
_CHARSETS: Final = {
    "us-ascii": "utf-8",
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "iso-8859-1": "iso-8859-1",
    "windows-1252": "cp1252",
}


class DocumentError(ValueError):
    """A body is no document that may be read; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_document(data: bytes, charset: str = "") -> Element:
    """Return the root element; raises DocumentError.

    `charset` is that of the Content-Type. UTF-16 is found out from the bytes, because documents that
    declare it are also sent in UTF-8 (COMPAT: Live Communications Server).
    """
    if len(data) > MAX_BYTES:
        raise DocumentError("the document is too large")
    builder = _Builder()
    parser = ParserCreate("UTF-8", " ")  # whatever the document declares
    parser.buffer_text = True
    parser.ordered_attributes = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _begin_doctype
    parser.EntityDeclHandler = _refuse_entity
    try:
        parser.Parse(_decode(data, charset).encode(), True)
    except ExpatError as error:
        raise DocumentError(ErrorString(error.code) or "not well-formed") from None
    return builder.root.elements[0]


def _decode(data: bytes, charset: str) -> str:
    for mark, encoding in _BYTE_ORDERS:
        if data.startswith(mark):
            return _text(data[len(mark) :], encoding)
    for start, encoding in _WITHOUT_MARK:
        if data.startswith(start):
            return _text(data, encoding)
    found = _DECLARED.match(data.lstrip())
    for name in (charset, found[1].decode() if found else ""):
        if name.lower() in _CHARSETS:
            return _text(data, _CHARSETS[name.lower()])
    return _text(data, "utf-8")


def _text(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise DocumentError(f"not in {encoding}") from None


def _begin_doctype(_name: str, _system: str | None, _public: str | None, has_subset: int) -> None:
    # XPIDF names an external document type, which is never fetched; one inside could define entities.
    if has_subset:
        raise DocumentError("a document type inside the document is not allowed")


def _refuse_entity(*_: object) -> NoReturn:
    raise DocumentError("entities are not allowed")


class _Builder:
    """Receives the parser's calls and builds the tree below `root`."""

    def __init__(self) -> None:
        self.root = Element("")
        self._stack = [self.root]
        self._left = MAX_ELEMENTS

    def start(self, name: str, attrs: list[str]) -> None:
        self._left -= 1
        if len(self._stack) > MAX_DEPTH or self._left < 0:
            raise DocumentError("the document has too many elements")
        ns, _, local = name.rpartition(" ")
        keys = [key.rpartition(" ")[2] for key in attrs[::2]]
        element = Element(local, ns, dict(zip(keys, attrs[1::2], strict=True)))
        self._stack[-1].add(element)
        self._stack.append(element)

    def end(self, _name: str) -> None:
        self._stack.pop()

    def data(self, text: str) -> None:
        children = self._stack[-1].children
        if children and isinstance(children[-1], str):
            children[-1] += text
        else:
            children.append(text)
