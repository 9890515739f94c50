"""Phones of our people that we ask Unified CM about: our SUBSCRIBEs out, its NOTIFYs in (facts §4.4).

A phone system usually publishes who is on the phone by itself (`publishing.py`). One that is listed as to be
asked is sent a SUBSCRIBE for the number of everybody of this node who has one. Nothing is kept of it: after a
restart all is asked anew, at the rate at which other subscriptions are taken up.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from ubiety.gateway.addresses import sip_of
from ubiety.gateway.deadlines import CallLater, Deadlines
from ubiety.gateway.federation import Federation, FederationCopy
from ubiety.gateway.mapping import phone_state
from ubiety.gateway.sending import Sender, next_hop, retry_after_of
from ubiety.gateway.settings import RESTORE_RATE, SUBSCRIPTION_SECONDS
from ubiety.gateway.stack import MARK, Stack, Ways
from ubiety.gateway.subscribe import PACKAGE
from ubiety.presence.model import Statement
from ubiety.routing.homes import Person
from ubiety.sip import pidf
from ubiety.sip.dialog import Dialog, Refusal
from ubiety.sip.message import Request, Response, make_request, make_response
from ubiety.sip.outputs import Hop
from ubiety.sip.pidf import CPIM_PIDF, PIDF, PidfError, SipPresence
from ubiety.sip.subscription import Granted, Lost, Over, Subscribe, Subscriber, SubscriberOutput
from ubiety.sip.syntax import SipSyntaxError
from ubiety.sip.uri import escape_user
from ubiety.store import presence_gateways as rows
from ubiety.store.errors import StoreError
from ubiety.store.presence_gateways import PresenceGateway
from ubiety.telemetry import event
from ubiety.users.context import Context

PAGE: Final = 1000
SPREAD: Final = 0.1
RETRY_SECONDS: Final = 14_400.0
"""How long to wait with a number that the phone system refuses for good."""
ACCEPT: Final = f"{PIDF}, {CPIM_PIDF}"
LINE: Final = "asked"
"""Names what is told here among the sources of a person's presence."""


@dataclass(slots=True, eq=False)
class Phone:
    """One number of one of our people."""

    person: Person
    number: str
    subscriber: Subscriber
    call_id: str
    local_tag: str
    dialog: Dialog | None = None
    request: Request | None = None
    """The SUBSCRIBE that was sent last."""


