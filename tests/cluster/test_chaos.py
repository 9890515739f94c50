"""Nothing acknowledged is lost, whatever happens to a cluster of two nodes (promises 1 and 2).

Two thousand clients chat all the time while nodes are killed, frozen and cut off, and the database and the
bus are restarted. Clients that are off come back by themselves, at any node.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.cluster import crowd as crowds
from tests.cluster.chaos import CALM_SECONDS, Chaos, gather
from tests.cluster.rig import ClusterNode, running

MEMBERS = 2000

Fault = Callable[[Chaos, ClusterNode], Awaitable[None]]
FAULTS: tuple[Fault, ...] = (Chaos.kill, Chaos.freeze, Chaos.cut, Chaos.restart_database, Chaos.restart_bus)


@pytest.mark.alone
@pytest.mark.timeout(420)
async def test_nothing_is_lost_in_chaos(tmp_path: Path) -> None:
    await survive(tmp_path, rounds=1)


@pytest.mark.alone
@pytest.mark.soak
@pytest.mark.timeout(2400)
async def test_nothing_is_lost_in_chaos_soak(tmp_path: Path) -> None:
    await survive(tmp_path, rounds=5)


async def survive(directory: Path, rounds: int) -> None:
    """Run the crowd through every fault; nothing may be lost and nobody served twice."""
    chance = random.Random(20)
    names = [f"m{number}" for number in range(MEMBERS)]
    with running(directory) as rig:
        rig.provision(names, node_count=2, contacts=4)
        rig.start_nodes(2)
        rig.nodes[0].command("prg", "enable-ha", "pair1")
        chaos = Chaos(rig, gather(rig, names, chance))
        lives = [asyncio.create_task(member.live()) for member in chaos.members]
        await chaos.all_back()
        for turn in range(rounds):
            for number, fault in enumerate(FAULTS):
                await asyncio.sleep(CALM_SECONDS)
                print(
                    f"round {turn + 1}: {fault.__name__} ({crowds.online(chaos.members)} are on)", flush=True
                )
                await fault(chaos, rig.nodes[(turn + number) % 2])
        await chaos.settle()
        for member in chaos.members:
            member.leave()
        await asyncio.gather(*lives)
        print(chaos.report())
        chaos.check()
