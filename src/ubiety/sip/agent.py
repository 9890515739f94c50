"""The SIP agent: everything between messages on the wire and a user who asks and answers, without I/O.

    outputs = agent.receive(message, peer, now)        a message that the framing has checked
    key, outputs = agent.send(request, hop, now)       a request without our Via
    outputs = agent.respond(key, response, now)        the answer to RequestReceived(key, ...)
    outputs = agent.tick(now)                          whenever agent.deadline() has come

The driver transmits what `Transmit` orders, in order, hands the other outputs to the user, and arms one timer
for `deadline()`. What the user may rely on:

* A request is shown once, however often it comes (`RequestReceived`); so is the ACK of a 2xx (`AckReceived`).
* A request that was sent ends in one final `ResponseReceived` or in one `Failed`. A 100 is not shown.
* The ACK of a final answer that is not a 2xx is the agent's work. The ACK of a 2xx is given by the user
  through `ack`, once; the agent sends it again whenever the 2xx comes again, and hangs up on further callees
  of a forked INVITE (RFC 3261 §13.2.2.4).
* A 2xx to an INVITE is sent again by the agent until it is acknowledged. If it never is, the user is told by
  `Failed` and should send a BYE (RFC 3261 §13.3.1.4).
* A CANCEL is answered by the agent; the user answers the INVITE with 487 after `Cancelled` (RFC 3261 §9.2).
* Requests that came over several ways, or that are ours and came back, are refused with 482; beyond
  `max_transactions` all are, with 503. A request with Max-Forwards 0 is served as any other: only who passes
  it on must look (RFC 3261 §16.3); see `sip/relay.py`.
* Vias and the tag of To are put into every answer, so that somebody else's answer can be passed on as it is.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ubiety.sip.clients import Clients, ClientTransaction
from ubiety.sip.message import Request, Response
from ubiety.sip.outputs import (
    AckReceived,
    Cancelled,
    Cause,
    Dropped,
    Failed,
    Hop,
    Output,
    Peer,
    RequestReceived,
    ResponseReceived,
    Transmit,
    hop_to,
)
from ubiety.sip.register import Register
from ubiety.sip.servers import Servers, ServerTransaction
from ubiety.sip.transaction import Schedule, Timers

__all__ = [
    "AckReceived",
    "Agent",
    "Cancelled",
    "Cause",
    "Counts",
    "Dropped",
    "Failed",
    "Hop",
    "Output",
    "Peer",
    "RequestReceived",
    "ResponseReceived",
    "Timers",
    "Transmit",
    "hop_to",
]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many transactions live."""

    invite_clients: int
    clients: int
    """All of our requests, INVITEs among them."""
    invite_servers: int
    servers: int
    """All requests of others, INVITEs among them."""
    held: int
    """Entries in all tables: 0 when nothing lives."""


class Agent:
    """The transactions of one node, in both directions.

    `token` returns random text that is never the same twice; `via_of` returns the host and the port that our
    Via has for a hop. `max_transactions` bounds each direction by itself.
    """

    __slots__ = ("_clients", "_register", "_servers", "dropped")

    def __init__(
        self,
        token: Callable[[], str],
        via_of: Callable[[Hop], tuple[str, int]],
        timers: Timers | None = None,
        max_transactions: int = 50_000,
    ) -> None:
        schedule = Schedule(timers or Timers())
        self.dropped: Counter[Dropped] = Counter()
        """What was dropped or refused without the user, and how often."""
        self._register = Register()
        self._clients = Clients(token, via_of, schedule, self._register, self.dropped, max_transactions)
        self._servers = Servers(
            token, self._clients.has_sent, schedule, self._register, self.dropped, max_transactions
        )

    def set_max_transactions(self, number: int) -> None:
        """Bound each direction anew; what is under way goes on."""
        self._clients.maximum = self._servers.maximum = number

    @property
    def counts(self) -> Counts:
        """What lives now."""
        return Counts(
            self._clients.count_invites(),
            len(self._clients),
            self._servers.count_invites(),
            len(self._servers),
            self._clients.held + self._servers.held + len(self._register),
        )

    def receive(self, message: Request | Response, peer: Peer, now: float) -> list[Output]:
        """Take a message from the network that the framing has found well formed."""
        if isinstance(message, Response):
            return self._clients.receive(message, now)
        return self._servers.receive(message, peer, now)

    def send(
        self, request: Request, hop: Hop, now: float, flow: int | None = None
    ) -> tuple[int, list[Output]]:
        """Send a request, not an ACK, over `flow` or else to `hop`; return its key.

        Our Via is put on top of those that it has. Over UDP to a hop, a request that is too long for a
        datagram is sent over TCP, and over UDP only if that fails (RFC 3261 §18.1.1).
        """
        return self._clients.send(request, hop, now, flow)

    def ack(self, request: Request, hop: Hop, now: float, flow: int | None = None) -> list[Output]:
        """Send the ACK of a 2xx (`Dialog.ack`); it is sent again by itself when the 2xx comes again."""
        return self._clients.ack(request, hop, flow)

    def respond(self, key: int, response: Response, now: float) -> list[Output]:
        """Answer the request that was received with this key; nothing happens behind its final answer."""
        transaction = self._register.get(key)
        if not isinstance(transaction, ServerTransaction):
            self.dropped[Dropped.LATE_ANSWER] += 1
            return []
        return self._servers.respond(transaction, response, now)

    def cancel(self, key: int, now: float) -> list[Output]:
        """Cancel the INVITE that was sent with this key; anything else is left alone (RFC 3261 §9.1).

        It still ends in a final answer, most often 487, or in `Failed`. A 2xx that was faster must be
        acknowledged and ended with BYE as always.
        """
        transaction = self._register.get(key)
        return self._clients.cancel(transaction, now) if isinstance(transaction, ClientTransaction) else []

    def transmit_failed(self, key: int, now: float) -> list[Output]:
        """Note that a `Transmit` with this key could not be done. Answers will be asked for again."""
        transaction = self._register.get(key)
        return self._clients.fail(transaction, now) if isinstance(transaction, ClientTransaction) else []

    def sent_over(self, key: int, flow: int) -> None:
        """Note that the request with this key went over `flow`, so that it fails when that closes."""
        transaction = self._register.get(key)
        if isinstance(transaction, ClientTransaction):
            self._clients.sent_over(transaction, flow)

    def flow_closed(self, flow: int, now: float) -> list[Output]:
        """Note that a connection is gone: the requests that were sent over it fail."""
        return self._clients.close_flow(flow, now)

    def tick(self, now: float) -> list[Output]:
        """Let the timers that are due do their part."""
        outputs: list[Output] = []
        for transaction in self._register.due(now):
            if isinstance(transaction, ClientTransaction):
                outputs += self._clients.fire(transaction, now)
            elif isinstance(transaction, ServerTransaction):
                outputs += self._servers.fire(transaction, now)
        return outputs

    def deadline(self) -> float | None:
        """When `tick` is to be called next; None while nothing lives."""
        return self._register.deadline()
