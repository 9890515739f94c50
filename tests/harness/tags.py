"""A tiny XML stream reader over expat, independent of the parser under test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

XML = "http://www.w3.org/XML/1998/namespace"


@dataclass(slots=True)
class Tag:
    """One XML element as a plain tree; attributes of a namespace are keyed `{ns}name`."""

    ns: str
    name: str
    attrs: dict[str, str]
    children: list[Tag] = field(default_factory=list)
    text: str = ""

    def child(self, name: str, ns: str | None = None) -> Tag | None:
        """Return the first child of that name (and namespace, when given), or None."""
        return next(iter(self.all(name, ns)), None)

    def all(self, name: str, ns: str | None = None) -> list[Tag]:
        """Return the children of that name (and namespace, when given)."""
        return [tag for tag in self.children if tag.name == name and ns in (None, tag.ns)]

    def find(self, name: str, ns: str | None = None) -> Tag | None:
        """Return the first descendant of that name (and namespace, when given), or None."""
        return next((tag for tag in self.walk() if tag.name == name and ns in (None, tag.ns)), None)

    def need(self, name: str, ns: str | None = None) -> Tag:
        """Return what `find` finds; raise AssertionError when there is none."""
        found = self.find(name, ns)
        assert found is not None, f"no <{name} xmlns={ns!r}> in {self}"
        return found

    def walk(self) -> Iterator[Tag]:
        """Yield every descendant, depth first."""
        for tag in self.children:
            yield tag
            yield from tag.walk()

    def get(self, name: str) -> str | None:
        """Return an attribute, or None."""
        return self.attrs.get(name)

    def body(self) -> str | None:
        """Return the text of the first <body/>, or None."""
        found = self.child("body")
        return None if found is None else found.text

    def condition(self) -> str | None:
        """Return the name of the error condition in it: of a stanza, a stream or a SASL failure."""
        holder = self.child("error") if self.name in ("message", "presence", "iq") else self
        if holder is None:
            return None
        return next((tag.name for tag in holder.children if tag.name != "text"), None)

    def __str__(self) -> str:
        inner = self.text + "".join(map(str, self.children))
        attrs = "".join(f" {key}={value!r}" for key, value in self.attrs.items())
        return f"<{self.name} xmlns={self.ns!r}{attrs}>{inner}</{self.name}>"


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer's stream header was read."""

    attrs: dict[str, str]


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """The peer closed its stream with an end tag."""


class TagReader:
    """Turns the bytes of one XML stream into StreamOpened, Tag and StreamClosed."""

    def __init__(self, emit: Callable[[StreamOpened | Tag | StreamClosed], None]) -> None:
        self._emit = emit
        self._open: list[Tag] = []
        self._depth = 0
        parser = expat.ParserCreate("UTF-8", " ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.buffer_text = True
        self._parser = parser

    def feed(self, data: bytes) -> None:
        """Parse more bytes; raises ExpatError when they are not well-formed."""
        self._parser.Parse(data, False)

    def _start(self, name: str, attrs: dict[str, str]) -> None:
        self._depth += 1
        named = {_braced(key): value for key, value in attrs.items()}
        if self._depth == 1:
            self._emit(StreamOpened(named))
            return
        ns, _, local = name.rpartition(" ")
        self._open.append(Tag(ns, local, named))

    def _end(self, _name: str) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._emit(StreamClosed())
            return
        tag = self._open.pop()
        if self._open:
            self._open[-1].children.append(tag)
        else:
            self._emit(tag)

    def _text(self, text: str) -> None:
        if self._open:
            self._open[-1].text += text


def _braced(name: str) -> str:
    ns, _, local = name.rpartition(" ")
    if ns == XML:
        return f"xml:{local}"
    return f"{{{ns}}}{local}" if ns else local
