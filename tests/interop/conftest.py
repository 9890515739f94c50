"""Fixtures of the interop tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.interop.slix import SlixClient, befriend
from tests.node import Node

Online = Callable[..., Awaitable[list[SlixClient]]]


class Clients:
    """Makes slixmpp clients of the shared node and ends them with the test."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.made: list[SlixClient] = []

    def client(self, user: str, *plugins: str, **options: object) -> SlixClient:
        """Return a client that has not connected yet."""
        made = SlixClient(self.node.place, user, *plugins, **options)  # type: ignore[arg-type]
        self.made.append(made)
        return made

    def users(self, count: int) -> list[str]:
        """Return names of fresh accounts."""
        return self.node.take_users(count)

    async def online(self, count: int, *plugins: str) -> list[SlixClient]:
        """Return `count` people, each with one client online."""
        return [await self.client(user, *plugins).start() for user in self.users(count)]

    async def friends(self, *plugins: str) -> list[SlixClient]:
        """Return two people online who are in each other's roster with subscription both."""
        alice, bob = await self.online(2, *plugins)
        await befriend(alice, bob)
        return [alice, bob]

    async def close(self) -> None:
        """End every connection."""
        for made in self.made:
            if made.transport is not None:
                await made.disconnect(wait=1.0)
            made.cancel_connection_attempt()


@pytest.fixture
async def slix(shared_node: Node) -> AsyncIterator[Clients]:
    """slixmpp clients of the shared node."""
    clients = Clients(shared_node)
    yield clients
    await clients.close()
