"""A Ubiety node and a simulated Lync pool that share one domain, wired as an administrator wires them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.lab.two_pools import free_port
from tests.node import DOMAIN, Node, NodeFactory
from ubiety.lab.plan import make_plan
from ubiety.lab.pool import Pool
from ubiety.net.authority import Files

BOB = {"uri": f"bob@{DOMAIN}", "name": "Bob Builder", "signed_in": "available", "prompts": "accept"}


def start_shared(start_node: NodeFactory, lync_port: int, *people: str) -> Node:
    """A node with people that sends what it does not know to the pool, and trusts what comes from there."""
    node = start_node(environment={"UBIETY_SIP_PORT": str(free_port()), "UBIETY_ADDRESS": "127.0.0.1"})
    if people:
        node.add_users(*people)
    node.command("federation", "enable")
    route = ".".join(["", *reversed(DOMAIN.split("."))])
    node.command("route", "add", route, "127.0.0.1", "--port", str(lync_port), "--protocol", "tcp")
    node.command("acl", "add", "127.0.0.1")
    return node


def start_shared_over_tls(start_node: NodeFactory, lync_port: int, lab: Files, *people: str) -> Node:
    """The same over mutual TLS: each side knows the other's authority, name and certificate."""
    environment = {
        "UBIETY_SIP_TLS_PEER_PORT": str(free_port()),
        "UBIETY_SIP_CA": str(lab.ca),
        "UBIETY_ADDRESS": "localhost",
    }
    node = start_node(environment=environment)
    node.add_users(*people)
    node.command("federation", "enable")
    route = ".".join(["", *reversed(DOMAIN.split("."))])
    node.command("route", "add", route, "localhost", "--port", str(lync_port), "--tls")
    node.command("acl", "add", "localhost")
    node.command("tls-peer", "add", "localhost")
    return node


@asynccontextmanager
async def lync_over_tls(node: Node, port: int, lab: Files, *users: dict[str, Any]) -> AsyncIterator[Pool]:
    """The pool that goes with it; it trusts the node's own authority."""
    table = {
        "domains": [DOMAIN],
        "trusted": ["localhost"],
        "front_ends": [{"name": "localhost", "tls_port": port}],
        "routes": {DOMAIN: {"host": "localhost", "port": node.ports["sip_tls_peer"]}},
        "users": list(users) or [BOB],
        "tls": {
            "certificate": str(lab.certificate),
            "key": str(lab.key),
            "trusted": str(node.data / "certificates" / "ca.pem"),
        },
        "time_out": 8.0,
        "retry": 1.0,
    }
    async with Pool(make_plan(table)) as pool:
        yield pool


@asynccontextmanager
async def lync(node: Node, port: int, *users: dict[str, Any], **more: Any) -> AsyncIterator[Pool]:
    """The pool, with its static route back to the node."""
    table = {
        "domains": [DOMAIN],
        "trusted": ["127.0.0.1"],
        "front_ends": [{"name": "fe1", "host": "127.0.0.1", "tcp_port": port}],
        "routes": {DOMAIN: {"host": "127.0.0.1", "port": node.ports["sip"], "transport": "tcp"}},
        "users": list(users) or [BOB],
        "time_out": 8.0,
        "retry": 1.0,
    }
    async with Pool(make_plan({**table, **more})) as pool:
        yield pool
