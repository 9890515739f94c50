"""Requests for people of other nodes: passed on to the node that serves them, whose answer is passed back.

Towards SIP peers all nodes of a cluster are one place, as they are towards clients: whichever takes a request
is its *edge* and keeps the transaction; the person's home keeps the dialog and decides; between them lies the
bus. So a home trusts the edge's word about the peer, and nothing about the other nodes has to be set down.
Our Contact names the group of nodes, so no Record-Route is needed for the requests that follow
(RFC 3261 §16.6, item 4): each finds the home from whichever node it reaches.
"""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, Final, Protocol

from ubiety.gateway.stack import Stack
from ubiety.routing.links import Links, NodeUnreachable
from ubiety.sip.message import Request, Response, make_response, parse_message
from ubiety.sip.outputs import Hop, Peer
from ubiety.sip.relay import passed_on
from ubiety.sip.syntax import SipSyntaxError
from ubiety.telemetry import event

REQUEST: Final = "sip.request"
CANCEL: Final = "sip.cancel"
ACK: Final = "sip.ack"
SECONDS: Final = 12.0
"""So long an edge waits for the answer of a home; a home answers for settled messages within five."""
RETRY_AFTER: Final = "5"

PeerFields = tuple[str, str, int, str, list[str]]


class Home(Protocol):
    """What takes a request that another node has passed on (`service.Gateway`)."""

    def take_passed_on(self, key: int, request: Request, peer: Peer) -> None:
        """Take a request of a trusted peer; it is answered through the stack."""

    def take_ack(self, request: Request) -> bool:
        """Take the ACK of a 2xx; False if its dialog is not known here."""

    def cancelled(self, key: int) -> None:
        """An INVITE was cancelled."""


class Relay:
    """Both ends, and the stack for all that answers requests: it knows where each of them came from.

    Keys of requests that another node has passed on are negative.
    """

    def __init__(self, stack: Stack, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._stack = stack
        self._spawn = spawn
        self._links: Links | None = None
        self._keys = count(1)
        self._passed: dict[int, int] = {}
        """Our key -> the node that was asked."""
        self._taken: dict[int, asyncio.Future[bytes]] = {}
        self._by_edge: dict[tuple[int, int], int] = {}
        """The edge and its key -> our key."""

    @property
    def passed(self) -> int:
        """How many requests wait for the answer of another node."""
        return len(self._passed)

    @property
    def taken(self) -> int:
        """How many requests of other nodes are not answered yet."""
        return len(self._taken)

    # -- stack.Stack -------------------------------------------------------------------------------

    def send(self, request: Request, hop: Hop) -> int:
        """Send a request; every node sends by itself."""
        return self._stack.send(request, hop)

    def ack(self, request: Request, hop: Hop) -> None:
        """Send the ACK of a 2xx."""
        self._stack.ack(request, hop)

    def cancel(self, key: int) -> None:
        """Cancel an INVITE that was sent."""
        self._stack.cancel(key)

    def respond(self, key: int, response: Response) -> None:
        """Answer a request where it came from; provisional answers stay here."""
        if key > 0:
            self._stack.respond(key, response)
            return
        answer = self._taken.get(key)
        if answer is not None and not answer.done() and response.status >= 200:
            answer.set_result(response.to_bytes())

    # -- at the edge -------------------------------------------------------------------------------

    def pass_on(self, key: int, request: Request, peer: Peer, node_id: int) -> None:
        """Have another node answer a request of a trusted peer."""
        passed = passed_on(request)
        if passed is None or self._links is None:
            self._stack.respond(key, make_response(request, 483 if passed is None else 500))
            return
        self._passed[key] = node_id
        self._spawn(self._pass_on(self._links, key, passed, peer))

    async def _pass_on(self, links: Links, key: int, request: Request, peer: Peer) -> None:
        try:
            value = (key, request.to_bytes(), _packed(peer))
            answer = await links.ask(self._passed[key], REQUEST, value, SECONDS)
            response = parse_message(answer)
        except (NodeUnreachable, ValueError, SipSyntaxError) as error:
            event("sip_request_not_passed_on", "warning", method=request.method, reason=str(error))
            response = unserved(request)
        finally:
            del self._passed[key]
        if isinstance(response, Response):
            self._stack.respond(key, response)

    def cancelled(self, key: int) -> bool:
        """Pass a CANCEL on; False if its INVITE was not. The INVITE is answered all the same."""
        node_id = self._passed.get(key)
        if node_id is not None:
            self._tell(node_id, CANCEL, key)
        return node_id is not None

    def pass_ack(self, request: Request, node_id: int) -> None:
        """Pass the ACK of a 2xx on."""
        self._tell(node_id, ACK, request.to_bytes())

    def _tell(self, node_id: int, what: str, value: Any) -> None:
        if self._links is not None:
            self._spawn(self._ask(self._links, node_id, what, value))

    async def _ask(self, links: Links, node_id: int, what: str, value: Any) -> None:
        try:
            await links.ask(node_id, what, value)
        except (NodeUnreachable, ValueError) as error:
            event("sip_request_not_passed_on", "info", method=what, reason=str(error))

    # -- at the home -------------------------------------------------------------------------------

    def join(self, links: Links, home: Home) -> None:
        """Answer what other nodes pass on."""
        self._links = links

        async def take(node_id: int, value: Any) -> bytes:
            edge_key, data, peer = value
            return await self._take(home, (node_id, edge_key), _read(data), _unpacked(peer))

        async def cancel(node_id: int, value: Any) -> None:
            key = self._by_edge.get((node_id, value))
            if key is not None:
                home.cancelled(key)

        async def ack(_node_id: int, value: Any) -> None:
            home.take_ack(_read(value))

        links.answer(REQUEST, take)
        links.answer(CANCEL, cancel)
        links.answer(ACK, ack)

    async def _take(self, home: Home, edge: tuple[int, int], request: Request, peer: Peer) -> bytes:
        key = -next(self._keys)
        answer = self._taken[key] = asyncio.get_running_loop().create_future()
        self._by_edge[edge] = key
        try:
            home.take_passed_on(key, request, peer)
            async with asyncio.timeout(SECONDS):
                answered: bytes = await answer
                return answered
        except TimeoutError:
            raise ValueError(f"{request.method} was not answered in time.") from None
        finally:
            del self._taken[key]
            del self._by_edge[edge]


def unserved(request: Request) -> Response:
    """Return the answer to a request that no node can take at the moment.

    Not 503: that would say of all people that they cannot be reached over this node (RFC 3261 §16.7).
    """
    return make_response(request, 500, "No Node Serves This Person", headers=(("Retry-After", RETRY_AFTER),))


def _read(data: bytes) -> Request:
    message = parse_message(data)
    if not isinstance(message, Request):
        raise ValueError("This is no request.")
    return message


def _packed(peer: Peer) -> PeerFields:
    return (peer.transport, peer.address, peer.port, peer.listener, list(peer.names))


def _unpacked(fields: Any) -> Peer:
    transport, address, port, listener, names = fields
    return Peer(0, transport, address, port, listener, tuple(names))
