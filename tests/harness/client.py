"""A raw XMPP test client: login, stanzas, XEP-0198 with resumption. Knows nothing of Ubiety's code."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from tests.harness import scram
from tests.harness.tags import StreamOpened, Tag
from tests.harness.wire import STREAMS, ConnectionGoneError, Wire, trusting_context

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
SM = "urn:xmpp:sm:3"
STANZAS = frozenset(("message", "presence", "iq"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens and which domain it serves."""

    host: str
    port: int
    tls_port: int
    domain: str


class SaslFailedError(Exception):
    """The server answered <failure/>; `condition` is its name (RFC 6120 §6.5)."""

    def __init__(self, condition: str) -> None:
        super().__init__(condition)
        self.condition = condition


@dataclass(slots=True)
class Ledger:
    """What a client keeps for XEP-0198: counters and stanzas that were not acknowledged."""

    id: str = ""
    is_on: bool = False
    received: int = 0
    acked: int = 0
    unacked: deque[str] = field(default_factory=deque)

    def settle(self, h: int) -> int:
        """Drop what the server has taken over; returns how many; AssertionError when h is absurd."""
        count = h - self.acked
        assert 0 <= count <= len(self.unacked), f"h={h}, but {self.acked}+{len(self.unacked)} were sent"
        for _ in range(count):
            self.unacked.popleft()
        self.acked = h
        return count


