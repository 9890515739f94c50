"""HTML of a chat message as the text that a reader would see, and nothing else.

Markup never gets through: what leaves here is plain text that its reader escapes again. Scripts, styles and
whatever else is not shown are dropped with their content; line breaks and paragraphs stay line breaks.

The tokens are cut here, not by the standard library's parser: that one needs a minute for 64 KiB of ``<a``.
Here every step moves forward, and what is never closed is dropped to the end, as browsers do (HTML §13.2.5).
"""

import re
from collections.abc import Iterator
from html import unescape
from typing import Final, NamedTuple

MAX_CHARACTERS: Final = 65_536
"""More is cut off: nobody types that."""

RAW: Final = frozenset({"iframe", "noembed", "noframes", "script", "style", "title", "xmp"})
"""Elements whose content is no markup (HTML §13.2.5.1)."""
HIDDEN: Final = frozenset({"applet", "head", "noscript", "object", "svg", "template"})
BLOCKS: Final = frozenset(
    {"address", "article", "aside", "blockquote", "dd", "div", "dl", "dt", "fieldset", "figure", "footer"}
    | {"form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre"}
    | {"section", "table", "tr", "ul"}
)
SHOWN_LINKS: Final = ("http://", "https://", "mailto:")

_TAG_NAME = re.compile(r"/?[A-Za-z][^\s/>]*")
_UNQUOTED = re.compile(r"[^>\"']*")
_ATTRIBUTE = re.compile(r"([^\s=/\"'>]{1,64})\s{0,8}=\s{0,8}(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_SPACES = re.compile(r"[ \t\r\n\f]+")
_BLANK_LINES = re.compile(r"\n{3,}")
_LONG_REFERENCES = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{8,});?")


class _Tag(NamedTuple):
    name: str  # lower case
    is_end: bool
    rest: str  # the attributes as they stand there

    def attribute(self, wanted: str) -> str:
        """Return an attribute's value, "" without one."""
        for name, *values in _ATTRIBUTE.findall(self.rest):
            if name.lower() == wanted:
                return _decode("".join(values))
        return ""


def _tokens(html: str) -> Iterator[_Tag | str]:
    """Cut HTML into tags and text; comments and declarations are left out."""
    at, end = 0, len(html)
    while at < end:
        start = html.find("<", at)
        if start < 0:
            yield html[at:]
            return
        if start > at:
            yield html[at:start]
        name = _TAG_NAME.match(html, start + 1)
        if name is not None:
            after = _end_of_tag(html, name.end())
            if after < 0:
                return
            tag = _Tag(name[0].lstrip("/").lower(), name[0][0] == "/", html[name.end() : after - 1])
            yield tag
            at = after if tag.is_end or tag.name not in RAW else _after_raw(html, tag.name, after)
        elif html[start + 1 : start + 2] in ("!", "?", "/"):
            mark = "-->" if html.startswith("<!--", start) else ">"
            found = html.find(mark, start + 2)
            at = found + len(mark) if found >= 0 else end
        else:
            yield "<"
            at = start + 1


def _end_of_tag(html: str, at: int) -> int:
    """Return where a tag is over, -1 if it never is; ``>`` may stand in quotes."""
    while True:
        match = _UNQUOTED.match(html, at)
        assert match is not None
        at = match.end()
        if at >= len(html):
            return -1
        if html[at] == ">":
            return at + 1
        if html[at - 1] not in "= \t\r\n\f":
            at += 1  # a stray quote
            continue
        closing = html.find(html[at], at + 1)
        if closing < 0:
            return -1
        at = closing + 1


def _after_raw(html: str, name: str, at: int) -> int:
    found = re.compile(f"</{re.escape(name)}(?=[\\s/>])", re.IGNORECASE).search(html, at)
    return found.start() if found is not None else len(html)


def _decode(text: str) -> str:
    """Resolve character references; absurdly long ones would raise in ``unescape``."""
    return unescape(_LONG_REFERENCES.sub("\ufffd", text)) if "&" in text else text


class _Reader:
    """Gathers the visible text."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._hidden: list[str] = []  # open elements that are not shown, from the outside in
        self._pre = 0
        self._link: tuple[str, int] | None = None  # where an open link leads, and where its text begins
        self._at_line_start = True
        self._owes_line = False

    def read(self, token: _Tag | str) -> None:
        """Take one token."""
        if isinstance(token, str):
            if not self._hidden:
                self._read_text(_decode(token))
        elif token.is_end:
            self._end(token.name)
        else:
            self._start(token)

    def _start(self, tag: _Tag) -> None:
        name = tag.name
        if name == "body":
            self._hidden.clear()  # </head> may be left out
        elif name in HIDDEN and not tag.rest.endswith("/"):
            self._hidden.append(name)
        if self._hidden:
            return
        if name == "br":
            self._add("\n")
        elif name in BLOCKS:
            self._break()
            self._pre += name == "pre"
            if name == "li":
                self._add("- ")
        elif name in ("td", "th") and not self._at_line_start and not self._owes_line:
            self._add("\t")
        elif name == "img":
            self._add(tag.attribute("alt"))  # an emoticon's picture has its characters as text
        elif name == "a":
            self._open_link(tag.attribute("href").strip())

    def _end(self, name: str) -> None:
        if self._hidden:
            if name in self._hidden:
                del self._hidden[self._hidden.index(name) :]
        elif name in BLOCKS:
            self._pre -= name == "pre" and self._pre > 0
            self._break()
        elif name == "a":
            self.close_link()

    def _read_text(self, text: str) -> None:
        if not self._pre:
            text = _SPACES.sub(" ", text)
            if self._at_line_start or self._owes_line:
                text = text.lstrip(" ")
        self._add(text)

    def _add(self, text: str) -> None:
        if not text:
            return
        if self._owes_line and not self._at_line_start:
            self.parts.append("\n")
        self._owes_line = False
        self.parts.append(text)
        self._at_line_start = text.endswith("\n")

    def _break(self) -> None:
        self._owes_line = not self._at_line_start

    def _open_link(self, href: str) -> None:
        self.close_link()
        if href.lower().startswith(SHOWN_LINKS):
            self._link = (href, len(self.parts))

    def close_link(self) -> None:
        """Say where a link leads when its text does not: the reader should see it."""
        if self._link is None:
            return
        (href, start), self._link = self._link, None
        shown = "".join(self.parts[start:]).strip()
        plain = href.removeprefix("mailto:")
        if not shown:
            self._add(plain)
        elif shown.rstrip("/") not in (plain.rstrip("/"), href.rstrip("/")):
            self._add(f" <{plain}>")


def to_text(html: str) -> str:
    """Return what a reader of this HTML would see, without markup."""
    reader = _Reader()
    for token in _tokens(html[:MAX_CHARACTERS].replace("\r\n", "\n")):
        reader.read(token)
    reader.close_link()
    lines = "".join(reader.parts).replace("\xa0", " ").split("\n")
    return _BLANK_LINES.sub("\n\n", "\n".join(line.rstrip(" \t") for line in lines)).strip("\n")
