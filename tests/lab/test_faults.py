"""The Lync side in every bad mood: what is sent arrives once or comes back, and nothing is left over."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.interop.slix import SlixClient
from tests.lab.shared_domain import lync, start_shared
from tests.lab.two_pools import free_port
from tests.node import DOMAIN, Node, NodeFactory
from ubiety.lab.client import Client
from ubiety.lab.front_end import FrontEnd
from ubiety.lab.journal import MessageSeen, PresenceSeen

pytestmark = pytest.mark.soak  # the same faults are in tests/faults/test_sip_faults.py

ANN, BOB = f"ann@{DOMAIN}", f"bob@{DOMAIN}"


class Rehearsal:
    """Ann on our side, Bob on theirs, and the front end between them."""

    def __init__(self, node: Node, ann: SlixClient, bob: Client, front_end: FrontEnd) -> None:
        self.node = node
        self.ann = ann
        self.bob = bob
        self.front_end = front_end
        self._count = 0

    async def outcome(self, seconds: float = 20.0) -> str:
        """Send a message to Bob; return "arrived" or the condition of the error, whichever comes."""
        self._count += 1
        text = f"message {self._count}"
        message = self.ann.make_message(BOB, text, mtype="chat")
        message["id"] = f"m{self._count}"
        message.send()
        arrived = asyncio.ensure_future(
            self.bob.journal.wait(MessageSeen, lambda seen: seen.text == text, seconds=seconds)
        )
        failed = asyncio.ensure_future(
            self.ann.saw("message_error", lambda one: one["id"] == message["id"], seconds)
        )
        done, late = await asyncio.wait((arrived, failed), return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        return "arrived" if arrived in done else str(failed.result()["error"]["condition"])

    def left_over(self) -> dict[str, int]:
        """What the node holds towards others."""
        status = self.node.command("federation", "status")
        rows = dict(re.findall(r"^(\S.*?)\s{2,}(\d+)\s*$", status, re.MULTILINE))
        kept = ("Conversations", "Outsiders who watch our people", "Outsiders whom our people watch")
        return {name: int(rows[name]) for name in (*kept, "Messages on their way")}


@asynccontextmanager
async def rehearsal(start_node: NodeFactory, **more: float) -> AsyncIterator[Rehearsal]:
    """Both are signed in and see each other."""
    port = free_port()
    node = start_shared(start_node, port, "ann")
    async with lync(node, port, **more) as pool:
        bob = pool.clients[BOB]
        ann = await SlixClient(node.place, "ann").start()
        ann.send_presence_subscription(pto=BOB, ptype="subscribe")
        await ann.saw_presence("available", BOB)
        bob.add_contact(ANN)
        await bob.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "available")
        yield Rehearsal(node, ann, bob, pool.front_ends[0])


async def test_short_subscriptions_are_refreshed_by_both(start_node: NodeFactory) -> None:
    async with rehearsal(start_node, grant=4.0, refresh=1.0) as both:
        await asyncio.sleep(6)
        both.bob.set_availability("away")
        await both.ann.saw("presence_available", lambda one: one["show"] == "away")
        both.ann.send_presence(pshow="dnd")
        await both.bob.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "busy")
        assert both.left_over()["Outsiders who watch our people"] == 1
        assert both.left_over()["Outsiders whom our people watch"] == 1


async def test_refusals_come_back_as_errors(start_node: NodeFactory) -> None:
    async with rehearsal(start_node) as both:
        both.bob.invite_answer = 603
        assert await both.outcome() != "arrived"
        both.bob.invite_answer = 486
        assert await both.outcome() == "recipient-unavailable"
        both.bob.invite_answer = 200
        both.front_end.faults.refusals["INVITE"] = 503
        assert await both.outcome() != "arrived"
        both.front_end.faults.refusals.clear()
        assert await both.outcome() == "arrived"
        both.front_end.faults.refusals["MESSAGE"] = 500
        assert await both.outcome() != "arrived"
        both.front_end.faults.refusals.clear()
        assert await both.outcome() == "arrived"


async def test_late_doubled_and_broken_answers(start_node: NodeFactory) -> None:
    async with rehearsal(start_node) as both:
        both.front_end.faults.delay = 2.0
        assert await both.outcome() == "arrived"
        both.front_end.faults.delay = 0.0
        both.front_end.faults.answers_twice = True
        assert await both.outcome() == "arrived"
        await both.bob.end(ANN)
        assert await both.outcome() == "arrived"
        both.front_end.faults.answers_twice = False
        both.front_end.send_garbage()
        await asyncio.sleep(0.5)
        assert await both.outcome() == "arrived"
        both.front_end.drop_connections()
        await asyncio.sleep(0.5)
        assert await both.outcome() == "arrived"
        texts = [seen.text for seen in both.bob.journal.of(MessageSeen)]
        assert len(texts) == len(set(texts)) == 5
        assert await both.bob.send(ANN, "still here") == 200
        await both.ann.saw_message("still here")


async def test_floods_leave_nothing(start_node: NodeFactory) -> None:
    async with rehearsal(start_node) as both:
        before = both.left_over()
        statuses = await both.bob.flood(ANN, 200)
        assert sum(statuses.values()) == 200
        assert statuses[200] >= 1
        await both.bob.end(ANN)
        assert await both.bob.flood(f"nobody@{DOMAIN}", 100) == {404: 100}
        async with asyncio.timeout(10):
            while both.left_over() != before:
                await asyncio.sleep(0.5)
        assert await both.outcome() == "arrived"
