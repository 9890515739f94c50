"""The nodes of the cluster and their groups, as one immutable value that is replaced when it changes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection

from ubiety.store import nodes
from ubiety.store.database import Database
from ubiety.store.nodes import MAX_GROUP_NODES, GroupRow, NodeRow


@dataclass(frozen=True, slots=True)
class Node:
    """One node; its id is also the id of the set of people assigned to it."""

    id: int
    name: str
    group_id: int
    is_publisher: bool = False
    address: str = ""
    """Public host name or address that clients may be sent to; empty: none is known."""
    ports: tuple[tuple[str, int], ...] = ()
    state: str = "Unknown"
    reason: str = "Unknown"
    state_since: float = 0.0
    release: str = ""
    boot: str = ""
    started: float = 0.0
    draining: bool = False

    def port(self, name: str) -> int:
        """Return the port of a listener (``c2s``, ``c2s_tls``, ``api``), 0 when it has none."""
        return dict(self.ports).get(name, 0)


@dataclass(frozen=True, slots=True)
class Group:
    """One presence redundancy group with its one or two nodes, the one with the smaller id first."""

    id: int
    name: str
    description: str = ""
    ha_enabled: bool = False
    nodes: tuple[Node, ...] = ()

    @property
    def is_pair(self) -> bool:
        """Whether each of its nodes has another one."""
        return len(self.nodes) == MAX_GROUP_NODES


@dataclass(frozen=True)
class Topology:
    """All groups with their nodes."""

    groups: tuple[Group, ...] = ()
    _nodes: dict[int, Node] = field(init=False, repr=False, compare=False)
    _groups: dict[int, Group] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found = {node.id: node for group in self.groups for node in group.nodes}
        object.__setattr__(self, "_nodes", dict(sorted(found.items())))
        object.__setattr__(self, "_groups", {node.id: group for group in self.groups for node in group.nodes})

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes by id."""
        return tuple(self._nodes.values())

    @property
    def publisher(self) -> Node | None:
        """The node that does what only one node does."""
        return next((node for node in self._nodes.values() if node.is_publisher), None)

    def node(self, node_id: int) -> Node | None:
        """Return a node by its id."""
        return self._nodes.get(node_id)

    def named(self, name: str) -> Node | None:
        """Return a node by its name."""
        return next((node for node in self._nodes.values() if node.name == name), None)

    def name_of(self, node_id: int) -> str:
        """Return a node's name for what people read, also of one that is not known any more."""
        node = self._nodes.get(node_id)
        return node.name if node is not None else f"node {node_id}"

    def group(self, group_id: int) -> Group | None:
        """Return a group by its id."""
        return next((group for group in self.groups if group.id == group_id), None)

    def group_named(self, name: str) -> Group | None:
        """Return a group by its name."""
        return next((group for group in self.groups if group.name == name), None)

    def group_of(self, node_id: int) -> Group | None:
        """Return the group of a node."""
        return self._groups.get(node_id)

    def members(self, group_id: int) -> tuple[Node, ...]:
        """Return the nodes of a group."""
        group = self.group(group_id)
        return group.nodes if group is not None else ()

    def backup_of(self, node_id: int) -> Node | None:
        """Return the other node of a node's group, whether high availability is on or not."""
        group = self._groups.get(node_id)
        others = [node for node in group.nodes if node.id != node_id] if group is not None else []
        return others[0] if others else None

    def entitled(self, set_id: int) -> tuple[int, ...]:
        """Return the nodes that may serve a set, its own first (design.md "Who serves, when things fail")."""
        if set_id not in self._nodes:
            return ()
        backup = self.backup_of(set_id) if self._groups[set_id].ha_enabled else None
        return (set_id, backup.id) if backup is not None else (set_id,)

    def others(self, node_id: int) -> tuple[int, ...]:
        """Return the ids of all nodes but one."""
        return tuple(other for other in self._nodes if other != node_id)


def compose(groups: Iterable[GroupRow], rows: Iterable[NodeRow]) -> Topology:
    """Make the topology of rows."""
    by_group: dict[int, list[Node]] = {}
    for row in rows:
        node = Node(**row._replace(ports={})._asdict() | {"ports": tuple(sorted(row.ports.items()))})
        by_group.setdefault(node.group_id, []).append(node)
    return Topology(
        tuple(
            Group(*group, tuple(sorted(by_group.get(group.id, ()), key=lambda node: node.id)))
            for group in groups
        )
    )


def load(conn: Connection) -> Topology:
    """Read the topology.

    Groups are read before and after the nodes, which move from one to another: a node is never in none.
    """
    while True:
        groups = nodes.list_groups(conn)
        rows = nodes.list_all(conn)
        if {row.group_id for row in rows} <= {group.id for group in groups}:
            return compose(groups, rows)


class TopologyCopy:
    """The topology as this node knows it; whoever keeps to it is told when it changes."""

    def __init__(self) -> None:
        self.value = Topology()
        self._watchers: list[Callable[[Topology], None]] = []

    def watch(self, notice: Callable[[Topology], None]) -> None:
        """Have ``notice(topology)`` called in the loop after each change."""
        self._watchers.append(notice)

    async def refresh(self, database: Database) -> None:
        """Read it again. Raises StoreError."""
        found = await database.read(load)
        if found != self.value:
            self.value = found
            for notice in list(self._watchers):
                notice(found)
