"""Publishing on personal nodes, and taking back what was published (XEP-0060 §7, §8.1)."""

import secrets
from typing import Any

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.element import Element, escape_attribute
from ubiety.settings import Setting
from ubiety.store import pep as rows
from ubiety.users import pep_events
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.iq import Answer, Request
from ubiety.users.pep_nodes import Options, configure, fits, load_options, pubsub_error, read_form
from ubiety.users.pep_requests import MAX_NAME, checked_name, node_of, only_item, payload_of, required
from ubiety.users.permissions import asker
from ubiety.xmpp import ns

PEP_BYTES = Setting(
    "pep.bytes",
    int,
    5_000_000,
    "bytes",
    "Room for the personal events (avatars, bookmarks, device lists) of one person.",
    minimum=10_000,
    maximum=1_000_000_000,
)
PEP_NODES = Setting(
    "pep.nodes",
    int,
    500,
    "nodes",
    "Nodes that one person may have for personal events.",
    minimum=1,
    maximum=100_000,
)


async def publish_item(request: Request, action: Element, pubsub: Element) -> Answer:
    """Answer ``<publish/>`` (XEP-0060 §7.1)."""
    node, item = node_of(action), only_item(action)
    wrapper = pubsub.find("publish-options")
    given = read_form(wrapper.find("x", ns.DATA_FORMS) if wrapper is not None else None)
    payload = payload_of(item)
    item_id = item.get("id") or secrets.token_hex(8)
    if len(item_id) > MAX_NAME:
        raise StanzaError("not-acceptable", f"The id of an item may have {MAX_NAME} characters.")
    await publish(request.context, request.account, node, item_id, payload, given, asker(request).text)
    published = f"<publish node='{escape_attribute(node)}'><item id='{escape_attribute(item_id)}'/></publish>"
    return f"<pubsub xmlns='{ns.PUBSUB}'>{published}</pubsub>".encode()


async def publish(
    context: Context,
    user: User,
    node: str,
    item_id: str,
    payload: Element,
    given: dict[str, Any],
    publisher: str,
) -> None:
    """Keep an item and tell about it; a node that is not there is made with the ``given`` options.

    Raises StanzaError: conflict when the node has other options, resource-constraint when it is full.
    """
    item = rows.Item(item_id, publisher, context.clock.now(), payload.to_bytes())
    user_id, limits = user.person.user_id, _limits(context)
    options = await context.database.write(_store_item, user_id, node, item, given, limits)
    xml = item.xml if options.deliver_payloads else b""
    content = pep_events.items(node, pep_events.render_item(item_id, xml))
    pep_events.notify(context, user, node, options, content)


def _store_item(
    conn: Connection,
    user_id: int,
    node: str,
    item: rows.Item,
    given: dict[str, Any],
    limits: tuple[int, int],
) -> Options:
    found = rows.find_node(conn, user_id, node)
    if found is None:
        options = configure(Options(), given)
        node_id = rows.put_node(conn, user_id, node, options.changed())
    else:
        options, node_id = load_options(found.options), found.id
        if not fits(options, given):
            raise StanzaError("conflict", extra=pubsub_error("precondition-not-met"))
    if options.persist_items:
        rows.publish(conn, node_id, item, options.max_items)
    _check_room(conn, user_id, limits)
    return options


def _limits(context: Context) -> tuple[int, int]:
    return context.settings.get(PEP_BYTES), context.settings.get(PEP_NODES)


def _check_room(conn: Connection, user_id: int, limits: tuple[int, int]) -> None:
    used_nodes, used_bytes = rows.used(conn, user_id)
    if used_nodes > limits[1]:
        raise StanzaError("resource-constraint", f"There is room for {limits[1]} nodes.", type="cancel")
    if used_bytes > limits[0]:
        raise StanzaError("resource-constraint", f"There is room for {limits[0]} bytes.", type="cancel")


async def retract(request: Request, action: Element, _pubsub: Element) -> Answer:
    """Answer ``<retract/>`` (XEP-0060 §7.2)."""
    user, node = request.account, node_of(action)
    item_id = only_item(action).get("id") or ""
    if not item_id:
        raise StanzaError("bad-request", extra=pubsub_error("item-required"))
    options = await request.context.database.write(_remove_item, user.person.user_id, node, item_id)
    if options.notify_retract or action.get("notify") in ("1", "true"):
        gone = f"<retract id='{escape_attribute(item_id)}'/>".encode()
        pep_events.notify(request.context, user, node, options, pep_events.items(node, gone))
    return None


def _remove_item(conn: Connection, user_id: int, node: str, item_id: str) -> Options:
    found = required(conn, user_id, node)
    if not rows.retract(conn, found.id, item_id):
        raise StanzaError("item-not-found")
    return load_options(found.options)


async def create(request: Request, action: Element, pubsub: Element) -> Answer:
    """Answer ``<create/>``, with ``<configure/>`` if that comes with it (XEP-0060 §8.1)."""
    node = checked_name(action.get("node") or secrets.token_hex(8))
    wrapper = pubsub.find("configure")
    given = read_form(wrapper.find("x", ns.DATA_FORMS) if wrapper is not None else None)
    user_id, limits = request.account.person.user_id, _limits(request.context)
    await request.context.database.write(_make, user_id, node, given, limits)
    return f"<pubsub xmlns='{ns.PUBSUB}'><create node='{escape_attribute(node)}'/></pubsub>".encode()


def _make(conn: Connection, user_id: int, node: str, given: dict[str, Any], limits: tuple[int, int]) -> None:
    if rows.find_node(conn, user_id, node) is not None:
        raise StanzaError("conflict", "This node exists already.")
    rows.put_node(conn, user_id, node, configure(Options(), given).changed())
    _check_room(conn, user_id, limits)
