"""Whatever signed-in clients send: each query is answered, all that is sent is well-formed, nothing fails.

``UBIETY_FUZZ_SECONDS`` is how long it takes (10 by default, the soak run sets 600).
"""

import asyncio
import itertools
import os
import sqlite3
import time
from collections import Counter

import pytest
from lxml import etree

from tests.databases import open_in
from tests.unit.routing.stanza_inputs import PEOPLE, RESOURCES, Inputs
from tests.unit.users.place import DOMAIN, Place
from ubiety.jid import Jid
from ubiety.routing.sessions import Session
from ubiety.stanza import Stanza
from ubiety.store.errors import StoreError
from ubiety.users import offline
from ubiety.xmpp import outputs as out
from ubiety.xmpp.c2s import C2sConfig, C2sStream
from ubiety.xmpp.outputs import Output
from ubiety.xmpp.smacks import SmacksError

FUZZ_SECONDS = float(os.environ.get("UBIETY_FUZZ_SECONDS", "10"))
HANG_SECONDS = 10.0
BUSY_SECONDS = 0.02
BATCH = 40
HEADER = (
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
)
OPEN = HEADER.replace(b" version", b" to='example.org' version")
PLAIN = b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFubgBzZWNyZXQ=</auth>"
BIND = b"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"

_stream_ids = (f"stream-{number}" for number in itertools.count(1))
CONFIG = C2sConfig(domains=lambda domain: domain == DOMAIN, default_domain=DOMAIN, secret=b"s")


def bound_stream(jid: Jid) -> C2sStream:
    """Return a stream that is past its negotiation."""
    stream = C2sStream(CONFIG, lambda: next(_stream_ids), 0.0, secure=True)
    stream.receive(OPEN, 0)
    stream.receive(PLAIN, 0)
    stream.password_checked(True, 0)
    stream.authorised()
    stream.receive(OPEN, 0)
    stream.receive(BIND, 0)
    stream.bound(jid)
    return stream


class Connection:
    """The edge of a session without a socket: what ``net/c2s.py`` does, and a judge of what is written."""

    def __init__(self, place: Place, managed: bool) -> None:
        self.place = place
        self.managed = managed
        self.congested = False
        self.closed = False
        self.session: Session
        self.stream: C2sStream
        self.asked: Counter[str] = Counter()  # queries by this client, by id
        self.answered: Counter[str] = Counter()
        self.elsewhere: set[str] = set()  # queries to clients: they may leave meanwhile, or block us
        self.replies: list[bytes] = []  # to queries that others put to this client
        self._judge = etree.XMLPullParser(events=("start", "end"))
        self._judge.feed(HEADER)
        self._depth = 0

    @property
    def secured_by(self) -> str:
        """As if by TLS."""
        return "TLSv1.3"

    # -- from the server

    def write(self, data: bytes) -> None:
        """Judge what the client gets: each write is whole first-level elements of a jabber:client stream."""
        if self.closed:
            return
        self._judge.feed(data)
        for event, element in self._judge.read_events():
            self._depth += 1 if event == "start" else -1
            if event == "end" and self._depth == 1:
                self._take(element)
                element.clear()
                while element.getprevious() is not None:
                    del element.getparent()[0]
        assert self._depth == 1, f"an element is cut: {data!r}"

    def _take(self, element: etree._Element) -> None:
        name = etree.QName(element)
        if name.namespace != "jabber:client":
            assert name.namespace in ("urn:xmpp:sm:3", "http://etherx.jabber.org/streams"), element.tag
            return
        assert name.localname in ("message", "presence", "iq"), element.tag
        if name.localname != "iq":
            return
        number, kind = element.get("id"), element.get("type")
        if number is None:
            assert kind == "error"  # there was none in the query: that is the error
            return
        if kind in ("result", "error"):
            self.answered[number] += 1
        else:
            sender = element.get("from")
            to = f" to='{sender}'" if sender else ""
            escaped = number.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&apos;")
            if "'" not in to[5:-1] and "&" not in to and "<" not in to:
                self.replies.append(f"<iq type='result' id='{escaped}'{to}/>".encode())

    def close(self, condition: str | None = None, text: str = "") -> None:
        """End the stream."""
        self._perform(self.stream.close(condition, text))

    def pause_reading(self) -> None:
        """A client that is not read waits."""

    def resume_reading(self) -> None:
        """It is read again."""

    # -- from the client

    def receive(self, data: bytes) -> None:
        """Take bytes of the client."""
        self._perform(self.stream.receive(data, 0.0))

    def relieve(self) -> None:
        """The client has read what was written."""
        if self.congested:
            self.congested = False
            self.session.room_again()

    def reply(self) -> None:
        """Answer what others have asked this client."""
        replies, self.replies = self.replies, []
        for reply in replies:
            self.receive(reply)

    def _perform(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Stanza):
                self._note(output)
                self.session.receive(output)
            else:
                self._perform_one(output)

    def _note(self, stanza: Stanza) -> None:
        if stanza.kind == "iq" and stanza.type in ("get", "set"):
            assert stanza.id
            self.asked[stanza.id] += 1
            if stanza.to is not None and stanza.to.resource and stanza.to.local:
                self.elsewhere.add(stanza.id)

    def _perform_one(self, output: Output) -> None:
        session = self.session
        if isinstance(output, out.Write):
            self._write_last(output.data)
        elif isinstance(output, out.SmAck):
            try:
                session.acknowledge(output.h)
            except SmacksError as error:
                self._perform(self.stream.close(error.condition, error.text, error.detail))
        elif isinstance(output, out.SmRequest):
            session.acknowledgement_requested()
        elif isinstance(output, out.SmEnableRequested):
            self._perform(self.stream.enabled("fuzz", 300, output.resume))
            self.place.users.enable(session, f"fuzz-{next(_stream_ids)}", 300 if output.resume else 0)
        elif isinstance(output, out.ClientState):
            session.set_inactive(not output.active)
        elif isinstance(output, out.StanzaAnswered):
            before = self.answered.copy()
            session.answered(output.data)
            self.asked += self.answered - before
        elif isinstance(output, out.SessionEnded):
            self.place.users.end(session, clean=True)
        elif isinstance(output, out.Close):
            self.closed = True
        else:
            raise AssertionError(f"nobody expects {output}")

    def _write_last(self, data: bytes) -> None:
        if data.endswith(b"</stream:stream>"):
            self._judge.feed(data)
            self._judge.close()
            self.closed = True
        else:
            self.write(data)


