"""Who serves: two nodes, one row, and everything in between that can be lost, late or stopped."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from ubiety.cluster.tenure import LEASE, MARGIN, AskHold, Renewal, Take, Tenure

ONE, TWO = 1, 2
SET = 1


def other(node_id: int) -> int:
    return TWO if node_id == ONE else ONE


@dataclass
class Row:
    """The row of the set and the counter, on the database's clock, which is true time here."""

    owner: int = 0
    epoch: int = 0
    expires: float = 0.0
    successor: int = 0

    def apply(self, node_id: int, order: Renewal | Take, now: float) -> list[int] | int | None:
        """Do what ``store/leases.py`` does in one transaction."""
        if isinstance(order, Renewal):
            kept = [s for s, epoch, _ in order.rows if self.owner == node_id and self.epoch == epoch]
            for _, _, successor in order.rows if kept else ():
                self.expires, self.successor = now + LEASE, successor
            return kept
        is_own = self.owner == node_id
        is_next = self.successor == node_id and order.has_waited
        if self.owner and not (self.expires < now and (is_own or is_next)):
            return None
        self.owner, self.epoch, self.expires = node_id, self.epoch + 1, now + LEASE
        self.successor = order.successor
        return self.epoch


@dataclass
class Node:
    """A node in the world: its clock, its connection to the database, whether it is stopped."""

    node_id: int
    rate: float
    tenure: Tenure = field(init=False)
    paused_until: float = 0.0
    outstanding: Renewal | Take | None = None
    sent_at: float = 0.0  # true time of what is outstanding
    renew_at: float = 0.0
    late: list[Callable[[], None]] = field(default_factory=list)  # what came while it was stopped

    def now(self, time: float) -> float:
        return self.node_id * 1000.0 + time * self.rate


