"""From one next hop to the next over real connections: one is dead, one answers 503, one serves."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.databases import open_in
from ubiety.clock import ManualClock
from ubiety.config import Listen
from ubiety.gateway import settings as federation_settings
from ubiety.gateway.federation import FederationCopy
from ubiety.gateway.hops import FIRST_PAUSE
from ubiety.gateway.sending import Sender
from ubiety.gateway.ways import Name, StaticWays
from ubiety.jid import Jid, parse
from ubiety.net import sip_settings
from ubiety.net.sip import Places, SipStack
from ubiety.net.sip_pool import RETRY_SECONDS
from ubiety.routing.homes import Homes
from ubiety.settings import Settings
from ubiety.sip.message import Request, Response, make_request, make_response
from ubiety.sip.outputs import Cause, Hop, Peer
from ubiety.store import static_routes
from ubiety.store.database import Database
from ubiety.store.static_routes import Route
from ubiety.telemetry import Counters

ANNA, BOB = parse("anna@synergy.com"), parse("bob@synergy.com")
Serve = Callable[..., Awaitable["Server"]]
SETTINGS = (*sip_settings.SETTINGS, *federation_settings.SETTINGS)


class Server:
    """A server on loopback that answers everything with one status, and remembers what it was asked."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked: list[str] = []
        self.stack: SipStack

    async def start(self, port: int = 0) -> int:
        """Listen; returns the port."""
        places = Places(sip=(Listen("127.0.0.1", port),))
        self.stack = SipStack(self, places, Settings(SETTINGS), Counters())
        await self.stack.start()
        return self.stack.ports["sip"]

    def request_received(self, key: int, request: Request, peer: Peer) -> None:
        self.asked.append(request.method)
        self.stack.respond(key, make_response(request, self.status, to_tag="t"))

    def response_received(self, key: int, response: Response) -> None:
        raise AssertionError("nothing was sent")

    def failed(self, key: int, cause: Cause) -> None:
        raise AssertionError("nothing was sent")

    def ack_received(self, request: Request, peer: Peer) -> None:
        raise AssertionError("no INVITE was sent")

    def cancelled(self, key: int) -> None:
        raise AssertionError("no INVITE was sent")


@dataclass
class Side:
    """Our side: the ways, and requests that are sent over them."""

    database: Database
    federation: FederationCopy = field(default_factory=FederationCopy)
    clock: ManualClock = field(default_factory=ManualClock)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        homes, settings = Homes(), Settings(SETTINGS)
        homes.domains = {"synergy.com"}
        settings.apply(federation_settings.MICROSOFT.name, True)
        self.stack = SipStack(None, Places(), settings, Counters())
        name = Name(lambda: "127.0.0.1", lambda: self.stack.ports)
        self.ways = StaticWays(self.federation, homes, settings, self.clock, name, self.stack.why_unreachable)
        self.sender = Sender(self.stack, self.ways)
        self.stack.handler = _Answers(self.sender)

    async def route(self, port: int, priority: int, **fields: object) -> None:
        """Add a route to a port on loopback."""
        row = Route(
            0, ".com.synergy", "domain", "", "127.0.0.1", port, "tcp", priority, 10, True, True, False
        )
        await self.database.write(static_routes.add, row._replace(**fields))  # type: ignore[arg-type]
        await self.federation.refresh(self.database)

    def dead(self) -> list[int]:
        """The ports of the next hops that do not answer."""
        return [hop.port for hop in self.federation.hops.dead()]

    async def send(self) -> int:
        """Send a message; returns the final status, 0 for no answer."""
        return await self._ask("MESSAGE", self.ways.hops(ANNA, BOB), BOB)

    async def probe(self) -> None:
        """Have those asked that are due, and wait for their answers."""
        for hop in self.federation.hops.due_probes(self.clock.monotonic()):
            await self._ask("OPTIONS", [hop], parse("synergy.com"))

    async def _ask(self, method: str, hops: Iterable[Hop], whom: Jid) -> int:
        done: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
        number = next(self.numbers)
        request = make_request(
            method, f"sip:{whom}", f"<sip:{ANNA}>;tag=a{number}", f"<sip:{whom}>", f"c{number}@test", 1
        )
        self.sender.send(request, hops, done.set_result)
        response = await asyncio.wait_for(done, 10)
        return response.status if response is not None else 0


