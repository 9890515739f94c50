"""What is asked of a personal node: reading the elements of XEP-0060."""

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.element import Element, escape_attribute
from ubiety.store import pep as rows
from ubiety.users.iq import Request
from ubiety.users.pep_nodes import MAX_ITEMS, pubsub_error

MAX_NAME = 1023
"""Characters of the name of a node or the id of an item."""


def pubsub_of(request: Request, namespace: str) -> Element:
    """Return ``<pubsub/>`` of a query that has one."""
    pubsub = request.stanza.child(namespace, "pubsub")
    assert pubsub is not None
    return pubsub


def first(request: Request, namespace: str, known: tuple[str, ...]) -> Element:
    """Return what is asked for; what we do not do is named as XEP-0060 wants it."""
    elements = [e for e in pubsub_of(request, namespace).elements if e.ns == namespace]
    for element in elements:
        if element.name in known:
            return element
    if not elements:
        raise StanzaError("bad-request", "Nothing is asked for.")
    feature = pubsub_error("unsupported", f" feature='{escape_attribute(elements[0].name)}'")
    raise StanzaError("feature-not-implemented", extra=feature)


def node_of(element: Element) -> str:
    """Return the node that an element names. Raises StanzaError."""
    return checked_name(element.get("node") or "")


def checked_name(node: str) -> str:
    """Return the name of a node if it can be one. Raises StanzaError."""
    if not node:
        raise StanzaError("bad-request", extra=pubsub_error("nodeid-required"))
    if len(node) > MAX_NAME:
        raise StanzaError("not-acceptable", f"The name of a node may have {MAX_NAME} characters.")
    return node


def only_item(action: Element) -> Element:
    """Return the one item of an action. Raises StanzaError."""
    items = action.findall("item")
    if len(items) != 1:
        raise StanzaError("bad-request", "One item at a time.", extra=pubsub_error("item-required"))
    return items[0]


def payload_of(item: Element) -> Element:
    """Return what is published in an item. Raises StanzaError."""
    if not item.elements:
        raise StanzaError("bad-request", extra=pubsub_error("payload-required"))
    if len(item.elements) > 1:
        raise StanzaError("bad-request", extra=pubsub_error("invalid-payload"))
    return item.elements[0]


def limit_of(asked: Element) -> int:
    """Return how many items are asked for at most."""
    text = asked.get("max_items") or ""
    return min(int(text), MAX_ITEMS) if text.isascii() and text.isdigit() and len(text) < 9 else MAX_ITEMS


def required(conn: Connection, user_id: int, node: str) -> rows.Node:
    """Return a node that must be there. Raises StanzaError (item-not-found)."""
    found = rows.find_node(conn, user_id, node)
    if found is None:
        raise StanzaError("item-not-found")
    return found
