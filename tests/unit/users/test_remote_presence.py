"""Presence between nodes: seen, hidden, looked at for a while, lost with a node, repaired."""

import pytest

from tests.unit.routing.nodes import Nodes
from tests.unit.users.place import DOMAIN, Client
from ubiety.routing.homes import Person
from ubiety.routing.links import Kind, LinkEvent
from ubiety.store import roster as rows
from ubiety.users import availability, policy_changes, presence_service
from ubiety.users.homed import HomedPeople
from ubiety.users.preferences import AUTO_AUTHORIZE, DEFAULT_BLOCK, SHARING_ENABLED, TEMPORARY_SECONDS
from ubiety.users.shown import Shown
from ubiety.xmpp import ns

AWAY = "<presence><show>away</show></presence>"
PLACES = {"ann": 1, "amy": 1, "bob": 2, "ben": 2}


async def add(nodes: Nodes, *names: str) -> list[Person]:
    """Add people whose sets are the nodes of PLACES."""
    for name in names:
        await nodes.person(name, PLACES[name])
    found = [nodes.nodes[1].place.context.homes.find(f"{name}@{DOMAIN}") for name in names]
    return [person for person in found if person is not None]


async def befriend(nodes: Nodes, *names: str) -> None:
    """Have people see each other, as the database says: nobody is loaded yet."""
    people = await add(nodes, *names)

    def write(conn):  # type: ignore[no-untyped-def]
        for one in people:
            for other in people:
                if one is not other:
                    rows.set_subscription(conn, one.user_id, other.address_id, rows.BOTH)

    await nodes.nodes[1].place.database.write(write)


async def sign_in(nodes: Nodes, name: str, resource: str = "desk", *, keep: bool = False) -> Client:
    """Sign somebody in at their home; ``keep`` what they are shown at once."""
    place = nodes.nodes[PLACES[name]].place
    client = await place.sign_in(name, resource, presence=None)
    client.send("<presence/>")
    await settle(nodes)
    if not keep:
        client.edge.written.clear()
    return client


async def settle(nodes: Nodes) -> None:
    """Wait until nothing is under way."""
    for _ in range(3):
        await nodes.calm()
        await nodes.pause(20)


async def seen(nodes: Nodes, client: Client) -> list[tuple[str, str | None]]:
    """What a client was shown: (sender, type, or else what they say)."""
    await settle(nodes)
    found = []
    for stanza in await client.take("presence"):
        show = stanza.find("show", ns.CLIENT)
        found.append((stanza.get("from") or "", stanza.get("type") or (show.text if show else None)))
    return found


async def pair(nodes: Nodes) -> tuple[Client, Client]:
    """Ann at node 1 and Bob at node 2, who see each other."""
    await befriend(nodes, "ann", "bob")
    ann, bob = await sign_in(nodes, "ann"), await sign_in(nodes, "bob")
    for client in (ann, bob):
        client.edge.written.clear()
    return ann, bob


async def test_who_comes_sees_and_is_seen(nodes: Nodes) -> None:
    await befriend(nodes, "ann", "amy", "bob")
    ann, amy = await sign_in(nodes, "ann"), await sign_in(nodes, "amy")
    await seen(nodes, ann)
    bob = await sign_in(nodes, "bob", keep=True)
    assert sorted(await seen(nodes, bob)) == [(amy.full, None), (ann.full, None), (bob.full, None)]
    assert await seen(nodes, ann) == [(bob.full, None)]
    bob.send(AWAY)
    assert await seen(nodes, ann) == [(bob.full, "away")]
    assert (bob.full, "away") in await seen(nodes, amy)
    phone = await sign_in(nodes, "ann", "phone", keep=True)
    assert (bob.full, "away") in await seen(nodes, phone)
    assert await seen(nodes, ann) == [(phone.full, None)]  # who was there is not shown again
    bob.leave()
    for client in (ann, amy, phone):
        assert (await seen(nodes, client))[-1] == (bob.full, "unavailable")
    assert len(nodes.nodes[1].presence.shown) == 0


