"""One conversation of one of our people with somebody outside: carries out what its `ImSession` orders.

Requests and answers come in as SIP and go to the session as what they mean; its orders go out as SIP, as
stanzas, and as verdicts about messages.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ubiety.conditions import StanzaError
from ubiety.gateway import im_requests, im_stanzas, statuses
from ubiety.gateway.im_outgoing import Outgoing
from ubiety.gateway.im_settings import ANSWER_SECONDS, FIRST_IN_INVITE, IDLE_SECONDS
from ubiety.gateway.rows import Kept, Row, Rows
from ubiety.gateway.sending import Sender, Sending, next_hop
from ubiety.gateway.stack import Stack, Ways
from ubiety.jid import Jid
from ubiety.routing.homes import Person
from ubiety.routing.verdict import Delivered, Pending, Settled, Verdict
from ubiety.sip import imtext, sdp
from ubiety.sip.dialog import Dialog, DialogId, Refusal
from ubiety.sip.imleg import (
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
from ubiety.sip.imsession import NO_LINE, ImSession
from ubiety.sip.message import Request, Response
from ubiety.sip.outputs import Hop
from ubiety.sip.syntax import SipSyntaxError
from ubiety.stanza import Stanza
from ubiety.users.context import Context
from ubiety.users.preferences import IM_ENABLED

TIMEOUT: Final = 408
COUNTS_BEHIND: Final = 500
"""So many requests of a dialog are sent before its row is written again; `Dialog.jumped` leaps further."""
REPEATED: Final = frozenset({481, 482, 500})
"""What a peer answers a request that it has had before, by another hop; then it says nothing of the first."""
UNSENT: Final = 503


@dataclass(frozen=True, slots=True)
class Desk:
    """What all conversations of a node share."""

    context: Context
    stack: Stack
    sender: Sender
    ways: Ways
    deliver: Callable[[Stanza], Verdict]
    """Passes a message on to one of our people; the verdict comes when it is settled."""
    rows: Rows
    token: Callable[[], str]
    draw: Callable[[], float]
    dialogs: "dict[DialogId, tuple[Conversation, int]]"
    """Which conversation a dialog belongs to, and which line of it."""
    asked: "dict[int, Conversation]"
    """Which conversation answers a request that was received."""
    waiting: set[int]
    """The numbers of all messages to people outside that are not done with."""
    changed: "Callable[[Conversation], None]"
    """Called whenever a conversation has done something."""


@dataclass(slots=True, eq=False)
class Wire:
    """The SIP side of one line."""

    tag: str
    invite: Request | None = None
    """Ours, to be acknowledged."""
    sending: Sending | None = None
    hop: Hop | None = None
    dialog: Dialog | None = None
    row: Row | None = None
    is_restored: bool = False
    """Somebody else had it until a moment ago; nothing was answered on it since."""
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is to be answered."""

    request: Request
    tag: str
    transport: str = ""
    offered: sdp.Description | None = None
    """What an INVITE offers."""