class Client:
    """One account's client. Received stanzas go to `on_stanza`, or wait in the inbox for `expect`."""

    def __init__(self, place: Place, user: str, password: str = "secret", resource: str = "test") -> None:
        self.place = place
        self.user = user
        self.password = password
        self.resource = resource
        self.jid = f"{user}@{place.domain}/{resource}"
        self.bare = f"{user}@{place.domain}"
        self.source: str | None = None
        self.ledger = Ledger()
        self.features: Tag | None = None
        self.on_stanza: Callable[[Tag], None] | None = None
        self.on_acked: Callable[[int], None] | None = None
        self._wire: Wire | None = None
        self._ids = itertools.count(1)

    @property
    def wire(self) -> Wire:
        """The current connection; AssertionError before `connect`."""
        assert self._wire is not None, "not connected"
        return self._wire

    @property
    def has_wire(self) -> bool:
        """Tell whether there ever was a connection."""
        return self._wire is not None

    async def connect(self, tls: str = "starttls") -> Tag:
        """Open a stream over "starttls", "direct" TLS or "none"; returns the stream features."""
        context = trusting_context()
        if tls == "direct":
            self._wire = await Wire.open(self.place.host, self.place.tls_port, context, self.source)
        else:
            self._wire = await Wire.open(self.place.host, self.place.port, source=self.source)
        features = await self.open_stream()
        if tls == "starttls":
            self.wire.write(f"<starttls xmlns='{TLS}'/>")
            await self.wire.expect_tag("proceed")
            await self.wire.start_tls(context)
            features = await self.open_stream()
        return features

    async def open_stream(self) -> Tag:
        """Send a stream header; returns the features that the server offers on it."""
        self.wire.restart()
        self.wire.write(
            f"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='{STREAMS}'"
            f" to={quoteattr(self.place.domain)} version='1.0'>"
        )
        await self.wire.expect(lambda item: isinstance(item, StreamOpened), what="a stream header")
        self.features = await self.wire.expect_tag("features")
        return self.features

    async def authenticate(self, mechanism: str = "SCRAM-SHA-256", gs2: str = "n,,") -> None:
        """Log in; raises SaslFailedError with the server's condition."""
        if mechanism == "PLAIN":
            await self._ask(mechanism, scram.plain(self.user, self.password), "success")
        else:
            exchange = scram.ScramClient(mechanism, self.user, self.password, gs2)
            challenge = await self._ask(mechanism, exchange.first(), "challenge")
            self.wire.write(f"<response xmlns='{SASL}'>{exchange.final(challenge.text)}</response>")
            success = _granted(await self.wire.expect_tag("success", "failure"))
            assert exchange.is_genuine(success.text), "the server's signature is wrong"
        await self.open_stream()

    async def _ask(self, mechanism: str, initial: str, wanted: str) -> Tag:
        self.wire.write(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{initial}</auth>")
        return _granted(await self.wire.expect_tag(wanted, "failure"))

    async def bind(self) -> None:
        """Bind the resource; `jid` is then what the server gave."""
        self.wire.on_tag = self._received
        self.ledger = Ledger()
        payload = f"<bind xmlns='{BIND}'><resource>{escape(self.resource)}</resource></bind>"
        answer = await self.iq("set", payload)
        self.jid = answer.need("jid", BIND).text

    async def login(self, tls: str = "starttls", mechanism: str = "SCRAM-SHA-256") -> Client:
        """Connect, authenticate and bind."""
        await self.connect(tls)
        await self.authenticate(mechanism)
        await self.bind()
        return self

    async def enable(self, resume: bool = True) -> Tag:
        """Switch stream management on (XEP-0198 §3); returns <enabled/>."""
        wanted = " resume='true'" if resume else ""
        # The counters start with the request: RFC order makes whatever follows it count (XEP-0198 §3).
        self.ledger = Ledger()
        self.wire.write(f"<enable xmlns='{SM}'{wanted}/>")
        enabled = await self.wire.expect_tag("enabled", "failed")
        assert enabled.name == "enabled", enabled
        self.ledger.id = enabled.get("id") or ""
        return enabled

    async def resume(self, previous: Ledger) -> Tag:
        """Try to take a stream up again on an authenticated connection (XEP-0198 §5).

        Returns <resumed/> (what it left unacknowledged was sent again) or <failed/>; in both cases
        `previous` is settled with the server's h.
        """
        self.wire.on_tag = self._received
        self.wire.write(f"<resume xmlns='{SM}' previd={quoteattr(previous.id)} h='{previous.received}'/>")
        # What follows <resumed/> in the same segment must already be counted.
        self._resuming = previous
        answer = await self.wire.expect_tag("resumed", "failed")
        if answer.name == "resumed":
            self.wire.write("".join(previous.unacked) + f"<r xmlns='{SM}'/>")
        return answer

    _resuming: Ledger | None = None

    def send(self, stanza: str) -> None:
        """Send a stanza; under stream management it is kept until acknowledged."""
        if self.ledger.is_on:
            self.ledger.unacked.append(stanza)
        self.wire.write(stanza)

    def request(self) -> None:
        """Ask the server for an acknowledgement."""
        self.wire.write(f"<r xmlns='{SM}'/>")

    async def iq(self, kind: str, payload: str, to: str | None = None, seconds: float = 10.0) -> Tag:
        """Send an iq and return its answer, result or error."""
        number = f"q{next(self._ids)}"
        target = "" if to is None else f" to={quoteattr(to)}"
        self.send(f"<iq type='{kind}' id='{number}'{target}>{payload}</iq>")
        return await self.expect(lambda tag: tag.name == "iq" and tag.get("id") == number, seconds)

    async def expect(self, match: Callable[[Tag], bool], seconds: float = 10.0) -> Tag:
        """Take the first received element that matches, waiting for it when needed."""
        item = await self.wire.expect(lambda item: isinstance(item, Tag) and match(item), seconds)
        assert isinstance(item, Tag)
        return item

    async def expect_message(self, body: str, seconds: float = 10.0) -> Tag:
        """Take the message that has this body."""
        return await self.expect(lambda tag: tag.name == "message" and tag.body() == body, seconds)

    async def is_served(self, seconds: float = 10.0) -> bool:
        """Tell whether the server answers a ping on this stream (XEP-0199)."""
        try:
            answer = await self.iq("get", "<ping xmlns='urn:xmpp:ping'/>", self.place.domain, seconds)
        except (ConnectionGoneError, AssertionError):
            return False
        return answer.get("type") == "result"

    async def close(self, seconds: float = 5.0) -> None:
        """End the stream properly and wait for the connection to end."""
        self.wire.write("</stream:stream>")
        try:
            await self.wire.lost(seconds)
        finally:
            self.wire.abort()

    def abort(self) -> None:
        """Cut the connection without a word."""
        if self._wire is not None:
            self._wire.abort()

    def _received(self, tag: Tag) -> bool:
        if tag.ns == SM:
            return self._received_sm(tag)
        if tag.name in STANZAS and self.ledger.is_on:
            self.ledger.received += 1
        if self.on_stanza is not None and tag.name != "iq":
            self.on_stanza(tag)
            return True
        return False

    def _received_sm(self, tag: Tag) -> bool:
        if tag.name == "r":
            self.wire.write(f"<a xmlns='{SM}' h='{self.ledger.received}'/>")
        elif tag.name == "a":
            self._settled(self.ledger.settle(int(tag.attrs["h"])))
        elif tag.name == "enabled":
            self.ledger.is_on = True
        elif self._resuming is not None:
            self._taken_up(self._resuming, tag)
        return tag.name in ("r", "a")

    def _taken_up(self, previous: Ledger, tag: Tag) -> None:
        self._resuming = None
        h = int(tag.attrs.get("h", previous.acked))
        if tag.name == "resumed":
            self.ledger = previous
        else:
            # What a crashed server still knows may be older than what it had told us.
            h = max(h, previous.acked)
        self._settled(previous.settle(h))

    def _settled(self, count: int) -> None:
        if count and self.on_acked is not None:
            self.on_acked(count)


def _granted(answer: Tag) -> Tag:
    if answer.name == "failure":
        raise SaslFailedError(answer.condition() or "?")
    return answer


async def log_in(place: Place, *users: str, tls: str = "starttls") -> list[Client]:
    """Log several accounts in and send their initial presence; returns their clients."""
    clients = [Client(place, user) for user in users]
    await asyncio.gather(*(client.login(tls) for client in clients))
    for client in clients:
        client.send("<presence/>")
    return clients