async def test_one_item_for_all_watchers_at_a_node(nodes: Nodes) -> None:
    await befriend(nodes, "ann", "amy", "bob")
    for name in ("ann", "amy", "bob"):
        await sign_in(nodes, name)
    links = nodes.nodes[2].links
    sent: list[object] = []
    send = links.send
    links.send = lambda node, item, **how: (sent.append(item[0]), send(node, item, **how))[1]  # type: ignore[method-assign,func-returns-value]
    session = nodes.nodes[2].place.context.actors[_id(nodes, "bob")].sessions["desk"]
    availability.broadcast(
        nodes.nodes[2].place.context,
        nodes.nodes[2].place.context.actors[_id(nodes, "bob")],
        session.jid,
        b"'/>",
    )
    assert sent == [Kind.PRESENCE]


def _id(nodes: Nodes, name: str) -> int:
    person = nodes.nodes[1].place.context.homes.find(f"{name}@{DOMAIN}")
    assert person is not None
    return person.address_id


@pytest.mark.parametrize("who", ["ann", "bob"])
async def test_whoever_blocks_the_other_sees_and_is_seen_no_more(nodes: Nodes, who: str) -> None:
    ann, bob = await pair(nodes)
    blocks, other = (ann, bob) if who == "ann" else (bob, ann)
    context = nodes.nodes[PLACES[who]].place.context
    await policy_changes.put(context, blocks.user.person, policy_changes.BLOCK, [other.user.jid])
    assert await seen(nodes, other) == [(blocks.full, "unavailable")]
    assert await seen(nodes, blocks) == [(other.full, "unavailable")]
    for client in (ann, bob):
        client.send(AWAY)
    assert await seen(nodes, other) == [(other.full, "away")]
    assert await seen(nodes, blocks) == [(blocks.full, "away")]
    later = await sign_in(nodes, other.user.jid.local, "phone", keep=True)
    assert blocks.full not in dict(await seen(nodes, later))
    assert later.full not in dict(await seen(nodes, blocks))
    await policy_changes.remove(context, blocks.user.person, [other.user.jid])
    assert (blocks.full, "away") in await seen(nodes, later)
    assert sorted(await seen(nodes, blocks)) == [(other.full, "away"), (later.full, None)]


async def test_looking_at_somebody_for_a_while(nodes: Nodes) -> None:
    for node in nodes.nodes.values():
        node.place.set(AUTO_AUTHORIZE, True)
    await add(nodes, "ann", "bob")
    ann, bob = await sign_in(nodes, "ann"), await sign_in(nodes, "bob")
    here, there = nodes.nodes[1].place, nodes.nodes[2].place
    ann.send(f"<presence type='probe' to='{bob.bare}'/>")
    assert await seen(nodes, ann) == [(bob.full, None)]
    bob.send(AWAY)
    assert await seen(nodes, ann) == [(bob.full, "away")]
    assert there.context.counters.temporary_subscriptions == 1
    nodes.clock.advance(there.settings.get(TEMPORARY_SECONDS) + 1)
    there.users.expire()
    assert await seen(nodes, ann) == [(bob.full, "unavailable")]
    ann.send(f"<presence type='probe' to='{bob.bare}'/>")
    await settle(nodes)
    assert there.context.looked_at
    ann.leave()
    await settle(nodes)
    assert not there.context.looked_at and there.context.counters.temporary_subscriptions == 0
    assert here.context.actors[ann.user.person.address_id].looks_at == set()


async def test_whoever_blocks_cannot_be_looked_at(nodes: Nodes) -> None:
    for node in nodes.nodes.values():
        node.place.set(AUTO_AUTHORIZE, True)
    await add(nodes, "ann", "bob")
    ann, bob = await sign_in(nodes, "ann"), await sign_in(nodes, "bob")
    context = nodes.nodes[2].place.context
    await policy_changes.put(context, bob.user.person, policy_changes.BLOCK, [ann.user.jid])
    ann.send(f"<presence type='probe' to='{bob.bare}'/>")
    assert await seen(nodes, ann) == [] and not context.looked_at


