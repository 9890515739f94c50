"""One dialog of an IM conversation as a table, and the orders that a conversation gives.

A conversation has one dialog as a rule; two for a moment when both sides call at once, or when the other side
has forgotten the old one.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Leg(Enum):
    """Where a dialog is."""

    CALLING = auto()
    """Our INVITE is on its way."""
    CANCELLING = auto()
    """We have given up on our INVITE; its final answer is still to come."""
    ANSWERING = auto()
    """Their INVITE carries a message whose verdict is awaited."""
    ANSWERED = auto()
    """We have accepted; the ACK is to come."""
    ENDING = auto()
    """As ANSWERED, but it is to end: RFC 3261 §15 forbids the callee to hang up before the ACK."""
    OPEN = auto()
    CLOSING = auto()
    """We have hung up; messages that cross the BYE are still taken."""
    OVER = auto()


class Event(Enum):
    """What happens to a dialog."""

    ACCEPTED = auto()
    """2xx to our INVITE."""
    REFUSED = auto()
    """Another final answer to our INVITE, or none at all."""
    TAKEN = auto()
    """The message in their INVITE is settled, or there was none."""
    UNTAKEN = auto()
    """It is refused."""
    CANCELLED = auto()
    """They cancel their INVITE."""
    ACKNOWLEDGED = auto()
    LEFT = auto()
    """They hang up."""
    GONE = auto()
    """They do not know the dialog any more: 481 (RFC 3261 §12.2.1.2)."""
    CLOSED = auto()
    """Our BYE is answered."""
    END = auto()
    """We want it to end."""
    LATE = auto()
    """The time of the state is over."""


class Do(Enum):
    """What goes with a transition."""

    ACK = auto()
    CANCEL = auto()
    ACCEPT = auto()
    """Answer their INVITE 200."""
    REFUSE = auto()
    """Answer their INVITE with the status of the verdict."""
    TERMINATE = auto()
    """Answer their INVITE 487."""
    BYE = auto()


TRANSITIONS: Final[dict[tuple[Leg, Event], tuple[Leg, tuple[Do, ...]]]] = {
    (Leg.CALLING, Event.ACCEPTED): (Leg.OPEN, (Do.ACK,)),
    (Leg.CALLING, Event.REFUSED): (Leg.OVER, ()),
    (Leg.CALLING, Event.END): (Leg.CANCELLING, (Do.CANCEL,)),
    (Leg.CALLING, Event.LATE): (Leg.CANCELLING, (Do.CANCEL,)),
    (Leg.CANCELLING, Event.ACCEPTED): (Leg.CLOSING, (Do.ACK, Do.BYE)),  # RFC 3261 §9.1: they crossed
    (Leg.CANCELLING, Event.REFUSED): (Leg.OVER, ()),
    (Leg.CANCELLING, Event.LATE): (Leg.OVER, ()),
    (Leg.ANSWERING, Event.TAKEN): (Leg.ANSWERED, (Do.ACCEPT,)),
    (Leg.ANSWERING, Event.UNTAKEN): (Leg.OVER, (Do.REFUSE,)),
    (Leg.ANSWERING, Event.LATE): (Leg.OVER, (Do.REFUSE,)),
    (Leg.ANSWERING, Event.END): (Leg.OVER, (Do.REFUSE,)),
    (Leg.ANSWERING, Event.CANCELLED): (Leg.OVER, (Do.TERMINATE,)),
    (Leg.ANSWERING, Event.LEFT): (Leg.OVER, (Do.TERMINATE,)),
    (Leg.ANSWERED, Event.ACKNOWLEDGED): (Leg.OPEN, ()),
    (Leg.ANSWERED, Event.LEFT): (Leg.OVER, ()),
    (Leg.ANSWERED, Event.END): (Leg.ENDING, ()),
    (Leg.ANSWERED, Event.LATE): (Leg.CLOSING, (Do.BYE,)),  # RFC 3261 §13.3.1.4: never acknowledged
    (Leg.ENDING, Event.ACKNOWLEDGED): (Leg.CLOSING, (Do.BYE,)),
    (Leg.ENDING, Event.LEFT): (Leg.OVER, ()),
    (Leg.ENDING, Event.LATE): (Leg.CLOSING, (Do.BYE,)),
    (Leg.OPEN, Event.LEFT): (Leg.OVER, ()),
    (Leg.OPEN, Event.GONE): (Leg.OVER, ()),
    (Leg.OPEN, Event.END): (Leg.CLOSING, (Do.BYE,)),
    (Leg.OPEN, Event.LATE): (Leg.CLOSING, (Do.BYE,)),  # nobody has written for long
    (Leg.CLOSING, Event.CLOSED): (Leg.OVER, ()),
    (Leg.CLOSING, Event.LEFT): (Leg.OVER, ()),
    (Leg.CLOSING, Event.LATE): (Leg.OVER, ()),
}
"""(state, event) -> (next state, what to do). What is not listed changes nothing."""

TAKES_MESSAGES: Final = frozenset({Leg.ANSWERED, Leg.ENDING, Leg.OPEN, Leg.CLOSING})
COMING: Final = frozenset({Leg.CALLING, Leg.ANSWERING, Leg.ANSWERED})


@dataclass(slots=True, eq=False)
class Line:
    """One dialog, or what is to become one."""

    id: int
    call_id: str
    is_caller: bool
    state: Leg
    deadline: float
    key: int = 0
    """Their INVITE."""
    first: str | None = None
    """The message in their INVITE."""
    opened_at: float = 0.0
    is_lost: bool = False
    """Another dialog has taken its place: no new message goes out on it, and it ends."""
    is_telling: bool = False
    """An INFO of ours is not answered yet."""
    can_tell: bool = True
    """They understand INFO."""


# -- orders --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Invite:
    """Send an INVITE; ``first`` is the value of ``ms-text-format``, "" without a message in it."""

    line: int
    call_id: str
    first: str = ""


@dataclass(frozen=True, slots=True)
class Ack:
    """Acknowledge the 2xx to the INVITE."""

    line: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel the INVITE."""

    line: int


