"""A stanza on its way to another node: plain values, and no XML to be parsed over there."""

from functools import lru_cache
from typing import Any

from ubiety.jid import Jid, parse
from ubiety.stanza import ChildName, Stanza

# Neither may stand in XML (XML 1.0 §2.2), so neither is part of a name or a namespace.
_BETWEEN_CHILDREN, _BEHIND_NS = "\x02", "\x01"


def pack_stanza(stanza: Stanza) -> tuple[Any, ...]:
    """Return a stanza as values that travel between nodes."""
    to, from_ = stanza.to, stanza.from_
    return (
        stanza.kind,
        to.text if to is not None else None,
        from_.text if from_ is not None else None,
        stanza.id,
        stanza.type,
        stanza.lang,
        _join(stanza.children),
        stanza.payload,
    )


def unpack_stanza(packed: "tuple[Any, ...] | list[Any]") -> Stanza:
    """Return the stanza that was packed."""
    kind, to, from_, id_, type_, lang, names, payload = packed
    return Stanza(kind, _address(to), _address(from_), id_, type_, lang, _split(names), payload)


def _address(text: str | None) -> Jid | None:
    return parse(text) if text is not None else None


@lru_cache(4096)
def _join(children: tuple[ChildName, ...]) -> str:
    return _BETWEEN_CHILDREN.join([f"{ns}{_BEHIND_NS}{name}" for ns, name in children])


@lru_cache(4096)
def _split(names: str) -> tuple[ChildName, ...]:
    if not names:
        return ()
    pairs = [child.partition(_BEHIND_NS) for child in names.split(_BETWEEN_CHILDREN)]
    return tuple([(ns, name) for ns, _, name in pairs])
