"""The order of play: memory, side by side; then servers in turn, each through all its rows, repeated."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import uvloop

from bench.budgets import ROW_KEYS
from bench.load.fleet import Fleet
from bench.load.login import LoginError, prepare_keys
from bench.meter import Measurement
from bench.people import ITERATIONS, SALT, Population
from bench.process import BenchError
from bench.rows.logins import measure_logins
from bench.rows.memory import Case, measure_memory
from bench.rows.messages import measure_low_load, measure_saturated
from bench.rows.presence import measure_presence
from bench.rows.subscriptions import measure_subscriptions
from bench.servers.base import Server


@dataclass(frozen=True)
class Plan:
    """How much to do."""

    rows: frozenset[str]
    runs: int = 3
    seconds: float = 4.0
    warm: int = 100
    logins: int = 900
    pairs: int = 500
    sessions: int = 1000
    idle: float = 40.0
    limit: float = 1000.0
    """Seconds after which no further run is begun that would not end in time."""


@dataclass
class Results:
    """Measurements by row and server, one per run, and what went wrong."""

    samples: dict[str, dict[str, list[Measurement]]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def add(self, row: str, server: str, measurement: Measurement) -> None:
        """Keep one measurement."""
        self.samples.setdefault(row, {}).setdefault(server, []).append(measurement)


class Turn:
    """One server's part of one run."""

    def __init__(self, server: Server, plan: Plan, results: Results, say: Callable[[str], None]) -> None:
        self._server = server
        self._plan = plan
        self._results = results
        self._say = say
        self._people: Population = server.fixture.population

    def play(self) -> None:
        """Start the server as often as the rows need, and measure them."""
        for archive, rows, play in (
            (False, _PLAIN_ROWS, self._play_plain),
            (True, {"message_archive"}, self._play_archive),
        ):
            if not rows & self._plan.rows:
                continue
            self._server.start(archive)
            try:
                uvloop.run(play())
            finally:
                self._server.stop()

    async def _play_plain(self) -> None:
        await self._play_office()
        await self._play_loners(tls=False, login_row="login_plain")
        await self._play_loners(tls=True, login_row="login_tls")
        await self._play_office_tls()
        if self._wants("presence"):
            fleet = Fleet(self._server.port, tls=False)
            await fleet.login([person.name for person in self._people.crowd])
            await fleet.settle(self._server.cpu, 120)
            await self._row("presence", lambda: measure_presence(fleet, self._server.cpu, self._plan.seconds))
            # The server is stopped with these sessions open: their log-outs would take longer than the row.

    async def _play_office(self) -> None:
        if not self._wants("login_contacts", "message_plain", "message_low"):
            return
        server, seconds, people = self._server, self._plan.seconds, self._people.office
        fleet = Fleet(server.port, tls=False)
        await self._row("login_contacts", lambda: measure_logins(fleet, people, server.cpu, self._plan.warm))
        if self._wants("message_plain"):
            await self._row("message_plain", lambda: measure_saturated(fleet, people, server.cpu, seconds))
        if self._wants("message_low"):
            await self._row("message_low", lambda: measure_low_load(fleet, people, server.cpu, seconds))
        await self._leave(fleet)

    async def _play_loners(self, tls: bool, login_row: str) -> None:
        wants_pairs = not tls and self._wants("subscription")
        if not self._wants(login_row) and not wants_pairs:
            return
        server = self._server
        fleet = Fleet(server.tls_port if tls else server.port, tls)
        people = self._people.loners[: self._plan.warm + self._plan.logins]
        await self._row(login_row, lambda: measure_logins(fleet, people, server.cpu, self._plan.warm))
        if wants_pairs:
            pairs = self._plan.pairs
            await self._row("subscription", lambda: measure_subscriptions(fleet, people, server.cpu, pairs))
        await self._leave(fleet)

    async def _play_office_tls(self) -> None:
        if self._wants("message_tls"):
            await self._play_messages("message_tls", tls=True, seconds=self._plan.seconds)

    async def _play_archive(self) -> None:
        await self._play_messages("message_archive", tls=False, seconds=self._plan.seconds)

    async def _play_messages(self, row: str, tls: bool, seconds: float) -> None:
        server, people = self._server, self._people.office
        fleet = Fleet(server.tls_port if tls else server.port, tls)
        await fleet.login([person.name for person in people])
        await fleet.settle(server.cpu)
        await self._row(row, lambda: measure_saturated(fleet, people, server.cpu, seconds))
        await self._leave(fleet)

    async def _leave(self, fleet: Fleet) -> None:
        if fleet.lost:
            self._results.errors.append(
                f"{self._server.name}: {fleet.lost} sessions were closed by the server"
            )
        await fleet.close()
        await fleet.settle(self._server.cpu)

    def _wants(self, *rows: str) -> bool:
        return not self._plan.rows.isdisjoint(rows)

    async def _row(self, row: str, measure: Callable[[], Awaitable[Measurement]]) -> None:
        gc.collect()
        gc.disable()
        try:
            measurement = await measure()
        except BenchError as error:
            _note(self._results, self._say, f"{self._server.name}, {row}: {error}")
            return
        finally:
            gc.enable()
        self._results.add(row, self._server.name, measurement)
        self._say(f"  {self._server.name:9} {row:16} {describe(measurement)}")


