"""Asking for, granting and ending presence subscriptions (RFC 6121 §3).

The states and what a stanza does to them are in ``subscriptions``; here both sides are read, stepped
and written in one transaction, and then clients are told: roster pushes, the stanza itself, presence.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.jid import Jid
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Pending, Refused, Verdict, refuse
from ubiety.stanza import Stanza
from ubiety.store import addresses
from ubiety.store import roster as rows
from ubiety.store.errors import StoreError
from ubiety.telemetry import event as log
from ubiety.users import availability, roster_push
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.preferences import AUTO_AUTHORIZE, MAX_CONTACTS, MAX_WATCHERS
from ubiety.users.subscriptions import FROM, TO, State, inbound, outbound


@dataclass(frozen=True, slots=True)
class Limits:
    """How many contacts and watchers a person may have; 0 is no limit."""

    contacts: int
    watchers: int


@dataclass
class Side:
    """One person's row about the other, before and after."""

    user_id: int
    contact_id: int
    contact: str
    row: rows.Item | None
    before: State
    state: State
    approved: bool
    listed: bool
    version: int = 0
    after: rows.Item | None = None
    deliver: list[str] = field(default_factory=list)  # types of stanzas for this person's clients

    @property
    def flags_before(self) -> int:
        """The packed flags of the row that was read, 0 if there was none."""
        return self.row.flags if self.row is not None else 0

    @property
    def flags(self) -> int:
        """The packed flags as they are now."""
        state = self.state
        listed = self.listed or bool(state.subscription) or state.ask
        return (
            state.subscription
            | rows.ASK * state.ask
            | rows.PENDING_IN * state.pending
            | rows.APPROVED * self.approved
            | rows.LISTED * listed
        )

    @property
    def gained(self) -> bool:
        """The person sees the other from now on."""
        return self.state.sees and not self.before.sees

    @property
    def lost(self) -> bool:
        """The person does not see the other any more."""
        return self.before.sees and not self.state.sees


def send(context: Context, user: User, stanza: Stanza, session: Session) -> Verdict:
    """Handle subscribe, subscribed, unsubscribe or unsubscribed from one of ``user``'s clients."""
    assert stanza.to is not None and stanza.type is not None
    if stanza.to.bare == user.jid.bare:
        return refuse("not-allowed", "A person cannot subscribe to themselves.")
    pending = Pending()
    peer = context.homes.find(stanza.to.bare)
    session.hold(pending, in_line=peer is None or peer.address_id in context.actors)
    # RFC 6121 §3.1.2: the server stamps bare addresses on both ends.
    stanza = stanza.replace(from_=user.jid.bare_jid(), to=stanza.to.bare_jid())
    context.spawn(_settle(pending, lambda: _exchange(context, user, stanza)))
    return pending


async def remove(context: Context, user: User, contact: Jid) -> None:
    """Remove a contact from the roster and end what was subscribed both ways (RFC 6121 §2.5)."""
    peer = context.homes.find(contact.bare)
    ours, theirs = await context.database.write(_remove, user.person, contact.bare, peer)
    user.roster_version = ours.version
    _follow(context, user, ours)
    roster_push.push(user, [roster_push.removed(contact.bare)])
    if theirs is not None and peer is not None:
        _tell_peer(context, user, peer, theirs, None)
    _show_changes(context, user, peer, ours, theirs)


async def _settle(pending: Pending, work: Callable[[], object]) -> None:
    try:
        await work()  # type: ignore[misc]
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
    if peer is None and stanza.to.domain in context.homes.domains and stanza.type == "subscribe":
        raise StanzaError("item-not-found", "There is no such person here.")
    settings = context.settings
    limits = Limits(settings.get(MAX_CONTACTS), settings.get(MAX_WATCHERS))
    their_user = await context.load(peer) if peer is not None else None
    is_blocked = their_user is not None and not availability.may_see(their_user, user)
    ours, theirs = await context.database.write(
        _apply, user.person, stanza, peer, settings.get(AUTO_AUTHORIZE), is_blocked, limits
    )
    if ours.after is not None and ours.version:
        user.roster_version = ours.version
        roster_push.push(user, [roster_push.render(ours.after)] if ours.after.is_listed else [])
    _follow(context, user, ours)
    if theirs is not None and peer is not None:
        _tell_peer(context, user, peer, theirs, stanza)
        for kind in ours.deliver:
            _to_clients(user, Stanza("presence", user.jid, peer.jid, type=kind))
    elif peer is None:
        context.router.route(stanza)
    _show_changes(context, user, peer, ours, theirs)


