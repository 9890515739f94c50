"""One connection of a test client: a socket, TLS when asked for, and the XML read from it."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import NoReturn, cast
from xml.parsers import expat

from tests.harness.tags import StreamClosed, StreamOpened, Tag, TagReader

Item = StreamOpened | Tag | StreamClosed
STREAMS = "http://etherx.jabber.org/streams"


class ConnectionGoneError(Exception):
    """The connection ended while something was still expected from it."""


@cache
def trusting_context() -> ssl.SSLContext:
    """Return a TLS client context that takes any certificate: the node makes its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Wire(asyncio.Protocol):
    """A connection whose received stream items wait in `inbox` until somebody expects them."""

    def __init__(self) -> None:
        self.inbox: deque[Item] = deque()
        self.on_tag: Callable[[Tag], bool] | None = None
        self.on_lost: Callable[[], None] | None = None
        self.is_lost = False
        self.heard = 0  # how often something came
        self.fault: Exception | None = None
        self.transport: asyncio.Transport | None = None
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._reader = TagReader(self._keep)

    @classmethod
    async def open(
        cls, host: str, port: int, tls: ssl.SSLContext | None = None, source: str | None = None
    ) -> Wire:
        """Connect, over direct TLS when a context is given; raises OSError."""
        loop = asyncio.get_running_loop()
        local = None if source is None else (source, 0)
        _, wire = await loop.create_connection(
            cls, host, port, ssl=tls, server_hostname="" if tls else None, local_addr=local
        )
        return wire

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Put TLS on the connection, after <proceed/>."""
        assert self.transport is not None
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(self.transport, self, context, server_hostname="")
        assert transport is not None
        self.transport = transport

    def restart(self) -> None:
        """Forget the XML read so far: a new stream begins."""
        self._reader = TagReader(self._keep)

    def write(self, data: str | bytes) -> None:
        """Send at once; nothing happens when the connection is gone."""
        if self.transport is not None and not self.is_lost:
            self.transport.write(data.encode() if isinstance(data, str) else data)

    async def drain(self) -> None:
        """Wait until the socket takes more."""
        await self._writable.wait()

    async def expect(
        self, match: Callable[[Item], bool], seconds: float = 10.0, what: str = "an item"
    ) -> Item:
        """Take the first item that matches out of the inbox, waiting for it when needed.

        Raises ConnectionGoneError when the connection ends first, AssertionError after `seconds`.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while (found := self._take(match)) is None:
            if self.is_lost:
                self.raise_gone(what)
            left = deadline - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                raise AssertionError(f"no {what} within {seconds} s; {self._seen()}") from None
        return found

    def raise_gone(self, what: str) -> NoReturn:
        """Tell why the connection ended: raises ConnectionGoneError, or the AssertionError of a callback."""
        # What we ended the connection for is a fault of the server's, not of the network's.
        if isinstance(self.fault, AssertionError):
            raise self.fault
        raise ConnectionGoneError(f"connection ended; wanted {what}; {self._seen()}")

    async def expect_tag(self, *names: str, seconds: float = 10.0) -> Tag:
        """Take the next element that has one of these names."""
        item = await self.expect(
            lambda item: isinstance(item, Tag) and item.name in names, seconds, f"<{'/'.join(names)}>"
        )
        assert isinstance(item, Tag)
        return item

    async def lost(self, seconds: float = 10.0) -> None:
        """Wait until the peer has ended the connection; AssertionError after `seconds`."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.is_lost:
            self._news.clear()
            left = deadline - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                raise AssertionError(f"still connected after {seconds} s; {self._seen()}") from None

    def abort(self) -> None:
        """Cut the connection without a word, as a lost network does."""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport (called by asyncio)."""
        transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Read the peer's XML (called by asyncio)."""
        self.heard += 1
        try:
            self._reader.feed(data)
        except (expat.ExpatError, AssertionError) as error:
            self.fault = error
            self.abort()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits (called by asyncio)."""
        self.is_lost = True
        self._writable.set()
        self._news.set()
        if self.on_lost is not None:
            self.on_lost()

    def pause_writing(self) -> None:
        """Hold `drain` back (called by asyncio)."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let `drain` go (called by asyncio)."""
        self._writable.set()

    def _keep(self, item: Item) -> None:
        if isinstance(item, Tag) and self.on_tag is not None and self.on_tag(item):
            return
        self.inbox.append(item)

    def _take(self, match: Callable[[Item], bool]) -> Item | None:
        self._news.clear()
        for item in self.inbox:
            if match(item):
                self.inbox.remove(item)
                return item
        return None

    def _seen(self) -> str:
        fault = f"fault {self.fault}; " if self.fault else ""
        return fault + "unclaimed: " + (" ".join(map(str, list(self.inbox)[-8:])) or "nothing")
