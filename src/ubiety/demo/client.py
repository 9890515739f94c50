"""The connection of one simulated person: a small XMPP client over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from xml.etree.ElementTree import Element, ParseError, XMLPullParser
from xml.sax.saxutils import quoteattr

from ubiety.demo.conduct import RESOURCE
from ubiety.demo.scram import ScramClient

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
STREAM = "http://etherx.jabber.org/streams"
LOGIN_SECONDS = 30.0
_READ_BYTES = 16384


class ConnectionLostError(Exception):
    """The stream ended or could not be understood."""


class LoginRefusedError(Exception):
    """The server refused the user or the password; the text is the SASL condition."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the node listens for direct TLS (XEP-0368), and the authority to trust beside the usual ones."""

    host: str
    port: int
    domain: str
    ca_file: Path | None

    def make_context(self) -> ssl.SSLContext:
        """Return a TLS context that checks the node's certificate.

        Raises OSError when the authority's file cannot be read.
        """
        context = ssl.create_default_context()
        if self.ca_file is not None:
            context.load_verify_locations(self.ca_file)
        return context


class SampleClient:
    """One logged-in stream: `login()`, then `send()` and `receive()`, at the end `close()`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, domain: str) -> None:
        """Take an open TLS connection; use `connect()` to make one."""
        self._reader = reader
        self._writer = writer
        self._domain = domain
        self._parser = _new_parser()
        self._depth = 0
        self._root: Element | None = None
        self._ready: deque[Element] = deque()

    @classmethod
    async def connect(cls, endpoint: Endpoint, context: ssl.SSLContext) -> SampleClient:
        """Connect with direct TLS. Raises OSError (which ssl.SSLError is)."""
        async with asyncio.timeout(LOGIN_SECONDS):
            reader, writer = await asyncio.open_connection(
                endpoint.host, endpoint.port, ssl=context, server_hostname=endpoint.domain
            )
        return cls(reader, writer, endpoint.domain)

    async def login(self, username: str, password: str) -> None:
        """Open the stream, authenticate and bind.

        Raises LoginRefusedError, ConnectionLostError, OSError or TimeoutError.
        """
        async with asyncio.timeout(LOGIN_SECONDS):
            await self._open_stream()
            await self._authenticate(username, password)
            await self._open_stream()
            resource = f"<resource>{RESOURCE}</resource>"
            self.send(f"<iq type='set' id='bind'><bind xmlns='{BIND}'>{resource}</bind></iq>")
            answer = await self.receive()
            if answer.get("type") != "result":
                raise ConnectionLostError("the server refused to bind a resource")

    def send(self, data: str) -> None:
        """Send one or more stanzas. Never waits: a simulated person sends little."""
        self._writer.write(data.encode())

    async def receive(self) -> Element:
        """Return the next element below the stream's root. Raises ConnectionLostError and OSError."""
        while not self._ready:
            data = await self._reader.read(_READ_BYTES)
            if not data:
                raise ConnectionLostError("the connection was closed")
            self._feed(data)
        return self._ready.popleft()

    async def close(self) -> None:
        """Close the stream and the connection, without waiting long."""
        with contextlib.suppress(OSError, TimeoutError):
            self.send("</stream:stream>")
            self._writer.close()
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()

    async def _open_stream(self) -> None:
        self._parser = _new_parser()
        self._depth = 0
        self.send(
            f"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='{STREAM}' "
            f"to={quoteattr(self._domain)} version='1.0' xml:lang='en'>"
        )
        features = await self.receive()
        if features.tag != f"{{{STREAM}}}features":
            raise ConnectionLostError(f"instead of stream features came {features.tag}")

    async def _authenticate(self, username: str, password: str) -> None:
        exchange = ScramClient(username, password, token_urlsafe(18))
        self.send(f"<auth xmlns='{SASL}' mechanism='{exchange.mechanism}'>{exchange.first()}</auth>")
        challenge = await self._expect_sasl("challenge")
        # the hashing takes milliseconds: not in the loop that carries everybody's messages
        try:
            final = await asyncio.to_thread(exchange.final, challenge)
        except ValueError as error:
            raise ConnectionLostError(str(error)) from error
        self.send(f"<response xmlns='{SASL}'>{final}</response>")
        if not exchange.is_genuine(await self._expect_sasl("success")):
            raise LoginRefusedError("the server's own signature is wrong")

    async def _expect_sasl(self, name: str) -> str:
        answer = await self.receive()
        if answer.tag == f"{{{SASL}}}failure":
            raise LoginRefusedError(answer[0].tag.rpartition("}")[2] if len(answer) else "failure")
        if answer.tag != f"{{{SASL}}}{name}":
            raise ConnectionLostError(f"instead of SASL's {name} came {answer.tag}")
        return answer.text or ""

    def _feed(self, data: bytes) -> None:
        """Parse, and put aside each complete child of the root."""
        try:
            self._parser.feed(data)
            events: Any = self._parser.read_events()
            for event, element in events:
                self._depth += 1 if event == "start" else -1
                if event == "start" and self._depth == 1:
                    self._root = element
                elif event == "end" and self._depth == 1 and self._root is not None:
                    self._root.clear()  # else the tree of the stream would grow for ever
                    self._ready.append(element)
        except ParseError as error:
            raise ConnectionLostError(f"not well-formed: {error}") from error
        if self._depth == 0 and self._root is not None and not self._ready:
            raise ConnectionLostError("the server ended the stream")


def _new_parser() -> XMLPullParser[Any]:
    return XMLPullParser(("start", "end"))
