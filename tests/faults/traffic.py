"""People for the kill test: senders that never give up and recipients that come and go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.harness.client import Client, Ledger, Place
from tests.harness.tags import Tag
from tests.harness.wire import ConnectionGoneError

SID = "urn:xmpp:sid:0"
RETRY_SECONDS = 0.1
ACKNOWLEDGED_SECONDS = 30.0
# The node is down, or went down while we logged in.
GONE = (ConnectionGoneError, OSError)


@dataclass
class Person:
    """An account and the stream that it may take up again after a cut."""

    place: Place
    user: str
    source: str
    ledger: Ledger = field(default_factory=Ledger)
    client: Client | None = None

    async def enter(self, on_stanza: Callable[[Tag], None], resume: bool = True) -> int:
        """Log in, resuming the last stream when possible; returns how many stanzas were sent again.

        Raises what `GONE` lists when the node goes away meanwhile.
        """
        client = Client(self.place, self.user, resource="desk")
        client.source = self.source
        client.on_stanza = on_stanza
        self.client = client
        await client.connect("direct")
        await client.authenticate()
        previous = self.ledger
        if resume and previous.id and (await client.resume(previous)).name == "resumed":
            return len(previous.unacked)
        await client.bind()
        await client.enable()
        left = list(previous.unacked)
        for stanza in left:
            client.send(stanza)
        self.ledger = client.ledger
        return len(left)


class Sender(Person):
    """Sends numbered messages and sends again, with the same origin-id, what was not acknowledged."""

    WINDOW = 20
    PAUSE_SECONDS = 0.05

    def __init__(self, place: Place, user: str, source: str, targets: Sequence[str]) -> None:
        super().__init__(place, user, source)
        self._targets = targets
        self._next = 0
        self.resent = 0
        self.refused: list[Tag] = []

    @property
    def acknowledged(self) -> int:
        """How many messages the node has taken over."""
        return self._next - len(self.ledger.unacked)

    async def run(self) -> None:
        """Send everything and wait until all of it is acknowledged."""
        while self.acknowledged < len(self._targets):
            try:
                self.resent += await self.enter(self._received)
                await self._send()
            except GONE:
                await asyncio.sleep(RETRY_SECONDS)
        assert self.client is not None
        self.client.abort()

    async def _send(self) -> None:
        assert self.client is not None
        client, progress = self.client, asyncio.Event()
        client.on_acked = lambda count: progress.set()
        client.wire.on_lost = progress.set
        while self.acknowledged < len(self._targets):
            while self._next < len(self._targets) and len(self.ledger.unacked) < self.WINDOW:
                client.send(self._message(self._next))
                self._next += 1
            client.request()
            await asyncio.wait_for(progress.wait(), ACKNOWLEDGED_SECONDS)
            progress.clear()
            if client.wire.is_lost:
                client.wire.raise_gone("an acknowledgement")
            await asyncio.sleep(self.PAUSE_SECONDS * random.random())

    def _message(self, number: int) -> str:
        target = self._targets[number]
        name = f"{self.user}-{number}"
        return (
            f"<message to='{target}@{self.place.domain}' type='chat' id='{name}'>"
            f"<body>{number}</body><origin-id xmlns='{SID}' id='{name}'/></message>"
        )

    def _received(self, stanza: Tag) -> None:
        if stanza.get("type") == "error":
            self.refused.append(stanza)


class Recipient(Person):
    """Shows each message once, by its origin-id, and remembers the order of every sender."""

    def __init__(self, place: Place, user: str, source: str) -> None:
        super().__init__(place, user, source)
        self.shown: dict[str, list[int]] = {}
        self.count = 0
        self.repeats = 0
        self._known: set[str] = set()
        self._leaving = asyncio.Event()

    async def stay(self) -> None:
        """Be online, again after every cut, until told to leave."""
        while not self._leaving.is_set():
            try:
                await self._arrive(resume=True)
                await self._until_lost_or_left()
            except GONE:
                await asyncio.sleep(RETRY_SECONDS)

    async def flap(self, chance: random.Random) -> None:
        """Come and go at random, politely or not, resuming or not, until told to leave."""
        while not self._leaving.is_set():
            try:
                await self._arrive(resume=chance.random() < 0.5)
                await self._until_lost_or_left(chance.uniform(0.05, 0.8))
                await self._go(politely=chance.random() < 0.5)
            except GONE:
                pass
            await asyncio.sleep(chance.uniform(0.0, 0.4))

    def leave(self) -> None:
        """End `stay` or `flap`."""
        self._leaving.set()

    async def collect(self, count: int, seconds: float) -> None:
        """Log in a last time and wait until `count` messages were shown, or the time is over."""
        deadline = asyncio.get_running_loop().time() + seconds
        await self._arrive(resume=False)
        while self.count < count and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
        assert self.client is not None
        self.client.abort()

    async def _arrive(self, resume: bool) -> None:
        before = self.ledger
        await self.enter(self._received, resume)
        assert self.client is not None
        if self.ledger is not before:
            self.client.send("<presence/>")

    async def _until_lost_or_left(self, seconds: float | None = None) -> None:
        assert self.client is not None
        tasks = [
            asyncio.ensure_future(self._leaving.wait()),
            asyncio.ensure_future(self.client.wire.lost(3600)),
        ]
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        if self._leaving.is_set():
            await self._go(politely=True)
        elif self.client.wire.is_lost:
            self.client.wire.raise_gone("more messages")

    async def _go(self, politely: bool) -> None:
        assert self.client is not None
        if politely and not self.client.wire.is_lost:
            await self.client.close()
            self.ledger = Ledger()
        self.client.abort()

    def _received(self, stanza: Tag) -> None:
        origin = stanza.child("origin-id", SID)
        if stanza.name != "message" or origin is None:
            return
        name = origin.attrs["id"]
        if name in self._known:
            self.repeats += 1
            return
        self._known.add(name)
        sender, _, number = name.rpartition("-")
        assert stanza.body() == number
        assert (stanza.get("from") or "").startswith(f"{sender}@")
        self.shown.setdefault(sender, []).append(int(number))
        self.count += 1
