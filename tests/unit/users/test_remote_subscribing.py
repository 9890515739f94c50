"""Subscriptions between people of different nodes: both lists, both clients and both presences follow."""

import asyncio

import pytest

from tests.unit.routing.nodes import Nodes
from tests.unit.users.place import Client, condition
from tests.unit.users.test_remote_presence import add, seen, settle, sign_in
from tests.unit.users.test_subscribing import kinds, pushed, side
from ubiety.element import Element
from ubiety.routing.links import Kind, LinkEvent
from ubiety.store import roster as rows
from ubiety.users import policy_changes
from ubiety.users.preferences import AUTO_AUTHORIZE, MAX_WATCHERS
from ubiety.xmpp import ns

ROSTER = f"<query xmlns='{ns.ROSTER}'/>"


async def interested(nodes: Nodes, *names: str) -> list[Client]:
    """Sign people in who have asked for their contact lists."""
    for node in nodes.nodes.values():
        node.place.set(AUTO_AUTHORIZE, False)
    await add(nodes, *names)
    clients = [await sign_in(nodes, name) for name in names]
    for client in clients:
        await client.ask("get", ROSTER)
        client.edge.written.clear()
    return clients


async def send(nodes: Nodes, client: Client, kind: str, to: Client) -> None:
    """Send a subscription stanza."""
    client.send(f"<presence type='{kind}' to='{to.bare}'/>")
    await settle(nodes)


async def take(nodes: Nodes, client: Client) -> list[Element]:
    """Take everything that a client got."""
    await settle(nodes)
    return await client.take()


async def sides(one: Client, other: Client) -> tuple[str, str]:
    """What both store of each other."""
    return await side(one, other.bare), await side(other, one.bare)


async def befriend(nodes: Nodes, one: Client, other: Client) -> None:
    """Subscribe both ways and forget what was shown."""
    for asks, grants in ((one, other), (other, one)):
        await send(nodes, asks, "subscribe", grants)
        await send(nodes, grants, "subscribed", asks)
    assert await sides(one, other) == ("both", "both")
    for client in (one, other):
        await take(nodes, client)


async def test_ask_and_grant_both_ways(nodes: Nodes) -> None:
    ann, bob = await interested(nodes, "ann", "bob")
    ann.send(f"<presence type='subscribe' to='{bob.bare}'><status>It is me</status></presence>")
    got = await take(nodes, bob)
    assert kinds(got) == [(ann.bare, "subscribe")] and pushed(got) == []
    status = got[0].find("status")
    assert status is not None and status.text == "It is me"
    assert pushed(await take(nodes, ann)) == [(bob.bare, "none", "subscribe")]
    assert await sides(ann, bob) == ("none ask", "none pending hidden")
    await send(nodes, bob, "subscribed", ann)
    got = await take(nodes, ann)
    assert pushed(got) == [(bob.bare, "to", None)]
    assert kinds(got) == [(bob.bare, "subscribed"), (bob.full, None)]
    assert pushed(await take(nodes, bob)) == [(ann.bare, "from", None)]
    await send(nodes, bob, "subscribe", ann)
    await send(nodes, ann, "subscribed", bob)
    assert (ann.full, None) in kinds(await take(nodes, bob))
    assert await sides(ann, bob) == ("both", "both")
    for client, other in ((ann, bob), (bob, ann)):
        client.send("<presence><show>away</show></presence>")
        assert (client.full, "away") in await seen(nodes, other)


async def test_deny_and_take_back(nodes: Nodes) -> None:
    ann, bob = await interested(nodes, "ann", "bob")
    await send(nodes, ann, "subscribe", bob)
    await send(nodes, bob, "unsubscribed", ann)
    got = await take(nodes, ann)
    assert kinds(got) == [(bob.bare, "unsubscribed")] and pushed(got)[-1] == (bob.bare, "none", None)
    assert await sides(ann, bob) == ("none", "nothing")
    await send(nodes, ann, "subscribe", bob)
    await send(nodes, ann, "unsubscribe", bob)
    assert kinds(await take(nodes, bob))[-1] == (ann.bare, "unsubscribe")
    assert await sides(ann, bob) == ("none", "nothing")