class _Answers(Server):
    """Hands what comes back on to the sender."""

    def __init__(self, sender: Sender) -> None:
        super().__init__()
        self._sender = sender

    def response_received(self, key: int, response: Response) -> None:
        assert self._sender.response_received(key, response)

    def failed(self, key: int, cause: Cause) -> None:
        assert self._sender.failed(key, cause)


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    database = open_in(tmp_path)
    made = Side(database)
    await made.stack.start()
    yield made
    assert len(made.sender) == 0, "nothing is left behind"
    await made.stack.close()
    database.close()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts servers: `server = await serve(503)`."""
    started: list[Server] = []

    async def start(status: int = 200, port: int = 0) -> Server:
        server = Server(status)
        await server.start(port)
        started.append(server)
        return server

    yield start
    for server in started:
        await server.stack.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_three_next_hops(side: Side, serve: Serve) -> None:
    gone = _free_port()
    busy, serving = await serve(503), await serve()
    await side.route(gone, 1)
    await side.route(busy.stack.ports["sip"], 2)
    await side.route(serving.stack.ports["sip"], 3)
    assert await side.send() == 200
    assert (busy.asked, serving.asked) == (["MESSAGE"], ["MESSAGE"])
    assert side.dead() == [gone, busy.stack.ports["sip"]]
    assert [health.reason for health in side.federation.hops.dead().values()] == [
        f"No connection: 127.0.0.1 port {gone}: Connection refused",
        "It answered 503 Service Unavailable.",
    ]
    assert await side.send() == 200
    assert (busy.asked, serving.asked) == (["MESSAGE"], ["MESSAGE"] * 2), "the dead ones are not asked again"

    side.clock.advance(FIRST_PAUSE)
    await side.probe()
    assert side.dead() == [gone, busy.stack.ports["sip"]] and busy.asked[-1] == "OPTIONS"

    back = await serve(404, gone)  # whatever it says: it is there
    busy.status = 200
    await asyncio.sleep(RETRY_SECONDS + 0.1)  # so long the stack does not try a host that took no connection
    side.clock.advance(2 * FIRST_PAUSE)
    await side.probe()
    assert side.dead() == [] and back.asked == ["OPTIONS"]
    back.status = 200
    assert await side.send() == 200
    assert back.asked == ["OPTIONS", "MESSAGE"], "by priority, as before"


async def test_all_that_is_left_is_told(side: Side, serve: Serve) -> None:
    busy = await serve(503)
    await side.route(busy.stack.ports["sip"], 1)
    await side.route(_free_port(), 2)
    assert await side.send() == 503, "the one answer that came"
    busy.status = 200
    assert await side.send() == 200, "dead ones are tried when there is nobody else"
    assert side.dead() != [busy.stack.ports["sip"]]


async def test_a_refusal_goes_no_further(side: Side, serve: Serve) -> None:
    first, second = await serve(486), await serve()
    await side.route(first.stack.ports["sip"], 1)
    await side.route(second.stack.ports["sip"], 2)
    assert await side.send() == 486
    assert second.asked == [] and side.dead() == []


async def test_equals_share_by_weight(side: Side, serve: Serve) -> None:
    light, heavy = await serve(), await serve()
    await side.route(light.stack.ports["sip"], 1, weight=1)
    await side.route(heavy.stack.ports["sip"], 1, weight=9)
    for _ in range(60):
        assert await side.send() == 200
    assert len(light.asked) + len(heavy.asked) == 60 and len(heavy.asked) > len(light.asked) * 2


async def test_a_connection_that_is_dropped_is_a_failure(side: Side) -> None:
    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    rude = await asyncio.start_server(drop, "127.0.0.1", 0)
    port = rude.sockets[0].getsockname()[1]
    await side.route(port, 1)
    assert await side.send() == 0
    assert side.dead() == [port]
    hops = side.ways.hops(ANNA, BOB)
    assert list(hops) == [Hop("tcp", "127.0.0.1", port)]
    rude.close()
