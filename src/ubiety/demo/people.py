"""The simulated people: keeps each of them logged in, in a mood, and answering."""

import asyncio
import contextlib
import heapq
import ssl
from collections.abc import Callable
from random import Random

from ubiety.demo.client import ConnectionLostError, Endpoint, LoginRefusedError, SampleClient
from ubiety.demo.conduct import Act, Conduct
from ubiety.demo.organisation import Organisation, Person
from ubiety.demo.photos import draw_photo
from ubiety.telemetry import event

LOGINS_PER_SECOND = 10.0
BACKOFF_SECONDS = (2.0, 60.0)


class SamplePeople:
    """All simulated people of one organisation, as tasks of the running loop."""

    def __init__(self, firm: Organisation, endpoint: Endpoint, random: Random | None = None) -> None:
        """Take whom to simulate and where to log in."""
        self._firm = firm
        self._endpoint = endpoint
        self._random = random or Random()
        self._gate = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._online: set[str] = set()

    @property
    def online(self) -> int:
        """How many are logged in now."""
        return len(self._online)

    def start(self) -> None:
        """Let them come to work, some per second. Raises OSError when the CA file cannot be read."""
        context = self._endpoint.make_context()
        self._tasks = [
            asyncio.create_task(self._simulate(person, context), name=f"sample {person.userid}")
            for person in self._firm.simulated
        ]

    async def stop(self) -> None:
        """Log all of them out."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _simulate(self, person: Person, context: ssl.SSLContext) -> None:
        """Keep one person logged in; give up where the password is no longer ours."""
        wait = BACKOFF_SECONDS[0]
        while True:
            await self._queue_up()
            began = asyncio.get_running_loop().time()
            try:
                await self._work(person, context)
            except LoginRefusedError as refusal:
                event("sample_person_refused", "warning", person=person.userid, condition=str(refusal))
                if str(refusal) == "not-authorized":
                    return  # the password was changed: this person is real now
            except (OSError, TimeoutError, ConnectionLostError) as failure:
                event("sample_person_offline", "debug", person=person.userid, reason=str(failure))
            if asyncio.get_running_loop().time() - began > BACKOFF_SECONDS[1]:
                wait = BACKOFF_SECONDS[0]
            await asyncio.sleep(wait * self._random.uniform(0.5, 1.5))
            wait = min(wait * 2, BACKOFF_SECONDS[1])

    async def _queue_up(self) -> None:
        """Pace logins over all people, also after a restart of the node."""
        async with self._gate:
            await asyncio.sleep(1 / LOGINS_PER_SECOND)

    async def _work(self, person: Person, context: ssl.SSLContext) -> None:
        """Log in and behave like the person until the connection ends."""
        client = await SampleClient.connect(self._endpoint, context)
        try:
            await client.login(person.userid, person.password)
            self._online.add(person.userid)
            photo = await asyncio.to_thread(draw_photo, person.userid)
            conduct = Conduct(person, self._firm, photo.sha1, self._random)
            await _behave(client, conduct, asyncio.get_running_loop().time)
        finally:
            self._online.discard(person.userid)
            await client.close()


async def _behave(client: SampleClient, conduct: Conduct, clock: Callable[[], float]) -> None:
    """Send what the conduct says when it is time, and tell it what arrives. Ends by an exception only."""
    agenda = Agenda()
    next_mood = clock()
    arrival = asyncio.ensure_future(client.receive())
    try:
        while True:
            now = clock()
            if now >= next_mood:
                mood = conduct.change_mood()
                client.send(mood.data)
                next_mood = now + mood.after
            for data in agenda.take(now):
                client.send(data)
            until = min(next_mood, agenda.next_time)
            await asyncio.wait((arrival,), timeout=max(until - now, 0.0))
            if arrival.done():
                agenda.add(conduct.receive(arrival.result(), clock()), clock())
                arrival = asyncio.ensure_future(client.receive())
    finally:
        arrival.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionLostError, OSError):
            await arrival


class Agenda:
    """What is to be sent at which time, in order."""

    def __init__(self) -> None:
        """Start empty."""
        self._due: list[tuple[float, int, str]] = []
        self._count = 0

    @property
    def next_time(self) -> float:
        """When the next entry is due; infinity where there is none."""
        return self._due[0][0] if self._due else float("inf")

    def add(self, acts: list[Act], now: float) -> None:
        """Enter acts, their delays counted from now."""
        for act in acts:
            self._count += 1
            heapq.heappush(self._due, (now + act.after, self._count, act.data))

    def take(self, now: float) -> list[str]:
        """Remove and return what is due."""
        due = []
        while self._due and self._due[0][0] <= now:
            due.append(heapq.heappop(self._due)[2])
        return due
