"""A crowd for the chaos test: every member chats all the time, and comes back after whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.faults.traffic import SID
from tests.harness.client import Client, Ledger, Place, SaslFailedError
from tests.harness.tags import Tag
from tests.harness.wire import ConnectionGoneError

ANSWER_SECONDS = 4.0
"""A client that gets no acknowledgement for so long takes its connection for dead."""
CONNECT_SECONDS = 20.0
"""Time for a whole login: servers pace crowds."""
RETRY_SECONDS = 0.5
GONE = (ConnectionGoneError, OSError, SaslFailedError, TimeoutError, AssertionError)


@dataclass
class Member:
    """One person at one device. Sends to partners, shows what it gets once by origin-id."""

    user: str
    places: Sequence[Place]
    source: str
    partners: Sequence[str]
    pause: float
    chance: random.Random
    prefers: int = 0
    sent: dict[str, int] = field(default_factory=dict)
    shown: dict[str, list[int]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    repeats: int = 0
    acknowledged: int = 0
    is_online: bool = False
    offline_since: float = 0.0
    longest_absence: float = 0.0
    logins: int = 0
    resumes: int = 0

    def __post_init__(self) -> None:
        self._at = self.prefers
        self._ledger = Ledger()
        self._known: set[str] = set()
        self._is_quiet = False
        self._has_left = False
        self._progress = asyncio.Event()
        self.client: Client | None = None

    async def live(self) -> None:
        """Be online and chat, again after every cut, until told to leave."""
        while not self._has_left:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._enter()
                self._note_online(True)
                await self._chat()
            except GONE:
                self._note_fault()
            self._note_online(False)
            if self.client is not None:
                self.client.abort()
            self._at = (self._at + 1) % len(self.places)
            await asyncio.sleep(RETRY_SECONDS * (0.5 + self.chance.random()))

    def stop_chatting(self) -> None:
        """Say nothing new from now on."""
        self._is_quiet = True

    def leave(self) -> None:
        """Cut the connection and stay away."""
        self._has_left = True
        if self.client is not None:
            self.client.abort()

    @property
    def unacknowledged(self) -> int:
        """Messages that no server has taken over yet."""
        return len(self._ledger.unacked)

    async def _enter(self) -> None:
        client = Client(self.places[self._at], self.user, resource="desk")
        client.source = self.source
        client.on_stanza = self._received
        client.on_acked = self._acked
        self.client = client
        await client.connect("none")
        await client.authenticate("SCRAM-SHA-1")
        previous = self._ledger
        if previous.id and (await client.resume(previous)).name == "resumed":
            self.resumes += 1
            client.wire.on_lost = self._progress.set
            return
        await client.bind()
        await client.enable()
        left = list(previous.unacked)
        self._ledger = client.ledger
        client.send("<presence/>")
        for stanza in left:
            if not stanza.startswith("<presence"):
                client.send(stanza)
        client.wire.on_lost = self._progress.set
        self.logins += 1

    async def _chat(self) -> None:
        """Chat until the connection is gone. Raises what `GONE` lists."""
        client = self.client
        assert client is not None
        due = time.monotonic() + self.pause * self.chance.random()
        while True:
            if client.wire.is_lost:
                client.wire.raise_gone("an acknowledgement")
            now = time.monotonic()
            if not self._is_quiet and now >= due:
                due = now + self.pause * (0.5 + self.chance.random())
                self._say(client)
            if self._ledger.unacked or self.chance.random() < 0.2:
                await self._ask(client)
            else:
                await self._wait(min(1.0, max(0.05, due - now)))

    async def _ask(self, client: Client) -> None:
        """Ask for an acknowledgement and wait for some answer."""
        heard = client.wire.heard
        client.request()
        deadline = time.monotonic() + ANSWER_SECONDS
        while client.wire.heard == heard:
            self._progress.clear()
            if client.wire.is_lost:
                client.wire.raise_gone("an answer")
            await asyncio.sleep(0.1)
            if time.monotonic() > deadline:
                raise TimeoutError
        await asyncio.sleep(0.3)

    async def _wait(self, seconds: float) -> None:
        self._progress.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._progress.wait()

    def _note_fault(self) -> None:
        """Remember what no network does: an answer that breaks the protocol."""
        client = self.client
        if client is not None and client.has_wire and client.wire.fault is not None:
            self.faults.append(f"{self.user}: {client.wire.fault}")

    def _say(self, client: Client) -> None:
        partner = self.chance.choice(self.partners)
        number = self.sent.get(partner, 0)
        self.sent[partner] = number + 1
        name = f"{self.user}-{partner}-{number}"
        client.send(
            f"<message to='{partner}@{client.place.domain}' type='chat' id='{name}'>"
            f"<body>{number}</body><origin-id xmlns='{SID}' id='{name}'/></message>"
        )

    def _acked(self, count: int) -> None:
        self.acknowledged += count
        self._progress.set()

    def _received(self, stanza: Tag) -> None:
        if stanza.name != "message":
            return
        if stanza.get("type") == "error":
            self.refused.append(str(stanza))
            return
        origin = stanza.child("origin-id", SID)
        if origin is None:
            return
        name = origin.attrs["id"]
        if name in self._known:
            self.repeats += 1
            return
        self._known.add(name)
        sender, _, number = name.split("-")
        self.shown.setdefault(sender, []).append(int(number))

    def _note_online(self, is_online: bool) -> None:
        now = time.monotonic()
        if is_online and not self.is_online and self.offline_since:
            self.longest_absence = max(self.longest_absence, now - self.offline_since)
        if self.is_online and not is_online:
            self.offline_since = now
        self.is_online = is_online


def online(members: Sequence[Member]) -> int:
    """Return how many are on."""
    return sum(member.is_online for member in members)


def differences(members: Sequence[Member]) -> list[str]:
    """Return one line per pair whose messages were lost, made up or shown out of order."""
    by_name = {member.user: member for member in members}
    lines = []
    for sender in members:
        for partner, count in sender.sent.items():
            shown = by_name[partner].shown.get(sender.user, [])
            if shown == list(range(count)):
                continue
            lost = sorted(set(range(count)) - set(shown))
            turned = [b for a, b in pairwise(shown) if b < a]
            lines.append(f"{sender.user} to {partner}: lost {lost}, shown after a later one {turned}")
    return lines
