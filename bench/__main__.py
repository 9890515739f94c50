"""`python -m bench`: the whole comparison, or part of it."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import process
from bench.budgets import BASELINE, OURS, ROW_KEYS
from bench.certificate import make_certificate
from bench.people import DOMAIN, make_population
from bench.process import BenchError
from bench.servers.base import Fixture, Server
from bench.servers.ejabberd import Ejabberd
from bench.servers.prosody import Prosody
from bench.servers.ubiety import Ubiety
from bench.suite import Plan, Results, run_suite
from bench.table import make_lines, render_markdown, render_text

_SERVERS: dict[str, type[Server]] = {"prosody": Prosody, BASELINE: Ejabberd, OURS: Ubiety}
_OFFICE = 400
_CROWD = 500
_OUT = Path(__file__).parent / "out"


def main() -> int:
    """Run, print the table, write bench/out; exit code 1 when a row misses its budget or went wrong."""
    options = _parse(sys.argv[1:])
    process.prepare_generator()
    process.raise_descriptor_limit()
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="ubiety-bench-") as folder:
            servers = _prepare(Path(folder), options.servers, options.plan)
            results = run_suite(servers, options.plan, _say)
    except BenchError as error:
        _say(f"bench: {error}")
        return 2
    finally:
        process.stop_all()
    return _report(results, servers, time.monotonic() - began)


class _Options(argparse.Namespace):
    servers: list[str]
    plan: Plan


def _parse(arguments: Sequence[str]) -> _Options:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rows", default=",".join(ROW_KEYS), help="comma list of: " + " ".join(ROW_KEYS))
    parser.add_argument("--servers", default=",".join(_SERVERS), help="comma list of: " + " ".join(_SERVERS))
    parser.add_argument("--runs", type=int, default=3, help="how often the servers take turns (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one timed row (default 4)")
    parser.add_argument(
        "--idle", type=float, default=40.0, help="seconds before idle memory is read (default 40)"
    )
    parser.add_argument("--limit", type=float, default=1000.0, help="seconds for all runs (default 1000)")
    parser.add_argument("--quick", action="store_true", help="one short run: to see that everything works")
    options = _Options()
    parser.parse_args(arguments, namespace=options)
    rows, servers = options.rows.split(","), str(options.servers).split(",")
    for given, known in ((rows, ROW_KEYS), (servers, tuple(_SERVERS))):
        unknown = set(given) - set(known)
        if unknown:
            parser.error(f"unknown: {', '.join(sorted(unknown))} (known: {', '.join(known)})")
    options.servers = servers
    plan = Plan(frozenset(rows), options.runs, options.seconds, idle=options.idle, limit=options.limit)
    if options.quick:
        plan = Plan(frozenset(rows), 1, 1.5, warm=50, logins=150, pairs=30, sessions=150, idle=3.0)
    options.plan = plan
    return options


def _prepare(folder: Path, names: Sequence[str], plan: Plan) -> list[Server]:
    """Install, provision."""
    folder.chmod(0o755)
    certificate = make_certificate(folder, DOMAIN)
    population = make_population(plan.warm + max(plan.logins, 2 * plan.pairs, plan.sessions), _OFFICE, _CROWD)
    fixture = Fixture(folder, certificate, population)
    servers = [_SERVERS[name](fixture) for name in names]
    for server in servers:
        server.install()
    for server in servers:
        began = time.monotonic()
        server.provision()
        _say(f"{server.name} {server.version}: provisioned in {time.monotonic() - began:.1f} s")
    return servers


def _report(results: Results, servers: Sequence[Server], seconds: float) -> int:
    lines = make_lines(results)
    _say("")
    _say(render_text(lines))
    for error in results.errors:
        _say(f"error: {error}")
    versions = {server.name: server.version for server in servers}
    machine = (
        f"{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )
    _say(
        f"{seconds:.0f} s; {machine}; " + ", ".join(f"{name} {version}" for name, version in versions.items())
    )
    _OUT.mkdir(exist_ok=True)
    samples = {
        row: {name: [m.as_json() for m in measured] for name, measured in by_server.items()}
        for row, by_server in results.samples.items()
    }
    whole = {"seconds": seconds, "machine": machine, "versions": versions, "errors": results.errors}
    (_OUT / "latest.json").write_text(json.dumps({**whole, "samples": samples}, indent=1))
    (_OUT / "latest.md").write_text(render_markdown(lines) + "\n")
    _say(f"written: {_OUT / 'latest.json'}, {_OUT / 'latest.md'}")
    return int(bool(results.errors) or any(line.verdict == "FAIL" for line in lines))


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
