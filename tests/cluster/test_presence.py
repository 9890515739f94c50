"""Two node processes on PostgreSQL and NATS: people become contacts and see each other; a node dies."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import pytest

from tests.harness.client import Client, log_in
from tests.harness.wire import Tag
from tests.nats import Nats
from tests.node import DOMAIN, Node, NodeFactory
from ubiety.cluster.changes import POLL_SECONDS
from ubiety.xmpp import ns

MakeNats = Callable[..., Nats]
MOST_SECONDS = 20.0
"""From a node's death until its people are shown as gone; no high availability here."""


def presence(sender: str, kind: str | None = None, show: str = "") -> Callable[[Tag], bool]:
    """Match presence of somebody's device."""

    def match(tag: Tag) -> bool:
        if tag.name != "presence" or tag.get("type") != kind:
            return False
        found = tag.find("show", ns.CLIENT)
        return (tag.get("from") or "").startswith(f"{sender}@{DOMAIN}/") and show == (
            found.text if found is not None else ""
        )

    return match


async def befriend(one: Client, other: Client) -> None:
    """Have two people see each other; nobody is asked by default."""
    for client, name in ((one, "bob"), (other, "ann")):
        client.send(f"<presence type='subscribe' to='{name}@{DOMAIN}'/>")
        await client.expect(presence(name))


def home_of(node: Node, name: str) -> str:
    """The node to which somebody is assigned."""
    return str(json.loads(node.command("user", "show", f"{name}@{DOMAIN}", "--json"))["node"])


@pytest.mark.timeout(180)
async def test_people_of_two_nodes_see_each_other_until_one_dies(
    start_node: NodeFactory, postgres_url: str, own_nats: MakeNats
) -> None:
    nats = own_nats()
    nats.start()
    about = {"UBIETY_BUS_URL": nats.url, "UBIETY_BUS_CA": str(nats.ca)}
    nodes = [start_node(postgres_url, {**about, "UBIETY_NODE": f"node{number}"}) for number in (1, 2)]
    one = nodes[0]
    one.add_users("ann", "bob")
    homes = {name: home_of(one, name) for name in ("ann", "bob")}
    assert sorted(homes.values()) == ["node1", "node2"], homes
    at = {name: nodes[int(home[-1]) - 1] for name, home in homes.items()}
    await asyncio.sleep(POLL_SECONDS + 0.5)  # by then every node has heard of them
    (ann,) = await log_in(at["ann"].place, "ann")
    (bob,) = await log_in(at["bob"].place, "bob")
    for client in (ann, bob):
        client.send("<presence/>")
        await client.iq("get", f"<query xmlns='{ns.ROSTER}'/>")
    await befriend(ann, bob)
    bob.send("<presence><show>away</show></presence>")
    await ann.expect(presence("bob", show="away"))
    await ann.iq("set", f"<block xmlns='{ns.BLOCKING}'><item jid='bob@{DOMAIN}'/></block>")
    await bob.expect(presence("ann", "unavailable"))
    await ann.expect(presence("bob", "unavailable"))
    await ann.iq("set", f"<unblock xmlns='{ns.BLOCKING}'><item jid='bob@{DOMAIN}'/></unblock>")
    await bob.expect(presence("ann"))
    await ann.expect(presence("bob", show="away"))
    at["bob"].kill()
    bob.abort()
    begun = time.monotonic()
    await ann.expect(presence("bob", "unavailable"), MOST_SECONDS)
    print(f"shown as gone after {time.monotonic() - begun:.1f} s")
    at["bob"].start()
    (bob,) = await log_in(at["bob"].place, "bob")
    bob.send("<presence><show>dnd</show></presence>")
    await ann.expect(presence("bob", show="dnd"))
    await bob.expect(presence("ann"))
    for client in (ann, bob):
        await client.close()
