"""A node with people whose connections are cut, resumed, slow and dead, and who check what was promised.

``Rig`` is one node's people (a ``Place``) that can crash: its database files are copied as they are at
that moment and a new place is opened on the copy, with the next epoch and nothing in memory. ``Device`` is
the other side: a client with its own half of stream management, which shows messages once, sends again
what was not acknowledged, and fails the test when the server breaks a promise (design.md §2).
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.unit.users.place import DOMAIN, Place
from ubiety.element import Element, parse_element
from ubiety.routing.sessions import Session
from ubiety.stanza import from_element
from ubiety.store import epochs
from ubiety.store.database import Database
from ubiety.store.errors import StoreError
from ubiety.users.actor import User
from ubiety.xmpp import ns
from ubiety.xmpp.smacks import SmacksError

WINDOW = 0.002
BUSY_SECONDS = 0.02
RESUME_SECONDS = 300
PATIENCE = 20.0


class Wire:
    """A connection: what the server wrote and the client has not read yet."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.congested = False
        self.unread: deque[bytes] = deque()
        self.closed: str | None = None
        self.reading = True
        self.cut = False

    @property
    def secured_by(self) -> str:
        """No TLS."""
        return "plain"

    def write(self, data: bytes) -> None:
        """Keep it until the client reads; a message that was refused must not come any more."""
        if self.cut:
            return
        self.device.rig.check_written(data)
        self.unread.append(data)

    def close(self, condition: str | None = None, text: str = "") -> None:
        """Note why; the connection is of no use any more."""
        self.closed = condition or "closed"
        self.cut = True

    def pause_reading(self) -> None:
        """Note it."""
        self.reading = False

    def resume_reading(self) -> None:
        """Note it."""
        self.reading = True


@dataclass
class Sent:
    """A message that this device has sent and that was not acknowledged yet."""

    seq: int
    to: str
    name: str
    xml: str


