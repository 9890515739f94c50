"""The promises of design.md §2 under all that clients, networks and disks do: cases and random walks."""

import asyncio
import contextlib
import itertools
import os
import random
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.unit.rig import Device, Rig
from tests.unit.users.place import DOMAIN
from ubiety.routing import sessions
from ubiety.store import ledger
from ubiety.store.errors import StoreError
from ubiety.users import offline

STEPS = 250
SEEDS = int(os.environ.get("UBIETY_WALKS", "10"))
SOAK_SECONDS = float(os.environ.get("UBIETY_FUZZ_SECONDS", "10"))


class Walk:
    """Random steps of everybody; the same seed takes the same choices."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.chance = random.Random(seed)
        self.taken: list[str] = []
        self._steps: list[tuple[int, Callable[[Device], Awaitable[None]]]] = [
            (30, self.write),
            (12, self.read),
            (12, self.acknowledge),
            (6, self.request),
            (5, self.sign_in),
            (6, self.cut),
            (2, self.lose),
            (7, self.resume),
            (2, self.sign_out),
            (4, self.congest),
            (4, self.relieve),
            (3, self.show),
            (1, self.expire),
            (2, self.lock),
            (4, self.unlock),
            (8, self.wait),
            (1, self.crash),
        ]

    async def take(self, count: int) -> None:
        """Take so many steps."""
        weights = [weight for weight, _ in self._steps]
        for _ in range(count):
            (_, step), device = (
                self.chance.choices(self._steps, weights)[0],
                self.chance.choice(list(self.rig.devices.values())),
            )
            self.taken.append(f"{step.__name__} {device.name}")
            await step(device)
            if self.chance.random() < 0.3:
                await self.rig.pause()

    async def write(self, device: Device) -> None:
        if not device.online:
            return
        for _ in range(self.chance.choice([1, 1, 2, 8])):
            other = self.chance.choice(list(self.rig.devices.values()))
            to = f"{other.person}@{DOMAIN}"
            device.write_to(f"{to}/{other.resource}" if self.chance.random() < 0.2 else to)

    async def read(self, device: Device) -> None:
        device.read(self.chance.choice([1, 3, 1000]))

    async def acknowledge(self, device: Device) -> None:
        device.acknowledge(self.chance.choice([0, 0, 1, 4]))

    async def request(self, device: Device) -> None:
        device.request()

    async def sign_in(self, device: Device) -> None:
        if not device.online:
            await device.sign_in(self.chance.choice(["<presence/>"] * 3 + [None, LOW]))

    async def cut(self, device: Device) -> None:
        device.cut()

    async def lose(self, device: Device) -> None:
        device.lose()

    async def resume(self, device: Device) -> None:
        if device.online:
            return
        with contextlib.suppress(StoreError):  # its connection is closed
            if not await device.resume(self.chance.choice([0] * 9 + [100_000])):
                await device.sign_in()

    async def sign_out(self, device: Device) -> None:
        device.sign_out()

    async def congest(self, device: Device) -> None:
        device.congest(True)

    async def relieve(self, device: Device) -> None:
        device.congest(False)

    async def show(self, device: Device) -> None:
        if device.online:
            device.give(self.chance.choice(["<presence/>", LOW, "<presence type='unavailable'/>"]))

    async def expire(self, device: Device) -> None:
        self.rig.expire(self.chance.choice([10, 1000]))

    async def lock(self, device: Device) -> None:
        self.rig.lock()

    async def unlock(self, device: Device) -> None:
        self.rig.unlock()

    async def wait(self, device: Device) -> None:
        await asyncio.sleep(self.chance.choice([0.001, 0.004, 0.02]))

    async def crash(self, device: Device) -> None:
        await self.rig.crash()


LOW = "<presence><priority>-1</priority></presence>"


@pytest.fixture(params=["roomy", "narrow"])
def bounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real bounds, or small ones, so that pages, batches and congestion come into play."""
    monkeypatch.setattr(offline, "RETRY_SECONDS", 0.01)
    if request.param == "narrow":
        monkeypatch.setattr(sessions, "MAX_UNACKNOWLEDGED", 6)
        monkeypatch.setattr(offline, "PAGE", 3)
        monkeypatch.setattr(ledger, "BATCH_ITEMS", 4)


async def run_walk(rig: Rig, seed: int) -> int:
    """Let everybody walk, heal everything and check; returns how many messages were shown."""
    await rig.person("ann", "desk")
    await rig.person("bob", "desk")
    await rig.person("cat", "desk", managed=False)
    await rig.person("dan", "desk", "phone")
    await rig.person("dan", "old", managed=False)
    walk = Walk(rig, seed)
    try:
        for device in rig.devices.values():
            await device.sign_in()
        await walk.take(STEPS)
        return await rig.finish()
    except BaseException:
        print(f"seed {seed}\n" + "\n".join(walk.taken[-60:]))
        raise


@pytest.mark.usefixtures("bounds")
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_random_walk(rig: Rig, seed: int) -> None:
    assert await run_walk(rig, seed) > STEPS / 50


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS + 120)
@pytest.mark.usefixtures("bounds")
async def test_random_walks_for_a_while(tmp_path: Path) -> None:
    until = time.monotonic() + SOAK_SECONDS
    for seed in itertools.count(time.time_ns() % (1 << 32)):
        if time.monotonic() > until:
            break
        folder = tmp_path / str(seed)
        folder.mkdir()
        rig = Rig(folder)
        await run_walk(rig, seed)
        await rig.close()
        shutil.rmtree(folder)
