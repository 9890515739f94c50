"""The gateway: takes what comes over SIP, by whom it comes and for whom, and stanzas for people outside.

It decides who gets a request (`routing.py`) and hands it to presence or to conversations, which answer it.
Nothing of an untrusted peer gets any further than this.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ubiety.gateway.addresses import NoAddress, jid_of
from ubiety.gateway.clients import Clients
from ubiety.gateway.federation import FederationCopy
from ubiety.gateway.im import Conversations
from ubiety.gateway.peers import NamesNeeded, NotTrusted
from ubiety.gateway.peers import Verdict as Judged
from ubiety.gateway.presence import Presence
from ubiety.gateway.relay import Relay, unserved
from ubiety.gateway.routing import Action, Decision, Question
from ubiety.gateway.sending import Sender
from ubiety.gateway.stack import MARK
from ubiety.gateway.ways import StaticWays
from ubiety.jid import Jid
from ubiety.presence.model import Composed
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import Verdict, refuse
from ubiety.sip.message import Request, Response, make_request, make_response
from ubiety.sip.outputs import Cause, Hop, Peer
from ubiety.sip.syntax import SipSyntaxError
from ubiety.stanza import Stanza
from ubiety.telemetry import event
from ubiety.users.actor import User
from ubiety.users.context import Context

ALLOWED = "INVITE, ACK, CANCEL, BYE, MESSAGE, INFO, SUBSCRIBE, NOTIFY, PUBLISH, OPTIONS"
NAMING = ("SUBSCRIBE", "INVITE", "MESSAGE", "OPTIONS")
"""What names a sender; later requests are taken as those of their dialog."""
BUSY_SECONDS = "30"


class Gateway:
    """Between SIP peers and our people. A `Route`, `users.outside.Outside`, and the stack's handler."""

    def __init__(
        self,
        context: Context,
        federation: FederationCopy,
        ways: StaticWays,
        relay: Relay,
        sender: Sender,
        presence: Presence,
        conversations: Conversations,
        names_of: Callable[[str], Coroutine[Any, Any, Sequence[str]]],
        token: Callable[[], str],
    ) -> None:
        """`names_of` asks the DNS for the names of an address, off the path."""
        self.presence = presence
        self.conversations = conversations
        self.refusal = ""
        """Why nothing is taken now; empty: the service runs."""
        self.clients: Clients | None = None
        """SIP clients of our people."""
        self.is_well: Callable[[], bool] = lambda: True
        """Whether a load balancer may send requests here."""
        self._context = context
        self._federation = federation
        self._ways = ways
        self._stack = self.relay = relay
        self._sender = sender
        self._names_of = names_of
        self._token = token

    # -- stanzas for people outside ----------------------------------------------------------------

    def claims(self, address: Jid) -> bool:
        """Tell whether an address that none of our people has is somebody's outside."""
        return self._ways.is_outside(address)

    def route(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Take a stanza of one of our people for somebody outside."""
        sender = self._context.homes.find(stanza.from_.bare) if stanza.from_ is not None else None
        if stanza.kind == "iq" or sender is None:
            return refuse("service-unavailable", "People outside are reached by messages and presence alone.")
        if self.refusal:
            return refuse("service-unavailable", self.refusal)
        if stanza.kind == "presence":
            return self.presence.route(stanza)
        return self.conversations.send(stanza, sender, origin)

    def shown(self, user: User, composed: Composed, watchers: Sequence[Jid]) -> None:
        """Show a person's presence to watchers outside."""
        self.presence.shown(user, composed, watchers)

    def look_around(self, user: User, session: Session) -> None:
        """Have a new session shown what is known of all contacts outside."""
        self.presence.look_around(user, session)

    def look_at(self, user: User, contact: Jid) -> None:
        """Have all sessions of a person shown what is known of one contact outside."""
        self.presence.look_at(user, contact)

    def forgotten(self, user: User) -> None:
        """A person with contacts outside is not loaded any more."""
        self.presence.forgotten(user)

    # -- the stack's handler -----------------------------------------------------------------------

    def request_received(self, key: int, request: Request, peer: Peer) -> None:
        """Take a request: it must come from a trusted peer."""
        if request.method == "OPTIONS" and not _has_user(request):
            self._probed(key, request)
            return
        if self.clients is not None and self.clients.claims(request, peer):
            self._take_of_client(key, request, peer, self.clients)
            return
        verdict = self._judge(request, peer, None)
        if isinstance(verdict, NamesNeeded):
            self._context.spawn(self._take_by_name(key, request, peer))
        elif isinstance(verdict, NotTrusted):
            self._turn_away(key, request, peer, verdict)
        else:
            self._take(key, request, peer)

    def response_received(self, key: int, response: Response) -> None:
        """Take an answer."""
        if not self._sender.response_received(key, response) and self.clients is not None:
            self.clients.response_received(key, response)

    def failed(self, key: int, cause: Cause) -> None:
        """Take note that there will be no answer, or no ACK."""
        if self._sender.failed(key, cause) or (self.clients is not None and self.clients.failed(key)):
            return
        self.conversations.unacknowledged(key)

    def ack_received(self, request: Request, peer: Peer) -> None:
        """Take the ACK of a 2xx."""
        if not self.take_ack(request) and (node_id := self._other_node_of(request)):
            self._context.spawn(self._pass_ack(request, peer, node_id))

    def cancelled(self, key: int) -> None:
        """An INVITE was cancelled."""
        if not self.relay.cancelled(key):
            self.conversations.cancelled(key)

    # -- relay.Home ----------------------------------------------------------------------------------

    def take_passed_on(self, key: int, request: Request, peer: Peer) -> None:
        """Take a request of a peer whom the node trusts that it came to."""
        self._take(key, request, peer)

    def take_ack(self, request: Request) -> bool:
        """Take the ACK of a 2xx; False if its dialog is not known here."""
        return self.conversations.acked(request)

    # -- who may -----------------------------------------------------------------------------------

    def _probed(self, key: int, request: Request) -> None:
        """Answer a load balancer truthfully."""
        if self.is_well():
            headers = (("Allow", ALLOWED), ("Accept", "application/sdp, application/pidf+xml"))
            self._stack.respond(key, make_response(request, 200, to_tag=self._token(), headers=headers))
        else:
            self._refuse(key, request, 503, self.refusal or "This node is not ready.")

    def _judge(self, request: Request, peer: Peer, names: Sequence[str] | None) -> Judged:
        """Tell whether a peer may send a request, and name the sender whom it names."""
        trust = self._federation.value.trust
        if request.method == "PUBLISH" and not request.to.tag:
            return trust.judge_publisher(peer, names)
        return trust.judge(peer, names, _claimed(request))

    async def _take_by_name(self, key: int, request: Request, peer: Peer) -> None:
        verdict = self._judge(request, peer, await self._names_of(peer.address))
        if isinstance(verdict, NotTrusted):
            self._turn_away(key, request, peer, verdict)
        else:
            self._take(key, request, peer)

    def _take_of_client(self, key: int, request: Request, peer: Peer, clients: Clients) -> None:
        if self.refusal:
            self._refuse(key, request, 503, self.refusal)
        else:
            clients.take(key, request, peer)

    def _turn_away(self, key: int, request: Request, peer: Peer, verdict: NotTrusted) -> None:
        clients = self.clients if verdict.is_stranger else None
        if clients is not None and not clients.challenges(request):
            clients = None
        self._context.counters.sip_untrusted += 1
        event(
            "sip_peer_refused" if clients is None else "sip_peer_challenged",
            "warning" if clients is None else "info",
            peer=f"{peer.transport}:{peer.address}",
            method=request.method,
            reason=verdict.reason,
            cure=verdict.cure,
        )
        if clients is not None:
            self._take_of_client(key, request, peer, clients)  # which must prove to be one
            return
        self._refuse(key, request, 403, verdict.told)

    # -- for whom ----------------------------------------------------------------------------------

    def _take(self, key: int, request: Request, peer: Peer) -> None:
        if request.to.tag:
            self._take_in_dialog(key, request, peer)
        elif request.method in NAMING:
            self._take_new(key, request, peer)
        elif request.method == "PUBLISH":
            self._take_published(key, request, peer)
        elif request.method in ("NOTIFY", "BYE", "INFO"):
            self._refuse(key, request, 481, "")
        else:
            response = make_response(request, 405, to_tag=self._token(), headers=(("Allow", ALLOWED),))
            self._stack.respond(key, response)

    def _is_served_here(self, key: int, request: Request, peer: Peer, person: Person) -> bool:
        """Tell whether this node takes a request for somebody; else it is seen to."""
        homes = self._context.homes
        node_id = homes.node_of(person)
        if homes.is_here(person):
            if not self.refusal:
                return True
            self._refuse(key, request, 503, self.refusal)
        elif node_id is None or key < 0:  # nobody serves them now; or another node had thought that we do
            self._stack.respond(key, unserved(request))
        else:  # also by a node that asks for no more: connections that there are live on for hours
            self.relay.pass_on(key, request, peer, node_id)
        return False

    def _take_in_dialog(self, key: int, request: Request, peer: Peer) -> None:
        person = self._person_of(request)
        if person is not None and not self._is_served_here(key, request, peer, person):
            return
        is_presence = request.method in ("SUBSCRIBE", "NOTIFY")
        keeper = self.presence if is_presence else self.conversations
        if keeper.received(key, request):
            return
        if person is not None and not keeper.has_taken_up(person):
            self._stack.respond(key, unserved(request))  # 481 would end it at the other side
        else:
            self._refuse(key, request, 481, "")

    def _person_of(self, request: Request) -> Person | None:
        """Return the one of our people whose dialog a request is of."""
        try:
            return self._context.homes.find(jid_of(request.to.uri).bare)
        except (NoAddress, SipSyntaxError):
            return None

    def _other_node_of(self, request: Request) -> int | None:
        """Return the other node that has the dialog of a request."""
        homes = self._context.homes
        person = self._person_of(request)
        node_id = homes.node_of(person) if person is not None else None
        return node_id if node_id != homes.node_id else None

    async def _pass_ack(self, request: Request, peer: Peer, node_id: int) -> None:
        verdict = self._federation.value.trust.judge(peer, None)
        if isinstance(verdict, NamesNeeded):
            verdict = self._federation.value.trust.judge(peer, await self._names_of(peer.address))
        if not isinstance(verdict, NotTrusted):
            self.relay.pass_ack(request, node_id)

    def _take_new(self, key: int, request: Request, peer: Peer) -> None:
        try:
            sender, recipient = jid_of(request.from_.uri), jid_of(request.target)
        except (NoAddress, SipSyntaxError) as error:
            self._refuse(key, request, 404, str(error))
            return
        person = self._context.homes.find(recipient.bare)
        decision = self._decide(request, sender, recipient, person)
        if decision.action is not Action.LOCAL or person is None:
            self._note_refused(request, peer, sender, recipient, decision)
            self._refuse(key, request, decision.status or 404, decision.reason)
        elif not self._is_served_here(key, request, peer, person):
            return
        elif request.method == "SUBSCRIBE":
            self.presence.subscribed(key, request, peer.transport, person, sender)
        elif request.method == "INVITE":
            self.conversations.invited(key, request, peer.transport, person, sender)
        elif request.method == "MESSAGE":
            self.conversations.paged(key, request, person, sender)
        else:
            self._probed(key, request)

    def _take_published(self, key: int, request: Request, peer: Peer) -> None:
        """Take what a phone system says of a line: whom it names as the sender is not asked."""
        try:
            person = self._context.homes.find(jid_of(request.target).bare)
        except (NoAddress, SipSyntaxError) as error:
            self._refuse(key, request, 404, str(error))
            return
        if person is None:
            self._refuse(key, request, 404, "The line is of nobody here.")
        elif self._is_served_here(key, request, peer, person):
            self.presence.published(key, request, person)

    def _decide(self, request: Request, sender: Jid, recipient: Jid, person: Person | None) -> Decision:
        homes = self._context.homes
        return self._ways.decide(
            Question(
                sender.bare,
                recipient.local,
                recipient.domain,
                is_ours=person is not None and person.enabled,
                is_inbound=True,
                is_sender_ours=homes.find(sender.bare) is not None,
                max_forwards=70 if request.max_forwards is None else request.max_forwards,
                is_returned=MARK in (request.headers.get("user-agent") or ""),
            )
        )

    def _note_refused(
        self, request: Request, peer: Peer, sender: Jid, recipient: Jid, decision: Decision
    ) -> None:
        event(
            "sip_request_refused",
            "info",
            peer=f"{peer.transport}:{peer.address}",
            method=request.method,
            sender=sender.bare,
            recipient=recipient.bare,
            status=decision.status,
            reason=decision.reason,
        )
        known = self._context.homes.domains | self._federation.value.remote_domains
        for domain in {sender.domain, recipient.domain}:
            if domain not in known:
                example = f"{sender.bare} to {recipient.bare}"
                self._federation.note_stranger(domain, example, self._context.clock.now())

    def _refuse(self, key: int, request: Request, status: int, text: str) -> None:
        headers = [("Retry-After", BUSY_SECONDS)] if status == 503 else []
        if text:
            headers.append(("Warning", f'399 ubiety "{text.replace(chr(92), "").replace(chr(34), "")}"'))
        self._stack.respond(key, make_response(request, status, to_tag=self._token(), headers=headers))

    # -- homes -------------------------------------------------------------------------------------

    async def load(self, set_id: int) -> None:
        """Take up what the people of a set have outside (`routing.homes.Homed`). Raises StoreError."""
        await self.presence.load(set_id)
        await self.conversations.load(set_id)

    async def hand_over(self, set_id: int) -> None:
        """Write what is still to be written and serve a set no more. Raises StoreError."""
        await self.conversations.hand_over(set_id)
        await self.presence.hand_over(set_id)

    def release(self, set_id: int) -> None:
        """Serve the people of a set no more, at once; nobody is told."""
        self.conversations.release(set_id)
        self.presence.release(set_id)

    async def load_person(self, person: Person) -> None:
        """Take up what somebody has outside who was moved to this node. Raises StoreError."""
        await self.presence.load_person(person)
        await self.conversations.load_person(person)

    async def hand_over_person(self, person: Person) -> None:
        """Write what is still to be written of somebody and serve them no more. Raises StoreError."""
        await self.conversations.hand_over_person(person)
        await self.presence.hand_over_person(person)

    def release_person(self, person: Person) -> None:
        """Serve somebody no more, at once; nobody is told."""
        self.conversations.release_person(person)
        self.presence.release_person(person)

    def deleted(self, person: Person) -> None:
        """A person is gone: hang up, tell their watchers, and watch nobody for them."""
        self.conversations.deleted(person)
        self.presence.deleted(person)

    # -- next hops that do not answer --------------------------------------------------------------

    async def run(self) -> None:
        """Ask next hops that do not answer, for as long as the service runs."""
        await self._ways.probe(self._probe)

    def _probe(self, hop: Hop) -> None:
        host = f"[{hop.host}]" if ":" in hop.host else hop.host
        us = self._ways.contact(hop.transport)
        request = make_request(
            "OPTIONS",
            f"sip:{hop.name or host}",
            f"{us};tag={self._token()}",
            f"<sip:{hop.name or host}>",
            self._token(),
            1,
            contact=us,
            headers=(("User-Agent", MARK), ("Accept", "application/sdp")),
        )
        self._sender.send(request, [hop], lambda response: None)


def _claimed(request: Request) -> str | None:
    """Return the domain of the person whom a request names as its sender, if that counts."""
    if request.to.tag or request.method not in NAMING:
        return None
    try:
        return jid_of(request.from_.uri).domain
    except (NoAddress, SipSyntaxError):
        return None  # which is refused as such


def _has_user(request: Request) -> bool:
    try:
        uri = request.target
    except SipSyntaxError:
        return False
    return bool(getattr(uri, "user", ""))
