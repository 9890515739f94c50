"""Presence between our people and people outside, both ways: what the rest of the gateway sees of it.

`watchers.py` is who watches our people, `watching.py` whom they watch. Both are kept in rows and belong to
the home of the person; what a node takes up when it begins to serve a set is spread over time.
"""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Final

from ubiety.conditions import StanzaError
from ubiety.gateway.addresses import NoAddress, jid_of
from ubiety.gateway.deadlines import CallLater
from ubiety.gateway.pace import Pace
from ubiety.gateway.phones import Phones
from ubiety.gateway.publishing import Publishing
from ubiety.gateway.rows import SUBSCRIPTIONS, Rows, Sleep
from ubiety.gateway.sending import Sender
from ubiety.gateway.settings import RESTORE_RATE
from ubiety.gateway.stack import Stack, Ways
from ubiety.gateway.subscriptions import Means
from ubiety.gateway.watchers import Watchers
from ubiety.gateway.watching import Watching
from ubiety.jid import Jid, JidError, parse
from ubiety.presence.model import Composed
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Refused, Verdict
from ubiety.sip.message import Request, make_response
from ubiety.sip.syntax import SipSyntaxError
from ubiety.stanza import Stanza
from ubiety.store import sip_subscriptions as rows
from ubiety.store.errors import StoreError
from ubiety.telemetry import event
from ubiety.users.actor import User
from ubiety.users.context import Context

PAGE: Final = 200
RETRY_SECONDS: Final = 2.0
BUSY_SECONDS: Final = "5"
"""What peers are told to wait while the database does not answer."""


