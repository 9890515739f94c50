"""The bus between processes: a client of NATS, which reconnects for ever and never makes anybody wait.

Each connection is a client of nats-py of its own, used for one server and thrown away when it is lost: what
is to be resent is `cluster/flow.py`'s business, and a server that does not answer (half open, stopped) must
not hold up the next attempt. The client is only spoken to through its public methods.
"""

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from nats import errors
from ubiety.cluster.bus import BusError, Receive
from ubiety.config import BusServer
from ubiety.telemetry import event

PENDING_BYTES = 8 * 1024 * 1024
"""Bytes that may wait for the server; what is published beyond is dropped, and resent by the flows."""
MESSAGE_BYTES = 600_000
"""Length of message that the server must allow."""
RETRY_SECONDS = 0.25
CONNECT_SECONDS = 2
PING_SECONDS = 2.0
PONG_SECONDS = 4.0
"""A server that has not answered a ping for so long is given up."""
_REPEAT_SECONDS = 60.0
"""A cause that lasts is logged again after this time."""


class BusUnreachable(BusError):
    """No connection, or it broke: tried again all the time."""


class BusUntrusted(BusError):
    """The server is not who it should be, or does not encrypt."""


class BusRefused(BusError):
    """The server does not let this node in."""


class NatsBus:
    """A `cluster.bus.Bus` over NATS; one for each node."""

    def __init__(self, servers: Sequence[BusServer], name: str, ca: Path | None = None) -> None:
        """``name`` is what NATS's monitoring shows; ``ca`` signed the servers' certificates."""
        self.error: BusError | None = None
        """Why there is no connection."""
        self.dropped = 0
        """Messages that were dropped for want of a connection, or of room."""
        self._servers = servers
        self._name = name
        self._ca = ca
        self._client: Client | None = None
        self._subscribed: dict[tuple[str, Receive], Subscription | None] = {}
        self._watchers: list[Callable[[bool], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._outcome: asyncio.Future[None] | None = None
        self._logged = ("", 0.0)

    @property
    def connected(self) -> bool:
        """Whether what is published now has a way out."""
        return self._client is not None

    async def start(self) -> None:
        """Try each server, and stay connected from now on; returns when connected or none can be reached.

        Raises BusUntrusted and BusRefused: that is for an administrator to mend.
        """
        self._outcome = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run())
        try:
            await self._outcome
        except (BusUntrusted, BusRefused):
            await self.close()
            raise
        except BusError:
            pass  # it was logged; the attempts go on

    async def close(self) -> None:
        """Stop. What was published before is still sent if there is a connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(errors.Error, OSError, TimeoutError):
                await client.flush(1)
            self._discard(client)
        if self._tasks:
            await asyncio.wait(self._tasks)

    def publish(self, subject: str, data: bytes) -> None:
        """Send a message. Never waits and never raises; without a connection it is dropped."""
        client = self._client
        if client is None or client.pending_data_size > PENDING_BYTES:
            self.dropped += 1
            return
        # A coroutine that has nothing to wait for, as there is room: it ends in its first step, no task.
        publishing = client.publish(subject, data)
        try:
            publishing.send(None)
        except StopIteration:
            return
        except errors.Error:
            self.dropped += 1
        else:
            publishing.close()
            self.dropped += 1

    async def subscribe(self, subject: str, receive: Receive) -> None:
        """Have ``receive`` called for each message of a subject, on this connection and all later ones."""
        self._subscribed[subject, receive] = None
        if self._client is not None:
            with contextlib.suppress(errors.Error, OSError):  # lost just now: the next connection has it
                await self._hear(self._client, subject, receive)

    async def unsubscribe(self, subject: str, receive: Receive) -> None:
        """Hear a subject no more."""
        subscription = self._subscribed.pop((subject, receive))
        if subscription is not None:
            with contextlib.suppress(errors.Error, OSError):
                await subscription.unsubscribe()

    def watch(self, notice: Callable[[bool], None]) -> None:
        """Have ``notice(connected)`` called when the connection is lost and when it is back."""
        self._watchers.append(notice)

    async def _run(self) -> None:
        failed = 0
        for server in itertools.cycle(self._servers):
            try:
                await self._use(server)
            except BusError as error:
                failed += 1
                self._note(server, error)
                if failed == len(self._servers):
                    self._settle(error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _use(self, server: BusServer) -> None:
        """Connect and stay so until the connection is lost. Raises BusError if there was none."""
        lost = asyncio.Event()
        client = await self._connect(server, lost)
        try:
            for subject, receive in list(self._subscribed):
                await self._hear(client, subject, receive)
            self._switch(client)
            event("bus_connected", server=str(server))
            self._settle(None)
            pinging = asyncio.create_task(_ping(client, lost))
            try:
                await lost.wait()
            finally:
                pinging.cancel()
        except (errors.Error, OSError, TimeoutError) as error:
            raise _named(error, server) from error
        finally:
            if self._client is client and lost.is_set():
                self._switch(None)
            if self._client is not client:
                self._discard(client)
        raise BusUnreachable(f"The connection to the bus at {server} is lost. Is nats-server running there?")

    async def _connect(self, server: BusServer, lost: asyncio.Event) -> Client:
        context = self._context(server)
        client = Client()
        last: list[Exception] = []

        async def fail(error: Exception) -> None:
            last.append(error)

        async def end() -> None:
            lost.set()

        def check(secret: str) -> Callable[[], str]:
            # Called right before it would be sent: a man in the middle can hide that a server has TLS.
            return lambda: secret if not context or context.is_encrypting(server) else ""

        options: dict[str, Any] = {"tls": context, "tls_hostname": server.host} if context else {}
        if server.token:
            options["token"] = check(server.token)
        elif server.user:
            options |= {"user": check(server.user), "password": check(server.password)}
        try:
            await client.connect(
                # Of two failed attempts the first is repeated at once by nats-py.
                servers=[f"nats://{_in_url(server.host)}:{server.port}"],
                name=self._name,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=CONNECT_SECONDS,
                ping_interval=3600,  # we ping ourselves
                pending_size=PENDING_BYTES + 2 * MESSAGE_BYTES,
                skip_subject_validation=True,
                error_cb=fail,
                disconnected_cb=end,
                closed_cb=end,
                **options,
            )
            if context:
                context.is_encrypting(server)
            _check_length(client, server)
        except BaseException as error:
            self._discard(client)
            if isinstance(error, errors.NoServersError) and last:
                error = last[-1]
            if isinstance(error, errors.Error | OSError | TimeoutError):
                raise _named(error, server) from error
            raise
        return client

    def _context(self, server: BusServer) -> "_Context | None":
        if not server.is_encrypted and self._ca is None:
            return None
        context = _Context(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._ca is None:
            context.load_default_certs()
            return context
        try:
            context.load_verify_locations(self._ca)
        except OSError as error:
            raise BusUntrusted(
                f"{self._ca}, the authority of the bus, cannot be read: {error}. [bus] ca names a PEM file."
            ) from error
        return context

    async def _hear(self, client: Client, subject: str, receive: Receive) -> None:
        async def hear(message: Msg) -> None:
            receive(message.subject, message.data)

        self._subscribed[subject, receive] = await client.subscribe(subject, cb=hear)

    def _switch(self, client: Client | None) -> None:
        self._client = client
        for notice in self._watchers:
            notice(client is not None)

    def _settle(self, error: BusError | None) -> None:
        self.error = error
        if self._outcome is not None and not self._outcome.done():
            if error is None:
                self._outcome.set_result(None)
            else:
                self._outcome.set_exception(error)

    def _note(self, server: BusServer, error: BusError) -> None:
        self.error = error
        now = asyncio.get_running_loop().time()
        text, at = self._logged
        if text != str(error) or now > at + _REPEAT_SECONDS:
            self._logged = (str(error), now)
            event("bus_unavailable", "error", server=str(server), error=str(error))

    def _discard(self, client: Client) -> None:
        """Close a client beside everything else: with a server that is silent it takes a while."""
        task = asyncio.create_task(_close(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Context(ssl.SSLContext):
    """The TLS settings of one connection; knows if it is encrypted: nats-py leaves that to the server."""

    connection: ssl.SSLObject | None = None

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """Begin TLS. Called by the loop."""
        self.connection = super().wrap_bio(*arguments, **named)
        return self.connection

    def is_encrypting(self, server: BusServer) -> bool:
        """True. Raises BusUntrusted if the connection is not encrypted."""
        if self.connection is None or self.connection.version() is None:
            raise BusUntrusted(
                f"The bus at {server} offers no TLS. Give nats-server a tls block with a certificate; or "
                "write nats:// with [bus] plain = true, without [bus] ca, if you trust the network."
            )
        return True


async def _ping(client: Client, lost: asyncio.Event) -> None:
    try:
        while True:
            await asyncio.sleep(PING_SECONDS)
            await client.flush(PONG_SECONDS)  # type: ignore[arg-type]  # seconds may be fractions
    except (errors.Error, OSError, TimeoutError):
        lost.set()


async def _close(client: Client) -> None:
    with contextlib.suppress(errors.Error, OSError, TimeoutError):
        async with asyncio.timeout(CONNECT_SECONDS):
            await client.close()


def _check_length(client: Client, server: BusServer) -> None:
    if client.max_payload < MESSAGE_BYTES:
        raise BusRefused(
            f"The bus at {server} takes messages of {client.max_payload} bytes at most; this node needs "
            f"{MESSAGE_BYTES}. Set max_payload: 1MB in nats-server's configuration."
        )


def _named(error: Exception, server: BusServer) -> BusError:
    """The cause and the cure of what went wrong on the way to a server."""
    text = str(error).removeprefix("nats: ").strip("'") or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return BusUntrusted(
            f"The certificate of the bus at {server} is not trusted: {error.verify_message.rstrip('.')}. "
            f"[bus] ca must name the authority that signed it, and it must be made out to {server.host}."
        )
    if isinstance(error, ssl.SSLError):
        return BusUntrusted(f"TLS with the bus at {server} failed: {text}. Its log may say why.")
    if isinstance(error, errors.AuthorizationError) or "authorization" in text.lower():
        return BusRefused(
            f"The bus at {server} refused the login of this node. The user and password in [bus] url must be "
            "those in the authorization block of nats-server's configuration."
        )
    return BusUnreachable(f"The bus at {server} cannot be reached: {text}. Is nats-server running there?")


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