@dataclass(frozen=True, slots=True)
class Bye:
    """Send BYE."""

    line: int


@dataclass(frozen=True, slots=True)
class SendText:
    """Send a MESSAGE."""

    line: int
    ref: int
    text: str


@dataclass(frozen=True, slots=True)
class SendTyping:
    """Send an INFO."""

    line: int
    is_typing: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a request. ``took_first``: say that the message in the INVITE was taken (MS-SIP)."""

    key: int
    status: int
    line: int
    took_first: bool = False


@dataclass(frozen=True, slots=True)
class Deliver:
    """Pass a message on; then tell ``ImSession.verdict(key, status, now)``."""

    key: int
    text: str


@dataclass(frozen=True, slots=True)
class Composing:
    """Show that they write, or have stopped."""

    is_typing: bool


@dataclass(frozen=True, slots=True)
class Sent:
    """The other side has taken a message."""

    ref: int


@dataclass(frozen=True, slots=True)
class Unsent:
    """The other side will not get a message: the status of the final answer."""

    ref: int
    status: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A dialog is established: from now on it is worth keeping."""

    line: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A dialog is over: nothing is sent on it any more; what still comes for it gets 481."""

    line: int


Output = (
    Invite
    | Ack
    | Cancel
    | Bye
    | SendText
    | SendTyping
    | Answer
    | Deliver
    | Composing
    | Sent
    | Unsent
    | Opened
    | Ended
)


@dataclass(frozen=True, slots=True)
class Times:
    """How long things may last, in seconds."""

    answer: float = 180.0
    """Until somebody takes our call: a person may have to be asked."""
    final: float = 40.0
    """For an answer that the transaction should have given after 32 s."""
    verdict: float = 5.0
    """Until a message from the other side is settled here; then it gets 503."""
    idle: float = 600.0
    """Without a word before a conversation is ended."""
    typing: float = 15.0
    """After which "writes a message" is taken back unless it is repeated."""
    repeat_typing: float = 8.0
    """Between two notices that somebody here still writes."""
    longest_typing: float = 60.0
    """For which that is repeated."""
    glare: float = 5.0
    """In which two calls in opposite directions count as made at once."""
    grace: float = 10.0
    """Until the callee hangs up the call that lost; its caller does at once."""
    retry: float = 2.1
    """Before calling again after 491, doubled for whom ``share`` is 1 (RFC 3261 §14.1)."""


DEFAULT_TIMES: Final = Times()
