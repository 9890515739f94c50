"""The agent: one answer or one failure for every request, and every request shown once."""

from itertools import count

import pytest

from tests.unit.sip.agents import Node, Pair, make
from ubiety.sip.agent import (
    AckReceived,
    Agent,
    Cancelled,
    Cause,
    Dropped,
    Failed,
    Hop,
    Peer,
    RequestReceived,
    ResponseReceived,
    Timers,
    Transmit,
    hop_to,
)
from ubiety.sip.dialog import Dialog
from ubiety.sip.framing import parse_datagram
from ubiety.sip.message import Request, Response, make_response
from ubiety.sip.relay import passed_on
from ubiety.sip.uri import SipUri

TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
LISTENER = Hop("udp", "10.0.0.2", 5060)


def parse(data: bytes) -> Request | Response:
    message = parse_datagram(data)
    assert isinstance(message, Request | Response), message
    return message


def first_of(limit: int, name: str):
    """Lose the first `limit` messages of this name."""
    left = [limit]

    def loses(message: Request | Response) -> bool:
        is_it = name == (message.method if isinstance(message, Request) else str(message.status))
        left[0] -= is_it
        return is_it and left[0] >= 0

    return loses


# Requests other than INVITE.


@TRANSPORTS
def test_a_request_is_answered_once(transport: str):
    pair = Pair(transport)
    key = pair.send(make("MESSAGE", body=b"hello"))
    pair.exchange()
    [received] = pair.bob.requests()
    assert (received.request.method, received.request.body) == ("MESSAGE", b"hello")
    pair.answer(200)
    pair.run()
    [answered] = pair.alice.all(ResponseReceived)
    assert (answered.key, answered.response.status) == (key, 200)
    assert pair.times("alice MESSAGE") == [0]
    pair.assert_empty()


def test_a_lost_request_is_sent_again_over_udp():
    pair = Pair(loses=first_of(2, "MESSAGE"))
    pair.send(make("MESSAGE"))
    pair.run(until=2)
    pair.answer(200)
    pair.run()
    assert pair.times("alice MESSAGE") == [0, 0.5, 1.5]
    assert pair.alice.statuses() == [200]
    pair.assert_empty()


def test_a_lost_answer_is_sent_again_and_the_user_sees_the_request_once():
    pair = Pair(loses=first_of(3, "200"))
    pair.send(make("MESSAGE"))
    pair.exchange()
    pair.answer(200)
    pair.run()
    assert len(pair.bob.requests()) == 1
    assert pair.times("bob 200") == [0, 0.5, 1.5, 3.5]
    assert pair.alice.statuses() == [200]
    pair.assert_empty()


@TRANSPORTS
def test_no_answer_is_a_time_out(transport: str):
    pair = Pair(transport, loses=lambda message: True)
    key = pair.send(make("MESSAGE"))
    pair.run()
    assert pair.alice.all(Failed) == [Failed(key, Cause.TIMEOUT)]
    assert pair.now == 32
    pair.assert_empty()


def test_a_user_who_is_slow_is_announced_and_one_who_is_too_slow_is_told():
    pair = Pair("tcp")
    pair.send(make("MESSAGE"))
    pair.run()
    assert pair.times("bob 100") == [3.5]  # RFC 4320
    assert pair.bob.failures() == [Cause.TIMEOUT]
    assert pair.alice.failures() == [Cause.TIMEOUT]
    pair.answer(200)
    assert pair.bob.sent == []
    assert pair.bob.agent.dropped == {Dropped.LATE_ANSWER: 1}
    pair.assert_empty()


def test_a_100_is_not_shown_and_another_provisional_answer_is():
    pair = Pair()
    pair.invite()
    pair.run(until=1)
    assert pair.times("bob 100") == [0.2]
    pair.answer(180)
    pair.run(until=2)
    assert pair.alice.statuses() == [180]
    assert pair.times("alice INVITE") == [0]


def test_only_the_first_final_answer_of_the_user_counts():
    pair = Pair()
    pair.send(make("MESSAGE"))
    pair.exchange()
    pair.answer(200)
    pair.answer(500)
    pair.run()
    assert pair.alice.statuses() == [200]
    assert pair.bob.agent.dropped[Dropped.LATE_ANSWER] == 1


