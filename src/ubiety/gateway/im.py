"""Instant messages between our people and people outside, over SIP: all conversations of one node.

A conversation belongs to the home of our person: there its messages are rows until the other side has taken
them, there its dialogs are kept. What a node takes up when it begins to serve a set goes on where it was:
rows are sent in their order, before anything newer.
"""

from collections.abc import Callable, Iterable
from typing import Final

from ubiety.conditions import StanzaError
from ubiety.element import ElementError
from ubiety.gateway import im_requests, im_stanzas
from ubiety.gateway.deadlines import CallLater, Deadlines
from ubiety.gateway.im_conversation import Conversation, Desk
from ubiety.gateway.im_outgoing import Outgoing
from ubiety.gateway.rows import DIALOGS, Row, Rows, Sleep
from ubiety.gateway.sending import Sender
from ubiety.gateway.stack import Stack, Ways
from ubiety.jid import Jid, JidError, parse
from ubiety.routing import delivery
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Pending, Verdict, refuse
from ubiety.sip.dialog import Dialog, id_of
from ubiety.sip.message import Request
from ubiety.stanza import Stanza, make_error, parse_stanza
from ubiety.store import outgoing_messages, sip_dialogs
from ubiety.store.ledger import Entry
from ubiety.store.outgoing_messages import Outgoing as OutgoingRow
from ubiety.store.sip_dialogs import DialogRow
from ubiety.telemetry import event
from ubiety.users import archive
from ubiety.users.context import Context
from ubiety.users.messages import ORIGIN_ID, origin_id

MAX_CONVERSATIONS: Final = 50_000
MAX_WAITING: Final = 100_000
"""Messages to people outside that may wait in memory."""
PAGE: Final = 500
DRAIN_SECONDS: Final = 3.0
"""For which a hand-over waits for the answers to what is on its way."""
LOOK_SECONDS: Final = 0.05
BUSY: Final = refuse("resource-constraint", "Too many messages wait for people outside. Try again later.")

Key = tuple[int, str]
"""Our person's user id, and the bare address outside."""


