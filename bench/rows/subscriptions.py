"""Row of mutual subscription: two people who are online become each other's contacts (RFC 6121 §3)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence

from bench.load.fleet import Fleet, Receiver
from bench.meter import Measurement, Meter
from bench.people import Person
from bench.process import BenchError

_STANZA = re.compile(rb"<(presence|iq|message)\b[^>]*?(?:/>|>.*?</\1>)", re.DOTALL)
_FROM = re.compile(rb"\sfrom=['\"]([^'\"/]+)")
_ID = re.compile(rb"\sid=['\"]([^'\"]+)")
_ADD = (
    b"<iq type='set' id='add'><query xmlns='jabber:iq:roster'>"
    b"<item jid='%b' name='%b'><group>Colleagues</group></item></query></iq>"
)
_AT_ONCE = 8


class Acquaintance(Receiver):
    """Approves whoever asks, asks back once, answers contact list pushes, tells when its state is `both`."""

    def __init__(self, transport: asyncio.Transport, fleet: Fleet) -> None:
        super().__init__(transport, fleet)
        self.both: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked = False
        self._buffer = b""

    def ask(self, jid: bytes) -> None:
        """Request the other's presence, once."""
        if not self._asked:
            self._asked = True
            # A client names the contact before it asks (RFC 6121 §3.1.1).
            self.transport.write(_ADD % (jid, jid) + b"<presence to='%b' type='subscribe'/>" % jid)

    def data_received(self, data: bytes) -> None:
        """Take the complete stanzas one by one."""
        self.fleet.received += len(data)
        self._buffer += data
        end = 0
        for found in _STANZA.finditer(self._buffer):
            end = found.end()
            self._take(found[1], found[0])
        self._buffer = self._buffer[end:]

    def _take(self, kind: bytes, stanza: bytes) -> None:
        head = stanza[: stanza.index(b">")]
        if kind == b"presence" and re.search(rb"type=['\"]subscribe['\"]", head):
            sender = _FROM.search(head)
            assert sender is not None
            self.transport.write(b"<presence to='%b' type='subscribed'/>" % sender[1])
            self.ask(sender[1])
        elif kind == b"iq" and b"jabber:iq:roster" in stanza and b"<item" in stanza:
            number = _ID.search(head)
            assert number is not None
            self.transport.write(b"<iq type='result' id='%b'/>" % number[1])
            if re.search(rb"subscription=['\"]both['\"]", stanza) and not self.both.done():
                self.both.set_result(None)


async def measure_subscriptions(
    fleet: Fleet, people: Sequence[Person], cpu: Callable[[], float], pairs: int
) -> Measurement:
    """CPU per pair, from the first request until both lists say `both`; people are in the fleet's order."""
    members = fleet.become(lambda _i, transport: Acquaintance(transport, fleet), 2 * pairs)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def befriend(i: int) -> None:
        left, right = members[2 * i], members[2 * i + 1]
        assert isinstance(left, Acquaintance)
        assert isinstance(right, Acquaintance)
        async with gate:
            left.ask(people[2 * i + 1].jid.encode())
            await asyncio.wait_for(left.both, 20)
            await asyncio.wait_for(right.both, 20)

    meter = Meter(cpu)
    try:
        await asyncio.gather(*(befriend(i) for i in range(pairs)))
    except TimeoutError as error:
        raise BenchError("a subscription exchange was not completed in 20 s") from error
    await fleet.settle(cpu)
    return meter.read(pairs)
