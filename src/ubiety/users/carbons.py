"""Message carbons (XEP-0280): a person's other devices get copies of what one sends and receives."""

from collections.abc import Collection

from ubiety.conditions import StanzaError
from ubiety.routing.sessions import Session
from ubiety.stanza import Stanza
from ubiety.users.actor import User
from ubiety.users.iq import Answer, Asked, Handler, Request
from ubiety.users.preferences import MULTI_DEVICE
from ubiety.xmpp import ns

_PRIVATE = (ns.CARBONS, "private")
_NO_COPY = (ns.HINTS, "no-copy")
_PAYLOADS = frozenset(
    {
        (ns.CLIENT, "body"),
        (ns.CHAT_STATES, "active"),
        (ns.CHAT_STATES, "composing"),
        (ns.CHAT_STATES, "paused"),
        (ns.CHAT_STATES, "inactive"),
        (ns.CHAT_STATES, "gone"),
        (ns.DELIVERY_RECEIPTS, "request"),
        (ns.DELIVERY_RECEIPTS, "received"),
        (ns.CHAT_MARKERS, "displayed"),
        (ns.CHAT_MARKERS, "received"),
    }
)


def is_eligible(stanza: Stanza) -> bool:
    """Tell whether a message is copied (XEP-0280 §6.1): chat, or normal with something to show."""
    if stanza.type not in (None, "chat", "normal"):
        return False
    if _PRIVATE in stanza.children or _NO_COPY in stanza.children:
        return False
    return stanza.type == "chat" or any(child in _PAYLOADS for child in stanza.children)


def copy_sent(user: User, stanza: Stanza, sender: Session) -> None:
    """Give the sender's other clients a copy of a message just sent (XEP-0280 §8)."""
    if is_eligible(stanza):
        _copy(user, "sent", stanza, (sender,))


def copy_received(user: User, stanza: Stanza, got: Collection[Session]) -> None:
    """Give the clients that were not chosen for a message a copy of it (XEP-0280 §7)."""
    if len(user.sessions) > len(got) and is_eligible(stanza):
        _copy(user, "received", stanza, got)


def _copy(user: User, direction: str, stanza: Stanza, but: Collection[Session]) -> None:
    inner = stanza.to_bytes(declare_ns=True)
    for session in user.sessions.values():
        if not session.carbons or session in but or session.edge is None or session.congested:
            continue
        session.send(
            b"<message from='%s' to='%s' type='%s'><%s xmlns='urn:xmpp:carbons:2'>"
            b"<forwarded xmlns='urn:xmpp:forward:0'>%s</forwarded></%s></message>"
            % (
                user.jid.xml.encode(),
                session.jid.xml.encode(),
                (stanza.type or "normal").encode(),
                direction.encode(),
                inner,
                direction.encode(),
            )
        )


def carbon_handlers() -> list[Handler]:
    """The queries answered here (XEP-0280 §4, §5)."""
    return [
        Handler(Asked.OWN, "set", ns.CARBONS, "enable", lambda request: _switch(request, True)),
        Handler(Asked.OWN, "set", ns.CARBONS, "disable", lambda request: _switch(request, False)),
    ]


def _switch(request: Request, enabled: bool) -> Answer:
    if enabled and not request.context.settings.get(MULTI_DEVICE):
        raise StanzaError("not-allowed", "Copies to other devices are turned off on this server.")
    session = request.session
    if session is not None and session.carbons != enabled:
        session.carbons = enabled
        request.account.carbon_sessions += 1 if enabled else -1
    return None
