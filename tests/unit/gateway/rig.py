"""Our presence over SIP and a peer of it, as two SIP agents in memory, with time that a test moves."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from tests.unit.users.place import DOMAIN, Place
from ubiety.conditions import StanzaError
from ubiety.gateway.addresses import jid_of
from ubiety.gateway.presence import Presence
from ubiety.gateway.sending import Sender
from ubiety.jid import Jid
from ubiety.presence.model import Composed
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import Verdict
from ubiety.sip import pidf
from ubiety.sip.agent import Agent, Cause, Failed, Output, RequestReceived, ResponseReceived, Transmit
from ubiety.sip.dialog import Dialog, id_of
from ubiety.sip.message import Request, Response, make_request, make_response, parse_message
from ubiety.sip.outputs import Hop, Peer
from ubiety.sip.pidf import PIDF, SipPresence
from ubiety.stanza import Stanza
from ubiety.users.actor import User

YSAM = f"ysam@{DOMAIN}"
"""Somebody of our domain who lives on the other side."""
ROUTE = Hop("tls", "fe1.example.org", 5061, "fe1.example.org")
OUR_PEER = Peer(1, "tls", "192.0.2.1", 5061, "", ("imp.example.org",))
THEIR_PEER = Peer(1, "tls", "192.0.2.2", 5061, "sip_tls_peer", ("fe1.example.org",))


@dataclass
class Call:
    """A call that is to be made later."""

    fn: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Do not make it."""
        self.is_cancelled = True


class Timeline:
    """Calls that are made when their time has come, by the place's clock."""

    def __init__(self, place: Place) -> None:
        self.clock = place.clock
        self._calls: list[tuple[float, int, Call]] = []
        self._numbers = itertools.count()

    def call_later(self, delay: float, fn: Callable[[], None]) -> Call:
        """Make a call after so many seconds."""
        call = Call(fn)
        heappush(self._calls, (self.clock.monotonic() + delay, next(self._numbers), call))
        return call

    def next_at(self) -> float | None:
        """When the next call is due."""
        while self._calls and self._calls[0][2].is_cancelled:
            heappop(self._calls)
        return self._calls[0][0] if self._calls else None

    def run_due(self) -> bool:
        """Make what is due now; False if nothing was."""
        at = self.next_at()
        if at is None or at > self.clock.monotonic():
            return False
        heappop(self._calls)[2].fn()
        return True


class Side:
    """One agent and what is told of its outputs."""

    def __init__(self, rig: Rig, name: str) -> None:
        self.rig = rig
        numbers = itertools.count()
        self.agent = Agent(lambda: f"{name}{next(numbers)}", lambda hop: (f"{name}.example.org", 5061))
        self.other: Side
        self.peer: Peer
        self.is_deaf = False
        """What is sent to this side is lost."""
        self.is_shut = False
        """This side takes no connection."""
        self._timer: Call | None = None

    def perform(self, outputs: Sequence[Output]) -> None:
        """Do what the agent orders, tell what it tells, arm its timer."""
        for output in outputs:
            if isinstance(output, Transmit):
                self.rig.wire.append((self, output))
            elif isinstance(output, RequestReceived):
                self.request_received(output.key, output.request)
            elif isinstance(output, ResponseReceived):
                self.response_received(output.key, output.response)
            elif isinstance(output, Failed):
                self.failed(output.key, output.cause)
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadline = self.agent.deadline()
        if deadline is not None:
            self._timer = self.rig.timeline.call_later(deadline - self.rig.now, self._tick)

    def _tick(self) -> None:
        self.perform(self.agent.tick(self.rig.now))

    # -- gateway.stack.Stack -----------------------------------------------------------------------

    def send(self, request: Request, hop: Hop) -> int:
        """Send a request."""
        key, outputs = self.agent.send(request, hop, self.rig.now)
        self.perform(outputs)
        return key

    def ack(self, request: Request, hop: Hop) -> None:
        """Nobody sends an INVITE here."""
        raise AssertionError

    def respond(self, key: int, response: Response) -> None:
        """Answer a request."""
        self.perform(self.agent.respond(key, response, self.rig.now))

    def cancel(self, key: int) -> None:
        """Nobody sends an INVITE here."""
        raise AssertionError

    # -- what each side does -----------------------------------------------------------------------

    def request_received(self, key: int, request: Request) -> None:
        """A request came."""

    def response_received(self, key: int, response: Response) -> None:
        """An answer came."""

    def failed(self, key: int, cause: Cause) -> None:
        """No answer comes."""


