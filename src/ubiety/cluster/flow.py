"""The flow between this node and one other, both directions (design.md §2 "Between nodes"). Sans-IO.

The bus delivers at most once. A flow numbers its frames, acknowledges them cumulatively, resends from the
first gap, and says openly when something is lost:

* ``RESTARTED``: the other process is a new one. What we had for the old one is in ``take_lost``.
* ``GAP``: presence was dropped on the way, or a side gave up its queue: look anew. It comes after the loss.

A message is a head and perhaps a frame. The head names the sender's process by its boot id (of two processes
the later one has the greater id) and the one that it is meant for; frames are sent only to a process that
was heard of. ``run`` counts how often the sender began anew with number 1: after it gave up its queue, or
when the receiver is a new process.

One shape: ``receive(data, now)`` returns items; ``tick(now)`` lets time pass; both may leave events, lost
items and messages, to be fetched with ``take_events``, ``take_lost`` and ``flush(now)``; ``deadline()`` says
when to come again.
"""

import struct
from collections.abc import Sequence

from ubiety.cluster.outbox import DATA, FRAME_BYTES, MORE, SHED, Outbox
from ubiety.cluster.packing import PackingError, unpack
from ubiety.routing.links import Item, LinkEvent

BOUND = 64 * 1024 * 1024
"""Bytes that may wait for one node."""
WINDOW = 4 * 1024 * 1024
"""Bytes that may be on their way to one node: a bus has bounds of its own."""
KEEP_ALIVE = 0.5
SILENCE = 2.5
"""Seconds after which a node of which nothing is heard is down."""
ACK_DELAY = 0.02
ACK_BYTES = 512 * 1024
"""After so many bytes an acknowledgement waits no longer."""
RESEND_FIRST = 0.2
RESEND_LAST = 2.0
GAP_DELAY = 0.2
"""Losses within so many seconds are one GAP: the whole of a burst is resent, and then looked at anew once."""
REPEAT_GUARD = 0.02
"""Seconds in which a second request to resend is taken for a repeat of the first."""

_VERSION = 1
_NACK = 8
_BYE = 16
_HEAD = struct.Struct("!BBQQIQIQ")
_NEVER = float("inf")
_REMEMBERED = 8
"""Processes whose place in their numbers is kept: one that was taken for gone may be heard again."""


class _Inbound:
    """How far we are in what one process sends."""

    __slots__ = ("expected", "pieces", "run")

    def __init__(self, run: int = 0) -> None:
        self.run = run
        self.expected = 1
        self.pieces = b""


