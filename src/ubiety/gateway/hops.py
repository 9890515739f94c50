"""Which next hops answer (pure): taken out after a failure, asked by OPTIONS, taken back when they answer.

The driver calls `failed` or `answered` for every request that it has sent to a hop, sends an OPTIONS request
to each of `due_probes`, and reports its outcome the same way. A hop of which nothing is known is alive.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds between two probes: doubled each time."""
PROBE_SECONDS = 35.0
"""Seconds until a probe is sent again whose outcome nobody told: longer than timer F (RFC 3261 §17.1.2.2)."""
LONGEST_RETRY_AFTER = 600.0
UNAVAILABLE = 503
TIMEOUT = 408

H = TypeVar("H", bound=Hashable)


@dataclass(slots=True)
class Health:
    """What is known of a hop that does not answer."""

    reason: str
    since: float
    failures: int
    pause: float
    probe_at: float
    is_probed: bool = False
    """A probe is on its way."""


class Hops(Generic[H]):
    """The health of all next hops; `H` names one, for instance transport, host and port."""

    def __init__(
        self,
        told: Callable[[H, str], None] = lambda hop, reason: None,
        is_watched: Callable[[H], bool] = lambda hop: True,
    ) -> None:
        """`told(hop, reason)` is called when a hop is taken out, with an empty reason when it is back.

        Of hops that are not watched nothing is kept: those that only dialogs lead to.
        """
        self._dead: dict[H, Health] = {}
        self._told = told
        self._is_watched = is_watched

    def is_dead(self, hop: H) -> bool:
        """Whether a hop has failed and not answered since."""
        return hop in self._dead

    def dead(self) -> dict[H, Health]:
        """All that do not answer."""
        return dict(self._dead)

    def failed(self, hop: H, reason: str, now: float, retry_after: float | None = None) -> None:
        """A hop took no connection, or did not answer in time, or cannot serve."""
        if not self._is_watched(hop):
            return
        known = self._dead.get(hop)
        is_news = known is None
        if known is None:
            known = self._dead[hop] = Health(reason, now, 0, FIRST_PAUSE, now)
        elif known.is_probed:
            known.pause = min(known.pause * 2, LONGEST_PAUSE)
        elif now < known.probe_at:  # a request that was on its way meanwhile
            known.reason = reason
            known.failures += 1
            return
        known.reason = reason
        known.failures += 1
        known.is_probed = False
        known.probe_at = now + max(known.pause, min(retry_after or 0.0, LONGEST_RETRY_AFTER))
        if is_news:
            self._told(hop, reason)

    def answered(self, hop: H, status: int, now: float, retry_after: float | None = None) -> None:
        """A hop has given a final answer; even a refusal shows that it is there.

        RFC 3261 §21.5.4: 503 sends the request, and those that follow, to another one.
        """
        if status == UNAVAILABLE:
            self.failed(hop, "It answered 503 Service Unavailable.", now, retry_after)
        elif self._dead.pop(hop, None) is not None:
            self._told(hop, "")

    def due_probes(self, now: float) -> list[H]:
        """Hops to which an OPTIONS request is to be sent now."""
        due = [hop for hop, health in self._dead.items() if health.probe_at <= now]
        for hop in due:
            health = self._dead[hop]
            health.is_probed = True
            health.probe_at = now + PROBE_SECONDS
        return due

    def deadline(self) -> float | None:
        """When `due_probes` is to be asked next."""
        return min((health.probe_at for health in self._dead.values()), default=None)

    def tidy(self) -> None:
        """Forget those that are watched no more."""
        for hop in [hop for hop in self._dead if not self._is_watched(hop)]:
            del self._dead[hop]
