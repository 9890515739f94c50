"""The core that decides which node of a pair should serve whom; it goes by ``cluster/transitions.py``.

Each node of a presence redundancy group runs one core. It hears its peer's heartbeats and decides who
*should* serve the two sets of people, and which state is shown. Who really serves a set is decided by its
lease in the database (design.md "Who serves, when things fail"): ``TakeOver`` succeeds only when the lease
is free, so two cores that misunderstand each other cost time, never a split.
"""

from dataclasses import replace

from ubiety.cluster.cues import HOLDS, Cue, Facts
from ubiety.cluster.states import (
    Announce,
    Broken,
    Configured,
    HandedOver,
    HandOver,
    HealthSeen,
    Heartbeat,
    Holder,
    Input,
    LeasesSeen,
    NotTaken,
    Order,
    Reason,
    Request,
    Requested,
    Services,
    ServicesSettled,
    ServingSeen,
    State,
    Taken,
    TakeOver,
)
from ubiety.cluster.transitions import AIMS, ROWS, Aim, Row, Took

STEPS = 8
"""Transitions in one go; the table has no longer chains."""

FROM = {state: tuple(row for row in ROWS if state in row.states) for state in State}
"""The transitions out of each state, in their order."""

CUES = {Request.FAILOVER: Cue.FAILOVER, Request.FALLBACK: Cue.FALLBACK, Request.RECOVER: Cue.RECOVERY}
REFUSALS: dict[Request, str] = {
    Request.FAILOVER: "Fail-over needs both nodes in the state Normal, and the peer's services running.",
    Request.FALLBACK: "Fall-back starts from Idle or Failed Over; see that the critical services run.",
    Request.RECOVER: "Recovery starts from the state Failed.",
}