def test_answers_that_nobody_waits_for_are_counted():
    pair = Pair()
    pair.send(make("MESSAGE"))
    pair.exchange()
    pair.answer(200)
    [answer] = pair.bob.sent
    pair.run()
    pair.alice.do(pair.alice.agent.receive(parse(answer.data), pair.bob.peer, pair.now))
    assert pair.alice.statuses() == [200]
    assert pair.alice.agent.dropped == {Dropped.STRAY_RESPONSE: 1}


# INVITE.


@TRANSPORTS
def test_a_call_is_accepted_and_acknowledged(transport: str):
    pair = Pair(transport)
    _, invite = pair.invite()
    pair.exchange()
    pair.answer(200)
    pair.exchange()
    pair.acknowledge(invite)
    pair.run()
    assert pair.alice.statuses() == [200]
    [ack] = pair.bob.all(AckReceived)
    assert (ack.key, ack.request.method) == (pair.bob.requests()[0].key, "ACK")
    assert pair.times("bob 200") == [0]
    assert pair.now == 32  # timers L and M
    pair.assert_empty()


@TRANSPORTS
def test_a_2xx_is_repeated_until_its_ack_comes_which_is_repeated_too(transport: str):
    pair = Pair(transport, loses=first_of(3, "ACK"))
    _, invite = pair.invite()
    pair.exchange()
    pair.answer(200)
    pair.exchange()
    pair.acknowledge(invite)
    pair.run()
    assert pair.alice.statuses() == [200]
    assert len(pair.bob.all(AckReceived)) == 1
    assert pair.times("bob 200") == pair.times("alice ACK") == [0, 0.5, 1.5, 3.5]
    assert pair.bob.failures() == []
    pair.assert_empty()


def test_an_ack_that_comes_twice_is_shown_once():
    pair = Pair()
    _, invite = pair.invite()
    pair.exchange()
    pair.answer(200)
    pair.exchange()
    pair.acknowledge(invite)
    pair.alice.sent *= 3
    pair.exchange()
    assert len(pair.bob.all(AckReceived)) == 1


def test_a_2xx_that_nobody_acknowledges_is_given_up_and_told():
    pair = Pair("tcp")
    pair.invite()
    pair.exchange()
    pair.answer(200)
    pair.run()
    assert pair.bob.all(Failed) == [Failed(pair.bob.requests()[0].key, Cause.TIMEOUT)]
    assert pair.times("bob 200")[-1] < 32
    assert pair.alice.statuses() == [200]
    pair.assert_empty()


@TRANSPORTS
def test_a_refused_call_is_acknowledged_by_the_agent(transport: str):
    pair = Pair(transport)
    pair.invite()
    pair.exchange()
    pair.answer(486)
    pair.run()
    assert pair.alice.statuses() == [486]
    assert pair.bob.all(AckReceived) == []
    assert pair.times("alice ACK") == [0]
    assert pair.bob.failures() == []
    pair.assert_empty()


def test_a_refusal_is_repeated_until_its_ack_comes():
    pair = Pair(loses=first_of(2, "ACK"))
    pair.invite()
    pair.exchange()
    pair.answer(486)
    pair.run()
    assert pair.times("bob 486") == pair.times("alice ACK") == [0, 0.5, 1.5]
    assert pair.alice.statuses() == [486]
    pair.assert_empty()


def test_the_ack_of_a_refusal_goes_the_way_of_the_invite():
    pair = Pair()
    invite = make("INVITE")
    invite = invite.replace(
        headers=invite.headers.added("Route", "<sip:p1;lr>").added("Route", "<sip:p2;lr>")
    )
    pair.send(invite)
    [sent] = pair.alice.sent
    pair.exchange()
    pair.answer(486)
    pair.alice.do(pair.alice.agent.receive(parse(pair.bob.sent.pop().data), pair.bob.peer, 0.0))
    ack, invite = parse(pair.alice.sent[-1].data), parse(sent.data)
    assert isinstance(ack, Request) and isinstance(invite, Request)  # RFC 3261 §17.1.1.3
    assert (ack.uri, str(ack.via), ack.call_id) == (invite.uri, str(invite.via), invite.call_id)
    assert (ack.cseq.number, ack.cseq.method) == (1, "ACK")
    assert ack.headers.all("route") == ("<sip:p1;lr>", "<sip:p2;lr>")
    assert (ack.from_.tag, ack.to.tag) == ("alice", "bob")
    assert ack.headers.count("via") == 1


