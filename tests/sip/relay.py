"""TLS for programs that have none (Debian's SIPp): relays between plain TCP and asyncio's own TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.sip.certificates import Identity

HOST = "127.0.0.1"


class Relay:
    """Listens at `port` and passes on what comes; `errors` are the reasons why connections were not made."""

    def __init__(self, host: str, port: int, outgoing: ssl.SSLContext | None, name: str | None) -> None:
        self.port = 0
        self.errors: list[str] = []
        self.connections = 0
        self._to = host, port
        self._outgoing = outgoing
        self._name = name
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, incoming: ssl.SSLContext | None) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, 0, ssl=incoming)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            there, back = await asyncio.open_connection(
                *self._to, ssl=self._outgoing, server_hostname=self._name if self._outgoing else None
            )
            try:
                await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))
            finally:
                back.close()
        except OSError as error:  # TLS errors too
            self.errors.append(str(error))
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        with suppress(NotImplementedError, OSError):
            writer.close()


@asynccontextmanager
async def into_tls(port: int, identity: Identity | None, ca: Path, name: str) -> AsyncIterator[Relay]:
    """A plain TCP port that leads to a TLS server at `port`, which must be `name`."""
    context = ssl.create_default_context(cafile=str(ca))
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key)
    relay = Relay(HOST, port, context, name)
    await relay.start(None)
    try:
        yield relay
    finally:
        await relay.stop()


@asynccontextmanager
async def out_of_tls(port: int, identity: Identity, ca: Path | None) -> AsyncIterator[Relay]:
    """A TLS port that leads to a plain TCP server at `port`; with `ca` it asks for a certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca) if ca else None)
    context.verify_mode = ssl.CERT_REQUIRED if ca else ssl.CERT_NONE
    context.load_cert_chain(identity.certificate, identity.key)
    relay = Relay(HOST, port, None, None)
    await relay.start(context)
    try:
        yield relay
    finally:
        await relay.stop()
