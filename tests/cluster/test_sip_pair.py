"""A pair of nodes that shares its domain with a simulated Lync pool: relayed, moved, and taken over.

The Microsoft side knows one name, behind which a load balancer picks the first node that answers OPTIONS.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.balancer import Balancer
from tests.cluster.pair import running_pair
from tests.interop.slix import SlixClient
from tests.lab.two_pools import free_port
from tests.node import DOMAIN, HOST, Node
from tests.postgres import Postgres
from ubiety.cli.client import Client as Console
from ubiety.lab.client import Client
from ubiety.lab.journal import ConversationSeen, MessageSeen, PresenceSeen
from ubiety.lab.plan import make_plan
from ubiety.lab.pool import Pool

GROUP = "imp.example.org"
BOB = f"bob@{DOMAIN}"

HOMING = ("sip-federation", "connection-manager", "authentication", "presence-engine")
"""What a routing node does without (facts §5.1)."""


class Pair:
    """Two nodes, the balancer before them, the pool behind it; ann lives on node 1, cid on node 2."""

    def __init__(self, one: Node, two: Node, balancer: Balancer, pool: Pool) -> None:
        self.one, self.two, self.balancer, self.pool = one, two, balancer, pool
        self._consoles = {node: Console(node.data) for node in (one, two)}

    @property
    def bob(self) -> Client:
        """The Lync user."""
        return self.pool.clients[BOB]

    def federation(self, node: Node) -> dict[str, Any]:
        """What the cluster keeps for the people of the other side."""
        shown = self._consoles[node].get("federation.status")
        return {name: shown[name] for name in ("watched", "watching", "conversations", "outgoing")}

    async def until_kept(self, node: Node, **wanted: int) -> None:
        """Wait until the cluster keeps so many subscriptions and conversations, and no message."""
        await _until(lambda: self.federation(node), {"outgoing": 0, **wanted}, 10.0)

    async def part(self, *clients: SlixClient) -> None:
        """End what these people and bob have with each other; then nothing of it is kept."""
        for client in clients:
            await self.bob.end(client.bare)
            await self.bob.remove_contact(client.bare)
            client.send_presence_subscription(pto=BOB, ptype="unsubscribe")
        await self.until_kept(self.two, watched=0, watching=0, conversations=0)
        await asyncio.gather(*(client.disconnect() for client in clients))

    async def until_idle(self, node: Node) -> None:
        """Wait until no transaction is left on a node but INVITEs, which live on for 32 s (RFC 6026 §7.1)."""

        def left() -> dict[str, int]:
            found = self._consoles[node].get("sip.status")["transactions"]
            return {kind: found[kind] - found[f"invite_{kind}"] for kind in ("clients", "servers")}

        await _until(left, {"clients": 0, "servers": 0}, 10.0)


def _connected(console: Console) -> dict[str, Any]:
    """The connections of SIP peers."""
    return {"connections": console.get("sip.status")["connections"]}


async def _until(look: Callable[[], dict[str, Any]], wanted: dict[str, Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        seen = await asyncio.to_thread(look)
        if seen == wanted:
            return
        assert time.monotonic() < deadline, f"wanted {wanted}, there is {seen}"
        await asyncio.sleep(0.3)


@dataclass(frozen=True)
class Wiring:
    """Two nodes, and where they meet the other side: the ports of the balancer and of the pool."""

    one: Node
    two: Node
    front: int
    lync: int


@contextmanager
def wired(postgres: Postgres, directory: Path, *, is_routed: bool = False) -> Iterator[Wiring]:
    """Start two nodes and wire them as an administrator does; `is_routed`: node 1 is a routing node."""
    front, lync = free_port(), free_port()
    about = {"UBIETY_SIP_NAME": f"{GROUP}:{front}", **({} if is_routed else {"UBIETY_GROUP": "pair"})}
    ports = [{"UBIETY_SIP_PORT": str(free_port())} for _ in range(2)]
    with running_pair(postgres, directory, about, ports) as (one, two):
        for service in HOMING if is_routed else ():
            one.command("utils", "service", "deactivate", service)
        one.add_users("ann", "cid")
        console = Console(one.data)
        console.post("federation.enable")
        route = {"pattern": ".org.example", "next_hop": HOST, "port": lync, "transport": "tcp"}
        console.post("route.add", **route, kind="domain")
        console.post("acl.add", entry=HOST)
        if not is_routed:
            one.command("prg", "enable-ha", "pair")
        yield Wiring(one, two, front, lync)


@pytest.fixture(scope="module")
def wiring(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    """A pair with high availability. Each test leaves ann on node 1, cid on node 2, and nothing of bob."""
    with wired(postgres, tmp_path_factory.mktemp("sip-pair")) as made:
        yield made


@asynccontextmanager
async def met(wiring: Wiring) -> AsyncIterator[Pair]:
    """Start the other side."""
    one, two = wiring.one, wiring.two
    for node in (one, two):  # what would be sent on a connection of the test before is lost
        await _until(partial(_connected, Console(node.data)), {"connections": []}, 10.0)
    balancer = Balancer([one.ports["sip"], two.ports["sip"]])
    await balancer.start(wiring.front)
    plan = {
        "domains": [DOMAIN],
        "trusted": [HOST],
        "front_ends": [{"name": "fe1", "host": HOST, "tcp_port": wiring.lync}],
        "routes": {DOMAIN: {"host": GROUP, "port": wiring.front, "transport": "tcp"}},
        "hosts": {GROUP: f"{HOST}:{wiring.front}"},
        "users": [{"uri": BOB, "name": "Bob", "signed_in": "available", "prompts": "accept"}],
        "time_out": 8.0,
        "retry": 1.0,
    }
    async with Pool(make_plan(plan)) as pool:
        try:
            yield Pair(one, two, balancer, pool)
        finally:
            await balancer.stop()


async def log_in(node: Node, name: str) -> SlixClient:
    """Sign somebody in; the server acknowledges what they write."""
    return await SlixClient(node.place, name).start()


async def befriend(pair: Pair, client: SlixClient) -> None:
    """Have one of our people and bob see each other."""
    client.send_presence_subscription(pto=BOB, ptype="subscribe")
    await client.saw_presence("available", BOB)
    pair.bob.add_contact(client.bare)
    await saw(pair.bob, client, "available")


async def sees(client: SlixClient, show: str) -> None:
    """Wait until one of our people is shown bob so."""
    await client.saw("presence_available", lambda one: one["from"].bare == BOB and one["show"] == show)


async def saw(bob: Client, client: SlixClient, word: str, seconds: float = 10.0) -> None:
    """Wait until bob sees one of our people so."""
    await bob.journal.wait(
        PresenceSeen, lambda seen: seen.peer == client.bare and seen.shown.name == word, seconds=seconds
    )


async def chat(bob: Client, client: SlixClient, word: str) -> None:
    """Have each tell the other something, in the conversation that there is."""
    client.send_message(BOB, f"{word} to bob", mtype="chat")
    await heard(bob, f"{word} to bob")
    assert await bob.send(client.bare, f"{word} to you") == 200
    await client.saw_message(f"{word} to you")


def talks(bob: Client, client: SlixClient) -> list[str]:
    """Return the dialogs that bob has with one of our people."""
    return [call for call, one in bob.conversations.items() if one.peer == client.bare and not one.is_over]


async def heard(bob: Client, text: str, seconds: float = 15.0) -> None:
    """Wait until bob has a message."""
    await bob.journal.wait(MessageSeen, lambda seen: seen.text == text, seconds=seconds)


@pytest.mark.timeout(180)
async def test_relayed_and_moved(wiring: Wiring) -> None:
    async with met(wiring) as pair:
        one, two, bob = pair.one, pair.two, pair.bob
        # Whatever is for cid comes to node 1 and is passed on to node 2, by new requests and in dialogs.
        cid = await log_in(two, "cid")
        await befriend(pair, cid)
        assert await bob.send(cid.bare, "by way of node 1") == 200
        await cid.saw_message("by way of node 1")
        await chat(bob, cid, "relayed")
        assert len(bob.conversations) == 1
        cid.send_presence(pshow="dnd")
        await saw(bob, cid, "busy")
        bob.set_availability("away")
        await sees(cid, "away")
        await pair.until_kept(one, watched=1, watching=1, conversations=1)

        # ann is moved from node 1 to node 2 and takes watchers, watches and conversations along.
        ann = await log_in(one, "ann")
        await befriend(pair, ann)
        await chat(bob, ann, "before")
        moved = talks(bob, ann)
        await asyncio.to_thread(one.command, "assignment", "set", "ann", "node2")
        await saw(bob, ann, "offline")
        ann = await log_in(two, "ann")
        await sees(ann, "away")
        bob.journal.clear()
        ann.send_presence(pshow="dnd")
        await saw(bob, ann, "busy")
        bob.set_availability("busy")
        await sees(ann, "dnd")
        await chat(bob, ann, "after")
        assert talks(bob, ann) == moved, "the conversation goes on in its dialog"
        await pair.until_kept(one, watched=2, watching=2, conversations=2)

        # A node whose SIP federation is stopped says so, and its people are told of by a refusal.
        assert await pair.balancer.probe(one.ports["sip"]) == 200
        one.command("utils", "service", "stop", "sip-federation")
        assert await pair.balancer.probe(one.ports["sip"]) == 503
        assert await pair.balancer.probe(two.ports["sip"]) == 200

        await pair.part(ann, cid)
        one.command("utils", "service", "start", "sip-federation")
        await asyncio.to_thread(one.command, "assignment", "set", "ann", "node1")


@pytest.mark.timeout(180)
async def test_over_and_back(wiring: Wiring) -> None:
    async with met(wiring) as pair:
        one, two, bob = pair.one, pair.two, pair.bob
        ann = await log_in(one, "ann")
        await befriend(pair, ann)
        await chat(bob, ann, "at home")
        conversation = talks(bob, ann)
        for order, node, home in (("failover", one, two), ("fallback", two, one)):
            await asyncio.to_thread(node.command, "utils", "ha", order, "node1")
            await saw(bob, ann, "offline", 20)  # of those who are handed over
            bob.journal.clear()
            ann = await log_in(home, "ann")
            await chat(bob, ann, order)
            ann.send_presence(pshow="dnd")
            await saw(bob, ann, "busy")
            bob.set_availability("away" if home is two else "busy")
            await sees(ann, "away" if home is two else "dnd")
            assert talks(bob, ann) == conversation
            await pair.until_kept(home, watched=1, watching=1, conversations=1)
        await pair.part(ann)


@pytest.mark.timeout(180)
async def test_a_node_is_killed(wiring: Wiring) -> None:
    async with met(wiring) as pair:
        one, two, bob = pair.one, pair.two, pair.bob
        ann, cid = await log_in(one, "ann"), await log_in(two, "cid")
        for client in (ann, cid):
            await befriend(pair, client)
            await chat(bob, client, "at first")
        conversation = talks(bob, ann)
        await pair.until_kept(two, watched=2, watching=2, conversations=2)

        # What ann wrote last is acknowledged to her, and not taken by the other side yet.
        pair.pool.front_ends[0].faults.is_mute = True
        ann.send_message(BOB, "the last words", mtype="chat")
        await acknowledged(ann)
        assert "the last words" not in [seen.text for seen in bob.journal.of(MessageSeen)]
        one.kill()
        killed = time.monotonic()
        pair.pool.front_ends[0].faults.is_mute = False
        bob.journal.clear()
        await heard(bob, "the last words")
        print(f"the last words came {time.monotonic() - killed:.1f} s after SIGKILL")

        ann = await log_in(two, "ann")
        await saw(bob, ann, "available")
        await ann.saw_presence("available", BOB)
        await chat(bob, ann, "afterwards")
        assert talks(bob, ann) == conversation, "the conversation goes on in its dialog"
        bob.set_availability("busy")
        await sees(ann, "dnd")
        await chat(bob, cid, "still")
        assert not [one for one in bob.journal.of(ConversationSeen) if one.state != "opened"]
        await pair.until_kept(two, watched=2, watching=2, conversations=2)

        await pair.part(ann, cid)
        await pair.until_idle(two)


async def acknowledged(client: SlixClient) -> None:
    """Wait until the server has acknowledged all that the client has written (XEP-0198)."""
    deadline = time.monotonic() + 5
    while client.plugin["xep_0198"].unacked_queue:
        assert time.monotonic() < deadline, "not acknowledged"
        client.plugin["xep_0198"].request_ack()
        await asyncio.sleep(0.1)


@pytest.mark.timeout(180)
async def test_a_routing_node(postgres: Postgres, tmp_path: Path) -> None:
    with wired(postgres, tmp_path, is_routed=True) as wiring:
        async with met(wiring) as pair:
            one, two, bob = pair.one, pair.two, pair.bob
            shown = await asyncio.to_thread(Console(one.data).get, "assignment.show")
            assert {one["node"]: one["people"] for one in shown["nodes"]} == {"node1": 0, "node2": 2}
            assert [await pair.balancer.probe(node.ports["sip"]) for node in (one, two)] == [200, 200]
            pair.balancer.ports.pop()  # the single route of the Microsoft side leads to the routing node
            ann = await log_in(two, "ann")
            await befriend(pair, ann)
            await chat(bob, ann, "routed")
            assert len(talks(bob, ann)) == 1
            one.command("utils", "service", "stop", "router")
            assert await pair.balancer.probe(one.ports["sip"]) == 503
            await ann.disconnect()
