"""Walks at random with SIP clients: whatever they do, no message is lost and nothing is left of them."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.gateway.client_rig import ClientRig, Phone
from tests.unit.users.place import DOMAIN, open_place
from ubiety.sip import pidf
from ubiety.sip.pidf import SipPresence

NAMES = ("ann", "bob", "cem")
STEPS = 60
ACTIVITIES = ("", "busy", "away", "on-the-phone")


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[ClientRig]:
    place = open_place(tmp_path)
    yield ClientRig(place)
    await place.close()


class Walk:
    """What happened, and what must come of it."""

    def __init__(self, rig: ClientRig, draw: random.Random) -> None:
        self.rig = rig
        self.draw = draw
        self.phones: list[Phone] = []
        self.sent: dict[str, list[str]] = {name: [] for name in NAMES}
        """Messages to each person that were answered with 200, in order."""
        self.got: dict[str, list[str]] = {name: [] for name in NAMES}
        self._flows = iter(range(1, 250))

    async def step(self) -> None:
        """Do something."""
        write, come = (self.write,) * 3, (self.come,) * 2
        acts = (*write, *come, self.go, self.hang_up, self.publish, self.watch, self.sleep, self.falter)
        act = self.draw.choice(acts)
        await act()
        self.collect()

    def phone(self) -> Phone | None:
        """Some client that is connected."""
        return self.draw.choice(self.phones) if self.phones else None

    async def come(self) -> None:
        if len(self.phones) < 6:
            phone = await self.rig.phone(self.draw.choice(NAMES), next(self._flows))
            self.phones.append(phone)
            assert (await phone.register(expires=self.draw.choice((60, 600, 3600)))).status == 200

    async def go(self) -> None:
        if (phone := self.phone()) is not None:
            assert (await phone.register(expires=0)).status == 200

    async def hang_up(self) -> None:
        if (phone := self.phone()) is not None:
            self.collect()
            self.phones.remove(phone)
            self.rig.hang_up(phone)
            await self.rig.settle()

    async def write(self) -> None:
        if (phone := self.phone()) is not None:
            name, text = self.draw.choice(NAMES), f"message {self.draw.random()}"
            answer = await phone.write(f"{name}@{DOMAIN}", text)
            assert answer.status == 200, answer
            self.sent[name].append(text)

    async def publish(self) -> None:
        if (phone := self.phone()) is not None:
            activity = self.draw.choice(ACTIVITIES)
            shown = SipPresence(self.draw.random() < 0.9, frozenset({activity} - {""}))
            body = pidf.write(phone.aor, shown)[1]
            assert (await phone.publish(body, expires=self.draw.choice((60, 600)))).status == 200

    async def watch(self) -> None:
        if (phone := self.phone()) is not None:
            name = self.draw.choice(
                [name for name in NAMES if self.rig.place.context.homes.find(f"{name}@{DOMAIN}")]
            )
            assert (await phone.subscribe(f"{name}@{DOMAIN}", self.draw.choice((0, 60, 600)))).status == 200

    async def sleep(self) -> None:
        await self.rig.advance(self.draw.choice((1, 45, 400)))

    async def falter(self) -> None:
        """A client will fail soon."""
        if (phone := self.phone()) is not None:
            phone.answers["MESSAGE"].append(self.draw.choice((480, 405, 500)))

    def collect(self) -> None:
        """Note which messages were taken: those that were answered with 200."""
        for phone in self.phones:
            for request in phone.taken():
                self.got[phone.name].append(request.body.decode())


@pytest.mark.parametrize("seed", range(8))
async def test_no_message_is_lost_and_nothing_is_left(rig: ClientRig, seed: int) -> None:
    walk = Walk(rig, random.Random(seed))
    await rig.place.people("dora")
    for name in NAMES:
        await rig.phone(name, 240 + NAMES.index(name))
    for _ in range(STEPS):
        await walk.step()
    for phone in list(walk.phones):
        rig.hang_up(phone)
    walk.phones.clear()
    await rig.advance(4000)
    assert rig.leftovers() == {"devices": 0, "watches": 0, "calls": 0, "held": 0}
    for flow, name in enumerate(NAMES, 230):
        last = await rig.phone(name, flow)
        walk.phones.append(last)
        await last.register()
    await rig.advance(2)
    walk.collect()
    assert any(walk.sent.values())
    for name in NAMES:
        assert set(walk.sent[name]) == set(walk.got[name]), name