class Phones:
    """All numbers of the people of this node that are asked about."""

    def __init__(
        self,
        context: Context,
        federation: FederationCopy,
        stack: Stack,
        sender: Sender,
        ways: Ways,
        call_later: CallLater,
        token: Callable[[], str],
        draw: Callable[[], float],
    ) -> None:
        self._context = context
        self._federation = federation
        self._stack = stack
        self._sender = sender
        self._ways = ways
        self._token = token
        self._draw = draw
        self._now = context.clock.monotonic
        self._deadlines: Deadlines[Phone] = Deadlines(self._now, call_later, self._tick)
        self._phones: dict[int, Phone] = {}
        self._by_tag: dict[tuple[str, str], Phone] = {}
        self._asked = self._gateways(federation.value)
        federation.watch(self._changed)

    def __len__(self) -> int:
        return len(self._phones)

    @property
    def timers(self) -> int:
        """How many of them wait for something to be due."""
        return len(self._deadlines)

    # -- homes -------------------------------------------------------------------------------------

    def load(self, set_id: int) -> None:
        """Ask about the people of a set, beside other work."""
        if self._asked:
            self._context.spawn(self._load(set_id))

    async def _load(self, set_id: int) -> None:
        positions = count(1)
        after = 0
        try:
            while page := await self._context.database.read(rows.phones, set_id, after, PAGE):
                after = page[-1][0]
                for user_id, phone in page:
                    self._begin(user_id, phone, next(positions))
        except StoreError as error:
            event("phones_not_read", "warning", set_id=set_id, reason=str(error))

    def load_person(self, person: Person) -> None:
        """Ask about somebody who was moved to this node, beside other work."""
        if self._asked:
            self._context.spawn(self._load_person(person))

    async def _load_person(self, person: Person) -> None:
        try:
            phone = await self._context.database.read(rows.phone_of, person.user_id)
        except StoreError as error:
            event("phones_not_read", "warning", user_id=person.user_id, reason=str(error))
        else:
            self._begin(person.user_id, phone, 0)

    def release(self, is_gone: Callable[[Person], bool]) -> None:
        """Ask about people no more whom another node serves; nobody is told."""
        for phone in [one for one in self._phones.values() if is_gone(one.person)]:
            self._forget(phone)

    def deleted(self, person: Person) -> None:
        """A person is gone."""
        phone = self._phones.get(person.user_id)
        if phone is not None:
            self._perform(phone, phone.subscriber.stop(self._now()))
            self._forget(phone)

    def _changed(self, federation: Federation) -> None:
        """Ask the phone systems that are listed now."""
        asked = self._gateways(federation)
        if asked == self._asked:
            return
        self._asked = asked
        for phone in list(self._phones.values()):
            self._forget(phone)
        for set_id in list(self._context.homes.here):
            self.load(set_id)

    @staticmethod
    def _gateways(federation: Federation) -> tuple[PresenceGateway, ...]:
        return tuple(one for one in federation.gateways if one.is_asked)

    def _begin(self, user_id: int, text: str, position: int) -> None:
        person, number = self._context.homes.user(user_id), number_of(text)
        if person is None or not number or user_id in self._phones:
            return
        if not self._asked or not self._context.homes.is_here(person):
            return  # things have changed while the table was read
        phone = Phone(person, number, self._make_subscriber(), self._token(), self._token())
        self._phones[user_id] = phone
        phone.subscriber.retry(self._now() + position / self._context.settings.get(RESTORE_RATE))
        self._deadlines.set(phone, phone.subscriber.deadline())

    def _make_subscriber(self) -> Subscriber:
        seconds = self._context.settings.get(SUBSCRIPTION_SECONDS)
        return Subscriber(round(seconds * (1 - SPREAD / 2 + SPREAD * self._draw())), self._draw())

    # -- requests ----------------------------------------------------------------------------------

    def notified(self, key: int, request: Request) -> bool:
        """Take a NOTIFY; False if it is of no subscription of these."""
        phone = self._by_tag.get((request.call_id, request.to.tag or ""))
        if phone is None or phone.request is None:
            return False
        dialog = self._dialog_of(phone, request)
        said = self._read(request)
        if isinstance(dialog, Refusal):
            self._stack.respond(key, make_response(request, dialog.status))
        elif isinstance(said, int):
            self._stack.respond(key, make_response(request, said))
        else:
            phone.dialog = dialog
            self._stack.respond(key, make_response(request, 200, headers=(("Server", MARK),)))
            state = request.headers.get("subscription-state") or "active"
            self._perform(phone, phone.subscriber.notified(state, self._now()))
            if said is not None and self._is_kept(phone) and not phone.subscriber.is_over:
                self._put(phone, said)
        return True

    @staticmethod
    def _dialog_of(phone: Phone, request: Request) -> Dialog | Refusal:
        if phone.dialog is not None:
            return phone.dialog.accepts(request)
        assert phone.request is not None
        try:
            return Dialog.from_notify(request, phone.request)
        except SipSyntaxError as error:
            return Refusal(error.status)

    @staticmethod
    def _read(request: Request) -> SipPresence | int | None:
        """Return what a NOTIFY says, None if nothing, or the status with which it is refused."""
        try:
            found = request.event
            if found is None or found.package != PACKAGE:
                return 489
            if not request.body:
                return None
            charset = request.content_params.get("charset", "")
            return pidf.read(request.body, request.content_type, charset)
        except SipSyntaxError as error:
            return error.status
        except PidfError as error:
            event("sip_presence_unreadable", "warning", sender=str(request.from_.uri), reason=error.reason)
            return 400

    # -- inside ------------------------------------------------------------------------------------

    def _is_kept(self, phone: Phone) -> bool:
        return self._phones.get(phone.person.user_id) is phone

    def _put(self, phone: Phone, presence: SipPresence | None) -> None:
        state = phone_state(presence) if presence is not None else None
        said = Statement(state, since=self._context.clock.now()) if state is not None else None
        self._context.sources.put_phone(phone.person.user_id, LINE, said)

    def _tick(self, phone: Phone) -> None:
        self._perform(phone, phone.subscriber.tick(self._now()))

    def _perform(self, phone: Phone, outputs: Sequence[SubscriberOutput]) -> None:
        for output in outputs:
            if isinstance(output, Subscribe):
                self._subscribe(phone, output)
            elif isinstance(output, Lost):
                self._lost(phone, output)
            elif isinstance(output, Over):
                self._by_tag.pop((phone.call_id, phone.local_tag), None)
            elif isinstance(output, Granted):
                pass  # what it says comes with it
        if self._is_kept(phone):
            self._deadlines.set(phone, phone.subscriber.deadline())

    def _subscribe(self, phone: Phone, order: Subscribe) -> None:
        if order.is_new_dialog or phone.dialog is None:
            request = self._new(phone, order)
        else:
            hop = next_hop(phone.dialog, "")
            request, phone.dialog = phone.dialog.request(
                "SUBSCRIBE",
                contact=self._ways.contact(hop.transport if hop is not None else "tcp"),
                headers=_headers(order.expires),
            )
        phone.request = request
        hops = self._hops(phone)
        if hops:
            self._sender.send(request, hops, lambda response: self._answered(phone, request, response))

    def _new(self, phone: Phone, order: Subscribe) -> Request:
        self._by_tag.pop((phone.call_id, phone.local_tag), None)
        phone.dialog = None
        phone.call_id, phone.local_tag = self._token(), self._token()
        self._by_tag[phone.call_id, phone.local_tag] = phone
        gateway = self._asked[0]
        host = f"[{gateway.address}]" if ":" in gateway.address else gateway.address
        uri = f"sip:{escape_user(phone.number)}@{host}"
        return make_request(
            "SUBSCRIBE",
            uri,
            f"<{sip_of(phone.person.jid)}>;tag={phone.local_tag}",
            f"<{uri}>",
            phone.call_id,
            1,
            contact=self._ways.contact(gateway.transport),
            headers=_headers(order.expires),
        )

    def _hops(self, phone: Phone) -> list[Hop]:
        """Return where the dialog leads, then the phone systems in the order in which they are listed."""
        known = next_hop(phone.dialog, "") if phone.dialog is not None else None
        return list(dict.fromkeys([*([known] if known is not None else []), *map(_hop, self._asked)]))

    def _answered(self, phone: Phone, request: Request, response: Response | None) -> None:
        if phone.request is not request or not self._is_kept(phone):
            return
        if response is None:
            self._perform(phone, phone.subscriber.answered(None, None, None, self._now()))
            return
        status, expires = response.status, None
        try:
            expires = response.expires
            if status < 300:
                dialog = phone.dialog
                phone.dialog = (
                    Dialog.from_response(request, response) if dialog is None else dialog.learned(response)
                )
        except SipSyntaxError:
            status = 502  # an answer that cannot be used is as good as none
        outputs = phone.subscriber.answered(status, expires, retry_after_of(response), self._now())
        self._perform(phone, outputs)

    def _lost(self, phone: Phone, lost: Lost) -> None:
        event(
            "phone_subscription_lost",
            "info",
            person=phone.person.jid.bare,
            number=phone.number,
            reason=lost.reason,
            is_final=lost.retry_at is None,
        )
        self._put(phone, None)
        if lost.retry_at is None and self._is_kept(phone):
            phone.subscriber = self._make_subscriber()
            phone.subscriber.retry(self._now() + RETRY_SECONDS * (1 + self._draw()))

    def _forget(self, phone: Phone) -> None:
        self._deadlines.set(phone, None)
        self._by_tag.pop((phone.call_id, phone.local_tag), None)
        if self._is_kept(phone):
            del self._phones[phone.person.user_id]
            self._put(phone, None)


def number_of(text: str) -> str:
    """Return a phone number as it is dialled: without spaces, hyphens, brackets, and what is behind them."""
    dialled = "".join(_dialled(text))
    return dialled if any(char.isdigit() for char in dialled) else ""


def _dialled(text: str) -> Iterable[str]:
    for char in text.strip():
        if char.isascii() and (char.isdigit() or char in "+*#"):
            yield char
        elif char not in " -./()":
            return  # "ext. 12", ";phone-context=": not of the number


def _hop(gateway: PresenceGateway) -> Hop:
    name = gateway.address if gateway.transport == "tls" else ""
    return Hop(gateway.transport, gateway.address, gateway.port, name)


def _headers(expires: int) -> tuple[tuple[str, str], ...]:
    return (("Event", PACKAGE), ("Accept", ACCEPT), ("Expires", str(expires)), ("User-Agent", MARK))
