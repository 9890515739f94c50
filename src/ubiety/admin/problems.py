"""What can go wrong in an operation, as the caller is told (RFC 9457)."""

from dataclasses import dataclass, field
from typing import Any

from ubiety.jid import JidError
from ubiety.settings import SettingError
from ubiety.store.errors import (
    Conflict,
    DatabaseBusy,
    DatabaseFull,
    DatabaseUnavailable,
    DataRefused,
    StoreError,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table of problems."""

    name: str
    title: str
    status: int


INVALID = Kind("invalid", "An argument does not fit", 422)
NOT_FOUND = Kind("not-found", "There is no such thing", 404)
CONFLICT = Kind("conflict", "It contradicts what is there", 409)
UNAUTHENTICATED = Kind("unauthenticated", "A valid token is needed", 401)
FORBIDDEN = Kind("forbidden", "The permission is missing", 403)
TOO_MANY = Kind("too-many-requests", "Too many requests", 429)
TOO_LARGE = Kind("too-large", "The request is too large", 413)
TOO_SLOW = Kind("too-slow", "The request did not arrive in time", 408)
UNAVAILABLE = Kind("unavailable", "The node cannot do it now", 503)
FAULT = Kind("fault", "The node made a mistake", 500)
KINDS = {
    kind.name: kind
    for kind in (
        INVALID,
        NOT_FOUND,
        CONFLICT,
        UNAUTHENTICATED,
        FORBIDDEN,
        TOO_MANY,
        TOO_LARGE,
        TOO_SLOW,
        UNAVAILABLE,
        FAULT,
    )
}


class Problem(Exception):
    """An operation was not done. `detail` names the cause, `cure` what to do about it."""

    def __init__(self, kind: Kind, detail: str, cure: str = "", **about: Any) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.cure = cure
        self.about = about

    def document(self) -> dict[str, Any]:
        """The body of an `application/problem+json` answer."""
        document: dict[str, Any] = {
            "type": f"urn:ubiety:problem:{self.kind.name}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
        }
        if self.cure:
            document["cure"] = self.cure
        return document | self.about


@dataclass(frozen=True, slots=True)
class _Row:
    kind: Kind
    cure: str
    prefix: str = field(default="")


_TABLE: tuple[tuple[type[Exception], _Row], ...] = (
    (DatabaseFull, _Row(UNAVAILABLE, "Free space on the disk of the database.", "The disk is full: ")),
    (
        DatabaseBusy,
        _Row(UNAVAILABLE, "Try again; find out who locks the database.", "The database is locked: "),
    ),
    (
        DatabaseUnavailable,
        _Row(UNAVAILABLE, "See that the database runs.", "The database is not reachable: "),
    ),
    (Conflict, _Row(CONFLICT, "")),
    (DataRefused, _Row(INVALID, "", "The database refuses a value: ")),
    (StoreError, _Row(UNAVAILABLE, "See the log of the node.", "The database failed: ")),
    (SettingError, _Row(INVALID, "")),
    (JidError, _Row(INVALID, "", "This cannot be an address: ")),
)


def from_error(error: Exception) -> Problem:
    """The problem that an exception of a lower layer stands for; unknown ones are a fault of ours."""
    if isinstance(error, Problem):
        return error
    for kind, row in _TABLE:
        if isinstance(error, kind):
            return Problem(row.kind, f"{row.prefix}{error}", row.cure)
    return Problem(
        FAULT, f"{type(error).__name__} in the node.", "See the log of the node; please report it as a bug."
    )
