"""The agent at its bounds, and when the transport fails (RFC 3261 §17.1.4, §18.1.1, §21.5.4)."""

import pytest

from tests.unit.sip.agents import ALICE, LISTENER, Node, Pair, make, parse, raw
from ubiety.sip.agent import (
    Cause,
    Dropped,
    Failed,
    Hop,
    Transmit,
)
from ubiety.sip.message import Request, Response, make_response

TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])


# Bounds.


def test_beyond_the_bound_requests_are_refused_until_there_is_room():
    pair = Pair(maximum=3)
    for place in range(5):
        bob = pair.bob
        via = f"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{place}"
        bob.do(bob.agent.receive(raw("MESSAGE", via, call_id=f"c{place}"), ALICE, 0.0))
    assert len(pair.bob.requests()) == 3
    refused = [parse(sent.data) for sent in pair.bob.sent]
    assert [each.status for each in refused if isinstance(each, Response)] == [503, 503]
    assert refused[0].headers.get("retry-after") == "10"
    assert pair.bob.agent.dropped == {Dropped.OVERLOAD: 2}
    for now in (32.0, 64.0):
        bob.do(bob.agent.tick(now))
    bob.do(bob.agent.receive(raw("MESSAGE", via, call_id="late"), ALICE, 100.0))
    assert len(bob.requests()) == 4


def test_a_refusal_without_a_transaction_has_the_same_tag_each_time():
    bob = Node("bob", maximum=0)
    answers = [bob.agent.receive(raw("MESSAGE"), ALICE, time) for time in (0.0, 1.0)]
    assert answers[0] == answers[1]
    assert isinstance(answers[0][0], Transmit)
    assert parse(answers[0][0].data).to.tag


def test_beyond_the_bound_nothing_more_is_sent():
    pair = Pair(maximum=2)
    keys = [pair.send(make("MESSAGE", call_id=str(place))) for place in range(3)]
    assert len(set(keys)) == 3
    assert pair.alice.all(Failed) == [Failed(keys[2], Cause.OVERLOAD)]
    assert len(pair.alice.sent) == 2


def test_a_timer_that_comes_earlier_than_the_one_before_is_not_missed():
    alice = Node("alice")
    requests = []
    for method in ("INVITE", "MESSAGE"):
        _, [sent] = alice.agent.send(make(method, call_id=method), LISTENER, 0.0)
        assert isinstance(sent, Transmit)
        requests.append(parse(sent.data))
    invite, message = requests
    assert isinstance(invite, Request) and isinstance(message, Request)
    alice.do(alice.agent.receive(make_response(invite, 180), ALICE, 1.0))  # timer C: at 186
    alice.do(alice.agent.tick(1.0))
    alice.do(alice.agent.receive(make_response(invite, 486, to_tag="x"), ALICE, 10.0))  # timer D: at 42
    _, [sent] = alice.agent.send(make("MESSAGE", call_id="2"), LISTENER, 12.0)
    alice.do(alice.agent.tick(42.0))
    assert alice.failures() == [Cause.TIMEOUT]
    assert alice.agent.counts.invite_clients == 0
    assert alice.agent.counts.clients == 1


def test_thousands_of_requests_leave_nothing_behind():
    pair = Pair("tcp", maximum=3000)
    for place in range(3000):
        pair.send(make("MESSAGE", call_id=str(place)))
        pair.exchange()
        pair.answer(200)
        pair.exchange()
        pair.now += 0.001
    assert pair.alice.agent.deadline() is None
    pair.run()
    assert len(pair.alice.statuses()) == 3000
    pair.assert_empty()


# The transport fails.


@TRANSPORTS
@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_what_cannot_be_sent_fails_at_once(transport: str, method: str):
    pair = Pair(transport)
    key = pair.send(make(method))
    pair.alice.sent.clear()
    pair.alice.do(pair.alice.agent.transmit_failed(key, 0.1))
    assert pair.alice.all(Failed) == [Failed(key, Cause.TRANSPORT)]
    pair.alice.do(pair.alice.agent.transmit_failed(key, 0.2))
    assert len(pair.alice.all(Failed)) == 1
    pair.assert_empty()