class Presence:
    """One per node."""

    def __init__(
        self,
        context: Context,
        stack: Stack,
        sender: Sender,
        ways: Ways,
        call_later: CallLater,
        sleep: Sleep,
        token: Callable[[], str],
        draw: Callable[[], float],
    ) -> None:
        self._context = context
        self._stack = stack
        self._sleep = sleep
        self._loading: dict[int, object] = {}
        """The sets whose subscriptions are being read, each with what tells this reading from others."""
        self._arriving: set[int] = set()
        """User ids of those who were moved to this node and whose subscriptions are being read."""
        self._rows = Rows(SUBSCRIPTIONS, context.database, context.spawn, sleep)
        pace = Pace(context.clock.monotonic, call_later, self._restore_rate)
        means = Means(context, stack, sender, ways, self._rows, call_later, token, pace)
        self.watchers = Watchers(means)
        self.watching = Watching(means, draw)
        self.publishing = Publishing(context, stack, call_later, token)
        self.phones: Phones | None = None
        """The phones that we ask about."""

    # -- SIP ---------------------------------------------------------------------------------------

    def subscribed(self, key: int, request: Request, transport: str, person: Person, address: Jid) -> None:
        """Take a SUBSCRIBE without a tag in To, of somebody outside who may send it, for one of this node."""
        self._context.spawn(self.watchers.subscribe(key, request, transport, person, address))

    def published(self, key: int, request: Request, person: Person) -> None:
        """Take a PUBLISH of a trusted peer for one of the people of this node."""
        self.publishing.received(key, request, person)

    def received(self, key: int, request: Request) -> bool:
        """Take a SUBSCRIBE or NOTIFY of a dialog; False if nobody of this node can have it (481 then)."""
        if self._hand_over(key, request):
            return True
        try:
            person = self._context.homes.find(jid_of(request.to.uri).bare)
        except (NoAddress, SipSyntaxError):
            return False
        if person is None or not self._context.homes.is_here(person):
            return False
        self._context.spawn(self._look_up(key, request, person))
        return True

    def _hand_over(self, key: int, request: Request) -> bool:
        if request.method == "SUBSCRIBE":
            return self.watchers.refresh(key, request)
        if self.phones is not None and self.phones.notified(key, request):
            return True
        return self.watching.notified(key, request)

    async def _look_up(self, key: int, request: Request, person: Person) -> None:
        """Take a request of a dialog that may be in a row only: 481 would end it at the other side.

        So it is while the rows of a set are being read, and for people who were moved here.
        """
        try:
            found = await self._context.database.read(rows.list_of_user, person.user_id)
        except StoreError as error:
            event("sip_subscriptions_not_read", "warning", user_id=person.user_id, reason=str(error))
            headers = (("Retry-After", BUSY_SECONDS),)
            self._stack.respond(key, make_response(request, 503, headers=headers))
            return
        self._restore([row for row in found if row.call_id == request.call_id], count(1))
        if not self._hand_over(key, request):
            self._stack.respond(key, make_response(request, 481))

    # -- XMPP --------------------------------------------------------------------------------------

    def route(self, stanza: Stanza) -> Verdict:
        """Take presence of one of our people for somebody outside.

        Only what is about subscriptions goes any further. Presence itself is shown by `shown`, and a probe or
        directed presence would be a look at somebody (see `watching.py`).
        """
        sender, to = stanza.from_, stanza.to
        person = self._context.homes.find(sender.bare) if sender is not None else None
        if person is None or to is None:
            return DELIVERED
        contact = to.bare_jid()
        if stanza.type == "subscribe":
            try:
                self.watching.watch(person, contact)
            except StanzaError as error:
                return Refused(error)
        elif stanza.type == "unsubscribe":
            self.watching.unwatch(person, contact)
        elif stanza.type in ("subscribed", "unsubscribed"):
            self.watchers.answered(person, contact, stanza.type == "subscribed")
        return DELIVERED

    def shown(self, user: User, composed: Composed, watchers: Sequence[Jid]) -> None:
        """Show a person to watchers outside (`users.outside.Outside`)."""
        self.watchers.shown(user.person, composed, watchers)

    def look_around(self, user: User, session: Session) -> None:
        """Show a new session what is known of all contacts outside."""
        if user.outside is not None:
            self._look(user, list(user.outside.watched_jids()), session.jid)

    def look_at(self, user: User, contact: Jid) -> None:
        """Show all sessions of a person what is known of one contact."""
        self._look(user, [contact], user.jid.bare_jid())

    def forgotten(self, user: User) -> None:
        """A person is not loaded any more; subscriptions live on."""

    def _look(self, user: User, contacts: Sequence[Jid], to: Jid) -> None:
        self.watching.look_around(user.person, contacts, to, self.has_taken_up(user.person))

    def has_taken_up(self, person: Person) -> bool:
        """Tell whether all that is kept of one of this node's people has been read.

        Until then, a contact without a watch is not one that nobody watches.
        """
        return person.set_id not in self._loading and person.user_id not in self._arriving

    # -- homes -------------------------------------------------------------------------------------

    async def load(self, set_id: int) -> None:
        """Take up all subscriptions of the people of a set (`routing.homes.Homed`), beside other work."""
        self.release(set_id)
        reading = self._loading[set_id] = object()
        self._context.spawn(self._load(set_id, reading))

    async def _load(self, set_id: int, reading: object) -> None:
        positions = count(1)
        try:
            await self._read(set_id, reading, positions)
        finally:
            is_still_ours = self._loading.get(set_id) is reading
            if is_still_ours:
                del self._loading[set_id]
        if is_still_ours and self.phones is not None:
            self.phones.load(set_id)
        if number := next(positions) - 1:
            event("sip_subscriptions_restored", "info", set_id=set_id, subscriptions=number)

    async def _read(self, set_id: int, reading: object, positions: "count[int]") -> None:
        after = 0
        while self._loading.get(set_id) is reading:
            try:
                page = await self._context.database.read(rows.list_of_set, set_id, after, PAGE)
            except StoreError as error:
                event("sip_subscriptions_not_read", "warning", set_id=set_id, reason=str(error))
                await self._sleep(RETRY_SECONDS)
                continue
            if self._loading.get(set_id) is not reading:
                return
            self._restore(page, positions)
            if len(page) < PAGE:
                return
            after = page[-1].id

    async def load_person(self, person: Person) -> None:
        """Take up the subscriptions of somebody who was moved to this node. Raises StoreError."""
        self._arriving.add(person.user_id)
        found = await self._context.database.read(rows.list_of_user, person.user_id)
        if person.user_id in self._arriving:
            self._arriving.discard(person.user_id)
            if self._context.homes.is_here(person):
                self._restore(found, count(1))
                if self.phones is not None:
                    self.phones.load_person(person)

    async def hand_over_person(self, person: Person) -> None:
        """Write what is still to be written and serve somebody no more who is moved. Raises StoreError."""
        await self._rows.flush()
        self.release_person(person)

    def release_person(self, person: Person) -> None:
        """Serve somebody no more, at once; nobody is told."""
        self._arriving.discard(person.user_id)
        self._release(lambda one: one.user_id == person.user_id)

    async def hand_over(self, set_id: int) -> None:
        """Write what is still to be written and serve a set no more; raises StoreError."""
        await self._rows.flush()
        self.release(set_id)

    def release(self, set_id: int) -> None:
        """Serve the people of a set no more, at once; nobody is told."""
        self._loading.pop(set_id, None)
        self._release(lambda person: person.set_id == set_id)

    def deleted(self, person: Person) -> None:
        """A person is gone: tell their watchers, and watch nobody for them."""
        self.watchers.deleted(person)
        self.watching.deleted(person)
        if self.phones is not None:
            self.phones.deleted(person)

    async def flush(self) -> None:
        """Write what is still to be written; raises StoreError."""
        await self._rows.flush()

    def _release(self, is_gone: Callable[[Person], bool]) -> None:
        self.watchers.release(is_gone)
        self.watching.release(is_gone)
        user = self._context.homes.user
        if self.phones is not None:
            self.phones.release(is_gone)
        self.publishing.release(lambda user_id: (person := user(user_id)) is None or is_gone(person))

    def _restore_rate(self) -> int:
        return self._context.settings.get(RESTORE_RATE)

    def _restore(self, page: Sequence[rows.Subscription], positions: "count[int]") -> None:
        rate = self._restore_rate()
        for subscription in page:
            person = self._context.homes.user(subscription.user_id)
            try:
                address = parse(subscription.peer)
            except JidError:
                continue
            if person is None:
                continue
            keeper = self.watchers if subscription.direction == rows.IN else self.watching
            keeper.restore(subscription, person, address, next(positions) / rate)
