"""The event state compositor's half of publications (RFC 3903 §6), without I/O and clock.

It knows which publications there are and when they end; what they say is kept by its user, under
`Published.id`.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Generic, TypeVar

E = TypeVar("E", bound=Hashable)

DEFAULT_EXPIRES = 3600
MOST = 32


@dataclass(frozen=True, slots=True)
class Published:
    """A publication holds. The answer is 200 with `SIP-ETag` and `Expires`."""

    id: int
    """The same for a publication as long as it lives; its entity-tag is another one each time."""
    etag: str
    expires: int
    has_state: bool
    """Whether the request said something; False: it only refreshed."""


@dataclass(frozen=True, slots=True)
class Removed:
    """A publication is over because its publisher says so: 200 with `Expires: 0`."""

    id: int
    etag: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing has changed."""

    status: int
    min_expires: int = 0
    """For 423."""


@dataclass(slots=True)
class _Publication(Generic[E]):
    id: int
    entity: E
    expires_at: float


class Publications(Generic[E]):
    """All publications; an entity is whose state they are about."""

    def __init__(
        self,
        token: Callable[[], str],
        min_expires: int = 60,
        max_expires: int = DEFAULT_EXPIRES,
        most: int = MOST,
    ) -> None:
        """`most` publications are held for one entity."""
        self._token = token
        self._min = min_expires
        self._max = max_expires
        self._most = most
        self._by_etag: dict[str, _Publication[E]] = {}
        self._counts: dict[E, int] = {}
        self._queue: list[tuple[float, str]] = []  # by time; entity-tags that hold no more are passed over
        self._gone: list[tuple[E, int]] = []
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._by_etag)

    def publish(
        self, entity: E, if_match: str | None, expires: int | None, has_state: bool, now: float
    ) -> Published | Removed | Refused:
        """Take a PUBLISH; `expires` None is as long as may be."""
        self._drop_old(now)
        known = self._by_etag.get(if_match) if if_match is not None else None
        if if_match is not None and (known is None or known.entity != entity):
            return Refused(412)  # RFC 3903 §6, step 4
        expires = self._max if expires is None else min(expires, self._max)
        if 0 < expires < self._min:
            return Refused(423, self._min)
        if known is None and (not has_state or expires == 0):
            return Refused(400)  # §4.1: the first one says something
        if known is None and self._counts.get(entity, 0) >= self._most:
            return Refused(503)
        if known is not None and if_match is not None:
            del self._by_etag[if_match]
        if known is not None and expires == 0:
            self._count(entity, -1)
            return Removed(known.id, self._token())
        if known is None:
            self._last_id += 1
            known = _Publication(self._last_id, entity, 0.0)
            self._count(entity, 1)
        known.expires_at = now + expires
        etag = self._token()
        self._by_etag[etag] = known
        heappush(self._queue, (known.expires_at, etag))
        return Published(known.id, etag, expires, has_state)

    def expire(self, now: float) -> list[tuple[E, int]]:
        """Forget those whose time is over; return whose they were, and their ids."""
        self._drop_old(now)
        gone, self._gone = self._gone, []
        return gone

    def deadline(self) -> float | None:
        """When the next one ends, unless it is refreshed."""
        if self._gone:
            return 0.0
        while self._queue and self._queue[0][1] not in self._by_etag:
            heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def forget(self, is_gone: Callable[[E, int], bool]) -> None:
        """Forget some, by entity and id: `expire` does not tell of them."""
        self._gone = [one for one in self._gone if not is_gone(*one)]
        for etag, one in list(self._by_etag.items()):
            if is_gone(one.entity, one.id):
                del self._by_etag[etag]
                self._count(one.entity, -1)

    def _drop_old(self, now: float) -> None:
        while self._queue and self._queue[0][0] <= now:
            one = self._by_etag.pop(heappop(self._queue)[1], None)
            if one is not None:
                self._count(one.entity, -1)
                self._gone.append((one.entity, one.id))

    def _count(self, entity: E, by: int) -> None:
        count = self._counts.get(entity, 0) + by
        if count:
            self._counts[entity] = count
        else:
            self._counts.pop(entity, None)
