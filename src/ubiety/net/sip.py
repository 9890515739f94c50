"""The SIP stack of a node: it drives `sip/agent.py` over real sockets, and decides nothing itself.

The driver's duty (style, principle 2): feed the agent, perform its outputs in order, arm one timer.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from ubiety.config import Config, Listen
from ubiety.net.listener import ListenError
from ubiety.net.listeners import Listener, Listeners
from ubiety.net.sip_dns import Resolver
from ubiety.net.sip_pool import Expects, SipPool
from ubiety.net.sip_settings import TRACE_MESSAGES, TRANSACTIONS
from ubiety.net.sip_socket import in_uri, own_address
from ubiety.net.sip_tls import SipTls
from ubiety.net.sip_tokens import Tokens
from ubiety.net.sip_trace import RECEIVED, SENT, Trace
from ubiety.net.sip_udp import SipDatagrams
from ubiety.net.sip_wire import shown_peer
from ubiety.settings import Settings
from ubiety.sip.agent import Agent, Timers
from ubiety.sip.framing import Malformed
from ubiety.sip.message import Request, Response, make_response
from ubiety.sip.outputs import (
    DEFAULT_PORTS,
    AckReceived,
    Cancelled,
    Cause,
    Failed,
    Hop,
    Output,
    Peer,
    RequestReceived,
    ResponseReceived,
    Transmit,
)
from ubiety.telemetry import Counters, event

STOP_SECONDS = 2.0
_PORT_TRIES = 20
_MOST_OWN = 1000
_RECOVER_SECONDS = 0.5


class Handler(Protocol):
    """What is told of everything that goes on; the gateway."""

    def request_received(self, key: int, request: Request, peer: Peer) -> None:
        """A request came, once. `SipStack.respond(key, ...)` answers it."""

    def response_received(self, key: int, response: Response) -> None:
        """An answer came to a request that was sent."""

    def failed(self, key: int, cause: Cause) -> None:
        """There will be no answer, or no ACK."""

    def ack_received(self, request: Request, peer: Peer) -> None:
        """The ACK of a 2xx came."""

    def cancelled(self, key: int) -> None:
        """An INVITE was cancelled: it is to be answered with 487."""


@dataclass(frozen=True)
class Places:
    """Where a stack listens; nowhere, unless told."""

    sip: Sequence[Listen] = ()
    """UDP and TCP."""
    tls_peer: Sequence[Listen] = ()
    """TLS for peers that show a certificate."""
    tls_server: Sequence[Listen] = ()
    """TLS for clients without."""
    name: str = ""
    """The public name of this node, for Via; empty: its address."""


def places_of(config: Config) -> Places:
    """Where a node listens for SIP."""
    return Places(config.sip, config.sip_tls_peer, config.sip_tls_server, config.address)


class SipStack:
    """One per node. Implements the gateway's `Stack` and what transports see of it (`Wire`)."""

    def __init__(
        self,
        handler: Handler | None,
        places: Places,
        settings: Settings,
        counters: Counters,
        *,
        tls: SipTls | None = None,
        resolver: Resolver | None = None,
        expects: Expects | None = None,
        timers: Timers | None = None,
        token: Callable[[], str] | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`expects` judges the certificate of a hop that is only an address (see `SipPool`)."""
        self.handler = handler
        """Told of everything; may be set later, before `start`."""
        self.on_flow_closed: Callable[[int], None] = lambda flow: None
        """Told of connections that are gone."""
        self.before_input: Callable[[], None] = lambda: None
        """Called before anything that came is looked at: whom this node may serve no more is let go first."""
        loop = asyncio.get_running_loop()
        self.resolver = resolver or Resolver(loop)
        self.trace = Trace(settings.get(TRACE_MESSAGES), wall_clock)
        settings.watch(TRACE_MESSAGES, self.trace.resize)
        self.agent = Agent(
            token or Tokens(), self._via_of, timers, max_transactions=settings.get(TRANSACTIONS)
        )
        settings.watch(TRANSACTIONS, self.agent.set_max_transactions)
        self._loop = loop
        self._places = places
        self._settings = settings
        self._counters = counters
        self._tls = tls
        self._expects = expects
        self._flow = 0
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0
        self._pool: SipPool | None = None
        self._udp: SipDatagrams | None = None
        self._listeners = Listeners()
        self._ports: dict[str, int] = {}
        self._own: dict[str, str] = {}  # our address as a peer's address sees it

    # -- start and stop ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen. Raises ListenError, CertificateError; then nothing listens."""
        if self._tls is not None:
            _ = self._tls.current  # a certificate that cannot be used is found now
        arguments = self._settings, self._counters
        self._own.clear()
        self._pool = SipPool(self, self.resolver, self._tls, *arguments, self._expects)
        for attempt in range(_PORT_TRIES):
            self._udp = SipDatagrams(self, self.resolver, *arguments)
            self._listeners = Listeners(*self._make_listeners(self._pool))
            try:
                await self._open(self._udp)
            except ListenError:
                self._listeners.close()
                await self._udp.close()
                if attempt + 1 == _PORT_TRIES or self._port_of("sip", self._places.sip):
                    await self._pool.close(0)
                    raise
            else:
                break
        self._ports = self._listeners.ports
        event("sip_started", ports=self._ports)

    async def _open(self, udp: SipDatagrams) -> None:
        await self._listeners.open()
        port = self._listeners.ports.get("sip", 0)  # the one that TCP got is UDP's too
        addresses = [replace(at, port=port) for at in self._places.sip]
        await udp.listen(addresses, "sip", "UBIETY_SIP_PORT")

    def _make_listeners(self, pool: SipPool) -> list[Listener]:
        places = self._places
        rows = (
            ("sip", "tcp", places.sip, "UBIETY_SIP_PORT"),
            ("sip_tls_peer", "tls", places.tls_peer, "UBIETY_SIP_TLS_PEER_PORT"),
            ("sip_tls_server", "tls", places.tls_server, "UBIETY_SIP_TLS_SERVER_PORT"),
        )
        return [
            Listener(
                name,
                pool.accept(name, transport),
                [replace(at, port=self._port_of(name, addresses)) for at in addresses],
                setting,
            )
            for name, transport, addresses, setting in rows
            if addresses
        ]

    def _port_of(self, name: str, addresses: Sequence[Listen]) -> int:
        return self._ports.get(name, 0) or (addresses[0].port if addresses else 0)

    async def stop(self) -> None:
        """Listen no more and close everything; what waits for an answer fails. `start` begins anew."""
        self._listeners.close()
        pool, udp = self._pool, self._udp
        self._pool = self._udp = None
        if pool is not None:
            await pool.close(STOP_SECONDS)
        if udp is not None:
            await udp.close()
        await self.resolver.close()
        event("sip_stopped")

    async def close(self) -> None:
        """Stop for good: no timer is left."""
        await self.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def ports(self) -> dict[str, int]:
        """The ports really bound, by listener: `sip`, `sip_tls_peer`, `sip_tls_server`."""
        return dict(self._ports)

    # -- what the user of the stack asks for -------------------------------------------------------

    def send(self, request: Request, hop: Hop, flow: int | None = None) -> int:
        """Send a request; the answers come to the handler, never before this returns. Returns its key."""
        key, outputs = self.agent.send(request, hop, self._loop.time(), flow)
        self._counters.sip_requests_out += 1
        for output in outputs:
            if isinstance(output, Transmit):
                self._transmit(output)
            else:
                self._loop.call_soon(self._perform, [output])
        self._arm()
        return key

    def ack(self, request: Request, hop: Hop, flow: int | None = None) -> None:
        """Send the ACK of a 2xx."""
        self._perform(self.agent.ack(request, hop, self._loop.time(), flow))

    def respond(self, key: int, response: Response) -> None:
        """Answer a request."""
        self._counters.sip_responses_out += 1
        self._perform(self.agent.respond(key, response, self._loop.time()))

    def cancel(self, key: int) -> None:
        """Cancel an INVITE that was sent."""
        self._perform(self.agent.cancel(key, self._loop.time()))

    def why_unreachable(self, hop: Hop) -> str:
        """Why a hop could not be reached the last time; "" if it could, or was not tried."""
        return self._pool.reasons.get(hop, "") if self._pool is not None else ""

    def hold(self, flow: int) -> None:
        """Keep a connection open although it is silent, until as many `release`."""
        if self._pool is not None:
            self._pool.hold(flow)

    def release(self, flow: int) -> None:
        """Undo one `hold`."""
        if self._pool is not None:
            self._pool.release(flow)

    # -- what transports tell ----------------------------------------------------------------------

    def new_flow(self) -> int:
        """The next free name of a flow."""
        self._flow += 1
        return self._flow

    def received(self, message: Request | Response, peer: Peer) -> None:
        """A message came."""
        self.before_input()
        if isinstance(message, Request):
            self._counters.sip_requests_in += 1
        else:
            self._counters.sip_responses_in += 1
        self.trace.add(RECEIVED, peer, message)
        try:
            outputs = self.agent.receive(message, peer, self._loop.time())
        except Exception as error:  # noqa: BLE001  a fault of ours must not cut everybody behind the peer off
            event("sip_message_failed", "error", peer=shown_peer(peer), reason=repr(error))
            return
        self._perform(outputs)

    def malformed(self, item: Malformed, peer: Peer) -> None:
        """Something came that is no message."""
        self._counters.sip_malformed += 1
        note = f"[not a SIP message: {item.error}]".encode(errors="replace")
        self.trace.add(RECEIVED, peer, note)

    def sent(self, data: bytes, peer: Peer) -> None:
        """A message went out."""
        self.trace.add(SENT, peer, data)

    def sent_over(self, key: int, flow: int) -> None:
        """The message of a transaction took this connection: it fails with it."""
        self.agent.sent_over(key, flow)

    def transmit_failed(self, key: int, reason: str) -> None:
        """A message of a transaction could not be sent."""
        if key:
            event("sip_transmit_failed", "debug", key=key, reason=reason)
            self._perform(self.agent.transmit_failed(key, self._loop.time()))

    def flow_closed(self, flow: int) -> None:
        """Nothing more comes or goes on a flow."""
        self._perform(self.agent.flow_closed(flow, self._loop.time()))
        self.on_flow_closed(flow)

    # -- the agent's outputs -----------------------------------------------------------------------

    def _perform(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                self._transmit(output)
            else:
                self._tell(output)
        self._arm()

    def _transmit(self, order: Transmit) -> None:
        pool, udp = self._pool, self._udp
        data, key, hop, flow = order.data, order.key, order.hop, order.flow
        if pool is None or udp is None:
            self._loop.call_soon(self.transmit_failed, key, "the stack is stopped")
            return
        if flow is not None and (pool.send_on(flow, data) or udp.send_on(flow, data)):
            return
        if hop is None:
            self._loop.call_soon(self.transmit_failed, key, "the connection is closed")
        elif hop.transport == "udp":
            udp.send(hop, key, data)
        else:
            pool.send(hop, key, data)

    def _tell(self, output: Output) -> None:
        """Tell the handler. Its faults are its own: they must not end a connection or the stack."""
        try:
            self._tell_handler(output)
        except Exception as error:  # noqa: BLE001
            event("sip_handler_failed", "error", output=type(output).__name__, reason=repr(error))
            if isinstance(output, RequestReceived):
                self.respond(output.key, make_response(output.request, 500))

    def _tell_handler(self, output: Output) -> None:
        handler = self.handler
        if handler is None:
            if isinstance(output, RequestReceived):
                self.respond(output.key, make_response(output.request, 503))
        elif isinstance(output, RequestReceived):
            handler.request_received(output.key, output.request, output.peer)
        elif isinstance(output, ResponseReceived):
            handler.response_received(output.key, output.response)
        elif isinstance(output, Failed):
            handler.failed(output.key, output.cause)
        elif isinstance(output, AckReceived):
            handler.ack_received(output.request, output.peer)
        elif isinstance(output, Cancelled):
            handler.cancelled(output.key)

    def _arm(self) -> None:
        """One timer; it may fire early, never late."""
        deadline = self.agent.deadline()
        if deadline is None:
            return
        if self._timer is not None:
            if self._armed_for <= deadline:
                return
            self._timer.cancel()
        self._armed_for = deadline  # uvloop's handles do not always know when they are due
        self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        try:
            outputs = self.agent.tick(self._loop.time())
        except Exception as error:  # noqa: BLE001  the other transactions' timers go on
            event("sip_timer_failed", "error", reason=repr(error))
            self._armed_for = self._loop.time() + _RECOVER_SECONDS
            self._timer = self._loop.call_at(self._armed_for, self._tick)
            return
        self._perform(outputs)

    # -- our own address ---------------------------------------------------------------------------

    def _via_of(self, hop: Hop) -> tuple[str, int]:
        """Where answers to us go if the connection is gone: what we say in Via."""
        name = "sip" if hop.transport != "tls" else "sip_tls_peer"
        port = self._ports.get(name, 0)
        if hop.transport == "udp" and not port and self._udp is not None:
            port = self._udp.port
        return in_uri(self._places.name or self._own_address(hop)), port or DEFAULT_PORTS[hop.transport]

    def _own_address(self, hop: Hop) -> str:
        known = self.resolver.known(hop)
        peer = known[0][0] if known else "192.0.2.1"  # any: the address that most packets leave from
        own = self._own.get(peer)
        if own is None:
            if len(self._own) >= _MOST_OWN:
                self._own.clear()
            own = self._own[peer] = own_address(peer) or "127.0.0.1"
        return own

    # -- for the administrator ---------------------------------------------------------------------

    def peers(self) -> list[dict[str, Any]]:
        """The connections, for display."""
        now = self._loop.time()
        connections = self._pool.connections if self._pool is not None else []
        return [
            {
                "transport": one.peer.transport,
                "peer": shown_peer(one.peer),
                "names": list(one.peer.names),
                "listener": one.listener,
                "secured_by": one.secured_by,
                "seconds": round(now - one.started),
                "idle_seconds": round(now - one.last_used),
                "received": one.received,
                "sent": one.sent,
            }
            for one in connections
        ]

    def status(self) -> dict[str, Any]:
        """What `ubiety sip status` shows."""
        return {
            "is_listening": self._pool is not None,
            "ports": self.ports,
            "connections": self.peers(),
            "entries": self._pool.entries if self._pool is not None else 0,
            "transactions": asdict(self.agent.counts),
            "dropped": {why.value: count for why, count in self.agent.dropped.items()},
        }
