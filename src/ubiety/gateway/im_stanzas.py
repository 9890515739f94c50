"""What of a message stanza goes to a SIP peer, and the stanzas that come of what a SIP peer sends. Pure.

RFC 7572 maps messages, RFC 7573 conversations; chat states are XEP-0085, receipts XEP-0184.
"""

from typing import Final

from ubiety.conditions import StanzaError
from ubiety.element import escape_attribute, escape_text
from ubiety.jid import Jid
from ubiety.stanza import Stanza
from ubiety.xmpp import ns

BODY: Final = (ns.CLIENT, "body")
SUBJECT: Final = (ns.CLIENT, "subject")
RECEIPT_REQUEST: Final = (ns.DELIVERY_RECEIPTS, "request")
DIRECT_INVITATION: Final = ("jabber:x:conference", "x")

STATES: Final[dict[tuple[str, str], bool]] = {
    (ns.CHAT_STATES, "composing"): True,
    (ns.CHAT_STATES, "active"): False,
    (ns.CHAT_STATES, "paused"): False,
    (ns.CHAT_STATES, "inactive"): False,
    (ns.CHAT_STATES, "gone"): False,
}
"""Whether somebody in that state writes: SIP knows no more."""

_ACTIVE: Final = (ns.CHAT_STATES, "active")
GROUP_TEXT: Final = "Group chat with people outside is not possible."


def text_of(stanza: Stanza) -> str | None:
    """Return what a message says; None if it has nothing to be shown."""
    body = stanza.child(*BODY)
    if body is None or not body.text:
        return None
    subject = stanza.child(*SUBJECT)
    if subject is not None and subject.text and stanza.type in (None, "normal"):
        return f"{subject.text}\n{body.text}"
    return body.text


def typing_of(stanza: Stanza) -> bool | None:
    """Return whether the sender says that they write; None if the stanza says nothing about it."""
    return next((STATES[child] for child in stanza.children if child in STATES), None)


def is_for_group(stanza: Stanza) -> bool:
    """Tell whether a message belongs to a room or invites to one."""
    if stanza.type == "groupchat" or DIRECT_INVITATION in stanza.children:
        return True
    extension = stanza.child(ns.MUC_USER, "x")
    return extension is not None and extension.find("invite") is not None


def make_message(sender: Jid, to: Jid, id: str, text: str) -> Stanza:
    """Return a message of somebody outside."""
    # XEP-0085 §5.1: only who sends chat states is sent them.
    payload = f"<body>{escape_text(text)}</body><active xmlns='{ns.CHAT_STATES}'/>".encode()
    return Stanza("message", to, sender, id, "chat", None, (BODY, _ACTIVE), payload)


def make_typing(sender: Jid, to: Jid, id: str, is_typing: bool) -> Stanza:
    """Return the notice that somebody outside writes or has stopped."""
    name = "composing" if is_typing else "paused"
    payload = f"<{name} xmlns='{ns.CHAT_STATES}'/>".encode()
    return Stanza("message", to, sender, id, "chat", None, ((ns.CHAT_STATES, name),), payload)


def make_notice(stanza: Stanza, id: str, error: StanzaError) -> Stanza:
    """Return a message that tells a sender who is away that theirs did not arrive; it is kept for them."""
    assert stanza.from_ is not None and stanza.to is not None
    said = (text_of(stanza) or "").replace("\n", "\n> ")
    reason = error.text or error.condition
    text = f"This message was not delivered to {stanza.to.bare} ({reason}):\n> {said}"
    return make_message(stanza.to.bare_jid(), stanza.from_.bare_jid(), id, text)


def make_receipt(stanza: Stanza, id: str) -> Stanza | None:
    """Return the receipt of a message that the other side has taken; None if it was not asked for."""
    if RECEIPT_REQUEST not in stanza.children or not stanza.id or stanza.to is None:
        return None
    payload = f"<received xmlns='{ns.DELIVERY_RECEIPTS}' id='{escape_attribute(stanza.id)}'/>".encode()
    children = ((ns.DELIVERY_RECEIPTS, "received"),)
    return Stanza("message", stanza.from_, stanza.to.bare_jid(), id, stanza.type, None, children, payload)