async def test_sharing_off_and_on(nodes: Nodes) -> None:
    ann, bob = await pair(nodes)
    for node in nodes.nodes.values():
        node.place.set(SHARING_ENABLED, False)
    assert await seen(nodes, ann) == [(bob.full, "unavailable")]
    assert await seen(nodes, bob) == [(ann.full, "unavailable")]
    bob.send(AWAY)
    assert await seen(nodes, ann) == []
    for node in nodes.nodes.values():
        node.place.set(SHARING_ENABLED, True)
    assert await seen(nodes, ann) == [(bob.full, "away")]
    assert (ann.full, None) in await seen(nodes, bob)


async def test_default_policy_is_followed_at_once(nodes: Nodes) -> None:
    ann, bob = await pair(nodes)
    for node in nodes.nodes.values():
        node.place.set(DEFAULT_BLOCK, "block")
    assert (bob.full, "unavailable") in await seen(nodes, ann)
    assert (ann.full, "unavailable") in await seen(nodes, bob)


async def test_presence_engine_stopped_and_started(nodes: Nodes) -> None:
    ann, bob = await pair(nodes)
    here = nodes.nodes[1].place.context
    await presence_service.stop(here)
    bob.send(AWAY)
    assert await seen(nodes, ann) == []
    await presence_service.start(here)
    assert (bob.full, "away") in await seen(nodes, ann)


async def test_lost_node_takes_its_people_with_it(nodes: Nodes) -> None:
    await befriend(nodes, "ann", "bob", "ben")
    ann, bob = await sign_in(nodes, "ann"), await sign_in(nodes, "bob")
    phone, _ben = await sign_in(nodes, "bob", "phone"), await sign_in(nodes, "ben")
    context = nodes.nodes[2].place.context
    await policy_changes.put(context, _ben.user.person, policy_changes.BLOCK, [ann.user.jid])
    await seen(nodes, ann)
    await nodes.kill(2)
    presence = nodes.nodes[1].presence
    presence.set_lost(2)
    presence.set_lost(2)
    # Once for each resource; nothing of somebody whom she was not shown.
    assert sorted(await seen(nodes, ann)) == [(bob.full, "unavailable"), (phone.full, "unavailable")]
    assert len(presence.shown) == 0


async def test_people_who_sign_in_at_their_new_home_stay_shown(nodes: Nodes) -> None:
    ann, _bob = await pair(nodes)
    await nodes.kill(2)
    nodes.nodes[1].presence.set_lost(2)
    nodes.take_over(2, 1)
    nodes.nodes[1].presence.set_gained(1, 2)
    bob = await nodes.nodes[1].place.sign_in("bob", presence=None)
    bob.send("<presence/>")
    assert (await seen(nodes, ann))[-1] == (bob.full, None)
    assert (ann.full, None) in await seen(nodes, bob)


async def test_who_is_dropped_with_a_lost_set_is_gone_for_those_who_stay(nodes: Nodes) -> None:
    await befriend(nodes, "ann", "amy", "bob")
    ann, amy = await sign_in(nodes, "ann"), await sign_in(nodes, "amy")
    context = nodes.nodes[1].place.context
    nodes.take_over(2, 1)  # this node serves two sets for a while
    nodes.nodes[1].presence.set_gained(1, 2)
    bob = await nodes.nodes[1].place.sign_in("bob", presence=None)
    bob.send("<presence/>")
    assert (bob.full, None) in await seen(nodes, ann)
    await policy_changes.put(context, bob.user.person, policy_changes.BLOCK, [amy.user.jid])
    await seen(nodes, amy)
    context.homes.here.discard(2)
    HomedPeople(context, nodes.nodes[1].place.users).release(2)
    assert await seen(nodes, ann) == [(bob.full, "unavailable")]
    assert await seen(nodes, amy) == []


