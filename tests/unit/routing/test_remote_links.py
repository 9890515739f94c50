"""Messages over the links of real nodes: ``cluster.links`` and the bus of one process."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.databases import open_migrated
from tests.unit.users.place import DOMAIN, Place
from ubiety.clock import SystemClock
from ubiety.cluster.bus import LocalBus
from ubiety.cluster.links import NodeLinks
from ubiety.users.elsewhere import Elsewhere


@pytest.fixture
async def places(postgres_url: str) -> AsyncIterator[dict[int, Place]]:
    """Two nodes."""
    bus, made, ends = LocalBus(), {}, {}
    loop = asyncio.get_running_loop()
    for node_id in (1, 2):
        database = open_migrated(postgres_url)
        place = made[node_id] = Place(database)
        context = place.context
        context.clock = SystemClock()
        context.homes.node_id, context.homes.here = node_id, {node_id}
        context.homes.serving = {3 - node_id: 3 - node_id}
        context.set_epoch(10 + node_id)
        links = ends[node_id] = NodeLinks(bus, "test", node_id, context.counters)
        place.users.elsewhere = Elsewhere(context, place.users, links, loop.call_later)
        await links.start()
        links.set_peers([1, 2])
    while not ends[1].is_up(2) or not ends[2].is_up(1):
        await asyncio.sleep(0.01)
    yield made
    for node_id in (1, 2):
        await ends[node_id].close(0.1)
        await made[node_id].close()


async def _person(places: dict[int, Place], name: str, home: int) -> None:
    (person,) = await places[home].people(name)
    for place in places.values():
        place.context.homes.put(replace(person, set_id=home))


async def test_messages_queries_and_verdicts_travel(places: dict[int, Place]) -> None:
    await _person(places, "ann", 1)
    await _person(places, "bob", 2)
    ann = await places[1].sign_in("ann", managed=True)
    bob = await places[2].sign_in("bob", managed=True)
    for number in range(3):
        ann.send(f"<message type='chat' to='bob@{DOMAIN}' id='m{number}'><body>{number}</body></message>")
    for number in range(3):
        found = await bob.saw(lambda e: e.name == "message")
        body = found.find("body")
        assert body is not None
        assert body.text == str(number)
    assert bob.session.smacks is not None and ann.session.smacks is not None
    bob.session.acknowledge(len(bob.session.smacks.unacked))
    async with asyncio.timeout(5):
        while ann.session.smacks.h < 4:
            await asyncio.sleep(0.01)
    answer = await ann.ask("get", "<vCard xmlns='vcard-temp'/>", f"bob@{DOMAIN}")
    assert answer.get("type") == "result"


async def test_what_gets_no_verdict_is_written_after_three_seconds(
    places: dict[int, Place],
) -> None:
    await _person(places, "ann", 1)
    await _person(places, "bob", 2)
    ann = await places[1].sign_in("ann", managed=True)
    places[1].context.homes.serving.clear()
    begun = asyncio.get_running_loop().time()
    ann.send(f"<message type='chat' to='bob@{DOMAIN}' id='m'><body>hello</body></message>")
    assert ann.session.smacks is not None
    async with asyncio.timeout(8):
        while ann.session.smacks.h < 2:
            await asyncio.sleep(0.01)
    assert 2.9 < asyncio.get_running_loop().time() - begun < 5
    bob = await places[2].sign_in("bob", presence=None)
    bob.send("<presence/>")
    assert await bob.bodies() == ["hello"]