class Roads:
    """The ways out: some routes."""

    def __init__(self) -> None:
        self.routes: list[Hop] = [ROUTE]

    def hops(self, sender: Jid, recipient: Jid) -> Sequence[Hop]:
        """The routes."""
        if not self.routes:
            raise StanzaError("remote-server-not-found", "There is no route.")
        return self.routes

    def contact(self, transport: str) -> str:
        """Our name."""
        return f"<sip:imp.example.org:5061;transport={transport}>"

    def is_microsoft(self, address: Jid) -> bool:
        """Whoever is in our domain."""
        return address.domain == DOMAIN

    def answered(self, hop: Hop, status: int, retry_after: float | None) -> None:
        """Of no interest here."""

    def failed(self, hop: Hop, reason: str) -> None:
        """Of no interest here."""


class Ours(Side):
    """Our side: the gateway, as far as presence goes. It is a route and the way to people outside."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig, "imp")
        place = rig.place
        self.context = place.context
        self.roads = Roads()
        self.sender = Sender(self, self.roads)
        numbers = itertools.count()
        self.presence = Presence(
            place.context,
            self,
            self.sender,
            self.roads,
            rig.timeline.call_later,
            rig.sleep,
            lambda: f"t{next(numbers)}",
            lambda: rig.drawn,
        )
        self.context.outside = self
        self.context.router.routes = [self, place.users, place.host]

    def request_received(self, key: int, request: Request) -> None:
        """Dispatch, as the gateway's service does."""
        if request.to.tag is not None:
            if not self.presence.received(key, request):
                self.respond(key, make_response(request, 481))
            return
        person = self.context.homes.find(jid_of(request.target).bare)
        if request.method != "SUBSCRIBE" or person is None:
            self.respond(key, make_response(request, 404, to_tag="none"))
            return
        self.presence.subscribed(key, request, "tls", person, jid_of(request.from_.uri))

    def response_received(self, key: int, response: Response) -> None:
        """Hand it on."""
        assert self.sender.response_received(key, response)

    def failed(self, key: int, cause: Cause) -> None:
        """Hand it on."""
        assert self.sender.failed(key, cause)

    # -- routing.router.Route, users.outside.Outside -----------------------------------------------

    def claims(self, address: Jid) -> bool:
        """Everybody of our domain who is none of ours, and all of another one."""
        return bool(address.local) and self.context.homes.find(address.bare) is None

    def route(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Presence goes over SIP."""
        assert stanza.kind == "presence"
        return self.presence.route(stanza)

    def shown(self, user: User, composed: Composed, watchers: Sequence[Jid]) -> None:
        """Hand it on."""
        self.presence.shown(user, composed, watchers)

    def look_around(self, user: User, session: Session) -> None:
        """Hand it on."""
        self.presence.look_around(user, session)

    def look_at(self, user: User, contact: Jid) -> None:
        """Hand it on."""
        self.presence.look_at(user, contact)

    def forgotten(self, user: User) -> None:
        """Hand it on."""
        self.presence.forgotten(user)


@dataclass
class Answer:
    """How the peer answers."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Watched:
    """A subscription of ours, as the peer sees it."""

    dialog: Dialog
    expires: int


@dataclass
class Noted:
    """What the peer was told in a NOTIFY."""

    state: str
    presence: SipPresence | None
    request: Request = field(repr=False)


class Theirs(Side):
    """The other side: subscribes, notifies, and takes notes."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig, "fe1")
        self.noted: list[Noted] = []
        self.subscribes: list[Request] = []
        self.dialogs: dict[str, Dialog] = {}
        """Of subscriptions to ours, by Call-ID."""
        self.watched: dict[str, Watched] = {}
        """Subscriptions of ours, by Call-ID."""
        self.answers: dict[str, deque[Answer]] = {"NOTIFY": deque(), "SUBSCRIBE": deque()}
        """How the next requests are answered; then with 200."""
        self.responses: dict[int, Response | Cause] = {}
        self.first_state = "active"
        """What a subscription of ours is told at first; "" is nothing."""
        self.first_presence: SipPresence | None = SipPresence(True)
        self.held: list[tuple[int, Request]] | None = None
        """NOTIFYs are kept here instead of being answered."""
        self._asked: dict[str, Request] = {}
        self._numbers = itertools.count(1)

    # -- they watch ours ---------------------------------------------------------------------------

    def subscribe(
        self,
        to: str,
        *,
        sender: str = YSAM,
        expires: int | None = 3600,
        call_id: str = "",
        accept: str | None = PIDF,
        event: str | None = "presence",
        contact: str | None = "<sip:fe1.example.org:5061;transport=tls>",
    ) -> int:
        """Send a SUBSCRIBE; in its dialog if there is one of this Call-ID. Returns its key."""
        headers = []
        if event is not None:
            headers.append(("Event", event))
        if accept is not None:
            headers.append(("Accept", accept))
        if expires is not None:
            headers.append(("Expires", str(expires)))
        dialog = self.dialogs.get(call_id)
        if dialog is not None:
            request, self.dialogs[call_id] = dialog.request("SUBSCRIBE", contact=contact, headers=headers)
        else:
            request = make_request(
                "SUBSCRIBE",
                f"sip:{to}",
                f"<sip:{sender}>;tag=w{next(self._numbers)}",
                f"<sip:{to}>",
                call_id or f"call{next(self._numbers)}",
                1,
                contact=contact,
                headers=headers,
            )
        self._asked[request.call_id] = request
        return self.send(request, Hop("tls", "imp.example.org", 5061))

    def response_received(self, key: int, response: Response) -> None:
        """Note it, and the dialog."""
        self.responses[key] = response
        if response.cseq.method == "SUBSCRIBE" and response.status < 300:
            self.dialogs.setdefault(response.call_id, self._made(response))

    def _made(self, response: Response) -> Dialog:
        return Dialog.from_response(self._asked[response.call_id], response)

    def failed(self, key: int, cause: Cause) -> None:
        """Note it."""
        self.responses[key] = cause

    # -- ours watch them, and NOTIFYs of ours ------------------------------------------------------

    def request_received(self, key: int, request: Request) -> None:
        """Answer as told to."""
        if request.method == "NOTIFY":
            self._take_notify(key, request)
        else:
            self._take_subscribe(key, request)

    def _take_notify(self, key: int, request: Request) -> None:
        dialog = self.dialogs.get(request.call_id)
        if dialog is None or dialog.id != id_of(request):
            self.respond(key, make_response(request, 481))
            return
        presence = pidf.read(request.body, request.content_type) if request.body else None
        self.noted.append(Noted(request.headers.get("subscription-state") or "", presence, request))
        if self.held is not None:
            self.held.append((key, request))
            assert len(self.held) == 1, "two NOTIFYs in flight"
        else:
            self.answer(key, request)

    def answer(self, key: int, request: Request) -> None:
        """Answer a request."""
        waiting = self.answers[request.method]
        answer = waiting.popleft() if waiting else Answer()
        self.respond(key, make_response(request, answer.status, headers=answer.headers))

    def _take_subscribe(self, key: int, request: Request) -> None:
        self.subscribes.append(request)
        waiting = self.answers["SUBSCRIBE"]
        answer = waiting.popleft() if waiting else Answer()
        expires = request.expires or 0
        known = self.watched.get(request.call_id)
        if request.to.tag is not None and known is None:
            answer = Answer(481)
        headers = [*answer.headers, ("Contact", "<sip:fe1.example.org:5061;transport=tls>")]
        if answer.status < 300:
            headers.append(("Expires", str(expires)))
        tag = known.dialog.local_tag if known is not None else f"n{next(self._numbers)}"
        self.respond(key, make_response(request, answer.status, to_tag=tag, headers=headers))
        if answer.status >= 300:
            return
        if known is None:
            known = self.watched[request.call_id] = Watched(Dialog.from_request(request, tag), expires)
        else:
            known.expires = expires
        if expires == 0:
            self.notify(request.call_id, "terminated;reason=timeout", None)
            del self.watched[request.call_id]
        elif self.first_state:
            self.notify(request.call_id, self.first_state, self.first_presence)

    def notify(self, call_id: str, state: str, presence: SipPresence | None, **changes: str) -> int:
        """Send a NOTIFY; returns its key."""
        watched = self.watched[call_id]
        body, content_type = b"", ""
        if presence is not None and not state.startswith("pending"):
            content_type, body = pidf.write(watched.dialog.local_uri, presence)
        if state == "active":
            state = f"active;expires={watched.expires}"
        headers = [("Event", changes.get("event", "presence")), ("Subscription-State", state)]
        request, watched.dialog = watched.dialog.request(
            "NOTIFY",
            contact="<sip:fe1.example.org:5061;transport=tls>",
            headers=headers,
            content_type=changes.get("content_type", content_type),
            body=changes["body"].encode() if "body" in changes else body,
        )
        return self.send(request, Hop("tls", "imp.example.org", 5061))

    def take_noted(self) -> list[tuple[str, str | None]]:
        """Take what was told: the state without its expiry, and what the document says in a word."""
        noted, self.noted = self.noted, []
        return [(one.state.partition(";expires")[0], word_of(one.presence)) for one in noted]

    def take_subscribes(self) -> list[tuple[int | None, bool]]:
        """Take what SUBSCRIBEs came: their expiry, and whether they opened a dialog."""
        taken, self.subscribes = self.subscribes, []
        return [(one.expires, one.to.tag is None) for one in taken]


def word_of(presence: SipPresence | None) -> str | None:
    """Return what a presence document says, in a word."""
    if presence is None:
        return None
    if not presence.is_open:
        return "closed"
    return "+".join(sorted(presence.activities)) or "open"


class Rig:
    """Both sides and the wire between them."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.timeline = Timeline(place)
        self.wire: deque[tuple[Side, Transmit]] = deque()
        self.drawn = 0.5
        self.ours = Ours(self)
        self.theirs = Theirs(self)
        for side, other, peer in (
            (self.ours, self.theirs, OUR_PEER),
            (self.theirs, self.ours, THEIR_PEER),
        ):
            side.other, side.peer = other, peer

    @property
    def now(self) -> float:
        """The time that passes."""
        return self.place.clock.monotonic()

    @property
    def presence(self) -> Presence:
        """What is tested."""
        return self.ours.presence

    def sleep(self, seconds: float) -> Coroutine[None, None, None]:
        """Nobody waits for the database here."""
        raise AssertionError("the database failed")

    def _carry(self) -> None:
        while self.wire:
            side, order = self.wire.popleft()
            if side.other.is_shut:
                side.perform(side.agent.transmit_failed(order.key, self.now))
            elif not side.other.is_deaf:
                side.other.perform(side.other.agent.receive(parse_message(order.data), side.peer, self.now))

    async def settle(self) -> None:
        """Let everything happen that happens at this moment."""
        while True:
            self._carry()
            await self.place.settle()
            if not self.wire and not self.timeline.run_due():
                return

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        await self.settle()
        while (at := self.timeline.next_at()) is not None and at <= end:
            self.place.clock.advance(max(0.0, at - self.now))
            await self.settle()
        self.place.clock.advance(max(0.0, end - self.now))
        await self.settle()

    def leftovers(self) -> dict[str, int]:
        """What is alive in memory besides subscriptions."""
        return {
            "sent": len(self.ours.sender),
            "transactions": self.ours.agent.counts.held,
            "rows": len(self.presence._rows),
        }
