"""Ubiety and a Lync pool in one domain: presence, prompts, chat and typing, seen by third-party clients."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.slix import SlixClient
from tests.lab.certificates import make_certificates
from tests.lab.finch import AVAILABLE, AWAY, Finch
from tests.lab.shared_domain import BOB, lync, lync_over_tls, start_shared, start_shared_over_tls
from tests.lab.two_pools import free_port
from tests.node import DOMAIN, Node, NodeFactory
from ubiety.lab.journal import MessageSeen, PresenceSeen, PromptSeen, SubscriptionSeen, TypingSeen

BOB_ADDRESS = f"bob@{DOMAIN}"


class Ubiety:
    """Our side: the node, the port where it looks for the pool, and a person whom no other test knows."""

    def __init__(self, node: Node, port: int, ann: str) -> None:
        self.node, self.port, self.ann = node, port, ann
        self.address = f"{ann}@{DOMAIN}"

    async def sign_in(self, *plugins: str) -> SlixClient:
        """Return a client of ann's."""
        return await SlixClient(self.node.place, self.ann, *plugins).start()


@pytest.fixture(scope="module")
def wired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, int]]:
    """A node, and the port on which it looks for the pool."""
    factory, port = NodeFactory(tmp_path_factory.mktemp("ubiety")), free_port()
    yield start_shared(factory, port), port
    factory.close()


@pytest.fixture
def ubiety(wired: tuple[Node, int]) -> Ubiety:
    """Our side, for one test."""
    node, port = wired
    return Ubiety(node, port, *node.take_users(1))


@pytest.fixture
def asking(ubiety: Ubiety) -> Iterator[Ubiety]:
    """The same, where people are asked who may see them."""
    ubiety.node.set_setting("presence.auto_authorize", "false")
    yield ubiety
    ubiety.node.command("setting", "reset", "presence.auto_authorize")


def is_shown(show: str) -> Callable[[Any], bool]:
    """Whether a presence is one of Bob's with this `<show/>`."""
    return lambda one: one["from"].bare == BOB_ADDRESS and one["show"] == show


async def test_presence_both_ways(ubiety: Ubiety) -> None:
    async with lync(ubiety.node, ubiety.port) as pool:
        bob = pool.clients[BOB_ADDRESS]
        ann = await ubiety.sign_in()
        ann.send_presence_subscription(pto=BOB_ADDRESS, ptype="subscribe")
        await ann.saw_presence("subscribed", BOB_ADDRESS)
        await ann.saw_presence("available", BOB_ADDRESS)
        bob.set_availability("offline")
        await ann.saw_presence("unavailable", BOB_ADDRESS)
        for word, show in (("busy", "dnd"), ("away", "away"), ("brb", "away"), ("dnd", "dnd")):
            bob.set_availability("available")
            await ann.saw(
                "presence_available", lambda one: one["from"].bare == BOB_ADDRESS and not one["show"]
            )
            bob.set_availability(word)
            await ann.saw("presence_available", is_shown(show))
        bob.set_availability("offline")
        await ann.saw_presence("unavailable", BOB_ADDRESS)

        bob.add_contact(ubiety.address)
        await bob.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "available")
        ann.send_presence(pshow="dnd", pstatus="thinking")
        await bob.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "busy")
        await ann.disconnect()
        await bob.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "offline")


async def test_prompts_on_both_sides(asking: Ubiety) -> None:
    async with lync(asking.node, asking.port, {**BOB, "prompts": "ask"}) as pool:
        bob = pool.clients[BOB_ADDRESS]
        ann = await asking.sign_in()
        ann.send_presence_subscription(pto=BOB_ADDRESS, ptype="subscribe")
        await bob.journal.wait(PromptSeen, lambda seen: seen.peer == asking.address)
        bob.accept(asking.address)
        await ann.saw_presence("available", BOB_ADDRESS)

        bob.add_contact(asking.address)
        await bob.journal.wait(SubscriptionSeen, lambda seen: seen.state == "pending")
        await ann.saw_presence("subscribe", BOB_ADDRESS)
        ann.send_presence_subscription(pto=BOB_ADDRESS, ptype="subscribed")
        await bob.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "available")


