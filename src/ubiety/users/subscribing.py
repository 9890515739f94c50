"""Asking for, granting and ending presence subscriptions (RFC 6121 §3).

The states and what a stanza does to them are in ``subscriptions``; in ``relations`` both sides are read,
stepped and written in one transaction; then clients are told: roster pushes, the stanza itself, presence.
The home of the one who acts does all that. If another node serves the other, it is told what was written.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.jid import Jid
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Pending, Refused, Verdict, refuse
from ubiety.stanza import Stanza
from ubiety.store import policy as policies
from ubiety.store import roster as rows
from ubiety.store.errors import DatabaseBusy, StoreError
from ubiety.telemetry import event as log
from ubiety.users import availability, outside_presence, policy_changes, relations, roster_push
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.neighbours import Change
from ubiety.users.policy import Policy
from ubiety.users.preferences import AUTO_AUTHORIZE, MAX_CONTACTS, MAX_WATCHERS
from ubiety.users.relations import Limits, Side, Terms
from ubiety.users.subscriptions import FROM, NONE, TO

P = ParamSpec("P")
T = TypeVar("T")
Judge = Callable[[Connection], bool]

TRIES = 3
"""Two nodes that write the same rows in different order: one of them has to begin again."""


def send(context: Context, user: User, stanza: Stanza, session: Session) -> Verdict:
    """Handle subscribe, subscribed, unsubscribe or unsubscribed from one of ``user``'s clients."""
    assert stanza.to is not None and stanza.type is not None
    if stanza.to.bare == user.jid.bare:
        return refuse("not-allowed", "A person cannot subscribe to themselves.")
    pending = Pending()
    peer = context.homes.find(stanza.to.bare)
    needs_loading = peer is not None and peer.address_id not in context.actors
    session.hold(pending, in_line=not needs_loading or _is_far(context, peer))
    # RFC 6121 §3.1.2: the server stamps bare addresses on both ends.
    stanza = stanza.replace(from_=user.jid.bare_jid(), to=stanza.to.bare_jid())
    context.spawn(settle(pending, lambda: _exchange(context, user, stanza)))
    return pending


async def remove(context: Context, user: User, contact: Jid) -> None:
    """Remove a contact from the roster and end what was subscribed both ways (RFC 6121 §2.5)."""
    peer = context.homes.find(contact.bare)
    is_shared = context.neighbours is not None
    ours, theirs = await write(context, relations.remove, user.person, contact.bare, peer, is_shared)
    user.roster_version = max(user.roster_version, ours.version)
    _follow(context, user, ours.contact_id, NONE)
    roster_push.push(user, [roster_push.removed(contact.bare)])
    if peer is not None:
        _tell_peer(context, user, peer, ours, theirs, None)
    else:
        _end_outside(context, user, ours, contact)


def _end_outside(context: Context, user: User, ours: Side, contact: Jid) -> None:
    """Tell somebody of another server that both directions have come to an end."""
    before = ours.before
    for kind, has in (
        ("unsubscribe", before.sees or before.ask),
        ("unsubscribed", before.is_seen or before.pending),
    ):
        if has:
            context.router.route(Stanza("presence", contact, user.jid.bare_jid(), type=kind))


async def settle(pending: Pending, work: Callable[[], Awaitable[None]]) -> None:
    """Do what a stanza asks for and settle its verdict with what that comes to."""
    try:
        await work()
    except StanzaError as error:
        pending.settle(Refused(error))
    except StoreError as error:
        log("subscription_failed", level="error", reason=str(error))
        pending.settle(refuse("resource-constraint", "The database does not answer. Try again later."))
    except LookupError:
        pending.settle(refuse("item-not-found", "There is no such person any more."))
    except Exception:
        pending.settle(refuse("internal-server-error"))
        raise
    else:
        pending.settle(DELIVERED)


async def _exchange(context: Context, user: User, stanza: Stanza) -> None:
    assert stanza.to is not None and stanza.type is not None
    peer = context.homes.find(stanza.to.bare)
    is_unknown = peer is None and stanza.to.domain in context.homes.domains
    if is_unknown and stanza.type == "subscribe" and not outside_presence.is_outside(context, stanza.to):
        raise StanzaError("item-not-found", "There is no such person here.")
    terms = await _terms(context, user, stanza.to, peer)
    ours, theirs = await write(context, relations.exchange, user.person, stanza, peer, terms)
    deliver = []
    if theirs is not None and peer is not None:
        deliver = [Stanza("presence", user.jid, peer.jid, type=kind).to_bytes() for kind in ours.deliver]
    if peer is None:
        outside_presence.meet(user, ours.contact_id, stanza.to)
    take_change(context, user, change_of(ours, deliver))
    if peer is not None:
        _tell_peer(context, user, peer, ours, theirs, stanza)
    elif ours.passes:
        verdict = context.router.route(stanza)
        if isinstance(verdict, Refused) and stanza.type == "subscribe":
            raise verdict.error


async def _terms(context: Context, user: User, to: Jid, peer: Person | None) -> Terms:
    is_kept_out = user.policy is not None and not user.policy.allows(to)
    if peer is not None and _is_far(context, peer):
        person = peer

        def policy_of(conn: Connection) -> Policy | None:
            return policy_changes.make_policy(context, policies.load(conn, person.user_id))
    else:
        policy = (await context.load(peer)).policy if peer is not None else None

        def policy_of(conn: Connection) -> Policy | None:
            return policy

    def is_blocked(conn: Connection) -> bool:
        return is_kept_out or not ((theirs := policy_of(conn)) is None or theirs.allows(user.jid))

    def is_admitted(conn: Connection) -> bool:
        return (theirs := policy_of(conn)) is not None and theirs.admits(user.jid)

    return make_terms(context, is_blocked, is_admitted)


