"""What a node of a redundancy group knows, and the conditions that its table of transitions names."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from ubiety.cluster.states import Heartbeat, Holder, Limits, Reason, Request, State


@dataclass(slots=True)
class Facts:
    """Everything that one node of a pair knows. Times are monotonic."""

    own: int
    peers: int
    """The set of this node, and that of its peer (a set has the id of its node)."""
    was: State
    """The state before this start, as it was written down."""
    started: float
    awake_since: float = 0.0
    """Since when this node looks around without a pause: what it missed before may be its own fault."""
    is_enabled: bool = False
    limits: Limits = field(default_factory=Limits)
    state: State = State.UNKNOWN
    reason: Reason = Reason.NOT_ENABLED
    since: float = 0.0
    down_since: float | None = None
    has_database: bool = False
    cut_since: float = 0.0
    """Since when the database does not answer."""
    found_since: float = 0.0
    """Since when it does."""
    leases: tuple[Holder, Holder] | None = None
    """Of the own and of the peer's set; None: not known."""
    serving: frozenset[int] = frozenset()
    peer: Heartbeat | None = None
    heard_at: float | None = None
    peer_since: float = 0.0
    """Since when the peer has been heard in its state without a gap."""
    peer_cut_since: float | None = None
    """Since when the peer says that it does not reach the database."""
    request: Request | None = None
    not_started: tuple[str, ...] = ()
    settling: bool = False
    """Something was ordered of the services and is not done."""
    is_broken: bool = False
    overdue_from: float = 0.0
    """From when on the time of a transition counts."""

    @property
    def is_ready(self) -> bool:
        """Whether people can be served here."""
        return self.down_since is None and self.has_database

    def is_down_too_long(self, now: float) -> bool:
        """Whether a critical service has been down for longer than the delay."""
        return self.down_since is not None and now - self.down_since >= self.limits.critical_delay

    def is_peer_heard(self, now: float) -> bool:
        """Whether the peer is there."""
        if self.peer is None or self.heard_at is None or self.peer.is_leaving:
            return False
        return now - self.heard_at < self.limits.heartbeat_timeout

    def holder(self, index: int) -> Holder | None:
        """Who holds the lease of the own set (0) or of the peer's (1); a set served here is ours."""
        if (self.own, self.peers)[index] in self.serving:
            return Holder.OURS
        return None if self.leases is None else self.leases[index]


RETURNABLE = frozenset(
    {Reason.SERVICE_DOWN, Reason.PEER_REBOOT, Reason.PEER_DOWN, Reason.PEER_ABSENT, Reason.INITIALIZATION}
)
"""After a fail-over for any other reason an administrator has people return."""


class Cue(Enum):
    """The conditions; the value says them in words."""

    FAILOVER = "an administrator asks for fail-over"
    FALLBACK = "an administrator asks for fall-back"
    RECOVERY = "an administrator asks for recovery"
    FAULT = "an internal error"
    BY_ADMIN = "it happens on request of an administrator"

    READY = "critical services run, the database answers"
    UNREADY = "a critical service is down, or the database"
    BROKEN = "a critical service has been down for longer than the delay"
    SERVICE_DOWN = "a critical service is down"
    NO_DATABASE = (
        "the database has not answered for the time-out, and not because it is away for the peer, too"
    )
    CUT_OFF = "the database does not answer, and the own lease has run out"
    START_FAILED = "a critical service did not start"
    SETTLED = "the services are done with what was ordered"
    HAS_OWN = "the own people are served here"
    HAS_BOTH = "everybody is served here"
    SETTLED_IN = "the state has lasted for the time-out: the leases were not read before it"

    LEASES_KNOWN = "the leases have been read"
    OWN_TAKEN = "the peer holds the own lease"
    OWN_OPEN = "the peer does not hold the own lease"
    PEERS_OPEN = "the peer does not hold its lease"
    PEERS_FREE = "nobody holds the peer's lease"
    PEERS_KEPT = "the peer holds its lease"

    SILENT = "no heartbeat for longer than the time-out"
    NEVER_HEARD = "not one heartbeat since the start"
    LEFT = "the peer said that it goes"
    PEER_READY = "the peer is ready"
    PEER_BROKEN = "a critical service of the peer has been down for longer than the delay"
    PEER_CUT_OFF = "the peer has said for the time-out that it does not reach the database"
    PEER_RECOVERS = "the peer is being recovered"
    PEER_AT_A_LOSS = "the peer failed for an unknown reason, this node for a known one"
    NOT_RECOVERING = "this start is no recovery"

    PEER_KNOWN = "the peer is heard, or the time-out for that is over"
    INITIAL_TIMEOUT = "the time-out for heartbeats after a start is over"
    OVERDUE = "the transition takes too long"
    RETURNABLE = "the fail-over was for a reason after which people may return by themselves"
    FALLBACK_DUE = "automatic fall-back is on, and both have been well for its time"


Predicate = Callable[[Facts, float], bool]


