"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.harness.client import Client, log_in
from tests.node import Node


@pytest.fixture
async def witness(shared_node: Node) -> AsyncIterator[Client]:
    """An innocent client that must be served before, during and after a test, and so must a newcomer."""
    one, another = shared_node.take_users(2)
    (client,) = await log_in(shared_node.place, one)
    yield client
    assert await client.is_served(), "an innocent client is no longer served"
    (newcomer,) = await log_in(shared_node.place, another)
    newcomer.send(f"<message to='{client.jid}' type='chat'><body>still there?</body></message>")
    await client.expect_message("still there?")
    await newcomer.close()
    await client.close()


@pytest.fixture
async def culprit(shared_node: Node) -> AsyncIterator[Client]:
    """A client, logged in, that is about to misbehave."""
    (client,) = await log_in(shared_node.place, *shared_node.take_users(1))
    yield client
    client.abort()
