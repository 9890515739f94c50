"""Two sites, 80 ms apart: chat both ways, no false alarm, and a take-over by the distant node."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.cluster.chaos import Chaos, gather
from tests.cluster.rig import running

MEMBERS = 60
ONE_WAY_MILLISECONDS = 40.0
CHAT_SECONDS = 6.0


@pytest.mark.timeout(240)
async def test_a_distant_node_serves_and_takes_over(tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(MEMBERS)]
    with running(tmp_path) as rig:
        rig.provision(names, node_count=2, contacts=4)
        rig.start_nodes(2, {2: ONE_WAY_MILLISECONDS})
        rig.nodes[0].command("prg", "enable-ha", "pair1")
        chaos = Chaos(rig, gather(rig, names, random.Random(80), pause=2.0))
        lives = [asyncio.create_task(member.live()) for member in chaos.members]
        await chaos.all_back()
        await asyncio.sleep(CHAT_SECONDS)
        assert [event for node in rig.nodes for event in node.events("lease_lost", "set_released")] == []
        await chaos.kill(rig.nodes[0])
        await chaos.settle()
        for member in chaos.members:
            member.leave()
        await asyncio.gather(*lives)
        print(chaos.report())
        chaos.check()
