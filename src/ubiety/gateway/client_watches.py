"""Whom our people watch with their SIP clients: their SUBSCRIBEs in, our NOTIFYs out (RFC 3856).

A client watches through the session of its device. Who is on the person's contact list is shown to that
session as to any other; a SUBSCRIBE to somebody else asks for a subscription, as adding a contact does. So it
makes no difference where a contact lives: at this node, at another one, or outside.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ubiety.gateway.addresses import sip_of
from ubiety.gateway.calls import Calls
from ubiety.gateway.client_stanzas import PRODUCT
from ubiety.gateway.deadlines import CallLater, Deadlines
from ubiety.gateway.device import Device
from ubiety.gateway.mapping import to_sip
from ubiety.gateway.sending import retry_after_of
from ubiety.gateway.stack import Stack
from ubiety.gateway.subscribe import Terms, judge
from ubiety.jid import Jid
from ubiety.presence import devices as devices_of
from ubiety.presence import fanout
from ubiety.presence.compose import compose
from ubiety.presence.model import Composed, Situation
from ubiety.sip import pidf
from ubiety.sip.dialog import Dialog, Refusal
from ubiety.sip.message import Request, Response, make_response
from ubiety.sip.outputs import Peer
from ubiety.sip.subscription import Ended, Notifier, NotifierOutput, Notify
from ubiety.sip.syntax import SipSyntaxError
from ubiety.stanza import Stanza
from ubiety.users import availability, outside_presence
from ubiety.users.context import Context

PAUSE: Final = 1.0
"""The least time between two NOTIFYs of changes to one client, seconds."""
MAX_WATCHES: Final = 1000
"""Subscriptions of one device."""


@dataclass(slots=True, eq=False)
class Watch:
    """One subscription of a client."""

    device: Device
    target: Jid
    dialog: Dialog
    notifier: Notifier
    event: str
    content_type: str
    peer: Peer


class ClientWatches:
    """All subscriptions of SIP clients of this node."""

    def __init__(
        self,
        context: Context,
        stack: Stack,
        calls: Calls,
        contact_of: Callable[[Peer], str],
        call_later: CallLater,
        token: Callable[[], str],
        settle: Callable[[Device], None],
    ) -> None:
        """`settle` is told of devices that may be needed no more."""
        self._context = context
        self._stack = stack
        self._calls = calls
        self._contact_of = contact_of
        self._token = token
        self._settle = settle
        self._now = context.clock.monotonic
        self._deadlines: Deadlines[Watch] = Deadlines(self._now, call_later, self._tick)
        self._by_dialog: dict[tuple[str, str], Watch] = {}
        self._by_target: dict[str, list[Watch]] = {}
        context.sources.watch(self._source_changed)

    def __len__(self) -> int:
        return len(self._by_dialog)

    # -- requests ----------------------------------------------------------------------------------------

    def owner(self, request: Request) -> Device | None:
        """Return whose the dialog of a SUBSCRIBE is."""
        watch = self._by_dialog.get((request.call_id, request.to.tag or ""))
        return watch.device if watch is not None else None

    def subscribe(self, key: int, request: Request, peer: Peer, device: Device, target: Jid) -> None:
        """Take a SUBSCRIBE of a client, for somebody who exists."""
        terms = judge(request)
        if isinstance(terms, Response):
            self._stack.respond(key, terms)
        elif device.watches >= MAX_WATCHES:
            self._stack.respond(key, make_response(request, 403, to_tag=self._token()))
        else:
            self._begin(key, request, peer, device, target, terms)
        self._settle(device)

    def refresh(self, key: int, request: Request, peer: Peer) -> None:
        """Take a SUBSCRIBE of a dialog that is known."""
        watch = self._by_dialog[request.call_id, request.to.tag or ""]
        terms = judge(request)
        dialog = watch.dialog.accepts(request)
        if isinstance(terms, Response):
            self._stack.respond(key, terms)
        elif isinstance(dialog, Refusal):
            self._stack.respond(key, make_response(request, dialog.status))
        else:
            watch.dialog, watch.peer = dialog, peer
            self._accept(key, request, watch, terms.expires)
            self._perform(watch, watch.notifier.refresh(terms.expires, self._now()))

    # -- the session's side ------------------------------------------------------------------------------

    def shown(self, device: Device, stanza: Stanza) -> None:
        """A device's session was shown somebody, or told of a subscription."""
        sender = stanza.from_
        if sender is None:
            return
        watches = [one for one in self._by_target.get(sender.bare, ()) if one.device is device]
        if stanza.type in (None, "unavailable"):
            self._note(device, sender, stanza)
            for watch in watches:
                self._show(watch)
        elif stanza.type == "subscribed":
            for watch in watches:
                self._show(watch)
                self._perform(watch, watch.notifier.approve(self._now()))
        elif stanza.type in ("unsubscribed", "error"):
            for watch in watches:
                self._perform(watch, watch.notifier.end("rejected", self._now()))

    def device_ended(self, device: Device) -> None:
        """A device is signed out: what it watches is over, and it may begin anew."""
        for watch in [one for one in self._by_dialog.values() if one.device is device]:
            self._perform(watch, watch.notifier.end("deactivated", self._now()))

    def _note(self, device: Device, sender: Jid, stanza: Stanza) -> None:
        seen = device.seen.setdefault(sender.bare, {})
        if stanza.type is None:
            priority = availability.priority(stanza)
            now = self._context.clock.now()
            seen[sender.resource] = devices_of.read(fanout.tail(stanza), priority, now)
        elif sender.resource:
            seen.pop(sender.resource, None)
        else:
            seen.clear()
        if not seen:
            del device.seen[sender.bare]

    def _source_changed(self, user_id: int) -> None:
        """A phone or the like of one of our people says something else."""
        person = self._context.homes.user(user_id)
        for watch in list(self._by_target.get(person.jid.bare, ())) if person is not None else ():
            self._show(watch)

    # -- inside ------------------------------------------------------------------------------------------

    def _begin(
        self, key: int, request: Request, peer: Peer, device: Device, target: Jid, terms: Terms
    ) -> None:
        try:
            dialog = Dialog.from_request(request, self._token())
        except SipSyntaxError as error:
            self._stack.respond(key, make_response(request, error.status, to_tag=self._token()))
            return
        is_watched = self._is_watched(device, target)
        is_active = is_watched or terms.expires == 0  # a fetch asks nobody (RFC 6665 §4.4.3)
        notifier = Notifier(self._now(), terms.expires, is_active, PAUSE)
        watch = Watch(device, target, dialog, notifier, terms.event, terms.content_type, peer)
        self._keep(watch)
        self._accept(key, request, watch, terms.expires)
        if is_active:
            self._show(watch)
        else:
            self._perform(watch, watch.notifier.begin(self._now()))
            # RFC 8048 §5.2.2: to watch over SIP is to ask for a subscription.
            session = device.session
            session.receive(Stanza("presence", target, session.jid, self._token(), "subscribe"))

    def _is_watched(self, device: Device, target: Jid) -> bool:
        user = self._context.actors.get(device.person.address_id)
        person = self._context.homes.find(target.bare)
        if user is None or person is user.person:
            return user is not None
        if person is not None:
            return person.address_id in user.watched
        return user.outside is not None and user.outside.is_watched(target)

    def _accept(self, key: int, request: Request, watch: Watch, expires: int) -> None:
        headers = (
            ("Expires", str(expires)),
            ("Contact", self._contact_of(watch.peer)),
            ("Server", PRODUCT),
        )
        self._stack.respond(key, make_response(request, 200, to_tag=watch.dialog.local_tag, headers=headers))

    def _composed(self, watch: Watch) -> Composed:
        """Return what a client is shown: what its session was, with phones of people of this node."""
        context, target = self._context, watch.target
        seen = tuple(watch.device.seen.get(target.bare, {}).values())
        person = context.homes.find(target.bare)
        actor = context.actors.get(person.address_id) if person is not None else None
        user = context.actors.get(watch.device.person.address_id)
        if person is None or actor is None or user is None or not availability.shares(context):
            return compose(Situation(seen))
        is_subscribed = actor is user or user.person.address_id in actor.watchers
        if not is_subscribed or not availability.may_see(actor, user):
            return compose(Situation(seen))
        return compose(context.sources.situation(person.user_id, seen))

    def _show(self, watch: Watch) -> None:
        if watch.notifier.is_over:
            return
        presence = to_sip(self._composed(watch), is_microsoft=False)
        body = pidf.write(sip_of(watch.target), presence, watch.content_type)[1]
        self._perform(watch, watch.notifier.show(body, watch.content_type, self._now()))

    def _tick(self, watch: Watch) -> None:
        self._perform(watch, watch.notifier.tick(self._now()))

    def _perform(self, watch: Watch, outputs: Sequence[NotifierOutput]) -> None:
        for output in outputs:
            if isinstance(output, Ended):
                self._forget(watch)
            else:
                self._notify(watch, output)
        if not watch.notifier.is_over:
            self._deadlines.set(watch, watch.notifier.deadline())

    def _notify(self, watch: Watch, order: Notify) -> None:
        if watch.device.is_lost:
            return
        request, watch.dialog = watch.dialog.request(
            "NOTIFY",
            contact=self._contact_of(watch.peer),
            headers=(
                ("Event", watch.event),
                ("Subscription-State", order.subscription_state),
                ("User-Agent", PRODUCT),
            ),
            content_type=order.content_type,
            body=order.body or b"",
        )
        device = watch.device
        # The client may have connected anew since it asked (RFC 5626 §5.3).
        flow = device.flow if device.flow is not None else watch.peer.flow
        self._calls.send(request, device.hop, flow, lambda response: self._notified(watch, response))

    def _notified(self, watch: Watch, response: Response | None) -> None:
        if response is None:
            outputs = watch.notifier.notified(None, None, self._now())
        else:
            watch.dialog = watch.dialog.learned(response)
            outputs = watch.notifier.notified(response.status, retry_after_of(response), self._now())
        self._perform(watch, outputs)

    def _keep(self, watch: Watch) -> None:
        self._by_dialog[watch.dialog.call_id, watch.dialog.local_tag] = watch
        self._by_target.setdefault(watch.target.bare, []).append(watch)
        watch.device.watches += 1

    def _forget(self, watch: Watch) -> None:
        self._deadlines.set(watch, None)
        if self._by_dialog.pop((watch.dialog.call_id, watch.dialog.local_tag), None) is None:
            return
        others = self._by_target[watch.target.bare]
        others.remove(watch)
        if not others:
            del self._by_target[watch.target.bare]
        watch.device.watches -= 1
        self._settle(watch.device)


def exists(context: Context, target: Jid) -> bool:
    """Tell whether somebody can be watched: one of our people, or somebody outside."""
    person = context.homes.find(target.bare)
    return person is not None or outside_presence.is_outside(context, target)
