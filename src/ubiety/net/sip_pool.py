"""Which connection a SIP message takes: one that is there, or a new one; and what becomes of it.

A connection to a hop is used again for everything that goes to the same hop. One that the peer opened is
used for our requests if it asked for that, proved the hop's name and is at the hop's address (RFC 5923).
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable

from ubiety.net.authority import CertificateError
from ubiety.net.certificates import domain_in_ascii
from ubiety.net.pacing import TokenBucket
from ubiety.net.sip_connection import Bounds, SipConnection, log_end
from ubiety.net.sip_dns import Address, NotResolved, Resolver
from ubiety.net.sip_settings import (
    ACCEPT_RATE,
    ADDRESS_CONNECTIONS,
    CONNECT_SECONDS,
    CONNECTIONS,
    IDLE_SECONDS,
    MESSAGE_BYTES,
    MESSAGE_RATE,
)
from ubiety.net.sip_tls import SipTls, covers
from ubiety.net.sip_wire import Wire, shown_hop
from ubiety.net.tls import TlsLayer
from ubiety.settings import Settings
from ubiety.sip.framing import Malformed
from ubiety.sip.message import Request, Response
from ubiety.sip.outputs import Hop, Peer
from ubiety.telemetry import Counters, event

SWEEP_SECONDS = 1.0
ACCEPT_SECONDS = 5.0
"""A stranger whose turn to begin is later is refused."""
MOST_ADDRESSES = 4
"""Addresses of one hop that are tried."""
RETRY_SECONDS = 1.0
"""A hop that could not be reached is not tried again within this time; what is for it fails at once."""
MOST_REASONS = 1000
QUEUE_BYTES = 4 * 1024 * 1024
"""Bytes that may wait for a connection."""

Place = tuple[str, str, int]
"""Transport, IP address and port."""
Expects = Callable[[Hop, tuple[str, ...]], bool]


class ConnectFailed(Exception):
    """A connection could not be made; the text says why."""


class _Outlet:
    """A hop that we send to: its connection, or what waits for it."""

    __slots__ = ("connection", "hop", "size", "task", "waiting")

    def __init__(self, hop: Hop) -> None:
        self.hop = hop
        self.connection: SipConnection | None = None
        self.waiting: list[tuple[int, bytes]] = []
        self.size = 0
        self.task: asyncio.Task[None] | None = None


class SipPool:
    """All stream connections of a stack. Implements what a connection sees of it (`Station`)."""

    def __init__(
        self,
        wire: Wire,
        resolver: Resolver,
        tls: SipTls | None,
        settings: Settings,
        counters: Counters,
        expects: Expects | None = None,
    ) -> None:
        """`expects` judges the certificate of a hop that is only an address; else it must hold that."""
        self._wire = wire
        self._resolver = resolver
        self._tls = tls
        self._settings = settings
        self._counters = counters
        self._expects = expects
        self._loop = asyncio.get_running_loop()
        self._connections: dict[int, SipConnection] = {}
        self._outlets: dict[Hop, _Outlet] = {}
        self._hops: dict[int, list[Hop]] = {}  # by flow: who sends on it
        self._places: dict[Place, SipConnection] = {}  # those that we opened
        self._placed: dict[int, Place] = {}  # by flow
        self._opening: dict[int, asyncio.Future[None]] = {}
        self._held: Counter[int] = Counter()
        self._by_address: Counter[str] = Counter()
        self._reusable: dict[str, dict[int, SipConnection]] = {}  # by address
        self._unreachable: dict[Hop, float] = {}  # until when it is not tried again
        self.reasons: dict[Hop, str] = {}
        """Why hops could not be reached the last time."""
        self._accepting = TokenBucket(settings.get(ACCEPT_RATE), self._loop.time())
        settings.watch(ACCEPT_RATE, lambda rate: setattr(self._accepting, "rate", float(rate)))
        self._is_closing = False
        self._sweeper: asyncio.TimerHandle | None = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    @property
    def connections(self) -> list[SipConnection]:
        """Those that can be used."""
        return [connection for connection in self._connections.values() if connection.is_ready]

    @property
    def entries(self) -> int:
        """Entries in all tables of what lives: 0 when nobody is connected, nor about to be."""
        tables = (self._connections, self._outlets, self._hops, self._opening, self._held, self._places)
        return sum(len(table) for table in (*tables, self._by_address, self._reusable))

    # -- connections of others to us ---------------------------------------------------------------

    def accept(self, listener: str, transport: str) -> Callable[[], SipConnection]:
        """What makes the connections of a listener."""

        def make() -> SipConnection:
            tls = None
            if transport == "tls" and self._tls is not None:
                contexts = self._tls.current
                tls = TlsLayer(contexts.peer if listener == "sip_tls_peer" else contexts.server)
            flow, bounds = self._wire.new_flow(), self._bounds()
            return SipConnection(self, flow, bounds, transport_name=transport, listener=listener, tls=tls)

        return make

    def _bounds(self) -> Bounds:
        get = self._settings.get
        return Bounds(get(MESSAGE_BYTES), float(get(MESSAGE_RATE)), float(get(IDLE_SECONDS)))

    def admit(self, connection: SipConnection) -> float | None:
        """Let a stranger in, now or in some seconds; None: there are too many."""
        address, get = connection.peer.address, self._settings.get
        reason = ""
        wait: float | None = None
        if self._is_closing:
            reason = "closing"
        elif self._by_address[address] >= get(ADDRESS_CONNECTIONS):
            reason = "too many from this address"
        elif len(self._connections) >= get(CONNECTIONS):
            reason = "too many"
        else:
            wait = self._accepting.try_reserve(self._loop.time(), ACCEPT_SECONDS)
            reason = "too many at a time"
        if wait is None:
            self._counters.refused_connections += 1
            event("sip_connection_refused", "warning", address=address, reason=reason)
            return None
        self._by_address[address] += 1
        self._add(connection)
        return wait

    # -- what a connection tells -------------------------------------------------------------------

    def opened(self, connection: SipConnection) -> None:
        """The connection can be used: its peer is known."""
        self._add(connection)
        opening = self._opening.pop(connection.flow, None)
        if opening is not None and not opening.done():
            opening.set_result(None)

    def closed(self, connection: SipConnection, reason: str) -> None:
        """The connection is gone: what waits for answers on it has failed."""
        flow, peer = connection.flow, connection.peer
        opening = self._opening.pop(flow, None)
        if opening is not None and not opening.done():
            opening.set_exception(ConnectFailed(reason))
        else:
            log_end(connection, reason)
        if self._connections.pop(flow, None) is None:
            return
        self._counters.sip_connections = len(self._connections)
        if connection.listener:
            self._count_down(peer.address)
        self._forget_reusable(connection)
        place = self._placed.pop(flow, None)
        if place is not None and self._places.get(place) is connection:
            del self._places[place]
        for hop in self._hops.pop(flow, ()):
            self._outlets.pop(hop, None)
        self._held.pop(flow, None)
        self._wire.flow_closed(flow)

    def received(self, message: Request | Response, peer: Peer) -> None:
        """A message came."""
        if peer.names and peer.listener and isinstance(message, Request):
            self._note_alias(message, peer)
        self._wire.received(message, peer)

    def malformed(self, item: Malformed, peer: Peer) -> None:
        """Something came that is no message."""
        self._wire.malformed(item, peer)

    def sent(self, data: bytes, peer: Peer) -> None:
        """A message went out."""
        self._wire.sent(data, peer)

    def _add(self, connection: SipConnection) -> None:
        self._connections[connection.flow] = connection
        self._counters.sip_connections = len(self._connections)

    def _count_down(self, address: str) -> None:
        self._by_address[address] -= 1
        if self._by_address[address] <= 0:
            del self._by_address[address]

    def _note_alias(self, request: Request, peer: Peer) -> None:
        connection = self._connections.get(peer.flow)
        if connection is None or connection.may_be_reused:
            return
        # RFC 5923 §5.2: the peer's `alias` in its Via asks for the connection to be used the other way too.
        if "alias" in (request.headers.get("via") or "") and request.via.has("alias"):
            connection.may_be_reused = True
            self._reusable.setdefault(peer.address, {})[peer.flow] = connection

    def _forget_reusable(self, connection: SipConnection) -> None:
        if connection.may_be_reused:
            those = self._reusable.get(connection.peer.address, {})
            those.pop(connection.flow, None)
            if not those:
                self._reusable.pop(connection.peer.address, None)

    # -- sending -----------------------------------------------------------------------------------

    def send_on(self, flow: int, data: bytes) -> bool:
        """Send on a connection that exists. False: it is gone."""
        connection = self._connections.get(flow)
        return connection is not None and connection.send(data)

    def send(self, hop: Hop, key: int, data: bytes) -> None:
        """Send on the connection to a hop, made if need be; a failure is told to the stack, later."""
        outlet = self._outlets.get(hop)
        if outlet is None:
            reason = self._reason_not_to_try(hop)
            if reason:
                self._loop.call_soon(self._wire.transmit_failed, key, reason)
                return
            outlet = self._outlets[hop] = _Outlet(hop)
            outlet.task = self._loop.create_task(self._connect(outlet))
        if outlet.connection is not None:
            self._send(outlet.connection, key, data)
        elif outlet.size + len(data) > QUEUE_BYTES:
            self._loop.call_soon(self._wire.transmit_failed, key, "too much waits for the connection")
        else:
            outlet.waiting.append((key, data))
            outlet.size += len(data)

    def _send(self, connection: SipConnection, key: int, data: bytes) -> None:
        if connection.send(data):
            self._wire.sent_over(key, connection.flow)
        else:
            self._loop.call_soon(self._wire.transmit_failed, key, "the connection is closed")

    def _reason_not_to_try(self, hop: Hop) -> str:
        if self._is_closing:
            return "the stack is closed"
        if self._loop.time() < self._unreachable.get(hop, 0.0):
            return self.reasons.get(hop, "not reached a moment ago")
        return ""

    # -- our connections to others -----------------------------------------------------------------

    async def _connect(self, outlet: _Outlet) -> None:
        try:
            connection = await self._find_or_open(outlet.hop)
            if not connection.is_open:
                raise ConnectFailed("the connection is closed")
        except (ConnectFailed, NotResolved, CertificateError) as error:
            self._give_up(outlet, str(error))
            return
        except asyncio.CancelledError:
            self._give_up(outlet, "the stack is closed")
            raise
        self._hops.setdefault(connection.flow, []).append(outlet.hop)
        outlet.connection, outlet.task = connection, None
        self.reasons.pop(outlet.hop, None)
        waiting, outlet.waiting, outlet.size = outlet.waiting, [], 0
        for key, data in waiting:
            self._send(connection, key, data)

    def _give_up(self, outlet: _Outlet, reason: str) -> None:
        hop = outlet.hop
        event("sip_hop_unreachable", "warning", hop=shown_hop(hop), reason=reason)
        self._outlets.pop(hop, None)
        self._unreachable[hop] = self._loop.time() + RETRY_SECONDS
        if len(self.reasons) >= MOST_REASONS:
            self.reasons.clear()
        self.reasons[hop] = reason
        for key, *_ in outlet.waiting:
            self._wire.transmit_failed(key, reason)

    async def _find_or_open(self, hop: Hop) -> SipConnection:
        reasons = []
        for address in list(await self._resolver.resolve(hop))[:MOST_ADDRESSES]:
            connection = self._there_already(hop, address) or self._reusable_for(hop, address[0])
            if connection is not None:
                return connection
            seconds = self._settings.get(CONNECT_SECONDS)
            try:
                return await asyncio.wait_for(self._open(hop, address), seconds)
            except TimeoutError:
                reasons.append(f"{address[0]} port {address[1]}: no connection within {seconds} s")
            except (OSError, ConnectFailed) as error:
                reasons.append(f"{address[0]} port {address[1]}: {_words(error)}")
        raise ConnectFailed("; ".join(reasons))

    def _there_already(self, hop: Hop, address: Address) -> SipConnection | None:
        """One that we opened to the same place under another name, if the peer has proved this one too."""
        connection = self._places.get((hop.transport, *address))
        if connection is None or not connection.is_open:
            return None
        names = connection.peer.names
        if hop.transport != "tls" or covers(names, hop.name or hop.host):
            return connection
        is_judged = not hop.name and self._expects is not None and _is_address(hop.host)
        return connection if is_judged and self._expects and self._expects(hop, names) else None

    def _reusable_for(self, hop: Hop, address: str) -> SipConnection | None:
        if hop.transport != "tls":
            return None
        for connection in self._reusable.get(address, {}).values():
            if connection.is_open and covers(connection.peer.names, hop.name or hop.host):
                return connection
        return None

    async def _open(self, hop: Hop, address: Address) -> SipConnection:
        tls, accepts = self._client_tls(hop)
        flow = self._wire.new_flow()
        connection = SipConnection(
            self, flow, self._bounds(), transport_name=hop.transport, tls=tls, accepts=accepts
        )
        place = hop.transport, *address
        opening = self._opening[flow] = self._loop.create_future()
        try:
            await self._loop.create_connection(lambda: connection, *address)
            await opening
        except BaseException:
            self._opening.pop(flow, None)
            connection.abort()
            raise
        if not connection.is_open:  # since a moment ago
            raise ConnectFailed("closed by the peer at once")
        self._places[place] = connection
        self._placed[flow] = place
        return connection

    def _client_tls(self, hop: Hop) -> tuple[TlsLayer | None, Callable[[tuple[str, ...]], bool] | None]:
        if hop.transport != "tls":
            return None, None
        if self._tls is None:
            raise ConnectFailed("there is no certificate for TLS")
        contexts, expects = self._tls.current, self._expects
        name = domain_in_ascii(hop.name or hop.host)
        if hop.name or expects is None or not _is_address(name):
            return TlsLayer(contexts.client, server_side=False, server_name=name), None
        return TlsLayer(contexts.address, server_side=False), lambda names: expects(hop, names)

    # -- time --------------------------------------------------------------------------------------

    def hold(self, flow: int) -> None:
        """Somebody needs the connection even if it is silent, until as many `release`."""
        if flow in self._connections:
            self._held[flow] += 1

    def release(self, flow: int) -> None:
        """Undo one `hold`."""
        self._held[flow] -= 1
        if self._held[flow] <= 0:
            del self._held[flow]

    def holds(self, flow: int) -> bool:
        """Whether somebody needs the connection although it is silent."""
        return flow in self._held

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        now = self._loop.time()
        for connection in list(self._connections.values()):
            connection.tick(now)
        if self._unreachable:
            self._unreachable = {hop: until for hop, until in self._unreachable.items() if until > now}

    async def close(self, seconds: float) -> None:
        """Say good-bye on all connections and wait until they are gone, at most `seconds`."""
        self._is_closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        tasks = [outlet.task for outlet in self._outlets.values() if outlet.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self._connections.values()):
            connection.close()
        ends = self._loop.time() + seconds
        while self._connections and self._loop.time() < ends:
            await asyncio.sleep(0.01)
        for connection in list(self._connections.values()):
            connection.abort()


def _is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()


def _words(error: Exception) -> str:
    """Return what is wrong in the system's words, without its number."""
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number and number > 0 else str(error)
