"""What is done to the node, step by step, and what each step costs it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from bench.federation.peer import Peer, Watcher, outsider
from bench.federation.report import Cost, Report, Restart
from bench.federation.server import Federated
from bench.load.fleet import Fleet, Receiver
from bench.meter import Measurement, Meter
from bench.people import Person
from bench.process import BenchError

_BODY = "Shall we meet at ten by the lifts and go through the figures?"
_MESSAGE_END = b"</message>"
_STATES = (("away", b">away<"), ("dnd", b">busy<"))
"""What people set, and what then stands in the document that watchers are sent (seed 000, table 8)."""
_PATIENCE = 300.0
_REST = 2.0

Sampler = Callable[[str], Callable[[], Awaitable[None]]]
"""Begins to sample a step, and returns what ends that."""


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    contacts: int
    """Contacts of each person on the Microsoft side, who also watch them."""
    outsiders: int
    at_once: int
    rounds: int
    """Changes of everybody's presence."""
    talks: int
    seconds: float
    """For which messages are sent, each way."""
    rates: tuple[int, ...]
    """Values of `federation.restore_rate` with which the node is restarted."""


class Listener(Receiver):
    """A session that counts messages and errors."""

    def __init__(self, transport: asyncio.Transport, fleet: Fleet, heard: dict[str, int]) -> None:
        super().__init__(transport, fleet)
        self._heard = heard
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        """Count complete messages; an end tag may be cut in two by a read."""
        reach = len(_MESSAGE_END) - 1
        count = data.count(_MESSAGE_END) + (self._tail + data[:reach]).count(_MESSAGE_END)
        self._tail = data[-reach:]
        self.fleet.received += len(data)
        self._heard["messages"] += count
        self._heard["subscribed"] += data.count(b"type='subscribed'") + data.count(b'type="subscribed"')
        self._heard["errors"] += data.count(b"type='error'") + data.count(b'type="error"')


