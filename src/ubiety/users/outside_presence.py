"""Presence to and from contacts who have no home in this cluster.

Towards them a person is one *composed* presence (``presence.compose``), told once for each change that can
be seen; who is shut out by the person's policy sees offline. From them presence comes as stanzas, and is
shown only to people who are subscribed: a look at somebody, a probe or directed presence goes nowhere, or
everybody found in the directory would be asked whether they may be seen (seed 000, availability).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from ubiety.jid import Jid
from ubiety.presence import fanout
from ubiety.presence.compose import compose
from ubiety.presence.model import OFFLINE, Composed
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Verdict
from ubiety.stanza import Stanza
from ubiety.store.errors import StoreError
from ubiety.telemetry import event
from ubiety.users import phones, temporary
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.outside_contacts import OutsideContacts
from ubiety.users.policy import Policy
from ubiety.users.preferences import SHARING_ENABLED


def is_outside(context: Context, address: Jid) -> bool:
    """Tell whether an address belongs to somebody outside."""
    outside = context.outside
    return outside is not None and context.homes.find(address.bare) is None and outside.claims(address)


# -- what a person is ------------------------------------------------------------------------------


def composed_of(context: Context, person: Person) -> Composed:
    """Return what a person is, loaded or not, whoever may see it. Ask it at the person's home."""
    if not context.settings.get(SHARING_ENABLED):
        return OFFLINE
    user = context.actors.get(person.address_id)
    composed = compose(context.sources.situation(person.user_id, phones.devices_of(user)))
    shown = user.outside.shown if user is not None and user.outside is not None else None
    if shown is not None and shown.state is composed.state:
        return replace(composed, since=shown.since)
    if user is not None and composed.state.is_offline and not composed.since:
        return replace(composed, since=user.left_at)
    return composed


def seen_by(context: Context, person: Person, watcher: Jid) -> Composed:
    """Return what somebody outside sees of a person: offline, unless they are subscribed and let in."""
    user = context.actors.get(person.address_id)
    contacts = user.outside if user is not None else None
    if user is None or contacts is None or not contacts.is_watcher(watcher) or not _lets_in(user, watcher):
        return OFFLINE
    if not context.engine.runs and contacts.shown is not None:
        return contacts.shown
    return composed_of(context, person)


def glimpsed_by(context: Context, person: Person, watcher: Jid) -> Composed:
    """Return what somebody outside sees who only looks at a person: as much as one of our own people."""
    user = context.actors.get(person.address_id)
    may_look = context.engine.runs and temporary.are_on(context)
    if user is None or not may_look or not _lets_in(user, watcher):
        return seen_by(context, person, watcher)
    return composed_of(context, person)


def watchers_outside(user: User) -> list[Jid]:
    """Return the bare addresses of all outside who are subscribed to a loaded person, let in or not."""
    return list(user.outside.watcher_jids()) if user.outside is not None else []


def _lets_in(user: User, contact: Jid) -> bool:
    return user.policy is None or user.policy.allows(contact)


def _is_shown(context: Context) -> bool:
    """Tell whether presence is distributed at all (``availability.shares``)."""
    return context.engine.runs and context.settings.get(SHARING_ENABLED)


# -- out: telling the watchers ---------------------------------------------------------------------


def show(context: Context, user: User) -> None:
    """Tell a loaded person's watchers outside what the person is now, if they would see a difference."""
    outside, contacts = context.outside, user.outside
    if outside is None or contacts is None or not contacts.watchers or not context.engine.runs:
        return
    before, composed = contacts.shown, composed_of(context, user.person)
    if composed.is_like(before):
        return
    if before is None or before.state is not composed.state:
        composed = replace(composed, since=context.clock.now())
    contacts.shown = composed
    watchers = [jid for jid in contacts.watcher_jids() if _lets_in(user, jid)]
    if watchers:
        outside.shown(user, composed, watchers)


def source_changed(context: Context, user_id: int) -> None:
    """A phone, the calendar or a choice of a person says something else (``Sources.watch``)."""
    person = context.homes.user(user_id)
    if context.outside is None or person is None or not context.homes.is_here(person):
        return
    user = context.actors.get(person.address_id)
    if user is not None:
        show(context, user)
    else:
        context.spawn(_show_unloaded(context, person))


async def _show_unloaded(context: Context, person: Person) -> None:
    try:
        user = await context.load(person)
    except (StoreError, LookupError) as error:
        event("presence_not_shown", level="warning", user_id=person.user_id, reason=str(error))
        return
    if user.outside is not None:
        user.outside.shown = None  # what they saw last, nobody here knows
        show(context, user)


# -- in: showing contacts --------------------------------------------------------------------------


def look_around(context: Context, user: User, session: Session) -> None:
    """Have a new session shown whom its person watches outside."""
    outside, contacts = context.outside, user.outside
    if outside is None or contacts is None or not contacts.watched or not _is_shown(context):
        return
    if user.available_sessions == [session]:
        contacts.seen.clear()  # what earlier sessions were shown went with them
    outside.look_around(user, session)