class Conversation:
    """One of our people and one address outside."""

    __slots__ = (
        "_asked",
        "_desk",
        "_is_released",
        "_is_working",
        "_reason",
        "_wires",
        "_work",
        "outgoing",
        "person",
        "remote",
        "session",
    )

    def __init__(self, desk: Desk, person: Person, remote: Jid) -> None:
        self.person = person
        self.remote = remote
        self.outgoing: dict[int, Outgoing] = {}
        settings = desk.context.settings
        times = Times(idle=settings.get(IDLE_SECONDS), answer=settings.get(ANSWER_SECONDS))
        self.session = ImSession(
            desk.token, desk.draw(), times, settings.get(FIRST_IN_INVITE), not desk.ways.is_microsoft(remote)
        )
        self._desk = desk
        self._wires: dict[int, Wire] = {}
        self._asked: dict[int, Asked] = {}
        self._work: list[Output] = []
        self._is_working = False
        self._is_released = False
        self._reason: StanzaError | None = None  # why what is failing now fails

    @property
    def is_over(self) -> bool:
        """Whether nothing is left of it."""
        return self.session.is_over and not self._asked

    @property
    def is_busy(self) -> bool:
        """Whether a message is on its way, in either direction."""
        return bool(self.session.is_flying or self._asked)

    @property
    def dialogs(self) -> int:
        """How many dialogs it has, for display."""
        return sum(wire.dialog is not None for wire in self._wires.values())

    def _now(self) -> float:
        return self._desk.context.clock.monotonic()

    # -- from our person ---------------------------------------------------------------------------

    def send(self, outgoing: Outgoing, text: str) -> None:
        """Send a message in its turn."""
        self.outgoing[outgoing.number] = outgoing
        self._desk.waiting.add(outgoing.number)
        self._perform(self.session.send(outgoing.number, text, self._now()))

    def type(self, is_typing: bool) -> None:
        """Tell the other side that our person writes or has stopped, if there is a dialog."""
        self._perform(self.session.type(is_typing, self._now()))

    def tick(self) -> None:
        """Do what is due."""
        self._perform(self.session.tick(self._now()))

    def close(self) -> None:
        """End it: dialogs are hung up, what is not sent yet stays in its rows."""
        self._perform(self.session.close(self._now()))

    def release(self) -> None:
        """Another node goes on with it: send nothing more, write nothing, promise nothing."""
        self._is_released = True
        for wire in self._wires.values():
            wire.is_over = True
            self._unlist(wire)
            if wire.row is not None:
                self._desk.rows.forget(wire.row)
            if wire.sending is not None:
                self._desk.sender.forget(wire.sending)
        self._wires.clear()
        for key, asked in self._asked.items():
            self._desk.asked.pop(key, None)
            self._desk.stack.respond(key, im_requests.answer(asked.request, UNSENT, asked.tag))
        self._asked.clear()
        outgoing, self.outgoing = self.outgoing, {}
        self._desk.waiting.difference_update(outgoing)
        for message in outgoing.values():
            message.abandon()

    # -- requests of theirs ------------------------------------------------------------------------

    def invited(self, key: int, request: Request, transport: str) -> None:
        """An INVITE that opens a dialog."""
        tag = self._desk.token()
        judged = im_requests.judge_invite(request)
        if isinstance(judged, Response):
            self._desk.stack.respond(key, judged)
            self._desk.changed(self)
            return
        self._ask(key, Asked(request, tag, transport, judged))
        try:
            dialog = Dialog.from_request(request, tag)
        except SipSyntaxError as error:
            self._perform([Answer(key, error.status, NO_LINE)])
            return
        first = im_requests.first_of(request)
        line, outputs = self.session.invited(key, request.call_id, first, self._now())
        if line:
            wire = self._wires[line] = Wire(tag, dialog=dialog)
            self._list(line, wire)
        self._perform(outputs)

    def paged(self, key: int, request: Request) -> None:
        """A MESSAGE outside of dialogs."""
        self._ask(key, Asked(request, self._desk.token()))
        self._perform(self.session.paged(key, im_requests.body_of(request), self._now()))

    def received(self, line: int, key: int, request: Request) -> None:
        """A request in one of the dialogs."""
        wire = self._wires[line]
        assert wire.dialog is not None
        found = wire.dialog.accepts(request)
        self._ask(key, Asked(request, wire.tag))
        if isinstance(found, Refusal):
            self._perform([Answer(key, found.status, line)])
            return
        wire.dialog = found
        self._perform(self._received(line, key, request))

    def _received(self, line: int, key: int, request: Request) -> list[Output]:
        now = self._now()
        if request.method in ("MESSAGE", "INFO"):
            return self.session.received(line, key, im_requests.body_of(request), now)
        if request.method == "BYE":
            return self.session.left(line, key, now)
        if request.method == "OPTIONS":
            return [Answer(key, 200, line)]
        if request.method != "INVITE":
            return [Answer(key, 405, line)]
        judged = im_requests.judge_invite(request)
        if isinstance(judged, Response):
            return [Answer(key, judged.status, line)]
        self._asked[key] = Asked(request, self._wires[line].tag, "", judged)
        return self.session.reinvited(line, key, now)

    def acknowledged(self, line: int) -> None:
        """The ACK of our 2xx."""
        self._perform(self.session.acknowledged(line, self._now()))

    def cancelled(self, key: int) -> None:
        """An INVITE was cancelled."""
        asked = self._asked.get(key)
        line = self._line_of(asked.tag) if asked is not None else NO_LINE
        self._perform(self.session.cancelled(line, self._now()))

    def _line_of(self, tag: str) -> int:
        return next((line for line, wire in self._wires.items() if wire.tag == tag), NO_LINE)

    def _ask(self, key: int, asked: Asked) -> None:
        self._asked[key] = asked
        self._desk.asked[key] = self

    # -- orders ------------------------------------------------------------------------------------

    def _perform(self, outputs: Iterable[Output]) -> None:
        """Carry out orders, and what comes of them at once, in their order."""
        self._work.extend(outputs)
        if self._is_working:
            return
        self._is_working = True
        try:
            while self._work and not self._is_released:
                order = self._work.pop(0)
                _DOES[type(order)](self, order)
        finally:
            self._is_working = False
            self._reason = None
        if not self._is_released:
            self._desk.changed(self)

    def _invite(self, order: Invite) -> None:
        desk = self._desk
        wire = self._wires[order.line] = Wire(desk.token())
        try:
            hops = desk.ways.hops(self.person.jid, self.remote)
            contact = desk.ways.contact(hops[0].transport)
            wire.invite = im_requests.make_invite(
                self.person.jid, self.remote, order.call_id, wire.tag, contact, order.first
            )
            wire.sending = desk.sender.send(
                wire.invite, hops, lambda response: self._invited(order.line, wire, response)
            )
        except StanzaError as error:
            self._reason = error
            self._perform(self.session.refused(order.line, UNSENT, self._now()))

    def _invited(self, line: int, wire: Wire, response: Response | None) -> None:
        """The final answer to our INVITE."""
        assert wire.invite is not None
        if wire.sending is not None:
            response = _certain(wire.sending, response)
            wire.hop, wire.sending = wire.sending.hop, None
        dialog = self._dialog_of(wire.invite, response)
        if dialog is None:
            self._reason = _reason_of(response)
            status = TIMEOUT if response is None else max(response.status, 300)
            self._perform(self.session.refused(line, status, self._now()))
            return
        wire.dialog = dialog
        if wire.is_over:  # it was given up: RFC 3261 §13.2.2.4
            self._ack_on(wire)
            self._send_on(wire, "BYE", lambda _status: None)
            return
        self._list(line, wire)
        assert response is not None
        took_first = im_requests.has_taken_first(response)
        self._perform(self.session.accepted(line, took_first, self._now()))

    def _dialog_of(self, invite: Request, response: Response | None) -> Dialog | None:
        if response is None or response.status >= 300:
            return None
        try:
            return Dialog.from_response(invite, response)
        except SipSyntaxError:
            return None

    def _ack(self, order: Ack) -> None:
        self._ack_on(self._wires[order.line])

    def _ack_on(self, wire: Wire) -> None:
        assert wire.dialog is not None and wire.invite is not None
        hop = next_hop(wire.dialog, self.remote.domain) or wire.hop
        if hop is not None:
            self._desk.stack.ack(wire.dialog.ack(wire.invite), hop)
        wire.invite = None

    def _cancel(self, order: Cancel) -> None:
        sending = self._wires[order.line].sending
        if sending is not None:
            self._desk.sender.cancel(sending)

    def _bye(self, order: Bye) -> None:
        self._send_on(
            self._wires[order.line],
            "BYE",
            lambda _status: self._perform(self.session.closed(order.line, self._now())),
        )

    def _send_text(self, order: SendText) -> None:
        def done(status: int) -> None:
            self._perform(self.session.answered(order.line, status, self._now()))

        if order.line == NO_LINE:
            self._page(order.text, done)
        else:
            self._send_on(self._wires[order.line], "MESSAGE", done, *imtext.write(order.text))

    def _page(self, text: str, done: Callable[[int], None]) -> None:
        desk = self._desk
        request = im_requests.make_page(self.person.jid, self.remote, desk.token(), desk.token(), text)
        self._send(request, self._new_hops(), done)

    def _new_hops(self) -> Iterator[Hop]:
        yield from self._desk.ways.hops(self.person.jid, self.remote)

    def _send_typing(self, order: SendTyping) -> None:
        self._send_on(
            self._wires[order.line],
            "INFO",
            lambda status: self._perform(self.session.told(order.line, status, self._now())),
            *imtext.write_typing(order.is_typing),
        )

    def _send_on(
        self, wire: Wire, method: str, done: Callable[[int], None], content_type: str = "", body: bytes = b""
    ) -> None:
        """Send a request in a dialog; `done` gets the status of the final answer."""
        assert wire.dialog is not None
        request, wire.dialog = wire.dialog.request(
            method, headers=im_requests.OUR_HEADERS, content_type=content_type, body=body
        )
        self._note_count(wire)

        def answered(status: int) -> None:
            # A dialog that was taken over may have counted on further than anybody knows: RFC 3261 §12.2.2.
            was_restored, wire.is_restored = wire.is_restored, False
            done(481 if was_restored and status == 500 else status)

        self._send(request, self._hops(wire, wire.dialog), answered)

    def _send(self, request: Request, hops: Iterator[Hop], done: Callable[[int], None]) -> None:
        def answered(response: Response | None) -> None:
            response = _certain(sending, response)
            self._reason = _reason_of(response)
            done(TIMEOUT if response is None else response.status)

        try:
            sending = self._desk.sender.send(request, hops, answered)
        except StanzaError as error:
            self._reason = error
            done(UNSENT)

    def _hops(self, wire: Wire, dialog: Dialog) -> Iterator[Hop]:
        """Yield where a request in a dialog goes: where it leads, where its INVITE went, by the routes."""
        known = [hop for hop in (next_hop(dialog, self.remote.domain), wire.hop) if hop is not None]
        yield from dict.fromkeys(known)
        for hop in self._new_hops():
            if hop not in known:
                yield hop

    # -- answers -----------------------------------------------------------------------------------

    def _answer(self, order: Answer) -> None:
        asked = self._asked.pop(order.key, None)
        self._desk.asked.pop(order.key, None)
        if asked is None:
            return
        if asked.request.method == "INVITE" and order.status == 200:
            contact = self._desk.ways.contact(asked.transport or "tcp")
            response = im_requests.accept(asked.request, asked.tag, contact, asked.offered, order.took_first)
        else:
            response = im_requests.answer(asked.request, order.status, asked.tag)
        self._desk.stack.respond(order.key, response)

    # -- to our person -----------------------------------------------------------------------------

    def _deliver(self, order: Deliver) -> None:
        desk = self._desk
        if desk.context.ledger.overloaded:  # design: promise 3
            self._perform(self.session.verdict(order.key, UNSENT, self._now()))
            return
        if not desk.context.settings.get(IM_ENABLED):
            self._perform(self.session.verdict(order.key, 403, self._now()))
            return
        stanza = im_stanzas.make_message(self.remote, self.person.jid, desk.token(), order.text)
        verdict = desk.deliver(stanza)
        if isinstance(verdict, Pending):
            verdict.then(lambda settled: self._judge(order.key, settled))
        else:
            self._judge(order.key, verdict)

    def _judge(self, key: int, settled: Settled) -> None:
        is_taken = isinstance(settled, Delivered)
        self._desk.context.counters.sip_messages_in += is_taken
        status = 200 if is_taken else statuses.status_of(settled.error.condition)  # type: ignore[union-attr]
        self._perform(self.session.verdict(key, status, self._now()))

    def _show_composing(self, order: Composing) -> None:
        token = self._desk.token()
        stanza = im_stanzas.make_typing(self.remote, self.person.jid, token, order.is_typing)
        self._desk.context.router.route(stanza)

    def _note_sent(self, order: Sent) -> None:
        outgoing = self._take_outgoing(order.ref)
        if outgoing is None:
            return
        outgoing.sent()
        self._desk.context.counters.sip_messages_out += 1
        receipt = im_stanzas.make_receipt(outgoing.stanza, self._desk.token())
        if receipt is not None:
            self._desk.context.router.route(receipt)

    def _note_unsent(self, order: Unsent) -> None:
        outgoing = self._take_outgoing(order.ref)
        if outgoing is not None:
            status = None if order.status == TIMEOUT else order.status
            outgoing.failed(self._reason or statuses.error_of(status))
            self._desk.context.counters.sip_messages_failed += 1

    def _take_outgoing(self, number: int) -> Outgoing | None:
        self._desk.waiting.discard(number)
        return self.outgoing.pop(number, None)

    # -- rows --------------------------------------------------------------------------------------

    def _note_opened(self, order: Opened) -> None:
        wire = self._wires[order.line]
        if wire.row is None and wire.dialog is not None:
            wire.row = Row(self.person.user_id, self.remote.bare)
            self._put(wire.row, wire.dialog)

    def _note_ended(self, order: Ended) -> None:
        wire = self._wires.pop(order.line, None)
        if wire is None:
            return
        wire.is_over = True
        self._unlist(wire)
        if wire.row is not None:
            self._desk.rows.drop(wire.row)

    def restore(self, dialog: Dialog, row: Row) -> None:
        """Go on with a dialog that another node had, or this one before a restart."""
        line = self.session.restored(dialog.call_id, dialog.is_caller, self._now())
        wire = self._wires[line] = Wire(dialog.local_tag, dialog=dialog.jumped(), row=row, is_restored=True)
        self._list(line, wire)
        self._note_count(wire)
        self._desk.changed(self)

    def _note_count(self, wire: Wire) -> None:
        """Keep the row within reach of the numbers in use, for whoever goes on with the dialog next."""
        row, dialog = wire.row, wire.dialog
        if row is not None and dialog is not None and dialog.local_cseq - row.local_cseq >= COUNTS_BEHIND:
            self._put(row, dialog)

    def _put(self, row: Row, dialog: Dialog) -> None:
        row.local_cseq = dialog.local_cseq
        now = self._desk.context.clock.now()
        self._desk.rows.put(row, Kept("", dialog.call_id, dialog.to_record(), now))

    def _list(self, line: int, wire: Wire) -> None:
        assert wire.dialog is not None
        self._desk.dialogs[wire.dialog.id] = (self, line)

    def _unlist(self, wire: Wire) -> None:
        if wire.dialog is not None:
            self._desk.dialogs.pop(wire.dialog.id, None)


_DOES: Final[dict[type[Any], Callable[[Conversation, Any], None]]] = {
    Invite: Conversation._invite,
    Ack: Conversation._ack,
    Cancel: Conversation._cancel,
    Bye: Conversation._bye,
    SendText: Conversation._send_text,
    SendTyping: Conversation._send_typing,
    Answer: Conversation._answer,
    Deliver: Conversation._deliver,
    Composing: Conversation._show_composing,
    Sent: Conversation._note_sent,
    Unsent: Conversation._note_unsent,
    Opened: Conversation._note_opened,
    Ended: Conversation._note_ended,
}


def _certain(sending: Sending, response: Response | None) -> Response | None:
    """Return an answer unless it is about a copy of the request: of the first it says nothing then."""
    if sending.is_uncertain and response is not None and response.status in REPEATED:
        return None
    return response


def _reason_of(response: Response | None) -> StanzaError | None:
    """Return what the sender of a message is told when this is its end."""
    if response is None:
        return statuses.error_of(None)
    return statuses.error_of(response.status, response.reason) if response.status >= 300 else None
