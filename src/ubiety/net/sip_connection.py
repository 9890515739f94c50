"""One SIP connection over TCP or TLS, whoever opened it: socket, TLS and framing, with all its bounds.

What is in a message is decided elsewhere (`sip/agent.py`); which connection a message takes in `sip_pool.py`.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from ubiety.net.pacing import TokenBucket
from ubiety.net.sip_socket import keep_alive
from ubiety.net.sip_tls import shown_fault, subject_names
from ubiety.net.tls import TlsLayer
from ubiety.sip.framing import PING_ANSWER, Malformed, Ping, Pong, StreamFraming
from ubiety.sip.message import Request, Response
from ubiety.sip.outputs import Peer
from ubiety.telemetry import event

HIGH_WATER = 256 * 1024
HARD_LIMIT = 4 * 1024 * 1024
"""Bytes unsent at which a peer that does not read is cut off."""
EARLY_BYTES = 1024 * 1024
"""Bytes that may wait for the end of the handshake."""
PIECE_BYTES = 16 * 1024
"""So much of what came is taken before others have their turn."""
HANDSHAKE_SECONDS = 10.0
FIRST_SECONDS = 60.0
"""Time that a stranger has for the first message."""
MESSAGE_SECONDS = 30.0
"""Time that a message may take from its first byte to its last."""
PING_SECONDS = 120.0
"""Silence after which a peer that we connected to is pinged (RFC 5626 §4.4.1)."""
MOST_MALFORMED = 20
"""Messages in a row that are none; then the connection is closed."""
CLOSE_SECONDS = 2.0

PING = b"\r\n\r\n"


class Station(Protocol):
    """What a connection sees of the stack."""

    def opened(self, connection: "SipConnection") -> None:
        """The connection can be used: its peer is known."""

    def closed(self, connection: "SipConnection", reason: str) -> None:
        """The connection is gone."""

    def received(self, message: Request | Response, peer: Peer) -> None:
        """A message came."""

    def malformed(self, item: Malformed, peer: Peer) -> None:
        """Something came that is no message."""

    def sent(self, data: bytes, peer: Peer) -> None:
        """A message was handed over to the socket."""

    def admit(self, connection: "SipConnection") -> float | None:
        """Seconds until a stranger may begin; None: there are too many."""

    def holds(self, flow: int) -> bool:
        """Whether somebody needs the connection although it is silent."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a connection is held to; the values of settings at its beginning."""

    message_bytes: int
    message_rate: float
    idle_seconds: float