def test_a_user_who_never_answers_an_invite_is_answered_for():
    pair = Pair("tcp")
    pair.loses = lambda message: isinstance(message, Request) and message.method == "CANCEL"
    pair.invite()
    pair.exchange()
    pair.answer(180)
    pair.run()
    assert pair.bob.failures() == [Cause.TIMEOUT]
    assert pair.times("bob 408") == [240]
    assert pair.times("alice CANCEL") == [185]
    assert pair.alice.statuses() == [180]  # it had given up before
    assert pair.alice.failures() == [Cause.TIMEOUT]
    pair.assert_empty()


def fork(response: Response, tag: str) -> Response:
    to = str(response.to.replace(params=()).with_param("tag", tag))
    contact = f"<sip:{tag}@10.0.0.9>"
    return response.replace(headers=response.headers.with_("To", to).with_("Contact", contact))


def test_a_second_callee_of_a_forked_invite_is_hung_up_on():
    pair = Pair()
    _, invite = pair.invite()
    pair.exchange()
    pair.answer(200)
    first = parse(pair.bob.sent[0].data)
    assert isinstance(first, Response)
    pair.exchange()
    pair.acknowledge(invite)
    pair.exchange()
    agent = pair.alice.agent
    outputs = agent.receive(fork(first, "other"), pair.bob.peer, pair.now)
    ack, bye = (parse(each.data) for each in outputs if isinstance(each, Transmit))
    assert isinstance(ack, Request) and isinstance(bye, Request)
    assert (ack.method, ack.uri, ack.to.tag, ack.cseq.number) == ("ACK", "sip:other@10.0.0.9", "other", 1)
    assert (bye.method, bye.uri, bye.to.tag, bye.cseq.number) == ("BYE", "sip:other@10.0.0.9", "other", 2)
    again = agent.receive(fork(first, "other"), pair.bob.peer, pair.now)
    assert [parse(each.data) for each in again if isinstance(each, Transmit)] == [ack]
    pair.alice.do(agent.receive(make_response(bye, 200), pair.bob.peer, pair.now))
    pair.run()
    assert pair.alice.statuses() == [200]
    assert agent.dropped[Dropped.FORK] == 1
    pair.assert_empty()


def test_a_second_callee_who_cannot_be_reached_is_left_alone():
    pair = Pair()
    pair.invite()
    pair.exchange()
    pair.answer(200)
    first = parse(pair.bob.sent[0].data)
    assert isinstance(first, Response)
    pair.exchange()
    broken = fork(first, "other")
    broken = broken.replace(headers=broken.headers.added("Record-Route", "nonsense"))
    assert pair.alice.agent.receive(broken, pair.bob.peer, pair.now) == []


# CANCEL.


@TRANSPORTS
def test_an_invite_is_cancelled(transport: str):
    pair = Pair(transport)
    key, _ = pair.invite()
    pair.run(until=1)
    pair.alice.do(pair.alice.agent.cancel(key, pair.now))
    pair.alice.do(pair.alice.agent.cancel(key, pair.now))
    pair.exchange()
    assert pair.bob.all(Cancelled) == [Cancelled(pair.bob.requests()[0].key)]
    pair.answer(487)
    pair.run()
    assert pair.alice.statuses() == [487]
    assert pair.alice.failures() == []
    assert pair.times("alice CANCEL") == [1]
    assert len(pair.bob.requests()) == 1
    pair.assert_empty()


def test_a_cancel_waits_for_the_first_answer():
    pair = Pair()
    key, _ = pair.invite()
    pair.alice.do(pair.alice.agent.cancel(key, pair.now))
    pair.run(until=1)
    assert pair.times("alice CANCEL") == pair.times("bob 100") == [0.2]


