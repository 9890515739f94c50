"""Rows of one-to-one messages: a closed loop for the saturated ones, an open loop for the low load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from bench.load.fleet import Fleet, Receiver
from bench.meter import Measurement, Meter
from bench.people import DOMAIN, Person

_END = b"</message>"
_REACH = len(_END) - 1
_BODY = "Shall we meet at ten by the lifts and go through the figures?"


class Tally:
    """What all chatters of one row share."""

    def __init__(self) -> None:
        self.sent = 0
        self.delivered = 0
        self.refused = 0
        self.echoing = False


class Chatter(Receiver):
    """Counts messages and, while the tally says so, answers each: so each session has one in flight."""

    def __init__(self, transport: asyncio.Transport, fleet: Fleet, message: bytes, tally: Tally) -> None:
        super().__init__(transport, fleet)
        self.message = message
        self.tally = tally
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        """Count complete messages; an end tag may be cut in two by a read."""
        count = data.count(_END)
        if self._tail:
            count += (self._tail + data[:_REACH]).count(_END)
        self._tail = b"" if data.endswith(_END) else data[-_REACH:]
        tally = self.tally
        self.fleet.received += len(data)
        tally.delivered += count
        if b"type='error'" in data or b'type="error"' in data:
            tally.refused += 1
        if tally.echoing and count:
            tally.sent += count
            self.transport.write(self.message * count)

    def send(self) -> None:
        """Send one message to the partner."""
        self.tally.sent += 1
        self.transport.write(self.message)


def _prepare(fleet: Fleet, people: Sequence[Person], tally: Tally) -> list[Receiver]:
    def make(i: int, transport: asyncio.Transport) -> Chatter:
        # The first contact of an office person is the partner.
        partner = f"{people[i].contacts[0]}@{DOMAIN}"
        text = f"<message type='chat' to='{partner}' id='m{i}'><body>{_BODY}</body></message>"
        return Chatter(transport, fleet, text.encode(), tally)

    return fleet.become(make, len(people))


async def measure_saturated(
    fleet: Fleet, people: Sequence[Person], cpu: Callable[[], float], seconds: float
) -> Measurement:
    """Every session keeps one message in flight to its partner for `seconds`."""
    tally = Tally()
    chatters = _prepare(fleet, people, tally)
    tally.echoing = True
    for chatter in chatters:
        assert isinstance(chatter, Chatter)
        chatter.send()
    await _warm_up(tally, 3 * len(people), min(1.0, seconds / 3))
    meter, before = Meter(cpu), tally.delivered
    await asyncio.sleep(seconds)
    result = meter.read(tally.delivered - before)
    tally.echoing = False
    await fleet.settle(cpu)
    result.notes.update(lost=tally.sent - tally.delivered, refused=tally.refused)
    return result


async def _warm_up(tally: Tally, messages: int, seconds: float) -> None:
    """Let `messages` and `seconds` pass: the first message of a session may load things and cost more."""
    loop = asyncio.get_running_loop()
    earliest, latest = loop.time() + seconds, loop.time() + 15
    while loop.time() < earliest or (tally.delivered < messages and loop.time() < latest):
        await asyncio.sleep(0.05)


async def measure_low_load(
    fleet: Fleet, people: Sequence[Person], cpu: Callable[[], float], seconds: float, rate: int = 1000
) -> Measurement:
    """`rate` messages a second, spread evenly over time and sessions."""
    tally = Tally()
    chatters = _prepare(fleet, people, tally)
    loop = asyncio.get_running_loop()
    await _pace(chatters, tally, loop.time() + min(1.0, seconds / 3), rate)
    meter, before = Meter(cpu), tally.delivered
    await _pace(chatters, tally, loop.time() + seconds, rate)
    result = meter.read(tally.delivered - before)
    await fleet.settle(cpu)
    result.notes.update(lost=tally.sent - tally.delivered, refused=tally.refused)
    return result


async def _pace(chatters: Sequence[Receiver], tally: Tally, end: float, rate: int) -> None:
    """Send what is due each millisecond, so that messages come singly and not in bursts."""
    loop = asyncio.get_running_loop()
    start, sent = loop.time(), 0
    while (now := loop.time()) < end:
        while sent < (now - start) * rate:
            chatter = chatters[tally.sent % len(chatters)]
            assert isinstance(chatter, Chatter)
            chatter.send()
            sent += 1
        await asyncio.sleep(0.001)
