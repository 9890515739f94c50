"""Row of presence changes: each is delivered to fifty watchers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bench.load.fleet import Fleet, Receiver
from bench.meter import Measurement, Meter
from bench.people import CONTACTS

_START = b"<presence"
_REACH = len(_START) - 1
_SHOWS = ("away", "dnd", "xa", "chat")
_IN_FLIGHT = 50


class Rounds:
    """People change their presence in turn, `_IN_FLIGHT` changes outstanding at any time."""

    def __init__(self) -> None:
        self.delivered = 0
        self.issued = 0
        self.per_change = CONTACTS
        self.next_at = 1 << 62
        self.watchers: list[Receiver] = []

    def issue(self) -> None:
        """The next person changes presence, with a new text each time: no server may call it a repeat."""
        number = self.issued
        self.issued += 1
        show = _SHOWS[number // len(self.watchers) % len(_SHOWS)]
        text = f"<presence><show>{show}</show><status>change {number}</status></presence>"
        # A stride that is prime to the number of people keeps the changes of neighbours apart.
        self.watchers[number * 37 % len(self.watchers)].transport.write(text.encode())

    def top_up(self) -> None:
        """For each change that has fully arrived, issue another."""
        while self.delivered >= self.next_at:
            self.next_at += self.per_change
            self.issue()


class Watcher(Receiver):
    """Counts presence stanzas."""

    def __init__(self, transport: asyncio.Transport, fleet: Fleet, rounds: Rounds) -> None:
        super().__init__(transport, fleet)
        self.rounds = rounds
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        """Count start tags; one may be cut in two by a read."""
        rounds = self.rounds
        self.fleet.received += len(data)
        rounds.delivered += data.count(_START)
        if self._tail:
            rounds.delivered += (self._tail + data[:_REACH]).count(_START)
        self._tail = b"" if data.endswith(b">") else data[-_REACH:]
        if rounds.delivered >= rounds.next_at:
            rounds.top_up()


async def measure_presence(fleet: Fleet, cpu: Callable[[], float], seconds: float) -> Measurement:
    """CPU per watcher reached; the copy that a server sends back to the one who changes is not counted."""
    rounds = Rounds()
    rounds.watchers = fleet.become(lambda _i, transport: Watcher(transport, fleet, rounds))
    rounds.issue()
    await fleet.settle(cpu)
    # Fifty, or one more where the server also tells the one who changed (RFC 6121 §4.2.2).
    rounds.per_change = max(1, rounds.delivered)
    rounds.next_at = rounds.delivered + rounds.per_change
    for _ in range(_IN_FLIGHT):
        rounds.issue()
    await asyncio.sleep(min(1.0, seconds / 3))
    meter, before = Meter(cpu), rounds.delivered
    stalls = await _watch(rounds, seconds)
    watched = (rounds.delivered - before) * CONTACTS // rounds.per_change
    result = meter.read(watched, stalls=stalls, per_change=rounds.per_change)
    rounds.next_at = 1 << 62
    await fleet.settle(cpu)
    result.notes["undelivered"] = rounds.issued * rounds.per_change - rounds.delivered
    return result


async def _watch(rounds: Rounds, seconds: float) -> int:
    """Let it run; when changes were coalesced and the rounds ran dry, start new ones. Returns how often."""
    loop = asyncio.get_running_loop()
    end, seen, stalls = loop.time() + seconds, -1, 0
    while (left := end - loop.time()) > 0:
        if rounds.delivered == seen:
            stalls += 1
            rounds.next_at = rounds.delivered + rounds.per_change
            for _ in range(_IN_FLIGHT):
                rounds.issue()
        seen = rounds.delivered
        await asyncio.sleep(min(0.2, left))
    return stalls
