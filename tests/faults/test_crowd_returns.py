"""Everybody comes back at the same moment: all are accepted, each is served in turn, none is refused."""

from __future__ import annotations

import asyncio
import time
from statistics import median

import pytest

from tests.harness.client import Client
from tests.node import Node, NodeFactory

DEVICES = 20
PATIENCE = 100.0


@pytest.mark.alone
async def test_two_thousand_clients_return_at_once(start_node: NodeFactory) -> None:
    """As fast as this machine can, with the settings as they come."""
    await return_at_once(start_node(), 2000)


async def test_time_in_line_is_not_taken_from_the_time_to_sign_in(start_node: NodeFactory) -> None:
    """At so slow a pace that the last ones wait in line for longer than they then have to sign in."""
    node = start_node()
    node.set_setting("c2s.accept_rate", "15")
    node.set_setting("c2s.negotiation_seconds", "5")
    assert await return_at_once(node, 160) > 9


async def return_at_once(node: Node, count: int) -> float:
    """Have so many clients sign in at the same moment; return how long the last one took."""
    users = [f"u{number}" for number in range(count // DEVICES)]
    node.add_users(*users)
    waits: list[float] = []
    clients: list[Client] = []

    async def come(number: int) -> None:
        client = Client(node.place, users[number // DEVICES], resource=f"d{number % DEVICES}")
        client.source = f"127.0.{20 + number % 12}.1"
        clients.append(client)
        began = time.monotonic()
        await client.connect("direct")
        await client.authenticate("PLAIN")  # it is the server that hashes
        await client.bind()
        waits.append(time.monotonic() - began)

    began = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(come(number) for number in range(count)))
    seconds = time.monotonic() - began
    print(
        f"{len(waits)} clients back in {seconds:.1f} s ({len(waits) / seconds:.0f} a second), "
        f"median {median(waits):.1f} s, longest {max(waits):.1f} s"
    )
    assert len(waits) == count
    for client in clients:
        client.abort()
    return max(waits)
