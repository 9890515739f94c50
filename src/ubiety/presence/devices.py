"""A client's presence as one of the sources of its person's presence (RFC 6121 §4.7.2). Pure."""

from ubiety.element import Element, ElementError, parse_element
from ubiety.presence import cover
from ubiety.presence.model import Device, State
from ubiety.xmpp import ns

SHOWS = {
    "": State.AVAILABLE,
    "chat": State.AVAILABLE,
    "away": State.AWAY,
    "xa": State.EXTENDED_AWAY,
    "dnd": State.DND,
}
"""RFC 6121 §4.7.2.1: what ``<show/>`` says; none at all is available."""
MAX_NOTE = 1024


def read(tail: bytes, priority: int, since: float) -> Device:
    """Return what a client says with the presence of this tail (``fanout.tail``)."""
    try:
        presence = parse_element(b"<presence to='" + tail)
    except ElementError:
        return Device(State.AVAILABLE, "", priority, since)
    if cover.is_marked(presence):
        return Device(State.ON_THE_PHONE, "", priority, since)
    show = presence.find("show", ns.CLIENT)
    state = SHOWS.get(show.text.strip() if show is not None else "", State.AVAILABLE)
    return Device(state, _status(presence), priority, since)


def _status(presence: Element) -> str:
    """Return the status text; of several languages the one of the stanza, else the first."""
    found = presence.findall("status", ns.CLIENT)
    plain = [status for status in found if status.get("xml:lang") is None]
    return next((status.text.strip()[:MAX_NOTE] for status in plain or found), "")