def make_terms(context: Context, is_blocked: Judge, is_admitted: Judge) -> Terms:
    """Return the terms for an exchange of which these tell the policies."""
    settings = context.settings
    limits = Limits(settings.get(MAX_CONTACTS), settings.get(MAX_WATCHERS))
    is_shared = context.neighbours is not None
    return Terms(settings.get(AUTO_AUTHORIZE), limits, is_blocked, is_admitted, is_shared)


def _is_far(context: Context, peer: Person | None) -> bool:
    """Tell whether another node serves somebody."""
    return peer is not None and context.neighbours is not None and context.neighbours.is_elsewhere(peer)


async def write(
    context: Context, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Write, again if another node was writing the same rows."""
    for _ in range(TRIES - 1):
        try:
            return await context.database.write(fn, *args, **kwargs)
        except DatabaseBusy:
            if context.neighbours is None:
                raise
    return await context.database.write(fn, *args, **kwargs)


# -- following what was written -------------------------------------------------------------------


def change_of(side: Side, deliver: Sequence[bytes]) -> Change:
    """Return what was written on one side, for that person to follow."""
    return Change(
        side.contact_id, side.state.subscription, side.version, side.after, side.state.pending, deliver
    )


def _tell_peer(
    context: Context, user: User, peer: Person, ours: Side, theirs: Side | None, stanza: Stanza | None
) -> None:
    """Have the other one follow, and presence shown or withdrawn (RFC 6121 §3.1.5, §3.2.1, §3.3.2)."""
    change = None
    if theirs is not None:
        deliver = [
            stanza.to_bytes()
            if stanza is not None and kind == stanza.type
            else Stanza("presence", peer.jid, user.jid.bare_jid(), type=kind).to_bytes()
            for kind in theirs.deliver
        ]
        change = change_of(theirs, deliver)
    shows = ours.gained - ours.lost
    if context.neighbours is not None and context.neighbours.is_elsewhere(peer):
        context.neighbours.tell_change(user, peer, change, shows)
    else:
        actor = context.actors.get(peer.address_id)
        if actor is None:
            return
        if change is not None:
            take_change(context, actor, change)
        if shows:
            availability.show_to(context, actor, user, available=shows > 0)
    if theirs is not None and (theirs.gained or theirs.lost):
        availability.show_by_id(context, user, peer.address_id, available=theirs.gained)


def take_change(context: Context, user: User, change: Change) -> None:
    """Have a loaded person follow what was written about one of their contacts."""
    if change.version > user.roster_version:
        _push(user, change)
        _follow(context, user, change.contact_id, change.subscription)
    elif change.version and change.version < user.roster_version:
        # Another node's word of something older has come late: the database knows what holds now.
        context.spawn(_read_again(context, user, change.contact_id))
    user.has_requests = user.has_requests or change.waits
    for data in change.deliver:
        _to_clients(user, data)


def _push(user: User, change: Change) -> None:
    """Show a contact as it is now, in a newer version of the list.

    One whose last subscription ended is shown as such (RFC 6121 §3.2.3, §3.3.3). If the person never put it
    into the list, it goes after that.
    """
    item = change.item
    if item is not None and not item.is_listed:
        user.roster_version = change.version - 1
        roster_push.push(user, [roster_push.render(item)])
        user.roster_version = change.version
        roster_push.push(user, [roster_push.removed(item.jid)])
        return
    user.roster_version = change.version
    if item is not None:
        roster_push.push(user, [roster_push.render(item)])


async def _read_again(context: Context, user: User, contact_id: int) -> None:
    version = -1
    item = None
    try:
        while version != user.roster_version:
            version = user.roster_version
            item = await context.database.read(rows.load_item, user.person.user_id, contact_id)
    except StoreError as error:
        log("contact_not_read", level="error", user_id=user.person.user_id, reason=str(error))
        return
    _follow(context, user, contact_id, item.subscription if item is not None else NONE)
    person = context.homes.at(contact_id)
    if item is not None and item.is_listed:
        roster_push.push(user, [roster_push.render(item)])
    elif item is None and person is not None:
        roster_push.push(user, [roster_push.removed(person.jid.bare)])


def _to_clients(user: User, data: bytes) -> None:
    for session in user.sessions.values():
        if session.interested or session.available:
            session.send(data)


def _follow(context: Context, user: User, contact_id: int, subscription: int) -> None:
    """Bring the actor's arrays in line with what was written."""
    changes = {}
    for array, bit in ((user.watched, TO), (user.watchers, FROM)):
        present = contact_id in array
        wanted = bool(subscription & bit)
        changes[bit] = wanted - present
        if wanted and not present:
            array.append(contact_id)
        elif present and not wanted:
            array.remove(contact_id)
    if user.outside is not None:
        outside_presence.follow(context, user, contact_id, subscription)
    context.counters.roster_subscriptions += changes[TO]
    context.counters.roster_watchers += changes[FROM]


async def deliver_requests(context: Context, user: User, session: Session) -> None:
    """Give a new session the subscription requests that wait for an answer (RFC 6121 §3.1.3)."""
    for request in await context.database.read(rows.load_pending, user.person.user_id):
        if request.stanza and not session.ended:
            session.send(request.stanza)
