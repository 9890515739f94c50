"""The raw test client against a server: login in every way, chat, acknowledgements, resumption."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.harness.client import Client, SaslFailedError, log_in
from tests.node import Node

People = Callable[[int], list[str]]


@pytest.mark.parametrize("tls", ["starttls", "direct"])
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
async def test_login(shared_node: Node, people: People, tls: str, mechanism: str) -> None:
    (alice,) = people(1)
    client = await Client(shared_node.place, alice).login(tls, mechanism)
    assert client.jid == f"{alice}@example.org/test"
    assert await client.is_served()
    await client.close()


async def test_wrong_password(shared_node: Node, people: People) -> None:
    (alice,) = people(1)
    client = Client(shared_node.place, alice, "wrong")
    await client.connect()
    with pytest.raises(SaslFailedError, match="not-authorized"):
        await client.authenticate()
    client.abort()


async def test_resumption_sends_again_what_was_not_acknowledged(shared_node: Node, people: People) -> None:
    alice, bob = await log_in(shared_node.place, *people(2))
    await alice.enable()
    alice.send(f"<message to='{bob.jid}' type='chat'><body>one</body></message>")
    alice.request()
    await bob.expect_message("one")
    alice.abort()
    # The connection is gone: this one can only arrive through the resumption.
    alice.send(f"<message to='{bob.jid}' type='chat'><body>two</body></message>")
    again = Client(shared_node.place, alice.user)
    await again.connect()
    await again.authenticate()
    assert (await again.resume(alice.ledger)).name == "resumed"
    await bob.expect_message("two")
    bob.send(f"<message to='{alice.jid}' type='chat'><body>three</body></message>")
    await again.expect_message("three")
    for client in (again, bob):
        await client.close()


async def test_resumption_brings_what_came_meanwhile(shared_node: Node, people: People) -> None:
    alice, bob = await log_in(shared_node.place, *people(2))
    await alice.enable()
    alice.abort()
    await alice.wire.lost()
    bob.send(f"<message to='{alice.jid}' type='chat'><body>meanwhile</body></message>")
    assert await bob.is_served()
    again = Client(shared_node.place, alice.user)
    await again.connect()
    await again.authenticate()
    assert (await again.resume(alice.ledger)).name == "resumed"
    await again.expect_message("meanwhile")
    for client in (again, bob):
        await client.close()
