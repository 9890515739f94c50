"""Stream management counters: settled prefix, acknowledgements, resumption over a connection that is cut."""

import sys
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ubiety.xmpp import smacks
from ubiety.xmpp.smacks import Smacks, SmacksError

WRAP = 2**32


def test_h_is_the_settled_prefix_and_not_a_count():
    core = Smacks()
    first, second, third = core.receive(), core.receive(), core.receive()
    core.settle(third)
    core.settle(second)
    assert core.h == 0
    assert core.unsettled == 3
    core.settle(first)
    assert core.h == 3
    assert core.unsettled == 0


@given(st.permutations(range(1, 13)))
def test_any_order_of_settlement_ends_at_the_same_h(order):
    core = Smacks()
    for _ in order:
        core.receive()
    done: set[int] = set()
    for seq in order:
        core.settle(seq)
        done.add(seq)
        prefix = next(n for n in range(len(order) + 1) if n + 1 not in done)
        assert core.h == prefix
    assert core._ahead is None


def test_settling_twice_or_what_never_came_changes_nothing():
    core = Smacks()
    core.receive()
    core.settle(1)
    core.settle(1)
    core.settle(2)
    core.settle(7)
    assert core.h == 1
    assert core.receive() == 2
    assert core.h == 1


def test_h_with_looks_ahead_and_changes_nothing():
    core = Smacks()
    for _ in range(5):
        core.receive()
    core.settle(3)
    assert core.h_with([1, 2]) == 3
    assert core.h_with([2]) == 0
    assert core.h_with(iter((4, 1, 2, 5))) == 5
    assert core.h_with([1, 2, 4, 5, 6]) == 5  # 6 was never received
    assert core.h == 0


def test_a_request_is_answered_at_once_and_the_rest_is_owed():
    core = Smacks()
    for _ in range(3):
        core.receive()
    core.settle(1)
    assert core.owed() is None  # never asked
    assert core.request() == 1
    assert core.owed() is None
    core.settle(3)
    assert core.owed() is None  # nothing new in the prefix
    core.settle(2)
    assert core.owed() == 3
    assert core.owed() is None
    core.settle(core.receive())
    assert core.owed() is None  # came after the request: the client will ask again


def test_acknowledged_tokens_come_back_once_and_in_order():
    core = Smacks()
    for n in range(4):
        core.sent(b"<m%d/>" % n, n if n != 1 else None)
    assert core.unacked_bytes == 20
    assert core.acked(3) == [0, 2]
    assert core.acked(3) == []
    assert list(core.unacked) == [(b"<m3/>", 3)]
    assert core.acked(4) == [3]
    assert core.unacked_bytes == 0


def test_requests_are_one_at_a_time():
    core = Smacks()
    assert not core.wants_request()
    core.sent(b"<m/>")
    assert core.wants_request()
    core.requested()
    core.sent(b"<m/>")
    assert not core.wants_request()
    core.acked(1)
    assert core.wants_request()
    core.acked(2)
    assert not core.wants_request()


@pytest.mark.parametrize("h", [3, 4, WRAP - 1])
def test_too_high_an_h_is_refused_with_its_detail(h):
    core = Smacks()
    core.sent(b"<m/>", 1)
    core.sent(b"<m/>", 2)
    with pytest.raises(SmacksError) as caught:
        core.acked(h)
    assert caught.value.condition == "undefined-condition"
    assert caught.value.detail == (
        b"<handled-count-too-high xmlns='urn:xmpp:sm:3' h='%d' send-count='2'/>" % h
    )
    assert core.acked(2) == [1, 2]


def test_an_h_that_goes_back_is_refused():
    core = Smacks()
    core.sent(b"<m/>")
    core.sent(b"<m/>")
    core.acked(2)
    with pytest.raises(SmacksError):
        core.acked(1)


def test_both_counters_wrap_around():
    core = Smacks()
    core._received = core._settled = core._acked = WRAP - 1
    for seq in (core.receive(), core.receive()):
        core.sent(b"<m/>", seq)
        core.settle(seq)
    assert core.h == 1
    assert core.request() == 1
    assert core.h_with([]) == 1
    assert core.acked(0) == [WRAP]
    assert core.acked(1) == [WRAP + 1]
    core.sent(b"<m/>", "last")
    assert core.resume(1) == [(b"<m/>", "last")]


def test_what_was_dropped_counts_but_is_neither_reported_nor_sent_again():
    core = Smacks()
    for token in "abc":
        core.sent(token.encode(), token)
    assert core.drop("b")
    assert not core.drop("b")
    assert core.acked(1) == ["a"]
    assert core.resume(1) == [(b"c", "c")]
    assert core.acked(2) == ["c"]  # the client counted only what it got after the resumption
    assert not core.unacked


def test_resume_needs_the_acknowledgement_first():
    core = Smacks()
    core.sent(b"<m/>", 1)
    with pytest.raises(ValueError, match="acked"):
        core.resume(1)


def test_resume_forgets_what_was_received_and_is_not_settled():
    core = Smacks()
    for _ in range(3):
        core.receive()
    core.settle(1)
    core.settle(3)
    core.request()
    core.resume(0)
    assert core.h == 1
    core.settle(2)  # a late commit of the old copy
    assert core.h == core.h_with([2, 3]) == 1
    assert core.owed() is None
    again = core.receive()
    assert again > 3
    core.settle(2)
    assert core.h == 1
    assert core.h_with([again]) == 2
    core.settle(again)
    assert core.h == 2


