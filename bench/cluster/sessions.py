"""The sessions of one generator process: they sign in, answer pings, note delays, chat, and come back."""

from __future__ import annotations

import asyncio
import random
import re
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bench.cluster.crowd import Crowd, jid, name, source
from bench.load.fleet import make_context
from bench.load.login import Login, LoginError

LOGIN_SECONDS = 120.0
RETRY_SECONDS = 0.5
"""Pause of a client that was turned away, on average."""
_PING = re.compile(rb"<iq\b[^>]*?\sid=['\"]([^'\"]+)['\"][^>]*>\s*<ping\b")
_SENT_AT = re.compile(rb"<body>([0-9.]+) at ([0-9]+)</body>")
_END = b"</message>"
_BODY = "Shall we meet at ten by the lifts and go through the figures?"
_MOST_KEPT = 4096


@dataclass
class Counts:
    """What all sessions of a process share."""

    lost: int = 0
    """Sessions that ended although nobody asked for it."""
    attempts: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    sent: int = 0
    delivered: int = 0
    refused: int = 0
    echoing: bool = False
    same: list[float] = field(default_factory=list)
    """Seconds from sending to reception between people at one node."""
    cross: list[float] = field(default_factory=list)
    """The same between people at two nodes."""


class Session(asyncio.Protocol):
    """One person who is signed in."""

    def __init__(self, person: int, edge: int, transport: asyncio.Transport, counts: Counts) -> None:
        self.person = person
        self.edge = edge
        self.transport = transport
        self.counts = counts
        self.is_lost = False
        self.message = b""
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Presence is read and forgotten."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        if b"<message" in data:
            self._take_messages(data)
        if b"<ping" in data:
            for number in _PING.findall(data):
                self.transport.write(b"<iq type='result' id='%b'/>" % number)

    def _take_messages(self, data: bytes) -> None:
        counts = self.counts
        end = data.rfind(_END)
        whole = 0 if end < 0 else end + len(_END)
        if data.find(b"<message", whole) >= 0 and len(data) - whole < _MOST_KEPT:
            # The last one is not whole yet.
            data, self._rest = data[:whole], data[whole:]
        counts.delivered += (count := data.count(_END))
        counts.refused += b"type='error'" in data or b'type="error"' in data
        if counts.echoing and self.message:
            counts.sent += count
            self.transport.write(self.message * count)
            return
        now = time.monotonic()
        for sent, edge in _SENT_AT.findall(data):
            delays = counts.same if int(edge) == self.edge else counts.cross
            delays.append(now - float(sent))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is gone."""
        self.is_lost = True
        self.counts.lost += 1


class Sessions:
    """All sessions of this process, by person."""

    def __init__(self, crowd: Crowd, ports: list[int], tls: bool) -> None:
        self.crowd = crowd
        self.counts = Counts()
        self.by_person: dict[int, Session] = {}
        self._ports = ports
        self._context: ssl.SSLContext | None = make_context() if tls else None
        self._chance = random.Random(time.monotonic_ns())

    async def enter(self, edges: Mapping[int, int], at_once: int) -> list[float]:
        """Sign people in, each at an edge, at most so many at a time; returns when each was, on the clock.

        Whoever is turned away comes again.
        """
        gate = asyncio.Semaphore(at_once)
        return await asyncio.gather(*(self._enter(person, edge, gate) for person, edge in edges.items()))

    async def _enter(self, person: int, edge: int, gate: asyncio.Semaphore) -> float:
        while True:
            async with gate:
                self.counts.attempts += 1
                try:
                    self.by_person[person] = await self._login(person, edge)
                except (LoginError, OSError, TimeoutError) as error:
                    self._note(error)
                else:
                    return time.monotonic()
            await asyncio.sleep(RETRY_SECONDS * (0.5 + self._chance.random()))

    async def _login(self, person: int, edge: int) -> Session:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[asyncio.Transport] = loop.create_future()
        async with asyncio.timeout(LOGIN_SECONDS):
            connection, _ = await loop.create_connection(
                lambda: Login(name(person), done),
                "127.0.0.1",
                self._ports[edge],
                ssl=self._context,
                server_hostname="" if self._context else None,
                local_addr=(source(person), 0),
            )
            try:
                transport = await done
            except BaseException:
                connection.abort()
                raise
        if transport.is_closing():
            raise LoginError("closed at once")
        session = Session(person, edge, transport, self.counts)
        transport.set_protocol(session)
        return session

    def _note(self, error: Exception) -> None:
        words = re.sub(r"^person\d+: ", "", str(error) or type(error).__name__)
        found = re.search(r"<(?:failure|stream:error)\b[^>]*>\s*<([a-z-]+)", words)
        key = found[1] if found else words[:80]
        self.counts.errors[key] = self.counts.errors.get(key, 0) + 1

    def reset(self) -> None:
        """Count from zero."""
        fresh = Counts(echoing=self.counts.echoing)
        self.counts = fresh
        for session in self.by_person.values():
            session.counts = fresh

    def online(self) -> int:
        """How many are on."""
        return sum(not session.is_lost for session in self.by_person.values())

    async def come_back(self, dead: int, at_once: int, watch: float) -> tuple[list[float], int]:
        """Sign in again whoever was at a node that has died, and whoever else is cut off meanwhile.

        Ends when everybody is on, and for `watch` seconds nobody was cut off. Returns when each was on again,
        and how many had been elsewhere.
        """
        gate, handled = asyncio.Semaphore(at_once), set[int]()
        tasks: list[asyncio.Task[float]] = []
        elsewhere, quiet_since = 0, time.monotonic()
        while True:
            for person, session in list(self.by_person.items()):
                if (session.is_lost or session.edge == dead) and person not in handled:
                    handled.add(person)
                    elsewhere += session.edge != dead
                    edge = self.crowd.edge_after(person, dead)
                    tasks.append(asyncio.create_task(self._return(session, edge, gate)))
                    quiet_since = time.monotonic()
            await asyncio.sleep(0.1)
            if time.monotonic() - quiet_since > watch and all(task.done() for task in tasks):
                return [task.result() for task in tasks], elsewhere

    async def _return(self, session: Session, edge: int, gate: asyncio.Semaphore) -> float:
        while not session.is_lost:
            await asyncio.sleep(0.01)
        return await self._enter(session.person, edge, gate)

    async def chat(self, rate: float, seconds: float, recipients: int) -> int:
        """Messages from people here to anybody in the crowd, at random, evenly spread; returns how many."""
        loop, senders = asyncio.get_running_loop(), list(self.by_person.values())
        start, sent = loop.time(), 0
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, start + number / rate - loop.time()))
            sender, recipient = self._chance.choice(senders), self._chance.randrange(recipients)
            if sender.is_lost:
                continue
            sent += 1
            head = f"<message type='chat' to='{jid(recipient)}' id='c{number}'>"
            body = f"<body>{time.monotonic():.6f} at {sender.edge}</body>"
            sender.transport.write(f"{head}{body}</message>".encode())
        return sent

    def start_echo(self, people: Iterable[int], is_cross: bool) -> None:
        """These people keep one message in flight to their partner."""
        self.counts.echoing = True
        for person in people:
            session = self.by_person[person]
            partner = jid(self.crowd.partner(person, is_cross))
            text = f"<message type='chat' to='{partner}' id='m{person}'><body>{_BODY}</body></message>"
            session.message = text.encode()
            self.counts.sent += 1
            session.transport.write(session.message)

    def stop_echo(self) -> None:
        """What arrives is answered no more."""
        self.counts.echoing = False
