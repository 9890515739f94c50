"""The node is killed in the middle of conversations with the Lync side: nothing acknowledged is lost."""

import asyncio
from collections import Counter

import pytest

from tests.faults.traffic import Recipient, Sender
from tests.lab.shared_domain import BOB, lync, start_shared
from tests.lab.two_pools import free_port
from tests.node import DOMAIN, NodeFactory
from ubiety.lab.client import Client
from ubiety.lab.journal import MessageSeen

pytestmark = pytest.mark.soak  # the same faults are in tests/faults/test_sip_faults.py

MESSAGES = 120
KILLS = 3
SECONDS = 90.0
BOB_ADDRESS = f"bob@{DOMAIN}"
BEN_ADDRESS = f"ben@{DOMAIN}"
EVE_ADDRESS = f"eve@{DOMAIN}"


def seen_by(client: Client, sender: str) -> list[int]:
    """Return what somebody on the Lync side was shown, in order."""
    return [int(one.text) for one in client.journal.of(MessageSeen) if one.peer == f"{sender}@{DOMAIN}"]


async def write_until_taken(client: Client, address: str, count: int) -> None:
    """Write numbered messages to one of our people; each again until it is acknowledged with 200."""
    for number in range(count):
        while True:
            try:
                status = await client.send(address, str(number))
            except OSError:
                status = 0
            if status == 200:
                break
            await asyncio.sleep(0.2)


@pytest.mark.timeout(300)
async def test_nothing_acknowledged_is_lost(start_node: NodeFactory) -> None:
    port = free_port()
    node = start_shared(start_node, port, "ann", "amy", "eve")
    ben = {**BOB, "uri": BEN_ADDRESS, "name": "Ben"}
    async with lync(node, port, BOB, ben, time_out=3.0) as pool:
        pool.front_ends[0].faults.delay = 0.02
        senders = [
            Sender(node.place, "ann", "127.0.1.1", ["bob"] * MESSAGES),
            Sender(node.place, "amy", "127.0.1.2", ["bob", "ben"] * (MESSAGES // 2)),
        ]
        eve = Eve(node.place, "eve", "127.0.1.3")
        staying = asyncio.create_task(eve.stay())
        work = [asyncio.create_task(sender.run()) for sender in senders]
        bob = pool.clients[BOB_ADDRESS]
        work.append(asyncio.create_task(write_until_taken(bob, EVE_ADDRESS, MESSAGES // 2)))
        for number in range(1, KILLS + 1):
            async with asyncio.timeout(SECONDS):
                while sum(sender.acknowledged for sender in senders) < 2 * MESSAGES * number // (KILLS + 1):
                    await asyncio.sleep(0.01)
            node.kill()
            await asyncio.sleep(0.5)
            await asyncio.to_thread(node.restart)
        await asyncio.wait_for(asyncio.gather(*work), SECONDS)
        await settle(pool.clients, senders)
        eve.leave()
        await asyncio.wait_for(staying, SECONDS)
        for sender in senders:
            check(sender, pool.clients)
        assert sorted(set(eve.numbers)) == list(range(MESSAGES // 2)), "acknowledged with 200, and lost"
        assert list(dict.fromkeys(eve.numbers)) == list(range(MESSAGES // 2)), "out of order"
        pool.front_ends[0].faults.delay = 0.0


class Eve(Recipient):
    """One of our people to whom the Lync side writes: its messages have no origin-id."""

    def __init__(self, *fields: str) -> None:
        super().__init__(*fields)  # type: ignore[arg-type]
        self.numbers: list[int] = []

    def _received(self, stanza) -> None:  # type: ignore[no-untyped-def]
        text = stanza.body()
        if stanza.name == "message" and stanza.get("type") == "chat" and text:
            self.numbers.append(int(text))


def expected_of(sender: Sender) -> dict[str, list[int]]:
    """Return what each recipient must be shown, without what its sender was told will not arrive."""
    failed = {(one.get("id") or "").rpartition("-")[2] for one in sender.refused}
    wanted: dict[str, list[int]] = {}
    for number, target in enumerate(sender._targets):
        if str(number) not in failed:
            wanted.setdefault(target, []).append(number)
    return wanted


def check(sender: Sender, clients: dict[str, Client]) -> None:
    """Every message was shown, or its sender was told; in order; twice at most for each kill."""
    for target, numbers in expected_of(sender).items():
        seen = seen_by(clients[f"{target}@{DOMAIN}"], sender.user)
        assert set(numbers) <= set(seen), f"{sender.user} to {target}: lost"
        first = [number for number in dict.fromkeys(seen) if number in set(numbers)]
        assert first == numbers, f"{sender.user} to {target}: out of order"
        assert max(Counter(seen).values()) <= 1 + KILLS


async def settle(clients: dict[str, Client], senders: list[Sender]) -> None:
    """Wait for what is acknowledged and still on its way."""
    for _ in range(100):
        if all(
            set(numbers) <= set(seen_by(clients[f"{target}@{DOMAIN}"], sender.user))
            for sender in senders
            for target, numbers in expected_of(sender).items()
        ):
            return
        await asyncio.sleep(0.2)