def test_what_waits_to_be_counted_is_asked_for_too():
    core = Smacks()
    core.settle(core.receive())
    assert core.request(behind=1) == 1
    core.settle(core.receive())
    assert core.owed() == 2


def test_an_idle_session_is_small():
    core = Smacks("x" * 16, 600, True)
    core.receive()
    core.receive()
    core.settle(2)
    core.settle(1)
    core.sent(b"<m/>")
    core.acked(1)
    assert core._ahead is None
    assert core._unacked is None
    assert sys.getsizeof(core) <= 136


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("4294967295", WRAP - 1),
        *((text, None) for text in ("4294967296", "-1", "", "1 ", "٣", "9" * 5000, None)),
    ],
)
def test_h_is_read_strictly(text, value):
    assert smacks.parse_h(text) == value


def test_nonzas():
    assert smacks.REQUEST == b"<r xmlns='urn:xmpp:sm:3'/>"
    assert smacks.answer(7) == b"<a xmlns='urn:xmpp:sm:3' h='7'/>"


class Peer:
    """One end: a Smacks core, what it wants to say, and what it was told."""

    def __init__(self):
        self.core = Smacks("s", 600, True)
        self.core._received = self.core._settled = self.core._acked = WRAP - 5  # walk over the edge
        self.core._asked = self.core._answered = WRAP - 5
        self.said = 0
        self.acknowledged: list[object] = []
        self.heard: list[bytes] = []
        self.pending: list[tuple[int, bytes]] = []


class TwoCores(RuleBasedStateMachine):
    """Two cores over a connection that loses everything in flight when it is cut."""

    def __init__(self):
        super().__init__()
        self.peers = (Peer(), Peer())
        self.wires: tuple[deque, deque] = (deque(), deque())  # [i]: on the way to peer i
        self.connected = True

    def write(self, sender: int, thing: tuple[str, object]) -> None:
        if self.connected:
            self.wires[1 - sender].append(thing)

    @rule(side=st.integers(0, 1))
    def say(self, side):
        peer = self.peers[side]
        peer.said += 1
        data = b"%d" % peer.said
        peer.core.sent(data, peer.said)
        self.write(side, ("stanza", data))

    @rule(side=st.integers(0, 1))
    def ask(self, side):
        if self.connected and self.peers[side].core.wants_request():
            self.peers[side].core.requested()
            self.write(side, ("r", None))

    @rule(side=st.integers(0, 1))
    def arrive(self, side):
        if self.wires[side]:
            self.take(side, *self.wires[side].popleft())

    def take(self, side, kind, value):
        peer = self.peers[side]
        if kind == "stanza":
            peer.pending.append((peer.core.receive(), value))
        elif kind == "r":
            self.write(side, ("a", peer.core.request()))
        else:
            peer.acknowledged += peer.core.acked(value)

    @precondition(lambda self: any(p.pending for p in self.peers))
    @rule(data=st.data())
    def settle(self, data):
        side = data.draw(st.sampled_from([i for i in (0, 1) if self.peers[i].pending]))
        self.settle_one(side, data.draw(st.integers(0, len(self.peers[side].pending) - 1)))

    def settle_one(self, side, place):
        peer = self.peers[side]
        seq, data = peer.pending.pop(place)
        peer.core.settle(seq)
        peer.heard.append(data)
        owed = peer.core.owed()
        if owed is not None:
            self.write(side, ("a", owed))

    @rule()
    def cut(self):
        self.connected = False
        for wire in self.wires:
            wire.clear()

    @precondition(lambda self: not self.connected)
    @rule()
    def resume(self):
        # As the edge does: what came in is settled before the `h` is told.
        for side in (0, 1):
            while self.peers[side].pending:
                self.settle_one(side, 0)
        hs = [peer.core.h for peer in self.peers]
        self.connected = True
        for side, peer in enumerate(self.peers):
            peer.acknowledged += peer.core.acked(hs[1 - side])
            for data, _token in peer.core.resume(hs[1 - side]):
                self.write(side, ("stanza", data))

    @invariant()
    def no_token_is_lost_or_reported_twice(self):
        for peer in self.peers:
            kept = [token for _data, token in peer.core.unacked]
            assert peer.acknowledged + kept == list(range(1, peer.said + 1))

    @invariant()
    def only_what_the_other_side_has_is_acknowledged(self):
        for side, peer in enumerate(self.peers):
            heard = set(self.peers[1 - side].heard)
            assert all(b"%d" % token in heard for token in peer.acknowledged)

    @invariant()
    def nothing_is_heard_twice(self):
        for peer in self.peers:
            assert len(set(peer.heard)) == len(peer.heard)

    def teardown(self):
        self.connected or self.resume()
        while any(self.wires):
            for side in (0, 1):
                self.arrive(side)
        for side, peer in enumerate(self.peers):
            while peer.pending:
                self.settle_one(side, 0)
        for side in (0, 1):
            self.ask(side)
        while any(self.wires):
            for side in (0, 1):
                self.arrive(side)
        for side, peer in enumerate(self.peers):
            other = self.peers[1 - side]
            assert sorted(peer.heard, key=int) == [b"%d" % n for n in range(1, other.said + 1)]
            assert not peer.core.unacked


TwoCores.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTwoCores = TwoCores.TestCase
