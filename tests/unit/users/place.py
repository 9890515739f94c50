"""A node without sockets: real actors, real features, a real database; connections that write things down."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from tests.databases import open_migrated
from ubiety.clock import ManualClock
from ubiety.conditions import StanzaError
from ubiety.declared import SETTINGS
from ubiety.element import Element, parse_element
from ubiety.jid import parse
from ubiety.routing.homes import Homes, Person
from ubiety.routing.router import Router
from ubiety.routing.sessions import Session
from ubiety.settings import Setting, Settings
from ubiety.stanza import from_element
from ubiety.store import addresses, domains
from ubiety.store import users as rows
from ubiety.store.database import Database
from ubiety.store.ledger import Ledger
from ubiety.telemetry import Counters
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.features import Features, compose
from ubiety.users.host import Host
from ubiety.users.iq import Queries
from ubiety.users.registration import Registration
from ubiety.users.service import Users
from ubiety.xmpp import ns

DOMAIN = "example.org"
NOW = 1_700_000_000.0
SECONDS = 5.0


class PlainEdge:
    """A connection that keeps what was written to it."""

    def __init__(self) -> None:
        self.congested = False
        self.written: list[bytes] = []
        self.closed: str | None = None
        self.reading = True
        self.news = asyncio.Event()

    @property
    def secured_by(self) -> str:
        """No TLS."""
        return "plain"

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.written.append(data)
        self.news.set()

    def close(self, condition: str | None = None, text: str = "") -> None:
        """Note why."""
        self.closed = condition or "closed"

    def pause_reading(self) -> None:
        """Note it."""
        self.reading = False

    def resume_reading(self) -> None:
        """Note it."""
        self.reading = True


class Client:
    """One signed-in client."""

    def __init__(self, place: Place, session: Session, edge: PlainEdge) -> None:
        self.place = place
        self.session = session
        self.edge = edge
        self._ids = itertools.count(1)

    @property
    def user(self) -> User:
        """Whose client it is."""
        return self.place.context.actors[self.session.address_id]

    @property
    def bare(self) -> str:
        """The bare address."""
        return self.session.jid.bare

    @property
    def full(self) -> str:
        """The full address."""
        return self.session.jid.text

    def send(self, xml: str) -> None:
        """Send a stanza; ``from`` is stamped as the stream does."""
        stanza = from_element(parse_element(xml.encode()))
        self.session.receive(stanza.replace(from_=self.session.jid))

    async def ask(self, type_: str, payload: str, to: str | None = None) -> Element:
        """Send a query and return the answer, result or error."""
        number = f"q{next(self._ids)}"
        address = f" to='{to}'" if to else ""
        self.send(f"<iq type='{type_}' id='{number}'{address}>{payload}</iq>")
        return await self.saw(
            lambda e: e.name == "iq" and e.get("id") == number and e.get("type") in ("result", "error")
        )

    async def saw(self, matches: Callable[[Element], bool]) -> Element:
        """Wait for a stanza that matches and take it; AssertionError when none comes."""
        deadline = asyncio.get_running_loop().time() + SECONDS
        while True:
            self.edge.news.clear()
            for index, data in enumerate(self.edge.written):
                element = parse_element(data)
                if matches(element):
                    del self.edge.written[index]
                    return element
            left = deadline - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self.edge.news.wait(), left)
            except TimeoutError:
                raise AssertionError(f"it did not come; instead: {self.edge.written}") from None

    async def take(self, name: str | None = None) -> list[Element]:
        """Wait until nothing is under way and take all stanzas (of one kind)."""
        await self.place.settle()
        found = [parse_element(data) for data in self.edge.written]
        taken = [e for e in found if e.ns == ns.CLIENT and name in (None, e.name)]
        self.edge.written = [data for data, e in zip(self.edge.written, found, strict=True) if e not in taken]
        return taken

    async def bodies(self) -> list[str]:
        """Take all messages and return their bodies."""
        return [body.text for m in await self.take("message") if (body := m.find("body")) is not None]

    async def presences(self) -> list[tuple[str, str | None]]:
        """Take all presence and return (sender, type)."""
        return [(p.get("from") or "", p.get("type")) for p in await self.take("presence")]

    def leave(self) -> None:
        """Sign out."""
        self.place.users.end(self.session, clean=True)


class Place:
    """One node's people. Make it with ``open_place``."""

    def __init__(self, database: Database) -> None:
        loop = asyncio.get_running_loop()
        self.database = database
        self.clock = ManualClock(NOW)
        self.tasks: set[asyncio.Task[None]] = set()
        self.failures: list[BaseException] = []
        self.settings = Settings(SETTINGS)
        self.ledger = Ledger(database, loop)
        self.context = Context(
            homes=Homes((), [DOMAIN]),
            router=Router(),
            database=database,
            ledger=self.ledger,
            settings=self.settings,
            clock=self.clock,
            counters=Counters(),
            next_number=itertools.count(1 << 40).__next__,
            defer=loop.call_soon,
            spawn=self.spawn,
            load=lambda person: self.users.load(person),
            domain=DOMAIN,
        )
        self.registration = Registration(self.context, self._changed, _hash)
        self.features: Features = compose(self.context, self.registration)
        queries = Queries(self.context, self.features.handlers)
        self.users = Users(self.context, queries)
        self.host = Host(self.context, queries)
        self.context.router.routes = [self.users, self.host]

    async def _changed(self, address_ids: Sequence[int]) -> None:
        """Take over who was added or deleted, as ``app.py`` does."""
        homes = self.context.homes
        for address_id in address_ids:
            login = await self.database.read(rows.load_login, address_id)
            known = homes.at(address_id)
            if login is not None:
                homes.put(Person(login.user_id, address_id, parse(login.jid), login.enabled))
            elif known is not None:
                homes.remove(known.user_id)
            actor = self.context.actors.get(address_id)
            if actor is not None and (login is None or not login.enabled):
                for session in list(actor.sessions.values()):
                    self.users.end(session)
                del self.context.actors[address_id]

    def set(self, setting: Setting[Any], value: Any) -> None:
        """Change a setting."""
        self.settings.apply(setting.name, value)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside the test; a failure fails the test at the end."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.failures.append(error)

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        for _ in range(3):
            while self.tasks:
                await asyncio.gather(*self.tasks, return_exceptions=True)
                await asyncio.sleep(0)
            await self.ledger.flush()
            await asyncio.sleep(0)

    async def people(self, *names: str, **profile: str) -> list[Person]:
        """Add people."""
        made = await self.database.write(_add, names, profile)
        for person in made:
            self.context.homes.put(person)
        return made

    async def sign_in(
        self,
        name: str,
        resource: str = "desk",
        *,
        managed: bool = False,
        presence: str | None = "<presence/>",
    ) -> Client:
        """Sign somebody in, who is added if need be; ``managed`` with stream management."""
        person = self.context.homes.find(f"{name}@{DOMAIN}")
        if person is None:
            (person,) = await self.people(name)
        user = await self.users.load(person)
        edge = PlainEdge()
        session = self.users.bind(user, resource, edge)
        session.answers_pings = False
        if managed:
            self.users.enable(session, f"{name}-{resource}", 300)
        client = Client(self, session, edge)
        if presence is not None:
            client.send(presence)
            await self.settle()
            edge.written.clear()
        return client

    async def friends(self, *names: str) -> list[Client]:
        """Sign people in who all see each other."""
        clients = [await self.sign_in(name) for name in names]
        for one, other in itertools.permutations(clients, 2):
            one.send(f"<presence type='subscribe' to='{other.bare}'/>")
            await self.settle()
            other.send(f"<presence type='subscribed' to='{one.bare}'/>")
            await self.settle()
        for client in clients:
            client.edge.written.clear()
        return clients

    async def close(self) -> None:
        """End everything; raises what a task beside has raised."""
        await self.settle()
        await self.ledger.close()
        await asyncio.get_running_loop().run_in_executor(None, self.database.close)
        if self.failures:
            raise self.failures[0]


