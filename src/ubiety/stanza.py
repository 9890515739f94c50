"""A stanza as a value: the parsed head, the names of its children, and their raw bytes.

Nobody parses the children until somebody asks (`element`, `child`); sending writes a head in front
of the bytes as they came. What the bytes may look like is the business of `xmpp/xmlstream.py`.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ubiety.conditions import StanzaError, error_bytes
from ubiety.element import (
    NS_CLIENT,
    Element,
    escape_attribute,
    parse_content,
    parse_element,
    write_content,
)
from ubiety.jid import Jid, JidError, parse

KINDS: Final = frozenset({"message", "presence", "iq"})
IQ_TYPES: Final = frozenset({"get", "set", "result", "error"})
PRESENCE_TYPES: Final = frozenset(
    {"error", "probe", "subscribe", "subscribed", "unavailable", "unsubscribe", "unsubscribed"}
)

ChildName = tuple[str, str]

# First-level children that only a server may assert (XEP-0359 §6, XEP-0203 §4.1, XEP-0280 §11).
STANZA_ID: Final = ("urn:xmpp:sid:0", "stanza-id")
DELAY: Final = ("urn:xmpp:delay", "delay")
CARBONS: Final = frozenset({("urn:xmpp:carbons:2", "received"), ("urn:xmpp:carbons:2", "sent")})
ASSERTED: Final = frozenset({STANZA_ID, DELAY, *CARBONS})


@dataclass(slots=True)
class Stanza:
    """A message, presence or iq. Treat it as immutable: `replace` makes a changed copy.

    `type`, `id`, `to`, `from_` and `lang` are None when absent; `children` are the (namespace, name)
    of the first-level children, `payload` is their bytes as they may stand below a jabber:client parent.
    """

    kind: str
    to: Jid | None = None
    from_: Jid | None = None
    id: str | None = None
    type: str | None = None
    lang: str | None = None
    children: tuple[ChildName, ...] = ()
    payload: bytes = b""
    _head: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def element(self) -> Element:
        """The whole stanza as a tree, parsed anew at each call."""
        return parse_element(self.to_bytes(declare_ns=True))

    def has(self, ns: str, name: str) -> bool:
        """Whether a first-level child has this namespace and name."""
        return (ns, name) in self.children

    def child(self, ns: str, name: str) -> Element | None:
        """Return the first child of this namespace and name as a tree; nothing is parsed if there is none."""
        if (ns, name) not in self.children:
            return None
        return parse_content(self.payload).find(name, ns)

    def replace(self, **fields: Any) -> "Stanza":
        """Return a copy with these fields changed."""
        copy = Stanza(
            self.kind, self.to, self.from_, self.id, self.type, self.lang, self.children, self.payload
        )
        for name, value in fields.items():
            setattr(copy, name, value)
        return copy

    def to_bytes(self, to: Jid | None = None, extra: bytes = b"", declare_ns: bool = False) -> bytes:
        """Return the stanza for the wire, to this address instead of its own if one is given.

        `extra` is further children, ready-made; `declare_ns` is for parents outside of jabber:client.
        """
        head = self._head
        if head is None:
            head = self._head = self._render_head()
        to = to or self.to
        kind = self.kind
        start = f"<{kind} xmlns='{NS_CLIENT}'" if declare_ns else f"<{kind}"
        if to is not None:
            start = f"{start} to='{to.xml}'"
        if self.payload or extra:
            return b"%b%b>%b%b</%b>" % (start.encode(), head, self.payload, extra, kind.encode())
        return b"%b%b/>" % (start.encode(), head)

    def _render_head(self) -> bytes:
        """Render the attributes other than `to`: a fan-out sends them to many."""
        head = ""
        if self.from_ is not None:
            head = f" from='{self.from_.xml}'"
        if self.id is not None:
            head = f"{head} id='{escape_attribute(self.id)}'"
        if self.type is not None:
            head = f"{head} type='{escape_attribute(self.type)}'"
        if self.lang:
            head = f"{head} xml:lang='{escape_attribute(self.lang)}'"
        return head.encode()


def build(
    kind: str, attrs: Mapping[str, str], lang: str | None, children: tuple[ChildName, ...], payload: bytes
) -> Stanza:
    """Return the stanza with these attributes in its head; `lang` is the language in scope around it.

    Raises StanzaError (jid-malformed, bad-request) when the head is not valid.
    """
    get = attrs.get
    type_ = get("type")
    id_ = get("id")
    if kind != "message":
        _check_shape(kind, type_, id_, len(children))
    to = get("to")
    from_ = get("from")
    try:
        return Stanza(
            kind,
            to if to is None else parse(to),
            from_ if from_ is None else parse(from_),
            id_,
            type_,
            get("xml:lang", lang),
            children,
            payload,
        )
    except JidError as error:
        raise StanzaError("jid-malformed", error.reason) from None  # RFC 6120 §8.3.3.8


def from_element(element: Element, lang: str | None = None) -> Stanza:
    """Return the stanza that this tree is; raises StanzaError as `build` does."""
    if element.name not in KINDS or element.ns != NS_CLIENT:
        raise StanzaError("bad-request", f"{element.name} is not a stanza")
    children = tuple([(child.ns, child.name) for child in element.elements])
    return build(element.name, element.attrs, lang, children, write_content(element.children, NS_CLIENT))


def parse_stanza(data: bytes) -> Stanza:
    """Return the stanza that these bytes are, as stored; raises ElementError or StanzaError."""
    return from_element(parse_element(data))


def _check_shape(kind: str, type: str | None, id: str | None, children: int) -> None:
    """Raise StanzaError (bad-request) unless type, id and number of children fit the kind."""
    if kind == "iq":
        if type not in IQ_TYPES:
            raise StanzaError("bad-request", "an iq needs the type get, set, result or error")
        if not id:
            raise StanzaError("bad-request", "an iq needs an id")  # RFC 6120 §8.2.3
        if children != 1 and type in ("get", "set"):
            raise StanzaError("bad-request", "an iq of type get or set has exactly one child")
        if children > 1 and type == "result":
            raise StanzaError("bad-request", "an iq of type result has at most one child")
    elif kind == "presence" and type is not None and type not in PRESENCE_TYPES:
        raise StanzaError("bad-request", "this type of presence does not exist")


def make_error(stanza: Stanza, error: StanzaError, from_: Jid | None = None) -> Stanza:
    """Return the answer that refuses a stanza (RFC 6120 §8.3.1), without the refused payload.

    `from_` is who refuses, by default the addressee. Never answer an error or an iq result with it.
    """
    payload = error_bytes(error.condition, error.type, error.text, error.extra)
    return Stanza(
        stanza.kind,
        stanza.from_,
        from_ or stanza.to,
        stanza.id,
        "error",
        None,
        ((NS_CLIENT, "error"),),
        payload,
    )


def make_result(stanza: Stanza, payload: bytes = b"", children: tuple[ChildName, ...] = ()) -> Stanza:
    """Return the answer to an iq of type get or set (RFC 6120 §8.2.3)."""
    return Stanza("iq", stanza.from_, stanza.to, stanza.id, "result", None, children, payload)


def strip_asserted(stanza: Stanza, own: Container[str]) -> Stanza:
    """Return the stanza without the children that claim to come from us, the same one if there are none.

    `own` holds our addresses as text: stanza-ids `by` them (XEP-0359 §6) and delays `from` them
    (XEP-0203) go, and carbons always (XEP-0280 §11): a client has no business sending one.
    """
    if ASSERTED.isdisjoint(stanza.children):
        return stanza
    element = parse_content(stanza.payload)
    kept = [child for child in element.children if isinstance(child, str) or not _is_asserted(child, own)]
    if len(kept) == len(element.children):
        return stanza
    children = tuple([(child.ns, child.name) for child in kept if isinstance(child, Element)])
    return stanza.replace(children=children, payload=write_content(kept, NS_CLIENT))


def _is_asserted(element: Element, own: Container[str]) -> bool:
    name = (element.ns, element.name)
    if name == STANZA_ID:
        return _is_own(element.get("by"), own)
    if name == DELAY:
        return _is_own(element.get("from"), own)
    return name in CARBONS


def _is_own(address: str | None, own: Container[str]) -> bool:
    """Whether an address is ours in whatever spelling; one that nobody can parse counts as ours."""
    try:
        return address is not None and parse(address).text in own
    except JidError:
        return True