class Redundancy:
    """The core of one node of a pair; pure. Feed it with ``receive`` and ``tick``, carry its orders out."""

    def __init__(self, own: int, peers: int, boot: str, was: State, now: float) -> None:
        """``was``: the state that was written down before this start."""
        self.facts = Facts(own, peers, was, now)
        self._boot = boot
        self._looked_at = now
        self._busy: set[int] = set()
        self._retry_at: dict[int, float] = {}
        self._told: Heartbeat | None = None
        self._enter(State.INITIALIZING, Reason.INITIALIZATION, now)

    @property
    def state(self) -> State:
        """The state of this node."""
        return self.facts.state

    @property
    def reason(self) -> Reason:
        """Why it is in it."""
        return self.facts.reason

    def refusal(self, request: Request, now: float) -> str:
        """Return why a request cannot be done now; empty when it can."""
        asked = replace(self.facts, request=request)
        fits = any(CUES[request] in row.when and _fits(row, asked, now) for row in ROWS)
        return "" if fits else REFUSALS[request]

    def heartbeat(self, now: float, is_leaving: bool = False) -> Heartbeat:
        """Return what the peer is to be told."""
        facts = self.facts
        return Heartbeat(
            facts.state,
            facts.reason,
            facts.is_ready,
            facts.is_down_too_long(now),
            facts.has_database,
            self._boot,
            is_leaving,
        )

    def receive(self, given: Input, now: float) -> list[Order]:
        """Take one input and return what is to be done."""
        match given:
            case Configured():
                self._configure(given, now)
            case Heartbeat():
                self._hear(given, now)
            case HealthSeen(down_since, has_database):
                self._note_health(down_since, has_database, now)
            case LeasesSeen(own, peers):
                self.facts.leases = (own, peers)
            case ServingSeen(sets):
                self.facts.serving = sets
            case Taken(set_id):
                self._busy.discard(set_id)
                self.facts.serving |= {set_id}
            case NotTaken(set_id):
                self._busy.discard(set_id)
                self._retry_at[set_id] = now + self.facts.limits.retry
            case HandedOver(set_id):
                self._busy.discard(set_id)
                self._retry_at[set_id] = now + self.facts.limits.retry
            case ServicesSettled(failed):
                self.facts.settling = False
                self.facts.not_started = failed
            case Requested(request):
                self.facts.request = request
            case Broken():
                self.facts.is_broken = True
        return self.tick(now)

    def tick(self, now: float) -> list[Order]:
        """Let time pass and return what is to be done."""
        if now - self._looked_at > self.facts.limits.heartbeat_timeout / 2:
            self.facts.awake_since = now
        self._looked_at = now
        orders: list[Order] = []
        for _ in range(STEPS):
            row = next((row for row in FROM[self.facts.state] if _fits(row, self.facts, now)), None)
            if row is None:
                break
            self._go(row, now)
            if row.services is not None:
                self.facts.settling = True
                orders.append(row.services)
        self.facts.request, self.facts.is_broken, self.facts.not_started = None, False, ()
        if self.facts.state is State.IDLE and self.facts.down_since is None and not self.facts.settling:
            self.facts.settling = True  # they were started since
            orders.append(Services.STOP)
        orders += self._aim(now)
        said = self.heartbeat(now)
        if said != self._told:
            self._told = said
            orders.append(Announce(said))
        return orders

    def deadline(self, now: float) -> float | None:
        """Return when something may be due without an input."""
        facts, limits = self.facts, self.facts.limits
        moments = [facts.since + limits.initial_timeout, facts.overdue_from + limits.transition]
        moments += [facts.started + limits.heartbeat_timeout, facts.since + limits.heartbeat_timeout]
        moments += self._retry_at.values()
        if facts.heard_at is not None:
            moments.append(facts.heard_at + limits.heartbeat_timeout)
        if facts.down_since is not None:
            moments.append(facts.down_since + limits.critical_delay)
        if not facts.has_database:
            moments.append(facts.cut_since + limits.heartbeat_timeout)
        if facts.peer_cut_since is not None:
            moments.append(max(facts.peer_cut_since, facts.found_since) + limits.heartbeat_timeout)
        if limits.fallback_after is not None:
            moments.append(max(facts.since, facts.peer_since) + limits.fallback_after)
        return min((moment for moment in moments if moment > now), default=None)

    # -- facts -----------------------------------------------------------------------------------

    def _configure(self, given: Configured, now: float) -> None:
        facts = self.facts
        facts.limits = given.limits
        was_enabled, facts.is_enabled = facts.is_enabled, given.is_enabled
        if not given.is_enabled:
            facts.was = State.UNKNOWN
            if facts.reason is not Reason.NOT_ENABLED:
                self._enter(State.UNKNOWN, Reason.NOT_ENABLED, now)
        elif not was_enabled and facts.state is State.UNKNOWN:
            self._enter(State.INITIALIZING, Reason.INITIALIZATION, now)

    def _hear(self, peer: Heartbeat, now: float) -> None:
        facts = self.facts
        before = facts.peer
        if before is None or before.state is not peer.state or not facts.is_peer_heard(now):
            facts.peer_since = now
        facts.peer, facts.heard_at = peer, now
        if peer.has_database or peer.state is State.INITIALIZING:
            facts.peer_cut_since = None
        elif facts.peer_cut_since is None:
            facts.peer_cut_since = now

    def _note_health(self, down_since: float | None, has_database: bool, now: float) -> None:
        facts = self.facts
        if has_database and not facts.has_database:
            facts.overdue_from = facts.found_since = now  # a transition waits for its database
        if not has_database:
            facts.leases = None
            if facts.has_database:
                facts.cut_since = now
        facts.down_since, facts.has_database = down_since, has_database

    # -- transitions -----------------------------------------------------------------------------

    def _go(self, row: Row, now: float) -> None:
        facts = self.facts
        if row.reason is Took.PEERS and facts.peer is not None:
            reason = facts.peer.reason
        else:
            reason = facts.reason if isinstance(row.reason, Took) else row.reason
        self._enter(row.to, reason, now)

    def _enter(self, state: State, reason: Reason, now: float) -> None:
        facts = self.facts
        if state is State.INITIALIZING and facts.state is not State.UNKNOWN:
            facts.was = State.NORMAL
        facts.state, facts.reason, facts.since, facts.overdue_from = state, reason, now, now
        facts.request, facts.is_broken, facts.not_started = None, False, ()

    def _aim(self, now: float) -> list[Order]:
        own, peers = AIMS[self.facts.state]
        return self._pursue(own, self.facts.own, 0, now) + self._pursue(peers, self.facts.peers, 1, now)

    def _pursue(self, aim: Aim, set_id: int, index: int, now: float) -> list[Order]:
        facts = self.facts
        if set_id in self._busy or now < self._retry_at.get(set_id, now):
            return []
        is_served = set_id in facts.serving
        if aim in (Aim.TAKE, Aim.TAKE_WHEN_READY):
            is_open = facts.holder(index) in (Holder.FREE, Holder.OURS)
            if is_served or not is_open or not facts.has_database:
                return []
            if aim is Aim.TAKE_WHEN_READY and not facts.is_ready:
                return []
            self._busy.add(set_id)
            return [TakeOver(set_id)]
        if not is_served or aim is Aim.KEEP:
            return []
        if aim is Aim.GIVE_TO_READY and not self._is_awaited(now):
            return []
        if aim is Aim.GIVE_TO_RECOVER and facts.reason is not Reason.ADMIN:
            return []
        self._busy.add(set_id)
        return [HandOver(set_id)]

    def _is_awaited(self, now: float) -> bool:
        peer = self.facts.peer
        is_back = peer is not None and peer.state is State.TAKING_BACK and peer.is_ready
        return is_back and self.facts.is_peer_heard(now)


def _fits(row: Row, facts: Facts, now: float) -> bool:
    if not facts.is_enabled or facts.state not in row.states or (row.was and facts.was not in row.was):
        return False
    if row.peer:
        heard = facts.peer if facts.is_peer_heard(now) else None
        if heard is None or heard.state not in row.peer:
            return False
    return all(HOLDS[cue](facts, now) for cue in row.when)
