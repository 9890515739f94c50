"""Sockets of a front end: connections that carry SIP messages both ways, and how they are opened."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from ubiety.sip.framing import Malformed, Ping, Pong, StreamFraming
from ubiety.sip.message import Request, Response
from ubiety.sip.uri import SipUri

READ_BYTES = 65_536
CONNECT_SECONDS = 5.0
PORTS = {"tcp": 5060, "tls": 5061}


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a message is sent to."""

    transport: str
    host: str
    port: int
    name: str = ""
    """The name that a TLS peer must prove; empty for `host`."""


def hop_of(uri: SipUri) -> Hop:
    """Where a SIP address leads, without asking the DNS for services (RFC 3263 left to names and ports)."""
    transport = (uri.transport or ("tls" if uri.scheme == "sips" else "tcp")).lower()
    if uri.scheme == "sips" and transport == "tcp":
        transport = "tls"
    host = uri.param("maddr") or uri.host
    return Hop(transport, host.strip("[]"), uri.port or PORTS.get(transport, 5060))


@dataclass(frozen=True, slots=True)
class Traced:
    """One message as it went over the wire, for those who watch."""

    direction: str
    """in or out"""
    transport: str
    peer: str
    data: bytes


Receive = Callable[["Connection", Request | Response], None]
Trace = Callable[[Traced], None]
Seal = Callable[[Request | Response], Request | Response]


class Connection:
    """One TCP or TLS connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        receive: Receive,
        trace: Trace = lambda _traced: None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._receive = receive
        self._trace = trace
        self._framing = StreamFraming()
        peer = writer.get_extra_info("peername") or ("", 0)
        self.host: str = str(peer[0])
        self.port: int = int(peer[1])
        layer = writer.get_extra_info("ssl_object")
        self.transport = "tls" if layer is not None else "tcp"
        self.names = certificate_names(layer.getpeercert() if layer is not None else None)
        self.seal: Seal = lambda message: message
        """Signs what goes to a signed-in client."""
        self.is_mute = False
        """A fault: what comes is read and thrown away."""

    @property
    def is_open(self) -> bool:
        """Whether something can still be sent."""
        return not self._writer.is_closing()

    @property
    def peer(self) -> str:
        """The other end, for people."""
        return f"{self.host}:{self.port}"

    def send(self, message: Request | Response) -> None:
        """Sends; what cannot be sent any more is lost, as on any broken connection."""
        self.send_bytes(self.seal(message).to_bytes())

    def send_bytes(self, data: bytes) -> None:
        """Sends bytes as they are; faults use it for garbage."""
        if self.is_open:
            self._trace(Traced("out", self.transport, self.peer, data))
            self._writer.write(data)

    async def read_until_closed(self) -> None:
        """Reads and hands on until the other side or we close."""
        try:
            while data := await self._reader.read(READ_BYTES):
                for item in self._framing.receive(data):
                    if not self.is_mute:
                        self._take(item)
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
            pass  # broken off: the same to us as closed
        finally:
            self._writer.close()

    def _take(self, item: object) -> None:
        if isinstance(item, Request | Response):
            self._trace(Traced("in", self.transport, self.peer, item.to_bytes()))
            self._receive(self, item)
        elif isinstance(item, Ping):  # RFC 5626 §3.5.1
            self._writer.write(b"\r\n")
        elif isinstance(item, Malformed):
            if item.answer:
                self.send_bytes(item.answer)
            if item.is_fatal:
                self._writer.close()
        else:
            assert isinstance(item, Pong)

    def abort(self) -> None:
        """Breaks the connection without a farewell."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Closes and waits a moment for what is still to be written."""
        self._writer.close()
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.wait_closed()


def certificate_names(certificate: object) -> tuple[str, ...]:
    """The DNS names and the common name of a verified certificate, as `ssl` returns it."""
    if not isinstance(certificate, dict):
        return ()
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    names += [
        value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"
    ]
    return tuple(dict.fromkeys(name.lower() for name in names))


async def connect(
    hop: Hop, address: tuple[str, int], context: ssl.SSLContext | None, receive: Receive, trace: Trace
) -> Connection:
    """Opens a connection to `address`, the resolved `hop`. Raises OSError, ssl.SSLError or TimeoutError."""
    use_tls = hop.transport == "tls"
    if use_tls and context is None:
        raise OSError("a TLS route, but the plan has no [tls] with a certificate")
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection(
            *address,
            ssl=context if use_tls else None,
            server_hostname=(hop.name or hop.host) if use_tls else None,
        )
    return Connection(reader, writer, receive, trace)
