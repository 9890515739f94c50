"""Many logged-in sessions of one kind (plain or TLS) against one server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence

from bench.load.login import Login
from bench.process import BenchError

_QUIET_SECONDS = 0.25


class Receiver(asyncio.Protocol):
    """Counts what arrives and does nothing else; the rows derive their own."""

    def __init__(self, transport: asyncio.Transport, fleet: Fleet) -> None:
        self.transport = transport
        self.fleet = fleet

    def data_received(self, data: bytes) -> None:
        """Count bytes, so that the fleet can tell when the server has nothing more to say."""
        self.fleet.received += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count sessions that ended although nobody asked for it."""
        self.fleet.lost += not self.fleet.closing


class Fleet:
    """The sessions, in the order of the names that were given."""

    def __init__(self, port: int, tls: bool) -> None:
        self.port = port
        self.receivers: list[Receiver] = []
        self.received = 0
        self.lost = 0
        self.closing = False
        self._context = make_context() if tls else None

    async def login(
        self, names: Sequence[str], at_once: int = 64, source: Callable[[int], str] | None = None
    ) -> None:
        """Log these people in, at most `at_once` at a time; `source` gives the n-th session's own address.

        Raises LoginError.
        """
        gate, known = asyncio.Semaphore(at_once), len(self.receivers)

        async def one(i: int, name: str) -> Receiver:
            async with gate:
                return await self._login(name, source(known + i) if source else None)

        self.receivers += await asyncio.gather(*(one(i, name) for i, name in enumerate(names)))

    async def _login(self, name: str, source: str | None = None) -> Receiver:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[asyncio.Transport] = loop.create_future()
        await loop.create_connection(
            lambda: Login(name, done),
            "127.0.0.1",
            self.port,
            ssl=self._context,
            server_hostname="" if self._context else None,
            local_addr=(source, 0) if source else None,
        )
        transport = await asyncio.wait_for(done, 60)
        receiver = Receiver(transport, self)
        transport.set_protocol(receiver)
        return receiver

    def become(
        self, make: Callable[[int, asyncio.Transport], Receiver], count: int | None = None
    ) -> list[Receiver]:
        """Give the first `count` sessions another receiver, made from their number and transport."""
        for i in range(len(self.receivers) if count is None else count):
            transport = self.receivers[i].transport
            self.receivers[i] = make(i, transport)
            transport.set_protocol(self.receivers[i])
        return self.receivers[:count]

    async def settle(self, cpu: Callable[[], float], patience: float = 60.0) -> None:
        """Wait until nothing arrives and the server is at rest. Raises BenchError after `patience`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        while loop.time() < end:
            received, used = self.received, cpu()
            await asyncio.sleep(_QUIET_SECONDS)
            if self.received == received and cpu() - used < 0.2 * _QUIET_SECONDS:
                return
        raise BenchError(f"the server was not at rest after {patience:.0f} s")

    async def close(self) -> None:
        """End all streams and connections."""
        self.closing = True
        for receiver in self.receivers:
            receiver.transport.write(b"</stream:stream>")
            receiver.transport.close()
        self.receivers = []
        await asyncio.sleep(0.2)


def make_context() -> ssl.SSLContext:
    """TLS 1.3, no verification: the generator's own cost is of no interest."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
