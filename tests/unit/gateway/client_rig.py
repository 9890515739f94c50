"""SIP clients of our people, as SIP agents in memory, with time that a test moves."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from tests.unit.gateway.rig import Call, Timeline
from tests.unit.users.place import DOMAIN, Place
from ubiety.gateway.client_settings import CLIENTS
from ubiety.gateway.clients import Clients
from ubiety.gateway.doorman import Doorman
from ubiety.net.pacing import Backoff
from ubiety.sip.agent import Agent, Failed, Output, RequestReceived, ResponseReceived, Transmit
from ubiety.sip.dialog import Dialog
from ubiety.sip.digest import MD5, SHA_256, Nonces, choose, make_ha1, respond
from ubiety.sip.message import Request, Response, make_request, make_response, parse_message
from ubiety.sip.outputs import Hop, Peer
from ubiety.store import users as rows
from ubiety.store.digests import FIELD, Vault

PASSWORD = "secret"
SERVER = Hop("tcp", "192.0.2.1", 5060)
VAULT = Vault(b"k" * 32, "ubiety-1")


class Side:
    """One agent; what it sends goes to the other side of its flow at the rig's next turn."""

    def __init__(self, rig: ClientRig, name: str) -> None:
        self.rig = rig
        numbers = itertools.count(1)
        self.agent = Agent(lambda: f"{name}{next(numbers)}", lambda hop: (f"{name}.example.org", 5060))
        self._timer: Call | None = None

    def perform(self, outputs: Sequence[Output]) -> None:
        """Do what the agent orders, tell what it tells, arm its timer."""
        for output in outputs:
            if isinstance(output, Transmit):
                self.rig.wire.append((self, output))
            elif isinstance(output, RequestReceived):
                self.request_received(output.key, output.request, output.peer)
            elif isinstance(output, ResponseReceived):
                self.response_received(output.key, output.response)
            elif isinstance(output, Failed):
                self.failed(output.key)
        if self._timer is not None:
            self._timer.cancel()
        deadline = self.agent.deadline()
        if deadline is not None:
            self._timer = self.rig.timeline.call_later(deadline - self.rig.now, self._tick)

    def _tick(self) -> None:
        self.perform(self.agent.tick(self.rig.now))

    def respond(self, key: int, response: Response) -> None:
        """Answer a request."""
        self.perform(self.agent.respond(key, response, self.rig.now))

    def request_received(self, key: int, request: Request, peer: Peer) -> None:
        """A request came."""

    def response_received(self, key: int, response: Response) -> None:
        """An answer came."""

    def failed(self, key: int) -> None:
        """No answer comes."""


class Server(Side):
    """Our side: `gateway.clients.Clients` on a stack that is this."""

    def __init__(self, rig: ClientRig) -> None:
        super().__init__(rig, "imp")
        self.held: dict[int, int] = {}
        self.clients: Clients

    def send(self, request: Request, hop: Hop, flow: int | None = None) -> int:
        """Send a request."""
        key, outputs = self.agent.send(request, hop, self.rig.now, flow)
        self.perform(outputs)
        return key

    def ack(self, request: Request, hop: Hop) -> None:
        """Nobody sends an INVITE here."""
        raise AssertionError

    def cancel(self, key: int) -> None:
        """Nobody sends an INVITE here."""
        raise AssertionError

    def hold(self, flow: int) -> None:
        """Count it."""
        self.held[flow] = self.held.get(flow, 0) + 1

    def release(self, flow: int) -> None:
        """Count it."""
        self.held[flow] -= 1
        if not self.held[flow]:
            del self.held[flow]

    def request_received(self, key: int, request: Request, peer: Peer) -> None:
        """Hand it on, as the gateway does with who is not trusted."""
        self.clients.take(key, request, peer)

    def response_received(self, key: int, response: Response) -> None:
        """Hand it on."""
        assert self.clients.response_received(key, response)

    def failed(self, key: int) -> None:
        """Hand it on."""
        self.clients.failed(key)


