"""A message to and from a person: policy, choice of sessions, promise, carbons, archive.

This is the hot path: plain calls, no ``await``, no tree, no database (design.md §5).
"""

import re

from ubiety.conditions import StanzaError
from ubiety.jid import Jid
from ubiety.routing import delivery
from ubiety.routing.delivery import Otherwise
from ubiety.routing.remote_home import RemoteOrigin
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Pending, Refused, Verdict, refuse
from ubiety.stanza import ASSERTED, Stanza, strip_asserted
from ubiety.store.ledger import Entry
from ubiety.users import archive, carbons
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.offline import Delivery
from ubiety.users.preferences import IM_ENABLED, MULTI_DEVICE, OFFLINE_SUPPRESSED
from ubiety.xmpp import ns

ORIGIN_ID = (ns.STANZA_ID, "origin-id")
_XMLNS = rb"\s+xmlns=(?:'[^']*'|\"[^\"]*\")"
_ORIGIN = re.compile(rb"<origin-id(?:%b)?\s+id=(?:'([^']*)'|\"([^\"]*)\")" % _XMLNS)
_BODY = (ns.CLIENT, "body")
_BLOCKED = f"<blocked xmlns='{ns.BLOCKING_ERRORS}'/>".encode()


def send(context: Context, user: User, stanza: Stanza, session: Session) -> Verdict:
    """Handle a message that one of ``user``'s clients sends."""
    context.counters.messages += 1
    if stanza.to is None:
        stanza = stanza.replace(to=user.jid)  # RFC 6120 §10.3.1: to one's own account
    to = stanza.to
    assert to is not None
    if not ASSERTED.isdisjoint(stanza.children):
        stanza = strip_asserted(stanza, (user.jid.bare, user.jid.domain, to.bare, to.domain))
    if not context.settings.get(IM_ENABLED):
        return refuse("service-unavailable", "Instant messaging is turned off on this server.")
    if user.policy is not None and user.policy.blocks(to):
        # XEP-0191 §3.2: who blocks somebody cannot write to them either.
        return Refused(StanzaError("not-acceptable", extra=_BLOCKED))
    if session.smacks is not None and ORIGIN_ID in stanza.children:
        verdict = _route_once(context, user, stanza, session)
    else:
        verdict = context.router.route(stanza, session)
    if type(verdict) is Refused:
        context.counters.refused_messages += 1
        return verdict
    if user.carbon_sessions and to.bare != user.jid.bare and context.settings.get(MULTI_DEVICE):
        carbons.copy_sent(user, stanza, session)
    if stanza.type == "chat" and not context.settings.get(MULTI_DEVICE) and _BODY in stanza.children:
        if user.answered is None:
            user.answered = {}
        user.answered[to.bare] = session  # seed "IM Forking": the client that replied gets the rest
    return verdict


def _route_once(context: Context, user: User, stanza: Stanza, session: Session) -> Verdict:
    """Route a message, unless it repeats one: that gets the first one's verdict (promise 1)."""
    assert stanza.to is not None
    origin, recipient = origin_id(stanza), stanza.to.bare
    if not origin:
        return context.router.route(stanza, session)
    first = user.first_verdict(recipient, origin)
    if first is not None:
        return first
    verdict = context.router.route(stanza, session)
    if not isinstance(verdict, Refused):
        user.note_origin(recipient, origin, verdict)
    return verdict


def deliver(context: Context, user: User, stanza: Stanza, origin: Session | RemoteOrigin | None) -> Verdict:
    """Deliver a message to ``user`` as RFC 6121 §8.5 says and keep the promises of design.md §2."""
    to, sender = stanza.to, stanza.from_
    assert to is not None and sender is not None
    if user.policy is not None and not user.policy.allows(sender) and not _is_own(context, user, sender):
        return refuse("service-unavailable")  # XEP-0191 §3.2
    targets, otherwise = choose(context, user, stanza)
    if not delivery.is_durable(stanza):
        return _pass_on(context, user, stanza, targets, otherwise)
    ready = [s for s in targets if s.edge is not None and not s.congested]
    inbox = user.inbox
    if not ready and otherwise is not Otherwise.STORE:
        return DELIVERED if otherwise is Otherwise.DROP else refuse("service-unavailable")
    if not targets and context.settings.get(OFFLINE_SUPPRESSED):
        return refuse("service-unavailable", "The recipient is signed out.")
    number = context.next_number()
    data = stanza.to_bytes(extra=user.stanza_id_head + b"%d'/>" % number)
    archive.keep(context, user, stanza, origin, number, data)
    promised = origin is not None and origin.smacks is not None
    if not ready or (inbox.waiting and not _is_apart(to, ready[0])):
        return _store(context, user, stanza, origin, number, data)
    if len(ready) < len(targets):
        inbox.miss(targets, number)
    if not promised and all(s.smacks is None for s in ready):
        for session in ready:
            session.send(data)
    else:
        token = Delivery(inbox, number, None, Pending() if promised else None)
        token.entry = _entry(context, user, stanza, origin, number, data, token)
        token.committed = False
        token.holders = len(ready)
        inbox.inflight[number] = token
        if promised:
            token.submit()
        for session in ready:
            session.send(data, token)
    context.counters.messages += len(ready)
    if user.carbon_sessions and context.settings.get(MULTI_DEVICE):
        carbons.copy_received(user, stanza, ready)
    if promised and token.pending is not None:
        return token.pending
    return DELIVERED


