"""Shared ports, and the watchdog that they need."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from ubiety.config import Listen
from ubiety.net.listener import ListenError, listen, port_of
from ubiety.net.watchdog import Watchdog


async def test_two_nodes_share_a_port_under_a_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UBIETY_SUPERVISED", "1")
    first = await listen(asyncio.Protocol, [Listen("127.0.0.1", 0, True)], "UBIETY_C2S_PORT")
    port = port_of(first)
    second = await listen(asyncio.Protocol, [Listen("127.0.0.1", port, True)], "UBIETY_C2S_PORT")
    assert port_of(second) == port
    with pytest.raises(ListenError, match="Address already in use"):
        await listen(asyncio.Protocol, [Listen("127.0.0.1", port)], "UBIETY_C2S_PORT")
    for server in (*first, *second):
        server.close()


async def test_no_port_is_shared_without_a_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UBIETY_SUPERVISED", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ListenError, match="nobody would end this node if it hung"):
        await listen(asyncio.Protocol, [Listen("127.0.0.1", 0, True)], "UBIETY_C2S_PORT")


async def test_watchdog_tells_systemd_while_the_loop_turns(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.setblocking(False)
        watchdog = Watchdog(loop, {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "40000"})
        watchdog.start()
        heard = [await asyncio.wait_for(loop.sock_recv(systemd, 100), 5) for _ in range(4)]
        watchdog.stop()
        assert heard == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        rest = [await asyncio.wait_for(loop.sock_recv(systemd, 100), 5)]
        assert rest[-1] in (b"STOPPING=1", b"WATCHDOG=1")


async def test_watchdog_is_silent_where_nobody_listens() -> None:
    watchdog = Watchdog(asyncio.get_running_loop(), {})
    watchdog.start()
    watchdog.stop()