async def test_unsubscribe_and_cancel(nodes: Nodes) -> None:
    ann, bob = await interested(nodes, "ann", "bob")
    await befriend(nodes, ann, bob)
    await send(nodes, ann, "unsubscribe", bob)
    assert (bob.full, "unavailable") in kinds(await take(nodes, ann))
    assert await sides(ann, bob) == ("from", "to")
    await take(nodes, bob)
    bob.send("<presence><show>dnd</show></presence>")
    ann.send("<presence><show>away</show></presence>")
    assert await seen(nodes, ann) == [(ann.full, "away")]
    assert (ann.full, "away") in await seen(nodes, bob)
    await send(nodes, ann, "unsubscribed", bob)
    assert kinds(await take(nodes, bob)) == [(ann.bare, "unsubscribed"), (ann.full, "unavailable")]
    assert await sides(ann, bob) == ("none", "none")


async def test_removing_a_contact_ends_both_directions(nodes: Nodes) -> None:
    ann, bob = await interested(nodes, "ann", "bob")
    await befriend(nodes, ann, bob)
    item = f"<query xmlns='{ns.ROSTER}'><item jid='{bob.bare}' subscription='remove'/></query>"
    assert (await ann.ask("set", item)).get("type") == "result"
    got = await take(nodes, ann)
    assert pushed(got) == [(bob.bare, "remove", None)] and (bob.full, "unavailable") in kinds(got)
    got = await take(nodes, bob)
    assert kinds(got) == [
        (ann.bare, "unsubscribe"),
        (ann.bare, "unsubscribed"),
        (ann.full, "unavailable"),
    ]
    assert pushed(got)[-1] == (ann.bare, "none", None)
    assert await sides(ann, bob) == ("nothing", "none")
    assert not ann.user.watched and not bob.user.watchers
    assert condition(await ann.ask("set", item)) == "item-not-found"


async def test_request_waits_for_the_absent(nodes: Nodes) -> None:
    (ann,) = await interested(nodes, "ann")
    await add(nodes, "bob")
    ann.send("<presence type='subscribe' to='bob@example.org'/>")
    await settle(nodes)
    bob = await sign_in(nodes, "bob", keep=True)
    assert (ann.bare, "subscribe") in kinds(await take(nodes, bob))
    await send(nodes, bob, "subscribed", ann)
    assert (bob.full, None) in kinds(await take(nodes, ann))


async def test_nobody_is_asked_where_the_administrator_says_so(nodes: Nodes) -> None:
    ann, bob = await interested(nodes, "ann", "bob")
    for node in nodes.nodes.values():
        node.place.set(AUTO_AUTHORIZE, True)
    await send(nodes, ann, "subscribe", bob)
    assert kinds(await take(nodes, ann)) == [(bob.bare, "subscribed"), (bob.full, None)]
    assert (ann.bare, "subscribe") not in kinds(await take(nodes, bob))
    assert await sides(ann, bob) == ("to", "from")


@pytest.mark.parametrize("is_asker", [True, False])
async def test_between_people_of_whom_one_blocks_nothing_begins(nodes: Nodes, is_asker: bool) -> None:
    ann, bob = await interested(nodes, "ann", "bob")
    blocks, other = (ann, bob) if is_asker else (bob, ann)
    context = blocks.place.context
    await policy_changes.put(context, blocks.user.person, policy_changes.BLOCK, [other.user.jid])
    await send(nodes, ann, "subscribe", bob)
    assert kinds(await take(nodes, bob)) == []
    assert await sides(ann, bob) == ("none ask", "nothing")


async def test_ending_a_subscription_reaches_a_side_that_blocks(nodes: Nodes) -> None:
    ann, bob = await interested(nodes, "ann", "bob")
    await befriend(nodes, ann, bob)
    await policy_changes.put(bob.place.context, bob.user.person, policy_changes.BLOCK, [ann.user.jid])
    await send(nodes, ann, "unsubscribe", bob)
    await send(nodes, ann, "unsubscribed", bob)
    assert await sides(ann, bob) == ("none", "none")
    assert not bob.user.watched and not bob.user.watchers


async def test_limits_hold_for_people_of_other_nodes(nodes: Nodes) -> None:
    ann, bob, ben = await interested(nodes, "ann", "bob", "ben")
    for node in nodes.nodes.values():
        node.place.set(AUTO_AUTHORIZE, True)
        node.place.set(MAX_WATCHERS, 1)
    await send(nodes, bob, "subscribe", ann)
    await send(nodes, ben, "subscribe", ann)
    (error,) = [p for p in await take(nodes, ben) if p.get("type") == "error"]
    assert condition(error) == "resource-constraint"
    assert await side(ben, ann.bare) == "nothing"


