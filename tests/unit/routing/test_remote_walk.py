"""Walks between nodes: links that break, nodes that die, homes that move, verdicts that get lost.

After each walk everything is mended, everybody reads all, and the account must be right: what was
acknowledged came, in order, and nothing is left anywhere (design.md promises 1 and 2).
"""

import os
import random

import pytest

from tests.unit.rig import Device
from tests.unit.routing.nodes import Nodes
from tests.unit.users.place import DOMAIN
from ubiety.routing.links import Kind

_FIRST, _, _COUNT = os.environ.get("UBIETY_WALKS", "0:6").partition(":")
WALKS = range(int(_FIRST), int(_FIRST) + int(_COUNT))
STEPS = 120


class Walk:
    """One walk: a random thing after the other."""

    def __init__(self, nodes: Nodes, seed: int) -> None:
        self.nodes = nodes
        self.random = random.Random(seed)
        self.devices: list[Device] = []
        self.told: list[str] = []
        self.ids = list(nodes.nodes)

    async def begin(self) -> None:
        """People at both nodes, signed in."""
        last = self.ids[-1]
        for name, set_id, resources in (
            ("ann", 1, "dt"),
            ("bob", 2, "dt"),
            ("cat", last, "d"),
            ("dan", 1, "d"),
        ):
            self.devices += await self.nodes.person(name, set_id, *resources)
        for device in self.devices:
            await device.sign_in()
        await self.nodes.advance(0.5)

    def served(self, device: Device) -> bool:
        """Somebody serves this person."""
        seat = device.rig
        return seat.set_id in self.nodes.serving  # type: ignore[attr-defined]

    async def step(self) -> None:
        """Do one thing."""
        actions = {
            self.write: 40,
            self.read: 20,
            self.pass_time: 12,
            self.connect: 10,
            self.disconnect: 5,
            self.cut: 3,
            self.mend: 5,
            self.lose_verdicts: 2,
            self.leave_and_come_back: 2,
            self.kill: 1,
            self.recover: 6,
        }
        (action,) = self.random.choices(list(actions), list(actions.values()))
        self.told.append(action.__name__)
        await action()

    async def write(self) -> None:
        """Write some messages."""
        device = self.random.choice(self.devices)
        for _ in range(self.random.randint(1, 4)):
            if device.online and self.served(device):
                device.write_to(f"{self.random.choice(['ann', 'bob', 'cat', 'dan'])}@{DOMAIN}")
        await self.nodes.pause(self.random.randint(0, 6))

    async def read(self) -> None:
        """Read and acknowledge."""
        device = self.random.choice(self.devices)
        if device.online:
            device.read()
            device.acknowledge(self.random.choice([0, 0, 0, 1]))
            device.request()
            device.read()

    async def pass_time(self) -> None:
        """Time passes."""
        await self.nodes.advance(self.random.choice([0.05, 0.3, 1.0, 3.5]))

    async def connect(self) -> None:
        """Come back."""
        device = self.random.choice(self.devices)
        if not device.online and self.served(device) and not await device.resume():
            await device.sign_in()

    async def disconnect(self) -> None:
        """The connection breaks."""
        self.random.choice(self.devices).cut()

    async def cut(self) -> None:
        """The link breaks."""
        self.nodes.cut.add(frozenset(self.random.sample(self.ids, 2)))

    async def mend(self) -> None:
        """The link is there again, and verdicts too."""
        self.nodes.cut.clear()
        for node in self.nodes.nodes.values():
            node.links.dropped.clear()

    async def lose_verdicts(self) -> None:
        """Verdicts get lost."""
        node = self.random.choice(list(self.nodes.nodes.values()))
        node.links.dropped.add(Kind.VERDICT)

    async def leave_and_come_back(self) -> None:
        """A node says for a moment that it is not the home."""
        node = self.random.choice(list(self.nodes.nodes.values()))
        here = node.place.context.homes.here
        before = set(here)
        here.clear()
        await self.write()
        await self.nodes.advance(self.random.choice([0.1, 0.5]))
        here.update(before)
        await node.place.users.rows_added(None)  # whoever becomes the home looks at all rows

    async def kill(self) -> None:
        """A node dies."""
        if len(self.nodes.nodes) > 1:
            await self.nodes.kill(self.random.choice(list(self.nodes.nodes)))

    async def recover(self) -> None:
        """A dead node comes back, or the other one takes over."""
        for node_id in self.ids:
            if node_id not in self.nodes.nodes and self.random.random() < 0.7:
                self.nodes.start(node_id)
        for set_id in self.ids:
            if set_id not in self.nodes.serving and self.random.random() < 0.8:
                self.nodes.take_over(set_id, self.random.choice(list(self.nodes.nodes)))

    async def end(self) -> int:
        """Mend everything and check."""
        for node_id in self.ids:
            if node_id not in self.nodes.nodes:
                self.nodes.start(node_id)
        for set_id in self.ids:
            if set_id not in self.nodes.serving:
                self.nodes.take_over(set_id, set_id)
        return await self.nodes.finish()


@pytest.mark.parametrize("seed", WALKS)
async def test_whatever_happens_between_nodes_promises_are_kept(nodes: Nodes, seed: int) -> None:
    walk = Walk(nodes, seed)
    await walk.begin()
    for _ in range(STEPS):
        await walk.step()
    await _end(walk, seed)


@pytest.mark.parametrize("seed", WALKS)
async def test_promises_are_kept_between_three_nodes(three_nodes: Nodes, seed: int) -> None:
    walk = Walk(three_nodes, seed)
    await walk.begin()
    for _ in range(STEPS):
        await walk.step()
    await _end(walk, seed)


async def _end(walk: Walk, seed: int) -> None:
    nodes = walk.nodes
    shown = await walk.end()
    stored = sum(node.place.context.counters.unanswered_messages for node in nodes.nodes.values())
    print(f"walk {seed}: {shown} shown, {nodes.repeats} repeats, {stored} stored, {nodes.kills} kills")
    assert shown > 20
