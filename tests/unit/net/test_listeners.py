"""Sockets that a service opens and closes again."""

import asyncio
import socket

import pytest

from ubiety.config import Listen
from ubiety.net.listener import ListenError
from ubiety.net.listeners import Listener, Listeners

HOST = "127.0.0.1"


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


async def test_the_same_ports_are_bound_again() -> None:
    listeners = Listeners(
        Listener("one", asyncio.Protocol, [Listen(HOST, 0)], "ONE"),
        Listener("two", asyncio.Protocol, [Listen(HOST, 0)], "TWO"),
    )
    assert listeners.ports == {"one": 0, "two": 0}
    await listeners.open()
    ports = listeners.ports
    assert len(set(ports.values())) == 2 and all(is_open(port) for port in ports.values())
    listeners.close()
    assert not any(is_open(port) for port in ports.values())
    assert listeners.ports == ports
    await listeners.open()
    assert listeners.ports == ports and all(is_open(port) for port in ports.values())
    listeners.close()


async def test_all_or_none_listen() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        listeners = Listeners(
            Listener("one", asyncio.Protocol, [Listen(HOST, 0)], "ONE"),
            Listener("two", asyncio.Protocol, [Listen(HOST, port)], "TWO"),
        )
        with pytest.raises(ListenError, match="TWO"):
            await listeners.open()
        assert not is_open(listeners.ports["one"])