def _is_apart(to: Jid, session: Session) -> bool:
    """Tell whether a message is for one device that takes no backlog: it need not queue behind that."""
    return bool(to.resource) and session.available and session.priority < 0  # RFC 6121 §8.5.3.1


def _is_own(context: Context, user: User, sender: Jid) -> bool:
    """Tell whether nobody can keep ``sender`` out: a person's own devices, and the server itself."""
    return sender.bare == user.jid.bare or (not sender.local and sender.domain in context.homes.domains)


def choose(context: Context, user: User, stanza: Stanza) -> tuple[list[Session], Otherwise]:
    """Return the sessions that get a message, and what to do when there is none."""
    to = stanza.to
    assert to is not None
    kind = delivery.kind_of(stanza)
    if to.resource:
        session = user.sessions.get(to.resource)
        if session is not None:
            return [session], delivery.NOT_CONNECTED[kind]
        if delivery.NOT_CONNECTED[kind] is not Otherwise.STORE:
            return [], delivery.NOT_CONNECTED[kind]
    otherwise = delivery.NOBODY_THERE[kind]
    if otherwise is Otherwise.REFUSE or kind == "error":
        return [], otherwise  # RFC 6121 §8.5.2.1.1: groupchat and error never go to a bare address
    if user.answered and stanza.from_ is not None and not context.settings.get(MULTI_DEVICE):
        answered = user.answered.get(stanza.from_.bare)
        return delivery.fork(list(user.sessions.values()), answered), otherwise
    return delivery.takes_bare(user.sessions.values()), otherwise


def origin_id(stanza: Stanza) -> str | None:
    """Return the id that the sender's client gave the message (XEP-0359 §3.2)."""
    if stanza.payload.count(b"<origin-id") == 1:
        found = _ORIGIN.search(stanza.payload)
        if found is not None and b"&" not in found[0]:
            return (found[1] or found[2] or b"").decode()
    child = stanza.child(ns.STANZA_ID, "origin-id")
    return child.attrs.get("id") if child is not None else None


def _pass_on(
    context: Context, user: User, stanza: Stanza, targets: list[Session], otherwise: Otherwise
) -> Verdict:
    """Deliver a message that nobody is promised: chat states, receipts, headlines."""
    if not targets:
        return refuse("service-unavailable") if otherwise is Otherwise.REFUSE else DELIVERED
    data = stanza.to_bytes()
    for session in targets:
        if session.edge is not None and not session.congested:
            session.send(data)
    context.counters.messages += len(targets)
    if user.carbon_sessions and context.settings.get(MULTI_DEVICE):
        carbons.copy_received(user, stanza, targets)
    return DELIVERED


def _store(
    context: Context,
    user: User,
    stanza: Stanza,
    origin: Session | RemoteOrigin | None,
    number: int,
    data: bytes,
) -> Verdict:
    pending = Pending()
    token = Delivery(user.inbox, number, None, pending)
    token.entry = _entry(context, user, stanza, origin, number, data, token)
    token.committed = False
    context.counters.offline_messages += 1
    user.inbox.store(token)
    return pending


def _entry(
    context: Context,
    user: User,
    stanza: Stanza,
    origin: Session | RemoteOrigin | None,
    number: int,
    data: bytes,
    token: Delivery,
) -> Entry:
    sender = context.homes.find(stanza.from_.bare) if stanza.from_ is not None else None
    has_origin = ORIGIN_ID in stanza.children
    return Entry(
        number=number,
        recipient_id=user.person.user_id,
        sender_id=sender.address_id if sender is not None else None,
        origin_id=origin_id(stanza) if has_origin else None,
        stamp=context.clock.now(),
        stanza=data,
        stream=origin.cursor if origin is not None else None,
        seq=origin.inbound if origin is not None else 0,
        on_settled=token.settled,
    )
