"""What a file of people is read into (pure)."""

from dataclasses import dataclass, field

MAX_PHOTO = 512 * 1024
"""Bytes; a larger picture is left out, with a note."""

FIELDS = (
    "userid",
    "name",
    "given_name",
    "surname",
    "mail",
    "department",
    "title",
    "phone",
    "domain",
    "password",
)


class ImportFault(Exception):
    """The file as a whole cannot be read. The text names the cause and the cure."""


@dataclass(slots=True)
class Record:
    """One person of a file. `number` is the line on which the entry begins."""

    number: int
    values: dict[str, str] = field(default_factory=dict)
    """By the names of `FIELDS`; what the file does not say is left out."""
    enabled: bool = True
    photo: bytes = b""
    notes: list[str] = field(default_factory=list)
    """What of the entry was left out, and why."""

    @property
    def userid(self) -> str:
        """The user id, as the file has it."""
        return self.values.get("userid", "")


@dataclass(frozen=True, slots=True)
class Fault:
    """An entry that cannot be used."""

    number: int
    userid: str
    reason: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """An entry, or a column, that is no person and was left out on purpose."""

    number: int
    what: str
    reason: str


Entry = Record | Fault | Skipped