class Device:
    """One application of one person. It remembers across sessions what it has sent and shown."""

    def __init__(self, rig: Rig, person: str, resource: str, managed: bool) -> None:
        self.rig = rig
        self.person = person
        self.resource = resource
        self.managed = managed
        self.name = f"{person}/{resource}"
        self.session: Session | None = None
        self.wire: Wire | None = None
        self.smid = ""
        self.outbox: deque[Sent] = deque()
        self.count_out = 0  # stanzas sent on this stream
        self.h = 0  # what the server has acknowledged of them
        self.count_in = 0  # stanzas read on this stream
        self.told = 0  # how many of them the server was told of
        self.pongs: list[str] = []
        self._numbers = itertools.count(1)

    # -- the connection ----------------------------------------------------------------------------

    @property
    def online(self) -> bool:
        """There is a connection of use."""
        return self.wire is not None and not self.wire.cut

    async def sign_in(self, presence: str | None = "<presence/>") -> None:
        """Sign in with a new session; send again what is not acknowledged."""
        place = self.rig.place
        person = place.context.homes.find(f"{self.person}@{DOMAIN}")
        assert person is not None
        user = await place.users.load(person)
        self.lose()
        self.rig.note_refusals()
        self.wire = Wire(self)
        self.session = place.users.bind(user, self.resource, self.wire)
        self.count_out = self.count_in = self.told = self.h = 0
        self.pongs.clear()
        self.smid = ""
        if self.managed:
            self.smid = f"{self.name}-{next(self.rig.numbers)}"
            place.users.enable(self.session, self.smid, RESUME_SECONDS)
        if presence is not None:
            self.give(presence)
        self._send_again()

    def cut(self) -> None:
        """The connection breaks; what was not read is lost, and the server notices."""
        session = self.session
        self.lose()
        if session is not None and session.edge is not None:
            self.rig.place.users.disconnect(session)
            if not self.managed:
                self.session = None

    def lose(self) -> None:
        """The connection breaks and the server has not noticed yet."""
        if self.wire is not None:
            self.wire.cut = True
            self.wire = None

    def sign_out(self) -> None:
        """Read everything, then end the stream properly."""
        if self.session is None or not self.online:
            return
        self.read()
        self.rig.place.users.end(self.session, clean=True)
        self.lose()
        self.session, self.smid = None, ""
        self.outbox.clear()  # it did not wait to hear what became of them

    async def resume(self, h_off: int = 0) -> bool:
        """Resume the stream on a new connection (XEP-0198 §5); sign in anew when the server refuses."""
        if not self.smid:
            return False
        users = self.rig.place.users
        person = self.rig.place.context.homes.find(f"{self.person}@{DOMAIN}")
        assert person is not None
        user = await users.load(person)
        self.lose()
        session = await users.resumable(user, self.smid)
        if session is None or session.smacks is None:
            h = await users.settled_before(user, self.smid)
            if h is not None:
                self._acknowledged(h, may_go_back=True)
            self.smid, self.session = "", None
            return False
        wire = Wire(self)
        try:
            again = users.resume(session, wire, self.count_in + h_off)
        except SmacksError:
            assert h_off > 0, "a right h was refused"
            return False
        self.wire, self.session = wire, session
        self.told = self.count_in
        self._acknowledged(session.smacks.h)
        self.pongs.clear()
        for data in again:
            wire.write(data)
        session.resumed()
        self.count_out = self.h
        self._send_again()
        return True

    def _send_again(self) -> None:
        for sent in list(self.outbox):
            self.rig.sent_again(sent.name)
            sent.seq = self.count_out + 1
            self.give(sent.xml)
        if not self.managed:
            self.outbox.clear()

    # -- sending -----------------------------------------------------------------------------------

    def give(self, xml: str) -> None:
        """Send a stanza."""
        assert self.session is not None
        stanza = from_element(parse_element(xml.encode()))
        self.count_out += 1
        self.session.receive(stanza.replace(from_=self.session.jid))

    def write_to(self, to: str) -> str:
        """Send the next message to an address; returns its name, which is its origin-id."""
        number = next(self._numbers)
        name = f"{self.name}-{number}"
        xml = (
            f"<message type='chat' to='{to}' id='{name}'><body>{number}</body>"
            f"<origin-id xmlns='urn:xmpp:sid:0' id='{name}'/></message>"
        )
        self.rig.written(self, name, to)
        if self.managed:
            self.outbox.append(Sent(self.count_out + 1, to, name, xml))
        if self.online:
            self.give(xml)
        return name

    def request(self) -> None:
        """Ask for an acknowledgement: it comes at once."""
        wire = self.wire
        if self.session is None or wire is None or wire.cut or not self.managed:
            return
        before = len(wire.unread)
        self.session.acknowledgement_requested()
        assert len(wire.unread) == before + 1 and b"<a " in wire.unread[-1], "<r/> was not answered"

    def _acknowledged(self, h: int, may_go_back: bool = False) -> None:
        assert may_go_back or h >= self.h, f"{self.name}: h went back from {self.h} to {h}"
        assert h <= self.count_out, f"{self.name}: h is {h}, only {self.count_out} were sent"
        self.h = max(h, self.h)
        while self.outbox and self.outbox[0].seq <= self.h:
            self.rig.promised(self.outbox.popleft().name)

    # -- reading -----------------------------------------------------------------------------------

    def read(self, most: int = 1_000_000) -> None:
        """Read what came, oldest first."""
        wire = self.wire
        while wire is not None and wire.unread and most:
            most -= 1
            self._take(parse_element(wire.unread.popleft()))

    def _take(self, element: Element) -> None:
        if element.ns == ns.SM:
            if element.name == "a":
                self._acknowledged(int(element.get("h") or ""))
            return
        self.count_in += 1
        kind = element.get("type")
        if element.name == "iq" and kind == "get":
            self.pongs.append(element.get("id") or "")
        elif element.name == "message" and kind != "error":  # the rig has noted errors already
            origin = element.find("origin-id", "urn:xmpp:sid:0")
            if origin is not None:
                self.rig.shown(self, origin.get("id") or "")

    def acknowledge(self, fewer: int = 0) -> None:
        """Acknowledge what was read, or less; answer pings."""
        session = self.session
        if session is None or not self.online:
            return
        if self.managed:
            self.told = max(self.told, self.count_in - fewer)
            session.acknowledge(self.told)
            return
        pongs, self.pongs = self.pongs, []
        for number in pongs:
            self.give(f"<iq type='result' id='{number}' to='{DOMAIN}'/>")

    def congest(self, congested: bool) -> None:
        """The server cannot get rid of its bytes, or can again."""
        if self.wire is None or self.session is None or self.session.edge is not self.wire:
            return
        was, self.wire.congested = self.wire.congested, congested
        if was and not congested:
            self.session.room_again()