class World:
    """Two nodes that may both serve one set. Everything takes its time, is lost, or comes twice.

    In each phase some of the ways between nodes and database are slow, or lose what is on them.
    """

    STEP = 0.02

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.time = 100.0
        self.row = Row()
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = itertools.count()
        self.nodes = {n: Node(n, chance.uniform(0.97, 1.03)) for n in (ONE, TWO)}
        self.phase_ends = 0.0
        self.database: dict[int, str] = {}
        self.bus = "well"
        self.last_served = 0
        self.changes = 0  # of who serves
        self.holds = 0
        for node in self.nodes.values():
            self.boot(node)

    # -- ways ------------------------------------------------------------------------------------------------

    def later(self, way: str, act: Callable[[], None]) -> None:
        """Have something happen at the other end of a way: soon, late, not at all, perhaps twice."""
        chance = self.chance
        if way == "cut" or (way == "slow" and chance.random() < 0.3):
            return
        for _ in range(2 if way == "slow" and chance.random() < 0.2 else 1):
            delay = chance.expovariate(1.0) if way == "slow" else chance.uniform(0.001, 0.05)
            heapq.heappush(self.events, (self.time + delay, next(self.numbers), act))

    def at(self, node: Node, act: Callable[[], None]) -> Callable[[], None]:
        """Have a node do something when it runs, unless it was started anew meanwhile."""
        tenure = node.tenure

        def do() -> None:
            if node.tenure is not tenure:
                return
            if node.paused_until > self.time:
                node.late.append(do)
            else:
                act()

        return do

    # -- nodes -----------------------------------------------------------------------------------------------

    def boot(self, node: Node) -> None:
        node.tenure = Tenure(node.node_id, node.now(self.time))
        node.outstanding = None
        node.late.clear()
        node.paused_until = 0.0
        node.tenure.set_rivals({SET: other(node.node_id)})

    def send(self, node: Node, order: Renewal | Take) -> None:
        """Send a statement. It may reach the database long after the node has given it up."""
        node.outstanding, node.sent_at = order, self.time
        way = self.database[node.node_id]

        def reach() -> None:
            answer = self.row.apply(node.node_id, order, self.time)
            self.later(way, self.at(node, lambda: self.hear(node, order, answer)))

        if way != "refused":
            self.later("slow" if way == "slow" else way, reach)

    def hear(self, node: Node, order: Renewal | Take, answer: list[int] | int | None) -> None:
        if node.outstanding is not order:
            return
        node.outstanding = None
        if isinstance(order, Renewal):
            assert isinstance(answer, list)
            node.tenure.renewed(order, answer)
        else:
            assert not isinstance(answer, list)
            node.tenure.taken(order, answer)

    def give_up(self, node: Node) -> None:
        order, node.outstanding = node.outstanding, None
        if isinstance(order, Take):
            node.tenure.taken(order, None)
        node.tenure.failed()

    def ask(self, node: Node) -> None:
        peer = self.nodes[other(node.node_id)]
        for ask in node.tenure.asks(node.now(self.time)):
            self.later(self.bus, self.at(peer, lambda ask=ask: self.answer(peer, node, ask)))  # type: ignore[misc]

    def answer(self, peer: Node, node: Node, ask: AskHold) -> None:
        granted = peer.tenure.grant(ask.sets, peer.now(self.time))
        self.holds += bool(granted)
        act = self.at(node, lambda: node.tenure.held(ask, granted, node.now(self.time)))
        self.later(self.bus, act)

    def run(self, node: Node) -> None:
        """One step of a node that is not stopped."""
        late, node.late = node.late, []
        for act in late:
            act()
        if node.outstanding is not None:
            if self.time - node.sent_at > 1.0 or self.database[node.node_id] == "refused":
                self.give_up(node)
        elif self.chance.random() < 0.05 and (order := node.tenure.take(SET, node.now(self.time))):
            self.send(node, order)
        elif self.time >= node.renew_at:
            node.renew_at = self.time + 0.5
            self.send(node, node.tenure.renew(node.now(self.time)))
        if self.chance.random() < 0.1:
            self.ask(node)
        if self.chance.random() < 0.5:
            node.tenure.expire(node.now(self.time))
        if self.chance.random() < 0.0005:
            self.hand_back(node)

    def hand_back(self, node: Node) -> None:
        epoch = node.tenure.give(SET)
        if epoch is not None and (self.row.owner, self.row.epoch) == (node.node_id, epoch):
            self.row = Row(epoch=epoch)

    # -- time ------------------------------------------------------------------------------------------------

    def begin_phase(self) -> None:
        chance = self.chance
        self.phase_ends = self.time + chance.uniform(0.2, 5.0)
        ways = ["well", "well", "well", "slow", "cut", "refused"]
        self.database = {n: chance.choice(ways) for n in self.nodes}
        if chance.random() < 0.5:
            self.database[TWO] = self.database[ONE]
        self.bus = chance.choice(["well", "well", "slow", "cut"])
        for node in self.nodes.values():
            what = chance.random()
            if what < 0.1:
                node.paused_until = self.time + chance.uniform(0.1, 6.0)
            elif what < 0.15:
                self.boot(node)
            elif what < 0.3:  # it hears that high availability is on or off; the own node may always take
                is_on = chance.random() < 0.7 or node.node_id == TWO
                node.tenure.set_rivals({SET: other(node.node_id) if is_on else 0})

    def live(self, seconds: float) -> None:
        end = self.time + seconds
        while self.time < end:
            if self.time >= self.phase_ends:
                self.begin_phase()
            self.time += self.STEP
            while self.events and self.events[0][0] <= self.time:
                heapq.heappop(self.events)[2]()
                self.check()
            for node in self.nodes.values():
                if node.paused_until <= self.time:
                    self.run(node)
                    self.check()

    def check(self) -> None:
        serving = [n.node_id for n in self.nodes.values() if n.tenure.until(SET) > n.now(self.time)]
        assert len(serving) < 2, f"both serve at {self.time}"
        if serving and serving[0] != self.last_served:
            self.last_served = serving[0]
            self.changes += 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_no_set_is_served_twice(seed: int) -> None:
    world = World(random.Random(seed))
    world.live(400.0)
    assert world.changes > 3 and world.holds > 3  # else it has shown nothing