def test_a_cancel_that_is_lost_is_sent_again_and_shown_once():
    pair = Pair(loses=first_of(1, "200"))
    key, _ = pair.invite()
    pair.run(until=1)
    pair.alice.do(pair.alice.agent.cancel(key, pair.now))
    pair.run(until=10)
    assert len(pair.bob.all(Cancelled)) == 1
    assert pair.times("alice CANCEL") == [1, 1.5]
    pair.answer(487)
    pair.run()
    assert pair.alice.statuses() == [487]
    pair.assert_empty()


def test_the_answers_to_a_cancel_and_to_its_invite_have_one_tag():
    """RFC 3261 §9.2"""
    bob = Node("bob")
    bob.do(bob.agent.receive(raw("INVITE"), ALICE, 0.0))
    for _ in range(2):
        bob.do(bob.agent.receive(raw("CANCEL"), ALICE, 0.0))
    [received] = bob.requests()
    bob.do(bob.agent.respond(received.key, make_response(received.request, 487), 0.0))
    answers = [parse(sent.data) for sent in bob.sent]
    assert [str(each.cseq) for each in answers] == ["1 CANCEL", "1 CANCEL", "1 INVITE"]
    assert len({each.to.tag for each in answers}) == 1
    assert answers[0].to.tag


def test_a_call_may_ring_for_long_if_it_is_said_again():
    """RFC 3261 §16.7: timer C starts anew with each provisional answer."""
    alice = Node("alice")
    _, [sent] = alice.agent.send(make("INVITE"), LISTENER, 0.0)
    assert isinstance(sent, Transmit)
    invite = parse(sent.data)
    assert isinstance(invite, Request)
    for now in (0.2, 100.0, 201.0):
        alice.do(alice.agent.tick(now))
        alice.do(alice.agent.receive(make_response(invite, 180), ALICE, now))
    assert alice.agent.deadline() == 386
    assert [alice.failures(), len(alice.sent)] == [[], 0]


def test_a_cancel_that_comes_too_late_changes_nothing():
    pair = Pair()
    key, invite = pair.invite()
    pair.run(until=1)
    pair.answer(200)
    pair.alice.do(pair.alice.agent.cancel(key, pair.now))
    pair.exchange()
    assert pair.bob.all(Cancelled) == []
    assert pair.alice.statuses() == [200]
    pair.acknowledge(invite)
    pair.run()
    pair.assert_empty()


def test_a_cancelled_invite_that_is_never_answered_fails():
    pair = Pair()
    key, _ = pair.invite()
    pair.run(until=1)
    pair.alice.do(pair.alice.agent.cancel(key, pair.now))
    pair.run(until=100)
    assert pair.alice.all(Failed) == [Failed(key, Cause.TIMEOUT)]
    assert pair.alice.agent.counts.clients == 0


def test_other_requests_cannot_be_cancelled():
    pair = Pair()
    key = pair.send(make("MESSAGE"))
    assert pair.alice.agent.cancel(key, 0.0) == []
    assert pair.alice.agent.cancel(12345, 0.0) == []


def test_a_cancel_of_nothing_is_answered_481():
    bob = Node("bob")
    request = raw("CANCEL")
    [answer] = bob.agent.receive(request, ALICE, 0.0)
    assert isinstance(answer, Transmit)
    assert parse(answer.data).status == 481
    assert bob.agent.counts.held == 0


# Where answers go (RFC 3261 §18.2, RFC 3581).


ALICE = Peer(7, "udp", "192.0.2.1", 4321, "listener")


