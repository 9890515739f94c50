"""Nothing acknowledged is ever lost: the node is killed again and again under load.

Promises 1 and 2: durable before acknowledged; in order per sender and recipient.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest

from tests.faults.traffic import Recipient, Sender
from tests.node import Node, NodeFactory

SENDERS = 50
PER_KIND = 10
MESSAGES = 20_000
KILLS = 5
# Contacts of each kind (online, offline, flapping) that one sender writes to.
SPREAD = 2
COLLECT_SECONDS = 45.0
# Longest time for a part of the test.
PART_SECONDS = 120.0


@dataclass
class Crowd:
    """Everybody in the test; `kinds` are online, offline and flapping recipients, in this order."""

    senders: list[Sender]
    kinds: list[list[Recipient]]

    @property
    def recipients(self) -> list[Recipient]:
        return [recipient for kind in self.kinds for recipient in kind]

    @property
    def acknowledged(self) -> int:
        return sum(sender.acknowledged for sender in self.senders)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_nothing_acknowledged_is_lost(
    database: str, start_node: NodeFactory, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgresql" else None
    node = await asyncio.to_thread(start_node, url)
    started = time.monotonic()
    expected, crowd = await gather_crowd(node, random.Random(20_000))
    online, _, flapping = crowd.kinds
    visits = [asyncio.create_task(recipient.stay()) for recipient in online]
    visits += [
        asyncio.create_task(recipient.flap(random.Random(seed))) for seed, recipient in enumerate(flapping)
    ]
    work = asyncio.gather(*(sender.run() for sender in crowd.senders))
    await in_time(asyncio.gather(work, kill_often(node, crowd, work)), crowd)
    for recipient in crowd.recipients:
        recipient.leave()
    await in_time(asyncio.gather(*visits), crowd)
    await asyncio.gather(
        *(
            recipient.collect(sum(map(len, expected[recipient.user].values())), COLLECT_SECONDS)
            for recipient in crowd.recipients
        )
    )
    print(report(database, crowd, time.monotonic() - started))
    assert [str(stanza) for sender in crowd.senders for stanza in sender.refused] == []
    assert differences(expected, crowd) == []


async def gather_crowd(node: Node, chance: random.Random) -> tuple[dict[str, dict[str, list[int]]], Crowd]:
    """Make the accounts and decide who writes to whom.

    Returns, by recipient and sender, the numbers that must be shown, in this order; and the people.
    """
    names = [f"s{number}" for number in range(SENDERS)]
    groups = [[f"{kind}{number}" for number in range(PER_KIND)] for kind in ("on", "off", "flap")]
    await asyncio.to_thread(node.add_users, *names, *(name for group in groups for name in group))
    expected: dict[str, dict[str, list[int]]] = {name: {} for group in groups for name in group}
    senders = []
    for index, name in enumerate(names):
        contacts = [group[(index + step * 3) % PER_KIND] for group in groups for step in range(SPREAD)]
        targets = [chance.choice(contacts) for _ in range(MESSAGES // SENDERS)]
        for number, target in enumerate(targets):
            expected[target].setdefault(name, []).append(number)
        senders.append(Sender(node.place, name, f"127.0.1.{index + 1}", targets))
    kinds = [
        [Recipient(node.place, name, f"127.0.{kind + 2}.{at + 1}") for at, name in enumerate(group)]
        for kind, group in enumerate(groups)
    ]
    return expected, Crowd(senders, kinds)


async def kill_often(node: Node, crowd: Crowd, work: asyncio.Future[list[None]]) -> None:
    """Kill and restart the node each time another share of the messages is acknowledged."""
    for number in range(1, KILLS + 1):
        while crowd.acknowledged < MESSAGES * number // (KILLS + 1):
            assert not work.done(), "the senders ended before the last kill"
            await asyncio.sleep(0.01)
        node.kill()
        await asyncio.to_thread(node.restart)


async def in_time(work: Awaitable[object], crowd: Crowd) -> None:
    """Wait for a part of the test, and tell how far it came when it does not end."""
    try:
        await asyncio.wait_for(work, PART_SECONDS)
    except TimeoutError:
        pytest.fail(f"not done after {PART_SECONDS} s: {progress(crowd)}")


def progress(crowd: Crowd) -> str:
    """Say how far everybody is."""
    waiting = [sender for sender in crowd.senders if sender.ledger.unacked]
    shown = [sum(recipient.count for recipient in kind) for kind in crowd.kinds]
    return (
        f"{crowd.acknowledged} acknowledged, shown online, offline, flapping {shown}; waiting: "
        + ", ".join(f"{sender.user} for {len(sender.ledger.unacked)}" for sender in waiting)
    )


def differences(expected: dict[str, dict[str, list[int]]], crowd: Crowd) -> list[str]:
    """Return one line per pair of people whose messages were lost, made up or out of order."""
    lines = []
    for recipient in crowd.recipients:
        wanted = expected[recipient.user]
        for sender in sorted(wanted.keys() | recipient.shown.keys()):
            pair = f"{sender} to {recipient.user}"
            lines += compare(pair, wanted.get(sender, []), recipient.shown.get(sender, []))
    return lines


def compare(pair: str, wanted: Sequence[int], shown: Sequence[int]) -> list[str]:
    """Return what is wrong with the messages of one pair, in a line, or nothing."""
    if list(wanted) == list(shown):
        return []
    lost, surplus = sorted(set(wanted) - set(shown)), sorted(set(shown) - set(wanted))
    turned = [b for a, b in pairwise(shown) if b < a]
    return [f"{pair}: lost {lost}, not sent {surplus}, shown after a later one {turned}"]


def report(database: str, crowd: Crowd, seconds: float) -> str:
    """Say what happened in one line."""
    shown = sum(recipient.count for recipient in crowd.recipients)
    resent = sum(sender.resent for sender in crowd.senders)
    repeats = sum(recipient.repeats for recipient in crowd.recipients)
    return (
        f"kill test on {database}: {MESSAGES} messages, {KILLS} kills, {shown} shown, "
        f"{resent} re-sent, {repeats} repeats dropped, {seconds:.0f} s"
    )
