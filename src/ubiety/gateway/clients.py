"""SIP clients of our people: they register, publish, watch and write (RFC 3261, 3903, 3856, 3428).

Every request is authenticated, by digest or by coming over the connection of a client that has signed in so
(RFC 5626). A message is answered with 200 when it is settled and not before.
"""

from collections.abc import Callable, Sequence
from typing import Final

from ubiety.conditions import StanzaError
from ubiety.gateway.addresses import NoAddress, jid_of
from ubiety.gateway.calls import Calls, FlowStack
from ubiety.gateway.client_settings import CLIENTS, REGISTRATION_SECONDS
from ubiety.gateway.client_stanzas import PRODUCT, make_chat
from ubiety.gateway.client_watches import ClientWatches, exists
from ubiety.gateway.deadlines import CallLater, Deadlines
from ubiety.gateway.device import Device
from ubiety.gateway.devices import Devices, Sessions
from ubiety.gateway.doorman import Doorman
from ubiety.gateway.im_stanzas import make_typing
from ubiety.gateway.registration import Contact, Registration, read_registration
from ubiety.gateway.statuses import status_of
from ubiety.gateway.subscribe import PACKAGE
from ubiety.jid import Jid
from ubiety.routing.homes import Person
from ubiety.routing.verdict import Pending, Refused, Settled
from ubiety.sip import imtext, pidf
from ubiety.sip.imtext import Text, Unsupported
from ubiety.sip.message import Request, Response, make_response
from ubiety.sip.outputs import Peer
from ubiety.sip.pidf import PIDF, PidfError
from ubiety.sip.publication import Publications, Removed
from ubiety.sip.publication import Refused as PublicationRefused
from ubiety.sip.syntax import SipSyntaxError
from ubiety.stanza import Stanza
from ubiety.store.errors import StoreError
from ubiety.telemetry import event
from ubiety.users.context import Context

METHODS: Final = ("REGISTER", "PUBLISH", "SUBSCRIBE", "MESSAGE", "OPTIONS")
ALLOWED: Final = ", ".join((*METHODS, "NOTIFY", "ACK", "CANCEL"))
SETTLE_SECONDS: Final = 5.0
"""A message that is not settled by then is refused for now (design: promises)."""
BUSY_SECONDS: Final = "10"
PUBLICATIONS: Final = "publications"

Headers = Sequence[tuple[str, str]]


