"""Runs the transactions of RFC 3261 §17 with RFC 6026's corrections: four tables, their timers as data.

A `Machine` is a table: what happens to a transaction in a state, which state follows, and what the agent has
to do. A pair that is not in the table is ignored. Timers run as long as the states that list them. Nothing
here knows messages: `Transaction.step` returns actions, and `sip/clients.py` and `sip/servers.py` do them.

Where the tables say more than the figures of the RFCs, a comment says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """Where a transaction is."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    CANCELLING = "cancelling"
    """A CANCEL was sent for an INVITE, and its final answer is awaited (RFC 3261 §9.1)."""
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"
    ACKNOWLEDGED = "acknowledged"
    """RFC 6026's Accepted on the server after the ACK came: the 2xx is no longer sent again."""
    TERMINATED = "terminated"


class Event(Enum):
    """What happens to a transaction, besides its timers."""

    PROVISIONAL = "1xx received"
    SUCCESS = "2xx received"
    FAILURE = "300-699 received"
    CANCEL = "cancelled by the user"
    REQUEST = "request received again"
    ACK = "ACK received"
    ANSWER_PROVISIONAL = "1xx from the user"
    ANSWER_SUCCESS = "2xx from the user"
    ANSWER_FAILURE = "300-699 from the user"
    TRANSPORT_ERROR = "transport error"


