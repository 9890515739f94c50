"""Three nodes are restarted in turn under load: nothing is lost, nobody is off for more than five seconds."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.cluster import crowd as crowds
from tests.cluster.chaos import CALM_SECONDS, Chaos, gather, until
from tests.cluster.rig import running

MEMBERS = 2000
MOST_AWAY = 5.0
PAUSE_SECONDS = 24.0
REBALANCE = ("assignment", "rebalance")


@pytest.mark.soak
@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_nobody_is_off_for_long_in_a_rolling_restart(tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(MEMBERS)]
    with running(tmp_path) as rig:
        rig.provision(names, node_count=3, contacts=4)
        rig.start_nodes(3)
        rig.nodes[0].command("prg", "enable-ha", "pair1")
        chaos = Chaos(rig, gather(rig, names, random.Random(3), PAUSE_SECONDS))
        lives = [asyncio.create_task(member.live()) for member in chaos.members]
        await everybody_is_on(chaos)
        for member in chaos.members:
            member.longest_absence = 0.0  # the first sign-in is nobody's absence
        for node in rig.nodes:
            await asyncio.sleep(CALM_SECONDS)
            is_single = node is rig.nodes[2]
            if is_single:  # no other node of its group takes its people: they are moved one by one
                await asyncio.to_thread(rig.nodes[0].command, *REBALANCE, "--without", node.data.name)
            await asyncio.to_thread(node.stop)
            await everybody_is_on(chaos)
            await asyncio.to_thread(node.restart)
            if is_single:
                await asyncio.to_thread(rig.nodes[0].command, *REBALANCE)
            else:
                await chaos.fall_back(node)
            await everybody_is_on(chaos)
            away = max(member.longest_absence for member in chaos.members)
            print(f"{node.data.name} restarted; longest away so far {away:.1f} s", flush=True)
        await chaos.settle()
        for member in chaos.members:
            member.leave()
        await asyncio.gather(*lives)
        away = sorted(member.longest_absence for member in chaos.members)
        print(f"away: median {away[len(away) // 2]:.1f} s, longest {away[-1]:.1f} s")
        chaos.check()
        assert away[-1] <= MOST_AWAY


async def everybody_is_on(chaos: Chaos) -> None:
    """Wait until nobody is missing."""
    await until(lambda: crowds.online(chaos.members) == MEMBERS, 60, "everybody is on")
