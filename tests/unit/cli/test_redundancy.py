"""The commands of redundancy, and the familiar counters, against one served node."""

import pytest

from tests.unit.admin.small_node import SmallNode
from tests.unit.cli.conftest import Run
from ubiety.store import nodes


@pytest.fixture
async def pair(node: SmallNode) -> SmallNode:
    """The node, registered with another one that does not run."""
    await node.database.write(nodes.register, node.config.node, "1.0", "a", 1.0, group="pair")
    await node.database.write(nodes.register, "south", "1.0", "b", 2.0, group="pair")
    await node.database.write(nodes.register, "west", "1.0", "c", 3.0)
    await node.topology.refresh(node.database)
    return node


async def test_status_has_the_familiar_shape(pair: SmallNode, ubiety: Run) -> None:
    done = await ubiety("utils", "ha", "status", "pair")
    assert done.code == 0
    assert done.out.splitlines() == [
        "Subcluster Name: pair",
        f"Node 1 Name : {pair.config.node} State: Unknown Reason: High Availability Not Enabled",
        "Node 2 Name : south State: Unknown Reason: High Availability Not Enabled",
    ]
    assert "No answer from: south, west." in done.err
    assert "There is no presence redundancy group east" in (await ubiety("utils", "ha", "status", "east")).err


async def test_groups_with_and_without_high_availability_are_warned_of(pair: SmallNode, ubiety: Run) -> None:
    group = pair.topology.value.group_named("pair")
    assert group is not None
    await pair.database.write(nodes.set_ha, group.id, True)
    await pair.topology.refresh(pair.database)
    done = await ubiety("prg", "list")
    assert "people of west are without service" in done.err
    assert "Active sessions of the group: 0" in (await ubiety("prg", "show", "pair")).out
    dead = await ubiety("utils", "ha", "status", "pair")
    assert "Node 2 Name : south State: Unknown Reason: Peer Down" in dead.out


async def test_high_availability_is_not_turned_on_without_its_preconditions(
    pair: SmallNode, ubiety: Run
) -> None:
    assert "needs two nodes; west has 1" in (await ubiety("prg", "enable-ha", "west")).err
    done = await ubiety("prg", "enable-ha", "pair")
    assert done.code == 1
    assert "Recovery Manager does not run" in done.err


async def test_a_group_is_made_and_taken_apart(pair: SmallNode, ubiety: Run) -> None:
    done = await ubiety("prg", "add", "late", "south", "west", "--description", "both sites")
    assert done.code == 0
    assert "late (both sites)" in (await ubiety("prg", "show", "late")).out
    assert (await ubiety("prg", "remove", "late")).out == "Each has a group of its own now: south, west.\n"
    assert "every node belongs to a group" in (await ubiety("prg", "remove", "west")).err


@pytest.mark.parametrize(
    "words",
    [
        ("Cisco", "Presence", "Engine", "Active", "JsmSessions"),
        ("Cisco Presence Engine", "ActiveJsmSessions"),
        ("ActiveJsmSessions",),
    ],
)
async def test_counters_have_their_familiar_names(pair: SmallNode, ubiety: Run, words: tuple[str]) -> None:
    pair.metrics.counters.active_sessions = 40
    done = await ubiety("show", "perf", "query", "counter", *words)
    assert done.code == 0
    assert done.out.splitlines() == [
        f"Node: {pair.config.node}",
        "- Perf class (Cisco Presence Engine) counter is:",
        "    -> ActiveJsmSessions = 40",
    ]
    assert "There is no counter" in (await ubiety("show", "perf", "query", "counter", "Nothing")).err
