"""Two node processes on PostgreSQL and NATS: fail-over, fall-back, recovery as an administrator sees them."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.cluster.pair import running_pair
from tests.node import Node, NodeError
from tests.postgres import Postgres

BACKUP = "Running in Backup Mode"
ADMIN = "On Admin Request"
INIT = "Initialization"
SERVICE = "Critical Service Down"
UNWELL = "Failed Over with Critical Services not Running"
ENGINE = "Cisco Presence Engine"


class Pair:
    """Both nodes, and what `ubiety utils ha status` says of them."""

    def __init__(self, one: Node, two: Node) -> None:
        self.one = one
        self.two = two

    def until(self, one: str, two: str, seconds: float = 30.0) -> float:
        """Wait until the status shows these states and reasons; return how long that took."""
        begun = time.monotonic()
        wanted = ["Subcluster Name: pair", f"Node 1 Name : node1 {one}", f"Node 2 Name : node2 {two}"]
        while True:
            said = self.two.command("utils", "ha", "status", "pair").splitlines()
            if said == wanted:
                return time.monotonic() - begun
            assert time.monotonic() - begun < seconds, said
            time.sleep(0.2)


def restart_idle(node: Node) -> None:
    """Start a node whose services stay stopped: `listens` says whether they did."""
    with pytest.raises(NodeError, match="does not listen"):
        node.start(seconds=0.5)


def listens(node: Node) -> bool:
    """Whether a node takes connections of clients."""
    ports = json.loads((node.data / "run" / "ports.json").read_text("utf-8"))
    with socket.socket() as probe:
        return probe.connect_ex((node.host, ports["c2s"])) == 0


def state(name: str, reason: str = "") -> str:
    """As the status shows it."""
    return f"State: {name}" + (f" Reason: {reason}" if reason else "")


NORMAL = state("Normal")


@pytest.fixture(scope="module")
def nodes(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two nodes that are a pair with high availability; each has one person."""
    with running_pair(postgres, tmp_path_factory.mktemp("pair")) as (one, two):
        one.add_users("ann", "bob")
        with pytest.raises(NodeError, match="needs two nodes; node1 has 1"):
            one.command("prg", "enable-ha", "node1")
        one.command("prg", "add", "pair", "node1", "node2")
        one.set_setting("ha.critical_service_delay", "2")
        assert "High availability of pair is on; every node has applied it." in two.command(
            "prg", "enable-ha", "pair"
        )
        made = Pair(one, two)
        made.until(NORMAL, NORMAL, seconds=1)
        yield made


@pytest.fixture
def pair(nodes: Pair) -> Pair:
    """The pair, ready for faults."""
    nodes.until(NORMAL, NORMAL)
    return nodes


@pytest.mark.timeout(180)
def test_by_hand_and_through_restarts(pair: Pair) -> None:
    one, two = pair.one, pair.two
    lines = two.command("utils", "ha", "failover", "node1").splitlines()
    assert lines[:3] == [
        "Initiate Manual Failover for Node > node1",
        "Request SUCCESSFUL.",
        "Subcluster Name: pair",
    ]
    pair.until(state("Idle", ADMIN), state(BACKUP, ADMIN))
    assert "Active sessions of the group: 2" in one.command("prg", "show", "pair")
    one.kill()
    restart_idle(one)
    pair.until(state("Idle", INIT), state(BACKUP, ADMIN))
    assert not listens(one)
    one.stop()
    two.stop()
    restart_idle(one)
    two.start()
    pair.until(state("Idle", INIT), state(BACKUP, INIT))
    assert not listens(one)
    assert listens(two)
    with pytest.raises(NodeError, match="it is node1 whose people fall back"):
        one.command("utils", "ha", "fallback", "node2")
    one.command("utils", "ha", "fallback", "node1")
    pair.until(NORMAL, NORMAL)
    with pytest.raises(NodeError, match="starts from Idle or Failed Over"):
        one.command("utils", "ha", "fallback", "node1")
    said = two.command("prg", "disable-ha", "pair")
    assert "High availability of pair is off; every node has applied it." in said
    off = state("Unknown", "High Availability Not Enabled")
    pair.until(off, off, seconds=1)
    one.command("user", "delete", "bob", "--yes")
    said = two.command("prg", "enable-ha", "pair")
    one.kill()  # it is on: nobody needs to wait before he relies on it
    assert "1 were recorded when high availability was turned off" in said, said
    pair.until(state("Unknown", "Peer Down"), state(BACKUP, "Peer Down"))
    one.restart()
    pair.until(state("Failed Over", INIT), state(BACKUP, "Peer Down"))
    two.command("utils", "ha", "fallback", "node1")


@pytest.mark.timeout(180)
def test_by_themselves(pair: Pair) -> None:
    one, two = pair.one, pair.two
    one.kill()
    took = pair.until(state("Unknown", "Peer Down"), state(BACKUP, "Peer Down"))
    print(f"taken over {took:.1f} s after SIGKILL")
    assert took < 10  # the status waits 3 s for a node of which nothing was heard yet
    one.restart()
    pair.until(state("Failed Over", INIT), state(BACKUP, "Peer Down"))
    two.command("utils", "ha", "fallback", "node1")
    pair.until(NORMAL, NORMAL)

    one.stop()
    pair.until(state("Unknown", "Peer Down"), state(BACKUP, "Peer Reboot"))
    one.restart()
    pair.until(state("Failed Over", INIT), state(BACKUP, "Peer Reboot"))
    two.command("utils", "ha", "fallback", "node1")
    pair.until(NORMAL, NORMAL)

    one.command("utils", "service", "stop", ENGINE)
    pair.until(state(UNWELL, SERVICE), state(BACKUP, SERVICE))
    two.command("utils", "service", "stop", ENGINE)
    pair.until(state("Failed", SERVICE), state("Failed", SERVICE))
    said = one.command("utils", "ha", "recover", "pair")
    assert "Stopping services... Stopped\nStarting services... Started\n" in said
    pair.until(NORMAL, NORMAL)

    one.command("utils", "service", "stop", ENGINE)
    pair.until(state(UNWELL, SERVICE), state(BACKUP, SERVICE))
    one.command("utils", "service", "start", ENGINE)
    pair.until(state("Failed Over", SERVICE), state(BACKUP, SERVICE))
    two.command("utils", "service", "stop", ENGINE)
    reason = "Auto Recover Critical Service Down"
    pair.until(state("Backup Activated", reason), state("Failover Affected Services", reason))
