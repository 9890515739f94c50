"""`python -m bench.profile`: where a loaded node spends its time, by function (sampled by py-spy)."""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop

from bench import process
from bench.certificate import make_certificate
from bench.load.fleet import Fleet
from bench.load.login import prepare_keys
from bench.meter import Measurement
from bench.people import DOMAIN, ITERATIONS, SALT, Population, make_population
from bench.process import BenchError
from bench.rows.logins import measure_logins
from bench.rows.messages import measure_low_load, measure_saturated
from bench.rows.presence import measure_presence
from bench.rows.subscriptions import measure_subscriptions
from bench.servers.base import Fixture
from bench.servers.ubiety import Ubiety

_RATE = 400
_ROWS = (
    "message_plain",
    "message_tls",
    "message_archive",
    "message_low",
    "presence",
    "login_plain",
    "login_tls",
    "subscription",
)
_SHORT = ("login_plain", "login_tls", "subscription")
"""Loads that last as long as there are people: sampling begins at once."""
_FRAME = re.compile(r"^(?P<function>\S+) \((?P<file>[^:)]+)(?::\d+)?\)$")


@dataclass(frozen=True)
class Profile:
    """Samples by function: where the processor was, and on whose behalf."""

    total: int
    own: Counter[str]
    whole: Counter[str]


def main() -> int:
    """Load a node with one row's load, sample it, print a markdown table."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--row", choices=_ROWS, default="message_plain")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--lines", type=int, default=30, help="length of the table")
    options = parser.parse_args()
    spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if spy is None:
        print("bench.profile: py-spy is missing: pip install py-spy")
        return 2
    process.prepare_generator()
    process.raise_descriptor_limit()
    prepare_keys(SALT, ITERATIONS)
    try:
        measurement, profile = _run(options.row, options.seconds, spy)
    except BenchError as error:
        print(f"bench.profile: {error}")
        return 2
    finally:
        process.stop_all()
    cost = f"{measurement.value * 1e6:.1f} µs per operation, {measurement.operations} operations"
    print(f"{options.row}: {cost}\n")
    print(render(profile, options.lines))
    return 0


def _run(row: str, seconds: float, spy: str) -> tuple[Measurement, Profile]:
    with tempfile.TemporaryDirectory(prefix="ubiety-profile-") as name:
        folder = Path(name)
        population = make_population(3000, 400, 500)
        server = Ubiety(Fixture(folder, make_certificate(folder, DOMAIN), population))
        server.install()
        server.provision()
        server.start(archive=row == "message_archive")
        try:
            return uvloop.run(_measure(server, population, row, seconds, spy, folder / "stacks"))
        finally:
            server.stop()


async def _measure(
    server: Ubiety, population: Population, row: str, seconds: float, spy: str, stacks: Path
) -> tuple[Measurement, Profile]:
    tls = row.endswith("_tls")
    fleet = Fleet(server.tls_port if tls else server.port, tls)
    load = await _prepare(server, population, row, fleet, seconds + 1.5)
    command = [spy, "record", "--pid", str(server.pid), "--format", "raw", "--output", str(stacks)]
    command += ["--rate", str(_RATE), "--duration", str(int(seconds)), "--nonblocking"]
    running = asyncio.ensure_future(load())
    await asyncio.sleep(0.1 if row in _SHORT else 1.5)
    sampler = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    measurement = await running
    _, said = await sampler.communicate()
    if not stacks.exists():
        raise BenchError(f"py-spy wrote nothing: {said.decode()[-300:]}")
    return measurement, read_stacks(stacks.read_text())


async def _prepare(
    server: Ubiety, population: Population, row: str, fleet: Fleet, seconds: float
) -> Callable[[], Awaitable[Measurement]]:
    """Log in who is needed and return the load."""
    if row.startswith("login"):
        return partial(measure_logins, fleet, population.loners, server.cpu, 50)
    if row == "subscription":
        people = population.loners[:2000]
        await fleet.login([person.name for person in people])
        await fleet.settle(server.cpu)
        return partial(measure_subscriptions, fleet, people, server.cpu, len(people) // 2)
    people = population.crowd if row == "presence" else population.office
    await fleet.login([person.name for person in people])
    await fleet.settle(server.cpu)
    if row == "presence":
        return partial(measure_presence, fleet, server.cpu, seconds)
    measure = measure_low_load if row == "message_low" else measure_saturated
    return partial(measure, fleet, people, server.cpu, seconds)


def read_stacks(text: str) -> Profile:
    """Sum up collapsed stacks (`frame;frame;frame count`): each frame's own time and that with callees."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_name(frame) for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    return Profile(sum(own.values()), own, whole)


def _name(frame: str) -> str:
    found = _FRAME.match(frame.strip())
    if found is None:
        return frame.strip()
    file = re.sub(r"^.*/(ubiety|site-packages|python3[^/]*)/", "", found["file"])
    return f"{found['function']} ({file})"


def render(profile: Profile, lines: int) -> str:
    """A markdown table, the costliest functions first."""
    rows = ["| function | own | with callees |", "|---|---:|---:|"]
    for name, own in profile.own.most_common(lines):
        rows.append(f"| `{name}` | {own / profile.total:.1%} | {profile.whole[name] / profile.total:.1%} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
