"""Personal events on their way to clients (XEP-0163 §4): to the owner's, and to those of the watchers.

Only clients that said so (``+notify``, see ``interests``) are told. A client that comes gets the newest
item of every node that it wants.
"""

import itertools
from collections.abc import Iterable

from sqlalchemy import Connection

from ubiety.element import escape_attribute
from ubiety.jid import Jid
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Session
from ubiety.store import pep as rows
from ubiety.store import policy as policies
from ubiety.users import availability, policy_changes
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.pep_nodes import Options, load_options
from ubiety.users.preferences import SHARING_ENABLED
from ubiety.users.stamps import format_stamp
from ubiety.xmpp import ns

_numbers = itertools.count(1)


def notify(context: Context, user: User, node: str, options: Options, content: bytes) -> None:
    """Tell everybody who wants to know and may: ``content`` is what stands in ``<event/>``."""
    tell(user.jid, user, node, content)
    if options.access_model == "whitelist":
        return
    for watcher in availability.audience(context, user):
        tell(user.jid, watcher, node, content)
    if context.neighbours is not None and availability.shares(context):
        context.neighbours.notify(user, node, content)


def tell(owner: Jid, receiver: User, node: str, content: bytes) -> None:
    """Tell those of a person's clients that want to know."""
    for session in receiver.sessions.values():
        if session.available and node in session.interests:
            _send(owner.xml, session, content)


def _send(owner: str, session: Session, content: bytes, after: bytes = b"") -> None:
    if session.congested:
        return  # events are shed before messages: the newest item is there when the client asks
    session.send(
        b"<message from='%b' to='%b' type='headline' id='event-%d'><event xmlns='%b'>%b</event>%b</message>"
        % (
            owner.encode(),
            session.jid.xml.encode(),
            next(_numbers),
            ns.PUBSUB_EVENT.encode(),
            content,
            after,
        )
    )


def render_item(item_id: str, xml: bytes) -> bytes:
    """Render an item; ``xml`` is its payload."""
    return f"<item id='{escape_attribute(item_id)}'>".encode() + xml + b"</item>"


def items(node: str, content: bytes) -> bytes:
    """Render items of a node, as they stand in ``<event/>`` and in ``<pubsub/>``."""
    return f"<items node='{escape_attribute(node)}'>".encode() + content + b"</items>"


async def send_last(context: Context, user: User, session: Session, nodes: Iterable[str]) -> None:
    """Give a client the newest items of the nodes that it wants: of its own person and of contacts."""
    owners = {user.person.user_id: user.person}
    if context.settings.get(SHARING_ENABLED):
        people = (context.homes.at(address_id) for address_id in user.watched)
        owners.update((person.user_id, person) for person in people if person is not None)
    loaded = {p.user_id for p in owners.values() if p.address_id in context.actors}
    last, stored = await context.database.read(_load_last, list(owners), list(nodes), loaded)
    for item in last:
        owner = owners[item.user_id]
        options = load_options(item.options)
        if session.ended or not session.available:
            return
        if options.send_last_published_item != "on_sub_and_presence":
            continue
        if owner is not user.person and not _may_have(context, user, owner, options, stored):
            continue
        xml = item.item.xml if options.deliver_payloads else b""
        delay = f"<delay xmlns='{ns.DELAY}' stamp='{format_stamp(item.item.stamp)}'/>".encode()
        _send(owner.jid.xml, session, items(item.node, render_item(item.item.item_id, xml)), delay)


def _load_last(
    conn: Connection, owners: list[int], nodes: list[str], loaded: set[int]
) -> tuple[list[rows.LastItem], dict[int, policies.Policy]]:
    """Return the newest items, and the policies of their owners as far as they are not loaded."""
    last = rows.load_last(conn, owners, nodes)
    unloaded = {item.user_id for item in last} - loaded
    return last, {user_id: policies.load(conn, user_id) for user_id in unloaded}


def _may_have(
    context: Context, user: User, owner: Person, options: Options, stored: dict[int, policies.Policy]
) -> bool:
    """Tell whether a contact's item may be shown to ``user``."""
    if options.access_model == "whitelist":
        return False
    actor = context.actors.get(owner.address_id)
    if actor is not None:
        return availability.may_see(actor, user)
    if user.policy is not None and not user.policy.allows(owner.jid):
        return False
    policy = policy_changes.make_policy(context, stored[owner.user_id]) if owner.user_id in stored else None
    return policy is None or policy.allows(user.jid)
