"""The event state compositor's side of publication (RFC 3903 §6), without I/O and clock.

What is published is a value of the caller's; a refresh leaves it, a modification replaces it. A publication
is known by its entity tag, which is another one after each request.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

DEFAULT_EXPIRES: Final = 3600
MIN_EXPIRES: Final = 60
MAX_EXPIRES: Final = 86_400
MAX_PER_ENTITY: Final = 32
"""Publications of one person at a time; more are refused (RFC 3903 §14.2)."""


@dataclass(frozen=True, slots=True)
class Published:
    """The request is accepted: 200 with this SIP-ETag and Expires."""

    etag: str
    expires: int
    number: int
    """The same for the whole life of the publication."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The request is answered with this status; for 423 `min_expires` says how brief it may be."""

    status: int
    min_expires: int = 0


@dataclass(slots=True)
class _Publication(Generic[T]):
    entity: str
    number: int
    value: T
    expires_at: float


class Publications(Generic[T]):
    """All publications that one compositor holds. `token` returns a text that never comes again."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token
        self._by_etag: dict[str, _Publication[T]] = {}
        self._by_entity: dict[str, list[_Publication[T]]] = {}
        self._numbers = 0

    def __len__(self) -> int:
        return len(self._by_etag)

    def publish(
        self, entity: str, if_match: str | None, expires: int | None, value: T | None, now: float
    ) -> Published | Refused:
        """Take a PUBLISH for an entity; `value` is None where it has no body."""
        expires = DEFAULT_EXPIRES if expires is None else min(expires, MAX_EXPIRES)
        if 0 < expires < MIN_EXPIRES:
            return Refused(423, MIN_EXPIRES)  # RFC 3903 §6, step 5
        if if_match is None:
            return self._begin(entity, expires, value, now)
        known = self._by_etag.get(if_match)
        if known is None or known.entity != entity or known.expires_at <= now:
            return Refused(412)  # RFC 3903 §6, step 4
        del self._by_etag[if_match]
        if expires == 0:
            self._remove(known)
            return Published(self._token(), 0, known.number)
        if value is not None:
            known.value = value
        known.expires_at = now + expires
        return self._tagged(known, expires)

    def current(self, entity: str) -> list[T]:
        """Return what is published for an entity, in the order in which it was begun."""
        return [one.value for one in self._by_entity.get(entity, ())]

    def expired(self, now: float) -> list[tuple[str, int]]:
        """Drop what is over; return the entity and the number of each."""
        over = [(etag, one) for etag, one in self._by_etag.items() if one.expires_at <= now]
        for etag, one in over:
            del self._by_etag[etag]
            self._remove(one)
        return [(one.entity, one.number) for _, one in over]

    def deadline(self) -> float | None:
        """When `expired` has something to drop."""
        return min((one.expires_at for one in self._by_etag.values()), default=None)

    def drop(self, entity: str) -> list[int]:
        """Drop all that is published for an entity; return the numbers."""
        numbers = [one.number for one in self._by_entity.pop(entity, ())]
        for etag in [etag for etag, one in self._by_etag.items() if one.entity == entity]:
            del self._by_etag[etag]
        return numbers

    def _begin(self, entity: str, expires: int, value: T | None, now: float) -> Published | Refused:
        if value is None or expires == 0:
            return Refused(400)  # RFC 3903 §6: an initial publication has a body, and is no removal
        if len(self._by_entity.get(entity, ())) >= MAX_PER_ENTITY:
            return Refused(403)
        self._numbers += 1
        made = _Publication(entity, self._numbers, value, now + expires)
        self._by_entity.setdefault(entity, []).append(made)
        return self._tagged(made, expires)

    def _tagged(self, publication: _Publication[T], expires: int) -> Published:
        etag = self._token()
        self._by_etag[etag] = publication
        return Published(etag, expires, publication.number)

    def _remove(self, publication: _Publication[T]) -> None:
        others = self._by_entity[publication.entity]
        others.remove(publication)
        if not others:
            del self._by_entity[publication.entity]
