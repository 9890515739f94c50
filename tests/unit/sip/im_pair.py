"""Two conversations that talk to each other: a wire that delays, loses and refuses, and a manual clock."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from ubiety.sip import imtext
from ubiety.sip.imleg import (
    DEFAULT_TIMES,
    Ack,
    Answer,
    Bye,
    Cancel,
    Composing,
    Deliver,
    Ended,
    Invite,
    Opened,
    Output,
    SendText,
    SendTyping,
    Sent,
    Times,
    Unsent,
)
from ubiety.sip.imsession import ImSession
from ubiety.sip.imtext import Text, Typing

TIMER_F = 32.0


@dataclass
class Way:
    """How one request or answer travels; the default is at once."""

    delay: float = 0.0
    is_lost: bool = False


@dataclass(eq=False)
class Side:
    """One end: its session, what it was told, and what it does with messages."""

    name: str
    session: ImSession
    delivered: list[str] = field(default_factory=list)
    composing: list[bool] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    unsent: list[tuple[int, int]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """What this side has answered."""
    lines: dict[str, int] = field(default_factory=dict)
    """Call-ID -> line, for dialogs that are alive here."""
    call_ids: dict[int, str] = field(default_factory=dict)
    answers: dict[int, Callable[[int, bool], None]] = field(default_factory=dict)
    """Request of the other side -> what its answer does."""
    verdict: Callable[[str], tuple[float, int]] = lambda _text: (0.0, 200)
    """What becomes of a message here: after how long, and the status."""
    is_old: bool = False
    """It knows nothing of messages in an INVITE."""


class Pair:
    """Both ends and the wire between them."""

    def __init__(self, times: Times = DEFAULT_TIMES, first_in_invite: bool = True) -> None:
        self.now = 1000.0
        self.way: Callable[[str], Way] = lambda _what: Way()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._seq = count()
        self._keys = count(1)
        self._refs = count(1)
        calls = count()
        self.a = self._side("a", times, first_in_invite, lambda: f"{next(calls):04}@a")
        self.b = self._side("b", times, first_in_invite, lambda: f"{next(calls):04}@b")
        self.texts: dict[int, str] = {}

    def _side(self, name: str, times: Times, first: bool, call_id: Callable[[], str]) -> Side:
        return Side(name, ImSession(call_id, 0.5 if name == "a" else 0.1, times, first))

    def other(self, side: Side) -> Side:
        return self.b if side is self.a else self.a

    # -- time --------------------------------------------------------------------------------------------

    def later(self, delay: float, fn: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._seq), fn))

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass; what is due at its end happens."""
        end = self.now + seconds
        while True:
            times = [self._events[0][0]] if self._events else []
            times += [d for side in (self.a, self.b) if (d := side.session.deadline()) is not None]
            due = min(times, default=end + 1)
            if due > end:
                break
            self.now = max(self.now, due)
            if self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            for side in (self.a, self.b):
                deadline = side.session.deadline()
                if deadline is not None and deadline <= self.now:
                    self.perform(side, side.session.tick(self.now))
        self.now = end

    # -- what people do ----------------------------------------------------------------------------------

    def send(self, side: Side, text: str) -> int:
        ref = next(self._refs)
        self.texts[ref] = text
        self.perform(side, side.session.send(ref, text, self.now))
        return ref

    def type(self, side: Side, is_typing: bool) -> None:
        self.perform(side, side.session.type(is_typing, self.now))

    def close(self, side: Side) -> None:
        self.perform(side, side.session.close(self.now))

    def forget(self, side: Side) -> None:
        """One end is restarted and knows nothing any more."""
        fresh = side.session
        side.session = ImSession(fresh._call_id, 0.5, fresh.times, fresh.first_in_invite)
        side.lines.clear()
        side.answers.clear()

    # -- the wire ----------------------------------------------------------------------------------------

    def perform(self, side: Side, outputs: list[Output]) -> None:
        for output in outputs:
            self._perform(side, output)

    def _perform(self, side: Side, output: Output) -> None:
        match output:
            case Invite(line, call_id, first):
                side.lines[call_id], side.call_ids[line] = line, call_id
                self._request(side, line, "INVITE", lambda key: self._invite(side, key, call_id, first))
            case Ack(line):
                way = self.way("ACK")
                if not way.is_lost:
                    self.later(way.delay, lambda: self._acknowledge(side, line))
            case Cancel(line):
                self.later(self.way("CANCEL").delay, lambda: self._cancel(side, line))
            case Bye(line):
                self._request(side, line, "BYE", lambda key: self._in_dialog(side, line, key, "BYE"))
            case SendText(0, _, text):
                self._request(side, 0, "MESSAGE", lambda key: self._page(side, key, text))
            case SendText(line, _, text):
                self._request(
                    side, line, "MESSAGE", lambda key: self._in_dialog(side, line, key, "MESSAGE", text)
                )
            case SendTyping(line, is_typing):
                self._request(
                    side, line, "INFO", lambda key: self._in_dialog(side, line, key, "INFO", is_typing)
                )
            case Answer(key, status, _, took_first):
                side.statuses.append(status)
                answer = side.answers.pop(key, None)
                if answer is not None:
                    answer(status, took_first)
            case Deliver(key, text):
                side.delivered.append(text)
                delay, status = side.verdict(text)
                session = side.session
                if delay:
                    self.later(delay, lambda: self.perform(side, session.verdict(key, status, self.now)))
                else:
                    self.perform(side, session.verdict(key, status, self.now))
            case Composing(is_typing):
                side.composing.append(is_typing)
            case Sent(ref):
                side.sent.append(ref)
            case Unsent(ref, status):
                side.unsent.append((ref, status))
            case Ended(line):
                side.lines.pop(side.call_ids[line], None)
            case Opened():
                pass

    def _request(self, side: Side, line: int, method: str, arrive: Callable[[int], None]) -> None:
        """Send a request; its answer, or the time-out, comes back once."""
        side.requests.append(method)
        other, session, is_done = self.other(side), side.session, False

        def finish(status: int, took_first: bool = False) -> None:
            nonlocal is_done
            if is_done or session is not side.session:
                return
            is_done = True
            if method == "INVITE":
                if status < 300:
                    outputs = session.accepted(line, took_first, self.now)
                else:
                    outputs = session.refused(line, status, self.now)
            elif method == "BYE":
                outputs = session.closed(line, self.now)
            elif method == "INFO":
                outputs = session.told(line, status, self.now)
            else:
                outputs = session.answered(line, status, self.now)
            self.perform(side, outputs)

        def answered(status: int, took_first: bool) -> None:
            back = self.way(str(status))
            if not back.is_lost:
                self.later(back.delay, lambda: finish(status, took_first and not other.is_old))

        key = next(self._keys)
        way = self.way(method)
        if not way.is_lost:
            other.answers[key] = answered
            self.later(way.delay, lambda: arrive(key))
        if way.is_lost or method != "INVITE":  # an INVITE that was heard of may be answered late
            self.later(TIMER_F, lambda: finish(408))
        elif method == "INVITE":
            self.later(300.0, lambda: finish(408))

    def _invite(self, side: Side, key: int, call_id: str, first: str) -> None:
        other = self.other(side)
        text = imtext.read_first(first) if not other.is_old else None
        line, outputs = other.session.invited(key, call_id, text.plain if text else None, self.now)
        if line:
            other.lines[call_id], other.call_ids[line] = line, call_id
        self.perform(other, outputs)

    def _page(self, side: Side, key: int, text: str) -> None:
        other = self.other(side)
        self.perform(other, other.session.paged(key, Text(text), self.now))

    def _acknowledge(self, side: Side, line: int) -> None:
        other = self.other(side)
        there = other.lines.get(side.call_ids[line])
        if there is not None:
            self.perform(other, other.session.acknowledged(there, self.now))

    def _cancel(self, side: Side, line: int) -> None:
        other = self.other(side)
        there = other.lines.get(side.call_ids[line])
        if there is not None:
            self.perform(other, other.session.cancelled(there, self.now))

    def _in_dialog(self, side: Side, line: int, key: int, method: str, what: str | bool = False) -> None:
        other = self.other(side)
        there = other.lines.get(side.call_ids[line])
        if there is None:
            other.statuses.append(481)
            other.answers.pop(key, lambda _status, _took: None)(481, False)
        elif method == "BYE":
            self.perform(other, other.session.left(there, key, self.now))
        else:
            body = Text(what) if isinstance(what, str) else Typing(what)
            self.perform(other, other.session.received(there, key, body, self.now))
