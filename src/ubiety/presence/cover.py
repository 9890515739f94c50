"""A client's presence with its person's phone shown over it, for those who see devices (RFC 6121 §4.7). Pure.

XMPP knows no "on the phone": it is said as do not disturb, with the words as status. For those who can tell
more (SIP watchers) it is marked as RFC 4480 names it. Everything else stays as the client has said it.
"""

from ubiety.element import Element, ElementError, parse_element
from ubiety.presence import fanout
from ubiety.presence.model import State
from ubiety.stanza import Stanza
from ubiety.xmpp import ns

RPID = "urn:ietf:params:xml:ns:pidf:rpid"
SHOW = "dnd"


def cover(tail: bytes, said: State) -> bytes:
    """Return the tail of an available presence (``fanout.tail``) with ``ON_THE_PHONE`` or ``DND`` over it."""
    try:
        presence = parse_element(b"<presence to='" + tail)
    except ElementError:
        return tail
    hidden = {"show", "status"} if said is State.ON_THE_PHONE else {"show"}
    children = [child for child in presence.elements if child.ns != ns.CLIENT or child.name not in hidden]
    over = [_text("show", SHOW)]
    if said is State.ON_THE_PHONE:
        mark = Element("activities", RPID).add(Element("on-the-phone", RPID))
        over += [_text("status", said.value), mark]
    payload = b"".join(child.to_bytes(ns.CLIENT) for child in (*over, *children))
    stanza = Stanza("presence", id=presence.get("id"), lang=presence.get("xml:lang"), payload=payload)
    return fanout.tail(stanza)


def is_marked(presence: Element) -> bool:
    """Tell whether a presence says that its person is on the phone."""
    activities = presence.find("activities", RPID)
    return activities is not None and activities.find("on-the-phone", RPID) is not None


def _text(name: str, text: str) -> Element:
    return Element(name, ns.CLIENT).add(text)
