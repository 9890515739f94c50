"""Look-ups in the topology."""

from pathlib import Path

from tests.databases import open_in
from ubiety.cluster.topology import Group, Node, Topology, load
from ubiety.store import nodes

EAST = Group(1, "east", ha_enabled=True, nodes=(Node(1, "alpha", 1, is_publisher=True), Node(3, "gamma", 1)))
WEST = Group(2, "west", nodes=(Node(2, "beta", 2, ports=(("c2s", 5222),)),))
SOUTH = Group(4, "south", nodes=(Node(4, "delta", 4), Node(5, "epsilon", 4)))
TOPOLOGY = Topology((EAST, WEST, SOUTH))


def test_nodes_are_found_by_id_and_name() -> None:
    assert [node.name for node in TOPOLOGY.nodes] == ["alpha", "beta", "gamma", "delta", "epsilon"]
    assert TOPOLOGY.node(3) == TOPOLOGY.named("gamma") == EAST.nodes[1]
    assert TOPOLOGY.node(9) is None
    assert TOPOLOGY.named("omega") is None
    assert TOPOLOGY.publisher == EAST.nodes[0]
    assert TOPOLOGY.others(2) == (1, 3, 4, 5)
    assert (TOPOLOGY.name_of(2), TOPOLOGY.name_of(9)) == ("beta", "node 9")
    assert (WEST.nodes[0].port("c2s"), WEST.nodes[0].port("api")) == (5222, 0)


def test_groups_and_backups() -> None:
    assert TOPOLOGY.group_of(3) == EAST == TOPOLOGY.group_named("east") == TOPOLOGY.group(1)
    assert TOPOLOGY.members(2) == WEST.nodes
    assert TOPOLOGY.members(7) == ()
    assert TOPOLOGY.backup_of(1) == EAST.nodes[1]
    assert TOPOLOGY.backup_of(2) is None
    assert TOPOLOGY.backup_of(7) is None
    assert (EAST.is_pair, WEST.is_pair) == (True, False)


def test_only_with_high_availability_the_other_node_may_serve() -> None:
    assert TOPOLOGY.entitled(1) == (1, 3)
    assert TOPOLOGY.entitled(3) == (3, 1)
    assert TOPOLOGY.entitled(2) == (2,)
    assert TOPOLOGY.entitled(4) == (4,)
    assert TOPOLOGY.entitled(0) == ()


def test_it_is_loaded_from_the_database(tmp_path: Path) -> None:
    database = open_in(tmp_path)
    assert database.read_now(load) == Topology()
    for name in ("beta", "alpha"):
        database.write_now(nodes.register, name, "1.0", "b", 5.0, ports={"c2s": 1}, address=f"{name}.test")
    database.write_now(nodes.add_group, "pair", "Two", [2, 1])
    found = database.read_now(load)
    database.close()
    assert [(group.name, group.description, group.ha_enabled) for group in found.groups] == [
        ("pair", "Two", False)
    ]
    assert [node.name for node in found.groups[0].nodes] == ["beta", "alpha"]
    assert found.nodes[0] == Node(
        1, "beta", found.groups[0].id, True, "beta.test", (("c2s", 1),), release="1.0", boot="b", started=5.0
    )
