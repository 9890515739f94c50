"""What of a stanza a SIP client is sent, and the stanzas that come of what it sends. Pure.

RFC 7572 maps pager-mode messages, RFC 3994 typing, RFC 8048 presence.
"""

from datetime import datetime
from email.utils import format_datetime
from typing import Final

from ubiety.element import Element, escape_attribute, escape_text
from ubiety.gateway.addresses import sip_of
from ubiety.gateway.im_stanzas import BODY, text_of
from ubiety.gateway.mapping import presence_payload, to_composed
from ubiety.jid import Jid
from ubiety.sip import imtext
from ubiety.sip.message import Request, make_request
from ubiety.sip.pidf import SipPresence
from ubiety.stanza import Stanza
from ubiety.xmpp import ns

DELAY: Final = ("urn:xmpp:delay", "delay")
ORIGIN_ID: Final = (ns.STANZA_ID, "origin-id")
PRODUCT: Final = "Ubiety"
NOT_DELIVERED: Final = "Your message was not delivered"


def shown_text(stanza: Stanza) -> str | None:
    """Return what a message says to somebody who reads nothing but text; None if it says nothing."""
    if stanza.type != "error":
        return text_of(stanza)
    error = stanza.child(ns.CLIENT, "error")
    text = error.find("text", ns.STANZA_ERRORS) if error is not None else None
    return f"{NOT_DELIVERED}: {text.text}" if text is not None and text.text else f"{NOT_DELIVERED}."


def make_page(stanza: Stanza, text: str, us: Jid, contact: str, call_id: str, tag: str) -> Request:
    """Return the MESSAGE that brings a message to a client of ours (RFC 3428 §4)."""
    assert stanza.from_ is not None
    content_type, body = imtext.write(text)
    headers = [("User-Agent", PRODUCT)]
    sent = _sent_at(stanza.child(*DELAY))
    if sent:
        headers.append(("Date", sent))  # RFC 3428 §4: when it was sent, if that was earlier
    return make_request(
        "MESSAGE",
        contact,
        f"<{sip_of(stanza.from_)}>;tag={tag}",
        f"<{sip_of(us)}>",
        call_id,
        1,
        headers=headers,
        content_type=content_type,
        body=body,
    )


def _sent_at(delay: Element | None) -> str:
    stamp = delay.get("stamp") if delay is not None else None
    try:
        return format_datetime(datetime.fromisoformat(stamp), usegmt=True) if stamp else ""
    except ValueError:
        return ""


def make_chat(sender: Jid, to: Jid, id: str, text: str) -> Stanza:
    """Return the message that a client of ours has written; the same `id` again is the same message."""
    payload = (
        f"<body>{escape_text(text)}</body><active xmlns='{ns.CHAT_STATES}'/>"
        f"<origin-id xmlns='{ns.STANZA_ID}' id='{escape_attribute(id)}'/>"
    ).encode()
    children = (BODY, (ns.CHAT_STATES, "active"), ORIGIN_ID)
    return Stanza("message", to, sender, id, "chat", None, children, payload)


def make_presence(sender: Jid, presence: SipPresence | None, takes_messages: bool) -> Stanza:
    """Return what a client of ours shows: what it has published, else that it is there."""
    composed = to_composed(presence) if presence is not None else None
    if composed is not None and composed.state.is_offline:
        return Stanza("presence", None, sender, type="unavailable")
    payload = presence_payload(composed) if composed is not None else b""
    children = [(ns.CLIENT, name) for name in ("show", "status") if f"<{name}>".encode() in payload]
    if not takes_messages:
        payload += b"<priority>-1</priority>"
        children.append((ns.CLIENT, "priority"))
    return Stanza("presence", None, sender, children=tuple(children), payload=payload)
