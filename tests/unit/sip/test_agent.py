"""The agent: one answer or one failure for every request, and every request shown once."""

from itertools import count

import pytest

from tests.unit.sip.agents import ALICE, LISTENER, Node, Pair, make, parse, raw
from ubiety.sip.agent import (
    AckReceived,
    Agent,
    Cancelled,
    Cause,
    Dropped,
    Failed,
    Hop,
    ResponseReceived,
    Timers,
    Transmit,
    hop_to,
)
from ubiety.sip.dialog import Dialog
from ubiety.sip.message import Request, Response, make_response
from ubiety.sip.uri import SipUri

TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])


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
