"""`ubiety node drain` on a real node."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness.client import Client, log_in
from tests.harness.wire import ConnectionGoneError
from tests.node import NodeFactory


async def test_drained_node_closes_its_clients_and_takes_nobody(start_node: NodeFactory) -> None:
    node = start_node()
    users = [f"u{number}" for number in range(8)]
    node.add_users(*users)
    clients = await log_in(node.place, *users)
    said = await asyncio.to_thread(node.command, "node", "drain", "--rate", "20")
    assert "drained, 0 clients left" in said
    for client in clients:
        assert (await client.wire.expect_tag("error")).condition() == "system-shutdown"
    with pytest.raises((ConnectionGoneError, OSError)):
        await Client(node.place, "u1").login()
    said = await asyncio.to_thread(node.command, "node", "drain", "--cancel")
    assert "takes clients again" in said
    (again,) = await log_in(node.place, "u1")
    assert await again.is_served()
    await again.close()
