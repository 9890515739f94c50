"""Two node processes on one PostgreSQL and NATS: what one is told both do; a person moves under fire."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.pair import running_pair
from tests.harness.client import Client
from tests.harness.wire import ConnectionGoneError
from tests.nats import Nats
from tests.node import Node, NodeError, NodeFactory
from tests.postgres import Postgres

MESSAGES = 200
MakeNats = Callable[..., Nats]


@pytest.fixture(scope="module")
def pair(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """Two nodes that know each other, for all tests here."""
    with running_pair(postgres, tmp_path_factory.mktemp("pair")) as made:
        _until(lambda: all(row["is_up"] for row in _json(made[0], "node", "list")))
        yield made


@pytest.fixture
def nodes(pair: list[Node]) -> Iterator[list[Node]]:
    """The pair with the test's own people: `node1` serves ann, `node2` bob."""
    pair[0].add_users("ann", "bob")
    yield pair
    for name in ("ann", "bob"):
        pair[0].command("user", "delete", name, "--yes")


def test_nodes_that_start_for_the_first_time_together(
    start_node: NodeFactory, postgres_url: str, own_nats: MakeNats, tmp_path: Path
) -> None:
    nats = own_nats()
    nats.start()
    about = {"UBIETY_BUS_URL": nats.url, "UBIETY_BUS_CA": str(nats.ca)}

    def start(name: str) -> Node:
        return start_node(postgres_url, {**about, "UBIETY_NODE": name}, tmp_path / name)

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(start, ("alpha", "beta")))
    _until(lambda: all(row["is_up"] for node in made for row in _json(node, "node", "list")))
    listed = _json(made[0], "node", "list")
    assert sorted(row["name"] for row in listed) == ["alpha", "beta"]
    assert [(row["id"], row["is_publisher"]) for row in listed] == [(1, True), (2, False)]


def test_what_one_node_is_told_the_other_does(nodes: list[Node]) -> None:
    one, two = nodes
    listed = _json(two, "node", "list")
    assert [(row["name"], row["is_publisher"], row["people"]) for row in listed] == [
        ("node1", True, 1),
        ("node2", False, 1),
    ]
    one.set_setting("log.level", "debug")
    _until(lambda: "debug" in two.command("setting", "get", "log.level"))
    one.command("domain", "add", "second.example")
    _until(lambda: "second.example" in two.command("status"))
    assert "node2" in one.command("status", "--node", "node2")
    _until(lambda: "second.example" in one.command("certificate", "show", "--node", "node2"))
    assert _json(two, "assignment", "show", "ann")["person"]["served_by"] == "node1"
    two.command("policy", "block", "ann", "mallory@elsewhere.example")
    assert "mallory@elsewhere.example" in one.command("policy", "show", "ann")
    with pytest.raises(NodeError, match="running"):
        one.command("node", "remove", "node2")
    assert _json(one, "assignment", "rebalance", "--preview")["total"] == 0
    assert _json(one, "assignment", "rebalance", "--preview", "--without", "node1")["total"] == 1


async def test_a_person_moves_while_another_one_writes_to_them(nodes: list[Node]) -> None:
    one, two = nodes
    ann, bob = Client(one.place, "ann"), Client(two.place, "bob")
    await ann.login()
    await ann.enable()
    await _sign_in(bob)
    listed = await asyncio.to_thread(_json, one, "session", "list")
    assert {(row["address"], row["node"]) for row in listed} == {(ann.jid, "node1"), (bob.jid, "node2")}
    writing = asyncio.create_task(_write(ann, bob))
    await asyncio.sleep(0.3)
    begun = time.monotonic()
    done = await asyncio.to_thread(_json, one, "assignment", "set", "bob", "node1")
    assert done["node"] == "node1"
    seen = await _read_until_closed(bob)
    again = Client(two.place, "bob", resource="again")  # the same node: it is not the home any more
    await _sign_in(again)
    print(f"off for {time.monotonic() - begun:.2f} s")
    await writing
    while len(seen) < MESSAGES:
        tag = await again.expect(lambda tag: tag.name == "message" and tag.body() is not None)
        body = tag.body()
        if body not in seen:
            seen.append(body)
    assert seen == [f"message {number}" for number in range(MESSAGES)]
    shown = await asyncio.to_thread(_json, two, "assignment", "show", "bob")
    assert shown["person"]["served_by"] == "node1"
    assert [row["people"] for row in shown["nodes"]] == [2, 0]
    moved = await asyncio.to_thread(two.command, "assignment", "rebalance")
    assert "Moved 1 people" in moved


