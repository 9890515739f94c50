"""The subscriber's half of one subscription (RFC 6665 §4.1), without I/O, clock and chance.

It keeps a subscription alive for as long as it is wanted: refreshes it in time, opens a new dialog when the
old one is gone, and asks again later when it is refused, by a table of classes.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from ubiety.sip.subscription_state import Again, State, parse_state


class Retry(Enum):
    """When to ask again after a final answer that is no success."""

    SOON = (15.0, 900.0)
    LATER = (60.0, 3600.0)
    SLOWLY = (3600.0, 14400.0)
    NEVER = (0.0, 0.0)

    def __init__(self, first: float, longest: float) -> None:
        self.first = first
        self.longest = longest


RETRIES: Final[dict[int, Retry]] = {
    # It will not help to ask again.
    403: Retry.NEVER,
    405: Retry.NEVER,
    489: Retry.NEVER,
    501: Retry.NEVER,
    603: Retry.NEVER,
    606: Retry.NEVER,
    # Nobody there: in an organisation that is moving they may come.
    404: Retry.SLOWLY,
    410: Retry.SLOWLY,
    482: Retry.SLOWLY,  # our request has come back: the other side has nobody of that name either
    484: Retry.SLOWLY,
    604: Retry.SLOWLY,
    # A nuisance of the moment.
    408: Retry.SOON,
    491: Retry.SOON,
    500: Retry.SOON,
    502: Retry.SOON,
    503: Retry.SOON,
    504: Retry.SOON,
}
"""What each answer means for asking again; one that is not listed means `Retry.LATER`."""

GONE: Final = frozenset({404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 502, 604})
"""Answers to a refresh that end the dialog or this use of it (RFC 5057 §5.1, RFC 3261 §12.2.1.2)."""

REFRESH_BETWEEN: Final = (0.80, 0.95)
"""When to refresh, as parts of the time that was granted."""
NOTIFY_TIMEOUT: Final = 32.0
"""Timer N: how long the NOTIFY behind an accepted SUBSCRIBE may take (RFC 6665 §4.1.2.4), seconds."""
ASK_FOR_NOTIFY: Final = 300.0
"""A refresh also asks for a NOTIFY: after so long without one it is tried, seconds."""
MAX_EXPIRES: Final = 604_800
"""The longest that a peer may ask us to subscribe for (Min-Expires), seconds."""
SLACK: Final = 5.0
"""By how much the end of a subscription may differ between what two messages say, seconds."""
STABLE: Final = 60.0
"""A subscription that lasted longer may be opened anew at once, seconds."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Send a SUBSCRIBE (0 seconds: unsubscribe) and report its end with `Subscriber.answered`."""

    expires: int
    is_new_dialog: bool