async def test_home_that_is_down_reads_it_when_it_is_back(nodes: Nodes) -> None:
    ann, bob = await interested(nodes, "ann", "bob")
    await befriend(nodes, ann, bob)
    await nodes.kill(2)
    nodes.nodes[1].presence.set_lost(2)
    nodes.nodes[1].place.context.homes.serving.pop(2)
    ann.send(f"<presence type='unsubscribe' to='{bob.bare}'/>")
    await settle(nodes)
    assert await side(ann, bob.bare) == "from"
    nodes.take_over(2, 1)
    nodes.nodes[1].presence.set_gained(1, 2)
    back = await nodes.nodes[1].place.sign_in("bob", presence=None)
    assert list(back.user.watched) == [ann.user.person.address_id] and not back.user.watchers


async def test_change_lost_on_the_way_is_told_again(nodes: Nodes) -> None:
    ann, bob = await interested(nodes, "ann", "bob")
    await befriend(nodes, ann, bob)
    links = nodes.nodes[1].links
    lost: list[tuple[object, ...]] = []
    send_item = links.send

    def lose(node_id: int, item: tuple[object, ...], *, sheddable: bool = False) -> None:
        if item[0] == Kind.ROSTER:
            lost.append(item)
        else:
            send_item(node_id, item, sheddable=sheddable)

    links.send = lose  # type: ignore[method-assign]
    await send(nodes, ann, "unsubscribe", bob)
    assert bob.user.watchers and len(lost) == 1
    links.send = send_item  # type: ignore[method-assign]
    for told in links._lost_watchers:
        told(2, lost)
    await send(nodes, bob, "unsubscribe", ann)  # newer than what comes now
    for notice in links._watchers:
        notice(2, LinkEvent.GAP)
    await settle(nodes)
    assert not bob.user.watchers and not bob.user.watched and not ann.user.watched and not ann.user.watchers
    assert await sides(ann, bob) == ("none", "none")
    assert pushed(await take(nodes, bob))[-1] == (ann.bare, "none", None)


async def test_older_word_that_comes_late_changes_nothing(nodes: Nodes) -> None:
    ann, bob = await interested(nodes, "ann", "bob")
    await befriend(nodes, ann, bob)
    links, late = nodes.nodes[2].links, []
    take_roster = links._handlers[Kind.ROSTER]
    links._handlers[Kind.ROSTER] = lambda *args: late.append(args)
    await send(nodes, ann, "unsubscribe", bob)
    await send(nodes, bob, "subscribe", ann)  # asks nothing: still subscribed
    await send(nodes, bob, "unsubscribe", ann)
    links._handlers[Kind.ROSTER] = take_roster
    for args in late:
        take_roster(*args)
    await settle(nodes)
    assert await sides(ann, bob) == ("none", "none")
    for client in (ann, bob):
        assert not client.user.watched and not client.user.watchers


async def test_both_nodes_write_the_same_rows_at_once(nodes: Nodes) -> None:
    names = ["ann", "amy", "bob", "ben"]
    clients = await interested(nodes, *names)
    here, there = clients[:2], clients[2:]
    for _ in range(3):
        for kind in ("subscribe", "subscribed", "unsubscribe", "unsubscribed", "subscribe", "subscribed"):
            for one in here:
                for other in there:
                    one.send(f"<presence type='{kind}' to='{other.bare}'/>")
                    other.send(f"<presence type='{kind}' to='{one.bare}'/>")
        await asyncio.sleep(0.01)
    await settle(nodes)
    for client in clients:
        assert [e for e in await client.take("presence") if e.get("type") == "error"] == []
        user = client.user
        stored = await client.place.database.read(rows.load_packed, user.person.user_id)
        assert sorted(user.watched) == [contact for contact, flags in stored if flags & rows.TO]
        assert sorted(user.watchers) == [contact for contact, flags in stored if flags & rows.FROM]
        login = await client.place.database.read(
            lambda conn, who=user.person.user_id: rows.VERSION.value(conn, user_id=who)
        )
        assert user.roster_version == login


async def test_whom_somebody_elsewhere_has_allowed_is_not_asked_for(nodes: Nodes) -> None:
    ann, bob = await interested(nodes, "ann", "bob")
    await policy_changes.put(bob.place.context, bob.user.person, policy_changes.ALLOW, [ann.user.jid])
    await send(nodes, ann, "subscribe", bob)
    assert await sides(ann, bob) == ("to", "from")
    assert kinds(await take(nodes, bob)) == []
