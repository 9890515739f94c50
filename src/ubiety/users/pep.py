"""Personal eventing (XEP-0163): every account is a publish-subscribe service of its owner.

As much of XEP-0060 as bookmarks, avatars, nicknames and OMEMO device lists need.
"""

from collections.abc import Awaitable, Callable

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.element import Element, escape_attribute
from ubiety.routing.sessions import Session
from ubiety.store import pep as rows
from ubiety.users import pep_events, pep_owner, pep_publish
from ubiety.users.actor import User
from ubiety.users.caps import Identity
from ubiety.users.context import Context
from ubiety.users.disco import Feature
from ubiety.users.interests import Interests
from ubiety.users.iq import Answer, Asked, Handler, Request
from ubiety.users.pep_nodes import (
    MAX_ITEMS,
    META_FORM,
    Options,
    check_access,
    load_options,
    render_form,
)
from ubiety.users.pep_requests import first, limit_of, node_of, pubsub_of
from ubiety.users.permissions import asker, is_watcher, require_welcome
from ubiety.xmpp import ns

ANSWER_BYTES = 1_000_000
"""Bytes of items in one answer; who wants older ones asks for them by id."""

_FEATURES = (
    "access-open",
    "access-presence",
    "access-whitelist",
    "auto-create",
    "auto-subscribe",
    "config-node",
    "config-node-max",
    "create-and-configure",
    "create-nodes",
    "delete-items",
    "delete-nodes",
    "filtered-notifications",
    "item-ids",
    "last-published",
    "meta-data",
    "multi-items",
    "persistent-items",
    "presence-notifications",
    "presence-subscribe",
    "publish",
    "publish-options",
    "purge-nodes",
    "retract-items",
    "retrieve-default",
    "retrieve-items",
)


def pep(context: Context) -> Feature:
    """Every account keeps and tells events of its owner."""

    def learned(user: User, session: Session, nodes: frozenset[str]) -> None:
        context.spawn(pep_events.send_last(context, user, session, nodes))

    context.hooks.available.append(Interests(context, learned).available)
    return Feature(
        (
            Handler(Asked.OWN, "get", ns.PUBSUB, "pubsub", _get),
            Handler(Asked.OTHER, "get", ns.PUBSUB, "pubsub", _get),
            Handler(Asked.OWN, "set", ns.PUBSUB, "pubsub", _set),
            Handler(Asked.OTHER, "set", ns.PUBSUB, "pubsub", _forbid),
            Handler(Asked.OWN, "get", ns.PUBSUB_OWNER, "pubsub", pep_owner.get),
            Handler(Asked.OWN, "set", ns.PUBSUB_OWNER, "pubsub", pep_owner.change),
            Handler(Asked.OTHER, "get", ns.PUBSUB_OWNER, "pubsub", _forbid),
            Handler(Asked.OTHER, "set", ns.PUBSUB_OWNER, "pubsub", _forbid),
        ),
        account=(ns.PUBSUB, *(f"{ns.PUBSUB}#{name}" for name in _FEATURES)),
        identities=(Identity("pubsub", "pep"),),
        account_items=_list_nodes,
        account_node=_describe_node,
    )


def _forbid(_request: Request) -> Answer:
    raise StanzaError("forbidden", "Only the owner of an account changes its nodes.")


async def _get(request: Request) -> Answer:
    user = require_welcome(request)
    asked = first(request, ns.PUBSUB, ("items",))
    node, item_ids = node_of(asked), [i.get("id") or "" for i in asked.findall("item")]
    limit = limit_of(asked)
    found, stored = await request.context.database.read(
        _load, user.person.user_id, node, item_ids[:MAX_ITEMS], limit
    )
    if found is None:
        _refuse_unknown(request, user)
    else:
        _check(request, user, load_options(found.options))
    rendered = _bounded([pep_events.render_item(item.item_id, item.xml) for item in stored])
    return f"<pubsub xmlns='{ns.PUBSUB}'>".encode() + pep_events.items(node, rendered) + b"</pubsub>"


def _bounded(rendered: list[bytes]) -> bytes:
    """Return as many items as one stanza may hold, at least one: the newest come first."""
    answer = bytearray()
    for item in rendered:
        if answer and len(answer) + len(item) > ANSWER_BYTES:
            break
        answer += item
    return bytes(answer)


def _refuse_unknown(request: Request, user: User) -> None:
    """Refuse a node that is not there; strangers are not told whether it is."""
    _check(request, user, Options())
    raise StanzaError("item-not-found")


def _check(request: Request, user: User, options: Options) -> None:
    sender = asker(request)
    check_access(
        options,
        is_owner=sender.bare == user.jid.bare,
        is_watcher=is_watcher(request.context, user, sender),
    )


def _load(
    conn: Connection, user_id: int, node: str, item_ids: list[str], limit: int
) -> tuple[rows.Node | None, list[rows.Item]]:
    found = rows.find_node(conn, user_id, node)
    if found is None:
        return None, []
    if item_ids:
        named = (rows.load_item(conn, found.id, item_id) for item_id in item_ids)
        return found, [item for item in named if item is not None]
    return found, rows.load_items(conn, found.id, limit)


async def _list_nodes(request: Request) -> bytes:
    """Render the nodes of an account for disco#items."""
    user = request.account
    rendered = []
    for node in await request.context.database.read(rows.load_nodes, user.person.user_id):
        try:
            _check(request, user, load_options(node.options))
        except StanzaError:
            continue
        rendered.append(f"<item jid='{user.jid.xml}' node='{escape_attribute(node.node)}'/>")
    return "".join(rendered).encode()


async def _describe_node(request: Request, node: str) -> bytes:
    """Render what disco#info says of one node (XEP-0060 §5.4)."""
    user = request.account
    found = await request.context.database.read(rows.find_node, user.person.user_id, node)
    if found is None:
        raise StanzaError("item-not-found")
    options = load_options(found.options)
    _check(request, user, options)
    identity = Identity("pubsub", "leaf", options.title).render()
    head = f"<query xmlns='{ns.DISCO_INFO}' node='{escape_attribute(node)}'>{identity}"
    form = render_form(options, META_FORM, "result")
    return f"{head}<feature var='{ns.PUBSUB}'/>".encode() + form + b"</query>"


async def _set(request: Request) -> Answer:
    action = first(request, ns.PUBSUB, tuple(_SETS))
    return await _SETS[action.name](request, action, pubsub_of(request, ns.PUBSUB))


_SETS: dict[str, Callable[[Request, Element, Element], Awaitable[Answer]]] = {
    "publish": pep_publish.publish_item,
    "retract": pep_publish.retract,
    "create": pep_publish.create,
}
