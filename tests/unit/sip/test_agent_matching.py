"""Where the answers of the agent go, and which messages belong together (RFC 3261 §18.2, §17.2.3)."""

import pytest

from tests.unit.sip.agents import ALICE, Node, Pair, make, parse, raw
from ubiety.sip.agent import (
    AckReceived,
    Cancelled,
    Dropped,
    Hop,
    Peer,
    RequestReceived,
    ResponseReceived,
    Transmit,
)
from ubiety.sip.message import Request, Response, make_response
from ubiety.sip.relay import passed_on

# Where answers go (RFC 3261 §18.2, RFC 3581).


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
    assert [each.key for each in bob.all(AckReceived)] == [0]  # perhaps of an INVITE that another node has
    assert bob.agent.dropped == {Dropped.STRAY_ACK: 1}
    bob.do(bob.agent.receive(raw("ACK", other, to_tag="bob"), ALICE, 0.0))
    assert [each.key for each in bob.all(AckReceived)] == [0, received.key]


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
