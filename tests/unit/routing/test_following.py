"""A node drops people at once: what its own clients wrote to them goes after them, no error comes back."""

import asyncio

from sqlalchemy import text

from tests.unit.rig import Device
from tests.unit.routing.nodes import Nodes
from tests.unit.users.place import DOMAIN
from ubiety.users.homed import HomedPeople

BOB = f"bob@{DOMAIN}"
BOBS = 2
"""Bob's set: that of node 2, served by node 1 as its backup."""


class OnlyOwn:
    """The fence of node 1 when another node has taken Bob's set."""

    def __init__(self, bob: int) -> None:
        self.bob = bob

    def held(self) -> list[tuple[int, int]]:
        """Nothing that the database would compare."""
        return []

    def covers(self, user_id: int) -> bool:
        """Everybody but Bob."""
        return user_id != self.bob


async def backed_up(nodes: Nodes, present: bool = True) -> tuple[Device, Device]:
    """Ann and Bob, both served by node 1, which is the backup of node 2."""
    nodes.nodes[2].place.context.homes.here.clear()
    nodes.take_over(BOBS, 1)
    (ann,) = await nodes.person("ann", 1, "desk")
    (bob,) = await nodes.person("bob", BOBS, "desk")
    await ann.sign_in()
    if present:
        await bob.sign_in()
    await nodes.calm()
    return ann, bob


def drop(nodes: Nodes, bob: Device) -> None:
    """Node 1 loses Bob's set; nobody knows yet who serves it."""
    place = nodes.nodes[1].place
    place.context.homes.here.discard(BOBS)
    del nodes.serving[BOBS]
    HomedPeople(place.context, place.users).release(BOBS)
    if bob.session is not None:
        bob.lose()
        bob.session = None


def read(ann: Device) -> int:
    ann.request()
    ann.read()
    return ann.h


async def test_what_was_not_settled_goes_after_its_recipient(nodes: Nodes) -> None:
    ann, bob = await backed_up(nodes)
    nodes.nodes[1].place.ledger.window = 30.0
    ann.write_to(BOB)
    ann.write_to(BOB)
    drop(nodes, bob)
    ann.write_to(BOB)
    await nodes.pause()
    assert read(ann) == 1, "neither settled nor refused"
    await nodes.advance(1)
    nodes.take_over(BOBS, 2)
    await bob.sign_in()
    await nodes.advance(1)
    bob.read()
    assert [int(name.rpartition("-")[2]) for name in nodes._shown[BOB]] == [1, 2, 3]
    bob.acknowledge()
    nodes.nodes[1].place.ledger.window = 0.001
    await nodes.advance(1)
    assert read(ann) == 4
    assert await nodes.finish() == 3
    assert nodes.repeats == 0


async def test_what_the_fence_refused_waits_until_the_new_home_is_known(nodes: Nodes) -> None:
    ann, bob = await backed_up(nodes, present=False)
    place = nodes.nodes[1].place
    person = place.context.homes.find(BOB)
    assert person is not None
    place.ledger.fence = OnlyOwn(person.user_id)
    ann.write_to(BOB)
    await nodes.advance(0.5)
    ann.write_to(BOB)
    await nodes.advance(0.5)
    assert read(ann) == 1, "the node believes still that it serves him, and tries again"
    drop(nodes, bob)
    nodes.take_over(BOBS, 2)
    await nodes.advance(1)
    assert read(ann) == 3
    await bob.sign_in()
    assert await nodes.finish() == 2
    assert nodes.repeats == 0


async def test_what_is_being_written_at_that_moment_is_not_sent_as_well(nodes: Nodes) -> None:
    ann, bob = await backed_up(nodes)
    place = nodes.nodes[1].place
    with place.database._write_engine.connect() as blocking:
        blocking.execute(text("LOCK TABLE deliveries IN EXCLUSIVE MODE"))
        ann.write_to(BOB)
        await asyncio.sleep(0.2)
        drop(nodes, bob)
        await nodes.pause()
        assert read(ann) == 1
        assert not nodes.nodes[1].elsewhere.nodes.lanes
        blocking.rollback()
    await nodes.calm()
    assert read(ann) == 2, "the row counts"
    nodes.take_over(BOBS, 2)
    await bob.sign_in()
    assert await nodes.finish() == 1
    assert nodes.repeats == 0
