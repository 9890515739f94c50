"""Finds the node of a new person within the transaction that adds them."""

from sqlalchemy import Connection

from ubiety.directory.assignment import assign
from ubiety.store import node_services, nodes
from ubiety.store.nodes import FIRST_NODE

PRESENCE_ENGINE = "Cisco Presence Engine"
"""The service without which a node shows nobody's presence: see ``cluster.services``."""


class Placing:
    """Assigns the new people of one transaction, one after the other."""

    def __init__(self, conn: Connection, mode: str, without: int = 0) -> None:
        """``without``: a node that gets nobody, because it goes. Nor does a routing node."""
        self._mode = mode
        rows = nodes.list_all(conn)
        routing = list_routing(conn) if len(rows) > 1 else set()
        found = [node for node in rows if node.id != without and node.id not in routing]
        by_group: dict[int, list[int]] = {}
        for node in found:
            by_group.setdefault(node.group_id, []).append(node.id)
        self._groups = list(by_group.values())
        # Alone there is nothing to count. Before the first node has started there is its number.
        self._counts = nodes.count_assigned(conn) if len(found) > 1 else {}
        if not rows:
            self._groups = [[FIRST_NODE]]

    def next(self) -> int:
        """Return the set of one more person; 0: none."""
        node = assign(self._counts, self._groups, self._mode)
        self._counts[node] = self._counts.get(node, 0) + 1
        return node


def list_routing(conn: Connection) -> set[int]:
    """Return the nodes that home nobody: their presence engine is deactivated (facts §5.1)."""
    return node_services.nodes_without(conn, PRESENCE_ENGINE)


def place(conn: Connection, mode: str) -> int:
    """Return the set of a single new person."""
    return Placing(conn, mode).next()
