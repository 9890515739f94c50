"""Both sides of a relation as rows: read, stepped by the table in ``subscriptions``, written. SQL only.

All of it runs in one transaction, at the home of the person who acts, whoever serves the other.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.routing.homes import Person
from ubiety.stanza import Stanza
from ubiety.store import addresses
from ubiety.store import roster as rows
from ubiety.users.subscriptions import FROM, State, inbound, outbound


@dataclass(frozen=True, slots=True)
class Limits:
    """How many contacts and watchers a person may have; 0 is no limit."""

    contacts: int
    watchers: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for an exchange besides the states of both sides."""

    auto_authorize: bool
    limits: Limits
    is_blocked: Callable[[Connection], bool]
    """Tells whether one of the two has blocked the other."""
    is_admitted: Callable[[Connection], bool]
    """Tells whether the one who is asked allows the other by name or by domain: then nobody is prompted."""
    is_shared: bool
    """Other nodes may write the same rows at the same time."""


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
    passes: bool = True  # what this person has sent goes on to the other

    @property
    def flags_before(self) -> int:
        """The packed flags of the row that was read, 0 if there was none."""
        return self.row.flags if self.row is not None else 0

    @property
    def flags(self) -> int:
        """The packed flags as they are now."""
        state = self.state
        listed = self.listed or state.sees or state.ask  # a mere watcher was put there by their own act
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


def exchange(
    conn: Connection, person: Person, stanza: Stanza, peer: Person | None, terms: Terms
) -> tuple[Side, Side | None]:
    """Step both sides. ``peer`` is None for somebody who belongs to another server."""
    assert stanza.to is not None and stanza.type is not None
    kind, limits = stanza.type, terms.limits
    if peer is not None and terms.is_shared:
        rows.lock(conn, person.user_id, peer.user_id)
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
    is_blocked = terms.is_blocked(conn)
    # Between people of whom one blocks the other nothing new begins, but what there is comes to an end.
    ours.passes = step.passes and not (is_blocked and kind in _BEGINNINGS)
    if not ours.passes:
        theirs = None
    if theirs is not None:
        _arrive(conn, ours, theirs, stanza, terms)
        if is_blocked:
            theirs.deliver.clear()
    _save(conn, [ours] if theirs is None else [ours, theirs], stanza)
    return ours, theirs


def receive(conn: Connection, person: Person, stanza: Stanza, terms: Terms) -> Side | None:
    """Let a stanza of somebody who belongs to another server arrive, of whom only our side is here.

    None: it may not, or there is nothing that it could change.
    """
    assert stanza.from_ is not None and stanza.type is not None
    kind, contact = stanza.type, stanza.from_.bare
    is_blocked = terms.is_blocked(conn)
    if is_blocked and kind in _BEGINNINGS:
        return None
    contact_id = addresses.intern(conn, contact) if kind == "subscribe" else addresses.find(conn, contact)
    if contact_id is None:
        return None
    ours, _ = _load(conn, person, contact_id, contact, None)
    asking = State(ask=True)
    sender = Side(0, person.address_id, person.jid.bare, None, asking, asking, False, False)
    _arrive(conn, sender, ours, stanza, terms)
    if is_blocked:
        ours.deliver.clear()
    _save(conn, [ours], stanza)
    return ours


_BEGINNINGS = ("subscribe", "subscribed")


def _arrive(conn: Connection, ours: Side, theirs: Side, stanza: Stanza, terms: Terms) -> None:
    """Let a subscription stanza arrive at the other side, and answer it there if nobody needs to be asked."""
    kind = stanza.type or ""
    if kind == "subscribe" and theirs.state.is_seen:
        _answer(ours, theirs)  # RFC 6121 §3.1.3: granted already
        return
    step = inbound(theirs.state, kind)
    if kind == "subscribe" and step.passes:
        _check_room(conn, theirs, terms.limits)
        if terms.auto_authorize or theirs.approved or terms.is_admitted(conn):
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


def remove(
    conn: Connection, person: Person, contact: str, peer: Person | None, is_shared: bool
) -> tuple[Side, Side | None]:
    """Take a contact off a list, and end what was subscribed both ways (RFC 6121 §2.5)."""
    if peer is not None and is_shared:
        rows.lock(conn, person.user_id, peer.user_id)
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
        if (before ^ after) & ~rows.PENDING_IN and (before | after) & rows.SHOWN:
            side.after = _after(side, after)
    if changes:
        rows.write_rows(conn, changes)
    for side in sides:
        if side.after is not None:
            side.version = rows.bump_version(conn, side.user_id)
            if not side.after.is_listed:  # it is shown without a subscription first, then as removed
                side.version = rows.bump_version(conn, side.user_id)


def _after(side: Side, flags: int) -> rows.Item:
    """Return the row as it is now."""
    if side.row is None:
        return rows.Item(side.contact_id, side.contact, "", flags, 0, ())
    return side.row._replace(flags=flags)
