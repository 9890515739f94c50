"""Requests under way (RFC 3261 §17), as much of it as servers need that speak over TCP and TLS only."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ubiety.lab.connection import Connection
from ubiety.sip.headers import Headers
from ubiety.sip.message import Request, Response, make_response

REMEMBERED = 2048
"""Answers that are kept for repeated requests."""


class NoAnswerError(Exception):
    """A request had no final answer: nobody could be reached, or the time was up."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status
        """The answer that a proxy gives in its place: 408 or 503."""


@dataclass(slots=True)
class Sent:
    """A request of ours that waits for its final answer."""

    request: Request
    connection: Connection
    answer: asyncio.Future[Response]
    on_provisional: Callable[[Response], None] = lambda _response: None


@dataclass(slots=True)
class Received:
    """A request of the other side that waits for our answer. Answers by `respond`, at most one final one."""

    request: Request
    connection: Connection
    remember: Callable[[Response], None]
    is_answered: bool = False
    is_cancelled: bool = False
    on_cancel: Callable[[], object] = lambda: None

    def respond(self, response: Response) -> None:
        """Sends an answer back the way the request came."""
        if self.is_answered:
            return
        self.is_answered = response.status >= 200
        if self.is_answered:
            self.remember(response)
        self.connection.send(response)


class Exchanges:
    """All requests of one front end, both ways."""

    def __init__(self, time_out: float) -> None:
        self.time_out = time_out
        self.sent: dict[tuple[str, str], Sent] = {}
        self.received: dict[tuple[str, str, str], Received] = {}
        self._answers: dict[tuple[str, str, str], Response | None] = {}

    async def request(
        self,
        connection: Connection,
        request: Request,
        on_provisional: Callable[[Response], None] = lambda _response: None,
    ) -> Response:
        """Sends a request that bears our Via and returns its final answer. Raises NoAnswerError."""
        key = (request.via.branch or "", request.method)
        sent = Sent(request, connection, asyncio.get_running_loop().create_future(), on_provisional)
        self.sent[key] = sent
        connection.send(request)
        try:
            async with asyncio.timeout(self.time_out):
                return await sent.answer
        except TimeoutError:
            raise NoAnswerError(f"no answer to {request.method} in {self.time_out:g} s", 408) from None
        finally:
            self.sent.pop(key, None)

    def answered(self, response: Response) -> bool:
        """Takes a response; returns whether a request of ours waited for it."""
        sent = self.sent.get((response.via.branch or "", response.cseq.method))
        if sent is None or sent.answer.done():
            return False
        if response.status < 200:
            sent.on_provisional(response)
            return True
        if sent.request.method == "INVITE" and response.status >= 300:
            sent.connection.send(refused_ack(sent.request, response))
        sent.answer.set_result(response)
        return True

    def connection_lost(self, connection: Connection) -> None:
        """Fails what waits for an answer over a connection that is gone (RFC 3261 §17.1.4)."""
        for sent in list(self.sent.values()):
            if sent.connection is connection and not sent.answer.done():
                sent.answer.set_exception(NoAnswerError(f"{connection.peer} has closed the connection", 503))

    def came(self, connection: Connection, request: Request) -> Received | None:
        """Takes a request; returns None for a repeated one, which has its answer again."""
        key = _key(request)
        if key in self._answers:
            answer = self._answers[key]
            if answer is not None:
                connection.send(answer)
            return None
        self._answers[key] = None
        if len(self._answers) > REMEMBERED:
            del self._answers[next(iter(self._answers))]

        def remember(response: Response) -> None:
            self.received.pop(key, None)
            if key in self._answers:
                self._answers[key] = response

        received = self.received[key] = Received(request, connection, remember)
        return received

    def cancelled(self, connection: Connection, request: Request) -> None:
        """Answers a CANCEL, and ends the request that it means (RFC 3261 §9.2)."""
        branch, sent_by, _method = _key(request)
        meant = self.received.get((branch, sent_by, "INVITE"))
        connection.send(make_response(request, 200 if meant else 481))
        if meant is not None and not meant.is_cancelled:
            meant.is_cancelled = True
            meant.on_cancel()
            meant.respond(make_response(meant.request, 487, to_tag=f"c{branch[-8:]}"))


def _key(request: Request) -> tuple[str, str, str]:
    via = request.via
    return (via.branch or request.call_id, f"{via.host}:{via.port}", request.method)


def refused_ack(request: Request, response: Response) -> Request:
    """The ACK of a final answer that is no success; it goes the way of the INVITE (RFC 3261 §17.1.1.3)."""
    rows = [("Via", str(request.via))]
    rows += [("Route", route) for route in request.headers.all("Route")]
    rows += [
        ("From", str(request.from_)),
        ("To", str(response.to)),
        ("Call-ID", request.call_id),
        ("CSeq", f"{request.cseq.number} ACK"),
        ("Max-Forwards", "70"),
    ]
    return Request("ACK", request.uri, Headers(tuple(rows)), b"")