def _peer(test: Callable[[Heartbeat], bool]) -> Predicate:
    def holds(facts: Facts, now: float) -> bool:
        return facts.is_peer_heard(now) and facts.peer is not None and test(facts.peer)

    return holds


def _is_silent(facts: Facts, now: float) -> bool:
    since = facts.started if facts.heard_at is None else facts.heard_at
    return now - max(since, facts.awake_since) >= facts.limits.heartbeat_timeout


def _is_initial_over(facts: Facts, now: float) -> bool:
    return now - facts.since >= facts.limits.initial_timeout


def _is_alone_without_database(facts: Facts, now: float) -> bool:
    if facts.has_database or now - facts.cut_since < facts.limits.heartbeat_timeout:
        return False
    return facts.peer is None or facts.peer.has_database or not facts.is_peer_heard(now)


def _is_peer_cut_off(facts: Facts, now: float) -> bool:
    if facts.peer_cut_since is None or not facts.is_peer_heard(now):
        return False
    since = max(facts.peer_cut_since, facts.found_since)  # it was away for both: the peer may be a bit later
    return now - since >= facts.limits.heartbeat_timeout


def _is_fallback_due(facts: Facts, now: float) -> bool:
    after = facts.limits.fallback_after
    return after is not None and now - max(facts.since, facts.peer_since) >= after


HOLDS: dict[Cue, Predicate] = {
    Cue.FAILOVER: lambda facts, now: facts.request is Request.FAILOVER,
    Cue.FALLBACK: lambda facts, now: facts.request is Request.FALLBACK,
    Cue.RECOVERY: lambda facts, now: facts.request is Request.RECOVER,
    Cue.FAULT: lambda facts, now: facts.is_broken,
    Cue.BY_ADMIN: lambda facts, now: facts.reason is Reason.ADMIN,
    Cue.READY: lambda facts, now: facts.is_ready,
    Cue.UNREADY: lambda facts, now: not facts.is_ready,
    Cue.BROKEN: lambda facts, now: facts.is_down_too_long(now),
    Cue.SERVICE_DOWN: lambda facts, now: facts.down_since is not None,
    Cue.NO_DATABASE: _is_alone_without_database,
    Cue.CUT_OFF: lambda facts, now: not facts.has_database and facts.own not in facts.serving,
    Cue.START_FAILED: lambda facts, now: bool(facts.not_started),
    Cue.SETTLED: lambda facts, now: not facts.settling,
    Cue.HAS_OWN: lambda facts, now: facts.own in facts.serving,
    Cue.HAS_BOTH: lambda facts, now: facts.serving >= {facts.own, facts.peers},
    Cue.SETTLED_IN: lambda facts, now: now - facts.since >= facts.limits.heartbeat_timeout,
    Cue.LEASES_KNOWN: lambda facts, now: facts.leases is not None,
    Cue.OWN_TAKEN: lambda facts, now: facts.holder(0) is Holder.PEERS,
    Cue.OWN_OPEN: lambda facts, now: facts.holder(0) in (Holder.FREE, Holder.OURS),
    Cue.PEERS_OPEN: lambda facts, now: facts.holder(1) in (Holder.FREE, Holder.OURS),
    Cue.PEERS_FREE: lambda facts, now: facts.holder(1) is Holder.FREE,
    Cue.PEERS_KEPT: lambda facts, now: facts.holder(1) is Holder.PEERS,
    Cue.SILENT: _is_silent,
    Cue.NEVER_HEARD: lambda facts, now: facts.heard_at is None,
    Cue.LEFT: lambda facts, now: facts.peer is not None and facts.peer.is_leaving,
    Cue.PEER_READY: _peer(lambda peer: peer.is_ready),
    Cue.PEER_BROKEN: _peer(lambda peer: peer.is_broken),
    Cue.PEER_CUT_OFF: _is_peer_cut_off,
    Cue.PEER_RECOVERS: _peer(lambda peer: (peer.state, peer.reason) == (State.INITIALIZING, Reason.ADMIN)),
    Cue.PEER_AT_A_LOSS: lambda facts, now: (
        facts.reason is not Reason.UNKNOWN
        and _peer(lambda peer: (peer.state, peer.reason) == (State.FAILED, Reason.UNKNOWN))(facts, now)
    ),
    Cue.NOT_RECOVERING: lambda facts, now: facts.reason is not Reason.ADMIN,
    Cue.PEER_KNOWN: lambda facts, now: facts.is_peer_heard(now) or _is_initial_over(facts, now),
    Cue.INITIAL_TIMEOUT: _is_initial_over,
    Cue.OVERDUE: lambda facts, now: (
        facts.has_database and now - facts.overdue_from >= facts.limits.transition
    ),
    Cue.RETURNABLE: lambda facts, now: facts.reason in RETURNABLE,
    Cue.FALLBACK_DUE: _is_fallback_due,
}
"""What each cue means of the facts at a time."""
