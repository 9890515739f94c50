"""Operations on the nodes of the cluster."""

from typing import Any

from pydantic import Field
from sqlalchemy import Connection

from ubiety.admin.context import Node
from ubiety.admin.naming import node_named
from ubiety.admin.operation import Arguments, Line, Nothing, Operation, Result
from ubiety.admin.problems import CONFLICT, Problem
from ubiety.admin.rbac import Caller
from ubiety.cluster.moving import Move
from ubiety.cluster.topology import Node as ClusterNode
from ubiety.directory.assignment import MODE, NONE
from ubiety.directory.placing import Placing
from ubiety.store import epochs, nodes, users
from ubiety.store.errors import Conflict

AT_ONCE = 200
"""People who are moved by one transaction when a node is removed."""


class NodeView(Result):
    """A node of the cluster."""

    id: int
    name: str
    group: str
    is_publisher: bool
    is_up: bool = Field(description="Whether this node hears of it.")
    state: str
    reason: str
    state_since: float
    people: int = Field(description="How many are assigned to it.")
    sessions: int | None = Field(description="How many it serves now; null when it does not answer.")
    draining: bool
    address: str
    ports: dict[str, int]
    release: str
    started: float


class NodeDetails(NodeView):
    """A node with its surroundings."""

    backup: str = Field(description="The other node of its group; empty: none.")
    ha_enabled: bool


class Nodes(Result):
    """All nodes."""

    nodes: list[NodeView]


class NamedNode(Arguments):
    """Names a node."""

    name: Line = Field(min_length=1, description="Name of the node.")


class RemoveNode(NamedNode):
    """Which node to remove."""

    move_people: bool = Field(False, description="Assign its people to the other nodes first.")


class Removed(Result):
    """What was removed."""

    name: str
    people_moved: int


async def list_nodes(node: Node, caller: Caller, arguments: Nothing) -> Nodes:
    """Lists the nodes of the cluster."""
    people = await node.database.read(nodes.count_assigned)
    totals = await node.sessions.totals()
    views = [_view(node, one, people.get(one.id, 0), totals.get(one.id)) for one in node.topology.value.nodes]
    return Nodes(nodes=[NodeView(**view) for view in views])


async def show(node: Node, caller: Caller, arguments: NamedNode) -> NodeDetails:
    """Shows a node."""
    found = node_named(node, arguments.name)
    people = await node.database.read(nodes.count_assigned)
    totals = await node.sessions.totals()
    backup = node.topology.value.backup_of(found.id)
    group = node.topology.value.group_of(found.id)
    return NodeDetails(
        **_view(node, found, people.get(found.id, 0), totals.get(found.id)),
        backup=backup.name if backup is not None else "",
        ha_enabled=group is not None and group.ha_enabled,
    )


async def make_publisher(node: Node, caller: Caller, arguments: NamedNode) -> NodeDetails:
    """Makes a node the publisher instead of the one that is it, whether that runs or not."""
    found = node_named(node, arguments.name)
    if not _is_up(node, found):
        raise Problem(CONFLICT, f"The node {found.name} does not answer.", "Start it, or name another one.")
    await node.database.write(nodes.set_publisher, found.id)
    await node.topology.refresh(node.database)
    return await show(node, caller, arguments)


async def remove(node: Node, caller: Caller, arguments: RemoveNode) -> Removed:
    """Removes a node that has been stopped for good."""
    found = node_named(node, arguments.name)
    if _is_up(node, found):
        raise Problem(CONFLICT, f"The node {found.name} is running.", "Stop it first.")
    if found.is_publisher:
        raise Problem(
            CONFLICT,
            f"{found.name} is the publisher and cannot be removed.",
            "Make another node the publisher first: ubiety node make-publisher NAME",
        )
    moved = await _move_people(node, found) if arguments.move_people else 0
    try:
        await node.database.write(nodes.remove, found.id)
    except Conflict as error:
        cure = f"Have them assigned to others: ubiety node remove {found.name} --move-people"
        raise Problem(CONFLICT, f"{found.name} cannot be removed: {error}.", cure) from error
    await node.topology.refresh(node.database)
    return Removed(name=found.name, people_moved=moved)


async def _move_people(node: Node, gone: ClusterNode) -> int:
    """Assigns the people of a node that is gone, whom nobody serves, to others."""
    mode = node.settings.get(MODE)
    if mode == NONE:
        raise Problem(CONFLICT, "The assignment mode is none: assign its people by hand first.")
    served_by = node.homes.serving.get(gone.id)
    if served_by == gone.id and gone.id not in node.homes.lapsed:
        raise Problem(
            CONFLICT,
            f"{gone.name} renews its lease in the database: it runs, though it is not heard of.",
            "Stop it first, or wait some seconds if that was just done.",
        )
    if gone.id in node.homes.here or served_by not in (None, gone.id):
        raise Problem(
            CONFLICT,
            f"The people of {gone.name} are served by the other node of its group.",
            f"Have them moved at a pace first: ubiety assignment rebalance --without {gone.name}",
        )
    moves = await node.database.read(_plan, gone.id, mode)
    # Whatever that node may still believe: from now on nothing that it writes is taken.
    await node.database.write(epochs.next_epoch, gone.id, "")
    moved = 0
    for start in range(0, len(moves), AT_ONCE):
        part = moves[start : start + AT_ONCE]
        moved += await node.database.write(_assign, part)
        await node.moving.take_over(part)
    return moved


def _plan(conn: Connection, gone: int, mode: str) -> list[Move]:
    placing = Placing(conn, mode, without=gone)
    return [Move(user_id, gone, placing.next()) for user_id in users.ids_by_set(conn).get(gone, [])]


def _assign(conn: Connection, moves: list[Move]) -> int:
    return sum(users.assign(conn, *move) for move in moves)


def _is_up(node: Node, found: ClusterNode) -> bool:
    return found.id == node.homes.node_id or (node.links is not None and node.links.is_up(found.id))


def _view(node: Node, found: ClusterNode, people: int, sessions: int | None) -> dict[str, Any]:
    group = node.topology.value.group_of(found.id)
    return {
        "id": found.id,
        "name": found.name,
        "group": group.name if group is not None else "",
        "is_publisher": found.is_publisher,
        "is_up": _is_up(node, found),
        "state": found.state,
        "reason": found.reason,
        "state_since": found.state_since,
        "people": people,
        "sessions": sessions,
        "draining": found.draining,
        "address": found.address,
        "ports": dict(found.ports),
        "release": found.release,
        "started": found.started,
    }


READ, WRITE = "system.read", "system.write"
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation("node.list", "Lists the nodes of the cluster.", Nothing, Nodes, READ, False, list_nodes),
    Operation("node.show", "Shows a node of the cluster.", NamedNode, NodeDetails, READ, False, show),
    Operation(
        "node.make-publisher",
        "Makes a node the publisher instead of the one that is it.",
        NamedNode,
        NodeDetails,
        WRITE,
        True,
        make_publisher,
    ),
    Operation(
        "node.remove",
        "Removes a node that has been stopped for good.",
        RemoveNode,
        Removed,
        WRITE,
        True,
        remove,
    ),
)
