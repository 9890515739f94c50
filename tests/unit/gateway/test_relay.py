"""Requests that reach the wrong node of a cluster: two nodes, joined by the bus of one process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from ubiety.cluster.bus import LocalBus
from ubiety.cluster.links import NodeLinks
from ubiety.gateway import relay
from ubiety.gateway.relay import Relay
from ubiety.sip.agent import AckReceived, Agent, Cancelled, Output, RequestReceived, Transmit
from ubiety.sip.headers import Via
from ubiety.sip.message import Request, Response, make_request, make_response, parse_message
from ubiety.sip.outputs import Hop, Peer
from ubiety.telemetry import Counters

PEER = Peer(1, "tls", "192.0.2.7", 40000, "sip_tls_peer", ("fe1.example.org",))


class Edge:
    """The node that a request comes to: an agent, whose user passes everything on to node 2."""

    def __init__(self, links: NodeLinks) -> None:
        tokens = itertools.count(1)
        self.agent = Agent(lambda: f"token{next(tokens)}", lambda hop: ("node1.example.org", 5061))
        self.relay = Relay(self, asyncio.ensure_future)
        self.relay.join(links, Person("never asked"))
        self.sent: list[Response] = []

    def receive(self, request: Request) -> None:
        """Take a request from the wire."""
        self._do(self.agent.receive(request, PEER, 0.0))

    def respond(self, key: int, response: Response) -> None:
        """Answer on the wire."""
        self._do(self.agent.respond(key, response, 0.0))

    def send(self, request: Request, hop: Hop) -> int:
        """Never done by an edge."""
        raise AssertionError

    def ack(self, request: Request, hop: Hop) -> None:
        """Never done by an edge."""
        raise AssertionError

    def cancel(self, key: int) -> None:
        """Never done by an edge."""
        raise AssertionError

    def _do(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                message = parse_message(output.data)
                assert isinstance(message, Response)
                self.sent.append(message)
            elif isinstance(output, RequestReceived):
                self.relay.pass_on(output.key, output.request, output.peer, 2)
            elif isinstance(output, Cancelled):
                assert self.relay.cancelled(output.key)
            elif isinstance(output, AckReceived):
                self.relay.pass_ack(output.request, 2)


class Person:
    """What has a dialog at the home, and answers as it is told to: "at once", "when cancelled", "never"."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.relay: Relay
        self.asked: dict[int, tuple[Request, Peer]] = {}
        self.acks: list[Request] = []

    def take_passed_on(self, key: int, request: Request, peer: Peer) -> None:
        """Take a request."""
        assert self.how != "never asked"
        self.asked[key] = (request, peer)
        if self.how == "at once":
            self.relay.respond(key, make_response(request, 180, to_tag="home"))
            self.relay.respond(key, make_response(request, 200, to_tag="home"))

    def take_ack(self, request: Request) -> bool:
        """Take an ACK."""
        self.acks.append(request)
        return True

    def cancelled(self, key: int) -> None:
        """An INVITE was cancelled."""
        if self.how == "when cancelled":
            self.relay.respond(key, make_response(self.asked[key][0], 487, to_tag="home"))


@asynccontextmanager
async def wrong_node(how: str) -> AsyncIterator[tuple[Edge, Person]]:
    """A node that peers come to, and the other one, where the person is."""
    bus = LocalBus()
    links = [NodeLinks(bus, "c1", number, Counters()) for number in (1, 2)]
    for one in links:
        await one.start()
        one.set_peers((1, 2))
    edge, person = Edge(links[0]), Person(how)
    person.relay = Relay(edge, asyncio.ensure_future)
    person.relay.join(links[1], person)
    await until(lambda: links[0].is_up(2) and links[1].is_up(1))
    yield edge, person
    assert (edge.relay.passed, edge.relay.taken, person.relay.passed, person.relay.taken) == (0, 0, 0, 0)
    for one in links:
        await one.close(0.1)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that happens soon."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def request(method: str = "MESSAGE", to_tag: str = "home", max_forwards: int = 70) -> Request:
    """A request of bob for ann."""
    tag = f";tag={to_tag}" if to_tag else ""
    made = make_request(
        method,
        "sip:imp.example.org:5061;transport=tls",
        "<sip:bob@example.org>;tag=bob",
        f"<sip:ann@example.org>{tag}",
        "call-1",
        7,
        max_forwards,
        contact="<sip:bob@example.org;gruu>",
        body=b"hello",
    )
    via = str(Via("TLS", "fe1.example.org", 5061, (("branch", "z9hG4bKone"),)))
    return made.replace(headers=made.headers.first("Via", via))


async def test_the_home_answers_and_the_edge_hands_its_answer_back() -> None:
    async with wrong_node("at once") as (edge, person):
        edge.receive(request())
        await until(lambda: edge.sent)
        [answer] = edge.sent
        assert (answer.status, answer.to.tag, answer.via.branch) == (200, "home", "z9hG4bKone")
        [(seen, peer)] = person.asked.values()
        assert (seen.body, seen.max_forwards, seen.call_id) == (b"hello", 69, "call-1")
        assert (peer.transport, peer.address, peer.names) == (PEER.transport, PEER.address, PEER.names)


async def test_a_request_that_may_go_no_further_goes_no_further() -> None:
    async with wrong_node("at once") as (edge, person):
        edge.receive(request(max_forwards=0))
        assert [one.status for one in edge.sent] == [483]
        assert person.asked == {}


async def test_an_invitation_is_cancelled_at_the_home() -> None:
    async with wrong_node("when cancelled") as (edge, person):
        invite = request("INVITE", to_tag="")
        edge.receive(invite)
        await until(lambda: person.asked)
        cancel = request("CANCEL", to_tag="").replace(headers=invite.headers.with_("CSeq", "7 CANCEL"))
        edge.receive(cancel)
        await until(lambda: [one.status for one in edge.sent] == [200, 487])


async def test_the_ack_finds_the_home_also_at_a_node_that_has_not_seen_the_invite() -> None:
    async with wrong_node("at once") as (edge, person):
        edge.receive(request("ACK"))
        await until(lambda: person.acks)
        assert person.acks[0].call_id == "call-1"


async def test_no_answer_of_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "SECONDS", 0.2)
    async with wrong_node("never") as (edge, person):
        edge.receive(request())
        await until(lambda: edge.sent)
        assert (edge.sent[0].status, edge.sent[0].headers.get("retry-after")) == (500, "5")
        [key] = person.asked
        person.relay.respond(key, make_response(request(), 200))  # too late: it goes nowhere
        await until(lambda: not person.relay.taken)