class Account:
    """The account of all messages: what was sent, promised, refused and shown."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}
        self.numbers = itertools.count(1)
        self._to: dict[str, str] = {}  # message -> bare address
        self._kept: set[str] = set()  # messages whose sender may forget them
        self.refused: set[str] = set()
        self._unordered: set[str] = set()  # once refused and sent again later, for instance
        self._errors: dict[int, bytes] = {}
        self._shown: dict[str, list[str]] = {}  # person -> messages in the order of the first showing
        self._known: dict[str, set[str]] = {}
        self.repeats = 0

    def know(self, bare: str) -> bool:
        """Take a person into account; False if they were already."""
        is_new = bare not in self._known
        self._known.setdefault(bare, set())
        self._shown.setdefault(bare, [])
        return is_new

    def written(self, sender: Device, name: str, to: str) -> None:
        """A message is being sent.

        One to a full address keeps no order with others, nor across devices one that is made no promise.
        """
        self._to[name], _, resource = to.partition("/")
        has_several = sum(f"{d.person}@{DOMAIN}" == self._to[name] for d in self.devices.values()) > 1
        if resource or (has_several and not sender.managed):
            self._unordered.add(name)

    def promised(self, name: str) -> None:
        """A message was acknowledged to its sender."""
        self._kept.add(name)

    def sent_again(self, name: str) -> None:
        """A message is sent once more: whatever came of it before, it may be delivered now."""
        self.refused.discard(name)

    def note_error(self, data: bytes) -> bool:
        """Note a message that was refused; True when ``data`` is the error that says so."""
        if not data.startswith(b"<message") or b" type='error'" not in data:
            return False
        if id(data) not in self._errors:  # else it is sent again after a resumption
            self._errors[id(data)] = data
            self.refused.add(parse_element(data).get("id") or "")
            self._unordered.add(parse_element(data).get("id") or "")
        return True

    def check_written(self, data: bytes) -> None:
        """Note an error; AssertionError when a refused message is sent after all."""
        if data.startswith(b"<message") and not self.note_error(data):
            name = parse_element(data).get("id") or ""
            assert name not in self.refused, f"{name} was refused and is sent all the same"

    def note_refusals(self) -> None:
        """Sessions are about to end: errors that their clients will not get are errors all the same."""
        for device in self.devices.values():
            if device.session is not None and device.session.smacks is not None:
                for data, _ in device.session.smacks.unacked:
                    self.note_error(data)

    def shown(self, device: Device, name: str) -> None:
        """A client shows a message unless it did before."""
        person = f"{device.person}@{DOMAIN}"
        assert self._to[name] == person, f"{name} was not for {person}"
        if name in self._known[person]:
            self.repeats += 1
            return
        self._known[person].add(name)
        self._shown[person].append(name)

    def check_shown(self) -> int:
        """Assert promises 1 and 2 once all has been read; returns how many messages were shown."""
        for name in sorted(self._kept - self.refused):
            assert name in self._known[self._to[name]], f"{name} was acknowledged and never came"
        for shown in self._shown.values():
            last: dict[str, int] = {}
            for name in shown:
                sender, _, number = name.rpartition("-")
                if name in self._unordered:
                    continue
                assert int(number) > last.get(sender, 0), f"{name} came after {sender}-{last[sender]}"
                last[sender] = int(number)
        return sum(len(shown) for shown in self._shown.values())


class Rig(Account):
    """One node, its people's devices, and the account of all messages. Make it with ``open_rig``."""

    def __init__(self, folder: Path, window: float = WINDOW) -> None:
        super().__init__()
        self.folder = folder
        self.window = window
        self.crashes = 0
        self.place = self._open(folder)
        self._locker: sqlite3.Connection | None = None

    def _open(self, folder: Path) -> Place:
        database = Database(f"sqlite:///{folder / 'ubiety.db'}", busy_timeout=BUSY_SECONDS)
        database.migrate()
        place = Place(database)
        place.ledger.window = self.window
        epoch = database.write_now(epochs.next_epoch, 1, "node")
        place.context.next_number = itertools.count(epoch << epochs.COUNTER_BITS).__next__
        return place

    async def person(self, name: str, *resources: str, managed: bool = True) -> list[Device]:
        """Add a person with devices, not signed in yet."""
        if self.know(f"{name}@{DOMAIN}"):
            await self.place.people(name)
        made = [Device(self, name, resource, managed) for resource in resources]
        self.devices.update({device.name: device for device in made})
        return made

    def users(self) -> Iterator[User]:
        """Return everybody who is loaded."""
        return iter(self.place.context.actors.values())

    # -- time and trouble --------------------------------------------------------------------------

    async def pause(self) -> None:
        """Let the loop go on for some turns."""
        for _ in range(4):
            await asyncio.sleep(0)

    async def calm(self) -> None:
        """Wait until nothing is under way: no tasks, an empty ledger."""
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                while self.place.tasks:
                    await asyncio.wait(list(self.place.tasks))
                    await asyncio.sleep(0)
                await self._flush()
                await self.pause()

    async def _flush(self) -> None:
        while True:
            try:
                await self.place.ledger.flush()
                return
            except StoreError:
                await asyncio.sleep(BUSY_SECONDS)

    async def quiet(self) -> None:
        """All clients read and acknowledge everything until nothing more comes."""
        while True:
            await self.calm()
            before = sum(device.count_in for device in self.devices.values())
            for device in self.devices.values():
                device.read()
                device.acknowledge()
                device.request()
                device.read()
            if sum(device.count_in for device in self.devices.values()) == before:
                return

    def expire(self, seconds: float) -> None:
        """Time passes; sessions that waited long enough to be resumed end."""
        self.note_refusals()
        self.place.clock.advance(seconds)
        self.place.users.expire()

    def lock(self) -> None:
        """Somebody else holds the database: nothing can be written."""
        if self._locker is None:
            path = self.place.database.path
            assert path is not None
            self._locker = sqlite3.connect(path, isolation_level=None, timeout=5, check_same_thread=False)
            self._locker.execute("BEGIN IMMEDIATE")

    def unlock(self) -> None:
        """They let go."""
        locker, self._locker = self._locker, None
        if locker is not None:
            locker.execute("ROLLBACK")
            locker.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the database for a block."""
        self.lock()
        try:
            yield
        finally:
            self.unlock()

    async def crash(self) -> None:
        """The node is gone and started again: only what was on disk at this moment is left."""
        self.note_refusals()
        for device in self.devices.values():
            device.lose()
            device.session = None
        self.crashes += 1
        folder = self.folder / f"life{self.crashes}"
        folder.mkdir()
        path = self.place.database.path
        assert path is not None
        for name in (path.name, f"{path.name}-wal"):
            if (path.parent / name).exists():
                shutil.copy(path.parent / name, folder / name)
        self.unlock()
        old, self.place = self.place, self._open(folder)
        for person in old.context.homes:
            self.place.context.homes.put(person)
        await self._close(old)

    async def _close(self, place: Place) -> None:
        for task in list(place.tasks):
            task.cancel()
        await asyncio.gather(*place.tasks, return_exceptions=True)
        await place.ledger.close()
        await asyncio.to_thread(place.database.close)
        if place.failures:
            raise place.failures[0]

    async def finish(self) -> int:
        """Heal everything, have everybody read all, and check all promises; returns the messages shown."""
        self.unlock()
        for device in self.devices.values():
            device.congest(False)
            if not device.online or device.session is None or device.session.ended:
                await device.sign_in()
            else:
                device.give("<presence/>")
        await self.quiet()
        self.expire(2 * RESUME_SECONDS)
        await self.quiet()
        await self.check_empty()
        return self.check_shown()

    async def check_empty(self) -> None:
        """Assert that nothing is left of what was delivered, on disk or in memory."""
        rows = await self.place.database.read(
            lambda conn: conn.exec_driver_sql("SELECT user_id, message_id FROM deliveries").fetchall()
        )
        assert rows == [], "rows are left"
        for user in self.users():
            assert user.inbox.inflight == {}, f"{user.jid} has messages in flight"
            assert user.inbox.released == {}, f"{user.jid} has tokens of sessions that are gone"
            assert not user.inbox.waiting, f"{user.jid} is thought to have rows"
            for session in user.sessions.values():
                assert session.tokens() == [], f"{session.jid} holds tokens"
        for device in self.devices.values():
            assert not device.outbox, f"{device.name} was not acknowledged: {device.outbox[0].name}"
        assert self.place.ledger.queued_bytes == 0

    async def close(self) -> None:
        """End everything; raises what a task beside has raised."""
        self.unlock()
        await self._close(self.place)
