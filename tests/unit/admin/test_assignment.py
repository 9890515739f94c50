"""Nodes and user assignment as operations, on nodes of a real cluster that share a PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.unit.cluster.nodes import ClusterNode, add, cluster, until
from tests.unit.users.place import DOMAIN
from ubiety.admin import assignment, nodes, people
from ubiety.admin.inspect_cluster import inspect_cluster
from ubiety.admin.live import LiveSessions
from ubiety.admin.operation import Operation, call
from ubiety.admin.problems import Problem
from ubiety.admin.rbac import Caller
from ubiety.directory.assignment import MODE
from ubiety.store import nodes as node_rows

ROOT = Caller("unix:root", frozenset({"*"}))
BY_NAME: dict[str, Operation[Any, Any]] = {
    one.name: one for one in (*assignment.OPERATIONS, *nodes.OPERATIONS, *people.OPERATIONS)
}


class Administered:
    """A node of the cluster as operations see it."""

    def __init__(self, node: ClusterNode) -> None:
        context = node.place.context
        self.under = node
        self.database, self.clock, self.settings = node.database, context.clock, context.settings
        self.homes, self.topology, self.links = context.homes, node.topology, node.links
        self.moving = node.moving
        self.sessions = LiveSessions(context, node.place.users, node.topology)
        self.domains = [DOMAIN]
        self.bus_problem = ""
        if node.links is not None:
            self.sessions.join(node.links)

    async def people_changed(self, address_ids: list[int]) -> None:
        """Read people again."""
        await self.under.people.refresh(address_ids)

    async def do(self, name: str, /, **arguments: Any) -> Any:
        """Do an operation."""
        operation = BY_NAME[name]
        return await call(operation, self, ROOT, operation.arguments(**arguments))  # type: ignore[arg-type]

    async def refused(self, name: str, /, **arguments: Any) -> Problem:
        """Do an operation that must be refused."""
        with pytest.raises(Problem) as caught:
            await self.do(name, **arguments)
        return caught.value


@asynccontextmanager
async def administered(url: str, *names: str) -> AsyncIterator[list[Administered]]:
    """Nodes whose operations can be called."""
    async with cluster(url, *names) as made:
        yield [Administered(node) for node in made]


async def test_new_people_are_spread_and_shown(postgres_url: str) -> None:
    async with administered(postgres_url, "alpha", "beta") as (alpha, _):
        for name in ("ada", "grace", "alan"):
            await alpha.do("user.add", userid=name)
        await alpha.do("user.add", userid="edsger", node="beta")
        shown = await alpha.do("assignment.show")
        assert [(share.node, share.group, share.people) for share in shown.nodes] == [
            ("alpha", "alpha", 2),
            ("beta", "beta", 2),
        ]
        assert (shown.mode, shown.unassigned, shown.person) == ("balanced", 0, None)
        grace = await alpha.do("assignment.show", userid="grace")
        assert (grace.person.node, grace.person.served_by) == ("beta", "beta")
        assert (await alpha.do("user.show", userid="grace")).node == "beta"
        assert (await alpha.refused("user.add", userid="donald", node="gamma")).kind.name == "not-found"
        alpha.settings.apply(MODE.name, "none")
        await alpha.do("user.add", userid="donald")
        assert (await alpha.do("assignment.show")).unassigned == 1
        assert (await alpha.do("user.show", userid="donald")).node == ""


async def test_a_person_is_assigned_by_hand_from_any_node(postgres_url: str) -> None:
    async with administered(postgres_url, "alpha", "beta") as (alpha, beta):
        await add(alpha.under, "ada", beta.under.id)
        await until(lambda: beta.under.set_of("ada") == beta.under.id == alpha.under.set_of("ada"))
        client = await beta.under.place.sign_in("ada")
        assert (await alpha.do("user.show", userid="ada")).sessions == 1
        done = await alpha.do("assignment.set", userid="ada", node="alpha")
        assert done.node == "alpha"
        assert client.edge.closed == "reset"
        await until(lambda: alpha.under.set_of("ada") == alpha.under.id)
        assert (await alpha.do("assignment.set", userid="ada", node="alpha")).served_by == "alpha"
        gone = await alpha.do("assignment.set", userid="ada")
        assert (gone.node, gone.served_by) == ("", "")


async def test_sessions_elsewhere_are_counted_and_ended(postgres_url: str) -> None:
    async with administered(postgres_url, "alpha", "beta") as (alpha, beta):
        await add(alpha.under, "ada", beta.under.id)
        await until(lambda: beta.under.set_of("ada") == beta.under.id == alpha.under.set_of("ada"))
        client = await beta.under.place.sign_in("ada")
        assert await alpha.sessions.online() == ["ada@example.org"]
        assert await alpha.sessions.totals() == {1: 0, 2: 1}
        assert await alpha.sessions.count("ada@example.org") == 1
        assert await alpha.sessions.end("ada@example.org/desk", "because") == 1
        assert client.edge.closed == "policy-violation"
        assert await alpha.sessions.end("ada@example.org", "because") == 0
        assert await alpha.sessions.count("nobody@example.org") == 0


async def test_disabling_somebody_works_while_their_node_is_away(postgres_url: str) -> None:
    async with administered(postgres_url, "alpha", "beta") as (alpha, beta):
        await add(alpha.under, "ada", beta.under.id)
        await until(lambda: alpha.under.set_of("ada") == beta.under.id)
        assert beta.under.links is not None and alpha.under.links is not None
        await beta.under.links.close()
        await until(lambda: not alpha.under.links.is_up(2))  # type: ignore[union-attr]
        assert (await alpha.do("user.disable", userid="ada")).sessions_ended == 0
        problem = await alpha.refused("assignment.set", userid="ada", node="alpha")
        assert problem.kind.name == "unavailable"
        assert "beta" in problem.detail
        listed = await alpha.do("node.list")
        assert [(one.name, one.is_up, one.sessions) for one in listed.nodes] == [
            ("alpha", True, 0),
            ("beta", False, None),
        ]


async def test_people_are_rebalanced_after_a_look_at_the_preview(postgres_url: str) -> None:
    async with administered(postgres_url, "alpha", "beta") as (alpha, beta):
        for number in range(6):
            await add(alpha.under, f"person{number}", alpha.under.id)
        await until(lambda: len(beta.homes) == len(alpha.homes) == 6)
        preview = await beta.do("assignment.rebalance", preview=True)
        assert [(one.from_node, one.to_node, one.people) for one in preview.moves] == [("alpha", "beta", 3)]
        assert (preview.total, preview.started) == (3, False)
        assert await beta.database.read(node_rows.count_assigned) == {1: 6}
        assert (await beta.do("assignment.rebalance")).started
        await until(lambda: beta.moving.progress.left == 0)
        assert await beta.database.read(node_rows.count_assigned) == {1: 3, 2: 3}
        assert (await beta.do("assignment.rebalance")).total == 0
        leaving = await beta.do("assignment.rebalance", preview=True, without=["alpha"])
        assert [(one.from_node, one.to_node, one.people) for one in leaving.moves] == [("alpha", "beta", 3)]
        assert (await beta.refused("assignment.rebalance", without=["alpha", "beta"])).kind.name == "invalid"
        shown = await beta.do("assignment.show")
        assert (shown.moving.total, shown.moving.moved, shown.moving.failed) == (3, 3, 0)
        beta.settings.apply(MODE.name, "none")
        assert (await beta.refused("assignment.rebalance")).kind.name == "invalid"


async def test_the_check_looks_at_nodes_and_assignment(postgres_url: str) -> None:
    async with administered(postgres_url, "alpha", "beta") as (alpha, beta):
        assert await _findings(alpha) == [("bus", "passed"), ("assignment", "passed"), ("nodes", "passed")]
        await add(alpha.under, "ada", 0)
        assert await _findings(alpha) == [("bus", "passed"), ("assignment", "warning"), ("nodes", "passed")]
        await add(alpha.under, "grace", 9)
        await beta.database.write(node_rows.register, "beta", "2.0", "boot", 2.0)
        await alpha.topology.refresh(alpha.database)
        assert beta.under.links is not None
        await beta.under.links.close()
        await until(lambda: not alpha.links.is_up(2))  # type: ignore[union-attr]
        alpha.bus_problem = "The bus at 192.0.2.9:4222 refused the login of this node."
        assert await _findings(alpha) == [
            ("bus", "failed"),
            ("assignment", "failed"),
            ("nodes", "warning"),
            ("releases", "warning"),
        ]


async def _findings(node: Administered) -> list[tuple[str, str]]:
    found = await inspect_cluster(node)  # type: ignore[arg-type]
    return [(one.check, one.outcome) for one in found]


async def test_nodes_are_listed_and_shown(postgres_url: str) -> None:
    async with administered(postgres_url, "alpha", "beta") as (alpha, beta):
        await alpha.database.write(node_rows.add_group, "pair", "", [1, 2])
        await until(lambda: beta.topology.value.group_named("pair"))
        listed = await beta.do("node.list")
        assert [(one.name, one.group, one.is_publisher, one.is_up) for one in listed.nodes] == [
            ("alpha", "pair", True, True),
            ("beta", "pair", False, True),
        ]
        shown = await beta.do("node.show", name="alpha")
        assert (shown.backup, shown.ha_enabled, shown.people, shown.sessions) == ("beta", False, 0, 0)
        assert (await beta.refused("node.show", name="gamma")).kind.name == "not-found"


async def test_a_publisher_that_is_gone_is_replaced_and_removed(postgres_url: str) -> None:
    async with administered(postgres_url, "alpha", "beta", "gamma") as (alpha, beta, gamma):
        await add(alpha.under, "ada", alpha.under.id)
        await until(lambda: len(beta.homes) == 1)
        assert alpha.under.links is not None
        await alpha.under.links.close()
        await until(lambda: not beta.links.is_up(1) and beta.links.is_up(3))  # type: ignore[union-attr]
        beta.homes.serving = {3: 3}  # nobody has taken its people: it had no backup
        problem = await beta.refused("node.remove", name="alpha", move_people=True)
        assert "make-publisher" in problem.cure
        assert "does not answer" in (await beta.refused("node.make-publisher", name="alpha")).detail
        assert (await beta.do("node.make-publisher", name="beta")).is_publisher
        await until(lambda: gamma.topology.value.publisher == gamma.topology.value.named("beta"))
        assert (await beta.do("node.remove", name="alpha", move_people=True)).people_moved == 1


async def test_the_check_tells_whom_nobody_serves(postgres_url: str) -> None:
    async with administered(postgres_url, "alpha", "beta") as (alpha, beta):
        for number in range(2):
            await add(alpha.under, f"person{number}", beta.under.id)
        await until(lambda: len(alpha.homes) == 2)
        alpha.homes.serving = {2: 2}
        assert "service" not in dict(await _findings(alpha))
        assert beta.under.links is not None
        await beta.under.links.close()
        await until(lambda: not alpha.links.is_up(2))  # type: ignore[union-attr]
        assert "service" not in dict(await _findings(alpha)), "it renews its lease"
        alpha.homes.lapsed = {2}
        assert await _unserved(alpha) == "2 people of beta are without service: no other node backs it up."
        await alpha.database.write(node_rows.add_group, "pair", "", [1, 2])
        await alpha.topology.refresh(alpha.database)
        assert "high availability of pair is off" in await _unserved(alpha)
        group = alpha.topology.value.group_named("pair")
        assert group is not None
        await alpha.database.write(node_rows.set_ha, group.id, True)
        await alpha.topology.refresh(alpha.database)
        assert "nor does the other node of pair serve them" in await _unserved(alpha)


async def _unserved(node: Administered) -> str:
    found = {one.check: one for one in await inspect_cluster(node)}["service"]  # type: ignore[arg-type]
    assert found.outcome == "failed" and "--move-people" in found.cure
    return " ".join(found.lines)


async def test_a_node_is_removed_when_it_is_down_and_its_people_are_cared_for(postgres_url: str) -> None:
    async with administered(postgres_url, "alpha", "beta", "gamma") as (alpha, beta, gamma):
        for number in range(5):
            await add(alpha.under, f"person{number}", beta.under.id)
        await until(lambda: len(alpha.homes) == len(gamma.homes) == 5)
        assert "running" in (await alpha.refused("node.remove", name="beta")).detail
        assert beta.under.links is not None
        await beta.under.links.close()
        await until(lambda: not alpha.links.is_up(2))  # type: ignore[union-attr]
        alpha.homes.serving = {3: 3}  # nobody has taken its people: it had no backup
        problem = await alpha.refused("node.remove", name="beta")
        assert "5 people" in problem.detail
        assert "--move-people" in problem.cure
        alpha.homes.serving = {2: 3, 3: 3}
        problem = await alpha.refused("node.remove", name="beta", move_people=True)
        assert "--without beta" in problem.cure
        alpha.homes.serving = {2: 2, 3: 3}  # its lease names nobody who might take the set
        assert (
            "renews its lease" in (await alpha.refused("node.remove", name="beta", move_people=True)).detail
        )
        alpha.homes.lapsed = {2}
        done = await alpha.do("node.remove", name="beta", move_people=True)
        assert done.people_moved == 5
        assert await alpha.database.read(node_rows.count_assigned) == {1: 3, 3: 2}
        assert [node.name for node in alpha.topology.value.nodes] == ["alpha", "gamma"]
        assert [alpha.under.set_of(f"person{n}") for n in range(5)] == [1, 3, 1, 3, 1]
        await until(lambda: [gamma.under.set_of(f"person{n}") for n in range(5)] == [1, 3, 1, 3, 1])
