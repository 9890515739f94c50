"""`python -m bench.cluster`: a cluster of Ubiety and one of ejabberd full of people; a node is killed."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench import process
from bench.certificate import make_certificate
from bench.cluster.base import Cluster, Ground
from bench.cluster.crowd import Crowd
from bench.cluster.ejabberd import EjabberdCluster
from bench.cluster.generator import Generator
from bench.cluster.measure import Plan, Play
from bench.cluster.report import Report, render
from bench.cluster.ubiety import UbietyCluster
from bench.people import DOMAIN
from bench.process import BenchError

_CLUSTERS: dict[str, type[Cluster]] = {"ubiety": UbietyCluster, "ejabberd": EjabberdCluster}
#: What the acceptance asks for: ejabberd holds less.
_SIZES = {"ubiety": (3, 30_000), "ejabberd": (2, 18_000)}
_CONTACTS = 100
_AT_ONCE = 1000
_QUICK_SESSIONS, _QUICK_CONTACTS = 600, 20
_SPARE_FILES = 1000
_OUT = Path(__file__).parent.parent / "out"


class _Options(argparse.Namespace):
    servers: str
    sessions: int | None
    nodes: int | None
    contacts: int | None
    plain: bool
    spread: bool
    at_once: int
    quick: bool


def main() -> int:
    """Run, print the table, write bench/out/cluster.json; exit code 1 when something was lost."""
    options = _parse(sys.argv[1:])
    process.prepare_generator()
    files = process.raise_descriptor_limit()
    reports = []
    try:
        for name in options.servers.split(","):
            crowd = _crowd(name, options)
            most = -(-crowd.people // (crowd.nodes - 1)) + _SPARE_FILES
            if most > files:
                raise BenchError(f"a node would need {most} open files and may have {files}")
            reports.append(_run(_CLUSTERS[name], crowd, options))
    except BenchError as error:
        _say(f"bench.cluster: {error}")
        return 2
    finally:
        process.stop_all()
    _write(reports)
    return int(not all(report.is_whole for report in reports))


def _parse(arguments: Sequence[str]) -> _Options:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--servers", default=",".join(_CLUSTERS), help="comma list (default: both)")
    parser.add_argument("--sessions", type=int, help="default: 30,000 for Ubiety, 18,000 for ejabberd")
    parser.add_argument("--nodes", type=int, help="default: 3 for Ubiety, 2 for ejabberd")
    parser.add_argument("--contacts", type=int, help=f"contacts of each, even (default {_CONTACTS})")
    parser.add_argument("--plain", action="store_true", help="without TLS")
    parser.add_argument("--spread", action="store_true", help="people sign in anywhere, not at their home")
    parser.add_argument(
        "--at-once",
        type=int,
        default=_AT_ONCE,
        help=f"logins in flight after the death; 0: all of them (default {_AT_ONCE})",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{_QUICK_SESSIONS} sessions with {_QUICK_CONTACTS} contacts: does it work?",
    )
    options = parser.parse_args(arguments, namespace=_Options())
    unknown = set(options.servers.split(",")) - _CLUSTERS.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if options.nodes is not None and options.nodes < 2:
        parser.error("--nodes: at least 2")
    return options


def _crowd(name: str, options: _Options) -> Crowd:
    nodes, sessions = _SIZES[name]
    if options.quick:
        sessions = _QUICK_SESSIONS
    contacts = options.contacts or (_QUICK_CONTACTS if options.quick else _CONTACTS)
    return Crowd(options.sessions or sessions, options.nodes or nodes, contacts, options.spread)


def _plan(crowd: Crowd, options: _Options) -> Plan:
    quick = options.quick
    return Plan(
        warm=crowd.people // (6 if quick else 30),
        idle=1.0 if quick else 30.0,
        rate=100.0 if quick else 200.0,
        chat_seconds=3.0 if quick else 20.0,
        chatters=120 if quick else 400,
        echo_seconds=1.5 if quick else 8.0,
        at_once=64 * crowd.nodes,
        crowd_at_once=options.at_once,
    )


def _run(kind: type[Cluster], crowd: Crowd, options: _Options) -> Report:
    with tempfile.TemporaryDirectory(prefix="ubiety-cluster-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        cluster = kind(Ground(folder, make_certificate(folder, DOMAIN), crowd, tls=not options.plain))
        cluster.install()

        def say(text: str) -> None:
            _say(f"{cluster.name:9} {text}")

        try:
            began = time.monotonic()
            cluster.provision()
            say(f"{crowd.people} people with {crowd.contacts} contacts in {time.monotonic() - began:.1f} s")
            cluster.start()
            say(f"{cluster.version}: {crowd.nodes} nodes are up")
            generator = Generator(cluster)
            try:
                return Play(cluster, generator, _plan(crowd, options), say).play()
            finally:
                generator.close()
        finally:
            cluster.stop()


def _write(reports: Sequence[Report]) -> None:
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )
    _say("\n" + render(reports))
    for report in reports:
        if report.death.errors:
            _say(f"{report.name}: turned away after the death: {report.death.errors}")
    _say(machine + "; " + ", ".join(f"{report.name} {report.version}" for report in reports))
    _OUT.mkdir(exist_ok=True)
    whole = {"machine": machine, "clusters": [asdict(report) for report in reports]}
    (_OUT / "cluster.json").write_text(json.dumps(whole, indent=1))
    (_OUT / "cluster.md").write_text(render(reports, is_markdown=True) + "\n")
    _say(f"written: {_OUT / 'cluster.json'}, {_OUT / 'cluster.md'}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
