"""The notifier's half of one subscription (RFC 6665 §4.2), without I/O and clock.

Three rules it exists for: never two NOTIFYs in flight; of what there is to tell only the newest is kept;
whatever was shown last is told in the end, for as long as the subscription lives.
"""

from dataclasses import dataclass
from typing import Final

from ubiety.sip.subscription_state import State, SubscriptionState

ENDS_SUBSCRIPTION: Final = frozenset({404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 502, 604})
"""Final answers to a NOTIFY that end its subscription (RFC 6665 §4.2.2, RFC 5057 §5.1)."""

TIMEOUTS: Final = frozenset({None, 408})
"""Nobody answered. RFC 6665 §4.2.2 would have the subscription removed at once; but what is silent is
mostly a next hop for hundreds of watchers, who would then see nothing until they refresh: so it is tried
again first."""
MAX_TIMEOUTS: Final = 5

RETRY_SECONDS: Final = 30.0
"""How long to wait after a failure that names no time; doubled with each further one."""
MAX_RETRY_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Notify:
    """Send a NOTIFY in the subscription's dialog and report its end with `Notifier.notified`."""

    body: bytes | None
    content_type: str
    subscription_state: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The subscription is over and nothing more will come; how a last NOTIFY fares is of no interest."""

    reason: str


NotifierOutput = Notify | Ended


class Notifier:
    """One subscription of somebody else to a state of ours.

    `expires` is in seconds, 0 for a fetch (RFC 6665 §4.4.3); `pause` is the least time between two NOTIFYs
    that tell of a change. The subscriber's SUBSCRIBE is answered first, then `begin` is called; until then
    nothing is sent of one that `is_held`, whatever happens.
    """

    def __init__(
        self, now: float, expires: float, is_active: bool, pause: float = 0.0, is_held: bool = False
    ) -> None:
        self.state = State.ACTIVE if is_active else State.PENDING
        self.expires_at = now + expires
        self.is_in_flight = False
        self._is_held = is_held
        self._pause = pause
        self._body: bytes | None = None
        self._content_type = ""
        self._sent: bytes | None = None  # in flight
        self._told: bytes | None = None  # what the subscriber has confirmed
        self._is_owed = True  # a NOTIFY that must be sent whether or not anything has changed
        self._next_at = now  # no NOTIFY of a change before this
        self._retry_at: float | None = None  # after a failure: no NOTIFY at all before this
        self._failures = 0
        self._timeouts = 0  # those in a row
        self._reason = "timeout" if expires <= 0 else ""  # set once the subscription is to end
        self._retry_after: int | None = None

    @property
    def is_over(self) -> bool:
        """True after `Ended`."""
        return self.state is State.TERMINATED

    def begin(self, now: float) -> list[NotifierOutput]:
        """Send the first NOTIFY, which follows every accepted SUBSCRIBE (RFC 6665 §4.2.1.2)."""
        self._is_held = False
        return self._go(now)

    def refresh(self, expires: float, now: float) -> list[NotifierOutput]:
        """Take a SUBSCRIBE of the dialog, already answered; `expires` 0 ends it (RFC 6665 §4.2.1)."""
        if self.is_over:
            return []
        self.expires_at = now + expires
        if expires <= 0:
            self._reason = self._reason or "timeout"
        self._is_owed = True
        self._retry_at = None
        return self._go(now)

    def approve(self, now: float) -> list[NotifierOutput]:
        """Turn a pending subscription into an active one."""
        if self.state is not State.PENDING:
            return []
        self.state = State.ACTIVE
        self._is_owed = True
        return self._go(now)

    def show(self, body: bytes, content_type: str, now: float) -> list[NotifierOutput]:
        """Tell the subscriber this, as soon as it may be told."""
        if self.is_over:
            return []
        self._body = body
        self._content_type = content_type
        return self._go(now)

    def end(self, reason: str, now: float, retry_after: int | None = None) -> list[NotifierOutput]:
        """End the subscription for a reason of RFC 6665 §4.1.3 ("deactivated", "rejected" ...)."""
        if self.is_over:
            return []
        self._reason = reason
        self._retry_after = retry_after
        return self._go(now)

    def notified(self, status: int | None, retry_after: float | None, now: float) -> list[NotifierOutput]:
        """Take the final answer to the NOTIFY in flight; `status` None: it was never answered."""
        self.is_in_flight = False
        sent, self._sent = self._sent, None
        if self.is_over:
            return []
        if status is not None and status < 300:
            self._told = sent
            self._failures = self._timeouts = 0
            self._retry_at = None
            return self._go(now)
        self._timeouts = self._timeouts + 1 if status in TIMEOUTS else 0
        if self._timeouts >= MAX_TIMEOUTS:
            return self._over("no answer")
        if status == 481 or (status in ENDS_SUBSCRIPTION and retry_after is None):
            return self._over(str(status))
        self._is_owed = True
        wait = min(RETRY_SECONDS * 2 ** min(self._failures, 8), MAX_RETRY_SECONDS)
        self._failures += 1
        self._retry_at = now + max(retry_after or wait, 1.0)
        return self._go(now)

    def tick(self, now: float) -> list[NotifierOutput]:
        """Do what is due."""
        return self._go(now)

    def deadline(self) -> float | None:
        """When `tick` has something to do: never before the begin, with a NOTIFY in flight, after the end."""
        if self.is_over or self.is_in_flight or self._is_held:
            return None
        if self._has_something():
            return min(self._may_send_at(), self.expires_at)
        return self.expires_at

    def _has_something(self) -> bool:
        return bool(self._is_owed or self._reason or self._has_news())

    def _has_news(self) -> bool:
        return self.state is State.ACTIVE and self._body is not None and self._body != self._told

    def _may_send_at(self) -> float:
        at = 0.0 if self._is_owed or self._reason else self._next_at
        if self._retry_at is not None and not self._reason:
            at = max(at, self._retry_at)
        return at

    def _go(self, now: float) -> list[NotifierOutput]:
        if self.is_over or self.is_in_flight or self._is_held:
            return []
        if now >= self.expires_at and not self._reason:
            self._reason = "timeout"
        if self._reason:
            body = self._body if self.state is State.ACTIVE else None
            self.is_in_flight = True
            last = SubscriptionState(State.TERMINATED, self._reason, None, self._retry_after)
            return [Notify(body, self._content_type if body else "", str(last)), *self._over(self._reason)]
        if not self._has_something() or now < self._may_send_at():
            return []
        return [self._notify(now)]

    def _notify(self, now: float) -> Notify:
        # RFC 3856 §6.6.2: a watcher who is not yet approved is told nothing about the presentity.
        body = self._body if self.state is State.ACTIVE else None
        self._is_owed = False
        self._next_at = now + self._pause
        self.is_in_flight = True
        self._sent = body
        state = SubscriptionState(self.state, "", max(0, round(self.expires_at - now)))
        return Notify(body, self._content_type if body is not None else "", str(state))

    def _over(self, reason: str) -> list[NotifierOutput]:
        self.state = State.TERMINATED
        self._body = self._told = self._sent = None
        return [Ended(reason)]