_MEMORY_ROWS = {"memory_plain": False, "memory_tls": True}
_PLAIN_ROWS = frozenset(ROW_KEYS) - _MEMORY_ROWS.keys() - {"message_archive"}
_FAILURES = (BenchError, LoginError, OSError, TimeoutError)


def describe(measurement: Measurement) -> str:
    """One line of progress."""
    notes = " ".join(f"{name}={value:g}" for name, value in measurement.notes.items() if value)
    return (
        f"{measurement.value * 1e6:10.1f} µs  n={measurement.operations:<7} "
        f"server {measurement.server_share:4.0%}  generator {measurement.generator_share:4.0%}  {notes}"
    )


def run_suite(servers: Sequence[Server], plan: Plan, say: Callable[[str], None]) -> Results:
    """All rows of all servers; what fails is noted and left out, the rest goes on."""
    prepare_keys(SALT, ITERATIONS)
    results = Results()
    began = time.monotonic()
    if plan.rows & _MEMORY_ROWS.keys():
        say("memory, side by side")
        _run_memory(servers, plan, results, say)
    if not plan.rows - _MEMORY_ROWS.keys():
        return results
    longest = 0.0
    for number in range(plan.runs):
        run_began = time.monotonic()
        if run_began - began + longest > plan.limit:
            say(f"only {number} of {plan.runs} runs: another would pass the limit of {plan.limit:.0f} s")
            break
        say(f"run {number + 1} of {plan.runs}")
        for server in servers:
            try:
                Turn(server, plan, results, say).play()
            except _FAILURES as error:
                _note(results, say, f"{server.name}, run {number + 1}: {_words(error)}")
        longest = max(longest, time.monotonic() - run_began)
    return results


def _run_memory(servers: Sequence[Server], plan: Plan, results: Results, say: Callable[[str], None]) -> None:
    cases = [
        Case(row, server.sibling() if tls else server, tls)
        for row, tls in _MEMORY_ROWS.items()
        for server in servers
        if row in plan.rows
    ]
    cases = [case for case in cases if _starts(case.server, results, say)]
    people = servers[0].fixture.population.loners[: plan.warm + plan.sessions]
    try:
        measured = uvloop.run(measure_memory(cases, people, plan.warm, plan.idle))
        for case, measurement in zip(cases, measured, strict=True):
            results.add(case.row, case.server.name, measurement)
            size = f"{measurement.value / 1024:10.1f} kB  n={measurement.operations}"
            say(f"  {case.server.name:9} {case.row:16} {size}")
    except _FAILURES as error:
        _note(results, say, f"memory: {_words(error)}")
    finally:
        for case in cases:
            case.server.stop()


def _starts(server: Server, results: Results, say: Callable[[str], None]) -> bool:
    try:
        server.start()
    except _FAILURES as error:
        server.stop()
        _note(results, say, f"{server.name}: {_words(error)}")
        return False
    return True


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _note(results: Results, say: Callable[[str], None], text: str) -> None:
    results.errors.append(text)
    say(f"  FAILED {text}")