# -- the cases that the design names -------------------------------------------------------------------------


@dataclass
class Pair:
    """Both nodes serve their own sets and renew every half second; faults are switched on and off."""

    blind: set[int] = field(default_factory=set)
    dead: set[int] = field(default_factory=set)
    has_bus: bool = True
    time: float = 0.0
    steps: int = 0
    served: list[tuple[float, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = {ONE: Row(), TWO: Row()}
        self.nodes = {node_id: Tenure(node_id, -10.0) for node_id in (ONE, TWO)}
        for node_id, tenure in self.nodes.items():
            tenure.set_rivals({ONE: other(node_id), TWO: other(node_id)})
            self.take(node_id, node_id)

    def take(self, node_id: int, set_id: int) -> bool:
        tenure = self.nodes[node_id]
        order = tenure.take(set_id, self.time) if node_id not in self.blind else None
        if order is None:
            return False
        epoch = self.rows[set_id].apply(node_id, order, self.time)
        assert not isinstance(epoch, list)
        tenure.taken(order, epoch)
        return epoch is not None

    def run(self, seconds: float) -> None:
        """Let time pass in steps of an eighth of a second."""
        for _ in range(int(seconds * 8)):
            self.time += 0.125
            self.steps = step = self.steps + 1
            for node_id, tenure in self.nodes.items():
                if node_id in self.dead:
                    continue
                if step % 4 == node_id % 4:
                    self.renew(node_id)
                if step % 2:
                    self.ask(node_id)
                tenure.expire(self.time)
            self.served += [(self.time, n, s) for n in self.nodes for s in self.serves(n)]

    def serves(self, node_id: int) -> list[int]:
        tenure = self.nodes[node_id]
        return [set_id for set_id in (ONE, TWO) if tenure.until(set_id) > self.time]

    def renew(self, node_id: int) -> None:
        tenure = self.nodes[node_id]
        renewal = tenure.renew(self.time)
        if node_id in self.blind:
            tenure.failed()
            return
        kept = [
            row[0]
            for row in renewal.rows
            if self.rows[row[0]].apply(node_id, Renewal(self.time, (row,)), self.time)
        ]
        tenure.renewed(renewal, kept)

    def ask(self, node_id: int) -> None:
        tenure, peer = self.nodes[node_id], self.nodes[other(node_id)]
        if self.has_bus and other(node_id) not in self.dead:
            for ask in tenure.asks(self.time):
                tenure.held(ask, peer.grant(ask.sets, self.time), self.time)


def test_both_survive_an_outage_of_the_database() -> None:
    pair = Pair()
    pair.run(3)
    pair.blind = {ONE, TWO}
    pair.run(60)
    assert (pair.serves(ONE), pair.serves(TWO)) == ([ONE], [TWO])
    pair.blind = {TWO}  # the first sees the database again while the second's lease is long over
    pair.run(0.375)
    assert not pair.take(ONE, TWO), "it has promised not to"
    pair.blind = set()
    pair.run(3)
    assert (pair.serves(ONE), pair.serves(TWO)) == ([ONE], [TWO])
    assert {(node, served) for _, node, served in pair.served} == {(ONE, ONE), (TWO, TWO)}


def test_a_cut_cable_is_survived_by_who_has_the_database() -> None:
    pair = Pair()
    pair.run(3)
    cut = pair.time
    pair.blind = {ONE}
    while not pair.take(TWO, ONE):
        pair.run(0.125)
    assert LEASE - 0.5 <= pair.time - cut <= LEASE + 0.5
    assert (pair.serves(ONE), pair.serves(TWO)) == ([], [ONE, TWO])
    pair.blind = set()
    pair.run(3)
    assert (pair.serves(ONE), pair.serves(TWO)) == ([], [ONE, TWO])


def test_without_database_and_bus_nobody_serves() -> None:
    pair = Pair()
    pair.run(3)
    pair.blind, pair.has_bus = {ONE, TWO}, False
    pair.run(LEASE)
    assert (pair.serves(ONE), pair.serves(TWO)) == ([], [])


def test_the_bus_alone_is_not_missed() -> None:
    pair = Pair(has_bus=False)
    pair.run(10)
    assert (pair.serves(ONE), pair.serves(TWO)) == ([ONE], [TWO])


def test_a_dead_node_is_taken_over() -> None:
    pair = Pair()
    pair.run(3)
    pair.dead = {ONE}
    died = pair.time
    while not pair.take(TWO, ONE):
        pair.run(0.125)
    assert pair.time - died <= LEASE + 0.125


def test_a_restarted_node_waits_before_it_takes_what_another_node_had() -> None:
    row = Row(owner=TWO, epoch=7, expires=1.0, successor=ONE)
    tenure = Tenure(ONE, 10.0)
    order = tenure.take(SET, 10.1)
    assert order is not None
    tenure.taken(order, row.apply(ONE, order, 10.1))  # type: ignore[arg-type]
    assert tenure.serving() == {}
    order = tenure.take(SET, 10.0 + LEASE)
    assert order is not None
    tenure.taken(order, row.apply(ONE, order, 12.5))  # type: ignore[arg-type]
    assert tenure.serving() == {SET: 8}


def test_a_set_that_nobody_may_take_needs_no_lease() -> None:
    tenure, row = Tenure(ONE, 0.0), Row()
    order = tenure.take(SET, 0.0)
    assert order is not None
    tenure.taken(order, row.apply(ONE, order, 0.0))  # type: ignore[arg-type]
    assert tenure.deadline() == inf
    tenure.failed()
    assert tenure.expire(1000.0) == []
    tenure.set_rivals({SET: TWO})  # high availability is enabled: from the next renewal on it counts
    assert tenure.deadline() == inf
    tenure.renew(1000.0)
    assert tenure.deadline() == 1000.0 + LEASE - MARGIN
    assert [lost.reason for lost in tenure.expire(1003.0)] == ["neither lease nor hold"]


def test_rivals_are_named_once_the_row_is_known_to_name_them_alone() -> None:
    tenure = Tenure(ONE, 0.0)
    order = tenure.take(SET, 0.0)
    assert order is not None
    tenure.taken(order, 5)
    assert tenure.are_rivals_named()  # there are none
    tenure.set_rivals({SET: TWO})
    assert not tenure.are_rivals_named()
    renewal = tenure.renew(1.0)
    tenure.failed()  # it may have been written, or not
    assert not tenure.are_rivals_named()
    tenure.renewed(renewal, [SET])
    assert tenure.are_rivals_named()
    tenure.set_rivals({})
    assert not tenure.are_rivals_named()


def test_who_was_stopped_tells_until_when_it_served() -> None:
    tenure = Tenure(ONE, 0.0)
    tenure.set_rivals({SET: TWO})
    order = tenure.take(SET, 0.0)
    assert order is not None
    tenure.taken(order, 5)
    tenure.renewed(tenure.renew(10.0), [])  # it wakes up, and hears at once that the set is taken
    (lost,) = tenure.expire(10.1)
    assert (lost.until, lost.reason) == (LEASE - MARGIN, "another node has taken it")


def test_a_lease_that_another_node_has_ends_at_once() -> None:
    tenure = Tenure(ONE, 0.0)
    order = tenure.take(SET, 0.0)
    assert order is not None
    tenure.taken(order, 5)
    tenure.renewed(tenure.renew(1.0), [])
    assert tenure.deadline() == -inf
    assert [(lost.set_id, lost.epoch) for lost in tenure.expire(1.0)] == [(SET, 5)]
    assert tenure.deadline() == inf
    assert tenure.expire(1.0) == []