class Clients:
    """One per node."""

    def __init__(
        self,
        context: Context,
        sessions: Sessions,
        stack: FlowStack,
        contact_of: Callable[[Peer], str],
        doorman: Doorman,
        call_later: CallLater,
        token: Callable[[], str],
    ) -> None:
        self.calls = Calls(stack)
        self.devices = Devices(context, sessions, stack, self.calls, call_later, token)
        self.watches = ClientWatches(
            context, stack, self.calls, contact_of, call_later, token, self.devices.settle
        )
        self.home_of: Callable[[Person, Peer], str] = lambda person, peer: ""
        """Returns where the node that serves somebody takes requests like a peer's, "" if that is unknown."""
        self._context = context
        self._sessions = sessions
        self._stack = stack
        self._doorman = doorman
        self._call_later = call_later
        self._token = token
        self._now = context.clock.monotonic
        self._publications: Publications[int] = Publications(token)
        self._publishers: dict[int, Device] = {}
        self._deadlines: Deadlines[str] = Deadlines(self._now, call_later, self._expire)
        context.settings.watch(CLIENTS, self._switched)
        self.devices.shown = self.watches.shown
        self.devices.ended += [self._device_ended, self.watches.device_ended]

    # -- the gateway's side ------------------------------------------------------------------------------

    @property
    def is_on(self) -> bool:
        """Whether people may sign in with SIP clients."""
        return self._context.settings.get(CLIENTS)

    def claims(self, request: Request, peer: Peer) -> bool:
        """Tell whether a request is a client's, whoever its peer is."""
        if not self.is_on or request.method in ("ACK", "CANCEL"):
            return False
        return request.method == "REGISTER" or self._known(request, peer) or self._doorman.has_key(request)

    def challenges(self, request: Request) -> bool:
        """Tell whether somebody who is not trusted is asked for a password instead of being refused."""
        return self.is_on and request.method in METHODS

    def take(self, key: int, request: Request, peer: Peer) -> None:
        """Take a request of a client, or of somebody who is to prove to be one."""
        if request.method not in METHODS:
            is_over = request.to.tag is not None
            self._answer(key, request, 481 if is_over else 405, (("Allow", ALLOWED),))
            return
        device = self._device_of(request, peer)
        if device is not None and request.method != "REGISTER":
            self._take(key, request, peer, device.person)
        else:
            self._context.spawn(self._let_in(key, request, peer))

    def response_received(self, key: int, response: Response) -> bool:
        """Take an answer of a client; False if it answers nothing of this."""
        return self.calls.response_received(key, response)

    def failed(self, key: int) -> bool:
        """Take note that a client has not answered; False if this has asked nothing."""
        return self.calls.failed(key)

    def flow_closed(self, flow: int) -> None:
        """A connection is gone."""
        self.devices.flow_closed(flow)

    def close(self) -> None:
        """Sign all clients out: the service is stopped."""
        self.devices.end_all()

    def _switched(self, is_on: bool) -> None:
        if not is_on:
            self.devices.end_all()

    # -- who it is ---------------------------------------------------------------------------------------

    def _known(self, request: Request, peer: Peer) -> bool:
        return self._device_of(request, peer) is not None

    def _device_of(self, request: Request, peer: Peer) -> Device | None:
        """Return the device that has sent a request, if its connection proves that."""
        if peer.transport == "udp":  # no connection: anybody can write a datagram
            return None
        try:
            sender = jid_of(request.from_.uri).bare
        except (NoAddress, SipSyntaxError):
            return None
        found = [one for one in self.devices.on(peer.flow) if one.person.jid.bare == sender]
        return found[-1] if found and found[-1].contact is not None else None

    async def _let_in(self, key: int, request: Request, peer: Peer) -> None:
        found = await self._doorman.check(request, peer)
        if isinstance(found, Response):
            self._stack.respond(key, found)
        elif not self._context.homes.is_here(found):
            self._send_home(key, request, found, peer)
        elif request.method == "REGISTER":
            await self._register(key, request, peer, found)
        else:
            self._take(key, request, peer, found)

    def _send_home(self, key: int, request: Request, person: Person, peer: Peer) -> None:
        home = self.home_of(person, peer)
        if home:
            self._answer(key, request, 302, (("Contact", home),))  # RFC 3261 §8.3
        else:
            self._answer(key, request, 503, (("Retry-After", BUSY_SECONDS),))

    def _take(self, key: int, request: Request, peer: Peer, person: Person) -> None:
        if request.method == "OPTIONS":
            self._answer(key, request, 200, (("Allow", ALLOWED), ("Accept", ", ".join(imtext.ACCEPTED))))
            return
        owner = self.watches.owner(request) if request.to.tag is not None else None
        if request.to.tag is not None and (request.method != "SUBSCRIBE" or owner is None):
            self._answer(key, request, 481)
        elif owner is not None:
            if owner.person is person:
                self.watches.refresh(key, request, peer)
            else:
                self._answer(key, request, 403)
        else:
            self._context.spawn(self._serve(key, request, peer, person))

    async def _serve(self, key: int, request: Request, peer: Peer, person: Person) -> None:
        try:
            target = jid_of(request.target).bare_jid()
            device = self.devices.find(person, peer.flow)
            if device is None:
                user = await self._context.load(person)
                # Another request of the same client may have been faster.
                device = self.devices.find(person, peer.flow) or self.devices.open(user, peer)
        except (NoAddress, SipSyntaxError):
            self._answer(key, request, 404)
        except StanzaError as error:
            self._refuse(key, request, error)
        except (StoreError, LookupError) as error:
            self._not_now(key, request, error)
        else:
            self._serve_device(key, request, peer, device, target)
            self.devices.settle(device)

    def _serve_device(self, key: int, request: Request, peer: Peer, device: Device, target: Jid) -> None:
        if request.method == "MESSAGE":
            self._write(key, request, device, target)
        elif request.method == "PUBLISH":
            self._publish(key, request, device, target)
        elif not exists(self._context, target):
            self._answer(key, request, 404)
        else:
            is_new = device.contact is None and not device.session.available
            if is_new:
                self.devices.show(device)  # only who is there is shown others
            self.watches.subscribe(key, request, peer, device, target)

    # -- REGISTER ----------------------------------------------------------------------------------------

    async def _register(self, key: int, request: Request, peer: Peer, person: Person) -> None:
        asked = read_registration(request, self._context.settings.get(REGISTRATION_SECONDS))
        if isinstance(asked, Response):
            self._stack.respond(key, asked)
            return
        if any(self._is_old(request, person, contact) for contact in asked.contacts):
            self._answer(key, request, 500, (("Retry-After", BUSY_SECONDS),))  # RFC 3261 §10.3, step 7
            return
        try:
            await self._change(request, peer, person, asked)
        except StanzaError as error:
            self._refuse(key, request, error)
        except (StoreError, LookupError) as error:
            self._not_now(key, request, error)
        else:
            self._answer(key, request, 200, [("Contact", one) for one in self._contacts(person)])

    def _is_old(self, request: Request, person: Person, contact: Contact) -> bool:
        device = self._find(person, contact)
        return device is not None and device.call_id == request.call_id and request.cseq.number <= device.cseq

    async def _change(self, request: Request, peer: Peer, person: Person, asked: Registration) -> None:
        user = await self._context.load(person)
        gone = self.devices.of(person) if asked.removes_all else []
        for device in gone:
            self.devices.unregister(device)
        for contact in asked.contacts:
            found = self._find(person, contact)
            if contact.expires == 0:
                if found is not None:
                    self.devices.unregister(found)
                continue
            if found is None:
                found = self._unregistered(person, peer) or self.devices.open(user, peer, contact)
                event("sip_client_registered", session=found.session.jid.text, address=peer.address)
            self.devices.register(found, contact, peer, request)

    def _find(self, person: Person, contact: Contact) -> Device | None:
        found = (one for one in self.devices.of(person) if one.contact and one.contact.is_of(contact))
        return next(found, None)

    def _unregistered(self, person: Person, peer: Peer) -> Device | None:
        """Return the device that has published or watched before it registers."""
        found = self.devices.find(person, peer.flow)
        return found if found is not None and found.contact is None else None

    def _contacts(self, person: Person) -> list[str]:
        now = self._now()
        return [
            f"<{one.contact.uri}>;expires={max(0, round(one.expires_at - now))}"
            + (f';+sip.instance="{one.contact.instance}"' if one.contact.instance else "")
            for one in self.devices.of(person)
            if one.contact is not None
        ]

    # -- PUBLISH -----------------------------------------------------------------------------------------

    def _publish(self, key: int, request: Request, device: Device, target: Jid) -> None:
        if target.bare != device.person.jid.bare:
            self._answer(key, request, 403)
            return
        package = request.event
        if package is None or package.package != PACKAGE:
            self._answer(key, request, 489, (("Allow-Events", PACKAGE),))
            return
        presence = None
        if request.body:
            try:
                presence = pidf.read(
                    request.body, request.content_type, request.content_params.get("charset", "")
                )
            except PidfError as error:
                event("sip_publication_unreadable", "info", person=target.bare, reason=error.reason)
                self._answer(key, request, 415, (("Accept", PIDF),))
                return
        etag = request.headers.get("sip-if-match")
        entity, now = device.person.user_id, self._now()
        result = self._publications.publish(entity, etag, request.expires, presence is not None, now)
        if isinstance(result, PublicationRefused):
            headers = (("Min-Expires", str(result.min_expires)),) if result.min_expires else ()
            self._answer(key, request, result.status, headers)
            return
        expires = 0 if isinstance(result, Removed) else result.expires
        self._answer(key, request, 200, (("SIP-ETag", result.etag), ("Expires", str(expires))))
        if isinstance(result, Removed):
            self._unpublish(result.id)
        else:
            owner = self._publishers.setdefault(result.id, device)
            before = owner.published
            if presence is not None:
                owner.publications.pop(result.id, None)
                owner.publications[result.id] = presence
            if owner.published != before:
                self.devices.show(owner)
        self._deadlines.set(PUBLICATIONS, self._publications.deadline())

    def _unpublish(self, id: int) -> None:
        device = self._publishers.pop(id, None)
        if device is None:
            return
        before = device.published
        device.publications.pop(id, None)
        if device.is_needed and not device.is_over and device.published != before:
            self.devices.show(device)
        self.devices.settle(device)

    def _expire(self, _key: str) -> None:
        for _, id in self._publications.expire(self._now()):
            self._unpublish(id)
        self._deadlines.set(PUBLICATIONS, self._publications.deadline())

    def _device_ended(self, device: Device) -> None:
        ids, device.publications = device.publications, {}
        if ids:
            self._publications.forget(lambda _, id: id in ids)
            for id in ids:
                self._publishers.pop(id, None)
            self._deadlines.set(PUBLICATIONS, self._publications.deadline())

    # -- MESSAGE -----------------------------------------------------------------------------------------

    def _write(self, key: int, request: Request, device: Device, target: Jid) -> None:
        body = imtext.read(request.content_type, request.content_params, request.body)
        if isinstance(body, Unsupported):
            self._answer(key, request, 415, (("Accept", ", ".join(imtext.ACCEPTED)),))
            return
        sender = device.session.jid
        id = f"{request.call_id}.{request.cseq.number}"
        if isinstance(body, Text):
            stanza = make_chat(sender, target, id, body.plain)
        else:
            stanza = make_typing(sender, target, id, body.is_typing)
        self._route(key, request, device, stanza)

    def _route(self, key: int, request: Request, device: Device, stanza: Stanza) -> None:
        session = device.session
        smacks = session.smacks
        assert smacks is not None
        session.inbound = number = smacks.receive()
        verdict = self._sessions.handle(stanza, session)
        is_answered = False

        def settle(settled: Settled) -> None:
            nonlocal is_answered
            smacks.settle(number)
            device.writing -= 1
            if not is_answered:
                is_answered = True
                if isinstance(settled, Refused):
                    self._refuse(key, request, settled.error)
                else:
                    self._answer(key, request, 200)
            self.devices.settle(device)

        def give_up() -> None:
            nonlocal is_answered
            if not is_answered:
                is_answered = True
                self._answer(key, request, 503, (("Retry-After", BUSY_SECONDS),))

        device.writing += 1
        if not isinstance(verdict, Pending):
            settle(verdict)
            return
        verdict.then(settle)
        if not is_answered:
            handle = self._call_later(SETTLE_SECONDS, give_up)
            verdict.then(lambda _: handle.cancel())

    # -- answers -----------------------------------------------------------------------------------------

    def _answer(self, key: int, request: Request, status: int, headers: Headers = ()) -> None:
        made = make_response(request, status, to_tag=self._token(), headers=(*headers, ("Server", PRODUCT)))
        self._stack.respond(key, made)

    def _refuse(self, key: int, request: Request, error: StanzaError) -> None:
        text = error.text.replace("\\", "").replace('"', "")
        status = status_of(error.condition)
        headers = [("Warning", f'399 ubiety "{text}"')] if text else []
        if status == 503:
            headers.append(("Retry-After", BUSY_SECONDS))
        self._answer(key, request, status, headers)

    def _not_now(self, key: int, request: Request, error: Exception) -> None:
        event("sip_client_not_served", "warning", method=request.method, reason=str(error))
        self._answer(key, request, 503, (("Retry-After", BUSY_SECONDS),))
