"""Redundancy of a pair of nodes as one table, and the core that goes by it (facts: "State pairs").

Each node of a presence redundancy group runs one core. It hears its peer's heartbeats and decides who
*should* serve the two sets of people, and which state is shown. Who really serves a set is decided by its
lease in the database (design.md "Who serves, when things fail"): ``TakeOver`` succeeds only when the lease
is free, so two cores that misunderstand each other cost time, never a split.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

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

S, R, C = State, Reason, Cue

BACKUPS = frozenset({S.BACKUP, S.BACKUP_ACTIVATED})
FAILED_OVERS = frozenset({S.FAILED_OVER, S.FAILED_OVER_UNWELL})
ON_THE_WAY = frozenset({S.TAKING_OVER, S.FAILING_OVER, S.FALLING_BACK, S.TAKING_BACK})
UNSERVED = FAILED_OVERS | {S.IDLE, S.AFFECTED}
PAIRED = BACKUPS | UNSERVED | ON_THE_WAY | {S.NORMAL}


STEPS = 8
"""Transitions in one go; the table has no longer chains."""


class Took(Enum):
    """Reasons that are taken over."""

    OWN = "own"
    """The reason stays."""
    PEERS = "peer's"
    """The reason that the peer gives."""


@dataclass(frozen=True, slots=True)
class Row:
    """One transition: in one of ``states``, when every cue holds and the peer is heard in ``peer``."""

    states: frozenset[State]
    when: tuple[Cue, ...]
    to: State
    reason: Reason | Took
    peer: frozenset[State] = frozenset()
    """Empty: whatever the peer says, and also when it says nothing."""
    was: frozenset[State] = frozenset()
    """After a start: the state before it. Empty: any."""
    services: Services | None = None


def _row(
    states: State | Iterable[State],
    when: Cue | tuple[Cue, ...],
    to: State,
    reason: Reason | Took,
    *,
    peer: State | Iterable[State] = (),
    was: State | Iterable[State] = (),
    services: Services | None = None,
) -> Row:
    cues = (when,) if isinstance(when, Cue) else when
    return Row(_set(states), cues, to, reason, _set(peer), _set(was), services)


def _set(states: State | Iterable[State]) -> frozenset[State]:
    return frozenset({states} if isinstance(states, State) else states)


ROWS: tuple[Row, ...] = (
    # Faults, and pairs of which one failed
    _row(PAIRED | {S.INITIALIZING}, C.FAULT, S.FAILED, R.UNKNOWN),
    _row(PAIRED, (), S.FAILED, Took.PEERS, peer=S.FAILED),
    _row(S.FAILED, C.PEER_AT_A_LOSS, S.FAILED, R.UNKNOWN, peer=S.FAILED),
    _row(S.FAILED, C.RECOVERY, S.INITIALIZING, R.ADMIN, services=Services.RESTART),
    _row(S.FAILED, C.PEER_RECOVERS, S.INITIALIZING, R.ADMIN, services=Services.RESTART),
    # Start: on with what was before, as far as the leases allow it
    _row(S.INITIALIZING, C.START_FAILED, S.FAILED, R.START_FAILED),
    _row(S.INITIALIZING, (C.LEASES_KNOWN, C.NOT_RECOVERING), S.FAILED, R.UNKNOWN, peer=S.FAILED),
    _row(
        S.INITIALIZING,
        (C.LEASES_KNOWN, C.PEER_KNOWN),
        S.IDLE,
        R.INITIALIZATION,
        was=S.IDLE,
        services=Services.STOP,
    ),
    _row(
        S.INITIALIZING,
        (C.LEASES_KNOWN, C.PEER_KNOWN),
        S.TAKING_BACK,
        R.INITIALIZATION,
        was=S.TAKING_BACK,
        services=Services.START,
    ),
    _row(
        S.INITIALIZING,
        (C.OWN_TAKEN, C.PEER_KNOWN, C.NOT_RECOVERING, C.READY),
        S.FAILED_OVER,
        R.INITIALIZATION,
    ),
    _row(
        S.INITIALIZING,
        (C.OWN_TAKEN, C.PEER_KNOWN, C.NOT_RECOVERING, C.UNREADY),
        S.FAILED_OVER_UNWELL,
        R.INITIALIZATION,
    ),
    _row(S.INITIALIZING, C.PEERS_OPEN, S.BACKUP, R.INITIALIZATION, was=BACKUPS),
    _row(S.INITIALIZING, C.PEERS_OPEN, S.FALLING_BACK, R.INITIALIZATION, was=S.FALLING_BACK),
    _row(S.INITIALIZING, C.PEERS_OPEN, S.TAKING_OVER, R.INITIALIZATION, was=S.TAKING_OVER),
    _row(
        S.INITIALIZING,
        C.LEASES_KNOWN,
        S.TAKING_OVER,
        R.INITIALIZATION,
        was=S.TAKING_OVER,
        peer=S.FAILING_OVER,
    ),
    _row(S.INITIALIZING, (C.LEASES_KNOWN, C.READY), S.FAILED_OVER, R.INITIALIZATION, peer=BACKUPS),
    _row(S.INITIALIZING, (C.LEASES_KNOWN, C.UNREADY), S.FAILED_OVER_UNWELL, R.INITIALIZATION, peer=BACKUPS),
    _row(
        S.INITIALIZING,
        (C.OWN_OPEN, C.SETTLED),
        S.NORMAL,
        R.NORMAL,
        peer={S.INITIALIZING, S.NORMAL, S.FAILING_OVER, S.FALLING_BACK, S.TAKING_BACK} | UNSERVED,
    ),
    _row(S.INITIALIZING, (C.INITIAL_TIMEOUT, C.LEASES_KNOWN), S.UNKNOWN, R.UNKNOWN, peer=S.UNKNOWN),
    _row(S.INITIALIZING, (C.INITIAL_TIMEOUT, C.OWN_OPEN, C.SETTLED), S.NORMAL, R.NORMAL),
    _row(S.UNKNOWN, (), S.INITIALIZING, R.INITIALIZATION, peer=PAIRED | {S.INITIALIZING, S.FAILED}),
    # Normal: this node goes
    _row(
        S.NORMAL,
        (C.FAILOVER, C.PEER_READY),
        S.FAILING_OVER,
        R.ADMIN,
        peer=S.NORMAL,
        services=Services.STOP,
    ),
    _row(S.NORMAL, (C.BROKEN, C.PEER_READY), S.FAILING_OVER, R.SERVICE_DOWN, peer=S.NORMAL),
    _row(S.NORMAL, (C.BROKEN, C.PEER_BROKEN), S.FAILED, R.SERVICE_DOWN),
    _row(S.NORMAL, C.CUT_OFF, S.FAILED_OVER_UNWELL, R.DATABASE),
    _row(S.NORMAL, (C.OWN_TAKEN, C.READY), S.FAILED_OVER, R.PEER_DOWN),
    _row(S.NORMAL, (C.OWN_TAKEN, C.UNREADY), S.FAILED_OVER_UNWELL, R.PEER_DOWN),
    # Normal: the peer goes
    _row(S.NORMAL, C.READY, S.TAKING_OVER, Took.PEERS, peer=S.FAILING_OVER),
    _row(S.NORMAL, (C.READY, C.PEERS_FREE), S.TAKING_OVER, Took.PEERS, peer=UNSERVED),
    _row(S.NORMAL, (C.READY, C.PEERS_FREE, C.PEER_CUT_OFF), S.TAKING_OVER, R.DATABASE),
    _row(S.NORMAL, (C.READY, C.PEERS_FREE, C.LEFT), S.TAKING_OVER, R.PEER_REBOOT),
    _row(S.NORMAL, (C.READY, C.PEERS_FREE, C.SILENT, C.NEVER_HEARD), S.TAKING_OVER, R.PEER_ABSENT),
    _row(S.NORMAL, (C.READY, C.PEERS_FREE, C.SILENT), S.TAKING_OVER, R.PEER_DOWN),
    # On the way to the backup
    _row(S.TAKING_OVER, C.HAS_BOTH, S.BACKUP, Took.OWN),
    _row(S.TAKING_OVER, C.PEERS_KEPT, S.NORMAL, R.NORMAL, peer={S.NORMAL, S.INITIALIZING}),
    _row(S.TAKING_OVER, (C.PEERS_KEPT, C.SILENT, C.HAS_OWN), S.NORMAL, R.NORMAL),
    _row(S.TAKING_OVER, (C.OWN_TAKEN, C.READY), S.FAILED_OVER, R.PEER_DOWN),
    _row(S.TAKING_OVER, (C.OWN_TAKEN, C.UNREADY), S.FAILED_OVER_UNWELL, R.PEER_DOWN),
    _row(S.TAKING_OVER, C.OVERDUE, S.FAILED, R.TAKE_OVER_FAILED, peer=S.FAILING_OVER),
    _row(S.TAKING_OVER, (C.OVERDUE, C.PEERS_OPEN), S.FAILED, R.TAKE_OVER_FAILED),
    _row(S.TAKING_OVER, C.OVERDUE, S.NORMAL, R.NORMAL),
    _row(S.FAILING_OVER, C.BY_ADMIN, S.IDLE, Took.OWN, peer=BACKUPS),
    _row(S.FAILING_OVER, C.READY, S.FAILED_OVER, Took.OWN, peer=BACKUPS),
    _row(S.FAILING_OVER, C.UNREADY, S.FAILED_OVER_UNWELL, Took.OWN, peer=BACKUPS),
    _row(S.FAILING_OVER, (C.SILENT, C.OWN_TAKEN, C.BY_ADMIN), S.IDLE, Took.OWN),
    _row(S.FAILING_OVER, (C.SILENT, C.OWN_TAKEN), S.FAILED_OVER_UNWELL, Took.OWN),
    _row(S.FAILING_OVER, (C.SILENT, C.OWN_OPEN), S.TAKING_BACK, R.PEER_DOWN, services=Services.START),
    _row(S.FAILING_OVER, C.OVERDUE, S.TAKING_BACK, Took.OWN, peer=S.NORMAL, services=Services.START),
    # The backup
    _row(BACKUPS, (C.BROKEN, C.PEER_READY), S.AFFECTED, R.RECOVERED_SERVICE, peer=S.FAILED_OVER),
    _row(BACKUPS, (C.CUT_OFF, C.PEER_READY), S.AFFECTED, R.RECOVERED_DATABASE, peer=S.FAILED_OVER),
    _row(BACKUPS, C.BROKEN, S.FAILED, R.SERVICE_DOWN),
    _row(BACKUPS, (C.OWN_TAKEN, C.READY), S.FAILED_OVER, R.PEER_DOWN),
    _row(BACKUPS, (C.OWN_TAKEN, C.UNREADY), S.FAILED_OVER_UNWELL, R.PEER_DOWN),
    _row(BACKUPS, C.PEERS_KEPT, S.NORMAL, R.NORMAL),
    _row(BACKUPS, (), S.FALLING_BACK, Took.PEERS, peer=S.TAKING_BACK),
    _row(
        BACKUPS,
        (C.FALLBACK_DUE, C.RETURNABLE, C.PEER_READY),
        S.FALLING_BACK,
        R.AUTOMATIC_FALLBACK,
        peer=S.FAILED_OVER,
    ),
    # Failed over
    _row(
        {S.IDLE, S.FAILED_OVER},
        C.FALLBACK,
        S.TAKING_BACK,
        R.ADMIN,
        peer=BACKUPS,
        services=Services.START,
    ),
    _row(
        {S.IDLE, S.FAILED_OVER},
        (C.FALLBACK, C.OWN_OPEN),
        S.TAKING_BACK,
        R.ADMIN,
        services=Services.START,
    ),
    _row(S.FAILED_OVER, (), S.TAKING_BACK, Took.PEERS, peer=S.FALLING_BACK, services=Services.START),
    _row(S.FAILED_OVER, (C.OWN_OPEN, C.PEERS_OPEN), S.BACKUP_ACTIVATED, Took.PEERS, peer=S.AFFECTED),
    _row(S.FAILED_OVER, (C.READY, C.OWN_OPEN, C.PEERS_OPEN, C.SILENT), S.TAKING_OVER, R.PEER_DOWN),
    _row(
        S.FAILED_OVER,
        (C.READY, C.OWN_OPEN),
        S.NORMAL,
        R.NORMAL,
        peer={S.NORMAL, S.IDLE} | FAILED_OVERS,
    ),
    _row(S.FAILED_OVER, C.NO_DATABASE, S.FAILED_OVER_UNWELL, R.DATABASE),
    _row(S.FAILED_OVER, C.SERVICE_DOWN, S.FAILED_OVER_UNWELL, R.SERVICE_DOWN),
    _row({S.FAILED_OVER_UNWELL, S.AFFECTED}, C.READY, S.FAILED_OVER, Took.OWN),
    # On the way back
    _row(S.TAKING_BACK, C.START_FAILED, S.FAILED, R.START_FAILED),
    _row(S.TAKING_BACK, C.HAS_OWN, S.NORMAL, R.NORMAL),
    _row(S.TAKING_BACK, (C.OVERDUE, C.SILENT, C.OWN_TAKEN), S.FAILED_OVER, R.PEER_DOWN),
    _row(S.TAKING_BACK, C.OVERDUE, S.FAILED, R.TAKE_BACK_FAILED),
    _row(S.FALLING_BACK, (), S.NORMAL, R.NORMAL, peer=S.NORMAL),
    _row(S.FALLING_BACK, C.PEERS_KEPT, S.NORMAL, R.NORMAL),
    _row(S.FALLING_BACK, C.SILENT, S.BACKUP, R.PEER_DOWN),
    _row(S.FALLING_BACK, (), S.BACKUP, Took.PEERS, peer={S.IDLE, S.FAILED_OVER_UNWELL}),
    _row(S.FALLING_BACK, C.OVERDUE, S.FAILED, R.TAKE_BACK_FAILED),
)
"""Every transition. The first row that fits is taken, then the table is read again."""


class Aim(Enum):
    """What a state wants with a set."""

    TAKE = "serve it as soon as its lease is open"
    TAKE_WHEN_READY = "the same, once the critical services run"
    GIVE = "serve it no more"
    GIVE_TO_READY = "give it once the peer is ready for it"
    KEEP = "leave it where it is"
    GIVE_TO_RECOVER = "give it if this start is a recovery"


AIMS: dict[State, tuple[Aim, Aim]] = {
    S.INITIALIZING: (Aim.KEEP, Aim.GIVE_TO_RECOVER),
    S.UNKNOWN: (Aim.TAKE, Aim.GIVE),
    S.NORMAL: (Aim.TAKE, Aim.GIVE),
    S.FAILING_OVER: (Aim.GIVE, Aim.GIVE),
    S.TAKING_OVER: (Aim.TAKE, Aim.TAKE),
    S.BACKUP: (Aim.TAKE, Aim.TAKE),
    S.BACKUP_ACTIVATED: (Aim.TAKE, Aim.TAKE),
    S.IDLE: (Aim.GIVE, Aim.GIVE),
    S.FAILED_OVER: (Aim.GIVE, Aim.GIVE),
    S.FAILED_OVER_UNWELL: (Aim.GIVE, Aim.GIVE),
    S.AFFECTED: (Aim.GIVE, Aim.GIVE),
    S.TAKING_BACK: (Aim.TAKE_WHEN_READY, Aim.GIVE),
    S.FALLING_BACK: (Aim.TAKE, Aim.GIVE_TO_READY),
    S.FAILED: (Aim.TAKE_WHEN_READY, Aim.KEEP),
}
"""For each state: what is done with the own set, and with the peer's."""

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
        cue = {Request.FAILOVER: C.FAILOVER, Request.FALLBACK: C.FALLBACK, Request.RECOVER: C.RECOVERY}
        fits = any(cue[request] in row.when and _fits(row, asked, now) for row in ROWS)
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
        orders: list[Order] = []
        for _ in range(STEPS):
            row = next((row for row in ROWS if _fits(row, self.facts, now)), None)
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
        moments += [facts.started + limits.heartbeat_timeout, *self._retry_at.values()]
        if facts.heard_at is not None:
            moments.append(facts.heard_at + limits.heartbeat_timeout)
        if facts.down_since is not None:
            moments.append(facts.down_since + limits.critical_delay)
        if not facts.has_database:
            moments.append(facts.cut_since + limits.heartbeat_timeout)
        if facts.peer_cut_since is not None:
            moments.append(facts.peer_cut_since + limits.heartbeat_timeout)
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
            facts.overdue_from = now  # a transition waits for its database
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