class SipConnection(asyncio.Protocol):
    """One connection. `flow` is its name for the agent."""

    def __init__(
        self,
        station: Station,
        flow: int,
        bounds: Bounds,
        *,
        transport_name: str,
        listener: str = "",
        tls: TlsLayer | None = None,
        accepts: Callable[[tuple[str, ...]], bool] | None = None,
    ) -> None:
        """`listener` is "" for a connection that we opened; `accepts` judges the certificate's names."""
        self.flow = flow
        self.listener = listener
        self.is_ready = False
        self.may_be_reused = False
        """Whether the peer asked for our requests to take this connection too (RFC 5923)."""
        self.peer: Peer
        self.started = self.last_used = asyncio.get_running_loop().time()
        self.received = self.sent = 0  # messages
        self._loop = asyncio.get_running_loop()
        self._station = station
        self._bounds = bounds
        self._transport_name = transport_name
        self._tls = tls
        self._accepts = accepts
        self._framing = StreamFraming(max_body=bounds.message_bytes)
        self._bucket = TokenBucket(bounds.message_rate, self.started)
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._flushing = False
        self._waits = False  # for its turn to begin
        self._early = b""
        self._closing = False
        self._reason = ""
        self._backlog = b""
        self._works_later = False
        self._farewell = ""  # why the connection ends when the backlog is worked off
        self._partial_since: float | None = None
        self._pinged = self.started
        self._malformed = 0

    # -- the socket --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or wait for the turn, or be refused."""
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it
        host, port, *_ = transport.get_extra_info("peername") or ("", 0)
        self.peer = Peer(self.flow, self._transport_name, host, port, self.listener)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        keep_alive(transport.get_extra_info("socket"))
        wait = self._station.admit(self) if self.listener else 0.0
        if wait is None:
            self._end("too many connections")
        elif wait > 0:
            self._waits = True
            transport.pause_reading()
            self._loop.call_later(wait, self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        if self._closing or self._transport is None:
            return
        was_waiting, self._waits = self._waits, False
        if self._tls is None:
            self._ready()
        elif not self.listener:
            self._transport.write(self._tls.begin())
        if was_waiting:
            self._transport.resume_reading()
            early, self._early = self._early, b""
            if early:
                self.data_received(early)

    def data_received(self, data: bytes) -> None:
        """Decrypt, cut into messages, hand them on in order."""
        if self._closing:
            return
        if self._waits:
            self._early += data  # uvloop reads once more after `pause_reading`
            return
        if self._tls is not None:
            data = self._decrypt(self._tls, data)
        if data and not self._closing:
            self._backlog += data
            if not self._works_later:
                self._work()
        if self._farewell and not self._backlog:
            self._end(self._farewell)

    def _decrypt(self, tls: TlsLayer, data: bytes) -> bytes:
        assert self._transport is not None
        try:
            plain, answer, closed = tls.receive(data)
        except ssl.SSLError as error:
            alert = tls.last_words()
            if alert:
                self._transport.write(alert)
            self._end(shown_fault(error), hard=not alert)
            return b""
        if answer:
            self._transport.write(answer)
        if tls.established and not self.is_ready and not self._know_peer(tls):
            return b""
        if closed:
            self._farewell = "closed by the peer"
        return plain

    def _know_peer(self, tls: TlsLayer) -> bool:
        """Take over the names that the peer has proved; False if they are not the ones expected."""
        names = subject_names(tls.peer_certificate)
        peer = self.peer
        self.peer = Peer(peer.flow, peer.transport, peer.address, peer.port, peer.listener, names)
        if self._accepts is not None and not self._accepts(names):
            shown = ", ".join(names) or "no name"
            self._end(f"TLS: the server's certificate is for {shown}")
            return False
        self._ready()
        return True

    def _ready(self) -> None:
        self.is_ready = True
        self.last_used = self._loop.time()
        self._station.opened(self)
        self._flush_later()

    def _work(self) -> None:
        """Take a piece of what came; the rest when the others had their turn, and when the pace allows."""
        self._works_later = False
        if self._closing or self._transport is None:
            return
        piece, self._backlog = self._backlog[:PIECE_BYTES], self._backlog[PIECE_BYTES:]
        wait = self._take(piece) if piece else 0.0
        if self._closing:
            return
        if self._backlog or wait:
            self._works_later = True
            self._transport.pause_reading()
            self._loop.call_later(wait, self._work)
        elif self._farewell:
            self._end(self._farewell)
        else:
            self._transport.resume_reading()

    def _take(self, data: bytes) -> float:
        """Hand on what is complete; return the seconds until the peer may send more."""
        items = self._framing.receive(data)
        now = self.last_used = self._loop.time()
        count = 0
        for item in items:
            if self._closing:
                return 0.0
            if isinstance(item, Ping):
                self._write(PING_ANSWER)
            elif isinstance(item, Malformed):
                self._complain(item)
                count += 1
            elif not isinstance(item, Pong):
                count += 1
                self.received += 1
                self._malformed = 0
                self._station.received(item, self.peer)
        if items:
            self._partial_since = now if self._framing.buffered else None
        elif self._partial_since is None:
            self._partial_since = now
        wait = 0.0
        for _ in range(count):
            wait = self._bucket.reserve(now)
        return wait

    def _complain(self, item: Malformed) -> None:
        self._malformed += 1
        self._station.malformed(item, self.peer)
        if item.answer:
            self.send(item.answer)
        if item.is_fatal or self._malformed > MOST_MALFORMED:
            self._end(f"garbage: {item.error}")

    def eof_received(self) -> bool:
        """A peer that sends no more is done, once what it sent has been taken."""
        self._farewell = "closed by the peer"
        return bool(self._backlog)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell who may wait for answers."""
        self._closing = True
        self._transport = None
        self._unsent.clear()
        self._backlog = b""
        reason = self._reason or (str(error) if error else "closed by the peer")
        self._station.closed(self, reason)

    # -- sending -----------------------------------------------------------------------------------

    def send(self, data: bytes) -> bool:
        """Send a message, after the handshake if that is under way. False: it cannot go out here."""
        if self._closing or (not self.is_ready and self._unsent_bytes + len(data) > EARLY_BYTES):
            return False
        self.sent += 1
        self.last_used = self._loop.time()
        self._station.sent(data, self.peer)
        self._write(data)
        return not self._closing

    def _write(self, data: bytes) -> None:
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        self._flush_later()

    def _flush_later(self) -> None:
        """What one turn of the loop writes goes out as one piece."""
        if self._unsent and not self._flushing and self.is_ready:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        transport = self._transport
        if not self._unsent or transport is None:
            return
        data = b"".join(self._unsent)
        self._unsent.clear()
        self._unsent_bytes = 0
        if transport.is_closing():
            return  # uvloop refuses writes between the end of a socket and connection_lost
        transport.write(data if self._tls is None else self._tls.send(data))
        if transport.get_write_buffer_size() > HARD_LIMIT:
            self._end("does not read", hard=True)

    # -- the end -----------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether messages can still be sent."""
        return not self._closing

    @property
    def secured_by(self) -> str:
        """The TLS version, or "plain"."""
        return self._tls.version if self._tls is not None else "plain"

    def close(self, reason: str = "closed here") -> None:
        """Send what is left and close."""
        self._end(reason)

    def abort(self) -> None:
        """Cut the connection."""
        self._end("closed here", hard=True)

    def _end(self, reason: str, *, hard: bool = False) -> None:
        transport = self._transport
        if self._closing or transport is None:
            return
        self._reason = reason
        if not hard:
            self._flush()
        self._closing = True
        if hard:
            transport.abort()
            return
        if self._tls is not None and self._tls.established and not transport.is_closing():
            transport.write(self._tls.close())
        transport.close()
        self._loop.call_later(CLOSE_SECONDS, transport.abort)

    def tick(self, now: float) -> None:
        """Look after the time: half-open peers, half messages, silence."""
        if self._closing:
            return
        silence = now - self.last_used
        if not self.is_ready:
            if now - self.started > HANDSHAKE_SECONDS:
                self._end("no TLS handshake", hard=True)
        elif self._partial_since is not None and now - self._partial_since > MESSAGE_SECONDS:
            self._end("a message without end", hard=True)
        elif not self.received and self.listener and now - self.started > FIRST_SECONDS:
            self._end("silent")
        elif silence > self._bounds.idle_seconds and not self._station.holds(self.flow):
            self._end("idle")
        elif not self.listener and min(silence, now - self._pinged) > PING_SECONDS:
            self._pinged = now
            self._write(PING)


def log_end(connection: SipConnection, reason: str) -> None:
    """Write down why a connection ended, unless that is everyday."""
    if reason in ("closed by the peer", "closed here", "idle"):
        return
    peer = connection.peer
    event(
        "sip_connection_ended",
        "warning",
        address=peer.address,
        port=peer.port,
        transport=peer.transport,
        listener=peer.listener,
        reason=reason,
    )
