"""How available a Microsoft user is: one number, its name, and what people are told.

MS-PRES: the aggregate state is a number from 0 to 18500; clients publish fixed values and read ranges.
"""

from dataclasses import dataclass

AVAILABLE = 3500
BUSY = 6500
DO_NOT_DISTURB = 9500
BE_RIGHT_BACK = 12500
AWAY = 15500
OFFLINE = 18500


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers that mean the same: from `low` up to the next range."""

    low: int
    name: str
    """What a user sees, as the seeds spell it in small letters."""
    token: str
    """The activity in a PIDF body; empty where `basic` says it all."""


RANGES = (  # highest first
    Range(18000, "offline", ""),
    Range(15000, "away", "away"),
    Range(12000, "be-right-back", "be-right-back"),
    Range(9000, "do-not-disturb", "do-not-disturb"),
    Range(7500, "busy-idle", "busy"),
    Range(6000, "busy", "busy"),
    Range(4500, "idle", "away"),
    Range(3000, "available", ""),
)

NAMES = {
    "available": AVAILABLE,
    "idle": 5000,
    "busy": BUSY,
    "busy-idle": 7750,
    "do-not-disturb": DO_NOT_DISTURB,
    "dnd": DO_NOT_DISTURB,
    "be-right-back": BE_RIGHT_BACK,
    "brb": BE_RIGHT_BACK,
    "away": AWAY,
    "appear-offline": OFFLINE,
    "offline": OFFLINE,
}
"""What an administrator may type for each published value."""

ACTIVITIES = (
    "on-the-phone",
    "in-a-conference",
    "in-a-meeting",
    "out-of-office",
    "urgent-interruptions-only",
    "off-work",
)
"""What a state can carry besides its number."""


class AvailabilityError(ValueError):
    """A word or number that names no availability."""


def range_of(number: int) -> Range:
    """The range that a number falls in; what is below all of them counts as offline."""
    return next((one for one in RANGES if number >= one.low), RANGES[0])


@dataclass(frozen=True, slots=True)
class Shown:
    """What a user shows to those who may see it."""

    number: int = OFFLINE
    activity: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """The availability as a word, such as "busy"."""
        return range_of(self.number).name

    @property
    def is_online(self) -> bool:
        """Whether an IM would find a client."""
        return range_of(self.number).low < OFFLINE - 500

    def __str__(self) -> str:
        rest = [part for part in (self.activity, f'"{self.note}"' if self.note else "") if part]
        return " ".join([self.name, *rest])


def parse_availability(text: str) -> int:
    """Reads a name or a number as it is published. Raises AvailabilityError."""
    word = text.strip().lower()
    if word in NAMES:
        return NAMES[word]
    if word.isdecimal() and 3000 <= int(word) <= 20000:
        return int(word)
    known = ", ".join(NAMES)
    raise AvailabilityError(f"{text!r} is no availability. Give one of {known}, or a number from 3000.")
