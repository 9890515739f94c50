"""Finds the node of a new person within the transaction that adds them."""

from sqlalchemy import Connection

from ubiety.directory.assignment import assign
from ubiety.store import nodes
from ubiety.store.nodes import FIRST_NODE


class Placing:
    """Assigns the new people of one transaction, one after the other."""

    def __init__(self, conn: Connection, mode: str, without: int = 0) -> None:
        """``without``: a node that gets nobody, because it goes."""
        self._mode = mode
        found = [node for node in nodes.list_all(conn) if node.id != without]
        by_group: dict[int, list[int]] = {}
        for node in found:
            by_group.setdefault(node.group_id, []).append(node.id)
        self._groups = list(by_group.values())
        # Alone there is nothing to count. Before the first node has started there is its number.
        self._counts = nodes.count_assigned(conn) if len(found) > 1 else {}
        if not found:
            self._groups = [[FIRST_NODE]]

    def next(self) -> int:
        """Return the set of one more person; 0: none."""
        node = assign(self._counts, self._groups, self._mode)
        self._counts[node] = self._counts.get(node, 0) + 1
        return node


def place(conn: Connection, mode: str) -> int:
    """Return the set of a single new person."""
    return Placing(conn, mode).next()
