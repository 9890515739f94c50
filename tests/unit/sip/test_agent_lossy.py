"""Two agents over a network that loses, doubles and reorders: the promises of `sip/agent.py` always hold.

Every request of Alice ends in one final answer or one failure; Bob sees each request, each ACK of a 2xx and
each CANCEL once; nothing is left behind; and what both sides believe fits together.
"""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.sip.agents import Node, make
from ubiety.sip.agent import AckReceived, Cancelled, Dropped, Failed, Hop, ResponseReceived, Transmit
from ubiety.sip.dialog import Dialog
from ubiety.sip.framing import parse_datagram
from ubiety.sip.message import Request, Response, make_response

Datagram = tuple[float, str, bytes]
"""When it was sent, who gets it, and what it says."""

DELAY = 0.4
"""The longest time that a message is under way: below T1, which is what RFC 3261 §17 takes for granted."""


class Lossy(RuleBasedStateMachine):
    transport = "udp"

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.alice = Node("alice", self.transport)
        self.bob = Node("bob", self.transport)
        self.wire: list[Datagram] = []
        self.requests: dict[int, Request] = {}
        self.accepting: set[int] = set()  # Bob's keys of INVITEs that he accepted
        self.answered: dict[int, int] = {}  # Bob's key to his final status
        self.acknowledged: set[int] = set()
        self.cancelled: set[int] = set()

    def perform(self) -> None:
        """Put what was sent on the wire; let Alice acknowledge what was accepted."""
        for each in self.alice.all(ResponseReceived):
            invite = self.requests[each.key]
            is_accepted = invite.method == "INVITE" and 200 <= each.response.status < 300
            if is_accepted and each.key not in self.acknowledged:
                self.acknowledged.add(each.key)
                ack = Dialog.from_response(invite, each.response).ack(invite)
                self.alice.do(self.alice.agent.ack(ack, self.bob.hop, self.now))
        for node, other in ((self.alice, "bob"), (self.bob, "alice")):
            sent, node.sent = node.sent, []
            self.wire += [(self.now, other, transmit.data) for transmit in sent]

    def deliver(self, place: int) -> None:
        _, to, data = self.wire.pop(place)
        self.hand_over(to, data)

    def hand_over(self, to: str, data: bytes) -> None:
        node, sender = (self.alice, self.bob) if to == "alice" else (self.bob, self.alice)
        message = parse_datagram(data)
        assert isinstance(message, Request | Response), message
        node.do(node.agent.receive(message, sender.peer, self.now))
        self.perform()

    @rule(method=st.sampled_from(["INVITE", "MESSAGE", "SUBSCRIBE"]))
    def send(self, method: str) -> None:
        request = make(method, call_id=f"call{len(self.requests)}")
        key, outputs = self.alice.agent.send(request, self.bob.hop, self.now)
        self.requests[key] = request
        self.alice.do(outputs)
        self.perform()

    @precondition(lambda self: self.open_keys())
    @rule(data=st.data(), status=st.sampled_from([180, 200, 202, 404, 486, 503]))
    def answer(self, data: st.DataObject, status: int) -> None:
        self.respond(data.draw(st.sampled_from(self.open_keys())), status)

    def respond(self, key: int, status: int) -> None:
        [received] = [each for each in self.bob.requests() if each.key == key]
        if status >= 200:
            self.answered[key] = status
        headers = (("Contact", "<sip:bob@10.0.0.2>"),)
        response = make_response(received.request, status, to_tag=f"bob{key}", headers=headers)
        self.bob.do(self.bob.agent.respond(key, response, self.now))
        self.perform()

    def open_keys(self) -> list[int]:
        """The requests that Bob has not answered, and has not been told to be too late for."""
        over = {each.key for each in self.bob.all(Failed)} | set(self.answered)
        return [each.key for each in self.bob.requests() if each.key not in over]

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.requests)))
        self.cancelled.add(key)
        self.alice.do(self.alice.agent.cancel(key, self.now))
        self.perform()

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        self.deliver(data.draw(st.integers(0, len(self.wire) - 1)))

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def arrive_twice(self, data: st.DataObject) -> None:
        _, to, message = self.wire[data.draw(st.integers(0, len(self.wire) - 1))]
        self.hand_over(to, message)

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.wire.pop(data.draw(st.integers(0, len(self.wire) - 1)))

    @rule()
    def arrive_all(self) -> None:
        for _ in range(len(self.wire)):
            self.deliver(0)

    @rule(seconds=st.sampled_from([0.1, 0.5, 3.0, 20.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass. What is under way for too long is lost."""
        self.pass_time(self.now + seconds)

    def pass_time(self, until: float) -> None:
        while True:
            times = [node.agent.deadline() for node in (self.alice, self.bob)]
            due = min((time for time in times if time is not None), default=None)
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            for node in (self.alice, self.bob):
                node.do(node.agent.tick(self.now))
            self.perform()
        self.now = until
        self.wire = [each for each in self.wire if each[0] >= until - DELAY]

    @invariant()
    def alice_is_told_one_end_of_each_request(self) -> None:
        finals = Counter(each.key for each in self.alice.all(ResponseReceived) if each.response.status >= 200)
        finals.update(each.key for each in self.alice.all(Failed))
        assert set(finals) <= set(self.requests)
        assert not finals or max(finals.values()) == 1

    @invariant()
    def nothing_follows_the_end(self) -> None:
        ended: set[int] = set()
        for each in self.alice.heard:
            assert isinstance(each, ResponseReceived | Failed)
            assert each.key not in ended
            if isinstance(each, Failed) or each.response.status >= 200:
                ended.add(each.key)

    @invariant()
    def bob_sees_everything_once(self) -> None:
        calls = Counter(each.request.call_id for each in self.bob.requests())
        assert not calls or max(calls.values()) == 1
        for kind in (AckReceived, Cancelled, Failed):
            keys = Counter(each.key for each in self.bob.all(kind))
            assert not keys or max(keys.values()) == 1, kind
        for each in self.bob.all(AckReceived):
            assert 200 <= self.answered[each.key] < 300

    @invariant()
    def what_alice_hears_is_what_bob_said(self) -> None:
        keys = {each.request.call_id: each.key for each in self.bob.requests()}
        for each in self.alice.all(ResponseReceived):
            if each.response.status >= 200:
                said = self.answered.get(keys[each.response.call_id], 408)
                assert each.response.status == said

    @invariant()
    def nothing_is_mistaken(self) -> None:
        for node in (self.alice, self.bob):
            assert not {Dropped.FORK, Dropped.MERGED, Dropped.LOOP, Dropped.OVERLOAD} & set(
                node.agent.dropped
            )

    def teardown(self) -> None:
        """In the end the network works and Bob answers all: then everything ends and nothing is left."""
        for key in self.open_keys():
            self.respond(key, 200)
        for _ in range(20):
            self.arrive_all()
        self.pass_time(self.now + 1000)
        ended = {each.key for each in self.alice.heard if isinstance(each, Failed | ResponseReceived)}
        assert ended == set(self.requests)
        for node in (self.alice, self.bob):
            assert node.agent.counts.held == 0
            assert node.agent.deadline() is None
        self.bob_sees_everything_once()
        self.alice_is_told_one_end_of_each_request()


class Failing(Lossy):
    """The same over connections, which lose nothing but break."""

    transport = "tcp"

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        self.deliver(0)

    arrive_twice = None  # type: ignore[assignment]

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """The connection breaks: what is under way is lost."""
        for key in self.requests:
            self.alice.agent.sent_over(key, 1)
        self.wire.clear()
        for node in (self.alice, self.bob):
            node.do(node.agent.flow_closed(1, self.now))
        self.perform()


def test_any_mishap_leaves_both_sides_with_one_truth():
    Lossy.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
    Lossy.TestCase().runTest()


def test_broken_connections_leave_both_sides_with_one_truth():
    Failing.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
    Failing.TestCase().runTest()


def test_a_datagram_goes_to_its_hop():
    alice = Node("alice")
    _, [sent] = alice.agent.send(make("MESSAGE"), Hop("udp", "10.0.0.2", 5060), 0.0)
    assert isinstance(sent, Transmit)
    assert (sent.hop, sent.flow) == (Hop("udp", "10.0.0.2", 5060), None)
