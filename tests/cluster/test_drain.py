"""Draining a node under load: its people move to the other one of the pair, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from tests.cluster import crowd as crowds
from tests.cluster.chaos import Chaos, gather, until, until_true
from tests.cluster.rig import ClusterNode, running
from tests.cluster.serving import overlaps
from tests.node import NodeError

MEMBERS = 200
RATE = 100
MOST_AWAY = 12.0


@pytest.mark.timeout(240)
async def test_nothing_is_lost_when_each_node_is_drained_and_restarted(tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(MEMBERS)]
    with running(tmp_path) as rig:
        rig.provision(names, node_count=2, contacts=4)
        rig.start_nodes(2)
        rig.nodes[0].command("prg", "enable-ha", "pair1")
        chaos = Chaos(rig, gather(rig, names, random.Random(7)))
        lives = [asyncio.create_task(member.live()) for member in chaos.members]
        await chaos.all_back()
        for node in rig.nodes:
            await asyncio.sleep(2)
            for member in chaos.members:
                member.longest_absence = 0.0
            began = time.monotonic()
            said = await asyncio.to_thread(node.command, "node", "drain", "--rate", str(RATE))
            drained = time.monotonic() - began
            assert "drained, 0 clients left" in said, said
            await until(
                lambda: crowds.online(chaos.members) == MEMBERS, 30, "everybody is on at the other node"
            )
            await asyncio.to_thread(node.stop)
            restarting = asyncio.create_task(asyncio.to_thread(node.restart))
            await take_back(node, next(other for other in rig.nodes if other is not node))
            await restarting
            await until(lambda: crowds.online(chaos.members) == MEMBERS, 30, "everybody is on")
            away = sorted(member.longest_absence for member in chaos.members)
            print(
                f"{node.data.name} drained in {drained:.1f} s; away: median {away[len(away) // 2]:.1f} s, "
                f"longest {away[-1]:.1f} s"
            )
            assert away[-1] < MOST_AWAY
        await chaos.settle()
        for member in chaos.members:
            member.leave()
        await asyncio.gather(*lives)
        assert [fault for member in chaos.members for fault in member.faults] == []
        assert [refusal for member in chaos.members for refusal in member.refused] == []
        assert crowds.differences(chaos.members) == []
        assert overlaps(rig.nodes) == []


async def take_back(node: ClusterNode, other: ClusterNode) -> None:
    """Give a node its people back: a node that was failed over by hand serves nobody until then."""

    async def is_back() -> bool:
        try:
            status = await asyncio.to_thread(other.command, "utils", "ha", "status")
            if status.count("State: Normal") == 2:
                return True
            await asyncio.to_thread(other.command, "utils", "ha", "fallback", node.data.name)
        except NodeError:
            pass  # not yet
        return False

    await until_true(is_back, 60, f"{node.data.name} serves its people again")