class Phone(Side):
    """A SIP client: it answers challenges, and whatever it is sent."""

    def __init__(self, rig: ClientRig, name: str, flow: int, password: str, transport: str) -> None:
        super().__init__(rig, f"{name}{flow}")
        self.name = name
        self.aor = f"sip:{name}@{DOMAIN}"
        self.password = password
        self.peer = Peer(flow, transport, f"192.0.2.{flow}", 40_000 + flow, "sip")
        self.contact = f"<sip:{name}@192.0.2.{flow}:{40_000 + flow};transport={transport};ob>"
        self.received: list[Request] = []
        self.answers: dict[str, deque[int]] = {"MESSAGE": deque(), "NOTIFY": deque()}
        """How the next requests are answered; then with 200. 0: not at all."""
        self.algorithms: tuple[str, ...] = (SHA_256,)
        self.dialog: Dialog | None = None
        self.is_open = True
        self.authorised: Request | None = None
        """The last request that answered a challenge."""
        self._numbers = itertools.count(1)
        self._taken: list[Request] = []
        self._final: dict[int, Response | None] = {}

    def request_received(self, key: int, request: Request, peer: Peer) -> None:
        """Note it and answer."""
        self.received.append(request)
        answers = self.answers[request.method]
        status = answers.popleft() if answers else 200
        if request.method == "MESSAGE" and status == 200:
            self._taken.append(request)
        if status:
            self.respond(key, make_response(request, status, to_tag="phone"))

    def response_received(self, key: int, response: Response) -> None:
        """Note it."""
        if response.status >= 200:
            self._final[key] = response

    def failed(self, key: int) -> None:
        """Note it."""
        self._final[key] = None

    def make(self, method: str, uri: str, **fields: Any) -> Request:
        """A request outside of dialogs."""
        number = next(self._numbers)
        call_id = fields.pop("call_id", f"{self.name}-{self.peer.flow}-{number}")
        to = fields.pop("to", uri)
        fields.setdefault("contact", self.contact)
        return make_request(method, uri, f"<{self.aor}>;tag=f{number}", f"<{to}>", call_id, number, **fields)

    async def ask(self, request: Request, *, authenticates: bool = True) -> Response:
        """Send a request and return its final answer, after the challenge if there is one."""
        response = await self._transact(request)
        if response.status != 401 or not authenticates:
            return response
        asked = choose(response.headers.all("www-authenticate"), self.algorithms)
        assert asked is not None
        ha1 = make_ha1(self.name, asked.realm, self.password, asked.algorithm)
        answer = respond(asked, self.name, ha1, request.method, request.uri, "cnonce")
        number = request.cseq.number + 1
        self._numbers = itertools.count(number + 1)
        again = request.replace(
            headers=request.headers.without("authorization")
            .with_("CSeq", f"{number} {request.method}")
            .added("Authorization", answer)
        )
        self.authorised = again
        return await self._transact(again)

    async def _transact(self, request: Request) -> Response:
        key, outputs = self.agent.send(request, SERVER, self.rig.now, None)
        self.perform(outputs)
        await self.rig.settle()
        response = self._final.pop(key, None)
        assert response is not None, f"no answer to {request.method}"
        return response

    # -- what clients do ---------------------------------------------------------------------------

    async def register(self, expires: int = 3600, **fields: Any) -> Response:
        """Register; the answer."""
        headers = [("Expires", str(expires)), *fields.pop("headers", ())]
        uri = f"sip:{DOMAIN}"
        return await self.ask(
            self.make(
                "REGISTER", uri, to=self.aor, headers=headers, call_id=f"reg-{self.peer.flow}", **fields
            )
        )

    async def write(self, to: str, text: str, content_type: str = "text/plain") -> Response:
        """Send a MESSAGE; the answer."""
        request = self.make(
            "MESSAGE", f"sip:{to}", contact=None, content_type=content_type, body=text.encode()
        )
        return await self.ask(request)

    async def publish(
        self, body: bytes, *, etag: str = "", expires: int = 3600, content_type: str = "application/pidf+xml"
    ) -> Response:
        """Send a PUBLISH; the answer."""
        headers = [("Event", "presence"), ("Expires", str(expires))]
        if etag:
            headers.append(("SIP-If-Match", etag))
        kind = content_type if body else ""
        return await self.ask(
            self.make("PUBLISH", self.aor, contact=None, headers=headers, body=body, content_type=kind)
        )

    async def subscribe(self, to: str, expires: int = 3600) -> Response:
        """Send a SUBSCRIBE and keep its dialog; the answer."""
        headers = [("Event", "presence"), ("Expires", str(expires)), ("Accept", "application/pidf+xml")]
        request = self.make("SUBSCRIBE", f"sip:{to}", headers=headers)
        response = await self.ask(request)
        if response.status == 200:
            self.dialog = Dialog.from_response(request, response)
        return response

    async def resubscribe(self, expires: int) -> Response:
        """Refresh the last subscription; the answer."""
        assert self.dialog is not None
        number = next(self._numbers) + 100
        self.dialog = Dialog.from_record({**self.dialog.to_record(), "local_cseq": number})
        headers = [("Event", "presence"), ("Expires", str(expires)), ("Accept", "application/pidf+xml")]
        request, self.dialog = self.dialog.request("SUBSCRIBE", contact=self.contact, headers=headers)
        return await self.ask(request)

    def taken(self) -> list[Request]:
        """The messages that were answered with 200, and forget them."""
        found, self._taken = self._taken, []
        return found

    def texts(self) -> list[str]:
        """The messages that came, and forget them."""
        found = [one.body.decode() for one in self.received if one.method == "MESSAGE"]
        self.received = [one for one in self.received if one.method != "MESSAGE"]
        return found

    def notified(self) -> list[Request]:
        """The NOTIFYs that came, and forget them."""
        found = [one for one in self.received if one.method == "NOTIFY"]
        self.received = [one for one in self.received if one.method != "NOTIFY"]
        return found


