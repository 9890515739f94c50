"""Availability of people: initial, later, directed and final presence, and probes (RFC 6121 §4).

Only people who may see somebody's presence are told: subscribers minus those whom the person's
policy blocks, plus temporary subscribers (facts §4.2). Who is blocked sees offline, always.
"""

import re
from collections.abc import Iterator

from ubiety.conditions import StanzaError
from ubiety.jid import Jid
from ubiety.presence import fanout
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Verdict
from ubiety.stanza import Stanza, make_error
from ubiety.users import farewell, outside_presence, phones, temporary
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.preferences import SHARING_ENABLED
from ubiety.xmpp import ns

MAX_DIRECTED = 1000
"""Addresses, above all of rooms, to which one client may show itself besides its person's watchers."""

_PRIORITY = (ns.CLIENT, "priority")
_PRIORITY_TEXT = re.compile(rb"<priority[^>]*>\s*([+-]?\d{1,3})\s*<")


def send(context: Context, user: User, stanza: Stanza, session: Session) -> Verdict:
    """Handle presence without an address from one of ``user``'s clients (RFC 6121 §4.2, §4.4, §4.5)."""
    context.counters.presences_in += 1
    if stanza.type == "unavailable":
        leave(context, user, session, fanout.tail(stanza))
        return DELIVERED
    is_initial = not session.available
    took_messages = session.available and session.priority >= 0
    session.available = True
    session.priority = priority(stanza)
    session.presence_tail, session.covered = fanout.tail(stanza), None
    if context.sources.knows(user.person.user_id):
        phones.begin(context, user, session)
    broadcast(context, user, session.jid, session.presence_tail)
    if context.sources.knows(user.person.user_id):
        phones.follow(context, user, broadcast)  # the other devices, for which this one may decide
    if is_initial:
        look_around(context, user, session)
    if session.priority >= 0 and not took_messages:
        user.inbox.join(session)
    for hook in context.hooks.available:
        hook(user, session, stanza)
    return DELIVERED


def send_directed(context: Context, user: User, stanza: Stanza, session: Session) -> Verdict:
    """Route presence with an address and remember to take it back (RFC 6121 §4.6)."""
    to = stanza.to
    assert to is not None
    if not context.settings.get(SHARING_ENABLED) and to.bare != user.jid.bare:
        return DELIVERED
    if context.outside is not None and outside_presence.is_outside(context, to):
        return DELIVERED  # a look at somebody there would ask them for a subscription
    if stanza.type is None:
        if not _note_directed(session, to):
            # Not dropped for an older one: that would leave whoever was shown it with a ghost.
            full = StanzaError("resource-constraint", "This client shows itself to too many already.")
            session.send(make_error(stanza, full).to_bytes())
            return DELIVERED
    elif stanza.type == "unavailable" and session.directed is not None:
        session.directed.discard(to)
    elif stanza.type == "probe" and context.neighbours is not None:
        context.neighbours.note_look(user, to)
    return context.router.route(stanza, session)


def _note_directed(session: Session, to: Jid) -> bool:
    """Remember whom a client shows itself to; False when they are too many."""
    if session.directed is None:
        session.directed = set()
    if to not in session.directed and len(session.directed) >= MAX_DIRECTED:
        return False
    session.directed.add(to)
    return True


def leave(context: Context, user: User, session: Session, tail: bytes = fanout.UNAVAILABLE) -> None:
    """Tell everybody who saw this session as available that it is not (RFC 6121 §4.5)."""
    if session.available:
        session.available = False
        if not user.is_online():
            farewell.note(user, context.clock.now(), tail)
        broadcast(context, user, session.jid, tail)
        if context.sources.knows(user.person.user_id):
            phones.follow(context, user, broadcast)
    session.presence_tail, session.covered = b"", None
    directed, session.directed = session.directed, None
    for to in directed or ():
        unavailable = Stanza("presence", to=to, from_=session.jid, type="unavailable")
        context.router.route(unavailable)
    if user.looks_at and not user.is_online():
        temporary.end_all(context, user)
    if user.answered:
        user.answered = {peer: s for peer, s in user.answered.items() if s is not session}


def broadcast(context: Context, user: User, sender: Jid, tail: bytes) -> None:
    """Send presence to everybody who may see it, and to the person's own devices."""
    if not context.engine.runs:
        _miss(context, user, sender, tail)
    head = fanout.head(sender)
    key = sender.text
    sent = 0
    for watcher in audience(context, user):
        data = fanout.addressed(head, watcher.jid, tail)
        for session in watcher.sessions.values():
            if session.available:
                session.send_presence(key, data)
                sent += 1
    data = fanout.addressed(head, user.jid, tail)
    for session in user.sessions.values():
        if session.available:
            session.send_presence(key, data)
    context.counters.presences_out += sent
    if context.neighbours is not None and shares(context):
        own = user.sessions.get(sender.resource)
        context.neighbours.show(user, sender, own is not None and own.available, tail)
    if user.outside is not None:
        outside_presence.show(context, user)


def _miss(context: Context, user: User, sender: Jid, tail: bytes) -> None:
    session = user.sessions.get(sender.resource)
    if session is not None and session.available:
        context.engine.found(sender)
    else:
        context.engine.miss(user, sender, tail)


def shares(context: Context) -> bool:
    """Tell whether people's presence is shown to others at all."""
    return context.engine.runs and context.settings.get(SHARING_ENABLED)


