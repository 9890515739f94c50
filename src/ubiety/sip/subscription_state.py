"""The Subscription-State header as a value, and what its reasons ask of a subscriber (RFC 6665 §4.1.3)."""

from dataclasses import dataclass
from enum import Enum
from typing import Final


class State(Enum):
    """The state of a subscription as a notifier tells it (RFC 6665 §4.1.3)."""

    PENDING = "pending"
    ACTIVE = "active"
    TERMINATED = "terminated"


class Again(Enum):
    """Whether and when a subscriber whose subscription was ended may ask again."""

    AT_ONCE = "at once"
    LATER = "later"
    NEVER = "never"


AGAIN: Final[dict[str, Again]] = {
    "deactivated": Again.AT_ONCE,
    "probation": Again.LATER,
    "rejected": Again.NEVER,
    "timeout": Again.AT_ONCE,
    "giveup": Again.LATER,
    "noresource": Again.NEVER,
    "invariant": Again.NEVER,
}
"""What each reason of a terminated subscription means; one that is not listed means later (§4.1.3)."""


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """One Subscription-State header: seconds are whole, as on the wire; an absent parameter is None."""

    state: State
    reason: str = ""
    expires: int | None = None
    retry_after: int | None = None

    @property
    def again(self) -> Again:
        """Whether a subscriber may ask again after this was the last word."""
        return AGAIN.get(self.reason, Again.LATER)

    def __str__(self) -> str:
        text = self.state.value
        if self.reason:
            text += f";reason={self.reason}"
        if self.expires is not None:
            text += f";expires={self.expires}"
        if self.retry_after is not None:
            text += f";retry-after={self.retry_after}"
        return text


def parse_state(text: str) -> SubscriptionState:
    """Return the header's value.

    A state that nobody knows counts as active, as if it had not been extended (RFC 6665 §4.1.3 asks to
    treat unknown ones so that the subscription is kept); numbers that are none count as absent.
    """
    name, *params = [part.strip() for part in text.split(";")]
    values = dict(_parameter(param) for param in params if param)
    try:
        state = State(name.lower())
    except ValueError:
        state = State.ACTIVE
    return SubscriptionState(
        state,
        values.get("reason", "").lower(),
        _seconds(values.get("expires")),
        _seconds(values.get("retry-after")),
    )


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')


def _seconds(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 10:
        return None
    return int(text)
