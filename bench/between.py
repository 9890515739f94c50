"""What a message costs when its recipient's home is another node, beside one that stays: two nodes, one
process.

    python -m bench.between [--messages 20000]

CPU microseconds a message of the whole process: both sessions' handling, the flow in both directions and the
in-process bus (not NATS, not the sockets), and the ledger with its thread on SQLite. "promised": sender and
recipient use stream management, and the recipient acknowledges after each round of ten messages.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop
from tests.unit.users.place import DOMAIN, Client, Place

from ubiety.clock import SystemClock
from ubiety.cluster.bus import LocalBus
from ubiety.cluster.links import NodeLinks
from ubiety.element import parse_element
from ubiety.stanza import Stanza, from_element
from ubiety.store.database import Database
from ubiety.users.elsewhere import Elsewhere
from ubiety.users.preferences import ARCHIVE_ENABLED

PAIRS = 50
ROUND = 10


@dataclass
class Talk:
    """A sender, a recipient, and the message between them."""

    sender: Client
    recipient: Client
    stanza: Stanza
    read: int = 0


async def _place(folder: Path, bus: LocalBus, node_id: int) -> tuple[Place, NodeLinks]:
    place = Place(Database(f"sqlite:///{folder / 'ubiety.db'}"))
    context = place.context
    context.clock = SystemClock()
    context.homes.node_id, context.homes.here = node_id, {node_id}
    context.homes.serving = {3 - node_id: 3 - node_id}
    context.set_epoch(10 + node_id)
    links = NodeLinks(bus, "bench", node_id, context.counters)
    context.links = links
    place.users.elsewhere = Elsewhere(context, place.users, links, asyncio.get_running_loop().call_later)
    await links.start()
    links.set_peers([1, 2])
    return place, links


async def _talks(places: dict[int, Place], home: int, managed: bool, name: str) -> list[Talk]:
    """People at node 1 who write to others at node ``home``."""
    talks = []
    for number in range(PAIRS):
        names = [f"{side}-{name}-{home}-{number}" for side in ("from", "to")]
        made = await places[1].people(*names)
        for person, node_id in zip(made, (1, home), strict=True):
            for place in places.values():
                place.context.homes.put(replace(person, set_id=node_id))
        sender = await places[1].sign_in(names[0], managed=managed)
        recipient = await places[home].sign_in(names[1], managed=managed)
        xml = (
            f"<message type='chat' to='{names[1]}@{DOMAIN}' id='m1'><body>How are you today?</body></message>"
        )
        stanza = from_element(parse_element(xml.encode())).replace(from_=sender.session.jid)
        smacks = recipient.session.smacks
        talks.append(Talk(sender, recipient, stanza, len(smacks.unacked) if smacks is not None else 0))
    return talks


async def _measure(talks: list[Talk], messages: int) -> float:
    for talk in talks:
        talk.recipient.edge.written.clear()
    gc.collect()
    arrived = 0
    begun = time.process_time()
    for _ in range(messages // (PAIRS * ROUND)):
        for talk in talks:
            for _ in range(ROUND):
                talk.sender.session.receive(talk.stanza.replace())
        for _ in range(6):
            await asyncio.sleep(0)
        for talk in talks:
            written = talk.recipient.edge.written
            got = sum(data.startswith(b"<message") for data in written)
            arrived += got
            talk.read += got
            written.clear()
            talk.sender.edge.written.clear()
            talk.recipient.session.acknowledge(talk.read)
    used = time.process_time() - begun
    assert arrived, "nothing arrived"
    return used / arrived * 1e6


async def _run(messages: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = Database(f"sqlite:///{folder / 'ubiety.db'}")
        database.migrate()
        database.close()
        bus = LocalBus()
        places, links = {}, {}
        for node_id in (1, 2):
            places[node_id], links[node_id] = await _place(folder, bus, node_id)
        while not links[1].is_up(2):
            await asyncio.sleep(0.01)
        gc.freeze()
        gc.set_threshold(20_000, 20, 200)  # as a node does
        for archive in (False, True):
            for place in places.values():
                place.set(ARCHIVE_ENABLED, archive)
            for managed in (False, True):
                await _compare(places, messages, managed, archive)
        for node_id in (1, 2):
            await links[node_id].close(0.1)
            await places[node_id].close()


async def _compare(places: dict[int, Place], messages: int, managed: bool, archive: bool) -> None:
    name = f"{int(managed)}{int(archive)}"
    same, other = await _talks(places, 1, managed, name), await _talks(places, 2, managed, name)
    figures: dict[str, list[float]] = {"same": [], "other": []}
    for _ in range(3):
        for which, talks in (("same", same), ("other", other)):
            figures[which].append(await _measure(talks, messages))
    near, far = (sorted(figures[which])[1] for which in ("same", "other"))
    what = ("promised" if managed else "plain") + (", archive on" if archive else "")
    print(f"{what:24} same node {near:6.1f} µs, another node {far:6.1f} µs: {far / near:.2f} times")
    for talk in (*same, *other):
        talk.sender.leave()
        talk.recipient.leave()


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--messages", type=int, default=20_000)
    uvloop.install()
    asyncio.run(_run(arguments.parse_args().messages))


if __name__ == "__main__":
    main()