def _apply(
    conn: Connection,
    person: Person,
    stanza: Stanza,
    peer: Person | None,
    auto_authorize: bool,
    is_blocked: bool,
    limits: Limits,
) -> tuple[Side, Side | None]:
    """Step both sides in one transaction. ``peer`` is None for somebody elsewhere."""
    assert stanza.to is not None and stanza.type is not None
    kind = stanza.type
    contact_id = peer.address_id if peer is not None else addresses.intern(conn, stanza.to.bare)
    ours, theirs = _load(conn, person, contact_id, stanza.to.bare, peer)
    step = outbound(ours.state, kind)
    ours.state = step.state
    ours.listed = ours.listed or kind == "subscribe"
    if kind == "subscribe":
        _check_contacts(conn, ours, limits)
    if kind == "subscribed" and not step.passes and not ours.before.is_seen:
        ours.approved = True  # RFC 6121 §3.4.2: approved before being asked
    if kind == "unsubscribed":
        ours.approved = False
    # Between people of whom one blocks the other nothing new begins, but what there is comes to an end.
    if not step.passes or (is_blocked and kind in ("subscribe", "subscribed")):
        theirs = None
    if theirs is not None:
        _arrive(conn, ours, theirs, stanza, auto_authorize, limits)
        if is_blocked:
            theirs.deliver.clear()
    _save(conn, [ours] if theirs is None else [ours, theirs], stanza)
    return ours, theirs


def _arrive(
    conn: Connection, ours: Side, theirs: Side, stanza: Stanza, auto_authorize: bool, limits: Limits
) -> None:
    """Let a subscription stanza arrive at the other side, and answer it there if nobody needs to be asked."""
    kind = stanza.type or ""
    if kind == "subscribe" and theirs.state.is_seen:
        _answer(ours, theirs)  # RFC 6121 §3.1.3: granted already
        return
    step = inbound(theirs.state, kind)
    if kind == "subscribe" and step.passes:
        _check_room(conn, theirs, limits)
        if auto_authorize or theirs.approved:
            theirs.state = step.state
            _answer(ours, theirs)
            return
    theirs.state = step.state
    if step.passes:
        theirs.deliver.append(kind)


def _answer(ours: Side, theirs: Side) -> None:
    """Grant what was asked in the other person's name."""
    if theirs.state.pending:
        theirs.state = State(theirs.state.subscription | FROM, theirs.state.ask)
        theirs.listed = True
    step = inbound(ours.state, "subscribed")
    ours.state = step.state
    if step.passes:
        ours.deliver.append("subscribed")


def _check_contacts(conn: Connection, ours: Side, limits: Limits) -> None:
    is_new = ours.row is None or not ours.row.is_contact
    if limits.contacts and is_new and _is_full(conn, ours, limits):
        raise StanzaError("not-allowed", f"The contact list is full: {limits.contacts} are allowed.")


def _check_room(conn: Connection, theirs: Side, limits: Limits) -> None:
    if not limits.contacts and not limits.watchers:
        return
    has = rows.count(conn, theirs.user_id)
    # Facts §4.1: whoever has as many contacts as are allowed cannot be added by others either.
    if limits.contacts and not theirs.listed and has.contacts >= limits.contacts:
        raise StanzaError("resource-constraint", "This person's contact list is full.")
    if limits.watchers and has.watchers >= limits.watchers:
        raise StanzaError("resource-constraint", "This person is watched by as many as the server allows.")


def _is_full(conn: Connection, side: Side, limits: Limits) -> bool:
    return rows.count(conn, side.user_id).contacts >= limits.contacts


def _remove(conn: Connection, person: Person, contact: str, peer: Person | None) -> tuple[Side, Side | None]:
    contact_id = peer.address_id if peer is not None else addresses.find(conn, contact)
    if contact_id is None:
        raise _not_listed()
    ours, theirs = _load(conn, person, contact_id, contact, peer)
    if ours.row is None or not ours.row.is_listed:
        raise _not_listed()
    if theirs is not None:
        for kind, has in (
            ("unsubscribe", ours.state.sees or ours.state.ask),
            ("unsubscribed", ours.state.is_seen),
        ):
            step = inbound(theirs.state, kind)
            if has and step.passes:
                theirs.state = step.state
                theirs.deliver.append(kind)
        _save(conn, [theirs], None)
    rows.remove_item(conn, person.user_id, contact_id)
    ours.state = State()
    ours.version = rows.bump_version(conn, person.user_id)
    return ours, theirs


