"""Two organisations in one domain, each with people, a gateway and a SIP agent; a wire between them.

Either side is us, so each message goes the whole way twice: stanza, row, SIP, and SIP, row, stanza. A side
can be killed: its database is copied as it is at that moment and a new one is opened on the copy.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from pathlib import Path

from tests.databases import open_migrated
from tests.unit.gateway.rig import Call, Timeline
from tests.unit.users.place import DOMAIN, Client, Place
from ubiety.conditions import StanzaError
from ubiety.gateway.addresses import jid_of
from ubiety.gateway.im import Conversations
from ubiety.gateway.sending import Sender
from ubiety.jid import Jid
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Verdict
from ubiety.sip.agent import (
    AckReceived,
    Agent,
    Cancelled,
    Failed,
    Output,
    RequestReceived,
    ResponseReceived,
    Transmit,
)
from ubiety.sip.message import Request, Response, make_response, parse_message
from ubiety.sip.outputs import Hop, Peer
from ubiety.stanza import Stanza
from ubiety.store import outgoing_messages, sip_dialogs

Message = Request | Response


class Roads:
    """The ways out of one side."""

    def __init__(self, name: str, other: str) -> None:
        self.name = name
        self.routes = [Hop("tcp", f"{other}.example.org", 5060)]
        self.uses_sessions = True

    def hops(self, sender: Jid, recipient: Jid) -> Sequence[Hop]:
        """The routes."""
        if not self.routes:
            raise StanzaError("remote-server-not-found", "There is no route.")
        return self.routes

    def contact(self, transport: str) -> str:
        """Our name."""
        return f"<sip:{self.name}.example.org:5060;transport={transport}>"

    def is_microsoft(self, address: Jid) -> bool:
        """By what the test wants."""
        return self.uses_sessions

    def answered(self, hop: Hop, status: int, retry_after: float | None) -> None:
        """Of no interest here."""

    def failed(self, hop: Hop, reason: str) -> None:
        """Of no interest here."""


class Gate:
    """One side: the router's way out, the stack, and what the gateway's service does for messages."""

    def __init__(self, rig: ImRig, name: str, other: str, place: Place) -> None:
        self.rig = rig
        self.name = name
        self.roads = Roads(name, other)
        self.life = 0
        self.is_down = False
        """It is not running: what is sent to it cannot be sent."""
        self.is_deaf = False
        """What is sent to it is lost."""
        self.requests: list[Request] = []
        """What the other side has sent here, once each."""
        self.last_key = 0
        self._timer: Call | None = None
        self.start(place)

    def start(self, place: Place) -> None:
        """Run on a place."""
        self.life += 1
        numbers = itertools.count()
        prefix = f"{self.name}{self.life}"
        self.place = place
        place.clock = place.context.clock = self.rig.clock
        place.context.next_number = itertools.count((self.life << 41) + 1).__next__
        self.agent = Agent(
            lambda: f"{prefix}v{next(numbers)}", lambda _hop: (f"{self.name}.example.org", 5060)
        )
        self.sender = Sender(self, self.roads)
        self.conversations = Conversations(
            place.context,
            self,
            self.sender,
            self.roads,
            place.users.take_promised,
            self.rig.timeline.call_later,
            lambda _seconds: asyncio.sleep(0),
            lambda: f"{prefix}t{next(numbers):05}",
            lambda: 0.5,
        )
        place.context.router.routes = [self, place.users, place.host]

    # -- the router's route ------------------------------------------------------------------------

    def claims(self, address: Jid) -> bool:
        """Everybody who is none of ours."""
        return bool(address.local) and self.place.context.homes.find(address.bare) is None

    def route(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Messages go over SIP."""
        assert stanza.from_ is not None
        person = self.place.context.homes.find(stanza.from_.bare)
        if stanza.kind != "message" or person is None:
            return DELIVERED
        return self.conversations.send(stanza, person, origin)

    # -- gateway.stack.Stack -----------------------------------------------------------------------

    def send(self, request: Request, hop: Hop) -> int:
        """Send a request."""
        key, outputs = self.agent.send(request, hop, self.rig.now)
        self.perform(outputs)
        return key

    def ack(self, request: Request, hop: Hop) -> None:
        """Send an ACK."""
        self.perform(self.agent.ack(request, hop, self.rig.now))

    def respond(self, key: int, response: Response) -> None:
        """Answer a request."""
        self.perform(self.agent.respond(key, response, self.rig.now))

    def cancel(self, key: int) -> None:
        """Cancel an INVITE."""
        self.perform(self.agent.cancel(key, self.rig.now))

    # -- the agent ---------------------------------------------------------------------------------

    def perform(self, outputs: Sequence[Output]) -> None:
        """Send what is to be sent now, tell the rest later, as the stack does."""
        for output in outputs:
            if isinstance(output, Transmit):
                self.rig.transmit(self, output)
            else:
                self.rig.news.append((self, self.life, output))
        self._arm()

    def tell(self, output: Output) -> None:
        """What `gateway.service` does with it."""
        if isinstance(output, RequestReceived):
            self.requests.append(output.request)
            self.last_key = output.key
            self._take(output.key, output.request, output.peer.transport)
        elif isinstance(output, ResponseReceived):
            self.sender.response_received(output.key, output.response)
        elif isinstance(output, Failed):
            if not self.sender.failed(output.key, output.cause):
                self.conversations.unacknowledged(output.key)
        elif isinstance(output, AckReceived):
            self.conversations.acked(output.request)
        elif isinstance(output, Cancelled):
            self.conversations.cancelled(output.key)

    def _take(self, key: int, request: Request, transport: str) -> None:
        if request.to.tag:
            if not self.conversations.received(key, request):
                self.respond(key, make_response(request, 481))
            return
        person = self.place.context.homes.find(jid_of(request.target).bare)
        sender = jid_of(request.from_.uri)
        if person is None:
            self.respond(key, make_response(request, 404, to_tag="nobody"))
        elif request.method == "INVITE":
            self.conversations.invited(key, request, transport, person, sender)
        elif request.method == "MESSAGE":
            self.conversations.paged(key, request, person, sender)
        else:
            self.respond(key, make_response(request, 405, to_tag="nobody"))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadline = self.agent.deadline()
        if deadline is not None:
            self._timer = self.rig.timeline.call_later(max(0.0, deadline - self.rig.now), self._tick)

    def _tick(self) -> None:
        self.perform(self.agent.tick(self.rig.now))

    # -- what is there -----------------------------------------------------------------------------

    def methods(self) -> list[str]:
        """Take the methods of what came here."""
        taken = [request.method for request in self.requests]
        self.requests.clear()
        return taken

    async def outgoing(self) -> list[str]:
        """Return whom rows of messages are for."""
        found = await self.place.database.read(outgoing_messages.list_of_set, 1)
        return [row.recipient for row in found]

    async def dialog_rows(self) -> int:
        """Return how many dialogs are kept."""
        return await self.place.database.read(sip_dialogs.count)

    def leftovers(self) -> dict[str, int]:
        """Return what is alive in memory; empty when nothing is."""
        desk = self.conversations._desk
        found = {
            "conversations": len(self.conversations),
            "waiting": self.conversations.waiting,
            "dialogs": len(desk.dialogs),
            "asked": len(desk.asked),
            "sent": len(self.sender),
            "transactions": self.agent.counts.held,
            "rows": len(self.conversations._rows),
            "deadlines": len(self.conversations._deadlines),
        }
        return {name: number for name, number in found.items() if number}