async def test_moves_to_and_fro_lose_nothing_and_keep_the_order(nodes: list[Node]) -> None:
    one, two = nodes
    ann = Client(one.place, "ann")
    await ann.login()
    await ann.enable()
    seen: list[str] = []
    offline: list[float] = []
    reading = asyncio.create_task(_stay_on(nodes, seen, offline))
    while not offline:
        await asyncio.sleep(0.05)
    writing = asyncio.create_task(_write(ann, Client(two.place, "bob")))
    for home in ("node1", "node2", "node1"):
        await asyncio.sleep(0.4)
        done = await asyncio.to_thread(_json, one, "assignment", "set", "bob", home)
        assert done["node"] == home
    await writing
    async with asyncio.timeout(20):
        while len(set(seen)) < MESSAGES:
            await asyncio.sleep(0.1)
    reading.cancel()
    print(f"{len(seen) - MESSAGES} seen twice; off for at most {max(offline[1:]):.2f} s")
    assert list(dict.fromkeys(seen)) == [f"message {number}" for number in range(MESSAGES)]


async def _stay_on(nodes: list[Node], seen: list[str], offline: list[float]) -> None:
    """Be bob, at one node after the other, and note how long he was off each time."""
    number = 0
    while True:
        begun = time.monotonic()
        bob = Client(nodes[number % 2].place, "bob", resource=f"device{number}")
        number += 1
        await _sign_in(bob)
        offline.append(time.monotonic() - begun)
        with contextlib.suppress(ConnectionGoneError):
            while True:
                tag = await bob.expect(lambda tag: tag.name in ("message", "error"), 60)
                if tag.name == "error":
                    break
                seen.append(tag.body() or "")


async def test_people_of_another_node_are_reached_from_here(nodes: list[Node]) -> None:
    one, two = nodes
    ann, bob = Client(one.place, "ann"), Client(two.place, "bob")
    await _sign_in(ann)
    await _sign_in(bob)
    for audience in ("--online", "--to-all"):
        said = await asyncio.to_thread(two.command, "announce", f"To {audience}", audience)
        assert "2 people" in said
        for client in (ann, bob):
            await client.expect_message(f"To {audience}")
    await asyncio.to_thread(two.command, "policy", "block", "ann", "bob@example.org")
    bob.send(f"<message to='{ann.bare}' type='chat' id='no'><body>no</body></message>")
    refused = await bob.expect(lambda tag: tag.name == "message" and tag.get("id") == "no")
    assert refused.get("type") == "error"
    assert "1 session" in await asyncio.to_thread(two.command, "session", "kick", "ann")
    await ann.expect(lambda tag: tag.name == "error")
    assert not await asyncio.to_thread(_json, two, "session", "list", "--user", "ann")


async def test_people_of_a_dead_node_get_another_home(nodes: list[Node]) -> None:
    """The last one here: the pair has no high availability, and its second node dies."""
    one, two = nodes
    ann = Client(one.place, "ann")
    await _sign_in(ann)
    two.kill()
    begun = time.monotonic()
    told = ""
    while "without service" not in told:
        assert time.monotonic() - begun < 20, told
        await asyncio.sleep(0.3)
        alarms = await asyncio.to_thread(_json, one, "alarm", "list")
        told = next((alarm["text"] for alarm in alarms if alarm["name"] == "PEPeerNodeFailure"), "")
    print(f"alarm after {time.monotonic() - begun:.1f} s: {told}")
    assert told.startswith("Not heard of: node2. 1 people of node2 are without service: no other node")
    assert told.endswith("gone for good: ubiety node remove node2 --move-people.")
    ann.send("<message to='bob@example.org' type='chat' id='m'><body>kept for bob</body></message>")
    assert "1 people belong to other nodes" in await asyncio.to_thread(
        one.command, "node", "remove", "node2", "--move-people"
    )
    bob = Client(one.place, "bob")
    await _sign_in(bob)
    await bob.expect_message("kept for bob")
    await asyncio.to_thread(_until, lambda: not _json(one, "alarm", "list"))
    await asyncio.to_thread(two.restart)  # it joins as a new node

    def is_back() -> bool:
        listed = _json(one, "node", "list")
        return [(row["name"], row["people"]) for row in listed] == [("node1", 2), ("node2", 0)]

    await asyncio.to_thread(_until, is_back)


async def _sign_in(client: Client) -> None:
    """Sign in, trying again as clients do."""
    for _ in range(50):
        try:
            await client.login()
            break
        except Exception:  # noqa: BLE001
            await asyncio.sleep(0.1)
    await client.enable()
    client.send("<presence/>")


async def _write(ann: Client, bob: Client) -> None:
    for number in range(MESSAGES):
        ann.send(
            f"<message to='{bob.bare}' type='chat' id='m{number}'><body>message {number}</body></message>"
        )
        await asyncio.sleep(0.01)
    ann.request()


async def _read_until_closed(client: Client) -> list[str]:
    """Take messages until the stream is closed."""
    seen: list[str] = []
    while True:
        tag = await client.expect(lambda tag: tag.name in ("message", "error"))
        if tag.name == "error":
            assert tag.children, tag
            return seen
        body = tag.body()
        if body is not None and body not in seen:
            seen.append(body)


def _json(node: Node, *arguments: str) -> Any:
    return json.loads(node.command(*arguments, "--json"))


def _until(is_so: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)
