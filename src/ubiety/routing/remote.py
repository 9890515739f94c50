"""Stanzas for people whom another node serves: the way there, the verdict back, and what if none comes.

A durable message gets a token; the other node's verdict settles it (design.md §5). One without a verdict
for 3 s is written by this node, the sender's home, and the recipient's home is told (design.md §2 "Between
nodes"). Everything else travels without a token: what the other node refuses it answers with an error itself.

Order: see ``lanes.Lane``. What arrives from other nodes is ``arrivals``'s business, writing ``rescue``'s.
"""

from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from typing import Any

from ubiety.clock import Clock
from ubiety.conditions import StanzaError
from ubiety.routing.delivery import is_durable
from ubiety.routing.homes import Homes, Person
from ubiety.routing.lanes import Lane, Waiting
from ubiety.routing.links import Item, Kind, LinkEvent, Links
from ubiety.routing.packing import pack_stanza
from ubiety.routing.remote_home import FIRST, NOT_HOME, PROMISED, Home, RemoteOrigin
from ubiety.routing.rescue import Rescue
from ubiety.routing.verdict import DELIVERED, Pending, Refused, Settled, Verdict, refuse
from ubiety.stanza import Stanza
from ubiety.store.database import Database
from ubiety.telemetry import Counters, event

WAIT_SECONDS = 3.0
"""After so long without a verdict a message is written here."""
LOOK_SECONDS = 0.25
BOUND_BYTES = 64 * 1024 * 1024
"""What may wait for verdicts; beyond it messages are refused."""

_SHEDDABLE = frozenset({None, "unavailable", "probe"})


