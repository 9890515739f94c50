"""One conversation in instant messages over SIP, between one of our people and an outsider.

*Session mode*, as Microsoft's servers do it (MS-SIP, MS-CONFIM): an INVITE makes a dialog, MESSAGE and INFO
(typing) travel in it both ways, BYE ends it. Who writes first calls; the session lives until nobody writes
for a while. Our messages go out in order, one at a time: the next one when the one before is answered.

*Pager mode* (RFC 3428), for other peers: each message is a MESSAGE outside of dialogs, and otherwise all is
the same. What comes is taken in either mode.

**Both call at once** (RFC 3261 knows no rule for that). Both calls are accepted, so that no message is lost
and nobody sees a failure. Then the dialog with the lower Call-ID stays; the other one is ended by its caller
as soon as nothing of his is on its way in it, by the callee after a grace. Both sides come to the same result
without talking about it, and a side that knows no such rule just keeps what is left.

**A new call while a dialog is open**: the other side has forgotten the old one, so the new one replaces it.

**481**: the other side does not know the dialog. The message was not taken, so it is sent once more, in a new
dialog. A message without an answer (408) may have been taken: it is not repeated, its sender is told.

What the outside asks for is a request's *key*; what we send is a *ref*. Every ``Deliver`` is followed by one
``Answer``, every ref by one ``Sent`` or ``Unsent``. Nothing is acknowledged that was not settled before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ubiety.sip import imtext
from ubiety.sip.imleg import (
    COMING,
    DEFAULT_TIMES,
    TAKES_MESSAGES,
    TRANSITIONS,
    Ack,
    Answer,
    Bye,
    Cancel,
    Composing,
    Deliver,
    Do,
    Ended,
    Event,
    Invite,
    Leg,
    Line,
    Opened,
    Output,
    SendText,
    SendTyping,
    Sent,
    Times,
    Unsent,
)
from ubiety.sip.imtext import Body, Text, Typing

MAX_LINES: Final = 6
"""Dialogs of one conversation; whoever calls more often at once gets 486."""
MAX_QUEUED: Final = 1000
"""Messages that may wait for the other side."""
MAX_PENDING: Final = 100
"""Messages of the other side that may wait for their verdict; more get 503."""
CALLS: Final = 3
"""How often a call is tried that meets 491."""

NO_LINE: Final = 0
"""Stands for a line where a message travels outside of dialogs."""
GONE: Final = 481
LOST: Final = 503
"""A message that did not get out, or that nobody took, goes once more: as 481 (RFC 3261 §8.1.3.1)."""


@dataclass(slots=True, eq=False)
class _Item:
    ref: int
    text: str
    is_again: bool = False


class ImSession:
    """The state of one conversation. Pure: every call returns what is to be done."""

    __slots__ = (
        "_call_at",
        "_call_id",
        "_calls",
        "_flying",
        "_flying_on",
        "_is_closed",
        "_is_typing",
        "_lines",
        "_next_line",
        "_out",
        "_pending",
        "_queue",
        "_share",
        "_they_type_until",
        "_told",
        "_type_again_at",
        "_type_until",
        "first_in_invite",
        "is_pager",
        "times",
    )

    def __init__(
        self,
        call_id: Callable[[], str],
        share: float = 0.5,
        times: Times = DEFAULT_TIMES,
        first_in_invite: bool = True,
        is_pager: bool = False,
    ) -> None:
        """``call_id`` makes Call-IDs; ``share`` from 0 to 1 spreads retries; see ``Times``.

        ``is_pager``: send messages outside of dialogs while they have made none.
        """
        self.times = times
        self.is_pager = is_pager
        self.first_in_invite = first_in_invite
        self._call_id = call_id
        self._share = share
        self._lines: dict[int, Line] = {}
        self._next_line = 1
        self._queue: list[_Item] = []  # short; an empty deque is 600 bytes
        self._flying: _Item | None = None
        self._flying_on = NO_LINE
        self._pending: dict[int, tuple[int, float]] = {}  # their request -> (line, until when)
        self._calls = 0
        self._call_at: float | None = None
        self._is_closed = False
        self._they_type_until: float | None = None
        self._type_again_at: float | None = None
        self._type_until = 0.0
        self._is_typing = False
        self._told = False  # what they know of our typing
        self._out: list[Output] = []

    # -- to be asked -----------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether nothing is left: no dialog, nothing to send, nobody waits."""
        is_silent = self._they_type_until is None
        return is_silent and not (self._lines or self._queue or self._flying or self._pending)

    @property
    def is_flying(self) -> bool:
        """Whether a message of ours is on its way."""
        return self._flying is not None

    @property
    def is_full(self) -> bool:
        """Whether no more messages should be queued."""
        return len(self._queue) >= MAX_QUEUED

    @property
    def lines(self) -> tuple[Line, ...]:
        """The dialogs, for display and tests."""
        return tuple(self._lines.values())

    @property
    def waiting(self) -> int:
        """How many of our messages have no answer yet."""
        return len(self._queue) + (self._flying is not None)

    def deadline(self) -> float | None:
        """Return when ``tick`` is to be called at the latest."""
        times = [line.deadline for line in self._lines.values()]
        times += [until for _, until in self._pending.values()]
        times += [t for t in (self._call_at, self._they_type_until, self._type_again_at) if t is not None]
        return min(times, default=None)

    # -- from our person -------------------------------------------------------------------------------------

    def send(self, ref: int, text: str, now: float) -> list[Output]:
        """Send a message in its turn; ``Sent(ref)`` or ``Unsent(ref)`` follows."""
        self._queue.append(_Item(ref, text))
        self._is_typing = self._told = False  # a message says that it is written
        self._type_again_at = None
        return self._finish(now)

    def type(self, is_typing: bool, now: float) -> list[Output]:
        """Tell that our person writes or has stopped. Never calls anybody for that."""
        self._is_typing = is_typing
        self._type_until = now + self.times.longest_typing
        return self._finish(now)

    def close(self, now: float) -> list[Output]:
        """End all dialogs and call nobody any more; what is queued stays unsent."""
        self._is_closed = True
        self._call_at = None
        for line in list(self._lines.values()):
            self._step(line, Event.END, now)
        return self._finish(now)

    def restored(self, call_id: str, is_caller: bool, now: float) -> int:
        """Go on with an open dialog that another node, or this one before a restart, had; return its line."""
        line = self._add_line(call_id, is_caller, Leg.OPEN, now + self.times.idle)
        line.opened_at = now - self.times.glare
        return line.id

    # -- requests of theirs ----------------------------------------------------------------------------------

    def invited(self, key: int, call_id: str, first: str | None, now: float) -> tuple[int, list[Output]]:
        """They call, with a message in the INVITE or none. Returns the line, 0 when it is refused."""
        if len(self._lines) >= MAX_LINES or self._is_closed:
            self._out.append(Answer(key, 486 if self._lines else 480, 0))
            return 0, self._finish(now)
        for line in self._lines.values():
            if line.state is Leg.OPEN and line.opened_at + self.times.glare <= now:
                line.is_lost = True  # they have forgotten it
                line.deadline = min(line.deadline, now + self.times.grace)
        line = self._add_line(call_id, False, Leg.ANSWERING, now + self.times.verdict)
        line.key, line.first = key, first
        if first is None:
            self._step(line, Event.TAKEN, now)
        else:
            self._deliver(line.id, key, first, now)
            if key not in self._pending:
                self._step(line, Event.UNTAKEN, now, LOST)
        return line.id, self._finish(now)

    def reinvited(self, line_id: int, key: int, now: float) -> list[Output]:
        """They ask again within the dialog: whether it lives, or for other terms."""
        line = self._lines.get(line_id)
        if line is None or line.state in (Leg.CLOSING, Leg.ENDING):
            status = GONE
        elif line.state is Leg.OPEN:
            status = 200
            line.deadline = max(line.deadline, now + self.times.idle)
        else:
            status = 500 if line.state is Leg.ANSWERED else 491  # RFC 3261 §14.2
        self._out.append(Answer(key, status, line_id))
        return self._finish(now)

    def acknowledged(self, line_id: int, now: float) -> list[Output]:
        """Their ACK."""
        self._step_by_id(line_id, Event.ACKNOWLEDGED, now)
        return self._finish(now)

    def cancelled(self, line_id: int, now: float) -> list[Output]:
        """They cancel their INVITE. A message in it may have been passed on already."""
        self._step_by_id(line_id, Event.CANCELLED, now)
        return self._finish(now)

    def received(self, line_id: int, key: int, body: Body, now: float) -> list[Output]:
        """A MESSAGE or INFO in a dialog."""
        line = self._lines.get(line_id)
        if line is None or line.state not in TAKES_MESSAGES:
            self._out.append(Answer(key, GONE, line_id))
            return self._finish(now)
        if line.state in (Leg.ANSWERED, Leg.ENDING):
            self._step(line, Event.ACKNOWLEDGED, now)  # who writes has got our 200
        if line.state is Leg.OPEN and not line.is_lost:
            line.deadline = now + self.times.idle
        self._read(line_id, key, body, now)
        return self._finish(now)

    def paged(self, key: int, body: Body, now: float) -> list[Output]:
        """A MESSAGE outside of dialogs (RFC 3428)."""
        self._read(NO_LINE, key, body, now)
        return self._finish(now)

    def left(self, line_id: int, key: int, now: float) -> list[Output]:
        """They hang up."""
        known = line_id in self._lines
        self._out.append(Answer(key, 200 if known else GONE, line_id))
        self._step_by_id(line_id, Event.LEFT, now)
        if known:
            self._show_typing(False, now)
        return self._finish(now)

    def verdict(self, key: int, status: int, now: float) -> list[Output]:
        """What became of a message that was delivered: 200, or the status that refuses it."""
        found = self._pending.pop(key, None)
        if found is None:
            return []  # it took too long and was answered
        line = self._lines.get(found[0])
        if line is not None and line.key == key and line.state is Leg.ANSWERING:
            self._step(line, Event.TAKEN if status == 200 else Event.UNTAKEN, now, status)
        elif line is None or line.key != key:
            self._out.append(Answer(key, status, found[0]))
        return self._finish(now)

    # -- answers to ours -------------------------------------------------------------------------------------

    def accepted(self, line_id: int, took_first: bool, now: float) -> list[Output]:
        """A 2xx to our INVITE. ``took_first``: it says that the message in it was taken."""
        line = self._lines.get(line_id)
        if line is None or line.state not in (Leg.CALLING, Leg.CANCELLING):
            return []
        item = self._land(line_id)
        if item is not None and took_first:
            self._out.append(Sent(item.ref))
        elif item is not None:
            self._queue.insert(0, item)
        was_given_up = line.state is Leg.CANCELLING
        self._step(line, Event.ACCEPTED, now)
        if was_given_up:
            self._give_up(408, now)
        return self._finish(now)

    def refused(self, line_id: int, status: int, now: float) -> list[Output]:
        """Another final answer to our INVITE, or none: 408; or no way to send it: 503."""
        line = self._lines.get(line_id)
        if line is None or line.state not in (Leg.CALLING, Leg.CANCELLING):
            return []
        if line.state is Leg.CANCELLING:
            status = 408
        self._put_back(line_id, status)
        self._step(line, Event.REFUSED, now)
        self._give_up(status, now)
        return self._finish(now)

    def answered(self, line_id: int, status: int, now: float) -> list[Output]:
        """The final answer to our MESSAGE: 408 if there was none, 503 if it did not get out."""
        item = self._land(line_id)
        if item is None:
            return []
        line = self._lines.get(line_id)
        if status < 300:
            self._out.append(Sent(item.ref))
            if line is not None and line.state is Leg.OPEN and not line.is_lost:
                line.deadline = now + self.times.idle
        elif status in (GONE, LOST) and not item.is_again and line_id != NO_LINE:
            item.is_again = True
            self._queue.insert(0, item)
        else:
            self._out.append(Unsent(item.ref, status))
        if line is not None and status == GONE:
            self._step(line, Event.GONE, now)
        elif line is not None and status in (408, LOST):
            self._step(line, Event.END, now)  # RFC 3261 §12.2.1.2
        return self._finish(now)

    def told(self, line_id: int, status: int, now: float) -> list[Output]:
        """The final answer to our INFO."""
        line = self._lines.get(line_id)
        if line is None:
            return []
        line.is_telling = False
        if status == GONE:
            self._step(line, Event.GONE, now)
        elif status == 408:
            self._step(line, Event.END, now)
        elif 400 <= status < 500 or status == 501:
            line.can_tell = False
        return self._finish(now)

    def closed(self, line_id: int, now: float) -> list[Output]:
        """Our BYE is answered, or nobody answers it."""
        self._step_by_id(line_id, Event.CLOSED, now)
        return self._finish(now)

    # -- time ------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Output]:
        """Do what is due."""
        for key, (line_id, until) in list(self._pending.items()):
            if until <= now and not self._is_invite(key, line_id):
                del self._pending[key]
                self._out.append(Answer(key, LOST, line_id))
        for line in list(self._lines.values()):
            if line.deadline <= now:
                self._expire(line, now)
        if self._call_at is not None and self._call_at <= now:
            self._call_at = None
        if self._they_type_until is not None and self._they_type_until <= now:
            self._show_typing(False, now)
        if self._type_again_at is not None and self._type_again_at <= now:
            self._type_again_at = None
            self._told = False
            self._is_typing = self._is_typing and now < self._type_until
        return self._finish(now)

    def _expire(self, line: Line, now: float) -> None:
        is_waited_for = self._flying is not None and self._flying_on == line.id
        if line.state is Leg.OPEN and is_waited_for:
            line.deadline = now + self.times.final  # our transaction tells in time
            return
        was_given_up = line.state is Leg.CANCELLING
        self._step(line, Event.LATE, now, LOST)
        if was_given_up:
            self._put_back(line.id, 408)
            self._give_up(408, now)

    # -- inside ----------------------------------------------------------------------------------------------

    def _finish(self, now: float) -> list[Output]:
        """See to what is next and return all orders since the last time."""
        self._sort_out(now)
        self._pump(now)
        self._tell_typing(now)
        out, self._out = self._out, []
        return out

    def _add_line(self, call_id: str, is_caller: bool, state: Leg, deadline: float) -> Line:
        line = Line(self._next_line, call_id, is_caller, state, deadline)
        self._next_line += 1
        self._lines[line.id] = line
        return line

    def _is_invite(self, key: int, line_id: int) -> bool:
        line = self._lines.get(line_id)
        return line is not None and line.key == key and line.state is Leg.ANSWERING

    def _read(self, line_id: int, key: int, body: Body, now: float) -> None:
        if isinstance(body, Text) and body.plain:
            self._they_type_until = None
            self._deliver(line_id, key, body.plain, now)
            if key not in self._pending:
                self._out.append(Answer(key, LOST, line_id))
            return
        if isinstance(body, Typing):
            self._show_typing(body.is_typing, now)
        understood = isinstance(body, Text | Typing)
        self._out.append(Answer(key, 200 if understood else 415, line_id))

    def _deliver(self, line_id: int, key: int, text: str, now: float) -> None:
        """Pass a message on, unless too many wait for their verdict."""
        if len(self._pending) < MAX_PENDING:
            self._pending[key] = (line_id, now + self.times.verdict)
            self._out.append(Deliver(key, text))

    def _step_by_id(self, line_id: int, event: Event, now: float) -> None:
        line = self._lines.get(line_id)
        if line is not None:
            self._step(line, event, now)

    def _step(self, line: Line, event: Event, now: float, status: int = 480) -> None:
        """Take one transition of the table."""
        found = TRANSITIONS.get((line.state, event))
        if found is None:
            return
        was, (line.state, orders) = line.state, found
        line.deadline = now + self._time_of(line.state)
        for order in orders:
            self._out.append(self._order(order, line, status))
        if was is Leg.ANSWERING:
            self._pending.pop(line.key, None)
        if line.state is Leg.OPEN:
            line.opened_at = now
            if line.is_lost:
                line.deadline = now + self.times.grace
            self._out.append(Opened(line.id))
        elif line.state is Leg.OVER:
            del self._lines[line.id]
            self._out.append(Ended(line.id))

    def _time_of(self, state: Leg) -> float:
        if state is Leg.OPEN:
            return self.times.idle
        return self.times.answer if state is Leg.CALLING else self.times.final

    def _order(self, order: Do, line: Line, status: int) -> Output:
        if order is Do.ACK:
            return Ack(line.id)
        if order is Do.CANCEL:
            return Cancel(line.id)
        if order is Do.BYE:
            return Bye(line.id)
        if order is Do.ACCEPT:
            return Answer(line.key, 200, line.id, line.first is not None)
        return Answer(line.key, 487 if order is Do.TERMINATE else status, line.id)

    def _land(self, line_id: int) -> _Item | None:
        """Return our message that was on its way on this line, and note that it is not any more."""
        if self._flying is None or self._flying_on != line_id:
            return None
        item, self._flying, self._flying_on = self._flying, None, NO_LINE
        return item

    def _put_back(self, line_id: int, status: int) -> None:
        """Queue the message again that was in a failed INVITE, unless it may have been taken all the same."""
        item = self._land(line_id)
        if item is not None and status == 408:
            self._out.append(Unsent(item.ref, status))
        elif item is not None:
            self._queue.insert(0, item)

    def _give_up(self, status: int, now: float) -> None:
        """Fail what waits for a call that came to nothing, unless there is another way or chance."""
        if any(self._may_serve(line) for line in self._lines.values()):
            return
        if status == 491 and self._calls < CALLS:
            self._call_at = now + self.times.retry * (1 + self._share)  # RFC 3261 §14.1
            return
        self._calls = 0
        for item in self._queue:
            self._out.append(Unsent(item.ref, status))
        self._queue.clear()

    # -- which dialog ----------------------------------------------------------------------------------------

    def _may_serve(self, line: Line) -> bool:
        """Whether a line takes messages of ours now or soon."""
        return (line.state is Leg.OPEN and not line.is_lost) or line.state in COMING

    def _best(self) -> Line | None:
        """Return the dialog that our messages go out on: of several the one with the lowest Call-ID."""
        ready = [line for line in self._lines.values() if line.state is Leg.OPEN and not line.is_lost]
        return min(ready, key=lambda line: line.call_id, default=None)

    def _sort_out(self, now: float) -> None:
        """End the dialogs whose place another one has taken."""
        best = self._best()
        for line in list(self._lines.values()):
            if line.state is not Leg.OPEN or line is best:
                continue
            if best is not None and not line.is_lost:
                line.is_lost = True
                line.deadline = now + self.times.grace
            if best is not None and line.is_caller and self._flying_on != line.id:
                self._step(line, Event.END, now)

    def _pump(self, now: float) -> None:
        """Send the next message if the one before is answered; call if there is no dialog."""
        if self._flying is not None or not self._queue:
            return
        best = self._best()
        if best is not None:
            self._calls, self._call_at = 0, None
            self._flying, self._flying_on = self._queue.pop(0), best.id
            self._out.append(SendText(best.id, self._flying.ref, self._flying.text))
        elif self.is_pager and not self._is_closed:
            self._flying, self._flying_on = self._queue.pop(0), NO_LINE
            self._out.append(SendText(NO_LINE, self._flying.ref, self._flying.text))
        elif self._may_call():
            self._call(now)

    def _may_call(self) -> bool:
        if self._is_closed or self._call_at is not None:
            return False
        # The end of a call that is being cancelled fails what was meant for it; nothing may overtake that.
        return not any(self._may_serve(line) or line.state is Leg.CANCELLING for line in self._lines.values())

    def _call(self, now: float) -> None:
        self._calls += 1
        line = self._add_line(self._call_id(), True, Leg.CALLING, now + self.times.answer)
        first = imtext.write_first(self._queue[0].text) if self.first_in_invite else None
        if first is not None:
            self._flying, self._flying_on = self._queue.pop(0), line.id
        self._out.append(Invite(line.id, line.call_id, first or ""))

    # -- typing ----------------------------------------------------------------------------------------------

    def _show_typing(self, is_typing: bool, now: float) -> None:
        was = self._they_type_until is not None
        self._they_type_until = now + self.times.typing if is_typing else None
        if was is not is_typing:
            self._out.append(Composing(is_typing))

    def _tell_typing(self, now: float) -> None:
        if self._told is self._is_typing:
            return
        best = self._best()
        if best is None or best.is_telling or not best.can_tell:
            return
        best.is_telling = True
        best.deadline = now + self.times.idle
        self._told = self._is_typing
        self._type_again_at = now + self.times.repeat_typing if self._is_typing else None
        self._out.append(SendTyping(best.id, self._is_typing))
