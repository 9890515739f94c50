"""Our people who watch others over SIP: SUBSCRIBEs out, NOTIFYs in (RFC 3856, RFC 8048 §5).

One `Watch` for each person and contact, kept for as long as the contact stands in the roster with a
subscription, signed in or not. Only a subscription makes one, never a look at somebody: the other side would
ask its people for each (seed 000, availability).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ubiety.conditions import StanzaError, error_bytes
from ubiety.element import NS_CLIENT
from ubiety.gateway.addresses import sip_of
from ubiety.gateway.mapping import presence_payload, to_composed
from ubiety.gateway.rows import Kept, Row
from ubiety.gateway.sending import hops_of, next_hop, retry_after_of
from ubiety.gateway.settings import SUBSCRIPTION_SECONDS
from ubiety.gateway.stack import MARK
from ubiety.gateway.statuses import condition_of, status_of
from ubiety.gateway.subscribe import PACKAGE
from ubiety.gateway.subscriptions import Means, Subscriptions, Tag
from ubiety.jid import Jid
from ubiety.presence.model import OFFLINE, Composed
from ubiety.routing.homes import Person
from ubiety.sip import pidf
from ubiety.sip.dialog import Dialog, Refusal
from ubiety.sip.message import Request, Response, make_request, make_response
from ubiety.sip.outputs import Hop
from ubiety.sip.pidf import CPIM_PIDF, PIDF, PidfError
from ubiety.sip.pidf_microsoft import MSRTC_PIDF, XPIDF
from ubiety.sip.subscription import (
    Granted,
    Lost,
    Over,
    Subscribe,
    Subscriber,
    SubscriberOutput,
    Waiting,
)
from ubiety.sip.syntax import SipSyntaxError
from ubiety.stanza import Stanza
from ubiety.store.sip_subscriptions import OUT, Subscription
from ubiety.telemetry import event

ACCEPT: Final = f"{PIDF}, {CPIM_PIDF}"
"""What we ask for (facts §5.2). More is read: some send what they like."""
READABLE: Final = frozenset({PIDF, CPIM_PIDF, XPIDF, MSRTC_PIDF})
SPREAD: Final = 0.1
"""By how much of its length the life that is asked for differs between subscriptions."""

RETRY_SECONDS: Final = 14_400.0
"""How long to wait with somebody who has agreed once and whose server refuses us now."""
DECISIONS: Final = frozenset({"rejected", "noresource", "invariant"})
"""Reasons for an end that the contact, or the end of the contact, has given (RFC 6665 §4.1.3)."""

ASKED, WAITING, GRANTED = "asked", "waiting", "granted"
"""What a row says of a watch."""


@dataclass(slots=True, eq=False)
class Watch:
    """One subscription of one of our people to somebody outside."""

    person: Person
    contact: Jid
    subscriber: Subscriber
    row: Row
    call_id: str
    local_tag: str
    state: str = ASKED
    dialog: Dialog | None = None
    request: Request | None = None
    """The SUBSCRIBE that was sent last, until it has made a dialog and is answered."""
    shown: Composed | None = OFFLINE
    """What the person's clients were shown last; None: another node has done that."""
    status: int | None = None
    """The last answer that was no success."""
    is_error_told: bool = False
    is_started: bool = True
    """False for one that was restored and has not been asked for since."""

    @property
    def tag(self) -> Tag:
        """By which it is found."""
        return self.call_id, self.local_tag


