"""Newcomers are let in at the pace, address by address; nobody loses a place to those who left."""

from __future__ import annotations

import asyncio

from tests.unit.net.cluster import eventually
from ubiety.net.admission import Admission
from ubiety.net.farewell import Farewells
from ubiety.net.pacing import ACCEPT_RATE, ADDRESS_CONNECTIONS, ALL, NEGOTIATING
from ubiety.settings import Settings
from ubiety.telemetry import Counters


class Knock:
    """A connection that is at the door."""

    def __init__(self, address: str, order: list[str], name: str) -> None:
        self.address = address
        self.name = name
        self._order = order

    def let_in(self) -> None:
        """Note the order."""
        self._order.append(self.name)


class Door:
    """An admission with its settings."""

    def __init__(self, rate: int, inside: int = 200, connections: int = 20_000) -> None:
        self.counters = Counters()
        settings = Settings(ALL)
        for setting, value in (
            (ACCEPT_RATE, rate),
            (NEGOTIATING, inside),
            (ADDRESS_CONNECTIONS, connections),
        ):
            settings.apply(setting.name, value)
        self.is_busy = False
        self.order: list[str] = []
        self.admission = Admission(asyncio.get_running_loop(), settings, self.counters, lambda: self.is_busy)

    def knock(self, address: str, name: str) -> Knock:
        """Let somebody come who is not refused."""
        newcomer = Knock(address, self.order, name)
        assert self.admission.enter(newcomer)
        return newcomer


async def test_all_get_in_at_the_pace() -> None:
    door = Door(rate=200)
    began = asyncio.get_running_loop().time()
    for number in range(60):
        door.knock("a", str(number))
    assert door.admission.waiting > 30
    await eventually(lambda: len(door.order) == 60, "all to be let in")
    assert asyncio.get_running_loop().time() - began > 0.15
    assert door.order == [str(number) for number in range(60)]


async def test_addresses_take_turns() -> None:
    door = Door(rate=100)
    for number in range(30):
        door.knock("crowd", f"crowd{number}")
    door.knock("single", "single")
    await eventually(lambda: len(door.order) == 31, "all to be let in")
    assert door.order.index("single") < 20


async def test_an_address_waits_until_its_own_have_signed_in() -> None:
    door = Door(rate=10_000, inside=2)
    crowd = [door.knock("crowd", f"crowd{number}") for number in range(5)]
    other = door.knock("other", "other")
    await eventually(lambda: "other" in door.order, "the other address")
    await asyncio.sleep(0.1)
    assert set(door.order) == {"crowd0", "crowd1", "other"}
    door.admission.signed_in(crowd[0])
    await eventually(lambda: "crowd2" in door.order, "the next one")
    door.admission.left(crowd[3], has_signed_in=False)  # it was still waiting
    door.admission.left(crowd[1], has_signed_in=False)
    await eventually(lambda: "crowd4" in door.order, "the next but one")
    assert "crowd3" not in door.order
    assert door.admission.waiting == 0
    door.admission.left(other, has_signed_in=False)


async def test_too_many_connections_of_an_address_are_refused() -> None:
    door = Door(rate=10, connections=3)
    first, *_ = [door.knock("a", str(number)) for number in range(3)]
    assert not door.admission.enter(Knock("a", door.order, "refused"))
    assert door.counters.refused_connections == 1
    door.knock("b", "b")
    door.admission.left(first, has_signed_in=False)
    door.knock("a", "again")


async def test_few_are_let_in_while_enough_is_to_be_done() -> None:
    door = Door(rate=10_000)
    door.is_busy = True
    for number in range(50):
        door.knock("a", str(number))
    await asyncio.sleep(0.3)
    assert 1 <= len(door.order) < 15
    door.is_busy = False
    await eventually(lambda: len(door.order) == 50, "all to be let in")


async def test_farewells_follow_a_changed_rate() -> None:
    loop = asyncio.get_running_loop()
    rate = 20.0
    farewells = Farewells(loop, lambda: rate)
    said: list[int] = []
    for number in range(200):
        farewells.add(lambda number=number: said.append(number))  # type: ignore[misc]
    assert len(farewells) == 200
    await asyncio.sleep(0.3)
    assert 2 <= len(said) <= 12
    rate = 10_000.0
    await eventually(lambda: len(said) == 200, "all to be said")
    assert said == list(range(200))
    farewells.add(lambda: said.append(-1))
    farewells.stop()
    await asyncio.sleep(0.1)
    assert said[-1] == 199
