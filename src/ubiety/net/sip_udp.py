"""SIP over UDP: sockets, and who is behind a datagram. What floods us is dropped by address."""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

from ubiety.config import Listen
from ubiety.net.listener import ListenError, has_no_ipv6
from ubiety.net.pacing import TokenBucket
from ubiety.net.sip_dns import Address, NotResolved, Resolver
from ubiety.net.sip_settings import MESSAGE_RATE
from ubiety.net.sip_socket import open_udp
from ubiety.net.sip_wire import Wire, shown_hop
from ubiety.settings import Settings
from ubiety.sip.framing import Malformed, Ping, Pong, parse_datagram
from ubiety.sip.message import Request, Response
from ubiety.sip.outputs import Hop, Peer
from ubiety.telemetry import Counters, event

MOST_FLOWS = 20_000
"""Addresses that are remembered; what is for a forgotten one goes where its Via says."""
MOST_WAITING = 1000
"""Datagrams that may wait for the look-up of one hop."""
MOST_BYTES = 65_000


class _Socket(asyncio.DatagramProtocol):
    """One UDP socket."""

    def __init__(self, owner: "SipDatagrams", listener: str) -> None:
        self._owner = owner
        self.listener = listener
        self.transport: asyncio.DatagramTransport | None = None
        self.is_full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._owner.received(data, address, self)

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False

    def send(self, data: bytes, address: Address) -> bool:
        transport = self.transport
        if transport is None or transport.is_closing() or self.is_full:
            return False
        transport.sendto(data, address)
        return True

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class SipDatagrams:
    """The UDP sockets of one stack."""

    def __init__(self, wire: Wire, resolver: Resolver, settings: Settings, counters: Counters) -> None:
        self._wire = wire
        self._resolver = resolver
        self._settings = settings
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._sockets: dict[bool, _Socket] = {}  # by whether it is for IPv6: what we send from
        self._all: list[_Socket] = []
        self._flows: OrderedDict[int, tuple[_Socket, Peer]] = OrderedDict()
        self._known: dict[tuple[_Socket, str, int], int] = {}
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self._waiting: dict[Hop, list[tuple[int, bytes]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    # -- sockets -----------------------------------------------------------------------------------

    async def listen(self, addresses: Sequence[Listen], listener: str, setting: str) -> None:
        """Open a socket at each address. Raises ListenError."""
        for address in addresses:
            try:
                sock = open_udp(address, setting)
            except ListenError as error:
                cause = error.__cause__
                if ":" in address.host and len(addresses) > 1 and has_no_ipv6(cause):
                    continue  # a machine without IPv6 serves IPv4
                raise
            await self._open(sock, listener)

    async def _open(self, sock: socket.socket, listener: str) -> _Socket:
        _, protocol = await self._loop.create_datagram_endpoint(lambda: _Socket(self, listener), sock=sock)
        self._all.append(protocol)
        return self._sockets.setdefault(sock.family == socket.AF_INET6, protocol)

    @property
    def port(self) -> int:
        """The port that we send from over IPv4, else over IPv6; 0 without a socket."""
        for protocol in self._all:
            if protocol.transport is not None:
                return int(protocol.transport.get_extra_info("sockname")[1])
        return 0

    @property
    def flows(self) -> list[Peer]:
        """Who sent something, the newest last."""
        return [peer for _, peer in self._flows.values()]

    async def close(self) -> None:
        """Close all sockets."""
        self._is_closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for protocol in self._all:
            protocol.close()
        self._all.clear()
        self._sockets.clear()
        self._flows.clear()
        self._known.clear()

    # -- receiving ---------------------------------------------------------------------------------

    def received(self, data: bytes, address: tuple[str, int], protocol: _Socket) -> None:
        """Read a datagram and hand it on."""
        if self._is_closed or not self._may_send(address[0]):
            return
        item = parse_datagram(data)
        if item is None or isinstance(item, Ping | Pong):
            return  # it only keeps a way through a NAT open
        if isinstance(item, Malformed):
            peer = Peer(0, "udp", address[0], address[1], protocol.listener)
            self._wire.malformed(item, peer)
            if item.answer:
                protocol.send(item.answer, (address[0], address[1]))
            return
        self._wire.received(item, self._peer(item, address, protocol))

    def _peer(self, message: Request | Response, address: tuple[str, int], protocol: _Socket) -> Peer:
        host, port = address[0], address[1]
        # RFC 3261 §18.2.2, RFC 3581 §4: answers go to where the request came from only if it says `rport`.
        if isinstance(message, Request) and not message.via.has("rport"):
            port = message.via.port or 5060
        key = protocol, host, port
        flow = self._known.get(key)
        if flow is not None:
            self._flows.move_to_end(flow)
            return self._flows[flow][1]
        flow = self._known[key] = self._wire.new_flow()
        peer = Peer(flow, "udp", host, port, protocol.listener)
        self._flows[flow] = protocol, peer
        if len(self._flows) > MOST_FLOWS:
            _, (old_protocol, old) = self._flows.popitem(last=False)
            del self._known[old_protocol, old.address, old.port]
        return peer

    def _may_send(self, address: str) -> bool:
        now, rate = self._loop.time(), float(self._settings.get(MESSAGE_RATE))
        bucket = self._buckets.get(address)
        if bucket is None:
            bucket = self._buckets[address] = TokenBucket(rate, now)
            if len(self._buckets) > MOST_FLOWS:
                self._buckets.popitem(last=False)
        bucket.rate = rate
        if bucket.try_reserve(now) is None:
            self._counters.sip_dropped += 1
            return False
        return True

    # -- sending -----------------------------------------------------------------------------------

    def send_on(self, flow: int, data: bytes) -> bool:
        """Send to whoever is behind a flow. False: nobody knows any more."""
        protocol, peer = self._flows.get(flow, (None, None))
        if protocol is None or peer is None or not protocol.send(data, (peer.address, peer.port)):
            return False
        self._wire.sent(data, peer)
        return True

    def send(self, hop: Hop, key: int, data: bytes) -> None:
        """Send to a hop, at once if it is known where that is; a failure is told to the stack, later."""
        if len(data) > MOST_BYTES or self._is_closed:
            self._loop.call_soon(self._wire.transmit_failed, key, "too large for UDP")
            return
        places = self._resolver.known(hop)
        waiting = self._waiting.get(hop)
        if places and waiting is None and (":" in places[0][0]) in self._sockets:
            self._send_to(places[0], hop, key, data)
        elif waiting is None:
            self._waiting[hop] = [(key, data)]
            task = self._loop.create_task(self._find(hop))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif len(waiting) < MOST_WAITING:
            waiting.append((key, data))
        else:
            self._loop.call_soon(self._wire.transmit_failed, key, "too much waits for the DNS")

    async def _find(self, hop: Hop) -> None:
        reason = "the stack is closed"
        place: Address | None = None
        try:
            place = (await self._resolver.resolve(hop))[0]
            is_v6 = ":" in place[0]
            if is_v6 not in self._sockets:  # we do not listen there: any port will do
                await self._open(open_udp(Listen("::" if is_v6 else "0.0.0.0", 0), "UBIETY_SIP_PORT"), "")
        except (NotResolved, ListenError) as error:
            place, reason = None, str(error)
            event("sip_hop_unreachable", "warning", hop=shown_hop(hop), reason=reason)
        finally:
            for key, data in self._waiting.pop(hop):
                if place is None:
                    self._wire.transmit_failed(key, reason)
                else:
                    self._send_to(place, hop, key, data)

    def _send_to(self, place: Address, hop: Hop, key: int, data: bytes) -> None:
        protocol = self._sockets[":" in place[0]]
        if protocol.send(data, place):
            self._wire.sent(data, Peer(0, "udp", place[0], place[1], ""))
        else:
            self._loop.call_soon(self._wire.transmit_failed, key, "the UDP socket is full or closed")