class Watching(Subscriptions[Watch]):
    """All watches of the people of this node."""

    def __init__(self, means: Means, draw: Callable[[], float]) -> None:
        super().__init__(means)
        self._draw = draw
        self._by_pair: dict[tuple[int, str], Watch] = {}

    # -- the person's side -------------------------------------------------------------------------

    def watch(self, person: Person, contact: Jid) -> None:
        """Watch somebody, unless it is done already. Raises StanzaError when there is no way to them."""
        if (person.user_id, contact.bare) in self._by_pair:
            return
        self._ways.hops(person.jid, contact)
        watch = self._make(person, contact, Row(person.user_id, contact.bare, OUT))
        self._keep(watch)
        self._put(watch, ASKED)
        self._perform(watch, watch.subscriber.start(self._now()))

    def unwatch(self, person: Person, contact: Jid) -> None:
        """Watch somebody no more."""
        watch = self._by_pair.pop((person.user_id, contact.bare), None)
        if watch is not None:
            self._rows.drop(watch.row)
            self._perform(watch, watch.subscriber.stop(self._now()))

    def look_around(self, person: Person, contacts: Iterable[Jid], to: Jid, may_watch: bool = True) -> None:
        """Show what is known of these contacts to an address of the person; watch those who are not yet."""
        for contact in contacts:
            watch = self._by_pair.get((person.user_id, contact.bare))
            if watch is None:
                if may_watch:
                    self._watch_quietly(person, contact)
            elif watch.shown is not None and not watch.shown.state.is_offline:
                self._context.router.route(_presence(to, contact, watch.shown))

    def deleted(self, person: Person) -> None:
        """A person is gone: they watch nobody."""
        for watch in [one for one in self._by_pair.values() if one.person is person]:
            self.unwatch(person, watch.contact)

    # -- requests ----------------------------------------------------------------------------------

    def notified(self, key: int, request: Request) -> bool:
        """Take a NOTIFY; False if it is of no subscription of ours (481 then)."""
        watch = self._by_tag.get((request.call_id, request.to.tag or ""))
        if watch is None or (watch.request is None and watch.dialog is None) or not self._is_served(watch):
            return False
        dialog = self._dialog_of(watch, request)
        if isinstance(dialog, Refusal):
            self._stack.respond(key, make_response(request, dialog.status))
            return True
        found = self._read(request)
        if isinstance(found, Response):
            self._stack.respond(key, found)
            return True
        watch.dialog = dialog
        self._stack.respond(key, make_response(request, 200, headers=(("Server", MARK),)))
        state = request.headers.get("subscription-state") or "active"
        self._perform(watch, watch.subscriber.notified(state, self._now()))
        is_wanted = self._by_pair.get((watch.person.user_id, watch.contact.bare)) is watch
        if found is not None and is_wanted and not watch.subscriber.is_over:
            self._show(watch, found)
        return True

    # -- homes -------------------------------------------------------------------------------------

    def restore(self, subscription: Subscription, person: Person, contact: Jid, start_in: float) -> None:
        """Take up a watch that was kept: it is refreshed, or asked for anew, after `start_in` seconds."""
        row = Row(person.user_id, contact.bare, OUT, subscription.id)
        known = self._by_pair.get((person.user_id, contact.bare))
        if known is not None:
            if known.row.id != row.id:
                self._rows.drop(row)
            return
        watch = self._make(person, contact, row)
        watch.state, watch.shown, watch.is_started = subscription.state, None, False
        left = subscription.expires - self._context.clock.now()
        start_at = self._now() + start_in
        try:
            dialog = subscription.record["dialog"]
            watch.dialog = Dialog.from_record(dialog).jumped() if dialog is not None else None
        except (ValueError, KeyError, TypeError) as error:
            event("sip_subscription_not_restored", "warning", row=subscription.id, reason=str(error))
        if watch.dialog is not None and left > start_in:
            watch.call_id, watch.local_tag = watch.dialog.call_id, watch.dialog.local_tag
            watch.subscriber.restore(self._now() + left, start_at, watch.state == GRANTED)
        else:
            watch.dialog = None
            watch.subscriber.retry(start_at)
        self._keep(watch)
        self._deadlines.set(watch, watch.subscriber.deadline())

    # -- inside: SIP -------------------------------------------------------------------------------

    def _dialog_of(self, watch: Watch, request: Request) -> Dialog | Refusal:
        """Return the dialog after a NOTIFY: its first one may come before the answer to the SUBSCRIBE."""
        if watch.dialog is not None:
            return watch.dialog.accepts(request)
        assert watch.request is not None
        try:
            return Dialog.from_notify(request, watch.request)
        except SipSyntaxError as error:
            return Refusal(error.status)

    def _read(self, request: Request) -> Composed | Response | None:
        """Return what a NOTIFY says, None if nothing, or the answer with which it is refused."""
        try:
            found = request.event
            content_type, params = request.content_type, request.content_params
        except SipSyntaxError as error:
            return make_response(request, error.status)
        if found is None or found.package != PACKAGE:
            return make_response(request, 489, headers=(("Allow-Events", PACKAGE),))
        if not request.body:
            return None
        if content_type not in READABLE:
            return make_response(request, 415, headers=(("Accept", ACCEPT),))
        try:
            return to_composed(pidf.read(request.body, content_type, params.get("charset", "")))
        except PidfError as error:
            event("sip_presence_unreadable", "warning", sender=str(request.from_.uri), reason=error.reason)
            return make_response(request, 400, "Unreadable Presence Document")

    def _perform(self, watch: Watch, outputs: Sequence[SubscriberOutput]) -> None:
        for output in outputs:
            match output:
                case Subscribe():
                    self._subscribe(watch, output)
                case Granted():
                    self._granted(watch)
                case Waiting():
                    self._put(watch, WAITING)
                case Lost():
                    self._lost(watch, output)
                case Over():
                    self._forget(watch)
        if self._is_kept(watch):
            self._deadlines.set(watch, watch.subscriber.deadline())

    def _subscribe(self, watch: Watch, order: Subscribe) -> None:
        if self._context.homes.find(watch.contact.bare) is not None:
            self._came_home(watch)
            return
        try:
            request, hops = self._new(watch, order) if order.is_new_dialog else self._next(watch, order)
            watch.request = request
            self._sender.send(request, hops, lambda response: self._answered(watch, request, response))
        except StanzaError as error:
            watch.status = status_of(error.condition)
            self._perform(watch, watch.subscriber.answered(watch.status, None, None, self._now()))

    def _new(self, watch: Watch, order: Subscribe) -> tuple[Request, Iterable[Hop]]:
        hops = self._ways.hops(watch.person.jid, watch.contact)
        self._by_tag.pop(watch.tag, None)
        watch.dialog = None
        watch.call_id, watch.local_tag = self._token(), self._token()
        self._by_tag[watch.tag] = watch
        ours, theirs = sip_of(watch.person.jid), sip_of(watch.contact)
        request = make_request(
            "SUBSCRIBE",
            theirs,
            f"<{ours}>;tag={watch.local_tag}",
            f"<{theirs}>",
            watch.call_id,
            1,
            contact=self._ways.contact(hops[0].transport),
            headers=_headers(order.expires),
        )
        return request, hops

    def _next(self, watch: Watch, order: Subscribe) -> tuple[Request, Iterable[Hop]]:
        assert watch.dialog is not None
        hop = next_hop(watch.dialog, watch.contact.domain)
        request, watch.dialog = watch.dialog.request(
            "SUBSCRIBE",
            contact=self._ways.contact(hop.transport if hop is not None else "tls"),
            headers=_headers(order.expires),
        )
        return request, hops_of(watch.dialog, self._ways, watch.person.jid, watch.contact)

    def _answered(self, watch: Watch, request: Request, response: Response | None) -> None:
        if watch.request is not request or not self._is_kept(watch):
            return  # a newer one is on its way, or another node serves the person
        if response is None:
            watch.status = None
            self._perform(watch, watch.subscriber.answered(None, None, None, self._now()))
            return
        try:
            expires = _granted_seconds(response)
            if response.status < 300:
                if watch.dialog is None:
                    watch.dialog = Dialog.from_response(request, response)
                else:
                    watch.dialog = watch.dialog.learned(response)
            else:
                watch.status = response.status
            status = response.status
        except SipSyntaxError:
            expires, status = None, 502  # an answer that cannot be used is as good as none
        if watch.dialog is not None:
            watch.request = None
        retry_after = retry_after_of(response)
        outputs = watch.subscriber.answered(status, expires, retry_after, self._now())
        self._perform(watch, outputs)
        if status < 300 and not watch.subscriber.is_over:
            self._put(watch, watch.state)

    def _tick(self, watch: Watch) -> None:
        if not self._is_served(watch):
            return
        if watch.is_started:
            self._perform(watch, watch.subscriber.tick(self._now()))
        else:
            watch.is_started = True
            self._pace.enter(partial(self._take_up, watch))

    def _take_up(self, watch: Watch) -> None:
        if self._is_kept(watch):
            self._tick(watch)

    # -- inside: XMPP ------------------------------------------------------------------------------

    def _granted(self, watch: Watch) -> None:
        if watch.state != GRANTED:
            # RFC 8048 §5.2.1: only now the contact has agreed.
            self._tell(watch, "subscribed")
        self._put(watch, GRANTED)

    def _lost(self, watch: Watch, lost: Lost) -> None:
        event(
            "sip_subscription_lost",
            "info",
            person=watch.person.jid.bare,
            contact=watch.contact.bare,
            reason=lost.reason,
            is_final=lost.retry_at is None,
        )
        self._show(watch, OFFLINE)
        if lost.retry_at is None and watch.state == GRANTED and lost.reason not in DECISIONS:
            # The contact has agreed and has not taken that back: it is the servers that were changed.
            watch.subscriber = self._make_subscriber()
            watch.subscriber.retry(self._now() + RETRY_SECONDS * (1 + self._draw()))
        elif lost.retry_at is None:
            self._forget(watch)
            self._rows.drop(watch.row)
            self._tell(watch, "unsubscribed")
        elif watch.state == ASKED and not watch.is_error_told:
            watch.is_error_told = True
            error = error_bytes(condition_of(watch.status))
            self._tell(watch, "error", error, ((NS_CLIENT, "error"),))

    def _came_home(self, watch: Watch) -> None:
        """The contact is one of our own people by now: nobody is to be asked over SIP."""
        self._forget(watch)
        self._rows.drop(watch.row)

    def _show(self, watch: Watch, composed: Composed) -> None:
        if composed.is_like(watch.shown):
            return
        watch.shown = composed
        self._context.router.route(_presence(watch.person.jid.bare_jid(), watch.contact, composed))

    def _tell(
        self, watch: Watch, type: str, payload: bytes = b"", children: tuple[tuple[str, str], ...] = ()
    ) -> None:
        to = watch.person.jid.bare_jid()
        self._context.router.route(
            Stanza("presence", to, watch.contact, type=type, payload=payload, children=children)
        )

    def _watch_quietly(self, person: Person, contact: Jid) -> None:
        try:
            self.watch(person, contact)
        except StanzaError as error:
            event(
                "sip_contact_out_of_reach",
                "info",
                person=person.jid.bare,
                contact=contact.bare,
                reason=error.text,
            )

    # -- inside: tables ----------------------------------------------------------------------------

    def _make(self, person: Person, contact: Jid, row: Row) -> Watch:
        return Watch(person, contact, self._make_subscriber(), row, self._token(), self._token())

    def _make_subscriber(self) -> Subscriber:
        seconds = self._context.settings.get(SUBSCRIPTION_SECONDS)
        return Subscriber(round(seconds * (1 - SPREAD / 2 + SPREAD * self._draw())), self._draw())

    def _put(self, watch: Watch, state: str) -> None:
        watch.state = state
        now = self._now()
        expires_at = watch.subscriber.expires_at
        expires = self._context.clock.now() + ((expires_at if expires_at is not None else now) - now)
        record: dict[str, Any] = {"dialog": watch.dialog.to_record() if watch.dialog is not None else None}
        self._rows.put(watch.row, Kept(state, watch.call_id, record, expires))

    def _keep(self, watch: Watch) -> None:
        self._by_tag[watch.tag] = watch
        self._by_pair[watch.person.user_id, watch.contact.bare] = watch

    def _unpair(self, watch: Watch) -> None:
        pair = (watch.person.user_id, watch.contact.bare)
        if self._by_pair.get(pair) is watch:
            del self._by_pair[pair]


def _headers(expires: int) -> tuple[tuple[str, str], ...]:
    return (
        ("Event", PACKAGE),
        ("Accept", ACCEPT),
        ("Expires", str(expires)),
        ("User-Agent", MARK),
    )


def _granted_seconds(response: Response) -> int | None:
    """Return the Expires of an answer, of a 423 its Min-Expires; raises SipSyntaxError."""
    if response.status != 423:
        return response.expires
    text = (response.headers.get("min-expires") or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _presence(to: Jid, contact: Jid, composed: Composed) -> Stanza:
    if composed.state.is_offline:
        return Stanza("presence", to, contact, type="unavailable")
    payload = presence_payload(composed)
    children = tuple((NS_CLIENT, name) for name in ("show", "status") if f"<{name}>".encode() in payload)
    return Stanza("presence", to, contact, children=children, payload=payload)
