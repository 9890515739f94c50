"""`python -m bench.idle`: thousands of idle TLS sessions on one node, and messages among them.

Prints logins per second, resident memory per session, and how long a message takes from one session to
another while all the others are connected. The exit code is 1 when a session is lost or when the 99th
percentile reaches 50 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from types import MappingProxyType

import uvloop

from bench import process
from bench.certificate import make_certificate
from bench.load.fleet import Fleet, Receiver
from bench.load.login import prepare_keys
from bench.meter import Meter
from bench.people import DOMAIN, ITERATIONS, SALT, Person, make_population
from bench.process import BenchError
from bench.servers.base import Fixture
from bench.servers.ubiety import Ubiety

_WARM = 100
_PER_ADDRESS = 100
_LIMIT_SECONDS = 0.050
_PING = re.compile(rb"<iq\b[^>]*?\sid=['\"]([^'\"]+)['\"][^>]*>\s*<ping\b")
_SENT_AT = re.compile(rb"<body>([0-9.]+)</body>")
_OUT = Path(__file__).parent / "out"


class DefaultUbiety(Ubiety):
    """A node as it comes: with its rate limits, its archive, and TLS required."""

    settings: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True)
class Report:
    """What was seen; seconds and bytes."""

    sessions: int
    lost: int
    logins_per_second: float
    cpu_per_login: float
    resident_per_session: float
    resident_total: int
    idle_share: float
    messages: int
    undelivered: int
    p50: float
    p99: float
    slowest: float


class Idler(Receiver):
    """Answers the server's pings (XEP-0199) and notes how long messages took."""

    def __init__(self, transport: asyncio.Transport, fleet: Fleet, delays: list[float]) -> None:
        super().__init__(transport, fleet)
        self.delays = delays

    def data_received(self, data: bytes) -> None:
        """Few bytes ever come, all in one piece."""
        now = time.perf_counter()
        self.fleet.received += len(data)
        for sent in _SENT_AT.findall(data):
            self.delays.append(now - float(sent))
        for number in _PING.findall(data):
            self.transport.write(b"<iq type='result' id='%b'/>" % number)


def main() -> int:
    """Start a node, fill it, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=15_000)
    parser.add_argument("--idle", type=float, default=45.0, help="seconds of rest before memory is read")
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--rate", type=int, default=200, help="messages a second among the sessions")
    options = parser.parse_args()
    process.prepare_generator()
    limit = process.raise_descriptor_limit()
    if options.sessions + 200 > limit:
        print(f"bench.idle: only {limit} open files are allowed here; try --sessions {limit - 500}")
        return 2
    try:
        report = _run(options.sessions, options.idle, options.messages, options.rate)
    except BenchError as error:
        print(f"bench.idle: {error}")
        return 2
    finally:
        process.stop_all()
    print(render(report))
    _OUT.mkdir(exist_ok=True)
    (_OUT / "idle.json").write_text(json.dumps(asdict(report), indent=1))
    return int(report.lost > 0 or report.undelivered > 0 or report.p99 >= _LIMIT_SECONDS)


def _run(sessions: int, idle: float, messages: int, rate: int) -> Report:
    prepare_keys(SALT, ITERATIONS)
    with tempfile.TemporaryDirectory(prefix="ubiety-idle-") as name:
        folder = Path(name)
        population = make_population(_WARM + sessions, 0, 0)
        server = DefaultUbiety(Fixture(folder, make_certificate(folder, DOMAIN), population))
        server.install()
        server.provision()
        print(f"{server.name} {server.version}: {sessions} accounts made", flush=True)
        server.start(archive=True)
        try:
            return uvloop.run(_measure(server, population.loners, idle, messages, rate))
        finally:
            server.stop()


async def _measure(server: Ubiety, people: Sequence[Person], idle: float, messages: int, rate: int) -> Report:
    names = [person.name for person in people]
    fleet, delays = Fleet(server.tls_port, tls=True), list[float]()
    await _fill(fleet, names[:_WARM], delays)
    await fleet.settle(server.cpu)
    gc.disable()
    resident, meter = server.resident(), Meter(server.cpu)
    await _fill(fleet, names[_WARM:], delays)
    logins = meter.read(len(names) - _WARM)
    print(f"{len(names)} sessions in {logins.seconds:.1f} s", flush=True)
    await asyncio.sleep(idle / 2)
    rest = Meter(server.cpu)
    await asyncio.sleep(idle / 2)
    share, grown = rest.read(1).server_share, server.resident() - resident
    await _chat(fleet, names, messages, rate)
    cuts = quantiles(delays, n=100)
    return Report(
        sessions=len(names),
        lost=fleet.lost,
        logins_per_second=logins.operations / logins.seconds,
        cpu_per_login=logins.value,
        resident_per_session=grown / logins.operations,
        resident_total=server.resident(),
        idle_share=share,
        messages=messages,
        undelivered=messages - len(delays),
        p50=cuts[49],
        p99=cuts[98],
        slowest=max(delays),
    )


async def _fill(fleet: Fleet, names: Sequence[str], delays: list[float]) -> None:
    """Log in, a thousand at a time, so that each soon answers pings."""
    for first in range(0, len(names), 1000):
        known = len(fleet.receivers)
        await fleet.login(names[first : first + 1000], source=_source)
        for i in range(known, len(fleet.receivers)):
            transport = fleet.receivers[i].transport
            fleet.receivers[i] = Idler(transport, fleet, delays)
            transport.set_protocol(fleet.receivers[i])


async def _chat(fleet: Fleet, names: Sequence[str], messages: int, rate: int) -> None:
    """Messages between people picked at random, evenly spread over time."""
    loop, chance = asyncio.get_running_loop(), random.Random(1)
    start = loop.time()
    for number in range(messages):
        await asyncio.sleep(max(0.0, start + number / rate - loop.time()))
        sender, recipient = chance.sample(range(len(names)), 2)
        head = f"<message type='chat' to='{names[recipient]}@{DOMAIN}' id='i{number}'>"
        body = f"<body>{time.perf_counter():.6f}</body></message>"
        fleet.receivers[sender].transport.write((head + body).encode())
    await asyncio.sleep(2)


def _source(i: int) -> str:
    """Addresses out of 127.0.0.0/8, `_PER_ADDRESS` sessions from each."""
    number = i // _PER_ADDRESS
    return f"127.1.{number // 250}.{number % 250 + 1}"


def render(report: Report) -> str:
    """The report as lines of text."""
    return "\n".join(
        (
            f"sessions                 {report.sessions:,} TLS, {report.lost} lost",
            f"logins                   {report.logins_per_second:,.0f} per second, "
            f"{report.cpu_per_login * 1e3:.2f} ms of CPU each",
            f"resident memory          {report.resident_per_session / 1024:.1f} kB per session, "
            f"{report.resident_total / 2**20:,.0f} MiB in all",
            f"CPU when idle            {report.idle_share:.1%} of a core",
            f"messages among them      {report.messages:,}, {report.undelivered} undelivered",
            f"time to the recipient    p50 {report.p50 * 1e3:.2f} ms, p99 {report.p99 * 1e3:.2f} ms, "
            f"slowest {report.slowest * 1e3:.1f} ms",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
