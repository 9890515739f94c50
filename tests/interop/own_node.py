"""Clients of a node of the module's own, whose settings and people the tests change by commands."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from tests.harness.client import Client
from tests.harness.tags import Tag
from tests.harness.wire import ConnectionGoneError
from tests.node import Node, NodeFactory

_pings = itertools.count(1)


class Clients:
    """Logs people of one node in and ends their connections with the test."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.made: list[Client] = []
        self._changed: list[str] = []

    def set(self, name: str, value: str) -> None:
        """Change a setting until the end of the test."""
        self.node.set_setting(name, value)
        self._changed.append(name)

    def ask(self, *arguments: str) -> Any:
        """Run a command with --json; return what it prints."""
        return json.loads(self.node.command(*arguments, "--json"))

    async def client(
        self, user: str, resource: str = "desk", presence: str = "<presence/>", domain: str = ""
    ) -> Client:
        """Return one more client of somebody, signed in and available."""
        place = replace(self.node.place, domain=domain) if domain else self.node.place
        made = Client(place, user, resource=resource)
        self.made.append(made)
        await made.login("direct")
        if presence:
            made.send(presence)
        await settled(made)
        return made

    async def online(self, count: int) -> list[Client]:
        """Return that many people, fresh ones, with one client each."""
        return [await self.client(user) for user in self.node.take_users(count)]

    async def friends(self) -> list[Client]:
        """Return two people who see each other; nothing of it waits in their inboxes."""
        one, other = await self.online(2)
        for asking, asked in ((one, other), (other, one)):
            asking.send(f"<presence to='{asked.bare}' type='subscribe'/>")
            await saw(asking, asked, None)
        await all_settled(one, other)
        return [one, other]

    async def close(self) -> None:
        """End all connections and take the settings back."""
        for client in self.made:
            with suppress(ConnectionGoneError, AssertionError):
                await client.close()
        for name in self._changed:
            self.node.command("setting", "reset", name)


@pytest.fixture(scope="module")
def own_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that the tests of one module may change; who signs in is authorised by default."""
    factory = NodeFactory(tmp_path_factory.mktemp("own"))
    yield factory()
    factory.close()


@pytest.fixture
async def clients(own_node: Node) -> AsyncIterator[Clients]:
    """Clients of that node."""
    made = Clients(own_node)
    yield made
    await made.close()


async def settled(client: Client) -> None:
    """Wait until the server has handled what the client sent, and the client has what it got by then."""
    number = f"settle{next(_pings)}"
    client.send(f"<iq type='get' id='{number}'><ping xmlns='urn:xmpp:ping'/></iq>")
    await client.expect(lambda tag: tag.name == "iq" and tag.get("id") == number)


async def all_settled(*clients: Client) -> None:
    """Wait for all, twice: what one sent reaches the other; forget what they got."""
    for client in (*clients, *clients):
        await settled(client)
    for client in clients:
        client.wire.inbox.clear()


def is_presence(sender: Client, kind: str | None) -> Callable[[Tag], bool]:
    """Match presence of that type (None: available) from one client."""
    return lambda tag: tag.name == "presence" and tag.get("from") == sender.jid and tag.get("type") == kind


async def saw(watcher: Client, seen: Client, kind: str | None, seconds: float = 10.0) -> Tag:
    """Wait until `watcher` gets presence of that type (None: available) from `seen`."""
    return await watcher.expect(is_presence(seen, kind), seconds)


async def received(client: Client, name: str = "presence") -> list[Tag]:
    """Take all presence (or messages) that the client has got by now."""
    await settled(client)
    found = [item for item in client.wire.inbox if isinstance(item, Tag) and item.name == name]
    for item in found:
        client.wire.inbox.remove(item)
    return found


async def bodies(client: Client) -> list[str]:
    """Take all messages that the client has got by now; return their bodies."""
    return [body for tag in await received(client, "message") if (body := tag.body()) is not None]


def write(sender: Client, to: str, body: str) -> None:
    """Send a chat message; its id is its body."""
    sender.send(f"<message to='{to}' type='chat' id='{body}'><body>{body}</body></message>")


async def refusal(sender: Client, number: str) -> str | None:
    """Wait for the error that answers a message; return its condition."""
    tag = await sender.expect(
        lambda tag: tag.name == "message" and tag.get("type") == "error" and tag.get("id") == number
    )
    return tag.condition()
