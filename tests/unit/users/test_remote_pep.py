"""Personal events between nodes: told to clients that want them, kept from those who may not have them."""

from tests.unit.routing.nodes import Nodes
from tests.unit.users.place import Client
from tests.unit.users.test_pep import NICK, done, events, publish, want
from tests.unit.users.test_remote_presence import befriend, settle, sign_in
from ubiety.routing.links import Kind
from ubiety.users import policy_changes
from ubiety.users.preferences import AUTO_AUTHORIZE
from ubiety.xmpp import ns


async def told(nodes: Nodes, client: Client) -> list[tuple[str | None, str, list[tuple[str, str | None]]]]:
    """Take the events that a client was told."""
    await settle(nodes)
    return await events(client)


async def test_events_reach_watchers_at_other_nodes_once_per_node(nodes: Nodes) -> None:
    await befriend(nodes, "ann", "amy", "bob", "ben")
    ann, amy, bob, ben = [await sign_in(nodes, name) for name in ("ann", "amy", "bob", "ben")]
    for client in (ann, bob, ben):
        await want(client, ns.AVATAR_METADATA, ns.BOOKMARKS, NICK)
    sent: list[object] = []
    links = nodes.nodes[1].links
    send = links.send

    def note(node_id: int, item: tuple[object, ...], *, sheddable: bool = False) -> None:
        sent.append(item[0])
        send(node_id, item, sheddable=sheddable)

    links.send = note  # type: ignore[method-assign]
    await done(ann, publish(NICK, text="Ann"))
    assert sent.count(Kind.EVENT) == 1
    for client in (bob, ben):
        assert await told(nodes, client) == [(ann.bare, NICK, [("item", "current")])]
    assert await told(nodes, amy) == []
    await done(ann, publish(ns.BOOKMARKS, access_model="whitelist"))  # nobody else's business
    assert sent.count(Kind.EVENT) == 1
    assert await told(nodes, bob) == [] and await told(nodes, ben) == []
    assert [node for _, node, _ in await told(nodes, ann)] == [NICK, ns.BOOKMARKS]


async def test_whoever_blocks_the_other_is_told_nothing(nodes: Nodes) -> None:
    await befriend(nodes, "ann", "bob", "ben")
    ann, bob, ben = [await sign_in(nodes, name) for name in ("ann", "bob", "ben")]
    for client in (bob, ben):
        await want(client, NICK)
    here, there = ann.place.context, bob.place.context
    await policy_changes.put(here, ann.user.person, policy_changes.BLOCK, [bob.user.jid])
    await policy_changes.put(there, ben.user.person, policy_changes.BLOCK, [ann.user.jid])
    await settle(nodes)
    await done(ann, publish(NICK, text="Ann"))
    assert await told(nodes, bob) == [] and await told(nodes, ben) == []
    phone = await sign_in(nodes, "bob", "phone")
    tablet = await sign_in(nodes, "ben", "tablet")
    for client in (phone, tablet):
        await want(client, NICK)
        assert await told(nodes, client) == []


async def test_newest_item_of_people_of_other_nodes_at_sign_in(nodes: Nodes) -> None:
    await befriend(nodes, "ann", "bob")
    ann = await sign_in(nodes, "ann")
    await done(ann, publish(NICK, text="Ann"))
    bob = await sign_in(nodes, "bob")
    await want(bob, NICK)
    assert await told(nodes, bob) == [(ann.bare, NICK, [("item", "current")])]


async def test_who_looks_for_a_while_is_told_too(nodes: Nodes) -> None:
    for node in nodes.nodes.values():
        node.place.set(AUTO_AUTHORIZE, True)
    await befriend(nodes, "ann")
    await befriend(nodes, "bob")
    ann, bob = await sign_in(nodes, "ann"), await sign_in(nodes, "bob")
    await want(bob, NICK)
    bob.send(f"<presence type='probe' to='{ann.bare}'/>")
    await settle(nodes)
    await done(ann, publish(NICK, text="Ann"))
    assert await told(nodes, bob) == [(ann.bare, NICK, [("item", "current")])]
