"""Two agents that talk in memory, with a clock that the test moves."""

from collections.abc import Callable
from itertools import count
from typing import TypeVar

from ubiety.sip.agent import (
    Agent,
    Cause,
    Failed,
    Hop,
    Output,
    Peer,
    RequestReceived,
    ResponseReceived,
    Timers,
    Transmit,
)
from ubiety.sip.dialog import Dialog
from ubiety.sip.framing import parse_datagram
from ubiety.sip.message import Request, Response, make_request, make_response

Kind = TypeVar("Kind", bound=Output)

ADDRESSES = {"alice": "10.0.0.1", "bob": "10.0.0.2"}


class Node:
    """An agent, and a user who writes down what it is told."""

    def __init__(
        self, name: str, transport: str = "udp", timers: Timers | None = None, maximum: int = 1000
    ) -> None:
        self.name = name
        self.transport = transport
        self.address = ADDRESSES[name]
        numbers = count(1)
        self.agent = Agent(
            lambda: f"{name}{next(numbers)}", lambda hop: (self.address, 5060), timers, maximum
        )
        self.heard: list[Output] = []
        self.sent: list[Transmit] = []

    @property
    def hop(self) -> Hop:
        """Where others reach it."""
        return Hop(self.transport, self.address, 5060)

    @property
    def peer(self) -> Peer:
        """What others see of it."""
        return Peer(1, self.transport, self.address, 5060, "listener")

    def do(self, outputs: list[Output]) -> list[Output]:
        """Take what the agent wants done; return it."""
        for output in outputs:
            if isinstance(output, Transmit):
                self.sent.append(output)
            else:
                self.heard.append(output)
        return outputs

    def all(self, kind: type[Kind]) -> list[Kind]:
        """Everything of one kind that the user was told."""
        return [output for output in self.heard if isinstance(output, kind)]

    def requests(self) -> list[RequestReceived]:
        return self.all(RequestReceived)

    def statuses(self) -> list[int]:
        """The statuses of the answers that the user was shown."""
        return [each.response.status for each in self.all(ResponseReceived)]

    def failures(self) -> list[Cause]:
        return [each.cause for each in self.all(Failed)]


class Pair:
    """Alice asks, Bob answers. `loses` says of each message whether it is lost."""

    def __init__(
        self,
        transport: str = "udp",
        timers: Timers | None = None,
        maximum: int = 1000,
        loses: Callable[[Request | Response], bool] = lambda message: False,
    ) -> None:
        self.now = 0.0
        self.alice = Node("alice", transport, timers, maximum)
        self.bob = Node("bob", transport, timers, maximum)
        self.loses = loses
        self.log: list[tuple[float, str]] = []
        """When who sent what, lost or not: "alice INVITE", "bob 200"."""

    def send(self, request: Request) -> int:
        """Have Alice send a request."""
        key, outputs = self.alice.agent.send(request, self.bob.hop, self.now)
        self.alice.do(outputs)
        return key

    def invite(self, **fields: str) -> tuple[int, Request]:
        """Have Alice send an INVITE."""
        request = make("INVITE", **fields)
        return self.send(request), request

    def answer(self, status: int, place: int = -1, **fields: object) -> None:
        """Have Bob answer the last request."""
        received = self.bob.requests()[place]
        headers = (("Contact", "<sip:bob@10.0.0.2>"),)
        response = make_response(received.request, status, to_tag="bob", headers=headers)
        self.bob.do(self.bob.agent.respond(received.key, response, self.now))

    def acknowledge(self, invite: Request) -> None:
        """Have Alice acknowledge the last answer."""
        response = self.alice.all(ResponseReceived)[-1].response
        ack = Dialog.from_response(invite, response).ack(invite)
        self.alice.do(self.alice.agent.ack(ack, self.bob.hop, self.now))

    def exchange(self) -> None:
        """Carry all messages over, and those that they bring forth."""
        while self.alice.sent or self.bob.sent:
            for sender, receiver in ((self.alice, self.bob), (self.bob, self.alice)):
                sent, sender.sent = sender.sent, []
                for transmit in sent:
                    message = parse_datagram(transmit.data)
                    assert isinstance(message, Request | Response), message
                    name = message.method if isinstance(message, Request) else str(message.status)
                    self.log.append((round(self.now, 3), f"{sender.name} {name}"))
                    if not self.loses(message):
                        receiver.do(receiver.agent.receive(message, sender.peer, self.now))

    def deadline(self) -> float | None:
        times = [node.agent.deadline() for node in (self.alice, self.bob)]
        return min((time for time in times if time is not None), default=None)

    def run(self, until: float | None = None) -> None:
        """Let time pass until `until`, or until nothing lives any more."""
        self.exchange()
        while (due := self.deadline()) is not None and (until is None or due <= until):
            self.now = max(self.now, due)
            for node in (self.alice, self.bob):
                node.do(node.agent.tick(self.now))
            self.exchange()
        if until is not None:
            self.now = until

    def times(self, what: str) -> list[float]:
        """When a message was sent."""
        return [time for time, each in self.log if each == what]

    def assert_empty(self) -> None:
        """Nothing is left of anything."""
        for node in (self.alice, self.bob):
            counts = node.agent.counts
            assert (counts.clients, counts.servers, counts.held) == (0, 0, 0)
            assert node.agent.deadline() is None


def make(
    method: str, *, call_id: str = "call", cseq: int = 1, to_tag: str = "", body: bytes = b""
) -> Request:
    """Return a request of Alice to Bob."""
    to = f"<sip:bob@example.org>{';tag=' + to_tag if to_tag else ''}"
    return make_request(
        method,
        "sip:bob@example.org",
        "<sip:alice@example.org>;tag=alice",
        to,
        call_id,
        cseq,
        contact="<sip:alice@10.0.0.1>",
        body=body,
    )


LISTENER = Hop("udp", "10.0.0.2", 5060)
"""Bob over UDP."""

ALICE = Peer(7, "udp", "192.0.2.1", 4321, "listener")


def raw(method: str, via: str = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx", **fields: str) -> Request:
    request = make(method, **fields)
    return request.replace(headers=request.headers.first("Via", via))


def parse(data: bytes) -> Request | Response:
    message = parse_datagram(data)
    assert isinstance(message, Request | Response), message
    return message