class Flow:
    """Both directions between this process and whichever process is the other node."""

    def __init__(
        self,
        boot: int,
        now: float,
        bound: int = BOUND,
        window: int = WINDOW,
        frame_bytes: int = FRAME_BYTES,
    ) -> None:
        self.boot = boot
        self.is_up = False
        self.is_urgent = True
        """Something should be flushed in this turn of the loop."""
        self.messages_in = self.messages_out = self.items_in = self.items_out = 0
        self.resent = self.gaps = self.malformed = 0
        self._window = window
        self._queue: list[Item] = []
        self._presence: list[int] = []
        self._events: list[LinkEvent] = []
        self._lost: list[Item] = []
        # To the other node.
        self._peer = 0
        self._outbox = Outbox(bound, frame_bytes)
        self._run = 1
        self._next = 1  # the frame to be sent next in this pass; below it they are on their way
        self._flying = 0  # bytes on their way
        self._is_probing = False  # one frame only, until it is acknowledged
        self._resend_after = RESEND_FIRST
        self._resend_at = _NEVER
        self._resent_at = -_NEVER
        self._talk_at = now
        # From the other node.
        self._inbounds: dict[int, _Inbound] = {}
        self._in = _Inbound()
        self._heard = now
        self._ack_bytes = 0
        self._nacked = 0
        self._nack_again = -_NEVER
        self._gap_at = _NEVER
        self._must_nack = False

    @property
    def has_work(self) -> bool:
        """Whether ``flush`` has something to do before the deadline."""
        return self.is_urgent or bool(self._queue)

    @property
    def waiting_bytes(self) -> int:
        """Memory held for what is not acknowledged."""
        return self._outbox.bytes

    def send(self, item: Item, is_sheddable: bool = False) -> None:
        """Queue an item; it leaves with the next flush."""
        if is_sheddable:
            self._presence.append(len(self._queue))
        self._queue.append(item)

    def take_events(self) -> list[LinkEvent]:
        """What happened, each once. To be told before the items of the same call."""
        events, self._events = self._events, []
        return events

    def take_lost(self) -> list[Item]:
        """Items that were given up, each once, in order: perhaps delivered, to be taken for lost."""
        lost, self._lost = self._lost, []
        return lost

    def deadline(self) -> float:
        """When ``tick`` and ``flush`` are to be called at the latest."""
        silent_at = self._heard + SILENCE if self.is_up else _NEVER
        return min(self._talk_at, self._resend_at, self._gap_at, silent_at)

    def excuse(self, seconds: float) -> None:
        """This process did not run for a while: nobody could be heard."""
        self._heard += seconds

    def tick(self, now: float) -> None:
        """Notice silence, and that something has to be sent again or is to be told."""
        if now >= self._gap_at:
            self._gap_at = _NEVER
            self.gaps += 1
            self._events.append(LinkEvent.GAP)
        if self.is_up and now >= self._heard + SILENCE:
            self._go_down()
        elif now >= self._resend_at:
            self._is_probing = True
            self._resend_after = min(self._resend_after * 2, RESEND_LAST)
            self._go_back(now)

    def hurry(self, now: float) -> None:
        """The bus is back: talk at once, and send again what it may have swallowed."""
        self._talk_at = now
        self.is_urgent = True
        if self._next > self._outbox.first:
            self._is_probing = False
            self._go_back(now)

    def give_up(self) -> None:
        """The node is no longer ours to talk to: everything that waits for it is lost."""
        self._begin_anew()

    # Outwards

    def flush(self, now: float) -> list[bytes]:
        """Return the messages that are to be published now."""
        self.is_urgent = False
        if self._queue:
            self._pack(now)
        out: list[bytes] = []
        if self._must_nack:
            self._must_nack = False
            out.append(self._head(_NACK))
        if self.is_up:
            self._send_frames(out, now)
        if not out and now >= self._talk_at:
            out.append(self._head(0))
        if out:
            self.messages_out += len(out)
            self._talk_at = now + KEEP_ALIVE
            self._ack_bytes = 0
        return out

    def goodbye(self) -> bytes:
        """Return the message that says that this process ends."""
        return self._head(_BYE)

    def _pack(self, now: float) -> None:
        queue, presence = self._queue, self._presence
        self._queue, self._presence = [], []
        self.items_out += len(queue)
        is_dark = not self.is_up and now >= self._heard + SILENCE
        self._lost += self._outbox.add(queue, presence, sheds=is_dark)
        if self._outbox.bytes > self._outbox.bound:
            self._begin_anew()
            self._note_gap(now)
            self._talk_at = now  # the other side is told at once

    def _send_frames(self, out: list[bytes], now: float) -> None:
        outbox = self._outbox
        if self._next == outbox.next:
            return
        while self._next < outbox.next and self._flying < self._window:
            if self._is_probing and self._next > outbox.first:
                break
            frame = outbox[self._next]
            if frame.is_sent:
                self.resent += 1
                outbox.shed(frame)
            frame.is_sent = True
            out.append(self._head(frame.marks, self._next) + frame.body)
            self._flying += len(frame.body)
            self._next += 1
        if self._resend_at == _NEVER:
            self._resend_at = now + self._resend_after

    def _head(self, marks: int, seq: int = 0) -> bytes:
        return _HEAD.pack(
            _VERSION, marks, self.boot, self._peer, self._run, seq, self._in.run, self._in.expected - 1
        )

    def _go_back(self, now: float) -> None:
        self._next = self._outbox.first
        self._flying = 0
        self._resent_at = now
        self._resend_at = _NEVER
        self.is_urgent = True

    def _begin_anew(self) -> None:
        self._lost += self._outbox.clear()
        if self._queue:
            presence = set(self._presence)
            self._lost += [item for at, item in enumerate(self._queue) if at not in presence]
            self._queue, self._presence = [], []
        self._run += 1
        self._next, self._flying, self._is_probing = 1, 0, False
        self._resend_after, self._resend_at = RESEND_FIRST, _NEVER

    # Inwards

    def receive(self, data: bytes, now: float) -> Sequence[Item]:
        """Take a message in; returns its items, if it is their turn."""
        if len(data) < _HEAD.size:
            self.malformed += 1
            return ()
        version, marks, boot, meant_for, run, seq, ack_run, ack = _HEAD.unpack_from(data)
        if version != _VERSION or not boot:
            self.malformed += 1
            return ()
        self.messages_in += 1
        if boot < self._peer and self.is_up:
            return ()  # the old process; unless the new one is not heard: clocks can be set back
        if boot != self._peer:
            self._meet(boot, now)
        self._heard = now
        if marks & _BYE:
            self._go_down()
            self._heard = now - SILENCE
            return ()
        if not self.is_up:
            self._come_up(now)
        if meant_for != self.boot:
            self._talk_at = now  # it does not know us yet
            self.is_urgent = True
            return ()
        if run != self._in.run and not self._follow(run, now):
            return ()
        if ack_run == self._run:
            self._acknowledged(ack, now)
            if marks & _NACK and ack + 1 == self._outbox.first and now >= self._resent_at + REPEAT_GUARD:
                self._is_probing = False
                self._go_back(now)
        return self._take(marks, seq, data, now) if marks & DATA else ()

    def _meet(self, boot: int, now: float) -> None:
        if self._peer:
            self._begin_anew()
            self._events.append(LinkEvent.RESTARTED)
        self._peer = boot
        self._in = self._inbounds.setdefault(boot, _Inbound())
        self._nacked = 0
        if len(self._inbounds) > _REMEMBERED:
            del self._inbounds[min(self._inbounds)]
        self._talk_at = now
        self.is_urgent = True

    def _come_up(self, now: float) -> None:
        self.is_up = True
        self._events.append(LinkEvent.UP)
        self._is_probing = False
        self._resend_after = RESEND_FIRST
        self._go_back(now)

    def _go_down(self) -> None:
        if self.is_up:
            self.is_up = False
            self._resend_at = _NEVER
            self._events.append(LinkEvent.DOWN)

    def _follow(self, run: int, now: float) -> bool:
        """The sender began anew, or this is a straggler from before (then false)."""
        if run < self._in.run:
            return False
        if self._in.run:
            self._note_gap(now)
        self._in = self._inbounds[self._peer] = _Inbound(run)
        self._nacked = 0
        return True

    def _acknowledged(self, ack: int, now: float) -> None:
        outbox = self._outbox
        if not outbox.first <= ack < outbox.next:
            return
        # What was sent before going back may be acknowledged only now.
        overtaken = ack >= self._next
        self._flying -= outbox.acknowledge(ack)
        if overtaken:
            self._next = ack + 1
        if self._next == outbox.first:
            self._flying = 0
        self._is_probing = False
        self._resend_after = RESEND_FIRST
        self._resend_at = now + RESEND_FIRST if self._next > outbox.first else _NEVER
        if self._next < outbox.next:
            self.is_urgent = True

    def _take(self, marks: int, seq: int, data: bytes, now: float) -> Sequence[Item]:
        self._ack_bytes += len(data)
        if self._ack_bytes > ACK_BYTES:
            self._talk_at = now
            self.is_urgent = True
        else:
            self._talk_at = min(self._talk_at, now + ACK_DELAY)
        if seq != self._in.expected:
            if seq > self._in.expected and (self._nacked != self._in.expected or now >= self._nack_again):
                self._nacked, self._nack_again = self._in.expected, now + RESEND_FIRST
                self._must_nack = self.is_urgent = True
            return ()
        self._in.expected += 1
        if marks & SHED:
            self._note_gap(now)
        return self._unpack(marks, memoryview(data)[_HEAD.size :], now)

    def _unpack(self, marks: int, body: memoryview, now: float) -> Sequence[Item]:
        if marks & MORE:
            self._in.pieces += body
            return ()
        if self._in.pieces:
            body = memoryview(self._in.pieces + body)
            self._in.pieces = b""
        try:
            items = unpack(body)
        except PackingError:
            self.malformed += 1
            self._note_gap(now)
            return ()
        self.items_in += len(items)
        return items

    def _note_gap(self, now: float) -> None:
        self._gap_at = min(self._gap_at, now + GAP_DELAY)