async def test_chat_and_typing(ubiety: Ubiety) -> None:
    text = "Grüße \U0001f600 & <b> :-)\nsecond line"
    async with lync(ubiety.node, ubiety.port) as pool:
        bob = pool.clients[BOB_ADDRESS]
        ann = await ubiety.sign_in("xep_0085")
        ann.send_message(BOB_ADDRESS, text, mtype="chat")
        assert (await bob.journal.wait(MessageSeen, seconds=10)).text.replace("\r\n", "\n") == text
        assert await bob.typing(ubiety.address) == 200
        await ann.saw("chatstate_composing")
        assert await bob.send(ubiety.address, f"back: {text}") == 200
        await ann.saw_message(f"back: {text}")
        message = ann.make_message(BOB_ADDRESS, mtype="chat")
        message["chat_state"] = "composing"
        message.send()
        await bob.journal.wait(TypingSeen, lambda seen: seen.is_typing)
        assert len(bob.conversations) == 1


async def test_unknown_people_are_refused_on_both_sides(ubiety: Ubiety) -> None:
    async with lync(ubiety.node, ubiety.port) as pool:
        bob = pool.clients[BOB_ADDRESS]
        assert await bob.send(f"nobody@{DOMAIN}", "hello?") == 404
        ann = await ubiety.sign_in()
        ann.send_message(f"nobody@{DOMAIN}", "hello?", mtype="chat")
        error = await ann.saw("message_error")
        assert error["error"]["condition"] == "item-not-found"
        assert pool.site.returned.count(f"nobody@{DOMAIN}") == 2


async def test_pidgin_sipe_through_the_federation(ubiety: Ubiety, tmp_path: Path) -> None:
    user = {"uri": BOB_ADDRESS, "name": "Bob Builder", "password": "s3cret", "contacts": [ubiety.address]}
    async with lync(ubiety.node, ubiety.port, user) as pool:
        ann = await ubiety.sign_in()
        finch = Finch(tmp_path / "finch", BOB_ADDRESS, "s3cret", f"127.0.0.1:{ubiety.port}")
        try:
            await finch.start()
            await finch.until(f"{ubiety.ann}@", AVAILABLE)
            ann.send_presence(pshow="dnd")
            await finch.until(f"{ubiety.ann}@", AWAY)
            pool.site.people[BOB_ADDRESS].allowed.add(ubiety.address)
            ann.send_presence_subscription(pto=BOB_ADDRESS, ptype="subscribe")
            await ann.saw_presence("available", BOB_ADDRESS)
            ann.send_message(BOB_ADDRESS, "Hello from XMPP", mtype="chat")
            await asyncio.sleep(1)
            await finch.press("M-n")
            await finch.until("Hello from XMPP")
            await finch.say("Hello from Lync")
            await ann.saw_message("Hello from Lync")
        finally:
            finch.stop()


async def test_the_lync_side_restarts(ubiety: Ubiety) -> None:
    """What was open there is forgotten; nobody notices."""
    async with lync(ubiety.node, ubiety.port) as pool:
        bob = pool.clients[BOB_ADDRESS]
        ann = await ubiety.sign_in()
        bob.add_contact(ubiety.address)
        await bob.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "available")
        ann.send_message(BOB_ADDRESS, "before", mtype="chat")
        await bob.journal.wait(MessageSeen, lambda seen: seen.text == "before")
        assert await bob.invite_to_group(ubiety.address, f"carl@{DOMAIN}") in (403, 405, 420, 488, 603, 606)

        await pool.restart()
        await asyncio.sleep(0.5)  # what is on its way when a connection breaks is told as lost
        ann.send_message(BOB_ADDRESS, "after", mtype="chat")
        await bob.journal.wait(MessageSeen, lambda seen: seen.text == "after", seconds=15)
        assert [seen.text for seen in bob.journal.of(MessageSeen)] == ["before", "after"]
        ann.send_presence(pshow="away")
        await bob.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "away")
        assert await bob.send(ubiety.address, "and back") == 200
        await ann.saw_message("and back")


async def test_over_mutual_tls(start_node: NodeFactory, tmp_path: Path) -> None:
    """As with a real Lync pool, which speaks nothing else."""
    port = free_port()
    (lab,) = make_certificates(tmp_path / "lab", "localhost")
    node = start_shared_over_tls(start_node, port, lab, "ann")
    async with lync_over_tls(node, port, lab) as pool:
        bob = pool.clients[BOB_ADDRESS]
        ann = await SlixClient(node.place, "ann").start()
        ann.send_presence_subscription(pto=BOB_ADDRESS, ptype="subscribe")
        await ann.saw_presence("available", BOB_ADDRESS)
        bob.add_contact(f"ann@{DOMAIN}")
        await bob.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "available")
        ann.send_message(BOB_ADDRESS, "safely", mtype="chat")
        await bob.journal.wait(MessageSeen, lambda seen: seen.text == "safely")
        assert await bob.send(f"ann@{DOMAIN}", "and back") == 200
        await ann.saw_message("and back")
        assert {one.transport for one in pool.front_ends[0].connections} == {"tls"}
