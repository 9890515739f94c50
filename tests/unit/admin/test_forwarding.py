"""Operations that another node does: at a named node, at a person's home, at all of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.unit.admin.small_node import SmallNode, do, refused, small_node
from ubiety.admin import answering
from ubiety.admin.rbac import Caller
from ubiety.cluster import asking, directory
from ubiety.cluster.bus import LocalBus
from ubiety.cluster.links import NodeLinks
from ubiety.routing.links import NodeUnreachable
from ubiety.store import audit, nodes, users
from ubiety.telemetry import Counters

HELPDESK = Caller("token:help", frozenset({"people.read", "people.write"}))


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[list[SmallNode]]:
    """Two nodes on one database file; ada's home is the first, grace's the second."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    bus = LocalBus()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(small_node(tmp_path / "alpha", url))
        for name in ("ada", "grace"):
            await do(first, "user.add", userid=name)
        made = [first]
        other = SmallNode(tmp_path / "beta", url)
        await other.domains_changed()
        other.certificates.open(other.domains)
        stack.callback(other.database.close)
        made.append(other)
        for node, name in zip(made, ("alpha", "beta"), strict=True):
            object.__setattr__(node.config, "node", name)
            row = await node.database.write(nodes.register, name, "1.0", "boot", 1.0)
            node.homes.node_id, node.homes.here = row.id, {row.id}
            node.homes.serving = {3 - row.id: 3 - row.id}
        grace = await first.database.read(users.list_page, text="grace")
        await first.database.write(users.assign, grace[0].id, 1, 2)
        for node in made:
            await node.topology.refresh(node.database)
            for person in await node.database.read(lambda conn: list(users.all_people(conn))):
                node.homes.put(directory.known(person))
            links = NodeLinks(bus, "test", node.homes.node_id, Counters())
            await links.start()
            stack.push_async_callback(links.close)
            links.set_peers({1, 2})
            node.links = links
            answering.join(node, links)
        async with asyncio.timeout(5):
            while not all(node.links.is_up(3 - node.homes.node_id) for node in made if node.links):
                await asyncio.sleep(0.01)
        yield made


async def test_the_named_node_answers(pair: list[SmallNode]) -> None:
    alpha, beta = pair
    found = await do(alpha, "node.status", node="beta")
    assert found.node == "beta"
    assert (await do(alpha, "node.status")).node == "alpha"
    assert (await do(beta, "node.status", node="beta")).node == "beta"
    problem = await refused(alpha, "node.status", node="gamma")
    assert problem.kind.name == "not-found"


async def test_a_persons_home_does_it_and_it_is_audited_once(pair: list[SmallNode]) -> None:
    alpha, beta = pair
    shown = await do(alpha, "policy.block", HELPDESK, userid="grace", entry="ada@example.org")
    assert shown.blocked == ["ada@example.org"]
    assert (alpha.policies.done, beta.policies.done) == (0, 1)
    await do(alpha, "policy.block", userid="ada", entry="grace@example.org")
    assert (alpha.policies.done, beta.policies.done) == (1, 1)
    entries = await alpha.database.read(audit.list_page)
    written = [(one.operation, one.actor) for one in entries if one.operation == "policy.block"]
    assert written == [("policy.block", "unix:root"), ("policy.block", "token:help")]


async def test_it_is_refused_where_the_call_comes_in(pair: list[SmallNode]) -> None:
    alpha, beta = pair
    reader = Caller("token:read", frozenset({"people.read"}))
    problem = await refused(alpha, "policy.block", reader, userid="grace", entry="ada@example.org")
    assert problem.kind.name == "forbidden"
    assert beta.policies.done == 0


async def test_the_other_nodes_problem_is_told_as_it_is(pair: list[SmallNode]) -> None:
    problem = await refused(pair[0], "policy.remove", userid="grace", entry="ada@example.org")
    assert problem.kind.name == "not-found"
    assert "neither list" in problem.detail
    assert "ubiety policy show" in problem.cure


async def test_a_node_that_does_not_answer_is_named(pair: list[SmallNode]) -> None:
    alpha, beta = pair
    assert isinstance(beta.links, NodeLinks)
    await beta.links.close()
    assert alpha.links is not None
    async with asyncio.timeout(10):
        while alpha.links.is_up(2):
            await asyncio.sleep(0.05)
    problem = await refused(alpha, "node.status", node="beta")
    assert problem.detail == "The node beta does not answer."
    problem = await refused(alpha, "policy.block", userid="grace", entry="ada@example.org")
    assert problem.kind.name == "unavailable"
    assert "beta" in problem.detail
    alpha.sessions.add("ada@example.org/desk")
    found = await do(alpha, "session.list")
    assert (found.total, found.missing) == (1, ["beta"])


async def test_somebody_whom_nobody_serves(pair: list[SmallNode]) -> None:
    alpha, _ = pair
    alpha.homes.serving = {}
    problem = await refused(alpha, "policy.block", userid="grace", entry="ada@example.org")
    assert problem.kind.name == "unavailable"
    problem = await refused(alpha, "policy.block", userid="nobody", entry="ada@example.org")
    assert problem.kind.name == "not-found"


async def test_all_nodes_sessions_are_one_list(pair: list[SmallNode]) -> None:
    alpha, beta = pair
    alpha.sessions.add("ada@example.org/desk")
    beta.sessions.add("grace@example.org/phone")
    beta.sessions.add("alan@example.org/phone")
    found = await do(alpha, "session.list")
    assert [(one.address, one.node) for one in found.sessions] == [
        ("ada@example.org/desk", "alpha"),
        ("alan@example.org/phone", "beta"),
        ("grace@example.org/phone", "beta"),
    ]
    assert (found.total, found.missing) == (3, [])
    short = await do(beta, "session.list", limit=1)
    assert ([one.address for one in short.sessions], short.total) == (["ada@example.org/desk"], 3)


async def test_an_answer_larger_than_a_message_of_the_bus(pair: list[SmallNode]) -> None:
    alpha, beta = pair
    for number in range(20_000):
        beta.sessions.add(f"person{number * 7919 % 1_000_003}@example.org/{number * 104_729 % 999_983:x}")
    found = await do(alpha, "session.list", limit=100_000)
    assert found.total == len(found.sessions) == 20_000


async def test_parts_of_an_answer_are_kept_for_who_asks(pair: list[SmallNode]) -> None:
    alpha, beta = pair
    assert alpha.links is not None and beta.links is not None
    random = json.dumps([number * 2_654_435_761 % 4_294_967_291 for number in range(200_000)]).encode()

    async def give(_node_id: int, _value: object) -> bytes:
        return random

    asking.answer(beta.links, "numbers", give)
    assert await asking.ask(alpha.links, 2, "numbers", None) == random
    with pytest.raises(ValueError, match="not kept"):
        await alpha.links.ask(2, "numbers.part", (1, 1))
    with pytest.raises(ValueError, match="does not know"):
        await asking.ask(alpha.links, 2, "letters", None)
    with pytest.raises(NodeUnreachable):
        await asking.ask(alpha.links, 9, "numbers", None)