class Play:
    """One run against one node."""

    def __init__(
        self,
        server: Federated,
        people: Sequence[Person],
        port: int,
        plan: Plan,
        say: Callable[[str], None],
        profile: Sampler,
    ) -> None:
        self._server = server
        self._people = [person.jid for person in people]
        self._names = [person.name for person in people]
        self._plan = plan
        self._say = say
        self._profile = profile
        self._peer = Peer(port, server.sip_port)
        self._fleet = Fleet(server.port, tls=False)
        self._heard = {"messages": 0, "subscribed": 0, "errors": 0}

    @property
    def _pairs(self) -> Iterator[tuple[int, int]]:
        """Each person with each of their contacts, by number: neighbours do not come together."""
        for k in range(self._plan.contacts):
            for person in range(len(self._people)):
                yield person, (person + k * 7) % self._plan.outsiders

    async def play(self) -> Report:
        """Do all of it. Raises BenchError when something does not come to its end."""
        await self._peer.start()
        await self._fleet.login(self._names)
        self._fleet.become(lambda _i, transport: Listener(transport, self._fleet, self._heard))
        await self._settle()
        self._say(f"{len(self._people)} people are on")
        inbound, inbound_bytes = await self._grown("inbound", self._watch_ours)
        outbound, outbound_bytes = await self._grown("outbound", self._watch_theirs)
        presence, told = await self._change()
        opened = await self._measured("opened", self._open)
        to_sip = await self._measured("to_sip", self._write)
        to_xmpp = await self._measured("to_xmpp", self._speak)
        await self._leave()
        restarts = [await self._restart(rate) for rate in self._plan.rates]
        self._peer.stop()
        return Report(
            people=len(self._people),
            inbound=inbound,
            inbound_bytes=inbound_bytes,
            outbound=outbound,
            outbound_bytes=outbound_bytes,
            presence=presence,
            told_seconds=told,
            opened=opened,
            to_sip=to_sip,
            to_xmpp=to_xmpp,
            restarts=restarts,
            errors=self._heard["errors"] + self._fleet.lost,
            refused=self._refused,
        )

    # -- subscriptions ---------------------------------------------------------------------------------

    async def _watch_ours(self) -> int:
        """Subscriptions of those on the Microsoft side: answered, and told for the first time."""
        pairs, done, every = list(self._pairs), asyncio.Event(), 0
        waiting = iter(enumerate(pairs))

        def start() -> None:
            if (found := next(waiting, None)) is not None:
                number, (person, contact) = found
                self._peer.subscribe(number, outsider(contact), self._people[person])

        def note(watcher: Watcher) -> None:
            nonlocal every
            if watcher.is_accepted and watcher.notifies == 1 and watcher.number not in ready:
                ready.add(watcher.number)
                every += 1
                start()
                if every == len(pairs):
                    done.set()

        ready: set[int] = set()
        self._peer.on_watcher = note
        for _ in range(self._plan.at_once):
            start()
        await self._until(done, lambda: f"{every} of {len(pairs)} subscriptions in")
        self._peer.on_watcher = lambda watcher: None
        return every

    async def _watch_theirs(self) -> int:
        """Subscriptions of the node's people: asked for by clients, granted, and the first NOTIFY taken."""
        pairs, done, ready = list(self._pairs), asyncio.Event(), set[tuple[str, str]]()
        waiting = iter(pairs)

        def start() -> None:
            if (found := next(waiting, None)) is not None:
                person, contact = found
                text = f"<presence type='subscribe' to='{outsider(contact)}'/>"
                self._fleet.receivers[person].transport.write(text.encode())

        def note(pair: tuple[str, str]) -> None:
            if pair not in ready:
                ready.add(pair)
                start()
                if len(ready) == len(pairs):
                    done.set()

        self._peer.on_watched = note
        for _ in range(self._plan.at_once):
            start()
        await self._until(done, lambda: f"{len(ready)} of {len(pairs)} subscriptions out")
        self._peer.on_watched = lambda pair: None
        await self._settle()
        if self._heard["subscribed"] != len(pairs):
            raise BenchError(f"{self._heard['subscribed']} of {len(pairs)} clients were told: subscribed")
        return len(pairs)

    # -- presence --------------------------------------------------------------------------------------

    async def _change(self) -> tuple[Cost, float]:
        """Everybody's presence changes at once; until all watchers are told of it."""
        found: list[tuple[Cost, float]] = []
        for number in range(self._plan.rounds):
            self._say(f"presence: change {number + 1}")
            found.append(await self._change_once(number))
        costs = [cost for cost, _ in found]
        middle = sorted(costs, key=lambda cost: cost.cpu)[len(costs) // 2]
        return middle, median(seconds for _, seconds in found)

    async def _change_once(self, number: int) -> tuple[Cost, float]:
        show, mark = _STATES[number % len(_STATES)]
        left, done = set(self._peer.watchers), asyncio.Event()

        def note(watcher: Watcher) -> None:
            if mark in watcher.shown:
                left.discard(f"in{watcher.number}")
                if not left:
                    done.set()

        self._peer.reset()
        self._peer.on_watcher = note
        ended = self._profile("presence") if number == 0 else None
        meter = Meter(self._server.cpu)
        for receiver in self._fleet.receivers:
            receiver.transport.write(f"<presence><show>{show}</show></presence>".encode())
        await self._until(done, lambda: f"{len(left)} watchers were not told")
        result = meter.read(len(self._peer.watchers))
        self._peer.on_watcher = lambda watcher: None
        if ended is not None:
            await ended()
        await self._settle()
        return _cost(result, extra=self._peer.counts.notifies - len(self._peer.watchers)), result.seconds

    async def _leave(self) -> None:
        """Everybody signs out, and all watchers are told."""
        left, done = set(self._peer.watchers), asyncio.Event()

        def note(watcher: Watcher) -> None:
            if b">closed<" in watcher.shown:
                left.discard(f"in{watcher.number}")
                if not left:
                    done.set()

        self._say("all sign out")
        self._peer.on_watcher = note
        await self._fleet.close()
        await self._until(done, lambda: f"{len(left)} watchers were not told")
        self._peer.on_watcher = lambda watcher: None
        await self._settle()

    # -- messages --------------------------------------------------------------------------------------

    async def _open(self) -> int:
        """Conversations: each with the first message of a client."""
        done = asyncio.Event()
        opened = 0

        def note(sender: str) -> None:
            nonlocal opened
            opened += 1
            if opened == self._plan.talks:
                done.set()

        self._peer.on_message = note
        for number in range(self._plan.talks):
            self._fleet.receivers[number].transport.write(self._stanza(number))
        await self._until(done, lambda: f"{opened} of {self._plan.talks} conversations")
        self._peer.on_message = lambda sender: None
        return opened

    async def _write(self) -> int:
        """Clients write: each its next message when the last one has arrived."""
        numbers = {self._people[number]: number for number in range(self._plan.talks)}
        sent, end = 0, time.monotonic() + self._plan.seconds
        self._peer.reset()

        def send(sender: str) -> None:
            nonlocal sent
            if time.monotonic() < end:
                sent += 1
                number = numbers[sender]
                self._fleet.receivers[number].transport.write(self._stanza(number))

        self._peer.on_message = send
        for person in numbers:
            send(person)
        await self._until_equal(lambda: sent, lambda: self._peer.counts.messages, end)
        return sent

    async def _speak(self) -> int:
        """People on the Microsoft side write: each the next message when the last one was answered."""
        sent, heard = 0, self._heard["messages"]
        end = time.monotonic() + self._plan.seconds

        def send(recipient: str) -> None:
            nonlocal sent
            if time.monotonic() < end:
                sent += 1
                self._peer.say(recipient, _BODY.encode())

        self._peer.on_taken = send
        for number in range(self._plan.talks):
            send(self._people[number])
        await self._until_equal(lambda: sent, lambda: self._heard["messages"] - heard, end)
        return sent

    def _stanza(self, number: int) -> bytes:
        contact = outsider(number % self._plan.outsiders)
        return f"<message type='chat' to='{contact}' id='m'><body>{_BODY}</body></message>".encode()

    # -- restart ---------------------------------------------------------------------------------------

    async def _restart(self, rate: int) -> Restart:
        """Stop the node and start it; until both kinds of subscriptions are in order again."""
        self._say(f"restart, {rate} requests a second")
        told, renewed, done = set[int](), set[tuple[str, str]](), asyncio.Event()
        ins, outs = len(self._peer.watchers), len(self._peer.watched)

        def look() -> None:
            if len(told) == ins and len(renewed) == outs:
                done.set()

        def note_told(watcher: Watcher) -> None:
            told.add(watcher.number)
            look()

        def note_renewed(pair: tuple[str, str]) -> None:
            renewed.add(pair)
            look()

        stopping = await asyncio.to_thread(self._server.end)
        self._server.set("federation.restore_rate", rate)
        self._peer.reset()
        self._peer.on_watcher, self._peer.on_watched = note_told, note_renewed
        began = time.monotonic()
        self._server.begin()
        ended = self._profile("restart")
        await self._until(done, lambda: f"{len(told)} of {ins} in, {len(renewed)} of {outs} out")
        whole = time.monotonic() - began
        self._server.note_children()
        cpu = self._server.cpu()
        arrivals, counts = self._peer.counts.arrivals, self._peer.counts
        self._peer.on_watcher, self._peer.on_watched = lambda watcher: None, lambda pair: None
        await ended()
        await self._settle()
        return Restart(
            rate=rate,
            stopping=stopping,
            first=arrivals[0] - began,
            whole=whole,
            cpu=cpu,
            peak=_peak(arrivals),
            requests=len(arrivals),
            subscriptions=ins + outs,
            surplus=counts.notifies + counts.subscribes - ins - outs,
        )

    # -- helpers ---------------------------------------------------------------------------------------

    async def _grown(self, name: str, work: Callable[[], Awaitable[int]]) -> tuple[Cost, float]:
        """Measure a step, and the memory of each thing that it leaves behind."""
        await asyncio.sleep(_REST)
        before = self._server.resident()
        cost = await self._measured(name, work)
        await asyncio.sleep(_REST)
        return cost, (self._server.resident() - before) / cost.operations

    async def _measured(self, name: str, work: Callable[[], Awaitable[int]]) -> Cost:
        self._say(name)
        ended = self._profile(name)
        meter = Meter(self._server.cpu)
        cost = _cost(meter.read(await work()))
        await ended()
        await self._settle()
        return cost

    async def _until(self, done: asyncio.Event, words: Callable[[], str]) -> None:
        try:
            await asyncio.wait_for(done.wait(), _PATIENCE)
        except TimeoutError:
            raise BenchError(f"after {_PATIENCE:.0f} s: {words()}; {self._refused}") from None

    async def _until_equal(self, sent: Callable[[], int], arrived: Callable[[], int], end: float) -> None:
        await asyncio.sleep(max(0.0, end - time.monotonic()))
        while arrived() != sent():
            await asyncio.sleep(0.01)
            if time.monotonic() > end + 30:
                raise BenchError(f"{arrived()} of {sent()} messages arrived; {self._refused}")
        self._peer.on_message, self._peer.on_taken = lambda sender: None, lambda recipient: None

    async def _settle(self) -> None:
        await self._fleet.settle(self._server.cpu)

    @property
    def _refused(self) -> dict[str, int]:
        return self._peer.counts.refused


def _cost(found: Measurement, extra: int = 0) -> Cost:
    return Cost(
        operations=found.operations,
        seconds=found.seconds,
        cpu=found.value,
        server_share=found.server_share,
        generator_share=found.generator_share,
        surplus=extra,
    )


def _peak(moments: list[float]) -> int:
    """The most that came within any one second."""
    most, first = 0, 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most
