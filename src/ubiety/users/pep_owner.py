"""What the owner does with a personal node as a whole (XEP-0060 §8)."""

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.element import Element, escape_attribute
from ubiety.store import pep as rows
from ubiety.users import pep_events
from ubiety.users.iq import Answer, Request
from ubiety.users.pep_nodes import Options, configure, load_options, read_form, render_form
from ubiety.users.pep_requests import first, node_of, required
from ubiety.xmpp import ns


async def get(request: Request) -> Answer:
    """Answer what the owner asks: a node's options, or those that new nodes get."""
    asked = first(request, ns.PUBSUB_OWNER, ("configure", "default"))
    if asked.name == "default":
        form = render_form(Options())
        return f"<pubsub xmlns='{ns.PUBSUB_OWNER}'><default>".encode() + form + b"</default></pubsub>"
    node = node_of(asked)
    found = await request.context.database.read(required, request.account.person.user_id, node)
    head = f"<pubsub xmlns='{ns.PUBSUB_OWNER}'><configure node='{escape_attribute(node)}'>"
    return head.encode() + render_form(load_options(found.options)) + b"</configure></pubsub>"


async def change(request: Request) -> Answer:
    """Do what the owner orders."""
    action = first(request, ns.PUBSUB_OWNER, tuple(_OWNED))
    return await _OWNED[action.name](request, action)


async def _configure(request: Request, action: Element) -> Answer:
    form = action.find("x", ns.DATA_FORMS)
    if form is None:
        raise StanzaError("bad-request", "A configuration is a form.")
    if form.get("type") == "cancel":
        return None
    given = read_form(form)
    user_id = request.account.person.user_id
    await request.context.database.write(_reconfigure, user_id, node_of(action), given)
    return None


def _reconfigure(conn: Connection, user_id: int, node: str, given: dict[str, Any]) -> None:
    found = required(conn, user_id, node)
    options = configure(load_options(found.options), given)
    rows.put_node(conn, user_id, node, options.changed())
    rows.trim(conn, found.id, options.max_items)


async def _delete(request: Request, action: Element) -> Answer:
    return await _empty(request, node_of(action), "delete")


async def _purge(request: Request, action: Element) -> Answer:
    return await _empty(request, node_of(action), "purge")


async def _empty(request: Request, node: str, how: str) -> Answer:
    user = request.account
    options = await request.context.database.write(_drop, user.person.user_id, node, how == "delete")
    if options.notify_delete:
        content = f"<{how} node='{escape_attribute(node)}'/>".encode()
        pep_events.notify(request.context, user, node, options, content)
    return None


def _drop(conn: Connection, user_id: int, node: str, is_whole: bool) -> Options:
    found = required(conn, user_id, node)
    rows.purge(conn, found.id)
    if is_whole:
        rows.delete_node(conn, user_id, node)
    return load_options(found.options)


_OWNED: dict[str, Callable[[Request, Element], Awaitable[Answer]]] = {
    "configure": _configure,
    "delete": _delete,
    "purge": _purge,
}