def audience(context: Context, user: User) -> Iterator[User]:
    """Yield the loaded people who may see ``user`` now."""
    if not shares(context):
        return
    actors = context.actors
    policy = user.policy
    for address_id in user.watchers:
        watcher = actors.get(address_id)
        if watcher is None or not watcher.sessions:
            continue
        if policy is not None and not policy.allows(watcher.jid):
            continue
        if watcher.policy is not None and not watcher.policy.allows(user.jid):
            continue
        yield watcher
    if user.temporary:
        yield from _temporary_audience(context, user)


def _temporary_audience(context: Context, user: User) -> Iterator[User]:
    for address_id in list(user.temporary or ()):
        watcher = context.actors.get(address_id)
        if watcher is None and context.neighbours is not None and context.neighbours.person(address_id):
            continue
        if watcher is None or not may_see(user, watcher):
            temporary.end(context, user, address_id)
        elif address_id not in user.watchers:
            context.counters.temporary_updates += 1
            yield watcher


def may_see(user: User, watcher: User) -> bool:
    """Tell whether neither side's policy stands between a watcher and ``user``."""
    if user.policy is not None and not user.policy.allows(watcher.jid):
        return False
    return watcher.policy is None or watcher.policy.allows(user.jid)


def look_around(context: Context, user: User, session: Session) -> None:
    """Show a new session whom its person watches: the server's probes (RFC 6121 §4.3)."""
    for other in user.sessions.values():
        if other is not session and other.available:
            _show(other, session)
    if not shares(context):
        return
    for address_id in user.watched:
        contact = context.actors.get(address_id)
        if contact is None or not contact.sessions or not may_see(contact, user):
            continue
        for other in contact.sessions.values():
            if other.available:
                _show(other, session)
    if context.neighbours is not None:
        context.neighbours.look_around(user, session)
    if user.outside is not None:
        outside_presence.look_around(context, user, session)


def _show(seen: Session, session: Session) -> None:
    session.send_presence(
        seen.jid.text, fanout.addressed(fanout.head(seen.jid), session.jid, seen.presence_tail)
    )


def show_to(context: Context, user: User, watcher: User, *, available: bool = True) -> None:
    """Show ``user``'s sessions to all of ``watcher``'s, or make them disappear there."""
    if available and (not shares(context) or not may_see(user, watcher)):
        return
    for seen in user.sessions.values():
        if not seen.available:
            continue
        tail = seen.presence_tail if available else fanout.UNAVAILABLE
        data = fanout.addressed(fanout.head(seen.jid), watcher.jid, tail)
        for session in watcher.sessions.values():
            if session.available:
                session.send_presence(seen.jid.text, data)


def show_by_id(context: Context, user: User, address_id: int, *, available: bool = True) -> None:
    """Show ``user``'s sessions to a watcher here or at another node, or make them disappear there."""
    watcher = context.actors.get(address_id)
    if watcher is not None:
        show_to(context, user, watcher, available=available)
    elif context.neighbours is not None:
        context.neighbours.show_to(user, address_id, available=available)


def deliver(context: Context, user: User, stanza: Stanza) -> Verdict:
    """Deliver presence that somebody addressed to ``user`` (RFC 6121 §8.5.2.1.2, §8.5.3)."""
    sender, to = stanza.from_, stanza.to
    assert sender is not None and to is not None
    if user.policy is not None and sender.bare != user.jid.bare and not user.policy.allows(sender):
        return DELIVERED  # XEP-0191 §3.2: dropped without a word
    if context.outside is not None and outside_presence.is_outside(context, sender):
        return outside_presence.take(context, user, stanza)
    if stanza.type == "probe":
        probed(context, user, sender)
        return DELIVERED
    data = stanza.to_bytes()
    for session in user.sessions.values():
        if to.resource not in ("", session.jid.resource):
            continue
        if stanza.type == "error" and session.directed is not None:
            session.directed.discard(sender)  # who answers so was not shown it: there is nothing to take back
        if session.available:
            session.send_presence(sender.text, data)
    return DELIVERED


def probed(context: Context, user: User, sender: Jid) -> None:
    """Answer a probe: to subscribers, and under policy and limits to others (temporary subscription)."""
    person = context.homes.find(sender.bare)
    if person is None:
        return
    is_subscriber = person.address_id in user.watchers or person is user.person
    if not is_subscriber and not _looks(context, user, person):
        return
    if user.is_online():
        show_by_id(context, user, person.address_id)
    elif shares(context):
        context.router.route(farewell.answer(user, sender))  # RFC 6121 §4.3.2


def _looks(context: Context, user: User, person: Person) -> bool:
    watcher = context.actors.get(person.address_id)
    if watcher is not None:
        may_look = watcher.is_online() and may_see(user, watcher)
    else:  # another node's: it knows the watcher's own policy
        is_elsewhere = context.neighbours is not None and context.neighbours.is_elsewhere(person)
        may_look = is_elsewhere and (user.policy is None or user.policy.allows(person.jid))
    return may_look and temporary.begin(context, user, person.address_id)


def source_changed(context: Context, user_id: int) -> None:
    """A person's phone says something else: it is shown over the presence of their clients."""
    person = context.homes.user(user_id)
    user = context.actors.get(person.address_id) if person is not None else None
    if user is not None and user.sessions:
        phones.follow(context, user, broadcast)


def expire_temporary(context: Context) -> None:
    """End temporary subscriptions whose time is over: who looked sees offline."""
    for user, address_id in temporary.expired(context):
        if address_id not in user.watchers:
            show_by_id(context, user, address_id, available=False)


def priority(stanza: Stanza) -> int:
    """Return the priority of a presence stanza, 0 when it has no valid one (RFC 6121 §4.7.2.3)."""
    if _PRIORITY not in stanza.children:
        return 0
    found = _PRIORITY_TEXT.search(stanza.payload)
    value = int(found[1]) if found is not None else 0
    return value if -128 <= value <= 127 else 0