class ImRig:
    """Both sides: `ours` has Ann, `theirs` has Bob."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.news: deque[tuple[Gate, int, Output]] = deque()
        self.delay_of: Callable[[Gate, Message], float] = lambda _gate, _message: 0.0
        self.loses: Callable[[Gate, Message], bool] = lambda _gate, _message: False
        self._wire: list[tuple[float, int, Gate, Transmit]] = []
        self._seq = itertools.count()
        self._files = itertools.count()
        first = self._open()
        self.clock = first.clock
        self.timeline = Timeline(first)
        self.ours = Gate(self, "ours", "theirs", first)
        self.theirs = Gate(self, "theirs", "ours", self._open())

    def _open(self, of: Path | None = None) -> Place:
        path = self.folder / f"{next(self._files)}.db"
        if of is not None:
            for suffix in ("", "-wal"):
                if of.with_name(of.name + suffix).exists():
                    shutil.copy(of.with_name(of.name + suffix), path.with_name(path.name + suffix))
        return Place(open_migrated(f"sqlite:///{path}"))

    @property
    def gates(self) -> tuple[Gate, Gate]:
        """Both."""
        return self.ours, self.theirs

    def other(self, gate: Gate) -> Gate:
        """The other one."""
        return self.theirs if gate is self.ours else self.ours

    @property
    def now(self) -> float:
        """The time that passes."""
        return self.clock.monotonic()

    async def people(self, **resources: bool) -> tuple[Client, Client]:
        """Sign Ann and Bob in, both with stream management unless told otherwise."""
        ann = await self.ours.place.sign_in("ann", managed=resources.get("ann", True))
        bob = await self.theirs.place.sign_in("bob", managed=resources.get("bob", True))
        for gate in self.gates:
            await gate.conversations.load(1)
        return ann, bob

    def transmit(self, gate: Gate, order: Transmit) -> None:
        """Put something on the wire."""
        if gate.is_down:
            return  # the dead say nothing
        message = parse_message(order.data)
        if not self.loses(gate, message):
            due = self.now + self.delay_of(gate, message)
            heappush(self._wire, (due, next(self._seq), gate, order))

    def _carry(self) -> bool:
        """Deliver what is due now; False if nothing was."""
        if self.news:
            gate, life, output = self.news.popleft()
            if life == gate.life:
                gate.tell(output)
            return True
        if not self._wire or self._wire[0][0] > self.now:
            return False
        _, _, gate, order = heappop(self._wire)
        other = self.other(gate)
        if other.is_down:
            gate.perform(gate.agent.transmit_failed(order.key, self.now))
        elif not other.is_deaf:
            message = parse_message(order.data)
            peer = Peer(1, message.via.transport.lower(), gate.name, 5060, "sip")
            other.perform(other.agent.receive(message, peer, self.now))
        return True

    def _next_at(self) -> float | None:
        times = [time for time in (self.timeline.next_at(), self._wire[0][0] if self._wire else None) if time]
        return min(times, default=None)

    def rush(self) -> None:
        """Let happen what happens at this moment without the databases."""
        while self._carry() or self.timeline.run_due():
            pass

    async def settle(self) -> None:
        """Let everything happen that happens at this moment."""
        while True:
            self.rush()
            for gate in self.gates:
                await gate.place.settle()
            if not self.news and (self._next_at() or self.now + 1) > self.now:
                return

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        await self.settle()
        while (at := self._next_at()) is not None and at <= end:
            self.clock.advance(max(0.0, at - self.now))
            await self.settle()
        self.clock.advance(max(0.0, end - self.now))
        await self.settle()

    async def kill(self, gate: Gate) -> None:
        """End a side as SIGKILL does; it is not started again yet."""
        gate.is_down = True
        gate.life += 1  # what it was about to be told, nobody hears
        if gate._timer is not None:
            gate._timer.cancel()
        gate.conversations._deadlines._clear()
        old = gate.place
        path = old.database.path
        assert path is not None
        gate.place = self._open(path)
        for person in old.context.homes:
            gate.place.context.homes.put(person)
        for task in list(old.tasks):
            task.cancel()
        await asyncio.gather(*old.tasks, return_exceptions=True)
        old.tasks.clear()
        await old.ledger.close()
        await asyncio.to_thread(old.database.close)

    async def revive(self, gate: Gate) -> None:
        """Start a side again on what was on its disk."""
        gate.start(gate.place)
        gate.is_down = False
        await gate.conversations.load(1)
        await self.settle()

    async def close(self) -> None:
        """End both."""
        for gate in self.gates:
            await gate.place.close()


def chat(to: str, body: str, id: str = "m1", more: str = "") -> str:
    """A chat message."""
    return f"<message type='chat' to='{to}' id='{id}'><body>{body}</body>{more}</message>"


BOB = f"bob@{DOMAIN}"
ANN = f"ann@{DOMAIN}"


async def assert_nothing_left(rig: ImRig) -> None:
    """In the end nothing is left, in memory and on disk."""
    await rig.advance(2000)
    for gate in rig.gates:
        assert not gate.leftovers(), (gate.name, gate.leftovers())
        assert await gate.outgoing() == []
        assert await gate.dialog_rows() == 0
