"""Peers that go away, and servers that break off or answer wrongly: what waits fails, and nothing is left."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.sip.certificates import Authority
from tests.sip.stacks import HOST, NOWHERE, hop_to, request, running
from ubiety.config import Listen
from ubiety.net import sip_connection
from ubiety.net.sip import Places
from ubiety.sip.outputs import Cause, Hop
from ubiety.sip.transaction import Timers


async def test_nothing_is_left_of_peers_that_are_gone(tmp_path: Path) -> None:
    firm = Authority(tmp_path / "firm")
    ours, theirs = firm.issue("im.example.org").tls(firm.ca), firm.issue("fe1.example.com").tls(firm.ca)
    places = Places(sip=[Listen(HOST, 0)], tls_peer=[Listen(HOST, 0)])
    quick = Timers(t1=0.01, t2=0.04, t4=0.05)
    async with running(places, tls=ours, timers=quick) as (server, echo):
        for round_ in range(5):
            async with running(NOWHERE, tls=theirs, timers=quick) as (client, user):
                for hop in (
                    hop_to(server),
                    hop_to(server, "tls", name="im.example.org"),
                    hop_to(server, "udp"),
                ):
                    keys = [client.send(request(), hop) for _ in range(10)]
                    assert [await user.outcome(key) for key in keys] == [200] * 10
                client.send(request(), Hop("tls", HOST, server.ports["sip_tls_peer"], "other.example.org"))
                if round_ % 2:
                    server.hold(echo.requests[-11][1].flow)
                    client.send(request("INVITE"), hop_to(server))
        async with asyncio.timeout(5):
            while server.status()["entries"] or server.agent.counts.held:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def server_that(*steps: bytes | None) -> AsyncIterator[Hop]:
    """A server that answers each request with the next step; `None` cuts the connection.

    `[head]` in a step stands for what an answer repeats of the request.
    """
    left = list(steps)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while left:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(len(b"hello"))
                step = left.pop(0)
                if step is None:
                    break
                names = (b"Via", b"From", b"To", b"Call-ID", b"CSeq")
                kept = [line for line in head.split(b"\r\n") if line.startswith(names)]
                writer.write(step.replace(b"[head]", b"\r\n".join(kept)))
            else:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield Hop("tcp", HOST, server.sockets[0].getsockname()[1])
    finally:
        server.close()


OK = b"SIP/2.0 200 OK\r\n[head]\r\nContent-Length: 0\r\n\r\n"


async def test_answers_that_come_twice_or_for_nobody() -> None:
    stray = OK.replace(b"[head]", b"[head]\r\nX: y").replace(b"200 OK", b"500 Late")
    async with server_that(OK + OK + stray, OK) as hop, running(NOWHERE) as (client, user):
        first = client.send(request(), hop)
        assert await user.outcome(first) == 200
        assert await user.outcome(client.send(request(), hop)) == 200
        assert len(user.responses[first]) == 1 and not user.failures
        assert sum(client.agent.dropped.values()) <= 2


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(None, id="cut"),
        pytest.param(b"SIP/2.0 200 OK\r\n[head]\r\nContent-Length: 500\r\n\r\nhalf", id="half an answer"),
        pytest.param(b"\x00\x01garbage\r\n\r\n", id="garbage"),
        pytest.param(b"SIP/2.0 200 OK\r\n[head]\r\nContent-Length: x\r\n\r\n", id="no length"),
    ],
)
async def test_a_server_that_breaks_off_is_connected_to_anew(
    monkeypatch: pytest.MonkeyPatch, fault: bytes | None
) -> None:
    monkeypatch.setattr(sip_connection, "MESSAGE_SECONDS", 0.3)
    async with server_that(fault, OK) as hop, running(NOWHERE) as (client, user):
        assert await user.outcome(client.send(request(), hop), 5) is Cause.TRANSPORT
        assert await user.outcome(client.send(request(), hop), 5) == 200


async def test_a_server_that_hangs_up_at_once() -> None:
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        if count % 2:
            writer.transport.abort()
        else:
            writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with running(NOWHERE) as (client, user):
        hop = Hop("tcp", HOST, server.sockets[0].getsockname()[1])
        keys = []
        for _ in range(60):
            keys.append(client.send(request(), hop))
            await asyncio.sleep(0.02)
        assert {await user.outcome(key, 2) for key in keys} == {Cause.TRANSPORT}
        assert count > 5 and client.status()["entries"] == 0
    server.close()