class RemoteNodes:
    """What this node has sent to other nodes' people and has no verdict of."""

    def __init__(
        self,
        homes: Homes,
        links: Links,
        database: Database,
        clock: Clock,
        counters: Counters,
        home: Home,
        call_later: Callable[[float, Callable[[], None]], object],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        bound_bytes: int = BOUND_BYTES,
    ) -> None:
        self.homes = homes
        self.links = links
        self.home = home
        self.lanes: dict[int, Lane] = {}
        """By the address id of the recipient."""
        self.waiting_bytes = 0
        self.bound_bytes = bound_bytes
        self.counters = counters
        self._clock = clock
        self._call_later = call_later
        self._is_armed = False
        self._waiting: dict[int, Waiting] = {}
        self._stuck: dict[int, Lane] = {}
        self._told: dict[int, Lane] = {}
        self._tokens = count(int(clock.now() * 1_000_000)).__next__
        self._rescue = Rescue(self, database, spawn, clock)
        links.handle(Kind.VERDICT, self._take_verdict)
        links.watch(self._link_changed)
        links.watch_lost(self._lost)

    # -- messages go ---------------------------------------------------------------------------

    def send(
        self, person: Person, stanza: Stanza, sender_id: int, promised: bool, hold: bool = False
    ) -> Verdict:
        """Send a stanza to a person whom another node serves, or behind what waits for that person.

        ``hold``: not at once: it is not sure who serves the person.
        """
        if stanza.kind != "message" or not is_durable(stanza):
            return self._pass_on(person, stanza, sender_id)
        if self.waiting_bytes >= self.bound_bytes:
            return refuse("resource-constraint", "Too much waits for other nodes. Try again later.")
        lane = self.lanes.get(person.address_id)
        if lane is None:
            lane = self.lanes[person.address_id] = Lane(person)
        clock = self._clock
        token = self._tokens()
        waiting = Waiting(token, lane, stanza, sender_id, promised, clock.monotonic(), clock.now())
        lane.items[token] = self._waiting[token] = waiting
        self.waiting_bytes += waiting.size
        if not self._is_armed:
            self._arm()
        node = self.homes.node_of(person)
        if hold or lane.is_stalled or (lane.sent and lane.node != node):
            self._stall(lane)
        elif node is None or node == self.homes.node_id or not self.links.is_up(node):
            self._stall(lane)
            self.go_on(lane)
        else:
            self._transmit(waiting, node)
        return waiting.pending

    def _transmit(self, waiting: Waiting, node: int) -> None:
        lane = waiting.lane
        flags = (PROMISED if waiting.promised else 0) | (0 if lane.sent else FIRST)
        lane.node = waiting.node = node
        lane.sent += 1
        packed = pack_stanza(waiting.stanza)
        self.links.send(node, (Kind.STANZA, waiting.token, flags, waiting.sender_id, packed))

    def _pass_on(self, person: Person, stanza: Stanza, sender_id: int) -> Verdict:
        """Send what nobody is promised; it waits for nothing."""
        node = self.homes.node_of(person)
        is_presence = stanza.kind == "presence"
        if node is None or not (is_presence or self.links.is_up(node)):
            if stanza.kind == "iq" and stanza.type in ("get", "set"):
                return refuse("recipient-unavailable", "The server of this person cannot be reached now.")
            return DELIVERED
        item = (Kind.STANZA, 0, 0, sender_id, pack_stanza(stanza))
        self.links.send(node, item, sheddable=is_presence and stanza.type in _SHEDDABLE)
        return DELIVERED

    # -- what is held ----------------------------------------------------------------------------

    def _stall(self, lane: Lane) -> None:
        lane.is_stalled = True
        self._stuck[lane.person.address_id] = lane
        if not self._is_armed:
            self._arm()

    def node_of(self, lane: Lane) -> int | None:
        """Return the node that serves a lane's recipient, who may have moved to another set."""
        lane.person = self.homes.at(lane.person.address_id) or lane.person
        return self.homes.node_of(lane.person)

    def go_on(self, lane: Lane, again: bool = False) -> None:
        """Send what a lane holds, if order allows it and somebody is known to take it.

        ``again``: also to the node that turned it away the last time.
        """
        node = self.node_of(lane)
        if lane.is_locked or not lane.is_in_line(node):
            return
        is_here = node == self.homes.node_id
        if node is None or not (is_here or self.links.is_up(node)):
            self._clear_up(lane)
        elif node == lane.turned_away_by and not again:
            return
        elif lane.stored:
            self._tell(lane, node)
        elif any(waiting.is_again for waiting in lane.items.values()):
            self._rescue.look_up(lane)
        else:
            self._release(lane, node)

    def _release(self, lane: Lane, node: int) -> None:
        """Let everything go that a lane holds."""
        lane.is_stalled, lane.turned_away_by = False, 0
        self._stuck.pop(lane.person.address_id, None)
        for waiting in [waiting for waiting in lane.items.values() if not waiting.node]:
            if node != self.homes.node_id:
                self._transmit(waiting, node)
            elif waiting.token in lane.items:  # handing in one may have sent another
                self._hand_in(waiting)
        self._clear_up(lane)

    def _hand_in(self, waiting: Waiting) -> None:
        """The recipient is served here by now."""
        self._remove(waiting)
        origin = RemoteOrigin(waiting.sender_id, waiting.promised)
        verdict = self.home.take(waiting.lane.person, waiting.stanza, origin)
        if isinstance(verdict, Pending):
            verdict.then(waiting.pending.settle)
        else:
            waiting.pending.settle(verdict)

    def _clear_up(self, lane: Lane) -> None:
        if lane.is_empty():
            address_id = lane.person.address_id
            self._stuck.pop(address_id, None)
            if self.lanes.get(address_id) is lane:
                del self.lanes[address_id]

    def unlock(self, lane: Lane) -> None:
        """The database has answered."""
        lane.is_locked = False
        self._stall(lane)
        self.go_on(lane)
        self._clear_up(lane)

    # -- verdicts --------------------------------------------------------------------------------

    def _take_verdict(self, node: int, item: Item) -> None:
        _, token, condition, type_, text = item
        waiting = self._waiting.get(token)
        if waiting is None:
            if token in self._told:
                self._heard(node, token, condition)
            return
        if condition == NOT_HOME:
            self._turned_away(waiting, node)
        elif not condition:
            self.settle(waiting, DELIVERED)
        elif waiting.node == node:  # an old home may refuse what its successor takes
            self.settle(waiting, Refused(StanzaError(condition, text, type_)))

    def _turned_away(self, waiting: Waiting, node: int) -> None:
        lane = waiting.lane
        if waiting.node != node:
            return
        lane.take_back(waiting, is_again=False)
        lane.turned_away_by = node
        self._stall(lane)
        self.go_on(lane)

    def settle(self, waiting: Waiting, verdict: Settled) -> None:
        """Give a message its verdict and let the next one go."""
        lane = waiting.lane
        self._remove(waiting)
        if waiting.doubts and not lane.is_locked:
            # It reached its home, and yet a row may have been written here: the home has it deleted.
            lane.stored[waiting.token] = waiting.doubts[-1]
            self._stall(lane)
        if lane.is_stalled:
            self.go_on(lane)
        if not lane.items:
            self._clear_up(lane)
        waiting.pending.settle(verdict)

    def _remove(self, waiting: Waiting) -> None:
        lane = waiting.lane
        del self._waiting[waiting.token], lane.items[waiting.token]
        self.waiting_bytes -= waiting.size
        if waiting.node:
            lane.sent -= 1
            if not lane.sent:
                lane.node = 0

    def is_waiting(self, waiting: Waiting) -> bool:
        """Tell whether a message has no verdict yet."""
        return waiting.token in self._waiting

    # -- telling a home of rows that were written here ---------------------------------------------

    def _tell(self, lane: Lane, node: int) -> None:
        """Tell the home of a recipient which rows there are, before anything newer."""
        if lane.telling:
            return
        if lane.grant is None or lane.grant[0] != node:
            self._rescue.draw(lane, node)
            return
        token = self._tokens()
        lane.told = list(lane.stored)
        numbers = list(lane.stored.values())
        if node == self.homes.node_id:
            self.home.go_on_in(lane.grant[1])
            self.home.rows_stored(lane.person, [number for number in numbers if number])
            self._settle_telling(lane)
            return
        lane.telling, lane.node, lane.told_at = token, node, self._clock.monotonic()
        self._told[token] = lane
        self.links.send(node, (Kind.STORED, token, lane.person.address_id, lane.grant[1], numbers, lane.told))

    def _heard(self, node: int, token: int, condition: str) -> None:
        lane = self._told.pop(token)
        if condition == NOT_HOME:
            lane.telling, lane.node, lane.turned_away_by = 0, 0, node
            return
        self._settle_telling(lane)

    def _settle_telling(self, lane: Lane) -> None:
        for token in lane.told:
            lane.stored.pop(token, None)
        lane.telling, lane.node, lane.told, lane.grant = 0, 0, [], None
        self.go_on(lane)
        self._clear_up(lane)

    def _tell_anew(self, lane: Lane) -> None:
        if lane.telling:
            self._told.pop(lane.telling, None)
            lane.telling, lane.node = 0, 0

    # -- what happens around ---------------------------------------------------------------------

    def serving_changed(self, set_id: int) -> None:
        """Another node, or this one, serves a set now: send it what waits for its people."""
        for lane in [lane for lane in self.lanes.values() if lane.person.set_id == set_id]:
            self._leave(lane)
            self.go_on(lane, again=True)

    def _leave(self, lane: Lane) -> None:
        """Take back from a node that serves the recipient no more, if nothing will be heard from it."""
        if lane.node and lane.node != self.node_of(lane):
            if lane.telling:
                self._tell_anew(lane)
            elif not self.links.is_up(lane.node):
                lane.take_all_back()
                self._stall(lane)

    def _link_changed(self, node: int, change: LinkEvent) -> None:
        if change is LinkEvent.UP:
            for lane in list(self._stuck.values()):
                self.go_on(lane, again=True)
            return
        if change is LinkEvent.GAP:
            return  # presence alone: what else was lost is told
        for lane in [lane for lane in self.lanes.values() if lane.node == node]:
            if change is LinkEvent.DOWN:
                self._leave(lane)
            elif lane.telling:
                self._tell_anew(lane)
            else:
                lane.take_all_back()
            self._stall(lane)
            self.go_on(lane)

    def _lost(self, node: int, items: Sequence[Item]) -> None:
        """The link gave items up; whether they arrived nobody knows."""
        lanes: dict[int, Lane] = {}
        for item in items:
            waiting = self._waiting.get(item[1]) if item[0] == Kind.STANZA else None
            lane = self._told.get(item[1]) if item[0] == Kind.STORED else None
            if waiting is not None and waiting.node == node:
                lane = waiting.lane
                lane.take_back(waiting, is_again=True)
            elif lane is not None:
                self._tell_anew(lane)
            if lane is not None:
                lanes[lane.person.address_id] = lane
                self._stall(lane)
        for lane in lanes.values():
            self.go_on(lane)

    def _arm(self) -> None:
        self._is_armed = True
        self._call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._is_armed = False
        self.look()
        self.counters.verdict_bytes = self.waiting_bytes
        if self._waiting or self._stuck:
            self._arm()

    def look(self) -> None:
        """Try again what is held; write what had no verdict for too long."""
        before = self._clock.monotonic() - WAIT_SECONDS
        for lane in [lane for lane in self.lanes.values() if lane.node]:
            self._leave(lane)
        for lane in list(self._stuck.values()):
            if lane.telling and lane.told_at <= before and self.links.is_up(lane.node):
                self._tell_anew(lane)  # the answer was given up on its way: the home hears it once more
            self.go_on(lane, again=True)
        late = self._late(before)
        if late:
            self._rescue.store(late)

    def _late(self, before: float) -> list[Lane]:
        if self._rescue.is_busy:
            return []
        late: dict[int, Lane] = {}
        for waiting in self._waiting.values():
            if waiting.since > before:
                break
            if not waiting.lane.is_locked:
                late[waiting.lane.person.address_id] = waiting.lane
        return list(late.values())

    async def drain(self) -> None:
        """Write everything that waits, however young: this node is about to stop."""
        if self.lanes:
            event("messages_drained", count=len(self._waiting))
            await self._rescue.store_all([lane for lane in self.lanes.values() if lane.items])
