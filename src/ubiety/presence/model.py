"""What is known of a person's presence, by source, and the one state that it comes to.

The states are those of the tables that say what Microsoft's people see (seed 000, tables 5 to 8). Pure.
"""

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """A person's composed state, by its name as people read it."""

    AVAILABLE = "Available"
    AWAY = "Away"
    EXTENDED_AWAY = "Extended Away"
    BUSY = "Busy"
    DND = "Do Not Disturb"
    ON_THE_PHONE = "On the Phone"
    MEETING = "Meeting"
    OUT_OF_OFFICE = "Out of Office"
    OFFLINE = "Offline"
    OFFLINE_ON_THE_PHONE = "Offline - On the Phone"
    OFFLINE_MEETING = "Offline - Meeting"
    OFFLINE_OUT_OF_OFFICE = "Offline - Out of Office"

    @property
    def is_offline(self) -> bool:
        """Whether the person is signed in with no device."""
        return self in OFFLINE_STATES


OFFLINE_STATES = frozenset(
    {State.OFFLINE, State.OFFLINE_ON_THE_PHONE, State.OFFLINE_MEETING, State.OFFLINE_OUT_OF_OFFICE}
)


class Source(Enum):
    """Where something about a person comes from."""

    OWN = "own choice"
    PHONE = "phone"
    CALENDAR = "calendar"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Statement:
    """What one source other than a device says."""

    state: State
    """``PHONE``: ``ON_THE_PHONE`` or ``DND``. ``CALENDAR``: ``MEETING`` or ``OUT_OF_OFFICE``."""
    note: str = ""
    since: float = 0.0
    """Seconds since 1970, 0.0 when nobody knows."""


@dataclass(frozen=True, slots=True)
class Device:
    """One client that is signed in and available."""

    state: State
    """``AVAILABLE``, ``AWAY``, ``EXTENDED_AWAY``, ``BUSY`` or ``DND``; ``ON_THE_PHONE`` of one that shows its
    person's phone (``cover``)."""
    note: str = ""
    priority: int = 0
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that is known of one person."""

    devices: tuple[Device, ...] = ()
    phones: tuple[Statement, ...] = ()
    """One for each line that is not idle."""
    calendar: Statement | None = None
    own: Statement | None = None
    """What the person has chosen; it holds as long as they are signed in (facts §4.3)."""


@dataclass(frozen=True, slots=True)
class Composed:
    """The one state that a person's sources come to."""

    state: State
    note: str = ""
    since: float = 0.0
    """Since when the state holds: seconds since 1970, 0.0 when nobody knows."""

    def is_like(self, other: "Composed | None") -> bool:
        """Tell whether watchers see no difference."""
        return other is not None and self.state is other.state and self.note == other.note


OFFLINE = Composed(State.OFFLINE)