class ClientRig:
    """A place whose people sign in with SIP clients."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.timeline = Timeline(place)
        self.wire: list[tuple[Side, Transmit]] = []
        self.phones: dict[int, Phone] = {}
        self.server = Server(self)
        place.set(CLIENTS, True)
        numbers = itertools.count(1)
        doorman = Doorman(
            place.context, VAULT, Nonces(b"nonces"), Backoff(10, 60.0), Backoff(5, 10.0), self._token(numbers)
        )
        self.clients = self.server.clients = Clients(
            place.context,
            place.users,
            self.server,
            lambda peer: f"<sip:imp.example.org:5060;transport={peer.transport}>",
            doorman,
            self.timeline.call_later,
            self._token(numbers),
        )

    @staticmethod
    def _token(numbers: itertools.count[int]) -> Any:
        return lambda: f"token{next(numbers)}"

    @property
    def now(self) -> float:
        """The time."""
        return self.place.clock.monotonic()

    async def phone(
        self,
        name: str,
        flow: int,
        *,
        password: str = PASSWORD,
        with_md5: bool = False,
        transport: str = "tcp",
    ) -> Phone:
        """A client of somebody, who is added if need be; it has not registered."""
        if self.place.context.homes.find(f"{name}@{DOMAIN}") is None:
            (person,) = await self.place.people(name)
            keys = f'{{"{FIELD}": "{VAULT.seal(name, PASSWORD, with_md5=with_md5)}"}}'

            def put(conn: Connection) -> None:
                rows.set_scram(conn, person.user_id, keys)

            await self.place.database.write(put)
        made = self.phones[flow] = Phone(self, name, flow, password, transport)
        return made

    def hang_up(self, phone: Phone) -> None:
        """The connection of a client breaks."""
        phone.is_open = False
        self.server.perform(self.server.agent.flow_closed(phone.peer.flow, self.now))
        self.clients.flow_closed(phone.peer.flow)

    async def settle(self) -> None:
        """Carry what was sent, until nothing is under way."""
        while True:
            await self.place.settle()
            if not self.wire:
                return
            sent, self.wire = self.wire, []
            for side, order in sent:
                self._carry(side, order)

    def _carry(self, side: Side, order: Transmit) -> None:
        message = parse_message(order.data)
        if isinstance(side, Phone):
            if side.is_open:
                self.server.perform(self.server.agent.receive(message, side.peer, self.now))
            return
        phone = self.phones.get(order.flow) if order.flow is not None else None
        if phone is None and order.hop is not None:
            phone = next((one for one in self.phones.values() if one.peer.address == order.hop.host), None)
        if phone is None or not phone.is_open:
            if order.key:
                side.perform(side.agent.transmit_failed(order.key, self.now))
            return
        us = Peer(1, phone.peer.transport, "192.0.2.1", 5060)
        phone.perform(phone.agent.receive(message, us, self.now))

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        await self.settle()
        while (at := self.timeline.next_at()) is not None and at <= end:
            self.place.clock.advance(max(0.0, at - self.now))
            while self.timeline.run_due():
                pass
            await self.settle()
        self.place.clock.advance(end - self.now)
        await self.settle()

    def leftovers(self) -> dict[str, int]:
        """What is still kept of clients."""
        return {
            "devices": len(self.clients.devices),
            "watches": len(self.clients.watches),
            "calls": len(self.clients.calls),
            "held": len(self.server.held),
        }


__all__ = ["MD5", "PASSWORD", "SHA_256", "ClientRig", "Phone"]
