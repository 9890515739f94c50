"""A person with Profanity (Debian) and one with slixmpp, over TLS: chat, presence, offline messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.conftest import Clients
from tests.interop.profanity import Profanity
from tests.interop.requirements import need
from tests.interop.slix import befriend
from tests.node import Node


@pytest.fixture
def profanity(shared_node: Node, tmp_path: Path) -> Iterator[Callable[[str], Profanity]]:
    """A factory of Profanity clients that end with the test."""
    need("profanity", "tmux")
    made: list[Profanity] = []

    def make(user: str) -> Profanity:
        made.append(Profanity(tmp_path / user, shared_node.place, user))
        return made[-1]

    yield make
    for one in made:
        one.stop()


async def test_chat_and_presence(slix: Clients, profanity: Callable[[str], Profanity]) -> None:
    user, peer = slix.users(2)
    await make_friends(slix, user, peer)
    alice = profanity(user)
    await asyncio.to_thread(alice.start)
    bob = await slix.client(peer).start()
    await asyncio.to_thread(alice.until_line, peer, "is online")
    await bob.saw_presence("available", f"{user}@example.org")

    bob.send_presence(pshow="away", pstatus="lunch until one")
    await asyncio.to_thread(alice.until_line, peer, "is away", "lunch until one")
    alice.type("/status set dnd writing")
    seen = await bob.saw("presence_available", lambda stanza: stanza["show"] == "dnd")
    assert (seen["from"].bare, seen["status"]) == (f"{user}@example.org", "writing")

    alice.type(f"/msg {peer}@example.org hello from a terminal")
    got = await bob.saw_message("hello from a terminal")
    bob.send_message(got["from"], "hello back", mtype="chat")
    await asyncio.to_thread(alice.until_line, "hello back")

    await bob.disconnect()
    alice.type("/win 1")
    await asyncio.to_thread(alice.until_line, peer, "is offline")


async def test_offline_message_comes_at_login(slix: Clients, profanity: Callable[[str], Profanity]) -> None:
    user, absent = slix.users(2)
    bob = await slix.client(user).start()
    bob.send_message(f"{absent}@example.org", "read this tomorrow", mtype="chat")
    await bob.settle()
    alice = profanity(absent)
    await asyncio.to_thread(alice.start)
    await asyncio.to_thread(alice.until, f"{user}@example.org", user)
    alice.type("/win 2")
    await asyncio.to_thread(alice.until_line, "read this tomorrow")
    alice.type("got it")
    await bob.saw_message("got it")


async def make_friends(slix: Clients, *users: str) -> None:
    """Subscribe two people to each other and log them out again."""
    one, other = [await slix.client(user, resource="before").start() for user in users]
    await befriend(one, other)
    await one.disconnect()
    await other.disconnect()
