"""A node name on one database is one process; when that one is killed another one waits for its lease."""

from __future__ import annotations

import time

import pytest

from tests.node import NodeError, NodeFactory
from ubiety.cluster.tenure import LEASE


def test_serving_twice_is_refused(start_node: NodeFactory, postgres_url: str) -> None:
    first = start_node(postgres_url)
    with pytest.raises(NodeError) as refused:
        start_node(postgres_url)
    assert "Another process serves as the node node1 on this database" in str(refused.value)
    assert "UBIETY_NODE" in str(refused.value)
    first.add_users("ann")  # the first one goes on
    begun = time.monotonic()
    first.stop()
    first.restart()
    stopped = time.monotonic() - begun
    begun = time.monotonic()
    first.kill()
    first.restart()
    killed = time.monotonic() - begun
    print(f"back after a stop in {stopped:.1f} s, after a kill in {killed:.1f} s")
    assert killed < stopped + LEASE + 2
