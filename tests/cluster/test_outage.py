"""The database is away for a while: whoever is on stays on and chats, and all is caught up afterwards."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.cluster import crowd as crowds
from tests.cluster.chaos import Chaos, gather
from tests.cluster.rig import running

MEMBERS = 100


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seconds", [20, pytest.param(60, marks=pytest.mark.soak)])
async def test_people_stay_on_and_chat_without_a_database(tmp_path: Path, seconds: int) -> None:
    names = [f"m{number}" for number in range(MEMBERS)]
    with running(tmp_path) as rig:
        rig.provision(names, node_count=2, contacts=4)
        rig.start_nodes(2)
        rig.nodes[0].command("prg", "enable-ha", "pair1")
        chaos = Chaos(rig, gather(rig, names, random.Random(1), pause=2.0))
        lives = [asyncio.create_task(member.live()) for member in chaos.members]
        await chaos.all_back()
        await asyncio.sleep(3)
        logins = sum(member.logins for member in chaos.members)
        acknowledged = sum(member.acknowledged for member in chaos.members)
        await asyncio.to_thread(rig.postgres.stop, "immediate")
        await asyncio.sleep(seconds)
        meanwhile = sum(member.acknowledged for member in chaos.members) - acknowledged
        assert crowds.online(chaos.members) == MEMBERS
        assert sum(member.logins for member in chaos.members) == logins, "somebody had to sign in anew"
        await asyncio.to_thread(rig.postgres.start)
        await chaos.settle()
        for member in chaos.members:
            member.leave()
        await asyncio.gather(*lives)
        print(f"{meanwhile} messages were acknowledged in {seconds} s without a database")
        assert meanwhile > MEMBERS * seconds / 10, "by their recipients, who were on"
        chaos.check()
