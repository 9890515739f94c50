"""The "Cisco IM and Presence Data Monitor": looks at the conditions, holds services back, raises alarms.

What is decided is in ``cluster/readiness.py``; how the database is looked at in ``store/replication.py``.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from ubiety.clock import Clock
from ubiety.cluster.alarms import (
    BUS_FAILURE,
    DATABASE_ERROR,
    PEER_FAILURE,
    REPLICATION_FAILURE,
    REPLICATION_INFORMATION,
    RESTART_REQUIRED,
    SERVICE_FAILED,
    Alarms,
)
from ubiety.cluster.readiness import (
    HOLD,
    QUIET_SECONDS,
    Condition,
    Delayed,
    Output,
    Readiness,
    Recovered,
    Released,
    Standing,
    Troubled,
)
from ubiety.settings import Setting, Settings
from ubiety.store import replication
from ubiety.store.database import Database
from ubiety.store.errors import DatabaseUnavailable
from ubiety.telemetry import event

DATABASE = "database"
SCHEMA = "schema"
REPLICATION = "replication"
DIRECTORY = "directory"
"""This node's copy of people, domains, settings is what the database has."""
SYNC = "directory sync"
"""The first run of whatever fills the directory from elsewhere is over: that registers it (`Check`)."""

TIMEOUT = Setting(
    "monitor.publisher_timeout",
    int,
    300,
    "seconds",
    "Time after which the publisher starts its feature services without replication and directory sync.",
    minimum=0,
    maximum=86_400,
)
REPLICA_LAG = Setting(
    "monitor.replica_lag",
    int,
    60,
    "seconds",
    "Lag of the replica from which on replication counts as broken.",
    minimum=1,
    maximum=86_400,
)
SETTINGS = (TIMEOUT, REPLICA_LAG)

LOOK_SECONDS = 1.0
FIRST_LOOK_SECONDS = 0.1
"""Pause between looks while services are held back: nobody shall wait for the next full second."""
ANSWER_SECONDS = 3.0
BUS_SECONDS = 3.0
"""Time without the bus that is worth an alarm: before the silence of the nodes behind it."""
PEER_SECONDS = 5.0
"""Silence of another node that is worth an alarm."""

ALARM_OF = {DATABASE: DATABASE_ERROR, HOLD: REPLICATION_FAILURE}
"""Which alarm a condition raises; those that are not named: a failure of replication."""


@dataclass(frozen=True)
class Check:
    """How one condition is looked at: ``look`` returns what is missing, empty when it holds.

    Whatever a node must wait for has one, and hands it to the monitor when the node is composed.
    """

    name: str
    look: Callable[[], Awaitable[str]]
    is_essential: bool = True
    needs: str = ""
    """A condition without which this one cannot be looked at."""
    every: float = 0.0
    """Seconds between two looks at what costs more; while it is bad it is looked at like all others."""


