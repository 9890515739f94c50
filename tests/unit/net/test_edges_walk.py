"""Clients chat through two nodes while their connections, the bus and the edge's node come and go."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.cluster import crowd as crowds
from tests.cluster.crowd import Member
from tests.unit.net.cluster import EDGE, HOME, Cluster, eventually, running
from ubiety.users import remote_edge

MEMBERS = 12
TROUBLES = [*["cut clients"] * 4, *["kill the edge"] * 2, *["cut the bus"] * 2, "cut the bus for long"]


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_or_turned_around(
    postgres_url: str, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody's home is one node; half of the connections are made to the other one."""
    monkeypatch.setattr(remote_edge, "LOST_SECONDS", 1.0)
    chance = random.Random(seed)
    names = [f"m{number}" for number in range(MEMBERS)]
    async with running(postgres_url, tmp_path, *names) as cluster:
        members = [make_member(cluster, names, index, seed) for index in range(MEMBERS)]
        lives = [asyncio.create_task(member.live()) for member in members]
        await eventually(lambda: crowds.online(members) == MEMBERS, "all to be on")
        for what in chance.sample(TROUBLES, len(TROUBLES)):
            await disturb(cluster, members, what, chance)
            await asyncio.sleep(0.7)
        cluster.bus.unplugged.clear()
        await eventually(lambda: crowds.online(members) == MEMBERS, "all to be back", 20)
        for member in members:
            member.stop_chatting()
        await eventually(lambda: is_settled(members), "everything to be settled", 30)
        for member in members:
            member.leave()
        await asyncio.gather(*lives)
        assert [fault for member in members for fault in member.faults] == []
        assert [refusal for member in members for refusal in member.refused] == []
        assert crowds.differences(members) == []
        assert sum(member.resumes for member in members) > 5
        print(
            f"{sum(sum(m.sent.values()) for m in members)} messages, "
            f"{sum(m.logins for m in members)} logins, {sum(m.resumes for m in members)} resumed"
        )


def make_member(cluster: Cluster, names: list[str], index: int, seed: int) -> Member:
    """Return somebody who talks ten times a second."""
    partners = [names[(index + step) % len(names)] for step in (1, 3, 5)]
    places = [cluster.nodes[HOME].address, cluster.nodes[EDGE].address]
    return Member(
        names[index], places, "127.0.0.1", partners, 0.1, random.Random(seed * 100 + index), index % 2
    )


async def disturb(cluster: Cluster, members: list[Member], what: str, chance: random.Random) -> None:
    """Do one bad thing."""
    if what == "cut clients":
        for member in chance.sample(members, 5):
            if member.client is not None:
                member.client.abort()
    elif what == "kill the edge":
        port = cluster.nodes[EDGE].address.port
        await cluster.nodes[EDGE].kill()
        await cluster.start(EDGE, boot=chance.randrange(2, 7), port=port)
    else:
        cluster.bus.unplugged.add(EDGE)
        await asyncio.sleep(0.5 if what == "cut the bus" else 4.0)
        cluster.bus.unplugged.clear()


def is_settled(members: list[Member]) -> bool:
    """Tell whether all that was sent was shown and acknowledged."""
    total = sum(sum(member.sent.values()) for member in members)
    shown = sum(len(seen) for member in members for seen in member.shown.values())
    return shown >= total and not any(member.unacknowledged for member in members)
