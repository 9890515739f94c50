"""The words of redundancy: states, reasons, and what goes into and comes out of its core."""

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """The state of a node of a redundancy group; the value is what an administrator reads."""

    INITIALIZING = "Initializing"
    """The Cisco Server Recovery Manager has just started."""
    IDLE = "Idle"
    """Failed over by an administrator: services stopped, nobody served."""
    NORMAL = "Normal"
    """Serves its own people."""
    BACKUP = "Running in Backup Mode"
    """Serves its own people and those of its peer."""
    TAKING_OVER = "Taking Over"
    """Takes the people of its peer."""
    FAILING_OVER = "Failing Over"
    """Its people are being taken by its peer."""
    FAILED_OVER = "Failed Over"
    """Its peer serves its people; its services run again, they may come back."""
    FAILED_OVER_UNWELL = "Failed Over with Critical Services not Running"
    """Its peer serves its people; something critical does not run here."""
    FALLING_BACK = "Falling Back"
    """Gives the people of its peer back."""
    TAKING_BACK = "Taking Back"
    """Takes its own people back."""
    FAILED = "Failed"
    """Running in Failed Mode: something went wrong on the way; an administrator must recover the pair."""
    UNKNOWN = "Unknown"
    """High availability is off, or not properly enabled."""
    BACKUP_ACTIVATED = "Backup Activated"
    """Was failed over and well, and took everybody when its peer broke: as Running in Backup Mode."""
    AFFECTED = "Failover Affected Services"
    """Was in backup mode and broke; its peer serves everybody."""


class Reason(Enum):
    """Why a node is in its state."""

    NORMAL = "Normal"
    ADMIN = "On Admin Request"
    INITIALIZATION = "Initialization"
    SERVICE_DOWN = "Critical Service Down"
    DATABASE = "Database Failure"
    AUTOMATIC_FALLBACK = "Automatic Fallback"
    START_FAILED = "Start of Critical Services Failed"
    PEER_DOWN = "Peer Down"
    PEER_REBOOT = "Peer Reboot"
    PEER_ABSENT = "Peer Down During Initialization"
    TAKE_OVER_FAILED = "Cisco Server Recovery Manager Take Over Users Failed"
    TAKE_BACK_FAILED = "Cisco Server Recovery Manager Take Back Users Failed"
    UNKNOWN = "Unknown"
    RECOVERED_DATABASE = "Auto Recover Database Failure"
    RECOVERED_SERVICE = "Auto Recover Critical Service Down"
    NOT_ENABLED = "High Availability Not Enabled"


class Request(Enum):
    """What an administrator may ask a node for."""

    FAILOVER = "failover"
    FALLBACK = "fallback"
    RECOVER = "recover"


class Holder(Enum):
    """Who holds the lease of a set, as the database says."""

    FREE = "nobody"
    OURS = "this node"
    PEERS = "the peer"


@dataclass(frozen=True, slots=True)
class Limits:
    """The times of redundancy (seconds), from the settings."""

    heartbeat_timeout: float = 2.5
    initial_timeout: float = 10.0
    critical_delay: float = 10.0
    fallback_after: float | None = None
    """Health of this length before people return by themselves; None: never."""
    transition: float = 120.0
    """The longest that people may be on their way while the database is well."""
    retry: float = 0.5


# -- inputs ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a node tells its peer, several times a second."""

    state: State
    reason: Reason
    is_ready: bool
    """Its critical services run and it reaches the database."""
    is_broken: bool
    """A critical service has been down for longer than the delay."""
    has_database: bool
    boot: str
    """Names one run of the process."""
    is_leaving: bool = False
    """The process ends on purpose."""


@dataclass(frozen=True, slots=True)
class Configured:
    """High availability is on or off, and its times."""

    is_enabled: bool
    limits: Limits


@dataclass(frozen=True, slots=True)
class HealthSeen:
    """How this node is: since when a critical service is down (infinity: it has not started yet, which is
    no fault), and whether the database answers."""

    down_since: float | None
    has_database: bool


@dataclass(frozen=True, slots=True)
class LeasesSeen:
    """Who holds the leases of both sets."""

    own: Holder
    peers: Holder


@dataclass(frozen=True, slots=True)
class ServingSeen:
    """The sets that this node really serves."""

    sets: frozenset[int]


@dataclass(frozen=True, slots=True)
class Taken:
    """A set was taken over: it is served here."""

    set_id: int


@dataclass(frozen=True, slots=True)
class NotTaken:
    """A set could not be taken."""

    set_id: int


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A set was handed over, or could not be: it is tried again as long as it is served here."""

    set_id: int


@dataclass(frozen=True, slots=True)
class ServicesSettled:
    """What was ordered of the services is done; ``failed``: those that did not start."""

    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Requested:
    """An administrator asks for something; see ``Redundancy.refusal`` first."""

    request: Request


@dataclass(frozen=True, slots=True)
class Broken:
    """An internal error: what was ordered could not be carried out."""


Input = (
    Configured
    | Heartbeat
    | HealthSeen
    | LeasesSeen
    | ServingSeen
    | Taken
    | NotTaken
    | HandedOver
    | ServicesSettled
    | Requested
    | Broken
)

# -- orders ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Take the lease of a set and serve it; answered by Taken or NotTaken."""

    set_id: int


@dataclass(frozen=True, slots=True)
class HandOver:
    """Make a set durable, serve it no more, and free its lease; answered by HandedOver."""

    set_id: int


class Services(Enum):
    """What is done with the critical services; answered by ServicesSettled."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Announce:
    """State or health changed: tell the peer at once, and write state and reason down."""

    heartbeat: Heartbeat


Order = TakeOver | HandOver | Services | Announce
