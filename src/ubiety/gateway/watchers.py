"""People outside who watch ours over SIP: their SUBSCRIBEs in, our NOTIFYs out (RFC 3856, seed 000).

One `Watcher` for each subscription, which is one dialog. Who may watch is decided by the person's home as for
people of our own (`users.outsiders`); somebody who is denied is shown an offline person and nothing else.
The permission outlives the dialogs: that a watcher goes away changes nothing in the person's roster.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ubiety.conditions import StanzaError
from ubiety.gateway.addresses import sip_of
from ubiety.gateway.mapping import to_sip
from ubiety.gateway.rows import Kept, Row
from ubiety.gateway.sending import hops_of, next_hop, retry_after_of
from ubiety.gateway.stack import MARK
from ubiety.gateway.statuses import status_of
from ubiety.gateway.subscribe import Terms, judge
from ubiety.gateway.subscriptions import Means, Subscriptions, Tag
from ubiety.gateway.window import Window
from ubiety.jid import Jid
from ubiety.presence.model import OFFLINE, Composed
from ubiety.routing.homes import Person
from ubiety.sip import pidf
from ubiety.sip.dialog import Dialog, Refusal
from ubiety.sip.message import Request, Response, make_response
from ubiety.sip.subscription import Ended, Notifier, NotifierOutput, Notify
from ubiety.sip.syntax import SipSyntaxError
from ubiety.stanza import Stanza
from ubiety.store.errors import StoreError
from ubiety.store.sip_subscriptions import IN, Subscription
from ubiety.telemetry import event
from ubiety.users.outsiders import Standing, composed_of, glimpsed_by, seen_by, subscribe_from_outside

PAUSE: Final = 1.0
"""The least time between two NOTIFYs of changes to one watcher, seconds (RFC 3856 §6.10 allows 5)."""
MOST_UNDER_WAY: Final = 500
"""NOTIFYs without an answer to one next hop; more wait, and a peer that is slow slows only its own."""
MAX_DIALOGS: Final = 10
"""Subscriptions of one watcher to one person; of more the oldest ends."""
COUNTS_BEHIND: Final = 500
"""So many NOTIFYs are sent before a row is written again; `Dialog.jumped` leaps further."""
BUSY_SECONDS: Final = 10
"""What a watcher is told to wait while the database does not answer."""


@dataclass(slots=True, eq=False)
class Watcher:
    """One subscription of somebody outside to one of our people."""

    person: Person
    address: Jid
    dialog: Dialog
    notifier: Notifier
    standing: Standing
    event: str
    """The Event header of the subscription, with its id if it has one."""
    content_type: str
    transport: str
    row: Row
    is_started: bool = True
    """False for one that was restored and has not been told anything since."""

    @property
    def tag(self) -> Tag:
        """By which it is found."""
        return self.dialog.call_id, self.dialog.local_tag


class Watchers(Subscriptions[Watcher]):
    """All subscriptions to the people of this node."""

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self._by_pair: dict[tuple[int, str], list[Watcher]] = {}
        self._window = Window(MOST_UNDER_WAY)

    @property
    def waiting(self) -> int:
        """How many NOTIFYs wait because too many to the same peer have no answer yet."""
        return len(self._window)

    # -- requests ----------------------------------------------------------------------------------

    async def subscribe(
        self, key: int, request: Request, transport: str, person: Person, address: Jid
    ) -> None:
        """Take a SUBSCRIBE outside of a dialog, for one of the people of this node, and answer it."""
        terms = judge(request)
        if isinstance(terms, Response):
            self._stack.respond(key, terms)
            return
        try:
            dialog = Dialog.from_request(request, self._token())
            standing = await self._ask(person, address, terms.expires)
        except SipSyntaxError as error:
            self._refuse(key, request, error.status)
        except StanzaError as error:
            self._refuse(key, request, status_of(error.condition), error.text)
        except LookupError:
            self._refuse(key, request, 404)
        except StoreError as error:
            self._refuse_for_now(key, request, error)
        else:
            watcher = self._make(person, address, dialog, standing, terms, transport)
            if not terms.expires:
                self._accept(key, request, watcher, 0)
                self._begin(watcher, glimpsed_by(self._context, person, address))
            elif await self._is_written(key, request, watcher, terms.expires):
                self._accept(key, request, watcher, terms.expires)
                self._admit(watcher)

    async def _is_written(self, key: int, request: Request, watcher: Watcher, expires: int) -> bool:
        """Put a new subscription down; should the node die, whoever takes over tells its watcher."""
        self._put(watcher, expires)
        try:
            await self._rows.written(watcher.row)
        except StoreError as error:
            self._release(watcher)
            self._refuse_for_now(key, request, error)
            return False
        return True

    def _admit(self, watcher: Watcher) -> None:
        """Tell the watcher of a new subscription what is by now, if it is still this node's."""
        if self._is_kept(watcher):
            self._begin(watcher, self._composed_for(watcher.person, watcher.address, watcher.standing))
            others = self._by_pair.get((watcher.person.user_id, watcher.address.bare), [])
            if len(others) > MAX_DIALOGS:
                self._perform(others[0], others[0].notifier.end("deactivated", self._now()))

    def refresh(self, key: int, request: Request) -> bool:
        """Take a SUBSCRIBE of a dialog; False if the dialog is not one of these (481 then)."""
        watcher = self._by_tag.get((request.call_id, request.to.tag or ""))
        if watcher is None or not self._is_served(watcher):
            return False
        terms = judge(request)
        dialog = watcher.dialog.accepts(request)
        if isinstance(terms, Response):
            self._stack.respond(key, terms)
        elif isinstance(dialog, Refusal):
            self._refuse(key, request, dialog.status)
        else:
            watcher.dialog = dialog
            if terms.expires:
                self._put(watcher, terms.expires)
            else:
                self._rows.drop(watcher.row)
            self._context.spawn(self._refresh(key, request, watcher, terms.expires))
        return True

    async def _refresh(self, key: int, request: Request, watcher: Watcher, expires: int) -> None:
        try:
            await self._rows.written(watcher.row)
        except StoreError as error:
            self._refuse_for_now(key, request, error)
            if expires:
                return  # RFC 6665 §4.1.2.2: it lives until the end that was promised last
        else:
            if watcher.notifier.is_over:
                self._refuse(key, request, 481)
                return
            self._accept(key, request, watcher, expires)
        if self._is_kept(watcher):
            self._start(watcher)
            self._perform(watcher, watcher.notifier.refresh(expires, self._now()))
            if watcher.standing is Standing.DENIED and not watcher.notifier.is_over:
                await self._ask_again(watcher, expires)

    # -- the person's side -------------------------------------------------------------------------

    def shown(self, person: Person, composed: Composed, watchers: Sequence[Jid]) -> None:
        """Show a person to these watchers; each form of the document is made once."""
        bodies: dict[tuple[bool, str], bytes] = {}
        for address in watchers:
            for watcher in list(self._by_pair.get((person.user_id, address.bare), ())):
                if watcher.standing is Standing.PENDING:
                    continue
                if not composed.state.is_offline:
                    watcher.standing = Standing.GRANTED
                self._show(watcher, composed, bodies)

    def answered(self, person: Person, address: Jid, is_granted: bool) -> None:
        """The person has let a watcher in, or has shut them out: then they see an offline person."""
        standing = Standing.GRANTED if is_granted else Standing.DENIED
        for watcher in list(self._by_pair.get((person.user_id, address.bare), ())):
            if watcher.standing is not standing:
                self._place(watcher, standing, self._composed_for(person, address, standing))

    def deleted(self, person: Person) -> None:
        """A person is gone (RFC 6665 §4.1.3, noresource)."""
        for watcher in [one for one in self._by_tag.values() if one.person is person]:
            self._perform(watcher, watcher.notifier.end("noresource", self._now()))

    # -- homes -------------------------------------------------------------------------------------

    def restore(self, subscription: Subscription, person: Person, address: Jid, start_in: float) -> None:
        """Take up one that another node, or this one before, has kept; its watcher is told in a while."""
        row = Row(person.user_id, address.bare, IN, subscription.id)
        left = subscription.expires - self._context.clock.now()
        try:
            standing = Standing(subscription.state)
            record = subscription.record
            dialog = Dialog.from_record(record["dialog"])
            row.local_cseq, dialog = dialog.local_cseq, dialog.jumped()
            event_, content_type, transport = record["event"], record["content_type"], record["transport"]
        except (ValueError, KeyError, TypeError) as error:
            event("sip_subscription_not_restored", "warning", row=subscription.id, reason=str(error))
            self._rows.drop(row)
            return
        known = self._by_tag.get((dialog.call_id, dialog.local_tag))
        if left <= 0 or known is not None:
            if known is None or known.row.id != row.id:
                self._rows.drop(row)
            return
        now = self._now()
        notifier = Notifier(now, left, standing is not Standing.PENDING, PAUSE)
        watcher = Watcher(
            person, address, dialog, notifier, standing, event_, content_type, transport, row, False
        )
        self._keep(watcher)
        self._deadlines.set(watcher, now + min(start_in, left))

    # -- inside ------------------------------------------------------------------------------------

    async def _ask(self, person: Person, address: Jid, expires: int) -> Standing:
        if expires == 0:
            # A fetch (RFC 6665 §4.4.3) asks nobody: it sees what may be seen without.
            await self._context.load(person)
            return Standing.GRANTED
        stanza = Stanza("presence", person.jid.bare_jid(), address, type="subscribe")
        standing = (await subscribe_from_outside(self._context, person, stanza)).state
        return Standing.DENIED if standing is Standing.ENDED else standing

    async def _ask_again(self, watcher: Watcher, expires: int) -> None:
        """Somebody who was denied asks again: they may have been let in since."""
        try:
            standing = await self._ask(watcher.person, watcher.address, expires)
        except (StanzaError, StoreError, LookupError):
            return
        if standing is Standing.GRANTED and self._is_kept(watcher):
            self._place(watcher, standing, self._composed_for(watcher.person, watcher.address, standing))

    def _composed_for(self, person: Person, address: Jid, standing: Standing) -> Composed:
        if standing is not Standing.GRANTED:
            return OFFLINE
        if person.address_id in self._context.actors:
            return seen_by(self._context, person, address)
        return composed_of(self._context, person)

    def _make(
        self, person: Person, address: Jid, dialog: Dialog, standing: Standing, terms: Terms, transport: str
    ) -> Watcher:
        is_active = standing is not Standing.PENDING
        notifier = Notifier(self._now(), terms.expires, is_active, PAUSE, is_held=True)
        row = Row(person.user_id, address.bare, IN)
        watcher = Watcher(
            person, address, dialog, notifier, standing, terms.event, terms.content_type, transport, row
        )
        self._keep(watcher)
        return watcher

    def _accept(self, key: int, request: Request, watcher: Watcher, expires: int) -> None:
        headers = (
            ("Expires", str(expires)),
            ("Contact", self._ways.contact(watcher.transport)),
            ("Server", MARK),
        )
        response = make_response(request, 200, to_tag=watcher.dialog.local_tag, headers=headers)
        self._stack.respond(key, response)

    def _begin(self, watcher: Watcher, composed: Composed) -> None:
        if watcher.standing is not Standing.PENDING:
            self._show(watcher, composed, {})
        self._perform(watcher, watcher.notifier.begin(self._now()))

    def _place(self, watcher: Watcher, standing: Standing, composed: Composed) -> None:
        watcher.standing = standing
        # First what there is to see, then that it may be seen: so there is one NOTIFY.
        self._show(watcher, composed, {})
        self._perform(watcher, watcher.notifier.approve(self._now()))
        if self._is_kept(watcher):
            self._put(watcher, watcher.notifier.expires_at - self._now())

    def _show(self, watcher: Watcher, composed: Composed, bodies: dict[tuple[bool, str], bytes]) -> None:
        watcher.is_started = True
        is_microsoft = self._ways.is_microsoft(watcher.address)
        form = is_microsoft, watcher.content_type
        body = bodies.get(form)
        if body is None:
            entity = sip_of(watcher.person.jid)
            presence = to_sip(composed, is_microsoft)
            body = bodies[form] = pidf.write(entity, presence, watcher.content_type)[1]
        self._perform(watcher, watcher.notifier.show(body, watcher.content_type, self._now()))

    def _tick(self, watcher: Watcher) -> None:
        if not self._is_served(watcher):
            return
        if watcher.is_started:
            self._perform(watcher, watcher.notifier.tick(self._now()))
        else:
            self._pace.enter(partial(self._take_up, watcher))

    def _take_up(self, watcher: Watcher) -> None:
        if self._is_kept(watcher) and self._is_served(watcher):
            self._start(watcher)
            self._perform(watcher, watcher.notifier.tick(self._now()))

    def _start(self, watcher: Watcher) -> None:
        """Tell the watcher of a restored subscription what is by now."""
        if not watcher.is_started:
            watcher.is_started = True
            self._begin(watcher, self._composed_for(watcher.person, watcher.address, watcher.standing))

    def _perform(self, watcher: Watcher, outputs: Sequence[NotifierOutput]) -> None:
        for output in outputs:
            if isinstance(output, Ended):
                self._forget(watcher)
                self._rows.drop(watcher.row)
            else:
                place = next_hop(watcher.dialog, watcher.address.domain) or watcher.address.domain
                is_last = isinstance(outputs[-1], Ended)
                self._window.enter(place, partial(self._notify, watcher, output, place, is_last))
        if watcher.is_started and self._is_kept(watcher):
            self._deadlines.set(watcher, watcher.notifier.deadline())

    def _notify(self, watcher: Watcher, order: Notify, place: Hashable, is_last: bool) -> bool:
        """Send a NOTIFY when its turn has come; False if it is not under way."""
        if not is_last and not self._is_kept(watcher):
            return False  # meanwhile another node serves the person
        request, watcher.dialog = watcher.dialog.request(
            "NOTIFY",
            contact=self._ways.contact(watcher.transport),
            headers=(
                ("Event", watcher.event),
                ("Subscription-State", order.subscription_state),
                ("User-Agent", MARK),
            ),
            content_type=order.content_type,
            body=order.body or b"",
        )
        if watcher.dialog.local_cseq - watcher.row.local_cseq >= COUNTS_BEHIND and self._is_kept(watcher):
            self._put(watcher, watcher.notifier.expires_at - self._now())
        hops = hops_of(watcher.dialog, self._ways, watcher.person.jid, watcher.address)

        def answered(response: Response | None) -> None:
            try:
                self._notified(watcher, response)
            finally:
                self._window.leave(place)

        try:
            self._sender.send(request, hops, answered)
        except StanzaError:
            self._notified(watcher, None)
            return False
        return True

    def _notified(self, watcher: Watcher, response: Response | None) -> None:
        if not self._is_kept(watcher):
            return  # that was its last, or another node serves the person
        if response is None:
            outputs = watcher.notifier.notified(None, None, self._now())
        else:
            watcher.dialog = watcher.dialog.learned(response)
            retry_after = retry_after_of(response)
            outputs = watcher.notifier.notified(response.status, retry_after, self._now())
        self._perform(watcher, outputs)

    def _put(self, watcher: Watcher, left: float) -> None:
        record: Mapping[str, Any] = {
            "dialog": watcher.dialog.to_record(),
            "event": watcher.event,
            "content_type": watcher.content_type,
            "transport": watcher.transport,
        }
        watcher.row.local_cseq = watcher.dialog.local_cseq
        expires = self._context.clock.now() + left
        self._rows.put(watcher.row, Kept(watcher.standing.value, watcher.dialog.call_id, record, expires))

    def _keep(self, watcher: Watcher) -> None:
        self._by_tag[watcher.tag] = watcher
        self._by_pair.setdefault((watcher.person.user_id, watcher.address.bare), []).append(watcher)

    def _unpair(self, watcher: Watcher) -> None:
        pair = (watcher.person.user_id, watcher.address.bare)
        others = self._by_pair.get(pair)
        if others is not None and watcher in others:
            others.remove(watcher)
            if not others:
                del self._by_pair[pair]

    def _refuse_for_now(self, key: int, request: Request, error: StoreError) -> None:
        event("sip_subscribe_failed", "warning", reason=str(error))
        self._refuse(key, request, 503, headers=(("Retry-After", str(BUSY_SECONDS)),))

    def _refuse(
        self,
        key: int,
        request: Request,
        status: int,
        text: str = "",
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        # RFC 3261 §20.43: 399 is a warning in words.
        warning = (("Warning", f'399 ubiety "{_quoted(text)}"'),) if text else ()
        response = make_response(request, status, to_tag=self._token(), headers=(*headers, *warning))
        self._stack.respond(key, response)


def _quoted(text: str) -> str:
    return "".join([c for c in text if c.isprintable() and c not in '"\\'])