class Crowd:
    """All clients of the run."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place = place
        self.inputs = Inputs(seed)
        self.connections: dict[str, Connection] = {}
        self.sent: list[bytes] = []
        self.pieces = self.ended = self.answers = 0
        self._locked_until = 0.0

    async def arrive(self) -> None:
        """Sign in whoever is not there."""
        for person, resource in itertools.product(PEOPLE[:3], RESOURCES):
            name = f"{person}/{resource}"
            if name in self.connections:
                continue
            self.connections[name] = await self._connect(person, resource)

    async def _connect(self, person: str, resource: str) -> Connection:
        place = self.place
        found = place.context.homes.find(f"{person}@{DOMAIN}")
        assert found is not None
        user = await place.users.load(found)
        connection = Connection(place, self.inputs.chance.random() < 0.5)
        connection.session = place.users.bind(user, resource, connection)
        connection.stream = bound_stream(connection.session.jid)
        start = b"<presence/>"
        if connection.managed:
            start = b"<enable xmlns='urn:xmpp:sm:3' resume='true'/>" + start
        connection.receive(start)
        return connection

    async def batch(self) -> None:
        """Send some pieces from random clients; then all must come to rest and be in order."""
        if self.inputs.chance.random() < 0.03 and time.monotonic() > self._locked_until + 1.0:
            self._lock(4 * BUSY_SECONDS)
        await self._send_pieces()
        await self._rest()
        self._check_answers()
        await self.arrive()

    def _lock(self, seconds: float) -> None:
        """Let somebody else hold the database: nothing can be written, and whoever asks is told."""
        path = self.place.database.path
        assert path is not None
        locker = sqlite3.connect(path, isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
        self._locked_until = time.monotonic() + seconds
        asyncio.get_running_loop().call_later(seconds, locker.close)

    async def _send_pieces(self) -> None:
        self.sent.clear()
        gone: list[Connection] = []
        for _ in range(BATCH):
            name = self.inputs.chance.choice(list(self.connections))
            connection = self.connections[name]
            piece = self.inputs.piece()
            self.sent.append(f"{name}: ".encode() + piece)
            connection.receive(piece)
            self.pieces += 1
            if connection.closed:
                gone.append(self.connections.pop(name))
                self.place.users.disconnect(connection.session)
                if not self.connections:
                    break
            elif self.inputs.chance.random() < 0.2:
                await asyncio.sleep(0)
            elif self.inputs.chance.random() < 0.02:
                connection.congested = True
        self.ended += len(gone)
        for connection in self.connections.values():
            connection.relieve()

    async def _rest(self) -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while True:
                try:
                    await self.place.settle()
                except StoreError:
                    await asyncio.sleep(BUSY_SECONDS)
                    continue
                if not any(c.replies for c in self.connections.values()):
                    return
                for connection in list(self.connections.values()):
                    connection.reply()

    def _check_answers(self) -> None:
        for name, connection in self.connections.items():
            session = connection.session
            assert session._waiting is None, f"{name} waits for ever"
            if session.smacks is not None:
                assert session.smacks.unsettled == 0, f"{name} is not acknowledged"
            for number, count in connection.asked.items():
                answers = connection.answered[number]
                if answers > count or number not in connection.elsewhere:
                    assert answers == count, f"{name} asked {number}, {count} times, answered: {answers}"
            self.answers += connection.answered.total()
            connection.asked.clear()
            connection.elsewhere.clear()
            connection.answered.clear()


@pytest.mark.timeout(FUZZ_SECONDS + 120)
async def test_random_stanzas_for_a_while(
    tmp_path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(offline, "PAGE", 5)
    monkeypatch.setattr(offline, "RETRY_SECONDS", BUSY_SECONDS)
    seed = int(os.environ.get("UBIETY_FUZZ_SEED", "0")) or time.time_ns() % (1 << 32)
    database = open_in(tmp_path, busy_timeout=BUSY_SECONDS)
    place = Place(database)
    await place.people(*PEOPLE)
    crowd = Crowd(place, seed)
    until = time.monotonic() + FUZZ_SECONDS
    try:
        await crowd.arrive()
        while time.monotonic() < until:
            await crowd.batch()
            assert not place.failures
    except BaseException as error:
        sent = b"\n".join(crowd.sent).decode("utf-8", "replace")
        raise AssertionError(f"seed {seed}, {crowd.pieces} pieces, the last of them:\n{sent}") from error
    finally:
        for connection in crowd.connections.values():
            place.users.end(connection.session)
        await place.close()
    print(f"{crowd.pieces} pieces, {crowd.ended} streams ended, {crowd.answers} answers")
    assert crowd.answers > crowd.pieces / 10  # else hardly anything gets through