class DataMonitor:
    """Of one node."""

    def __init__(
        self,
        checks: Sequence[Check],
        alarms: Alarms,
        clock: Clock,
        held_back: Callable[[str], None],
        *,
        is_publisher: bool = True,
        timeout: float = 300.0,
        after_look: Callable[[], None] = lambda: None,
    ) -> None:
        """``held_back`` is told what feature services wait for; empty: they may start.

        ``after_look`` is called after each look, for alarms about what is no condition.
        """
        conditions = [Condition(one.name, one.is_essential, one.needs) for one in checks]
        self.core = Readiness(conditions, is_publisher=is_publisher, timeout=timeout)
        self._checks = checks
        self._alarms = alarms
        self._clock = clock
        self._held_back = held_back
        self._after_look = after_look
        self._released = asyncio.Event()
        self._looked: dict[str, float] = {}
        self._looks: dict[str, asyncio.Future[str]] = {}
        self._troubles: dict[str, dict[str, str]] = {}  # alarm -> condition -> text
        self.seen_at = 0.0
        """When it last looked: seconds since 1970."""

    @property
    def standings(self) -> list[Standing]:
        """How all conditions stand."""
        return self.core.standings

    def problem(self, name: str) -> str:
        """Return what is wrong with one condition; empty when it holds or is not watched."""
        return next((one.problem for one in self.core.standings if one.condition.name == name), "")

    async def released(self) -> None:
        """Wait until feature services may start."""
        await self._released.wait()

    async def run(self) -> None:
        """Look for as long as the service runs."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS if self.core.is_released else FIRST_LOOK_SECONDS)

    async def look(self, *, anew: bool = False) -> None:
        """Look at everything once and do what follows. ``anew``: also at what was looked at a while ago."""
        problems = await asyncio.gather(*(self._look_at(check, anew) for check in self._checks))
        now = self._clock.monotonic()
        for check, problem in zip(self._checks, problems, strict=True):
            self.core.seen(check.name, problem, now)
        self.seen_at = self._clock.now()
        for output in self.core.step(now):
            self._perform(output)
        if not self.core.is_released:
            self._held_back(self.core.waiting_for)
        self._after_look()

    async def _look_at(self, check: Check, anew: bool) -> str:
        """One look at a time: a database that hangs shall not collect questions."""
        began = self._clock.monotonic()
        if not anew and began - self._looked.get(check.name, float("-inf")) < check.every:
            return ""
        looking = self._looks.get(check.name)
        if looking is None:
            looking = self._looks[check.name] = asyncio.ensure_future(check.look())
        done, _ = await asyncio.wait((looking,), timeout=ANSWER_SECONDS)
        if not done:
            return f"no answer for {ANSWER_SECONDS:.0f} s"
        self._looks.pop(check.name, None)  # two may have waited for it
        error = looking.exception()
        if error is None:
            if not looking.result():
                self._looked[check.name] = began
            return looking.result()
        return (str(error).strip() or type(error).__name__).splitlines()[0]

    def _perform(self, output: Output) -> None:
        match output:
            case Delayed(text):
                self._trouble(HOLD, f"Feature services are held back. {text}")
            case Released(missing):
                event("feature_services_released", missing=missing)
                self._held_back("")
                self._released.set()
            case Troubled(name, text):
                self._trouble(name, f"{name}: {text}")
            case Recovered(name):
                self._trouble(name, "")

    def _trouble(self, name: str, text: str) -> None:
        """Tell of what is wrong with a condition; empty: nothing. Conditions may share an alarm."""
        alarm = ALARM_OF.get(name, REPLICATION_FAILURE)
        troubles = self._troubles.setdefault(alarm, {})
        troubles.pop(name, None)
        if text:
            troubles[name] = text
        tell(self._alarms, alarm, " ".join(troubles.values()))
        if not text and alarm == REPLICATION_FAILURE:
            self._alarms.note(REPLICATION_INFORMATION, f"{name or 'Start of the node'}: all is well.")


async def wait_for_database(
    migrate: Callable[[], Awaitable[None]], alarms: Alarms, clock: Clock, waits_for: Callable[[str], None]
) -> None:
    """Do ``migrate`` as soon as the database answers; ``waits_for`` is told what is missing.

    Raises StoreError for what waiting does not cure.
    """
    began = clock.monotonic()
    while True:
        try:
            await migrate()
            break
        except DatabaseUnavailable as error:
            text = f"database: {(str(error).strip() or 'no answer').splitlines()[0]}"
            waits_for(f"The node is starting and waits. {text}")
            if clock.monotonic() - began >= QUIET_SECONDS:
                alarms.begin(REPLICATION_FAILURE, f"Feature services are held back. {text}")
        await asyncio.sleep(LOOK_SECONDS)
    if REPLICATION_FAILURE in alarms.current:
        alarms.end(REPLICATION_FAILURE)
        alarms.note(REPLICATION_INFORMATION, "The database answers.")


def tell(alarms: Alarms, name: str, text: str) -> None:
    """Begin an alarm with a text, or end it when there is none."""
    if text:
        alarms.begin(name, text)
    else:
        alarms.end(name)


def tell_restarts(alarms: Alarms, needed: dict[str, list[str]]) -> None:
    """Say which services must be restarted for settings to take effect."""
    words = [f"{service} ({', '.join(names)})" for service, names in sorted(needed.items())]
    tell(alarms, RESTART_REQUIRED, f"To be restarted: {'; '.join(words)}" if words else "")


def tell_services(alarms: Alarms, failed: dict[str, str]) -> None:
    """Say which services have failed by themselves, with the reasons."""
    words = [f"{service}: {reason}" for service, reason in sorted(failed.items())]
    tell(alarms, SERVICE_FAILED, "; ".join(words))


def tell_peers(alarms: Alarms, missing: Mapping[str, str]) -> None:
    """Say which nodes are not heard of, and what that means for their people: name -> sentences."""
    words = [f"Not heard of: {', '.join(sorted(missing))}.", *(missing[name] for name in sorted(missing))]
    tell(alarms, PEER_FAILURE, " ".join(filter(None, words)) if missing else "")


class Bus:
    """Says why the bus cannot be used, when that is more than a moment."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms
        self._since: float | None = None

    def seen(self, problem: str, now: float) -> None:
        """Take what is wrong with the bus now; empty: nothing."""
        self._since = (now if self._since is None else self._since) if problem else None
        is_lasting = self._since is not None and now - self._since >= BUS_SECONDS
        tell(self._alarms, BUS_FAILURE, problem if is_lasting else "")


class Peers:
    """Says which nodes are not heard of, when that is more than a moment."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms
        self._since: dict[str, float] = {}

    def seen(self, missing: Mapping[str, str], now: float) -> None:
        """Take who is not heard of now: name -> what that means for their people."""
        self._since = {name: self._since.get(name, now) for name in missing}
        gone = [name for name, since in self._since.items() if now - since >= PEER_SECONDS]
        tell_peers(self._alarms, {name: missing[name] for name in gone})


def database_checks(database: Database, replica_url: str, settings: Settings) -> list[Check]:
    """Return what is looked at of the database itself."""

    async def ping() -> str:
        await database.read(replication.ping)
        return ""

    async def schema() -> str:
        return await database.read(replication.schema_problem)

    async def replicated() -> str:
        problem = await database.read(replication.primary_problem)
        if problem or not replica_url:
            return problem
        where, limit = await database.read(replication.position), settings.get(REPLICA_LAG)
        return await asyncio.to_thread(replication.replica_problem, replica_url, where, limit)

    return [
        Check(DATABASE, ping),
        Check(SCHEMA, schema, needs=DATABASE, every=10.0),
        Check(REPLICATION, replicated, is_essential=False, needs=DATABASE, every=10.0),
    ]
