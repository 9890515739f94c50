"""A pool of simulated front ends with its people: what tests and the command hold in their hands.

async with Pool(load_plan(path)) as pool:
    bob = await pool.sign_in("bob")
"""

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Self

from ubiety.lab import habits
from ubiety.lab.client import Client
from ubiety.lab.connection import Traced
from ubiety.lab.front_end import FrontEnd
from ubiety.lab.journal import Entry
from ubiety.lab.people import Person
from ubiety.lab.plan import Plan
from ubiety.lab.presence import PresenceServer
from ubiety.lab.proxy import Proxy
from ubiety.lab.registrar import Registrar
from ubiety.lab.roaming import HomeServer
from ubiety.lab.site import Site
from ubiety.sip.message import Request, Response


class Pool:
    """All front ends of one plan, started and stopped together or one by one."""

    def __init__(self, plan: Plan, on_trace: Callable[[Traced], None] = lambda _traced: None) -> None:
        self.site = Site(plan, on_trace=on_trace)
        self.presence = PresenceServer(self.site, self.originate)
        self.front_ends = [FrontEnd(self.site, one) for one in plan.front_ends]
        self.registrar = Registrar(self.site, HomeServer(self.site))
        self.proxies = {
            id(one): Proxy(self.site, one, self.presence, self.registrar) for one in self.front_ends
        }
        self.clients: dict[str, Client] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = {uri: place for place, uri in enumerate(self.site.people)}
        self.on_entry: Callable[[str, Entry], None] = lambda _uri, _entry: None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts all front ends and signs in whom the plan wants signed in. Raises OSError."""
        try:
            for front_end in self.front_ends:
                await front_end.start()
        except OSError:
            await self.stop()
            raise
        for person in self.site.people.values():
            if person.plan.signed_in:
                await self.sign_in(person.uri, person.plan.signed_in)

    async def stop(self) -> None:
        """Stops everything at once, without farewells."""
        for task in list(self._tasks):
            task.cancel()
        for front_end in self.front_ends:
            await front_end.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.clients.clear()

    def front_end(self, name: str) -> FrontEnd:
        """The front end of a name, or its number from 1 on. Raises LookupError."""
        for number, front_end in enumerate(self.front_ends, 1):
            if name in (front_end.plan.name, str(number)):
                return front_end
        known = ", ".join(front_end.plan.name for front_end in self.front_ends)
        raise LookupError(f"there is no front end {name}. There are: {known}.")

    def home_of(self, uri: str) -> FrontEnd:
        """The front end that serves a person: always the same one as long as it runs."""
        running = [one for one in self.front_ends if one.is_running] or self.front_ends
        return running[self._places.get(uri, 0) % len(running)]

    async def sign_in(self, word: str, availability: str = "available", *, watches: bool = True) -> Client:
        """Signs a person in as a simulated client, which then subscribes to its contacts.

        Raises LookupError or AvailabilityError.
        """
        person = self.site.find(word)
        client = self.clients.get(person.uri)
        if client is None:
            client = Client(self, person, self._entered)
            self.clients[person.uri] = client
            person.endpoints.append(client)
        client.set_availability(availability)
        for watcher in person.asking:
            client.prompted(watcher)
        if watches:
            client.watch_contacts()
        return client

    def _entered(self, client: Client, entry: Entry) -> None:
        self.on_entry(client.uri, entry)
        habits.answers(client, entry)

    async def sign_out(self, word: str) -> None:
        """Signs a simulated client out: conversations and subscriptions end, others see offline."""
        person = self.site.find(word)
        client = self.clients.pop(person.uri, None)
        if client is not None:
            await client.leave()
            person.endpoints.remove(client)
        if not person.endpoints:
            self._show_offline(person)

    def _show_offline(self, person: Person) -> None:
        person.show(type(person.shown)())

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Runs something until it is done or the pool stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def originate(self, front_end: FrontEnd, request: Request) -> Response:
        """Sends a request of a client of ours, or of the presence server. Raises NoAnswerError."""
        return await self.proxies[id(front_end)].route(request, None, lambda _response: None)

    def acknowledge(self, front_end: FrontEnd, request: Request) -> None:
        """Sends an ACK of a client of ours."""
        self.proxies[id(front_end)].acknowledge(request)

    async def restart(self) -> None:
        """Restarts all front ends on their ports; subscriptions and conversations are forgotten."""
        self.presence.forget_all()
        for task in list(self._tasks):
            task.cancel()
        for front_end in self.front_ends:
            await front_end.stop()
        for client in self.clients.values():
            client.conversations.clear()
            client.subscriptions.clear()
        for front_end in self.front_ends:
            await front_end.start()
        for client in self.clients.values():
            client.watch_contacts()
