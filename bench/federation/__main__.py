"""`python -m bench.federation`: one node that shares its domain with a Microsoft server, under load.

Prints what subscriptions both ways, changes of presence, messages and a restart cost. The exit code is 1 when
something was refused or lost.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import uvloop

from bench import process
from bench.certificate import make_certificate
from bench.federation.play import Plan, Play, Sampler
from bench.federation.report import Report, render
from bench.federation.server import Federated
from bench.load.login import prepare_keys
from bench.people import DOMAIN, ITERATIONS, SALT, make_population
from bench.process import BenchError
from bench.profile import read_stacks
from bench.profile import render as render_profile
from bench.servers.base import Fixture

_STEPS = ("inbound", "outbound", "presence", "opened", "to_sip", "to_xmpp", "restart")
_SAMPLES = 300
_SPARE_FILES = 200
_OUT = Path(__file__).parent.parent / "out"


class _Options(argparse.Namespace):
    people: int
    contacts: int
    rates: str
    seconds: float
    talks: int
    rounds: int
    profile: str
    skip_restart: bool


def main() -> int:
    """Run, print the table, write bench/out/federation.json."""
    options = _parse(sys.argv[1:])
    process.prepare_generator()
    files = process.raise_descriptor_limit()
    if options.people + _SPARE_FILES > files:
        print(f"bench.federation: only {files} open files are allowed here")
        return 2
    try:
        report = _run(options)
    except BenchError as error:
        _say(f"bench.federation: {error}")
        return 2
    finally:
        process.stop_all()
    _write(report)
    return int(not report.is_whole)


def _parse(arguments: list[str]) -> _Options:
    parser = argparse.ArgumentParser(prog="python -m bench.federation", description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=5000, help="with a session each")
    parser.add_argument("--contacts", type=int, default=4, help="of each, on the Microsoft side")
    parser.add_argument("--rates", default="300,3000", help="restarts: values of federation.restore_rate")
    parser.add_argument("--seconds", type=float, default=6.0, help="of messages, each way")
    parser.add_argument("--talks", type=int, default=400, help="conversations")
    parser.add_argument("--rounds", type=int, default=3, help="changes of presence")
    parser.add_argument("--profile", default="", choices=("", *_STEPS), help="sample this step (py-spy)")
    parser.add_argument("--skip-restart", action="store_true")
    options = parser.parse_args(arguments, namespace=_Options())
    if options.talks > options.people:
        parser.error("--talks: not more than --people")
    return options


def _run(options: _Options) -> Report:
    rates = () if options.skip_restart else tuple(int(rate) for rate in options.rates.split(","))
    plan = Plan(options.contacts, options.people, 100, options.rounds, options.talks, options.seconds, rates)
    prepare_keys(SALT, ITERATIONS)
    with tempfile.TemporaryDirectory(prefix="ubiety-federation-") as name:
        folder = Path(name)
        population = make_population(options.people, 0, 0)
        port = process.free_port()
        server = Federated(Fixture(folder, make_certificate(folder, DOMAIN), population), port, {})
        server.install()
        server.provision()
        server.start()
        process.wait_for_port(server.pid, server.sip_port, server.log)
        _say(f"{server.name} {server.version}: {len(population.loners)} accounts made")
        gc.disable()
        profile = _sampler(server, options.profile, folder)
        play = Play(server, population.loners, port, plan, _say, profile)
        try:
            return uvloop.run(play.play())
        finally:
            server.stop()


def _sampler(server: Federated, wanted: str, folder: Path) -> Sampler:
    """What starts py-spy with the step that is to be sampled, and then prints what it found."""

    def start(step: str) -> Callable[[], Awaitable[None]]:
        if step != wanted:
            return _nothing
        spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
        if spy is None:
            raise BenchError("py-spy is missing: pip install py-spy")
        stacks = folder / "stacks"
        command = [spy, "record", "--pid", str(server.pid), "--format", "raw", "--output", str(stacks)]
        command += ["--rate", str(_SAMPLES), "--nonblocking", "--duration", "unlimited"]
        sampler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        async def end() -> None:
            sampler.send_signal(2)
            sampler.wait(30)
            _say(f"{step}:\n" + render_profile(read_stacks(stacks.read_text()), 45))
            shutil.copy(stacks, _OUT / f"federation-{step}.stacks")

        return end

    return start


async def _nothing() -> None:
    pass


def _write(report: Report) -> None:
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )
    _say("\n" + render(report) + f"\n{machine}")
    if report.refused or report.errors:
        _say(f"refused: {report.refused}; errors and lost sessions: {report.errors}")
    _OUT.mkdir(exist_ok=True)
    (_OUT / "federation.json").write_text(json.dumps({"machine": machine, **asdict(report)}, indent=1))
    (_OUT / "federation.md").write_text(render(report, is_markdown=True) + "\n")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