async def test_stopped_engine_takes_nothing_back_and_answers_when_it_runs(nodes: Nodes) -> None:
    ann, bob = await pair(nodes)
    there = nodes.nodes[2].place.context
    await presence_service.stop(there)
    nodes.nodes[1].presence.resync(2)
    assert await seen(nodes, ann) == []
    await presence_service.start(there)
    assert (bob.full, None) in await seen(nodes, ann)
    here = nodes.nodes[1].place.context
    await presence_service.stop(here)
    await nodes.kill(2)
    nodes.nodes[1].place.context.homes.serving.pop(2)
    nodes.nodes[1].presence.set_lost(2)
    assert await seen(nodes, ann) == []
    await presence_service.start(here)
    assert (bob.full, "unavailable") in await seen(nodes, ann)


async def test_gap_is_repaired(nodes: Nodes) -> None:
    await befriend(nodes, "ann", "bob", "ben")
    ann, bob, ben = [await sign_in(nodes, name) for name in ("ann", "bob", "ben")]
    await seen(nodes, ann)
    nodes.nodes[1].links.dropped.add(Kind.PRESENCE)  # presence is shed on its way
    bob.send(AWAY)
    ben.leave()
    context = nodes.nodes[2].place.context
    phone = await sign_in(nodes, "bob", "phone")
    assert await seen(nodes, ann) == []
    nodes.nodes[1].links.dropped.clear()
    for notice in nodes.nodes[1].links._watchers:
        notice(2, LinkEvent.GAP)
        notice(2, LinkEvent.GAP)
    assert sorted(await seen(nodes, ann)) == [
        (ben.full, "unavailable"),
        (bob.full, "away"),
        (phone.full, None),
    ]
    nodes.nodes[1].links.dropped.add(Kind.PRESENCE)
    await policy_changes.put(context, bob.user.person, policy_changes.BLOCK, [ann.user.jid])
    nodes.nodes[1].links.dropped.clear()
    nodes.nodes[1].presence.resync(2)
    await seen(nodes, ann)
    assert nodes.nodes[1].presence.shown.get(bob.user.person.address_id) is None


async def test_restarted_node_shows_only_who_is_back(nodes: Nodes) -> None:
    ann, bob = await pair(nodes)
    await nodes.kill(2)
    nodes.start(2).serve(2)
    nodes.serving[2] = 2
    nodes.publish()
    nodes.nodes[1].links.flows.pop(2)
    nodes.nodes[1].links.meet(2)
    await nodes.advance(1)
    nodes.nodes[1].presence.resync(2)
    assert await seen(nodes, ann) == [(bob.full, "unavailable")]
    bob = await sign_in(nodes, "bob", keep=True)
    assert await seen(nodes, ann) == [(bob.full, None)]
    assert (ann.full, None) in await seen(nodes, bob)


async def test_cut_and_mended_link_ends_in_the_right_picture(nodes: Nodes) -> None:
    ann, bob = await pair(nodes)
    nodes.cut.add(frozenset((1, 2)))
    await nodes.advance(4)
    bob.send(AWAY)
    phone = await sign_in(nodes, "bob", "phone")
    bob.leave()
    await nodes.advance(1)
    nodes.cut.clear()
    await nodes.advance(6)
    shown = dict(await seen(nodes, ann))
    assert shown[phone.full] is None and shown[bob.full] == "unavailable"


def test_what_is_shown_is_all_that_is_remembered() -> None:
    shown = Shown()
    shown.put(7, "bob@example.org", "desk", [1])
    shown.put(7, "bob@example.org", "phone", [1, 2])
    shown.replace(7, "bob@example.org", "desk", [1, 2])
    found = shown.get(7)
    assert found is not None and found.resources == ("desk", "phone") and list(found.watchers) == [1, 2]
    shown.forget_watcher(7, 1)
    shown.remove(7, "desk")
    assert shown.has(7, "phone") and not shown.has(7, "desk")
    assert list(shown.take([7, 8])) == [7] and len(shown) == 0
    shown.put(7, "bob@example.org", "desk", [1])
    shown.forget_watcher(7, 1)
    shown.put(8, "ben@example.org", "desk", [])
    assert len(shown) == 0
