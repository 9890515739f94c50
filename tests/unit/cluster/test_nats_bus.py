"""net/bus.py and cluster/links.py over a real NATS server, which is killed, stopped and misconfigured."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from tests.nats import Nats
from ubiety.cluster.links import NodeLinks
from ubiety.config import bus_servers
from ubiety.net.bus import BusRefused, BusUnreachable, BusUntrusted, NatsBus
from ubiety.routing.links import Item, Kind, LinkEvent
from ubiety.telemetry import Counters

pytestmark = pytest.mark.filterwarnings('ignore:Overriding the "event_loop_policy"')

MakeNats = Callable[..., Nats]


@pytest.fixture(scope="module")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """The loop that nodes run on: its TLS and its time-outs are its own."""
    return uvloop.EventLoopPolicy()


async def until(condition: Callable[[], bool], seconds: float = 10) -> float:
    """Wait for something; returns the seconds that it took."""
    begun = time.monotonic()
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
    return time.monotonic() - begun


def open_bus(server: Nats, **changed: Any) -> NatsBus:
    servers = [replace(one, **changed) for one in bus_servers(server.url)]
    return NatsBus(servers, "test", server.ca if server.has_tls else None)


class Node:
    """Links over a connection of its own, and what came in."""

    def __init__(self, server: Nats, cluster: str, node_id: int) -> None:
        self.bus = open_bus(server)
        self.links = NodeLinks(self.bus, cluster, node_id, Counters())
        self.got: list[int] = []
        self.presence = 0
        self.events: list[LinkEvent] = []
        self.lost: list[Item] = []
        self.links.handle(Kind.CHANGED, lambda _node, item: self.got.append(item[1]))
        self.links.handle(Kind.PRESENCE, self._count)
        self.links.watch(lambda _node, happened: self.events.append(happened))
        self.links.watch_lost(lambda _node, items: self.lost.extend(items))

    def _count(self, _node: int, _item: Item) -> None:
        self.presence += 1

    async def start(self) -> None:
        await self.bus.start()
        await self.links.start()
        self.links.set_peers([1, 2])

    async def close(self) -> None:
        await self.links.close(0.1)
        await self.bus.close()


class Pair:
    """Two nodes that chat."""

    def __init__(self, server: Nats, cluster: str = "c1") -> None:
        self.near = Node(server, cluster, 1)
        self.far = Node(server, cluster, 2)
        self.sent = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.near.start()
        await self.far.start()
        await until(lambda: self.near.links.is_up(2) and self.far.links.is_up(1))

    async def close(self) -> None:
        await self.near.close()
        await self.far.close()

    def begin_chat(self) -> None:
        self._task = asyncio.create_task(self._chat())

    async def _chat(self) -> None:
        while True:
            for node, other in ((self.near, 2), (self.far, 1)):
                node.links.send(other, (Kind.CHANGED, self.sent))
                node.links.send(other, (Kind.PRESENCE, "a@example.org", b"", [1]), sheddable=True)
            self.sent += 1
            await asyncio.sleep(0.002)

    async def end_chat(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await until(lambda: len(self.near.got) >= self.sent and len(self.far.got) >= self.sent, 15)

    def check(self) -> None:
        assert self.near.got == list(range(self.sent))
        assert self.far.got == list(range(self.sent))
        assert self.near.lost == self.far.lost == []


@pytest.fixture
async def make_pair() -> AsyncIterator[Callable[[Nats], Any]]:
    pairs: list[Pair] = []

    async def make(server: Nats) -> Pair:
        pairs.append(Pair(server))
        await pairs[-1].start()
        return pairs[-1]

    yield make
    for pair in pairs:
        await pair.close()


async def test_two_nodes_talk(nats_server: Nats, make_pair: Any) -> None:
    pair = await make_pair(nats_server)
    pair.begin_chat()
    await until(lambda: pair.sent >= 200)
    await pair.end_chat()
    pair.check()
    assert pair.near.events == pair.far.events == [LinkEvent.UP]
    assert pair.near.presence == pair.sent

    async def answer(_node: int, value: Any) -> Any:
        return value

    pair.far.links.answer("echo", answer)
    assert await pair.near.links.ask(2, "echo", b"x" * 2_000_000) == b"x" * 2_000_000


async def test_one_item_takes_less_than_some_milliseconds(nats_server: Nats, make_pair: Any) -> None:
    pair = await make_pair(nats_server)
    taken = []
    for number in range(100):
        begun = time.perf_counter()
        pair.near.links.send(2, (Kind.CHANGED, number))
        while len(pair.far.got) <= number:
            await asyncio.sleep(0)
        taken.append(time.perf_counter() - begun)
    taken.sort()
    print(f"one way over NATS and TLS: median {taken[50] * 1e6:.0f} us, worst {taken[-1] * 1e6:.0f} us")
    assert taken[50] < 0.01


async def test_a_killed_bus_loses_nothing(own_nats: MakeNats, make_pair: Any) -> None:
    server = own_nats()
    server.start()
    pair = await make_pair(server)
    pair.begin_chat()
    for _ in range(2):
        await asyncio.sleep(0.2)
        server.kill()
        await until(lambda: not pair.near.bus.connected and not pair.far.bus.connected)
        await asyncio.sleep(0.5)
        begun = time.monotonic()
        server.start()
        started = time.monotonic() - begun
        seen = pair.sent
        taken = await until(lambda seen=seen: pair.near.got[-1] >= seen and pair.far.got[-1] >= seen)
        print(f"NATS started in {started:.2f} s, {taken:.2f} s later the nodes had caught up")
        assert taken < 2
    await pair.end_chat()
    pair.check()
    assert LinkEvent.GAP in pair.near.events


async def test_a_bus_that_is_away_for_longer_is_noticed(own_nats: MakeNats, make_pair: Any) -> None:
    server = own_nats()
    server.start()
    pair = await make_pair(server)
    pair.begin_chat()
    server.kill()
    taken = await until(lambda: not pair.near.links.is_up(2))
    assert 1.5 < taken < 3.5
    server.start()
    await until(lambda: pair.near.links.is_up(2) and pair.far.links.is_up(1))
    await pair.end_chat()
    pair.check()
    assert pair.near.events[:2] == [LinkEvent.UP, LinkEvent.DOWN]


@pytest.mark.parametrize("seconds", [1.0, 8.0])
async def test_a_bus_that_stops_and_goes_on_loses_nothing(
    own_nats: MakeNats, make_pair: Any, seconds: float
) -> None:
    server = own_nats()
    server.start()
    pair = await make_pair(server)
    pair.begin_chat()
    await asyncio.sleep(0.1)
    server.pause()
    await asyncio.sleep(seconds)
    assert pair.near.bus.connected is (seconds < 2), "a server that does not answer is given up"
    server.resume()
    await pair.end_chat()
    pair.check()


async def test_a_node_starts_before_its_bus(own_nats: MakeNats, make_pair: Any) -> None:
    server = own_nats()
    bus = open_bus(server)
    await bus.start()
    assert not bus.connected
    assert isinstance(bus.error, BusUnreachable)
    assert "Is nats-server running" in str(bus.error)
    bus.publish("a", b"dropped")
    assert bus.dropped == 1
    states: list[bool] = []
    bus.watch(states.append)
    server.start()
    await until(lambda: bus.connected)
    assert bus.error is None
    server.kill()
    await until(lambda: not bus.connected)
    assert states == [True, False]
    await bus.close()


async def test_the_next_server_takes_over(own_nats: MakeNats) -> None:
    first, second = own_nats(), own_nats()
    first.start()
    # One certificate authority for both, as in a cluster of NATS.
    second.files.certificate.write_bytes(first.files.certificate.read_bytes())
    second.files.key.write_bytes(first.files.key.read_bytes())
    second.start()
    bus = NatsBus([*bus_servers(first.url), *bus_servers(second.url)], "test", first.ca)
    await bus.start()
    got: list[bytes] = []
    await bus.subscribe("a.*", lambda _subject, data: got.append(data))
    first.kill()
    await until(lambda: not bus.connected)
    assert await until(lambda: bus.connected) < 1.5
    bus.publish("a.b", b"1")
    await until(lambda: got == [b"1"])
    await bus.close()


async def test_a_wrong_password_is_refused(nats_server: Nats) -> None:
    bus = open_bus(nats_server, password="wrong")
    with pytest.raises(BusRefused, match=r"refused the login.*\[bus\] url") as caught:
        await bus.start()
    assert "wrong" not in str(caught.value)
    assert not bus.connected


async def test_a_foreign_certificate_is_not_trusted(nats_server: Nats, own_nats: MakeNats) -> None:
    bus = NatsBus(bus_servers(nats_server.url), "test", own_nats().ca)
    with pytest.raises(BusUntrusted, match=r"is not trusted.*\[bus\] ca"):
        await bus.start()


async def test_a_certificate_must_be_for_that_host(own_nats: MakeNats) -> None:
    server = own_nats(names=["bus.example.org"])
    server.start()
    with pytest.raises(BusUntrusted, match=r"IP address mismatch.*made out to 127\.0\.0\.1"):
        await open_bus(server).start()


async def test_an_authority_that_cannot_be_read_is_named(nats_server: Nats) -> None:
    bus = NatsBus(bus_servers(nats_server.url), "test", nats_server.directory / "missing.pem")
    with pytest.raises(BusUntrusted, match=r"missing\.pem"):
        await bus.start()


async def test_a_server_that_hides_tls_does_not_get_the_password(own_nats: MakeNats) -> None:
    server = own_nats(has_tls=False)
    server.config.write_text(server.config.read_text() + "trace: true\ndebug: true\n")
    server.start()
    (given,) = bus_servers(server.url)
    bus = NatsBus([replace(given, is_encrypted=True)], "test", server.ca)
    with pytest.raises(BusUntrusted, match="offers no TLS"):
        await bus.start()
    log = server.log.read_text()
    assert "Client connection created" in log
    assert "CONNECT" not in log


async def test_a_bus_on_this_machine_may_be_plain(own_nats: MakeNats) -> None:
    server = own_nats(has_tls=False)
    server.start()
    bus = open_bus(server)
    await bus.start()
    assert bus.connected
    await bus.close()


async def test_too_short_messages_are_refused_with_the_cure(own_nats: MakeNats) -> None:
    server = own_nats(max_payload="64KB")
    server.start()
    bus = open_bus(server)
    with pytest.raises(BusRefused, match="max_payload: 1MB"):
        await bus.start()


async def test_without_a_subscriber_no_more(nats_server: Nats) -> None:
    bus = open_bus(nats_server)
    await bus.start()
    got: list[bytes] = []

    def receive(_subject: str, data: bytes) -> None:
        got.append(data)

    await bus.subscribe("once", receive)
    bus.publish("once", b"1")
    await until(lambda: got == [b"1"])
    await bus.unsubscribe("once", receive)
    bus.publish("once", b"2")
    await asyncio.sleep(0.1)
    assert got == [b"1"]
    await bus.close()


async def test_a_bus_that_takes_nothing_makes_nobody_wait(own_nats: MakeNats) -> None:
    server = own_nats()
    server.start()
    bus = open_bus(server)
    await bus.start()
    server.pause()
    longest = 0.0
    for _ in range(200):
        begun = time.perf_counter()
        bus.publish("a", b"x" * 500_000)
        longest = max(longest, time.perf_counter() - begun)
        await asyncio.sleep(0)
    assert longest < 0.1
    assert bus.dropped > 100, "100 MB do not wait in memory"
    server.resume()
    got: list[bytes] = []
    await bus.subscribe("b", lambda _subject, data: got.append(data))

    def is_heard() -> bool:
        bus.publish("b", b"still alive")
        return b"still alive" in got

    assert await until(is_heard) < 3
    await bus.close()
