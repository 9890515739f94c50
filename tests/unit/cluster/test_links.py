"""cluster/links.py over the bus of one process."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ubiety.cluster.bus import LocalBus
from ubiety.cluster.links import NodeLinks
from ubiety.routing.links import Item, Kind, LinkEvent, Links, NodeUnreachable
from ubiety.telemetry import Counters, event_counts


class Party:
    """Nodes of one process."""

    def __init__(self) -> None:
        self.bus = LocalBus()
        self.nodes: dict[int, NodeLinks] = {}
        self.counters: dict[int, Counters] = {}
        self.events: dict[int, list[tuple[int, LinkEvent]]] = {}

    async def add(self, node_id: int, *peers: int, bound: int = 1 << 20) -> NodeLinks:
        counters = self.counters[node_id] = Counters()
        links = self.nodes[node_id] = NodeLinks(self.bus, "c1", node_id, counters, bound)
        seen = self.events[node_id] = []
        links.watch(lambda peer, happened: seen.append((peer, happened)))
        await links.start()
        links.set_peers(peers)
        return links


async def until(condition: Any, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def party() -> AsyncIterator[Party]:
    party = Party()
    yield party
    for links in party.nodes.values():
        await links.close(0.1)


@pytest.fixture
async def pair(party: Party) -> tuple[NodeLinks, NodeLinks]:
    near, far = await party.add(1, 1, 2), await party.add(2, 1, 2)
    await until(lambda: near.is_up(2) and far.is_up(1))
    return near, far


async def test_it_is_what_routing_asks_for(pair: tuple[NodeLinks, NodeLinks]) -> None:
    links: Links = pair[0]
    assert links.is_up(1), "this node itself"
    assert not links.is_up(3)
    assert pair[0].peers == [2]


async def test_items_arrive_in_order_at_the_handlers_of_their_kind(
    party: Party, pair: tuple[NodeLinks, NodeLinks]
) -> None:
    near, far = pair
    got: list[tuple[int, Item]] = []
    far.handle(Kind.STANZA, lambda node, item: got.append((node, item)))
    far.handle(Kind.PRESENCE, lambda node, item: got.append((node, item)))
    for number in range(100):
        near.send(2, (Kind.STANZA, number, True, 0, b"<message/>"))
        near.send(2, (Kind.PRESENCE, "a@example.org/x", b"", [number]), sheddable=True)
    await until(lambda: len(got) == 200)
    assert got[:2] == [
        (1, (Kind.STANZA, 0, True, 0, b"<message/>")),
        (1, (Kind.PRESENCE, "a@example.org/x", b"", (0,))),
    ]
    assert [item[1] for _, item in got if item[0] == Kind.STANZA] == list(range(100))
    await until(lambda: party.counters[2].bus_items_in == 200)
    assert party.counters[1].bus_messages_out < 10, "one turn, one message"


async def test_a_failing_handler_stops_nothing(pair: tuple[NodeLinks, NodeLinks]) -> None:
    near, far = pair
    got: list[int] = []

    def fail_at_two(_node: int, item: Item) -> None:
        if item[1] == 2:
            raise RuntimeError("two")
        got.append(item[1])

    far.handle(Kind.CHANGED, fail_at_two)
    before = event_counts().get(("item_failed", "error"), 0)
    for number in range(5):
        near.send(2, (Kind.CHANGED, number))
    near.send(2, (Kind.ROSTER, "nobody handles this"))
    near.send(2, (Kind.CHANGED, 5))
    await until(lambda: got == [0, 1, 3, 4, 5])
    assert event_counts()["item_failed", "error"] == before + 2


async def test_questions_are_answered(pair: tuple[NodeLinks, NodeLinks]) -> None:
    near, far = pair

    async def double(node: int, value: Any) -> Any:
        await asyncio.sleep(0)
        return [node, value * 2]

    async def refuse(_node: int, _value: Any) -> Any:
        raise ValueError("Not on a Sunday.")

    async def stumble(_node: int, _value: Any) -> Any:
        raise KeyError("x")

    for links in pair:
        links.answer("double", double)
        links.answer("refuse", refuse)
        links.answer("stumble", stumble)
    assert await asyncio.gather(*(near.ask(2, "double", n) for n in range(50))) == [
        (1, n * 2) for n in range(50)
    ]
    assert await near.ask(1, "double", 4) == [1, 8], "a node may ask itself"
    for node in (1, 2):
        with pytest.raises(ValueError, match="Sunday"):
            await near.ask(node, "refuse", None)
    with pytest.raises(ValueError, match="KeyError"):
        await near.ask(2, "stumble", None)
    with pytest.raises(ValueError, match="another release"):
        await near.ask(2, "unheard-of", None)
    assert far.waiting_bytes(1) < 1000


async def test_unanswered_questions_fail_in_time(party: Party, pair: tuple[NodeLinks, NodeLinks]) -> None:
    near, far = pair
    never = asyncio.Event()

    async def wait(_node: int, _value: Any) -> Any:
        await never.wait()

    far.answer("wait", wait)
    with pytest.raises(NodeUnreachable, match=r"within 0\.05 s"):
        await near.ask(2, "wait", None, 0.05)
    with pytest.raises(NodeUnreachable, match="not a node"):
        await near.ask(3, "wait", None)
    question = asyncio.ensure_future(near.ask(2, "wait", None, 60))
    await asyncio.sleep(0.05)
    await far.close(0.1)
    await party.add(2, 1)
    with pytest.raises(NodeUnreachable, match="went away"):
        await question


async def test_a_restart_is_noticed_and_what_was_lost_is_told(
    party: Party, pair: tuple[NodeLinks, NodeLinks]
) -> None:
    near, far = pair
    lost: list[tuple[int, Item]] = []
    near.watch_lost(lambda node, items: lost.extend((node, item) for item in items))
    await far.close(0.1)
    await until(lambda: not near.is_up(2), 0.5)
    near.send(2, (Kind.CHANGED, 7))
    again = await party.add(2, 1)
    got: list[Item] = []
    again.handle(Kind.CHANGED, lambda _node, item: got.append(item))
    await until(lambda: near.is_up(2))
    assert [happened for _, happened in party.events[1]] == [
        LinkEvent.UP,
        LinkEvent.DOWN,
        LinkEvent.RESTARTED,
        LinkEvent.UP,
    ]
    assert lost == [(2, (Kind.CHANGED, 7))]
    near.send(2, (Kind.CHANGED, 8))
    await until(lambda: got == [(Kind.CHANGED, 8)])


async def test_what_is_sent_before_the_other_was_heard_waits_for_it(party: Party) -> None:
    near = await party.add(1, 2)
    near.send(2, (Kind.CHANGED, 1))
    await asyncio.sleep(0.05)
    far = await party.add(2, 1)
    got: list[Item] = []
    far.handle(Kind.CHANGED, lambda _node, item: got.append(item))
    await until(lambda: got == [(Kind.CHANGED, 1)])


async def test_what_waits_for_a_node_that_is_removed_is_lost(
    party: Party, pair: tuple[NodeLinks, NodeLinks]
) -> None:
    near, _far = pair
    lost: list[Item] = []
    near.watch_lost(lambda _node, items: lost.extend(items))
    near.send(2, (Kind.CHANGED, 1))
    near.send(2, (Kind.PRESENCE, "a@example.org/x", b"", []), sheddable=True)
    near.set_peers([])
    near.send(2, (Kind.CHANGED, 2))
    await asyncio.sleep(0.02)
    assert lost == [(Kind.CHANGED, 1), (Kind.CHANGED, 2)]
    assert party.events[1][-1] == (2, LinkEvent.DOWN)


async def test_too_much_for_a_silent_node_is_given_up_openly(party: Party) -> None:
    near = await party.add(1, 2, bound=100_000)
    lost: list[Item] = []
    near.watch_lost(lambda _node, items: lost.extend(items))
    for number in range(20):
        near.send(2, (Kind.STANZA, number, True, 0, b"x" * 10_000))
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    assert [item[1] for item in lost] == list(range(len(lost)))
    assert len(lost) in (10, 20)
    assert near.waiting_bytes(2) <= 100_000
    await until(lambda: (2, LinkEvent.GAP) in party.events[1])


async def test_before_anything_comes_in_the_owner_is_asked(party: Party) -> None:
    asked: list[str] = []
    links = NodeLinks(party.bus, "c1", 5, Counters(), before_input=lambda: asked.append("x"))
    party.nodes[5] = links
    await links.start()
    party.bus.publish("ubiety.c1.node.5.9", b"rubbish")
    party.bus.publish("ubiety.c1.node.5.x", b"rubbish")
    await until(lambda: len(asked) == 2)


async def test_goodbye_waits_for_what_is_under_way(pair: tuple[NodeLinks, NodeLinks]) -> None:
    near, far = pair
    got: list[Item] = []
    far.handle(Kind.SERVING, lambda _node, item: got.append(item))
    near.send(2, (Kind.SERVING, [(1, 1)]))
    await near.close()
    assert got == [(Kind.SERVING, ((1, 1),))]
    await until(lambda: not far.is_up(1), 0.5)
