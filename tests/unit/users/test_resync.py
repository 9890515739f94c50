"""What a lost node leaves to be told is told bit by bit; who is there again is not taken back."""

import asyncio
from array import array
from collections.abc import AsyncIterator

import pytest

from tests.unit.users.place import DOMAIN, Place, PlainEdge
from ubiety.cluster.bus import LocalBus
from ubiety.cluster.links import NodeLinks
from ubiety.jid import parse
from ubiety.routing.homes import Person
from ubiety.routing.links import Item, Kind
from ubiety.routing.sessions import Session
from ubiety.telemetry import Counters
from ubiety.users.actor import User
from ubiety.users.remote_presence import RemotePresence
from ubiety.users.resync import STANZAS_AT_ONCE

HERE, OTHER = 1, 2
PEOPLE, WATCHERS = 60, 150
FIRST = 1000


class Written(PlainEdge):
    """A connection that counts what all of them were written."""

    count = 0

    def write(self, data: bytes) -> None:
        """Count it."""
        Written.count += 1


class Other:
    """The other node: its end of the links, and what it was asked."""

    def __init__(self, place: Place) -> None:
        bus = LocalBus()
        self.here = NodeLinks(bus, "test", HERE, place.context.counters)
        self.there = NodeLinks(bus, "test", OTHER, Counters())
        self.asked: list[Item] = []
        self.there.handle(Kind.PROBE, lambda _, item: self.asked.append(item))

    async def meet(self) -> None:
        """Have both ends hear of each other."""
        for links in (self.here, self.there):
            links.set_peers((HERE, OTHER))
            await links.start()
        while not (self.here.is_up(OTHER) and self.there.is_up(HERE)):
            await asyncio.sleep(0.01)

    async def say(self, *items: Item) -> None:
        """Send items and wait until they have arrived."""
        for item in items:
            self.there.send(HERE, item)
        await pause()

    async def close(self) -> None:
        """End both ends."""
        for links in (self.here, self.there):
            await links.close(0.1)


async def pause() -> None:
    """Let the loop go on for some turns."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def other(place: Place) -> AsyncIterator[Other]:
    """The other node, linked to the place."""
    made = Other(place)
    await made.meet()
    yield made
    place.context.actors.clear()
    await made.close()


async def crowd(place: Place, other: Other) -> tuple[RemotePresence, list[int]]:
    """PEOPLE of another node who are shown to WATCHERS here."""
    loop = asyncio.get_running_loop()
    context = place.context
    presence = RemotePresence(context, place.users, other.here, lambda _, fn: loop.call_soon(fn))
    context.neighbours = presence
    context.homes.serving[OTHER] = OTHER
    here = list(range(1, WATCHERS + 1))
    for number in here:
        person = Person(number, number, parse(f"w{number}@{DOMAIN}"))
        user = context.actors[number] = User(person, array("q"), array("q"), None)
        jid = person.jid.with_resource("desk")
        session = user.sessions["desk"] = Session(jid, number, place.users, Written(), context.defer, 0.0)
        session.available = True
    for number in range(FIRST, FIRST + PEOPLE):
        context.homes.put(Person(number, number, parse(f"p{number}@{DOMAIN}"), True, OTHER))
    await other.say(*(available(number, here) for number in range(FIRST, FIRST + PEOPLE)))
    assert Written.count >= PEOPLE * WATCHERS and len(presence.shown) == PEOPLE
    Written.count = 0
    return presence, here


def available(number: int, here: list[int]) -> Item:
    """Somebody of the other node is available."""
    return (Kind.PRESENCE, number, f"p{number}@{DOMAIN}/desk", True, b"'/>", here, True)


async def busiest_turn(place: Place) -> int:
    """Wait until nothing is under way; return the most stanzas that one turn of the loop wrote."""
    most = 0
    while place.tasks:
        before = Written.count
        await asyncio.sleep(0)
        most = max(most, Written.count - before)
    return most


async def test_a_lost_node_does_not_hold_up_the_loop(place: Place, other: Other) -> None:
    presence, _ = await crowd(place, other)
    presence.set_lost(OTHER)
    assert 0 < await busiest_turn(place) <= 2 * STANZAS_AT_ONCE
    assert Written.count == PEOPLE * WATCHERS and len(presence.shown) == 0


async def test_who_is_back_meanwhile_is_not_taken_back(place: Place, other: Other) -> None:
    presence, here = await crowd(place, other)
    back = [FIRST + PEOPLE - 1, FIRST + PEOPLE - 2]
    for number in back:
        other.there.send(HERE, available(number, here))
    await asyncio.sleep(0)
    presence.set_lost(OTHER)  # their word comes while the others are told
    await busiest_turn(place)
    await pause()
    assert sorted(presence.shown) == sorted(back)
    assert Written.count == PEOPLE * WATCHERS


async def test_a_resync_takes_back_who_is_not_confirmed_and_whom_one_may_not_see(
    place: Place, other: Other
) -> None:
    presence, here = await crowd(place, other)
    for _ in range(3):
        presence.resync(OTHER)
    await pause()
    ((_, _, _, asked),) = other.asked
    await other.say(
        available(FIRST, here),
        available(FIRST + 1, here[1:]),  # the first watcher may not see them any more
        (Kind.SHOWN, "", 0, [asked[0] - 1]),  # the end of an earlier round
    )
    assert not place.tasks and len(presence.shown) == PEOPLE
    assert Written.count == 2 * WATCHERS
    Written.count = 0
    other.there.send(HERE, (Kind.SHOWN, "", 0, list(asked)))
    while not place.tasks:
        await asyncio.sleep(0)
    assert await busiest_turn(place) <= 2 * STANZAS_AT_ONCE
    assert Written.count == (PEOPLE - 2) * WATCHERS
    assert sorted(presence.shown) == [FIRST, FIRST + 1]
    seen = presence.shown.get(FIRST + 1)
    assert seen is not None and list(seen.watchers) == here[1:]


async def test_what_a_former_home_says_late_is_not_shown(place: Place, other: Other) -> None:
    presence, here = await crowd(place, other)
    presence.set_lost(OTHER)
    await busiest_turn(place)
    place.context.homes.serving[OTHER] = 3
    Written.count = 0
    one = (FIRST, f"p{FIRST}@{DOMAIN}/desk", b"'/>")
    await other.say(available(FIRST, here), (Kind.SHOWN, f"w1@{DOMAIN}", 1, [one]))
    assert Written.count == 0 and len(presence.shown) == 0
