"""One SIP client of one of our people: the edge of a session, in place of an XMPP connection.

What the session writes is read again, one stanza after the other. A message goes out as MESSAGE, and the next
one only when the client has answered; an answer of 200 acknowledges it to the session as XEP-0198 would. So
all promises hold: until then it is kept for another device, or for later.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from ubiety.conditions import StanzaError
from ubiety.gateway.client_stanzas import shown_text
from ubiety.gateway.registration import Contact
from ubiety.presence.model import Device as Seen
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Session
from ubiety.sip.outputs import Hop, Peer
from ubiety.sip.pidf import SipPresence
from ubiety.stanza import Stanza, make_error, parse_stanza

_NONZAS = (b"<r ", b"<a ")  # of stream management: nobody asks for them here


class Keeper(Protocol):
    """Who has all devices (`devices.py`)."""

    def defer(self, fn: Callable[[], None]) -> object:
        """Call a function when this turn of the loop is over."""

    def page(self, device: "Device", stanza: Stanza, text: str) -> None:
        """Send a message; `Device.paged` is told how it fares."""

    def not_taken(self, device: "Device", status: int | None) -> None:
        """The client has not taken a message; None: it did not answer."""

    def presence_came(self, device: "Device", stanza: Stanza) -> None:
        """The session was shown somebody."""

    def closed(self, device: "Device") -> None:
        """The session is closed by this server."""


class Device:
    """A client that has registered, or one that publishes, watches or writes without."""

    congested = False

    def __init__(self, keeper: Keeper, person: Person, peer: Peer) -> None:
        self.person = person
        self.session: Session
        self.peer = peer
        self.flow: int | None = peer.flow
        """The connection that the client has made; None: it is gone."""
        self.contact: Contact | None = None
        """Where it has registered."""
        self.call_id = ""
        self.cseq = 0
        self.expires_at = 0.0
        self.publications: dict[int, SipPresence] = {}
        """What it has published, by the ids of its publications, the newest last."""
        self.watches = 0
        self.writing = 0
        """Messages that wait for their verdict."""
        self.is_deaf = False
        """It has refused a message for good: it gets no more of them."""
        self.is_over = False
        self.is_lost = False
        """Its connection is gone, and there is no other way to it."""
        self.seen: dict[str, dict[str, Seen]] = {}
        """What the session was shown of others: by bare address and resource."""
        self._keeper = keeper
        self._line: deque[bytes] = deque()
        self._done = 0
        self._is_sending = False
        self._is_pumping = False

    @property
    def hop(self) -> Hop:
        """Where it is, should the connection be gone: at the address from which it came, and no other."""
        port = self.peer.port
        if self.contact is not None and self.peer.transport != "udp":
            port = self.contact.uri.port or port
        return Hop(self.peer.transport, self.peer.address, port)

    @property
    def published(self) -> SipPresence | None:
        """What it shows; None: it has published nothing."""
        return next(reversed(self.publications.values()), None)

    @property
    def target(self) -> str:
        """The Request-URI of what is sent to it."""
        if self.contact is not None:
            return str(self.contact.uri)
        host = f"[{self.peer.address}]" if ":" in self.peer.address else self.peer.address
        return f"sip:{host}:{self.peer.port};transport={self.peer.transport}"

    @property
    def takes_messages(self) -> bool:
        """Whether messages can be sent to it."""
        return self.contact is not None and self.contact.takes_messages and not self.is_deaf

    @property
    def is_needed(self) -> bool:
        """Whether anything depends on it."""
        return bool(self.contact is not None or self.publications or self.watches or self.writing)

    def begin(self, session: Session) -> None:
        """Be the edge of this session from now on, from its first stanza."""
        self.session = session
        self._line.clear()
        self._done = 0
        self._is_sending = False
        self.seen.clear()
        session.remote_address = self.peer.address

    # -- routing.sessions.Edge -----------------------------------------------------------------------

    @property
    def secured_by(self) -> str:
        """How it is connected."""
        return f"SIP over {self.peer.transport.upper()}"

    def write(self, data: bytes) -> None:
        """Queue a stanza."""
        if self.is_over or data.startswith(_NONZAS):
            return
        self._line.append(data)
        if not self._is_pumping:
            self._is_pumping = True
            self._keeper.defer(self._pump)

    def close(self, condition: str | None = None, text: str = "") -> None:
        """Let go of the client: it must register again."""
        self._keeper.closed(self)

    def pause_reading(self) -> None:
        """Its requests cannot be held back; each is refused if there are too many."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    # -- what was written ----------------------------------------------------------------------------

    def _pump(self) -> None:
        self._is_pumping = False
        while self._line and not self._is_sending and not self.is_over:
            stanza = parse_stanza(self._line.popleft())
            text = shown_text(stanza) if stanza.kind == "message" else None
            if text is not None:
                self._is_sending = True
                self._keeper.page(self, stanza, text)
                break
            self._done += 1
            if stanza.kind == "presence":
                self._keeper.presence_came(self, stanza)
            elif stanza.kind == "iq" and stanza.type in ("get", "set"):
                # RFC 6120 §8.4: somebody waits for an answer, and SIP has none.
                self.session.receive(make_error(stanza, StanzaError("service-unavailable")))
        self._acknowledge()

    def paged(self, session: Session, status: int | None) -> None:
        """Take the answer to a MESSAGE that was sent for a session."""
        if self.is_over or session is not self.session:
            return
        self._is_sending = False
        if status is not None and status < 300:
            self._done += 1
            self._pump()
        else:
            self._keeper.not_taken(self, status)

    def _acknowledge(self) -> None:
        session = self.session
        if not session.ended and session.edge is self:
            session.acknowledge(self._done & 0xFFFFFFFF)