async def _hash(_userid: str, password: str) -> str:
    """Stand in for the real hashing, which takes time."""
    if len(password) < 4:
        raise StanzaError("not-acceptable", "Too short.")
    return f"keys of {password}"


def _add(conn: Connection, names: tuple[str, ...], profile: dict[str, str]) -> list[Person]:
    domain = domains.find(conn, DOMAIN) or domains.add(conn, DOMAIN, NOW, is_default=True)
    made = []
    for name in names:
        jid = f"{name}@{DOMAIN}"
        user_id = rows.create(conn, jid, name, domain.id, NOW, profile)
        address_id = addresses.find(conn, jid)
        assert address_id is not None
        made.append(Person(user_id, address_id, parse(jid)))
    return made


def open_place(folder: Path) -> Place:
    """Make a place with an empty SQLite database in a folder. Call it in the running loop."""
    return open_place_on(f"sqlite:///{folder / 'ubiety.db'}")


def open_place_on(url: str) -> Place:
    """Make a place on an empty database. Call it in the running loop."""
    database = open_migrated(url)
    return Place(database)


def condition(answer: Element) -> str:
    """Return the condition of a stanza error; AssertionError when it is none."""
    error = answer.find("error", ns.CLIENT)
    assert error is not None, answer
    return next(e.name for e in error.elements if e.ns == ns.STANZA_ERRORS and e.name != "text")
