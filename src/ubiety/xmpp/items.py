"""What an XML stream yields, and what it may cost (see `xmlstream.py`)."""

from dataclasses import dataclass

from ubiety.element import Element
from ubiety.stanza import Stanza


@dataclass(slots=True)
class Limits:
    """What one stream may cost; everything over it ends the stream with policy-violation.

    Bytes of one first-level element (before and after authentication), depth of elements below the
    stream, attributes of one element, elements in one stanza.
    """

    stanza_bytes_before_auth: int = 10_000
    stanza_bytes: int = 262_144
    depth: int = 64
    attributes: int = 64
    children: int = 10_000


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer sent its stream header (RFC 6120 §4.7); attributes are None when absent."""

    to: str | None
    from_: str | None
    version: str | None
    lang: str | None
    id: str | None


@dataclass(frozen=True, slots=True)
class BadStanza:
    """A stanza that cannot be processed although the stream can go on: tell its sender `condition`.

    `from_text` and `to_text` are as written, None when absent. An error or an iq result is not answered.
    """

    kind: str
    id: str | None
    type: str | None
    from_text: str | None
    to_text: str | None
    condition: str
    text: str


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """The peer closed the stream in order; nothing follows."""


@dataclass(frozen=True, slots=True)
class StreamFault:
    """The stream must end with this stream error (RFC 6120 §4.9.3); nothing follows."""

    condition: str
    text: str


StreamItem = StreamOpened | Stanza | BadStanza | Element | StreamClosed | StreamFault
