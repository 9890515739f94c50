"""The SIP clients of the people of this node: who is there, where, and for how long (RFC 3261 §10).

Each is a session of its person like that of an XMPP client: what is said to all of a person's devices reaches
it, and others see it as one of their resources. It is kept in memory alone: when the person's home changes,
the client registers there.
"""

from collections.abc import Callable
from typing import Final, Protocol

from ubiety.conditions import StanzaError
from ubiety.gateway.calls import Calls, FlowStack
from ubiety.gateway.client_stanzas import make_page, make_presence
from ubiety.gateway.deadlines import CallLater, Deadlines
from ubiety.gateway.device import Device
from ubiety.gateway.registration import Contact
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Edge, Session
from ubiety.routing.verdict import Verdict
from ubiety.sip.message import Request, Response
from ubiety.sip.outputs import Peer
from ubiety.stanza import Stanza
from ubiety.telemetry import event
from ubiety.users.actor import User
from ubiety.users.context import Context

GONE: Final = frozenset({None, 404, 408, 410, 480, 481, 500, 503, 504, 604})
"""Answers of a client that is not there. Any other but 2xx says that it takes no messages."""


class Sessions(Protocol):
    """Opens and ends sessions (`users/service.py`)."""

    def bind(self, user: User, resource: str, edge: Edge) -> Session:
        """Open a session. Raises StanzaError."""

    def enable(self, session: Session, smid: str, seconds: int) -> None:
        """Count stanzas from here on."""

    def end(self, session: Session, *, clean: bool = False) -> None:
        """End a session for good."""

    def handle(self, stanza: Stanza, session: Session) -> Verdict:
        """Handle a stanza from a client."""


class Devices:
    """All of them, by person and by connection. What ends with a device is told to `ended`."""

    def __init__(
        self,
        context: Context,
        sessions: Sessions,
        stack: FlowStack,
        calls: Calls,
        call_later: CallLater,
        token: Callable[[], str],
    ) -> None:
        self.ended: list[Callable[[Device], None]] = []
        self.shown: Callable[[Device, Stanza], None] = lambda device, stanza: None
        """Told what a device's session is shown of others."""
        self.defer = context.defer
        self._context = context
        self._sessions = sessions
        self._stack = stack
        self._calls = calls
        self._token = token
        self._now = context.clock.monotonic
        self._deadlines: Deadlines[Device] = Deadlines(self._now, call_later, self.unregister)
        self._of: dict[int, list[Device]] = {}
        self._by_flow: dict[int, list[Device]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def of(self, person: Person) -> list[Device]:
        """Return a person's devices."""
        return list(self._of.get(person.user_id, ()))

    def on(self, flow: int) -> list[Device]:
        """Return the devices behind a connection."""
        return list(self._by_flow.get(flow, ()))

    def find(self, person: Person, flow: int) -> Device | None:
        """Return a person's device behind a connection, the newest one."""
        found = [one for one in self._by_flow.get(flow, ()) if one.person is person]
        return found[-1] if found else None

    # -- coming and going ------------------------------------------------------------------------------

    def open(self, user: User, peer: Peer, contact: Contact | None = None) -> Device:
        """Make a device; nobody sees it yet. Raises StanzaError."""
        person = user.person
        device = Device(self, person, peer)
        self._bind(device, user, contact.resource if contact is not None else f"sip-{self._token()[:8]}")
        self._of.setdefault(person.user_id, []).append(device)
        self._join_flow(device, peer)
        return device

    def register(self, device: Device, contact: Contact, peer: Peer, request: Request) -> None:
        """Know where a device is for some time."""
        is_news = device.contact is None
        if device.call_id != request.call_id:
            is_news = is_news or device.is_deaf
            device.is_deaf = False  # it was started anew
        device.contact, device.call_id, device.cseq = contact, request.call_id, request.cseq.number
        device.expires_at = self._now() + contact.expires
        self._deadlines.set(device, device.expires_at)
        if device.peer.flow != peer.flow:
            self._leave_flow(device)
            self._join_flow(device, peer)
        if is_news:
            self.show(device)

    def unregister(self, device: Device) -> None:
        """A registration is taken back, or over."""
        self._deadlines.set(device, None)
        if device.contact is not None:
            device.contact = None
            if device.is_needed:
                self.show(device)
        self.settle(device)

    def settle(self, device: Device) -> None:
        """End a device on which nothing depends."""
        if not device.is_over and not device.is_needed:
            self.end(device)

    def end(self, device: Device) -> None:
        """Sign a device out."""
        if device.is_over:
            return
        device.is_over = True
        self._deadlines.set(device, None)
        self._leave_flow(device)
        others = self._of[device.person.user_id]
        others.remove(device)
        if not others:
            del self._of[device.person.user_id]
        self._sessions.end(device.session, clean=True)
        for ended in self.ended:
            ended(device)

    def end_all(self) -> None:
        """Sign all of them out."""
        for devices in list(self._of.values()):
            for device in list(devices):
                self.end(device)

    def closed(self, device: Device) -> None:
        """A session was closed by this server: the edge's part."""
        self.end(device)

    def flow_closed(self, flow: int) -> None:
        """A connection is gone: with it the clients that cannot be reached but over it (RFC 5626 §4.2.2)."""
        for device in self.on(flow):
            contact = device.contact
            if contact is None or contact.uri.has("ob") or contact.uri.port in (None, device.peer.port):
                device.is_lost = True
                self.end(device)
            else:
                self._leave_flow(device)

    def _bind(self, device: Device, user: User, resource: str) -> None:
        session = self._sessions.bind(user, resource, device)
        device.begin(session)
        # Counted from the first stanza, as with XEP-0198, and never to be resumed.
        self._sessions.enable(session, self._token(), 0)

    def _join_flow(self, device: Device, peer: Peer) -> None:
        device.peer, device.flow = peer, peer.flow
        self._by_flow.setdefault(peer.flow, []).append(device)
        self._stack.hold(peer.flow)

    def _leave_flow(self, device: Device) -> None:
        flow, device.flow = device.flow, None
        if flow is None:
            return
        self._stack.release(flow)
        others = self._by_flow[flow]
        others.remove(device)
        if not others:
            del self._by_flow[flow]

    # -- the session's side ----------------------------------------------------------------------------

    def show(self, device: Device) -> None:
        """Show others what a device is now."""
        session = device.session
        session.receive(make_presence(session.jid, device.published, device.takes_messages))

    def presence_came(self, device: Device, stanza: Stanza) -> None:
        """A device's session was shown somebody."""
        self.shown(device, stanza)

    def page(self, device: Device, stanza: Stanza, text: str) -> None:
        """Send a message to a device."""
        session = device.session
        request = make_page(stanza, text, session.jid.bare_jid(), device.target, self._token(), self._token())

        def done(response: Response | None) -> None:
            device.paged(session, response.status if response is not None else None)

        self._calls.send(request, device.hop, device.flow, done)

    def not_taken(self, device: Device, status: int | None) -> None:
        """A device has not taken a message: it is for the others, or waits."""
        event(
            "sip_client_refused_message" if status not in GONE else "sip_client_lost",
            "info",
            session=device.session.jid.text,
            address=device.peer.address,
            status=status,
        )
        user = self._context.actors.get(device.person.address_id)
        if status in GONE or user is None:
            self.end(device)
            return
        # It is there and takes no messages: with a session that says so, what it holds goes elsewhere.
        old = device.session
        device.is_deaf = True
        self._sessions.end(old, clean=True)
        try:
            self._bind(device, user, old.jid.resource)
        except StanzaError:
            self.end(device)
            return
        self.show(device)