def test_a_request_fails_with_the_connection_that_it_went_over():
    pair = Pair("tcp")
    waiting = pair.send(make("MESSAGE", call_id="1"))
    other = pair.send(make("MESSAGE", call_id="2"))
    invite, _ = pair.invite(call_id="3")
    agent = pair.alice.agent
    for key, flow in ((waiting, 5), (other, 6), (invite, 5), (999, 5)):
        agent.sent_over(key, flow)
    pair.exchange()
    pair.answer(180)
    pair.exchange()
    pair.alice.do(agent.flow_closed(5, 1.0))
    assert pair.alice.all(Failed) == [Failed(waiting, Cause.TRANSPORT), Failed(invite, Cause.TRANSPORT)]
    assert agent.flow_closed(5, 1.0) == []
    assert agent.counts.clients == 1
    pair.alice.do(agent.flow_closed(6, 1.0))
    assert agent.counts.held == 0


def test_a_flow_forgets_the_requests_that_are_over():
    pair = Pair("tcp")
    for place in range(3):
        key = pair.send(make("MESSAGE", call_id=str(place)))
        pair.alice.agent.sent_over(key, 4)
        pair.alice.agent.sent_over(key, 5)
        pair.exchange()
    for place in range(3):
        pair.answer(200, place)
    pair.exchange()
    pair.assert_empty()
    assert pair.alice.agent.flow_closed(5, 0.0) == []


def test_a_request_can_be_sent_over_a_flow_that_is_there():
    alice = Node("alice", "tls")
    key, [sent] = alice.agent.send(make("MESSAGE"), Hop("tls", "10.0.0.2", 5061, "bob"), 0.0, flow=4)
    assert isinstance(sent, Transmit)
    assert (sent.flow, sent.key) == (4, key)
    assert alice.agent.flow_closed(4, 1.0) == [Failed(key, Cause.TRANSPORT)]


def test_an_answer_that_cannot_be_sent_is_sent_when_the_request_comes_again():
    """RFC 6026 §8.8: the user must not see the request a second time."""
    bob = Node("bob")
    bob.do(bob.agent.receive(raw("MESSAGE"), ALICE, 0.0))
    key = bob.requests()[0].key
    bob.do(bob.agent.respond(key, make_response(bob.requests()[0].request, 200), 0.0))
    assert bob.agent.transmit_failed(key, 0.0) == []
    bob.do(bob.agent.receive(raw("MESSAGE"), ALICE, 0.5))
    assert len(bob.requests()) == 1
    assert [parse(each.data).to.tag is not None for each in bob.sent] == [True, True]


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_a_request_too_long_for_a_datagram_goes_over_tcp_and_falls_back(method: str):
    """RFC 3261 §18.1.1"""
    pair = Pair(loses=lambda message: True)
    key, [sent] = pair.alice.agent.send(make(method, body=b"x" * 1400), LISTENER, 0.0)
    assert isinstance(sent, Transmit)
    assert sent.hop == Hop("tcp", "10.0.0.2", 5060)
    first = parse(sent.data)
    assert first.via.transport == "TCP"
    [again] = pair.alice.agent.transmit_failed(key, 0.1)
    assert isinstance(again, Transmit)
    second = parse(again.data)
    assert (again.hop, second.via.transport) == (LISTENER, "UDP")
    assert second.via.branch == first.via.branch
    pair.run()
    assert pair.times(f"alice {method}")[0] == 0.6  # and now it is repeated
    assert pair.alice.all(Failed) == [Failed(key, Cause.TIMEOUT)]
    pair.assert_empty()


def test_the_way_back_to_udp_is_gone_only_once_and_only_before_an_answer():
    alice = Node("alice")
    long = make("MESSAGE", body=b"x" * 1400)
    relayed = long.replace(headers=long.headers.added("Via", "SIP/2.0/TCP h1, SIP/2.0/TCP h2"))
    relayed = relayed.replace(headers=relayed.headers.added("Via", "SIP/2.0/TCP h3"))
    key, _ = alice.agent.send(relayed, LISTENER, 0.0)
    [again] = alice.agent.transmit_failed(key, 0.0)
    assert isinstance(again, Transmit)
    assert [via.host for via in parse(again.data).vias] == ["10.0.0.1", "h1", "h2", "h3"]
    assert alice.agent.transmit_failed(key, 0.0) == [Failed(key, Cause.TRANSPORT)]
    key, [sent] = alice.agent.send(long, LISTENER, 0.0)
    assert isinstance(sent, Transmit)
    request = parse(sent.data)
    assert isinstance(request, Request)
    alice.do(alice.agent.receive(make_response(request, 100), ALICE, 0.0))
    assert alice.agent.transmit_failed(key, 0.0) == [Failed(key, Cause.TRANSPORT)]
    _, [sent] = alice.agent.send(long, LISTENER, 0.0, flow=3)  # where it goes is decided already
    assert isinstance(sent, Transmit)
    assert parse(sent.data).via.transport == "UDP"