@dataclass(frozen=True, slots=True)
class Granted:
    """The other side lets us see its state from now on."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The other side has our request, and somebody there has not decided yet."""


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no subscription; `retry_at` says when the next attempt is made, None means never."""

    reason: str
    retry_at: float | None


@dataclass(frozen=True, slots=True)
class Over:
    """The subscription that was stopped is over: nothing more will come."""


SubscriberOutput = Subscribe | Granted | Waiting | Lost | Over


class Subscriber:
    """One subscription of ours to somebody else's state.

    `expires` is what we ask for, in whole seconds; `share` (0 to 1) is drawn by the caller once and spreads
    refreshes and retries of many subscriptions over time.
    """

    def __init__(self, expires: int, share: float) -> None:
        self.expires_at: float | None = None  # while a subscription stands
        self.is_established = False  # there is a dialog
        self._expires = expires
        self._share = share
        self._state: State | None = None  # as last told
        self._is_outstanding = False
        self._opens = False  # the SUBSCRIBE that is outstanding opens a dialog
        self._asked = 0  # for so many seconds
        self._is_stopped = False
        self._is_over = False
        self._due_at: float | None = None  # the next SUBSCRIBE
        self._notify_by: float | None = None
        self._failures = 0
        self._opened_at = 0.0

    @property
    def is_over(self) -> bool:
        """True after `Over` and after a `Lost` that is final."""
        return self._is_over

    @property
    def is_granted(self) -> bool:
        """True while the other side shows us its state."""
        return self._state is State.ACTIVE

    def start(self, now: float) -> list[SubscriberOutput]:
        """Ask for the subscription."""
        return self._subscribe(now, self._expires, is_new=True)

    def restore(self, expires_at: float, refresh_at: float, is_granted: bool) -> None:
        """Take up a subscription whose dialog was stored: it is refreshed at `refresh_at`."""
        self.is_established = True
        self.expires_at = expires_at
        self._due_at = refresh_at
        self._opened_at = float("-inf")
        self._state = State.ACTIVE if is_granted else State.PENDING

    def retry(self, at: float) -> None:
        """Take up one that has no dialog any more: it is asked for at `at`."""
        self._due_at = at

    def answered(
        self, status: int | None, expires: int | None, retry_after: float | None, now: float
    ) -> list[SubscriberOutput]:
        """Take the final answer to the last SUBSCRIBE, no earlier one; `status` None: there was none.

        `expires` is the answer's Expires, of a 423 its Min-Expires.
        """
        if not self._is_outstanding or self._is_over:
            return []
        self._is_outstanding = False
        if status is not None and status < 300:
            return self._accepted(self._expires if expires is None else expires, now)
        if self._is_stopped:
            is_still_there = self._asked > 0 and not self._opens and status is not None and status not in GONE
            return self._unsubscribe(now) if is_still_there else self._finish()
        if status == 423 and expires is not None and self._expires < expires <= MAX_EXPIRES:
            self._expires = expires  # RFC 6665 §4.1.2.1
            return self._subscribe(now, expires, is_new=not self.is_established)
        return self._refused(status, retry_after, now)

    def notified(self, subscription_state: str, now: float) -> list[SubscriberOutput]:
        """Take the Subscription-State of a NOTIFY of this dialog; the body is the caller's business."""
        if self._is_over:
            return []
        value = parse_state(subscription_state)
        if not self._is_stopped:
            self._notify_by = None
        if value.state is State.TERMINATED:
            return self._terminated(value.again, value.reason, value.retry_after, now)
        # RFC 6665 §4.4.1: the NOTIFY may overtake the answer to the SUBSCRIBE, and makes the dialog too.
        self.is_established = True
        if value.expires is not None and not self._is_stopped:
            self._shortened(value.expires, now)
        self._failures = 0
        return self._told(value.state)

    def stop(self, now: float) -> list[SubscriberOutput]:
        """End the subscription; `Over` says when that is done."""
        if self._is_over or self._is_stopped:
            return []
        self._is_stopped = True
        self._due_at = None
        if self._is_outstanding:
            return []
        return self._unsubscribe(now)

    def tick(self, now: float) -> list[SubscriberOutput]:
        """Do what is due."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return []
        if self._notify_by is not None and now >= self._notify_by:
            if self._is_stopped:
                return self._finish()
            # RFC 6665 §4.1.2.4 would give it up; but it was granted, and a refresh brings a NOTIFY.
            self._notify_by = None
            asked_at = now + ASK_FOR_NOTIFY
            self._due_at = asked_at if self._due_at is None else min(self._due_at, asked_at)
            return []
        if self.expires_at is not None and now >= self.expires_at:
            return self._expired(now)
        return self._subscribe(now, self._expires, is_new=not self.is_established)

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        if self._is_over or self._is_outstanding:
            return None
        times = [at for at in (self._due_at, self._notify_by) if at is not None]
        if self.expires_at is not None and not self._is_stopped:
            times.append(self.expires_at)
        return min(times, default=None)

    def _subscribe(self, now: float, expires: int, is_new: bool) -> list[SubscriberOutput]:
        self._is_outstanding = True
        self._opens = is_new
        self._asked = expires
        self._due_at = None
        if is_new:
            self._opened_at = now
        return [Subscribe(expires, is_new)]

    def _unsubscribe(self, now: float) -> list[SubscriberOutput]:
        if not self.is_established:
            return self._finish()
        return self._subscribe(now, 0, is_new=False)

    def _accepted(self, expires: int, now: float) -> list[SubscriberOutput]:
        self.is_established = True
        if self._is_stopped and self._asked == 0:
            # The NOTIFY that says so is on its way, and is answered (RFC 6665 §4.1.2.3).
            self.expires_at = None
            self._notify_by = now + NOTIFY_TIMEOUT
            return []
        if self._is_stopped:
            return self._unsubscribe(now)
        self._granted_until(expires, now)
        self._notify_by = now + NOTIFY_TIMEOUT
        return []

    def _granted_until(self, expires: int, now: float) -> None:
        first, last = REFRESH_BETWEEN
        self.expires_at = now + expires
        self._due_at = now + expires * (first + (last - first) * self._share)

    def _shortened(self, expires: int, now: float) -> None:
        if self.expires_at is None or now + expires < self.expires_at - SLACK:
            self._granted_until(expires, now)

    def _told(self, state: State) -> list[SubscriberOutput]:
        if state is self._state or self._is_stopped:
            return []
        self._state = state
        return [Granted() if state is State.ACTIVE else Waiting()]

    def _refused(self, status: int | None, retry_after: float | None, now: float) -> list[SubscriberOutput]:
        if self._opens:
            self.is_established = False
            reason = "no answer" if status is None else str(status)
            return self._lose(self._class(status), reason, retry_after, now)
        if status is None or status in GONE:
            # The dialog is lost, which is no news of the contact: a new one is opened first.
            self.is_established = False
            self.expires_at = None
            if status == 481 and self._may_ask_at_once(now):
                return self._subscribe(now, self._expires, is_new=True)
            self._due_at = now + self._wait(Retry.SOON, retry_after)
            return []
        # RFC 6665 §4.1.2.2: the subscription stands until it expires.
        self._due_at = now + self._wait(self._class(status), retry_after)
        return []

    def _class(self, status: int | None) -> Retry:
        return Retry.SOON if status is None else RETRIES.get(status, Retry.LATER)

    def _expired(self, now: float) -> list[SubscriberOutput]:
        self.is_established = False
        self.expires_at = None
        if self._failures == 0:
            return self._subscribe(now, self._expires, is_new=True)
        return self._lose(Retry.SOON, "expired", None, now)

    def _terminated(
        self, again: Again, reason: str, retry_after: int | None, now: float
    ) -> list[SubscriberOutput]:
        if self._is_stopped:
            return self._finish()
        self.is_established = False
        self.expires_at = None
        self._is_outstanding = False
        if again is Again.AT_ONCE and retry_after is None and self._may_ask_at_once(now):
            return self._subscribe(now, self._expires, is_new=True)
        kind = Retry.NEVER if again is Again.NEVER else Retry.LATER
        return self._lose(kind, reason or "terminated", retry_after, now)

    def _may_ask_at_once(self, now: float) -> bool:
        return now - self._opened_at >= STABLE

    def _lose(
        self, kind: Retry, reason: str, retry_after: float | None, now: float
    ) -> list[SubscriberOutput]:
        self._state = None
        self._notify_by = None
        self._due_at = None
        if kind is Retry.NEVER and retry_after is None:
            self._is_over = True
            return [Lost(reason, None)]
        self._due_at = now + self._wait(kind, retry_after)
        return [Lost(reason, self._due_at)]

    def _wait(self, kind: Retry, retry_after: float | None) -> float:
        kind = Retry.LATER if kind is Retry.NEVER else kind
        wait: float = min(kind.first * 2 ** min(self._failures, 16), kind.longest)
        self._failures += 1
        if retry_after is not None:
            wait = max(wait, retry_after)
        return wait * (1.0 + self._share)

    def _finish(self) -> list[SubscriberOutput]:
        self._is_over = True
        self._due_at = self._notify_by = self.expires_at = None
        self._state = None
        return [Over()]
