"""Changing a person's policy, with its effects at once (facts §4.2, XEP-0191 §3).

Whoever changes a policy does it here: clients that block somebody, and administrators. It is written,
the loaded person follows, whom they let in or shut out sees them come or go, and clients that show the
list of blocked people get the difference.
"""

import contextlib
import itertools
from collections.abc import Iterable

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.element import escape_attribute
from ubiety.jid import Jid, parse
from ubiety.routing.homes import Person
from ubiety.settings import Setting
from ubiety.stanza import Stanza
from ubiety.store import addresses, changes
from ubiety.store import policy as rows
from ubiety.users import availability, outside_presence, temporary
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.policy import Policy
from ubiety.users.preferences import DEFAULT_BLOCK
from ubiety.xmpp import ns

MAX_ENTRIES = Setting(
    "policy.max_entries",
    int,
    1000,
    "entries",
    "People and domains that one person may allow or block.",
    minimum=0,
    maximum=100_000,
    zero="no limit",
)
ALLOW, BLOCK = rows.ALLOW, rows.BLOCK

_push_numbers = itertools.count(1)


async def load(context: Context, person: Person) -> rows.Policy:
    """Return a person's policy as it is stored."""
    return await context.database.read(rows.load, person.user_id)


async def put(context: Context, person: Person, action: str, targets: Iterable[Jid]) -> None:
    """Allow or block people and domains; an entry for the same one is replaced.

    Raises StanzaError: not-acceptable for a full address, resource-constraint when the list is full.
    """
    checked = [_checked(target) for target in targets]
    limit = context.settings.get(MAX_ENTRIES)
    stored = await context.database.write(_put, person.user_id, action, checked, limit)
    await _follow(context, person, stored)


async def remove(context: Context, person: Person, targets: Iterable[Jid], action: str = "") -> None:
    """Take people and domains off the lists (off one list, when ``action`` is given)."""
    checked = [_checked(target) for target in targets]
    stored = await context.database.write(_remove, person.user_id, action, checked)
    await _follow(context, person, stored)


async def clear(context: Context, person: Person, action: str) -> None:
    """Empty one list."""
    stored = await context.database.write(_clear, person.user_id, action)
    await _follow(context, person, stored)


async def set_default(context: Context, person: Person, action: str | None) -> None:
    """Say what holds for those on neither list; None: what the system's setting says."""
    stored = await context.database.write(_set_default, person.user_id, action)
    await _follow(context, person, stored)


async def _follow(context: Context, person: Person, stored: rows.Policy) -> None:
    """Have the person follow, also one who is being loaded with what was stored before."""
    if context.neighbours is not None and context.neighbours.is_elsewhere(person):
        return  # their home is told of the change
    was_loaded = person.address_id in context.actors
    with contextlib.suppress(LookupError):  # deleted meanwhile
        await context.load(person)
    take_over(context, person, stored)
    user = context.actors.get(person.address_id)
    if user is not None and not was_loaded:
        outside_presence.follow_policy_unloaded(context, user)


async def read_again(context: Context, person: Person) -> None:
    """Have a person of this node follow what another node has stored. Raises StoreError."""
    if person.address_id in context.actors:
        take_over(context, person, await load(context, person))
    elif context.sources.knows(person.user_id):  # somebody may see more of them than that they are offline
        await _follow(context, person, await load(context, person))


def make_policy(context: Context, stored: rows.Policy) -> Policy | None:
    """Return the policy to look up in, None where nobody is treated specially."""
    default = stored.default_action or context.settings.get(DEFAULT_BLOCK)
    if default == ALLOW and not stored.entries:
        return None
    lists: dict[str, list[str]] = {ALLOW: [], BLOCK: []}
    for entry in stored.entries:
        lists[entry.action].append(entry.jid or entry.domain or "")
    return Policy(default == ALLOW, lists[ALLOW], lists[BLOCK])


def take_over(context: Context, person: Person, stored: rows.Policy) -> None:
    """Have a loaded person follow what was stored; nothing to do for somebody who is not loaded."""
    user = context.actors.get(person.address_id)
    if user is None:
        return
    before, user.policy = user.policy, make_policy(context, stored)
    _show_difference(context, user, before)
    if user.outside is not None:
        outside_presence.follow_policy(context, user, before)
    _push_difference(user, before)


def _checked(target: Jid) -> Jid:
    if target.resource:
        raise StanzaError("not-acceptable", "People and domains can be blocked, not single devices.")
    return target


