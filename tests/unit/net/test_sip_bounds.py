"""What peers do wrong, or too much of: it is bounded, and the stack goes on serving the others."""

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.sip.certificates import Authority
from tests.sip.stacks import HOST, NOWHERE, Echo, hop_to, request, running, settings
from ubiety.config import Listen
from ubiety.net import sip_connection
from ubiety.net.sip import Places, SipStack
from ubiety.sip.message import Request
from ubiety.sip.outputs import Cause, Hop, Peer
from ubiety.telemetry import Counters

VIA = "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK"


def message(number: int = 1, method: str = "OPTIONS", body: bytes = b"", via: str = VIA) -> bytes:
    asked = request(method, body=body)
    return asked.replace(headers=asked.headers.first("Via", f"{via}{number}")).to_bytes()


async def connect(
    stack: SipStack, listener: str = "sip"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(HOST, stack.ports[listener])


@contextmanager
def udp_socket() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        sock.settimeout(3)
        yield sock


async def until_cut(reader: asyncio.StreamReader, seconds: float = 8.0) -> bytes:
    """What still comes until the other side ends the connection."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(-1), seconds)
    return b""


async def serves(stack: SipStack) -> bool:
    """Whether a well-behaved peer is answered."""
    async with running(NOWHERE) as (client, user):
        return await user.outcome(client.send(request(), hop_to(stack)), 5) == 200


async def test_garbage_ends_its_connection_and_nothing_else() -> None:
    counters = Counters()
    async with running(counters=counters) as (stack, echo):
        for garbage in (
            b"\0" * 100,
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\xff\xfe" * 30_000,
            b"\r\nx: y\r\n\r\n",
        ):
            reader, writer = await connect(stack)
            writer.write(garbage)
            if b"\r\n\r\n" not in garbage and len(garbage) < 32_768:
                writer.write_eof()
            await until_cut(reader)
            writer.close()
        assert await serves(stack)
        assert counters.sip_malformed == 3 and len(echo.requests) == 1


async def test_a_bad_request_is_answered_and_the_next_one_too() -> None:
    async with running() as (stack, _):
        reader, writer = await connect(stack)
        bad = message().replace(b"CSeq: 1 OPTIONS", b"CSeq: one OPTIONS")
        writer.write(bad + message(2))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"SIP/2.0 400")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"SIP/2.0 200")
        writer.write(bad * (sip_connection.MOST_MALFORMED + 1))
        assert (await until_cut(reader)).count(b"SIP/2.0 400") >= sip_connection.MOST_MALFORMED
        writer.close()


async def test_random_bytes() -> None:
    chance = random.Random(20)
    good = message(1, "MESSAGE", b"text" * 20)
    async with running() as (stack, _):
        port = stack.ports["sip"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for _ in range(300):
                data = bytearray(good)
                for _ in range(chance.randrange(1, 12)):
                    data[chance.randrange(len(data))] = chance.randrange(256)
                udp.sendto(data[: chance.randrange(1, len(data))], (HOST, port))
                if chance.random() < 0.1:
                    _, writer = await connect(stack)
                    writer.write(data)
                    await asyncio.sleep(0)
                    writer.close()
            await asyncio.sleep(0.2)
        assert await serves(stack)


@pytest.mark.parametrize(
    ("bound", "said", "listener"),
    [
        ("HANDSHAKE_SECONDS", b"", "sip_tls_peer"),
        ("HANDSHAKE_SECONDS", b"\x16\x03\x01", "sip_tls_peer"),
        ("FIRST_SECONDS", b"", "sip"),
        ("FIRST_SECONDS", b"\r\n\r\n", "sip"),
        ("MESSAGE_SECONDS", b"OPTIONS sip:x SIP/2.0\r\nVia: ", "sip"),
    ],
)
async def test_half_of_anything_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, said: bytes, listener: str
) -> None:
    monkeypatch.setattr(sip_connection, bound, 0.3)
    firm = Authority(tmp_path / "firm")
    places = Places(sip=[Listen(HOST, 0)], tls_peer=[Listen(HOST, 0)])
    async with running(places, tls=firm.issue("im.example.org").tls(firm.ca)) as (stack, _):
        reader, writer = await connect(stack, listener)
        writer.write(said)
        await until_cut(reader, 5)
        writer.close()
        assert stack.peers() == []


async def test_a_message_that_trickles_in_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_connection, "MESSAGE_SECONDS", 0.5)
    async with running() as (stack, _):
        reader, writer = await connect(stack)
        for byte in message():
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
            if reader.at_eof():
                break
        assert reader.at_eof()
        writer.close()


async def test_a_ping_is_answered() -> None:
    async with running() as (stack, _):
        reader, writer = await connect(stack)
        writer.write(b"\r\n\r\n" + message())
        assert await reader.readuntil(b"\r\n\r\n") != b""
        writer.write(b"\r\n\r\n")
        assert await asyncio.wait_for(reader.readexactly(2), 2) == b"\r\n"
        writer.close()


async def test_a_silent_connection_is_closed_unless_somebody_needs_it() -> None:
    async with running(settings=settings(idle_seconds=1)) as (stack, echo):
        reader, writer = await connect(stack)
        writer.write(message())
        await echo.until(lambda: echo.requests)
        flow = echo.requests[0][1].flow
        stack.hold(flow)
        await asyncio.sleep(2.5)
        assert len(stack.peers()) == 1
        stack.release(flow)
        assert b"200" in await until_cut(reader, 4)
        writer.close()


async def test_our_own_connections_are_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_connection, "PING_SECONDS", 0.2)
    heard = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\nhello")
        if await reader.readexactly(4) == b"\r\n\r\n":
            heard.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, HOST, 0)
    async with running(NOWHERE) as (client, _):
        client.send(request(), Hop("tcp", HOST, server.sockets[0].getsockname()[1]))
        await asyncio.wait_for(heard.wait(), 5)
    server.close()


async def test_who_does_not_read_is_cut_and_costs_no_more_than_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sip_connection, "HARD_LIMIT", 500_000)
    async with running() as (stack, echo):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (HOST, stack.ports["sip"]))
        with contextlib.suppress(ConnectionError):
            for number in range(400):
                await loop.sock_sendall(sock, message(number, "MESSAGE", b"x" * 50_000))
        await echo.until(lambda: not stack.peers())
        assert len(echo.requests) < 400
        sock.close()
        assert await serves(stack)


async def test_a_server_that_does_not_read_ends_in_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_connection, "HARD_LIMIT", 500_000)
    forever = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await forever.wait()

    server = await asyncio.start_server(listen, HOST, 0, limit=1000)
    async with running(NOWHERE) as (client, user):
        hop = Hop("tcp", HOST, server.sockets[0].getsockname()[1])
        keys = []
        for _ in range(300):
            keys.append(client.send(request(body=b"x" * 50_000), hop))
            await asyncio.sleep(0)
        await user.until(lambda: len(user.failures) > 100)
        assert set(user.failures.values()) == {Cause.TRANSPORT}
        assert client.agent.counts.clients + len(user.failures) == len(keys)
    forever.set()
    server.close()


async def test_a_flood_is_read_slower_and_others_are_served() -> None:
    async with running(settings=settings(message_rate=100)) as (stack, echo):
        reader, writer = await connect(stack)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        writer.write(b"".join(message(number) for number in range(350)))
        assert await serves(stack)
        for _ in range(350):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"SIP/2.0 200")
        assert loop.time() - begun > 1.0
        writer.close()
        del echo


async def test_a_flood_of_datagrams_is_dropped_by_address() -> None:
    counters = Counters()
    via = "SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bK"
    made = settings(message_rate=20)
    async with running(settings=made, counters=counters) as (stack, echo):
        with udp_socket() as sender:
            for number in range(200):
                sender.sendto(message(number, via=via), (HOST, stack.ports["sip"]))
        async with asyncio.timeout(5):
            while counters.sip_dropped + len(echo.requests) < 200:
                await asyncio.sleep(0.01)
        assert 20 <= len(echo.requests) < 60
        assert await serves(stack), "over TCP the same address is served"


async def test_a_flood_of_invites_is_refused_beyond_the_limit() -> None:
    class Silent(Echo):
        def answer(self, key: int, request: Request, peer: Peer) -> None:
            if request.method != "INVITE":
                super().answer(key, request, peer)

    bounds = settings(transactions=100)
    async with running(handler=Silent(), settings=bounds) as (stack, echo):
        reader, writer = await connect(stack)
        for first, most in ((0, 100), (300, 250)):
            bounds.apply("sip.transactions", most)  # at once, of a running node
            before = len(echo.requests)
            writer.write(b"".join(message(first + number, "INVITE") for number in range(300)))
            refused = 0
            while refused < 300 - (most - before):
                answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
                refused += answer.startswith(b"SIP/2.0 503")
            assert len(echo.requests) == most
        writer.close()


async def test_connections_from_one_address_are_bounded() -> None:
    counters = Counters()
    async with running(settings=settings(connections_per_address=5), counters=counters) as (stack, _):
        pairs = [await connect(stack) for _ in range(8)]
        for _, writer in pairs:
            writer.write(message())
        answers = [await asyncio.wait_for(until_cut_or_answer(reader), 5) for reader, _ in pairs]
        assert sum(answer.startswith(b"SIP/2.0 200") for answer in answers) == 5
        assert counters.refused_connections == 3
        for _, writer in pairs:
            writer.close()
        while stack.peers():
            await asyncio.sleep(0.01)
        assert counters.sip_connections == 0
        assert await serves(stack)


async def until_cut_or_answer(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


async def test_a_crowd_waits_its_turn() -> None:
    async with running(settings=settings(accept_rate=10)) as (stack, _):
        loop = asyncio.get_running_loop()
        begun = loop.time()
        pairs = [await connect(stack) for _ in range(25)]
        for _, writer in pairs:
            writer.write(message())
        for reader, _ in pairs:
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).startswith(b"SIP/2.0 200")
        assert loop.time() - begun > 1.0
        for _, writer in pairs:
            writer.close()


@pytest.mark.parametrize("has_rport", [True, False])
async def test_answers_over_udp_go_where_the_via_says(has_rport: bool) -> None:
    async with running() as (stack, _):
        with udp_socket() as sender, udp_socket() as other:
            via = f"SIP/2.0/UDP {HOST}:{other.getsockname()[1]}{';rport' * has_rport};branch=z9hG4bK"
            sender.sendto(message(1, via=via), (HOST, stack.ports["sip"]))
            answer = await asyncio.to_thread((sender if has_rport else other).recv, 65_536)
            assert answer.startswith(b"SIP/2.0 200")
            assert (f"rport={sender.getsockname()[1]}".encode() in answer) == has_rport


async def test_what_udp_loses_is_sent_again() -> None:
    with udp_socket() as deaf:
        async with running(NOWHERE) as (client, user):
            key = client.send(request(), Hop("udp", HOST, deaf.getsockname()[1]))
            first, _ = await asyncio.to_thread(deaf.recvfrom, 65_536)
            again, sender = await asyncio.to_thread(deaf.recvfrom, 65_536)
            assert first == again
            lines = again.split(b"\r\n\r\n")[0].split(b"\r\n")
            kept = [line for line in lines if line.startswith((b"Via", b"From", b"To", b"Call-ID", b"CSeq"))]
            deaf.sendto(b"\r\n".join([b"SIP/2.0 200 OK", *kept, b"Content-Length: 0", b"", b""]), sender)
            assert await user.outcome(key) == 200


async def test_stop_says_good_bye_and_leaves_nothing(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    counters = Counters()
    firm = Authority(tmp_path / "firm")
    ours, theirs = firm.issue("im.example.org"), firm.issue("fe1.example.com")
    context = ssl.create_default_context(cafile=str(firm.ca))
    context.load_cert_chain(theirs.certificate, theirs.key)
    places = Places(sip=[Listen(HOST, 0)], tls_peer=[Listen(HOST, 0)])
    async with running(places, tls=ours.tls(firm.ca), counters=counters) as (stack, _):
        reader, writer = await asyncio.open_connection(
            HOST, stack.ports["sip_tls_peer"], ssl=context, server_hostname="im.example.org"
        )
        writer.write(message())
        await reader.readuntil(b"\r\n\r\n")
        plain, plain_writer = await connect(stack)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await stack.stop()
        assert loop.time() - begun < 1.0
        assert await reader.read(-1) == b"", "TLS ends with its close notice, not with an error"
        assert await plain.read(-1) == b""
        writer.close()
        plain_writer.close()
        with pytest.raises(OSError):
            await connect(stack)
        await stack.start()
        assert await serves(stack)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before and counters.sip_connections == 0
