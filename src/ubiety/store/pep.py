"""Personal eventing nodes and their items (XEP-0163): bookmarks, avatars, device lists."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, text

from ubiety.store.sql import Sql

NODES = Sql("SELECT id, node, options FROM pep_nodes WHERE user_id = :user_id ORDER BY node")
NODE = Sql("SELECT id, node, options FROM pep_nodes WHERE user_id = :user_id AND node = :node")
PUT_NODE = Sql(
    "INSERT INTO pep_nodes (user_id, node, options) VALUES (:user_id, :node, :options)"
    " ON CONFLICT (user_id, node) DO UPDATE SET options = excluded.options RETURNING id"
)
DELETE_NODE = Sql("DELETE FROM pep_nodes WHERE user_id = :user_id AND node = :node")
ITEMS = Sql(
    "SELECT item_id, publisher, stamp, xml FROM pep_items WHERE node_id = :node_id"
    " ORDER BY position DESC LIMIT :limit"
)
ITEM = Sql(
    "SELECT item_id, publisher, stamp, xml FROM pep_items WHERE node_id = :node_id AND item_id = :item_id"
)
PUT_ITEM = Sql(
    "INSERT INTO pep_items (node_id, item_id, position, publisher, stamp, xml) VALUES (:node_id, :item_id,"
    " (SELECT COALESCE(MAX(position), 0) + 1 FROM pep_items WHERE node_id = :node_id),"
    " :publisher, :stamp, :xml)"
    " ON CONFLICT (node_id, item_id) DO UPDATE SET position = excluded.position,"
    " publisher = excluded.publisher, stamp = excluded.stamp, xml = excluded.xml"
)
TRIM = Sql(
    "DELETE FROM pep_items WHERE node_id = :node_id AND position <="
    " (SELECT position FROM pep_items WHERE node_id = :node_id ORDER BY position DESC LIMIT 1 OFFSET :keep)"
)
RETRACT = Sql("DELETE FROM pep_items WHERE node_id = :node_id AND item_id = :item_id")
PURGE = Sql("DELETE FROM pep_items WHERE node_id = :node_id")
USED = Sql(
    "SELECT COUNT(DISTINCT n.id), COALESCE(SUM(LENGTH(i.xml)), 0)"
    " FROM pep_nodes n LEFT JOIN pep_items i ON i.node_id = n.id WHERE n.user_id = :user_id"
)
LAST = text(
    "SELECT n.user_id, n.node, n.options, i.item_id, i.publisher, i.stamp, i.xml"
    " FROM pep_nodes n JOIN pep_items i ON i.node_id = n.id"
    " WHERE n.user_id IN :owners AND n.node IN :nodes"
    " AND i.position = (SELECT MAX(position) FROM pep_items WHERE node_id = n.id)"
    " ORDER BY n.user_id, n.node"
).bindparams(bindparam("owners", expanding=True), bindparam("nodes", expanding=True))

#: Owners in one statement.
CHUNK = 1_000


class Node(NamedTuple):
    """A node of one person; ``options`` are those that differ from the defaults (XEP-0060 §16.4.4)."""

    id: int
    node: str
    options: dict[str, Any]


class Item(NamedTuple):
    """A published item; ``xml`` is the canonical payload, ``publisher`` a full JID."""

    item_id: str
    publisher: str
    stamp: float
    xml: bytes


class LastItem(NamedTuple):
    """The newest item of one person's node."""

    user_id: int
    node: str
    options: dict[str, Any]
    item: Item


def load_nodes(conn: Connection, user_id: int) -> list[Node]:
    """Return all nodes of one person, by name."""
    return [_node(*row) for row in NODES.rows(conn, user_id=user_id)]


def find_node(conn: Connection, user_id: int, node: str) -> Node | None:
    """Return one node."""
    row = NODE.one(conn, user_id=user_id, node=node)
    return _node(*row) if row else None


def put_node(conn: Connection, user_id: int, node: str, options: dict[str, Any]) -> int:
    """Create or configure a node and return its id."""
    made: int = PUT_NODE.value(conn, user_id=user_id, node=node, options=json.dumps(options))
    return made


def delete_node(conn: Connection, user_id: int, node: str) -> bool:
    """Delete a node with its items; False if there was none."""
    return DELETE_NODE.run(conn, user_id=user_id, node=node) > 0


def load_items(conn: Connection, node_id: int, limit: int = 100) -> list[Item]:
    """Return the newest items, newest first."""
    return [Item(*row) for row in ITEMS.rows(conn, node_id=node_id, limit=limit)]


def load_item(conn: Connection, node_id: int, item_id: str) -> Item | None:
    """Return one item."""
    row = ITEM.one(conn, node_id=node_id, item_id=item_id)
    return Item(*row) if row else None


def publish(conn: Connection, node_id: int, item: Item, keep: int) -> None:
    """Store an item as the newest and drop the oldest beyond ``keep``."""
    PUT_ITEM.run(conn, node_id=node_id, **item._asdict())
    TRIM.run(conn, node_id=node_id, keep=keep)


def retract(conn: Connection, node_id: int, item_id: str) -> bool:
    """Delete an item; False if there was none."""
    return RETRACT.run(conn, node_id=node_id, item_id=item_id) > 0


def purge(conn: Connection, node_id: int) -> int:
    """Delete all items; returns how many."""
    return PURGE.run(conn, node_id=node_id)


def trim(conn: Connection, node_id: int, keep: int) -> None:
    """Drop the oldest items beyond ``keep``."""
    TRIM.run(conn, node_id=node_id, keep=keep)


def used(conn: Connection, user_id: int) -> tuple[int, int]:
    """Return (nodes, bytes of items) of one person, for a limit."""
    row = USED.one(conn, user_id=user_id)
    assert row is not None
    return int(row[0]), int(row[1])


def load_last(conn: Connection, owners: Sequence[int], nodes: Sequence[str]) -> list[LastItem]:
    """Return the newest item of each of these nodes of each of these people."""
    found = []
    for start in range(0, len(owners), CHUNK):
        part = {"owners": list(owners[start : start + CHUNK]), "nodes": list(nodes)}
        for user_id, node, options, *item in conn.execute(LAST, part):
            found.append(LastItem(user_id, node, json.loads(options), Item(*item)))
    return found


def _node(id: int, node: str, options: str) -> Node:
    return Node(id, node, json.loads(options))