def take(context: Context, user: User, stanza: Stanza) -> Verdict:
    """Show presence of somebody outside to the clients of a person who is subscribed to them.

    Errors are shown in any case: they answer what a client has sent.
    """
    sender, to, contacts = stanza.from_, stanza.to, user.outside
    assert sender is not None and to is not None
    if stanza.type != "error":
        is_presence = stanza.type in (None, "unavailable") and _is_shown(context)
        if not is_presence or contacts is None or not contacts.is_watched(sender):
            return DELIVERED
    data, sent = stanza.to_bytes(), 0
    for session in user.sessions.values():
        if session.available and to.resource in ("", session.jid.resource):
            session.send_presence(sender.text, data)
            sent += 1
    context.counters.presences_out += sent
    if contacts is not None and sent and stanza.type is None:
        contacts.seen.add(sender)
    elif contacts is not None and stanza.type == "unavailable" and not to.resource:
        contacts.seen.discard(sender)
    return DELIVERED


def _hide(user: User, bare: str = "") -> None:
    """Make a contact outside, or all of them, disappear from a person's clients."""
    seen = user.outside.take_seen(bare) if user.outside is not None else ()
    for sender in seen:
        data = fanout.addressed(fanout.head(sender), user.jid, fanout.UNAVAILABLE)
        for session in user.sessions.values():
            if session.available:
                session.send_presence(sender.text, data)


# -- following what changes ------------------------------------------------------------------------


def join(context: Context, user: User, subscriptions: Mapping[int, int], jids: Mapping[int, Jid]) -> None:
    """A person is being loaded who has these contacts outside; ``subscriptions`` are by address id too."""
    contacts = OutsideContacts()
    for address_id, jid in jids.items():
        contacts.follow(address_id, jid, subscriptions.get(address_id, 0))
    if contacts.jids:
        user.outside = contacts
        contacts.shown = composed_of(context, user.person)


def meet(user: User, address_id: int, jid: Jid) -> None:
    """A person has something to do with somebody outside; ``follow`` says what it came to."""
    if user.outside is None:
        user.outside = OutsideContacts()
    user.outside.jids[address_id] = jid


def follow(context: Context, user: User, address_id: int, subscription: int) -> None:
    """Follow what was written about a contact: NONE, TO, FROM or BOTH."""
    outside, contacts = context.outside, user.outside
    jid = contacts.jids.get(address_id) if contacts is not None else None
    if contacts is None or jid is None:
        return
    was_watched, had_watchers = address_id in contacts.watched, bool(contacts.watchers)
    contacts.follow(address_id, jid, subscription)
    if contacts.watchers and not had_watchers:
        contacts.shown = composed_of(context, user.person)
    is_watched = address_id in contacts.watched
    if was_watched and not is_watched:
        _hide(user, jid.bare)
    elif is_watched and not was_watched and outside is not None and _is_shown(context):
        outside.look_at(user, jid)


def follow_policy(context: Context, user: User, before: Policy | None) -> None:
    """Come or go for watchers outside, and have contacts come or go, as a changed policy says."""
    outside, contacts = context.outside, user.outside
    if outside is None or contacts is None:
        return
    let_in: list[Jid] = []
    shut_out: list[Jid] = []
    for jid in contacts.jids.values():
        was_allowed = before is None or before.allows(jid)
        if was_allowed != _lets_in(user, jid):
            (shut_out if was_allowed else let_in).append(jid)
    _show_to(context, user, let_in, shut_out)
    for jid in shut_out:
        _hide(user, jid.bare)
    for jid in let_in:
        if contacts.is_watched(jid) and _is_shown(context):
            outside.look_at(user, jid)


def follow_policy_unloaded(context: Context, user: User) -> None:
    """A policy was changed of somebody who was not loaded: who saw what before, nobody here knows."""
    if context.outside is None or user.outside is None or not context.sources.knows(user.person.user_id):
        return  # without a device, and no word from anywhere else: everybody saw offline and still does
    watchers = watchers_outside(user)
    let_in = [jid for jid in watchers if _lets_in(user, jid)]
    _show_to(context, user, let_in, [jid for jid in watchers if not _lets_in(user, jid)])


def _show_to(context: Context, user: User, let_in: Iterable[Jid], shut_out: Iterable[Jid]) -> None:
    outside, contacts = context.outside, user.outside
    assert outside is not None and contacts is not None
    coming = [jid for jid in let_in if contacts.is_watcher(jid)]
    going = [jid for jid in shut_out if contacts.is_watcher(jid)]
    if going and not OFFLINE.is_like(contacts.shown):
        outside.shown(user, OFFLINE, going)
    composed = composed_of(context, user.person)
    if coming and context.engine.runs and not OFFLINE.is_like(composed):
        outside.shown(user, composed, coming)


def resume(context: Context, user: User) -> None:
    """Show a person and their contacts anew: the engine runs again, nobody knows what was missed."""
    if user.outside is not None:
        user.outside.shown = None
        share(context, user)


def share(context: Context, user: User) -> None:
    """Follow the setting that shows people to others, or to nobody."""
    if user.outside is None:
        return
    show(context, user)
    if not context.settings.get(SHARING_ENABLED):
        _hide(user)
        return
    for session in user.available_sessions:
        look_around(context, user, session)


def come_home(context: Context, address_ids: Collection[int]) -> None:
    """These addresses belong to people of this cluster from now on: somebody was moved here."""
    if context.outside is None or not address_ids:
        return
    for user in context.actors.values():
        contacts = user.outside
        for address_id in address_ids if contacts is not None else ():
            if contacts is not None and (jid := contacts.jids.get(address_id)) is not None:
                _hide(user, jid.bare)
                contacts.drop(address_id)


def forgotten(context: Context, user: User) -> None:
    """A person is not loaded any more."""
    if context.outside is not None and user.outside is not None:
        context.outside.forgotten(user)