def _not_listed() -> StanzaError:
    return StanzaError("item-not-found", "There is no such contact in the list.")  # RFC 6121 §2.5.3


def _load(
    conn: Connection, person: Person, contact_id: int, contact: str, peer: Person | None
) -> tuple[Side, Side | None]:
    """Read both sides at once; for somebody elsewhere only ours is here."""
    if peer is None:
        row = rows.load_item(conn, person.user_id, contact_id)
        return _side(person.user_id, contact_id, contact, row), None
    bare = person.jid.bare
    row, their_row = rows.load_both(
        conn, (person.user_id, contact_id, contact), (peer.user_id, person.address_id, bare)
    )
    return (
        _side(person.user_id, contact_id, contact, row),
        _side(peer.user_id, person.address_id, bare, their_row),
    )


def _side(user_id: int, contact_id: int, contact: str, row: rows.Item | None) -> Side:
    flags = row.flags if row is not None else 0
    state = _STATE_OF[flags & 15]
    return Side(
        user_id,
        contact_id,
        contact,
        row,
        state,
        state,
        bool(flags & rows.APPROVED),
        bool(flags & rows.LISTED),
    )


_STATE_OF = [State(bits & 3, bool(bits & rows.ASK), bool(bits & rows.PENDING_IN)) for bits in range(16)]


def _save(conn: Connection, sides: list[Side], request: Stanza | None) -> None:
    """Write the sides that changed; bump a version if the change shows in that roster."""
    changes = []
    for side in sides:
        before, after = side.flags_before, side.flags
        if before == after:
            continue
        is_new_request = after & ~before & rows.PENDING_IN
        stanza = request.to_bytes() if is_new_request and request is not None else None
        changes.append(rows.Change(side.user_id, side.contact_id, after, stanza))
        if (before ^ after) & ~rows.PENDING_IN:
            side.after = _after(side, after)
    if changes:
        rows.write_rows(conn, changes)
    for side in sides:
        if side.after is not None:
            side.version = rows.bump_version(conn, side.user_id)


def _after(side: Side, flags: int) -> rows.Item:
    """Return the row as it is now."""
    if side.row is None:
        return rows.Item(side.contact_id, side.contact, "", flags, 0, ())
    return side.row._replace(flags=flags)


def _tell_peer(context: Context, user: User, peer: Person, theirs: Side, stanza: Stanza | None) -> None:
    actor = context.actors.get(peer.address_id)
    if actor is None:
        return
    if theirs.version:
        actor.roster_version = theirs.version
        if theirs.after is not None and theirs.after.is_listed:
            roster_push.push(actor, [roster_push.render(theirs.after)])
    _follow(context, actor, theirs)
    actor.has_requests = actor.has_requests or theirs.state.pending
    for kind in theirs.deliver:
        if stanza is not None and kind == stanza.type:
            _to_clients(actor, stanza)
        else:
            _to_clients(actor, Stanza("presence", actor.jid, user.jid.bare_jid(), type=kind))


def _to_clients(user: User, stanza: Stanza) -> None:
    data = stanza.to_bytes()
    for session in user.sessions.values():
        if session.interested or session.available:
            session.send(data)


def _follow(context: Context, user: User, side: Side) -> None:
    """Bring the actor's arrays in line with what was written."""
    changes = {}
    for array, bit in ((user.watched, TO), (user.watchers, FROM)):
        present = side.contact_id in array
        wanted = bool(side.state.subscription & bit)
        changes[bit] = wanted - present
        if wanted and not present:
            array.append(side.contact_id)
        elif present and not wanted:
            array.remove(side.contact_id)
    context.counters.roster_subscriptions += changes[TO]
    context.counters.roster_watchers += changes[FROM]


def _show_changes(context: Context, user: User, peer: Person | None, ours: Side, theirs: Side | None) -> None:
    """Show or withdraw presence where a subscription came or went (RFC 6121 §3.1.5, §3.2.1, §3.3.2)."""
    actor = context.actors.get(peer.address_id) if peer is not None else None
    if actor is None:
        return
    if ours.gained or ours.lost:
        availability.show_to(context, actor, user, available=ours.gained)
    if theirs is not None and (theirs.gained or theirs.lost):
        availability.show_to(context, user, actor, available=theirs.gained)


async def deliver_requests(context: Context, user: User, session: Session) -> None:
    """Give a new session the subscription requests that wait for an answer (RFC 6121 §3.1.3)."""
    for request in await context.database.read(rows.load_pending, user.person.user_id):
        if request.stanza and not session.ended:
            session.send(request.stanza)