class Conversations:
    """One per node; `routing.homes.Homed`, and what the gateway's service needs of messages."""

    def __init__(
        self,
        context: Context,
        stack: Stack,
        sender: Sender,
        ways: Ways,
        deliver: Callable[[Stanza], Verdict],
        call_later: CallLater,
        sleep: Sleep,
        token: Callable[[], str],
        draw: Callable[[], float],
    ) -> None:
        """`deliver` passes a message on to one of our people: `users.service.Users.take_promised`."""
        self._context = context
        self._stack = stack
        self._sleep = sleep
        self._token = token
        self._rows = Rows(DIALOGS, context.database, context.spawn, sleep)
        self._desk = Desk(
            context, stack, sender, ways, deliver, self._rows, token, draw, {}, {}, set(), self._note_changed
        )
        self._conversations: dict[Key, Conversation] = {}
        self._deadlines: Deadlines[Key] = Deadlines(context.clock.monotonic, call_later, self._tick)
        self._loaded: set[int] = set()
        self._arriving: set[int] = set()  # user ids of those who were moved here and are being read
        self._deferred: list[tuple[Person, Outgoing]] = []  # of sets whose rows are still being read
        self._repeats: set[tuple[str, str, str]] = set()  # sender, recipient, origin id of restored rows

    # -- for display -------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._conversations)

    def list_all(self) -> list[Conversation]:
        """Return all conversations."""
        return list(self._conversations.values())

    @property
    def waiting(self) -> int:
        """How many messages to people outside have no answer yet."""
        return len(self._desk.waiting) + len(self._deferred)

    # -- from our people ---------------------------------------------------------------------------

    def send(self, stanza: Stanza, person: Person, origin: Session | None) -> Verdict:
        """Take a message of one of our people for somebody outside."""
        if stanza.type == "error" or stanza.to is None:
            return DELIVERED
        if im_stanzas.is_for_group(stanza):
            return refuse("not-acceptable", im_stanzas.GROUP_TEXT)
        text = im_stanzas.text_of(stanza)
        if text is not None:
            return self._send_text(stanza, text, person, origin)
        is_typing = im_stanzas.typing_of(stanza)
        conversation = self._conversations.get((person.user_id, stanza.to.bare))
        if is_typing is not None and conversation is not None:
            conversation.type(is_typing)
        return DELIVERED

    def _send_text(self, stanza: Stanza, text: str, person: Person, origin: Session | None) -> Verdict:
        assert stanza.to is not None
        if self._is_repeat(stanza):
            return DELIVERED
        conversation = self._open(person, stanza.to) if self.waiting < MAX_WAITING else None
        if conversation is None or conversation.session.is_full:
            return BUSY
        number = self._context.next_number()
        outgoing = Outgoing(self._context.ledger, self._fail, person.user_id, number, stanza)
        pending = None
        if delivery.is_durable(stanza):
            pending = outgoing.pending = Pending()
            self._store(outgoing, person, origin)
        if self.has_taken_up(person):
            conversation.send(outgoing, text)
        else:
            self._deferred.append((person, outgoing))
        if pending is None:
            return DELIVERED
        return pending.verdict or pending

    def _store(self, outgoing: Outgoing, person: Person, origin: Session | None) -> None:
        """Have a message written, and kept in its sender's history."""
        stanza, now = outgoing.stanza, self._context.clock.now()
        assert stanza.to is not None
        data = stanza.to_bytes()
        sender = self._context.actors.get(person.address_id)
        if sender is not None:
            archive.keep_sent_outside(self._context, sender, stanza, outgoing.number, data, now)
        outgoing.entry = Entry(
            number=outgoing.number,
            recipient_id=person.user_id,
            stamp=now,
            stanza=data,
            on_settled=outgoing.settled,
            stream=origin.cursor if origin is not None else None,
            seq=origin.inbound if origin is not None else 0,
            outside=stanza.to.bare,
        )
        outgoing.submit()

    def _is_repeat(self, stanza: Stanza) -> bool:
        """Tell whether a client sends again what was a row when this node began to serve it (promise 1)."""
        if not self._repeats or ORIGIN_ID not in stanza.children:
            return False
        return _repeat_key(stanza) in self._repeats

    def _fail(self, stanza: Stanza, error: StanzaError) -> None:
        """Tell a sender who was promised that a message arrives that it does not."""
        sender = stanza.from_
        person = self._context.homes.find(sender.bare) if sender is not None else None
        if sender is None or person is None:
            return
        user = self._context.actors.get(person.address_id)
        session = user.sessions.get(sender.resource) if user is not None else None
        if session is not None and session.edge is not None and not session.congested:
            self._context.router.route(make_error(stanza, error))
        elif delivery.is_durable(
            stanza
        ):  # errors are for who is there (RFC 6121 §8.5.2.2.1); this one must not be lost either
            self._desk.deliver(im_stanzas.make_notice(stanza, self._token(), error))

    def _open(self, person: Person, remote: Jid) -> Conversation | None:
        """Return the conversation with somebody outside, made if need be; None: there are too many."""
        key = (person.user_id, remote.bare)
        conversation = self._conversations.get(key)
        if conversation is None:
            if len(self._conversations) >= MAX_CONVERSATIONS:
                return None
            conversation = self._conversations[key] = Conversation(self._desk, person, remote.bare_jid())
            self._context.counters.sip_conversations = len(self._conversations)
        return conversation

    # -- from SIP peers ----------------------------------------------------------------------------

    def invited(self, key: int, request: Request, transport: str, person: Person, address: Jid) -> None:
        """Take an INVITE without a tag in To, of somebody outside for one of this node."""
        conversation = self._open(person, address)
        if conversation is None:
            self._stack.respond(key, im_requests.answer(request, 503, self._token()))
        else:
            conversation.invited(key, request, transport)

    def paged(self, key: int, request: Request, person: Person, address: Jid) -> None:
        """Take a MESSAGE outside of a dialog (RFC 3428)."""
        conversation = self._open(person, address)
        if conversation is None:
            self._stack.respond(key, im_requests.answer(request, 503, self._token()))
        else:
            conversation.paged(key, request)

    def received(self, key: int, request: Request) -> bool:
        """Take a request of a dialog; False if the dialog is not known here (481 then)."""
        found = self._desk.dialogs.get(id_of(request))
        if found is None:
            return False
        conversation, line = found
        conversation.received(line, key, request)
        return True

    def acked(self, request: Request) -> bool:
        """Take the ACK of a 2xx; False if its dialog is not known here."""
        found = self._desk.dialogs.get(id_of(request))
        if found is not None:
            found[0].acknowledged(found[1])
        return found is not None

    def cancelled(self, key: int) -> None:
        """An INVITE was cancelled."""
        conversation = self._desk.asked.get(key)
        if conversation is not None:
            conversation.cancelled(key)

    def unacknowledged(self, key: int) -> None:
        """Nobody acknowledged our 2xx, or we were too slow: the conversation sees to it by its own time."""

    # -- time --------------------------------------------------------------------------------------

    def _tick(self, key: Key) -> None:
        conversation = self._conversations.get(key)
        if conversation is not None:
            conversation.tick()

    def _note_changed(self, conversation: Conversation) -> None:
        key = (conversation.person.user_id, conversation.remote.bare)
        if self._conversations.get(key) is not conversation:
            return
        if conversation.is_over:
            self._forget(conversation)
        else:
            self._deadlines.set(key, conversation.session.deadline())

    # -- homes -------------------------------------------------------------------------------------

    def has_taken_up(self, person: Person) -> bool:
        """Tell whether the conversations of one of this node's people have been read."""
        return person.set_id in self._loaded and person.user_id not in self._arriving

    async def load(self, set_id: int) -> None:
        """Go on with the conversations of the people of a set. Raises StoreError."""
        self._loaded.discard(set_id)
        self._drop_conversations(lambda person: person.set_id == set_id)
        after = 0
        while page := await self._context.database.read(sip_dialogs.list_of_set, set_id, after, PAGE):
            after = page[-1].id
            self._restore_dialogs(page)
        rows: list[OutgoingRow] = []
        last = (0, 0)
        while found := await self._context.database.read(outgoing_messages.list_of_set, set_id, last, PAGE):
            last = (found[-1].sender_id, found[-1].number)
            rows += found
        self._loaded.add(set_id)
        self._restore_messages(rows, lambda person: person.set_id == set_id)
        if rows:
            event("outgoing_messages_restored", "info", set_id=set_id, messages=len(rows))

    async def load_person(self, person: Person) -> None:
        """Go on with the conversations of somebody who was moved to this node. Raises StoreError."""
        read = self._context.database.read
        self.release_person(person)
        self._arriving.add(person.user_id)
        dialogs = await read(sip_dialogs.list_of_user, person.user_id)
        rows = await read(outgoing_messages.list_of_sender, person.user_id)
        if person.user_id not in self._arriving:
            return
        self._arriving.discard(person.user_id)
        if not self._context.homes.is_here(person):
            return
        self._restore_dialogs(dialogs)
        self._restore_messages(rows, lambda one: one.user_id == person.user_id)

    async def hand_over(self, set_id: int) -> None:
        """Write what is still to be written and serve a set no more. Raises StoreError."""
        await self._hand_over(lambda person: person.set_id == set_id)
        self._loaded.discard(set_id)

    async def hand_over_person(self, person: Person) -> None:
        """Write what is still to be written and serve somebody no more who is moved. Raises StoreError."""
        await self._hand_over(lambda one: one.user_id == person.user_id)

    def release_person(self, person: Person) -> None:
        """Serve somebody no more, at once; nobody is told."""
        self._arriving.discard(person.user_id)
        self._drop(lambda one: one.user_id == person.user_id)

    def release(self, set_id: int) -> None:
        """Serve the people of a set no more, at once; nobody is told."""
        self._loaded.discard(set_id)
        self._drop(lambda person: person.set_id == set_id)

    def deleted(self, person: Person) -> None:
        """A person is gone: hang up."""
        for conversation in self._of(lambda one: one.user_id == person.user_id):
            conversation.close()
            conversation.release()
            self._forget(conversation)

    async def flush(self) -> None:
        """Write what is still to be written. Raises StoreError."""
        await self._rows.flush()

    async def stop(self) -> None:
        """Hang up everywhere, as the service is stopped; messages without an answer stay rows."""
        for conversation in self.list_all():
            conversation.close()
        await self._until_quiet(lambda _person: True)

    async def _hand_over(self, is_theirs: Callable[[Person], bool]) -> None:
        """Wait a moment for the answers to what is on its way: what has none would be sent twice."""
        await self._until_quiet(is_theirs)
        await self._context.ledger.flush()
        await self._rows.flush()
        self._drop(is_theirs)

    async def _until_quiet(self, is_theirs: Callable[[Person], bool]) -> None:
        deadline = self._context.clock.monotonic() + DRAIN_SECONDS
        while any(one.is_busy for one in self._of(is_theirs)):
            if self._context.clock.monotonic() >= deadline:
                return
            await self._sleep(LOOK_SECONDS)

    def _of(self, is_theirs: Callable[[Person], bool]) -> list[Conversation]:
        return [one for one in self._conversations.values() if is_theirs(one.person)]

    def _drop(self, is_theirs: Callable[[Person], bool]) -> None:
        self._drop_conversations(is_theirs)
        deferred, self._deferred = self._deferred, []
        for person, outgoing in deferred:
            if is_theirs(person):
                outgoing.abandon()
            else:
                self._deferred.append((person, outgoing))

    def _drop_conversations(self, is_theirs: Callable[[Person], bool]) -> None:
        for conversation in self._of(is_theirs):
            conversation.release()
            self._forget(conversation)

    def _forget(self, conversation: Conversation) -> None:
        key = (conversation.person.user_id, conversation.remote.bare)
        if self._conversations.pop(key, None) is not None:
            self._deadlines.set(key, None)
            self._context.counters.sip_conversations = len(self._conversations)

    # -- what was there ----------------------------------------------------------------------------

    def _restore_dialogs(self, page: Iterable[DialogRow]) -> None:
        for found in page:
            person = self._context.homes.user(found.user_id)
            row = Row(found.user_id, found.peer, id=found.id)
            try:
                dialog = Dialog.from_record(found.record)
                row.local_cseq = dialog.local_cseq
                conversation = self._open(person, parse(found.peer)) if person is not None else None
            except (ValueError, JidError) as error:
                event("sip_dialog_dropped", "warning", user_id=found.user_id, reason=str(error))
                conversation = None
            if conversation is None:
                self._rows.drop(row)
            else:
                conversation.restore(dialog, row)

    def _restore_messages(self, rows: Iterable[OutgoingRow], is_theirs: Callable[[Person], bool]) -> None:
        """Send what is stored, then what came meanwhile."""
        deferred = [(person, one) for person, one in self._deferred if is_theirs(person)]
        self._deferred = [(person, one) for person, one in self._deferred if not is_theirs(person)]
        known = {one.number for _, one in deferred}
        keys: set[tuple[str, str, str]] = set()
        for row in rows:
            person = self._context.homes.user(row.sender_id)
            if person is not None and row.number not in known:
                self._restore_message(person, row, keys)
        for person, outgoing in deferred:
            if self._is_repeat(outgoing.stanza):
                outgoing.sent()
            else:
                self._go_on(person, outgoing)

    def _restore_message(self, person: Person, row: OutgoingRow, keys: set[tuple[str, str, str]]) -> None:
        try:
            stanza = parse_stanza(row.stanza)
        except (ElementError, StanzaError) as error:
            event("outgoing_message_unreadable", "error", number=row.number, reason=str(error))
            return
        outgoing = Outgoing(self._context.ledger, self._fail, person.user_id, row.number, stanza)
        outgoing.is_committed = True
        if ORIGIN_ID in stanza.children:
            key = _repeat_key(stanza)
            if key in keys:  # a client's repeat, stored before it was known for one
                outgoing.sent()
                return
            keys.add(key)
            self._repeats.add(key)
        self._go_on(person, outgoing)

    def _go_on(self, person: Person, outgoing: Outgoing) -> None:
        to = outgoing.stanza.to
        conversation = self._open(person, to) if to is not None else None
        text = im_stanzas.text_of(outgoing.stanza)
        if conversation is None or text is None:
            outgoing.failed(BUSY.error)
        else:
            conversation.send(outgoing, text)


def _repeat_key(stanza: Stanza) -> tuple[str, str, str]:
    assert stanza.to is not None and stanza.from_ is not None
    return (stanza.from_.bare, stanza.to.bare, origin_id(stanza) or "")
