"""Services of a real node, stopped and started by the familiar commands while clients are there."""

from __future__ import annotations

import asyncio
import json
import socket

import httpx
import pytest

from tests.harness.client import Client, SaslFailedError
from tests.harness.wire import ConnectionGoneError
from tests.node import Node, NodeError


def health(node: Node) -> tuple[int, dict[str, str]]:
    """Ask as a load balancer does."""
    answer = httpx.get(f"https://127.0.0.1:{node.ports['api']}/healthz", verify=False)
    return answer.status_code, answer.json()


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def services(node: Node) -> dict[str, dict[str, object]]:
    found = json.loads(node.command("utils", "service", "list", "--json"))
    return {one["name"]: one for one in found["services"]}


async def order(node: Node, *words: str) -> str:
    """Run a command while clients are served here: not in this loop."""
    return await asyncio.to_thread(node.command, "utils", "service", *words)


async def test_activation_replication_and_alarms_are_shown(own_node: Node) -> None:
    await order(own_node, "deactivate", "pe")
    assert "Cisco Presence Engine[STOPPED]  Service Not Activated" in await order(own_node, "list")
    await order(own_node, "activate", "pe")
    assert "Auto Restart disabled" in await order(own_node, "auto-restart", "disable", "pe")
    shown = own_node.command("utils", "dbreplication", "runtimestate")
    assert "Y/Y/Y" in shown and "(2) Setup Completed" in shown and "Cluster Replication State: good" in shown
    assert "No Errors or Mismatches found." in own_node.command("utils", "dbreplication", "status")
    assert "SQLite" in own_node.command("report", "database-status")
    assert json.loads(own_node.command("alarm", "list", "--json")) == []


async def test_logins_are_refused_and_who_is_on_stays(own_node: Node) -> None:
    one, other = own_node.take_users(2)
    alice = await Client(own_node.place, one).login()
    assert "[NOTRUNNING]" in await order(own_node, "stop", "Cisco", "XCP", "Authentication", "Service")
    with pytest.raises(SaslFailedError) as refused:
        await Client(own_node.place, other).login()
    assert refused.value.condition == "temporary-auth-failure"
    assert (await alice.iq("get", "<ping xmlns='urn:xmpp:ping'/>")).get("type") == "result"
    await order(own_node, "start", "auth")
    await Client(own_node.place, other).login()


async def test_the_router_takes_all_with_it_and_only_a_restart_brings_back(own_node: Node) -> None:
    one, other = own_node.take_users(2)
    assert health(own_node) == (200, {"status": "active"})
    alice = await Client(own_node.place, one).login()
    await order(own_node, "stop", "Cisco XCP Router")
    with pytest.raises(ConnectionGoneError):
        await alice.expect(lambda tag: False)
    assert not is_open(own_node.ports["c2s"])
    status, document = health(own_node)
    assert (status, document["status"]) == (503, "down")
    assert "Cisco XCP Router" in document["reason"]

    await order(own_node, "start", "router")
    assert not is_open(own_node.ports["c2s"]), "a start brings nothing else back"
    with pytest.raises(NodeError, match="needs Cisco XCP Router"):
        await order(own_node, "stop", "router")
        await order(own_node, "start", "cm")
    await order(own_node, "start", "router")
    await order(own_node, "start", "cm")
    own_node.stop()
    own_node.restart()
    found = services(own_node)
    assert found["Cisco XCP Authentication Service"]["status"] == "STOPPED", "it is remembered"
    assert found["Cisco XCP Connection Manager"]["status"] == "STARTED"

    await order(own_node, "start", "auth")
    bob = await Client(own_node.place, other).login()
    await order(own_node, "restart", "router")
    with pytest.raises(ConnectionGoneError):
        await bob.expect(lambda tag: False)
    await Client(own_node.place, other).login()
    assert health(own_node)[0] == 200


async def test_the_web_listener_closes_and_the_commands_go_on(own_node: Node) -> None:
    await order(own_node, "stop", "admin")
    assert not is_open(own_node.ports["api"])
    assert services(own_node)["Cisco IM and Presence Admin"]["reason"] == "Commanded Out of Service"
    await order(own_node, "start", "Cisco IM and Presence Admin")
    assert is_open(own_node.ports["api"])