def raw(method: str, via: str = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx", **fields: str) -> Request:
    request = make(method, **fields)
    return request.replace(headers=request.headers.first("Via", via))


def answered(request: Request, peer: Peer) -> tuple[Transmit, Response]:
    """Return how Bob sends his answer."""
    bob = Node("bob")
    [received] = bob.agent.receive(request, peer, 0.0)
    assert isinstance(received, RequestReceived)
    [sent] = bob.agent.respond(received.key, make_response(received.request, 200), 0.0)
    assert isinstance(sent, Transmit)
    response = parse(sent.data)
    assert isinstance(response, Response)
    return sent, response


TCP_PEER = Peer(8, "tcp", "192.0.2.1", 4321)
TLS_PEER = Peer(9, "tls", "192.0.2.1", 4321)
NAMED_PEER = Peer(9, "tls", "192.0.2.1", 4321, "", ("fe1.example",))
IPV6_PEER = Peer(3, "tcp", "2001:db8::1", 4321)


@pytest.mark.parametrize(
    "via, peer, expected, hop, flow",
    [
        # RFC 3261 §18.2.2: over UDP to the port of the Via, at the address that it came from
        ("UDP 192.0.2.1", ALICE, "UDP 192.0.2.1", Hop("udp", "192.0.2.1", 5060), None),
        ("UDP 192.0.2.1:9", ALICE, "UDP 192.0.2.1:9", Hop("udp", "192.0.2.1", 9), None),
        ("UDP 192.0.2.1:4321", ALICE, "UDP 192.0.2.1:4321", Hop("udp", "192.0.2.1", 4321), 7),
        ("UDP a.example:9", ALICE, "UDP a.example:9;R", Hop("udp", "192.0.2.1", 9), None),
        # RFC 3581: to the port that it came from, if that is asked for
        ("UDP 10.1.1.1:9;rport", ALICE, "UDP 10.1.1.1:9;rport=4321;R", Hop("udp", "192.0.2.1", 4321), 7),
        ("UDP 192.0.2.1:9;rport", ALICE, "UDP 192.0.2.1:9;rport=4321;R", Hop("udp", "192.0.2.1", 4321), 7),
        # a lie is corrected
        ("UDP 10.1.1.1;received=1.1.1.1", ALICE, "UDP 10.1.1.1;R", Hop("udp", "192.0.2.1", 5060), None),
        ("UDP 192.0.2.1;received=1.1.1.1", ALICE, "UDP 192.0.2.1;R", Hop("udp", "192.0.2.1", 5060), None),
        # maddr is not followed
        (
            "UDP 192.0.2.1;maddr=8.8.8.8",
            ALICE,
            "UDP 192.0.2.1;maddr=8.8.8.8",
            Hop("udp", "192.0.2.1", 5060),
            None,
        ),
        # over the connection, or else a new one to the port of the Via
        ("TCP a.example", TCP_PEER, "TCP a.example;R", Hop("tcp", "192.0.2.1", 5060), 8),
        (
            "TLS pool.example:9",
            NAMED_PEER,
            "TLS pool.example:9;R",
            Hop("tls", "192.0.2.1", 9, "fe1.example"),
            9,
        ),
        ("TLS p.example", TLS_PEER, "TLS p.example;R", Hop("tls", "192.0.2.1", 5061, "p.example"), 9),
        ("TCP [2001:DB8::1]:9", IPV6_PEER, "TCP [2001:DB8::1]:9", Hop("tcp", "2001:db8::1", 9), 3),
    ],
)
def test_where_an_answer_goes(via: str, peer: Peer, expected: str, hop: Hop, flow: int | None):
    head, _, params = via.partition(";")
    request = raw("MESSAGE", f"SIP/2.0/{head};branch=z9hG4bKx" + (f";{params}" if params else ""))
    sent, response = answered(request, peer)
    assert (sent.hop, sent.flow) == (hop, flow)
    head, _, params = expected.partition(";")
    params = params.replace("R", f"received={peer.address}").replace("Received", "received")
    want = {each for each in params.split(";") if each} | {"branch=z9hG4bKx"}
    start, *got = str(response.via).split(";")
    assert start == f"SIP/2.0/{head}"
    assert set(got) == want


def test_the_other_vias_stay_as_they_are():
    request = raw("MESSAGE", "SIP/2.0/UDP h1;branch=z9hG4bKx;rport, SIP/2.0/UDP h2;branch=z9hG4bKy")
    request = request.replace(headers=request.headers.added("v", "SIP/2.0/TCP h3;branch=z9hG4bKz"))
    _, response = answered(request, ALICE)
    assert [via.host for via in response.vias] == ["h1", "h2", "h3"]
    assert [via.received for via in response.vias] == ["192.0.2.1", None, None]


def test_the_answer_of_somebody_else_is_passed_on_as_it_is():
    bob = Node("bob")
    [received] = bob.agent.receive(raw("MESSAGE"), ALICE, 0.0)
    assert isinstance(received, RequestReceived)
    onward = passed_on(received.request)
    assert onward is not None
    _, [forwarded] = bob.agent.send(onward, Hop("tcp", "10.0.0.9", 5060), 0.0)
    assert isinstance(forwarded, Transmit)
    request = parse(forwarded.data)
    assert isinstance(request, Request)
    assert [via.host for via in request.vias] == ["10.0.0.2", "192.0.2.1"]
    assert request.max_forwards == 69
    [heard] = bob.agent.receive(make_response(request, 404), Peer(2, "tcp", "10.0.0.9", 5060), 0.0)
    assert isinstance(heard, ResponseReceived)
    [back] = bob.agent.respond(received.key, heard.response, 0.0)
    assert isinstance(back, Transmit)
    answer = parse(back.data)
    assert isinstance(answer, Response)
    assert (answer.status, [via.host for via in answer.vias]) == (404, ["192.0.2.1"])
    assert answer.to.tag is not None


def test_an_answer_without_vias_gets_all_of_them_in_order():
    bob = Node("bob")
    request = raw("MESSAGE", "SIP/2.0/TCP h1;branch=z9hG4bKx")
    for via in ("SIP/2.0/TCP h2, SIP/2.0/TCP h3", "SIP/2.0/TCP h4"):
        request = request.replace(headers=request.headers.added("Via", via))
    [received] = bob.agent.receive(request, TCP_PEER, 0.0)
    assert isinstance(received, RequestReceived)
    answer = make_response(request, 200)
    [sent] = bob.agent.respond(received.key, answer.replace(headers=answer.headers.without("Via")), 0.0)
    assert isinstance(sent, Transmit)
    assert [via.host for via in parse(sent.data).vias] == ["h1", "h2", "h3", "h4"]
    assert parse(sent.data).via.received == "192.0.2.1"


def test_who_has_no_hop_left_is_served_and_not_passed_on():
    request = raw("MESSAGE")
    last = request.replace(headers=request.headers.with_("Max-Forwards", "0"))
    assert passed_on(last) is None
    without = passed_on(request.replace(headers=request.headers.without("Max-Forwards")))
    assert without is not None
    assert without.max_forwards == 70
    _, response = answered(last, ALICE)
    assert response.status == 200


def test_an_answer_goes_to_where_the_repetition_came_from():
    bob = Node("bob")
    request = raw("MESSAGE", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx;rport")
    [received] = bob.agent.receive(request, ALICE, 0.0)
    assert isinstance(received, RequestReceived)
    moved = Peer(8, "udp", "192.0.2.1", 9999, "listener")
    assert bob.agent.receive(request, moved, 1.0) == []
    stranger = Peer(9, "udp", "198.51.100.1", 9999, "listener")
    assert bob.agent.receive(request, stranger, 1.0) == []
    [sent] = bob.agent.respond(received.key, make_response(received.request, 200), 2.0)
    assert isinstance(sent, Transmit)
    assert (sent.flow, sent.hop) == (8, Hop("udp", "192.0.2.1", 9999))
    assert parse(sent.data).via.rport == 9999


# Matching (RFC 3261 §17.2.3).


def test_a_branch_of_another_sender_or_method_is_another_request():
    bob = Node("bob")
    for place, (method, via) in enumerate(
        [
            ("MESSAGE", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx"),
            ("MESSAGE", "SIP/2.0/UDP 192.0.2.1:5061;branch=z9hG4bKx"),
            ("MESSAGE", "SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKx"),
            ("OPTIONS", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx"),
        ]
    ):
        request = raw(method, via, call_id=f"call{place}")
        for _ in range(3):
            bob.do(bob.agent.receive(request, ALICE, 0.0))
    assert len(bob.requests()) == 4


@pytest.mark.parametrize("branch", ["", ";branch=1", ";branch=z9hG4bK"])
def test_peers_without_unique_branches_are_matched_by_everything_else(branch: str):
    """RFC 2543 peers, and the one of RFC 4475 §3.2.1 that has nothing behind the cookie."""
    bob = Node("bob")
    via = f"SIP/2.0/UDP 192.0.2.1:5060{branch}"
    for cseq in (1, 2):
        for _ in range(2):
            bob.do(bob.agent.receive(raw("MESSAGE", via, cseq=cseq), ALICE, 0.0))
    assert len(bob.requests()) == 2
    invite = raw("INVITE", via, cseq=3)
    bob.do(bob.agent.receive(invite, ALICE, 0.0))
    bob.do(bob.agent.receive(raw("CANCEL", via, cseq=3), ALICE, 0.0))
    key = bob.requests()[-1].key
    assert bob.all(Cancelled) == [Cancelled(key)]
    bob.do(bob.agent.respond(key, make_response(invite, 487, to_tag="bob"), 0.0))
    bob.do(bob.agent.receive(raw("ACK", via, cseq=3, to_tag="bob"), ALICE, 0.0))
    assert bob.agent.dropped == {}
    bob.sent.clear()
    bob.do(bob.agent.tick(3.0))
    assert bob.sent == []  # acknowledged: the 487 is not sent again


def test_the_ack_of_a_2xx_is_found_though_its_branch_is_new():
    bob = Node("bob")
    bob.do(bob.agent.receive(raw("INVITE"), ALICE, 0.0))
    [received] = bob.requests()
    bob.do(bob.agent.respond(received.key, make_response(received.request, 200, to_tag="bob"), 0.0))
    other = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKother"
    bob.do(bob.agent.receive(raw("ACK", other, to_tag="nobody"), ALICE, 0.0))
    assert bob.all(AckReceived) == []
    assert bob.agent.dropped == {Dropped.STRAY_ACK: 1}
    bob.do(bob.agent.receive(raw("ACK", other, to_tag="bob"), ALICE, 0.0))
    assert [each.key for each in bob.all(AckReceived)] == [received.key]


def test_a_number_that_is_used_twice_does_not_lose_the_second_ack():
    bob = Node("bob")
    for place, now in ((1, 0.0), (2, 20.0)):
        via = f"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{place}"
        bob.do(bob.agent.receive(raw("INVITE", via, to_tag="bob"), ALICE, now))
        received = bob.requests()[-1]
        bob.do(bob.agent.respond(received.key, make_response(received.request, 200), now))
    bob.do(bob.agent.tick(40.0))  # the first is over
    assert bob.agent.counts.servers == 1
    ack = raw("ACK", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK3", to_tag="bob")
    bob.do(bob.agent.receive(ack, ALICE, 40.0))
    assert [each.key for each in bob.all(AckReceived)] == [received.key]


def test_copies_that_came_over_another_way_are_refused():
    """RFC 3261 §8.2.2.2"""
    bob = Node("bob")
    bob.do(bob.agent.receive(raw("MESSAGE"), ALICE, 0.0))
    other = raw("MESSAGE", "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKother")
    bob.do(bob.agent.receive(other, ALICE, 0.0))
    assert len(bob.requests()) == 1
    answer = parse(bob.sent[-1].data)
    assert isinstance(answer, Response)
    assert answer.status == 482
    assert bob.agent.dropped == {Dropped.MERGED: 1}
    for now in (32.0, 64.0):  # when the first is forgotten, the next is new
        bob.do(bob.agent.tick(now))
    bob.do(bob.agent.receive(other, ALICE, 65.0))
    assert len(bob.requests()) == 2


def test_inside_of_a_dialog_nothing_is_merged():
    bob = Node("bob")
    bob.do(bob.agent.receive(raw("MESSAGE", to_tag="bob"), ALICE, 0.0))
    other = raw("MESSAGE", "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKother", to_tag="bob")
    bob.do(bob.agent.receive(other, ALICE, 0.0))
    assert len(bob.requests()) == 2


def test_our_own_request_that_comes_back_is_refused():
    pair = Pair("tcp")
    key = pair.send(make("MESSAGE"))
    sent = parse(pair.alice.sent[0].data)
    via = "SIP/2.0/TCP 10.0.0.2:5060;branch=z9hG4bKbob"
    looped = sent.replace(headers=sent.headers.first("Via", via))
    [answer] = pair.alice.agent.receive(looped, pair.bob.peer, 0.0)
    assert isinstance(answer, Transmit)
    response = parse(answer.data)
    assert isinstance(response, Response)
    assert (response.status, len(response.vias)) == (482, 2)
    assert pair.alice.agent.dropped == {Dropped.LOOP: 1}
    # With another Request-URI it is a spiral (RFC 5393 §4.2): it may be for one of us.
    [shown] = pair.alice.agent.receive(looped.replace(uri="sip:carol@example.org"), pair.bob.peer, 0.0)
    assert isinstance(shown, RequestReceived)
    assert key == 1


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


# Vias of our own.


def test_our_via_says_where_we_are():
    numbers = count()
    agent = Agent(lambda: str(next(numbers)), lambda hop: ("2001:db8::5", 5060 + len(hop.name)))
    _, [sent] = agent.send(make("MESSAGE"), Hop("tls", "10.0.0.2", 5061, "x"), 0.0)
    assert isinstance(sent, Transmit)
    assert str(parse(sent.data).via) == "SIP/2.0/TLS [2001:db8::5]:5061;branch=z9hG4bK0"
    _, [sent] = agent.send(make("MESSAGE"), LISTENER, 0.0)
    assert isinstance(sent, Transmit)
    assert str(parse(sent.data).via) == "SIP/2.0/UDP [2001:db8::5]:5060;branch=z9hG4bK1;rport"


def test_the_hop_that_an_address_names():
    for text, hop in (
        ("sip:a@example.org", Hop("tcp", "example.org", 5060)),
        ("sip:example.org:5070;transport=UDP", Hop("udp", "example.org", 5070)),
        ("sips:a@example.org", Hop("tls", "example.org", 5061, "example.org")),
        ("sip:[2001:db8::1];transport=tls", Hop("tls", "2001:db8::1", 5061, "2001:db8::1")),
    ):
        assert hop_to(SipUri.parse(text)) == hop


def test_counts_tell_the_kinds_apart():
    pair = Pair()
    _, invite = pair.invite(call_id="1")
    pair.send(make("MESSAGE", call_id="2"))
    pair.exchange()
    counts = pair.alice.agent.counts
    assert (counts.invite_clients, counts.clients, counts.invite_servers, counts.servers) == (1, 2, 0, 0)
    counts = pair.bob.agent.counts
    assert (counts.invite_clients, counts.clients, counts.invite_servers, counts.servers) == (0, 0, 1, 2)
    assert invite.method == "INVITE"


def test_the_timers_can_be_shortened():
    pair = Pair(timers=Timers(t1=0.01, t2=0.08, t4=0.1), loses=lambda message: True)
    pair.send(make("MESSAGE"))
    pair.run()
    assert pair.now == pytest.approx(0.64)


def test_a_dialog_goes_both_ways():
    """INVITE, ACK, MESSAGE of the callee, BYE of the caller."""
    pair = Pair("tcp")
    _, invite = pair.invite()
    pair.exchange()
    pair.answer(200)
    pair.exchange()
    pair.acknowledge(invite)
    pair.exchange()
    caller = Dialog.from_response(invite, pair.alice.all(ResponseReceived)[0].response)
    callee = Dialog.from_request(pair.bob.requests()[0].request, "bob")
    message, callee = callee.request("MESSAGE", body=b"hi")
    _, outputs = pair.bob.agent.send(message, pair.alice.hop, pair.now)
    pair.bob.do(outputs)
    pair.exchange()
    accepted = caller.accepts(pair.alice.requests()[0].request)
    assert isinstance(accepted, Dialog)
    bye, caller = accepted.request("BYE")
    pair.send(bye)
    pair.exchange()
    assert isinstance(callee.accepts(pair.bob.requests()[-1].request), Dialog)
    pair.answer(200)
    pair.alice.do(
        pair.alice.agent.respond(
            pair.alice.requests()[0].key, make_response(pair.alice.requests()[0].request, 200), pair.now
        )
    )
    pair.run()
    assert pair.alice.statuses() == [200, 200]
    assert pair.bob.statuses() == [200]
    pair.assert_empty()