def _put(conn: Connection, user_id: int, action: str, targets: list[Jid], limit: int) -> rows.Policy:
    for target in targets:
        if target.local:
            rows.put_address(conn, user_id, action, addresses.intern(conn, target.bare))
        else:
            rows.put_domain(conn, user_id, action, target.domain)
    stored = rows.load(conn, user_id)
    if limit and len(stored.entries) > limit:
        raise StanzaError("resource-constraint", f"A policy has at most {limit} entries.", type="cancel")
    changes.note_user(conn, changes.POLICY, user_id)
    return stored


def _remove(conn: Connection, user_id: int, action: str, targets: list[Jid]) -> rows.Policy:
    for target in targets:
        if not target.local:
            rows.remove_domain(conn, user_id, target.domain, action)
        elif (address_id := addresses.find(conn, target.bare)) is not None:
            rows.remove_address(conn, user_id, address_id, action)
    changes.note_user(conn, changes.POLICY, user_id)
    return rows.load(conn, user_id)


def _clear(conn: Connection, user_id: int, action: str) -> rows.Policy:
    rows.clear(conn, user_id, action)
    changes.note_user(conn, changes.POLICY, user_id)
    return rows.load(conn, user_id)


def _set_default(conn: Connection, user_id: int, action: str | None) -> rows.Policy:
    rows.set_default(conn, user_id, action)
    changes.note_user(conn, changes.POLICY, user_id)
    return rows.load(conn, user_id)


def _allows(policy: Policy | None, peer: Jid) -> bool:
    return policy is None or policy.allows(peer)


def _show_difference(context: Context, user: User, before: Policy | None) -> None:
    """Come or go for those whom the change lets in or shuts out (XEP-0191 §3.2, §3.3)."""
    for address_id in {*user.watchers, *user.watched, *(user.temporary or ())}:
        peer = context.actors.get(address_id)
        person = peer.person if peer is not None else _elsewhere(context, address_id)
        if person is None or (peer is not None and not peer.sessions):
            continue
        is_allowed = _allows(user.policy, person.jid)
        if is_allowed == _allows(before, person.jid):
            continue
        if address_id in user.watchers or address_id in (user.temporary or ()):
            availability.show_by_id(context, user, address_id, available=is_allowed)
        if address_id in user.watched:
            _see(context, user, peer, address_id, is_allowed)
        if not is_allowed:
            temporary.end(context, user, address_id)
    for session in user.sessions.values():
        gone = [to for to in session.directed or () if not _allows(user.policy, to)]
        for to in gone:
            context.router.route(Stanza("presence", to=to, from_=session.jid, type="unavailable"))
            if session.directed is not None:
                session.directed.discard(to)


def _elsewhere(context: Context, address_id: int) -> Person | None:
    return context.neighbours.person(address_id) if context.neighbours is not None else None


def _see(context: Context, user: User, peer: User | None, address_id: int, is_allowed: bool) -> None:
    """Show ``user`` one whom they watch, or make that one disappear."""
    if peer is not None:
        availability.show_to(context, peer, user, available=is_allowed)
    elif context.neighbours is None:
        return
    elif is_allowed:
        context.neighbours.look_at(user, address_id)
    else:
        context.neighbours.hide(user, address_id)


def blocked(policy: Policy | None) -> set[str]:
    """Return the people and domains that a policy blocks by name."""
    return set() if policy is None else policy.blocked | policy.blocked_domains


def _push_difference(user: User, before: Policy | None) -> None:
    old, new = blocked(before), blocked(user.policy)
    for name, entries in (("block", new - old), ("unblock", old - new)):
        if entries:
            _push(user, name, entries)


def _push(user: User, name: str, entries: Iterable[str]) -> None:
    """Tell the clients that show the list (XEP-0191 §3.2, §3.3)."""
    change = f"<{name} xmlns='{ns.BLOCKING}'>{render_items(entries)}</{name}>"
    number = next(_push_numbers)
    for session in user.sessions.values():
        if session.wants_blocklist:
            head = f"<iq type='set' id='block-{number}' to='{session.jid.xml}'>"
            session.send(f"{head}{change}</iq>".encode())


def render_items(entries: Iterable[str]) -> str:
    """Render people and domains as XEP-0191 writes them."""
    return "".join(f"<item jid='{escape_attribute(parse(entry).text)}'/>" for entry in sorted(entries))
