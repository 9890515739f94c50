"""Whatever well-formed messages come, the agent neither raises nor keeps anything for ever."""

from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sip.agents import Node, make
from tests.unit.sip.sip_inputs import ATTACKS, ORDINARY, TORTURE, mutations
from ubiety.sip.agent import Agent, Peer, RequestReceived, Transmit
from ubiety.sip.framing import parse_datagram
from ubiety.sip.message import Request, Response, make_response

PEERS = [
    Peer(1, "udp", "192.0.2.1", 5060),
    Peer(2, "tcp", "2001:db8::1", 4000),
    Peer(3, "tls", "192.0.2.1", 9),
]


def messages(*groups: list[bytes]) -> list[Request | Response]:
    items = [parse_datagram(data) for group in groups for data in group]
    return [item for item in items if isinstance(item, Request | Response)]


def run(agent: Agent, received: list[Request | Response], statuses: list[int]) -> int:
    """Feed an agent, answer what it shows, and let all timers fire; return how many requests it showed."""
    shown = 0
    for now, message in enumerate(received):
        for output in agent.receive(message, PEERS[now % len(PEERS)], now):
            if isinstance(output, Transmit):
                assert isinstance(parse_datagram(output.data), Response)
            elif isinstance(output, RequestReceived):
                shown += 1
                answer = make_response(output.request, statuses[now % len(statuses)])
                for sent in agent.respond(output.key, answer, now):
                    assert isinstance(sent, Transmit)
                    assert isinstance(parse_datagram(sent.data), Response)
    while (deadline := agent.deadline()) is not None:
        agent.tick(deadline)
    assert agent.counts.held == 0
    return shown


def agent() -> Agent:
    numbers = count()
    return Agent(lambda: f"t{next(numbers)}", lambda hop: ("10.0.0.2", 5060))


@pytest.mark.parametrize("statuses", [[200], [404], [180], [100, 200, 302, 699]])
def test_torture_messages_are_answered(statuses: list[int]):
    received = messages(TORTURE, ATTACKS, ORDINARY)
    assert len(received) > 30
    assert run(agent(), received, statuses) > 10


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(100, 699), min_size=1, max_size=4))
def test_mutated_messages_are_answered(seed: int, statuses: list[int]):
    mutated = mutations(seed)
    received = messages([next(mutated) for _ in range(60)], ORDINARY)
    received += [received[place % len(received)] for place in range(0, 60, 7)]
    run(agent(), received, statuses)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_answers_that_are_not_what_they_should_be_do_no_harm(data: st.DataObject):
    """A peer that answers our INVITE with anything, in any order."""
    alice = Node("alice", data.draw(st.sampled_from(["udp", "tcp"])))
    invite = make("INVITE")
    key, [sent] = alice.agent.send(invite, alice.hop, 0.0)
    assert isinstance(sent, Transmit)
    request = parse_datagram(sent.data)
    assert isinstance(request, Request)
    statuses = data.draw(st.lists(st.tuples(st.integers(100, 699), st.sampled_from("abc")), max_size=12))
    for status, tag in statuses:
        contact = data.draw(st.sampled_from([(), (("Contact", "<tel:+1>"),), (("Record-Route", "x"),)]))
        response = make_response(request, status, to_tag=tag, headers=contact)
        alice.do(alice.agent.receive(response, PEERS[0], 1.0))
        if data.draw(st.booleans()):
            alice.do(alice.agent.cancel(key, 1.0))
    while (deadline := alice.agent.deadline()) is not None:
        alice.do(alice.agent.tick(deadline))
    assert alice.agent.counts.held == 0
    finals = [status for status in alice.statuses() if status >= 200]
    assert len(finals) + len(alice.failures()) == 1
    for transmit in alice.sent:
        assert isinstance(parse_datagram(transmit.data), Request)
