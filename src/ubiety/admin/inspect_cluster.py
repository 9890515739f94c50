"""Checks of the cluster: its nodes, and to whom people are assigned."""

from collections.abc import Iterator, Mapping

from ubiety.admin.context import Node
from ubiety.admin.finding import FAILED, PASSED, WARNING, Finding
from ubiety.cluster.serving import without_service
from ubiety.directory.assignment import NOBODY
from ubiety.store import nodes
from ubiety.store.errors import StoreError


async def inspect_cluster(node: Node) -> list[Finding]:
    """Whether bus and nodes answer, all are of one release, everybody has a node; nothing for one node."""
    try:
        people = await node.database.read(nodes.count_assigned)
    except StoreError:
        return list(inspect_bus(node))  # another check says so
    found = [*inspect_bus(node), *inspect_assignment(node, people)]
    if len(node.topology.value.nodes) > 1:
        found += inspect_nodes(node)
    return found


def inspect_bus(node: Node) -> Iterator[Finding]:
    """Whether the bus between the nodes can be used."""
    if node.links is None:
        return
    if not node.bus_problem:
        yield Finding("bus", PASSED, "The bus between the nodes is connected.")
        return
    cure = "See that nats-server runs and that [bus] in ubiety.toml has its address, password and authority."
    yield Finding("bus", FAILED, node.bus_problem, cure)


def inspect_assignment(node: Node, people: Mapping[int, int]) -> Iterator[Finding]:
    """Whether everybody is assigned to a node that exists; ``people``: set -> how many."""
    topology = node.topology.value
    known = {one.id for one in topology.nodes}
    if not known:
        return
    lost = sum(count for set_id, count in people.items() if set_id != NOBODY and set_id not in known)
    if lost:
        yield Finding(
            "assignment",
            FAILED,
            f"{lost} people are assigned to a node that does not exist and cannot sign in.",
            "Run: ubiety assignment rebalance",
        )
    elif nobody := people.get(NOBODY, 0):
        yield Finding(
            "assignment",
            WARNING,
            f"{nobody} people are assigned to no node and cannot sign in.",
            "Run: ubiety assignment rebalance, or assign them: ubiety assignment set USER NODE",
        )
    elif len(known) > 1:
        yield Finding("assignment", PASSED, "Everybody is assigned to a node.")


def inspect_service(node: Node) -> Iterator[Finding]:
    """Whether somebody serves the people of each node."""
    known = node.topology.value
    unserved = (without_service(node.homes, node.links, known, one.id) for one in known.nodes)
    lines = tuple(filter(None, unserved))
    if lines:
        yield Finding(
            "service",
            FAILED,
            "Nobody serves some of the people.",
            "Start their node; see ubiety utils ha status. One that is gone for good:"
            " ubiety node remove NAME --move-people",
            lines,
        )


def inspect_nodes(node: Node) -> Iterator[Finding]:
    """Whether the other nodes answer and are of the same release."""
    others = [one for one in node.topology.value.nodes if one.id != node.homes.node_id]
    away = [one.name for one in others if node.links is None or not node.links.is_up(one.id)]
    if away:
        words = ", ".join(away)
        cure = "Start it, or see its log. One that is gone for good: ubiety node remove NAME --move-people"
        yield Finding("nodes", WARNING, f"Not heard of: {words}.", cure)
    else:
        yield Finding("nodes", PASSED, f"All {len(others) + 1} nodes answer.")
    yield from inspect_service(node)
    releases = {one.release for one in node.topology.value.nodes}
    if len(releases) > 1:
        lines = tuple(f"{one.name}: {one.release}" for one in node.topology.value.nodes)
        cure = "Bring all nodes to the same release, one after the other."
        yield Finding("releases", WARNING, "The nodes are of different releases.", cure, lines)