class Timer(Enum):
    """The timers of RFC 3261 §17 (A to K), RFC 6026 (L, M), and those that other sections ask for."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"
    E = "E"
    F = "F"
    G = "G"
    H = "H"
    I = "I"  # noqa: E741 (the RFC's name)
    J = "J"
    K = "K"
    L = "L"
    M = "M"
    TRYING = "trying"
    """Until the agent answers an INVITE with 100 by itself (RFC 3261 §17.2.1)."""
    LATE_TRYING = "late trying"
    """The same for other requests (RFC 4320 §4.1)."""
    ACCEPTED = "accepted"
    """Between two transmissions of a 2xx to an INVITE (RFC 3261 §13.3.1.4)."""
    CANCELLED = "cancelled"
    """How long an answer to a cancelled INVITE is awaited (RFC 3261 §9.1)."""
    UNANSWERED = "unanswered"
    """How long the user may take for the final answer to an INVITE."""
    TOO_LATE = "too late"
    """When the client of another request has given up (RFC 4320 §4.2)."""


class Action(Enum):
    """What the agent has to do."""

    PASS = "pass the answer to the user"
    PASS_ACK = "pass the ACK to the user"
    SEND = "send the user's answer"
    RESEND = "send the last message again"
    SEND_TRYING = "answer 100 unless something was answered already"
    SEND_ACK = "send the ACK"
    SEND_CANCEL = "send the CANCEL"
    EXTEND = "start timer C anew"
    GIVE_UP = "answer 408 in place of the user"
    FAIL_TIMEOUT = "tell the user: time-out"
    FAIL_TRANSPORT = "tell the user: transport error"


Trigger = Event | Timer
Row = tuple[State, tuple[Action, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """One of the four state machines."""

    name: str
    first: State
    """The state it starts in."""
    rows: Mapping[tuple[State, Trigger], Row]
    timers: Mapping[State, tuple[Timer, ...]]
    """Which timers run in a state. One that runs in the state before too keeps running."""


INVITE_CLIENT = Machine(
    "INVITE client",
    State.CALLING,
    {
        # RFC 3261 §17.1.1.2 and figure 5
        (State.CALLING, Timer.A): (State.CALLING, (Action.RESEND,)),
        (State.CALLING, Timer.B): (State.TERMINATED, (Action.FAIL_TIMEOUT,)),
        (State.CALLING, Event.TRANSPORT_ERROR): (State.TERMINATED, (Action.FAIL_TRANSPORT,)),
        (State.CALLING, Event.PROVISIONAL): (State.PROCEEDING, (Action.PASS,)),
        (State.CALLING, Event.SUCCESS): (State.ACCEPTED, (Action.PASS,)),  # RFC 6026 §7.2
        (State.CALLING, Event.FAILURE): (State.COMPLETED, (Action.SEND_ACK, Action.PASS)),
        (State.PROCEEDING, Event.PROVISIONAL): (State.PROCEEDING, (Action.EXTEND, Action.PASS)),
        (State.PROCEEDING, Event.SUCCESS): (State.ACCEPTED, (Action.PASS,)),
        (State.PROCEEDING, Event.FAILURE): (State.COMPLETED, (Action.SEND_ACK, Action.PASS)),
        # The figure knows no end of waiting: RFC 3261 §16.8 does, and it keeps us from leaking.
        (State.PROCEEDING, Timer.C): (State.CANCELLING, (Action.SEND_CANCEL,)),
        # A connection that is gone brings no answer: the next hop can be tried at once.
        (State.PROCEEDING, Event.TRANSPORT_ERROR): (State.TERMINATED, (Action.FAIL_TRANSPORT,)),
        # RFC 3261 §9.1; a user who cancels while CALLING is kept waiting for the first answer by the agent.
        (State.PROCEEDING, Event.CANCEL): (State.CANCELLING, (Action.SEND_CANCEL,)),
        (State.CANCELLING, Event.PROVISIONAL): (State.CANCELLING, (Action.PASS,)),
        (State.CANCELLING, Event.SUCCESS): (State.ACCEPTED, (Action.PASS,)),
        (State.CANCELLING, Event.FAILURE): (State.COMPLETED, (Action.SEND_ACK, Action.PASS)),
        (State.CANCELLING, Timer.CANCELLED): (State.TERMINATED, (Action.FAIL_TIMEOUT,)),
        (State.CANCELLING, Event.TRANSPORT_ERROR): (State.TERMINATED, (Action.FAIL_TRANSPORT,)),
        (State.COMPLETED, Event.FAILURE): (State.COMPLETED, (Action.SEND_ACK,)),
        (State.COMPLETED, Timer.D): (State.TERMINATED, ()),
        # The figure informs the user; ours has the final answer and is told one thing only.
        (State.COMPLETED, Event.TRANSPORT_ERROR): (State.TERMINATED, ()),
        # RFC 6026 §8.4: each 2xx reaches the core, which answers it with the ACK that the user gave.
        (State.ACCEPTED, Event.SUCCESS): (State.ACCEPTED, (Action.PASS,)),
        (State.ACCEPTED, Timer.M): (State.TERMINATED, ()),
    },
    {
        State.CALLING: (Timer.A, Timer.B),
        State.PROCEEDING: (Timer.C,),
        State.CANCELLING: (Timer.CANCELLED,),
        State.COMPLETED: (Timer.D,),
        State.ACCEPTED: (Timer.M,),
    },
)

CLIENT = Machine(
    "non-INVITE client",
    State.TRYING,
    {
        # RFC 3261 §17.1.2.2 and figure 6
        (State.TRYING, Timer.E): (State.TRYING, (Action.RESEND,)),
        (State.TRYING, Timer.F): (State.TERMINATED, (Action.FAIL_TIMEOUT,)),
        (State.TRYING, Event.TRANSPORT_ERROR): (State.TERMINATED, (Action.FAIL_TRANSPORT,)),
        (State.TRYING, Event.PROVISIONAL): (State.PROCEEDING, (Action.PASS,)),
        (State.TRYING, Event.SUCCESS): (State.COMPLETED, (Action.PASS,)),
        (State.TRYING, Event.FAILURE): (State.COMPLETED, (Action.PASS,)),
        (State.PROCEEDING, Timer.E): (State.PROCEEDING, (Action.RESEND,)),
        (State.PROCEEDING, Timer.F): (State.TERMINATED, (Action.FAIL_TIMEOUT,)),
        (State.PROCEEDING, Event.TRANSPORT_ERROR): (State.TERMINATED, (Action.FAIL_TRANSPORT,)),
        (State.PROCEEDING, Event.PROVISIONAL): (State.PROCEEDING, (Action.PASS,)),
        (State.PROCEEDING, Event.SUCCESS): (State.COMPLETED, (Action.PASS,)),
        (State.PROCEEDING, Event.FAILURE): (State.COMPLETED, (Action.PASS,)),
        (State.COMPLETED, Timer.K): (State.TERMINATED, ()),
    },
    {
        State.TRYING: (Timer.E, Timer.F),
        State.PROCEEDING: (Timer.E, Timer.F),
        State.COMPLETED: (Timer.K,),
    },
)

# A transport error changes nothing on the server (RFC 6026 §8.8 for INVITE): the client sends again, must be
# answered again, and the user must not see the request a second time. So no table below has that event.

INVITE_SERVER = Machine(
    "INVITE server",
    State.PROCEEDING,
    {
        # RFC 3261 §17.2.1, RFC 6026 §7.1
        (State.PROCEEDING, Timer.TRYING): (State.PROCEEDING, (Action.SEND_TRYING,)),
        (State.PROCEEDING, Event.REQUEST): (State.PROCEEDING, (Action.RESEND,)),
        (State.PROCEEDING, Event.ANSWER_PROVISIONAL): (State.PROCEEDING, (Action.SEND,)),
        (State.PROCEEDING, Event.ANSWER_SUCCESS): (State.ACCEPTED, (Action.SEND,)),
        (State.PROCEEDING, Event.ANSWER_FAILURE): (State.COMPLETED, (Action.SEND,)),
        # A user who never answers must not leave a transaction behind.
        (State.PROCEEDING, Timer.UNANSWERED): (State.PROCEEDING, (Action.GIVE_UP,)),
        (State.COMPLETED, Event.REQUEST): (State.COMPLETED, (Action.RESEND,)),
        (State.COMPLETED, Timer.G): (State.COMPLETED, (Action.RESEND,)),
        (State.COMPLETED, Event.ACK): (State.CONFIRMED, ()),
        # The figure informs the user, who refused and has nothing to undo.
        (State.COMPLETED, Timer.H): (State.TERMINATED, ()),
        (State.CONFIRMED, Timer.I): (State.TERMINATED, ()),
        # RFC 3261 §13.3.1.4 gives the repetition of the 2xx to the core. It stands here because it needs
        # this transaction's time and its ACK, and so that no user of the agent has to do it.
        (State.ACCEPTED, Timer.ACCEPTED): (State.ACCEPTED, (Action.RESEND,)),
        (State.ACCEPTED, Event.ACK): (State.ACKNOWLEDGED, (Action.PASS_ACK,)),
        # No ACK in 64*T1: the user should end the dialog with a BYE (RFC 3261 §13.3.1.4).
        (State.ACCEPTED, Timer.L): (State.TERMINATED, (Action.FAIL_TIMEOUT,)),
        (State.ACKNOWLEDGED, Timer.L): (State.TERMINATED, ()),
    },
    {
        State.PROCEEDING: (Timer.TRYING, Timer.UNANSWERED),
        State.COMPLETED: (Timer.G, Timer.H),
        State.CONFIRMED: (Timer.I,),
        State.ACCEPTED: (Timer.ACCEPTED, Timer.L),
        State.ACKNOWLEDGED: (Timer.L,),
    },
)

SERVER = Machine(
    "non-INVITE server",
    State.TRYING,
    {
        # RFC 3261 §17.2.2 and figure 8
        (State.TRYING, Timer.LATE_TRYING): (State.PROCEEDING, (Action.SEND_TRYING,)),
        (State.TRYING, Event.ANSWER_PROVISIONAL): (State.PROCEEDING, (Action.SEND,)),
        (State.TRYING, Event.ANSWER_SUCCESS): (State.COMPLETED, (Action.SEND,)),
        (State.TRYING, Event.ANSWER_FAILURE): (State.COMPLETED, (Action.SEND,)),
        # The client has given up and must not be answered any more (RFC 4320 §4.2). What it sent last may
        # still be under way, so the request is remembered for as long as an answered one.
        (State.TRYING, Timer.TOO_LATE): (State.COMPLETED, (Action.FAIL_TIMEOUT,)),
        (State.PROCEEDING, Event.REQUEST): (State.PROCEEDING, (Action.RESEND,)),
        (State.PROCEEDING, Event.ANSWER_PROVISIONAL): (State.PROCEEDING, (Action.SEND,)),
        (State.PROCEEDING, Event.ANSWER_SUCCESS): (State.COMPLETED, (Action.SEND,)),
        (State.PROCEEDING, Event.ANSWER_FAILURE): (State.COMPLETED, (Action.SEND,)),
        (State.PROCEEDING, Timer.TOO_LATE): (State.COMPLETED, (Action.FAIL_TIMEOUT,)),
        (State.COMPLETED, Event.REQUEST): (State.COMPLETED, (Action.RESEND,)),
        (State.COMPLETED, Timer.J): (State.TERMINATED, ()),
    },
    {
        State.TRYING: (Timer.LATE_TRYING, Timer.TOO_LATE),
        State.PROCEEDING: (Timer.TOO_LATE,),
        State.COMPLETED: (Timer.J,),
    },
)

MACHINES = (INVITE_CLIENT, CLIENT, INVITE_SERVER, SERVER)


@dataclass(frozen=True, slots=True)
class Timers:
    """The values that the timers are made of, in seconds (RFC 3261 table 4)."""

    t1: float = 0.5
    """Estimate of the round trip time."""
    t2: float = 4.0
    """The longest time between two transmissions of the same message."""
    t4: float = 5.0
    """The longest time that a message stays in the network."""
    trying: float = 0.2
    """When an INVITE is answered with 100."""
    c: float = 185.0
    """How long a client waits for the next answer to an INVITE after a 1xx: over three minutes."""
    unanswered: float = 240.0
    """How long a user may take for the final answer to an INVITE."""


Length = tuple[str, float]
"""A field of Timers, and how often it is taken."""

LENGTHS: Mapping[Timer, tuple[Length | None, Length | None]] = {
    # timer: (over an unreliable transport, over a reliable one); None: it does not run; 0: over at once
    Timer.A: (("t1", 1), None),
    Timer.B: (("t1", 64), ("t1", 64)),
    Timer.C: (("c", 1), ("c", 1)),
    Timer.D: (("t1", 64), ("t1", 0)),
    Timer.E: (("t1", 1), None),
    Timer.F: (("t1", 64), ("t1", 64)),
    Timer.G: (("t1", 1), None),
    Timer.H: (("t1", 64), ("t1", 64)),
    Timer.I: (("t4", 1), ("t4", 0)),
    Timer.J: (("t1", 64), ("t1", 0)),
    Timer.K: (("t4", 1), ("t4", 0)),
    Timer.L: (("t1", 64), ("t1", 64)),
    Timer.M: (("t1", 64), ("t1", 64)),
    Timer.TRYING: (("trying", 1), ("trying", 1)),
    Timer.LATE_TRYING: (("t1", 7), ("t1", 7)),  # when timer E reaches T2: T1 + 2*T1 + 4*T1
    Timer.ACCEPTED: (("t1", 1), ("t1", 1)),  # over TCP too: a hop behind may lose it (§13.3.1.4)
    Timer.CANCELLED: (("t1", 64), ("t1", 64)),
    Timer.UNANSWERED: (("unanswered", 1), ("unanswered", 1)),
    Timer.TOO_LATE: (("t1", 64), ("t1", 64)),
}


class Growth(Enum):
    """How a timer that fires again and again goes on."""

    DOUBLE = "twice as long"
    DOUBLE_TO_T2 = "twice as long, at most T2"
    T2 = "T2"


REPEATED: Mapping[tuple[State, Timer], Growth] = {
    (State.CALLING, Timer.A): Growth.DOUBLE,
    (State.TRYING, Timer.E): Growth.DOUBLE_TO_T2,
    (State.PROCEEDING, Timer.E): Growth.T2,
    (State.COMPLETED, Timer.G): Growth.DOUBLE_TO_T2,
    (State.ACCEPTED, Timer.ACCEPTED): Growth.DOUBLE_TO_T2,
}


class Schedule:
    """The lengths of all timers for one choice of Timers."""

    __slots__ = ("first", "timers")

    def __init__(self, timers: Timers) -> None:
        self.timers = timers
        self.first: dict[tuple[Timer, bool], float | None] = {
            (timer, is_reliable): length and getattr(timers, length[0]) * length[1]
            for timer, lengths in LENGTHS.items()
            for is_reliable, length in zip((False, True), lengths, strict=True)
        }
        """By timer and whether the transport is reliable; None where it does not run."""

    def after(self, state: State, timer: Timer, length: float) -> float | None:
        """How long `timer` runs after it fired in `state`, having run for `length`; None if it is over."""
        growth = REPEATED.get((state, timer))
        if growth is None:
            return None
        if growth is Growth.T2:
            return self.timers.t2
        return length * 2 if growth is Growth.DOUBLE else min(length * 2, self.timers.t2)


class Transaction:
    """One transaction: its state and its running timers."""

    __slots__ = ("_running", "_schedule", "is_reliable", "key", "machine", "queued", "state")

    def __init__(self, machine: Machine, schedule: Schedule, is_reliable: bool, now: float) -> None:
        self.machine = machine
        self.state = machine.first
        self.is_reliable = is_reliable
        self.key = 0
        """Its number, given by the register that keeps it."""
        self.queued: float | None = None
        """For the register: the time under which it stands in its queue."""
        self._schedule = schedule
        self._running: dict[Timer, tuple[float, float]] = {}  # when it fires, and how long it ran
        for timer in machine.timers[machine.first]:
            self.start(timer, now)

    @property
    def is_over(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.state is State.TERMINATED

    @property
    def running(self) -> dict[Timer, float]:
        """The timers that run, and when each fires."""
        return {timer: due for timer, (due, _) in self._running.items()}

    def deadline(self) -> float | None:
        """When the next timer fires."""
        return min(self._running.values())[0] if self._running else None

    def start(self, timer: Timer, now: float) -> None:
        """Start a timer, or start it anew; one that does not run over this transport is left alone."""
        length = self._schedule.first[timer, self.is_reliable]
        if length is not None:
            self._running[timer] = (now + length, length)

    def step(self, trigger: Trigger, now: float) -> tuple[Action, ...]:
        """Go to the state that follows; return what is to be done, in order."""
        row = self.machine.rows.get((self.state, trigger))
        if row is None:
            return ()
        state, actions = row
        if state is self.state:
            return actions
        return actions + self._enter(state, now)

    def _enter(self, state: State, now: float) -> tuple[Action, ...]:
        wanted = self.machine.timers.get(state, ())
        before, self._running = self._running, {}
        kept = self.machine.timers.get(self.state, ())
        self.state = state
        for timer in wanted:
            if timer not in kept:
                self.start(timer, now)
            elif timer in before:
                self._running[timer] = before[timer]
        for timer, (due, length) in self._running.items():
            if not length and due <= now:
                # "Zero seconds" over a reliable transport: the state is left as soon as it is entered.
                return self.step(timer, now)
        return ()

    def fire(self, now: float) -> tuple[Action, ...]:
        """Let the timers that are due do their part; return what is to be done, in order."""
        done: tuple[Action, ...] = ()
        for timer in sorted(self._running, key=lambda each: self._running[each][0]):
            due = self._running.get(timer)
            if due is None or due[0] > now:
                continue
            del self._running[timer]
            length = self._schedule.after(self.state, timer, due[1])
            if length is not None:
                self._running[timer] = (now + length, length)
            done += self.step(timer, now)
        return done
