"""One server of the pool: its sockets, and what becomes of each message that comes in.

Where a request goes is decided in `proxy`; `presence` answers subscriptions, endpoints hold conversations.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable

from ubiety.lab.connection import Connection, Hop, connect
from ubiety.lab.exchanges import Exchanges, NoAnswerError, Received
from ubiety.lab.faults import GARBAGE, Faults
from ubiety.lab.plan import FrontEndPlan
from ubiety.lab.site import Site, new_token
from ubiety.sip.headers import Via
from ubiety.sip.message import Request, Response, make_response, validate
from ubiety.sip.uri import SipSyntaxError

Origin = Connection | None
"""Where a request came from; None for a simulated client of our own."""
Route = Callable[[Request, Origin, Callable[[Response], None]], Awaitable[Response]]
RETRANSMIT_FIRST, RETRANSMIT_LAST = 0.5, 4.0  # T1 and T2


class FrontEnd:
    """A running front end. `route` answers requests and is put in by whoever builds the pool."""

    def __init__(self, site: Site, plan: FrontEndPlan) -> None:
        self.site = site
        self.plan = plan
        self.faults = Faults()
        self.exchanges = Exchanges(site.plan.time_out)
        self.connections: set[Connection] = set()
        self.ports: dict[str, int] = {}
        self.route: Route = _answer_nothing
        self.acknowledge: Callable[[Request], None] = lambda _request: None
        self.on_closed: Callable[[Connection], None] = lambda _connection: None
        self._opened: dict[Hop, Connection] = {}
        self._opening: dict[Hop, asyncio.Lock] = {}
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._unacknowledged: dict[str, asyncio.Task[None]] = {}
        self.is_running = False

    @property
    def transport(self) -> str:
        """What this front end names in its Via, Contact and Record-Route: TLS where it listens for it."""
        return "tls" if "tls" in self.ports else "tcp"

    @property
    def address(self) -> str:
        """The host and port that others reach it by."""
        return f"{self.plan.host or self.plan.name}:{self.ports[self.transport]}"

    @property
    def contact(self) -> str:
        """Its own SIP address."""
        return f"sip:{self.address};transport={self.transport}"

    async def start(self) -> None:
        """Listens. A port that was free before is taken again. Raises OSError."""
        wanted = (("tcp", self.plan.tcp_port, None), ("tls", self.plan.tls_port, self.site.server_tls))
        for transport, port, context in wanted:
            if port is not None:
                server = await asyncio.start_server(
                    self._accept, self.site.plan.address, self.ports.get(transport, port), ssl=context
                )
                self._servers.append(server)
                self.ports[transport] = server.sockets[0].getsockname()[1]
        self.is_running = True

    async def stop(self) -> None:
        """Stops listening and closes everything."""
        self.is_running = False
        for server in self._servers:
            server.close()
        self._servers.clear()
        for task in list(self._tasks):
            task.cancel()
        self.drop_connections()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop_connections(self) -> None:
        """Breaks all connections without a farewell."""
        for connection in list(self.connections):
            connection.abort()

    def send_garbage(self) -> None:
        """Sends bytes that are no SIP over every connection."""
        for connection in list(self.connections):
            connection.send_bytes(GARBAGE)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._serve(Connection(reader, writer, self._receive, self.site.on_trace))

    async def _serve(self, connection: Connection) -> None:
        self.connections.add(connection)
        try:
            await connection.read_until_closed()
        finally:
            self.connections.discard(connection)
            self.exchanges.connection_lost(connection)
            self.on_closed(connection)

    async def connection_to(self, hop: Hop) -> Connection:
        """An open connection to a hop, the one of last time if it still is. Raises NoAnswerError."""
        async with self._opening.setdefault(hop, asyncio.Lock()):
            known = self._opened.get(hop)
            if known is not None and known.is_open and known in self.connections:
                return known
            came_in = self._came_in(hop)
            if came_in is not None:
                return came_in
            try:
                connection = await connect(
                    hop, self.site.resolve(hop), self.site.client_tls, self._receive, self.site.on_trace
                )
            except (OSError, ssl.SSLError, TimeoutError) as error:
                raise NoAnswerError(f"{hop.host}:{hop.port} cannot be reached: {error}", 503) from error
            self._opened[hop] = connection
            self.connections.add(connection)
            self.spawn(self._serve(connection))
            return connection

    def _came_in(self, hop: Hop) -> Connection | None:
        """An open connection that the other side made from the very address that the hop is."""
        address = (hop.transport, *self.site.resolve(hop))
        here = (one for one in self.connections if one.is_open)
        return next((one for one in here if (one.transport, one.host, one.port) == address), None)

    def spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        """Runs something beside; it ends with the front end."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": f"{self.plan.name} has failed", "exception": error, "task": task}
            task.get_loop().call_exception_handler(context)

    async def send(
        self,
        request: Request,
        connection: Connection,
        on_provisional: Callable[[Response], None] = lambda _response: None,
    ) -> Response:
        """Sends with our Via on top and returns the final answer without it. Raises NoAnswerError."""
        ours = self.with_via(request)
        try:
            answer = await self.exchanges.request(
                connection, ours, lambda response: on_provisional(without_via(response))
            )
        except asyncio.CancelledError:
            if request.method == "INVITE" and self.is_running:
                connection.send(cancel_of(ours))
            raise
        return without_via(answer)

    def with_via(self, request: Request) -> Request:
        """The request with our Via on top."""
        via = f"SIP/2.0/{self.transport.upper()} {self.address};branch=z9hG4bK{new_token()}"
        return request.replace(headers=request.headers.first("Via", via))

    def _receive(self, connection: Connection, message: Request | Response) -> None:
        try:
            validate(message)
            if isinstance(message, Response):
                self.exchanges.answered(message)
            elif message.method == "ACK":
                self._acknowledged(message)
            elif message.method == "CANCEL":
                self.exchanges.cancelled(connection, message)
            elif not self.faults.is_mute:
                received = self.exchanges.came(connection, message)
                if received is not None:
                    self._take(received)
        except SipSyntaxError as error:
            if isinstance(message, Request) and message.method != "ACK":
                with contextlib.suppress(SipSyntaxError):
                    connection.send(make_response(message, error.status, to_tag=new_token()))

    def _acknowledged(self, request: Request) -> None:
        waiting = self._unacknowledged.pop(request.call_id, None)
        if waiting is not None:
            waiting.cancel()
        if request.to.tag and not request.to.tag.startswith("refused"):
            self.acknowledge(request)

    def _take(self, received: Received) -> None:
        if received.request.method == "INVITE":
            received.respond(make_response(received.request, 100))
        task = self.spawn(self._answer(received))
        received.on_cancel = task.cancel

    async def _answer(self, received: Received) -> None:
        request = received.request
        await self.faults.hold_back()
        answer = self.faults.refusal(request)
        if answer is None:
            try:
                answer = await self.route(request, received.connection, received.respond)
            except (NoAnswerError, SipSyntaxError) as error:
                answer = make_response(request, error.status, to_tag=new_token())
        received.respond(answer)
        if self.faults.answers_twice:
            received.connection.send(answer)
        if request.method == "INVITE" and answer.status < 300:
            task = self.spawn(self._repeat(received.connection, answer))
            self._unacknowledged[request.call_id] = task

    async def _repeat(self, connection: Connection, answer: Response) -> None:
        """Repeats a 2xx until its ACK comes (RFC 3261 §13.3.1.4)."""
        wait, waited = RETRANSMIT_FIRST, 0.0
        while waited < self.exchanges.time_out and connection.is_open:
            await asyncio.sleep(wait)
            connection.send(answer)
            waited, wait = waited + wait, min(wait * 2, RETRANSMIT_LAST)


async def _answer_nothing(
    request: Request, _origin: Origin, _provisional: Callable[[Response], None]
) -> Response:
    return make_response(request, 503, to_tag=new_token())


def without_via(response: Response) -> Response:
    """The answer as the one before us on its way gets it."""
    rest = response.headers.values("Via")[1:]
    headers = response.headers.without("Via")
    for via in reversed(rest):
        headers = headers.first("Via", via)
    return response.replace(headers=headers)


def cancel_of(request: Request) -> Request:
    """The CANCEL of a request that we sent (RFC 3261 §9.1)."""
    headers = request.headers.without("Via").without("Content-Type").without("Content-Length")
    headers = headers.first("Via", str(Via.parse(request.headers.values("Via")[0])))
    return request.replace(
        method="CANCEL", headers=headers.with_("CSeq", f"{request.cseq.number} CANCEL"), body=b""
    )
