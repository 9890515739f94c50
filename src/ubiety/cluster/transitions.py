"""Redundancy of a pair of nodes as one table: which state follows which, when, and what each state wants.

``cluster/redundancy.py`` goes by it. docs/redundancy.md tells which pairs of states come of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from ubiety.cluster.cues import Cue
from ubiety.cluster.states import Reason, Services, State

S, R, C = State, Reason, Cue

BACKUPS = frozenset({S.BACKUP, S.BACKUP_ACTIVATED})
FAILED_OVERS = frozenset({S.FAILED_OVER, S.FAILED_OVER_UNWELL})
ON_THE_WAY = frozenset({S.TAKING_OVER, S.FAILING_OVER, S.FALLING_BACK, S.TAKING_BACK})
UNSERVED = FAILED_OVERS | {S.IDLE, S.AFFECTED}
PAIRED = BACKUPS | UNSERVED | ON_THE_WAY | {S.NORMAL}


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
    _row(S.NORMAL, (C.OWN_TAKEN, C.SETTLED_IN, C.READY), S.FAILED_OVER, R.PEER_DOWN),
    _row(S.NORMAL, (C.OWN_TAKEN, C.SETTLED_IN, C.UNREADY), S.FAILED_OVER_UNWELL, R.PEER_DOWN),
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
