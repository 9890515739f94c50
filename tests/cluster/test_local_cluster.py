"""`ubiety cluster up|status|down` with real processes: PostgreSQL, NATS, two nodes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.client import Client, Place
from tests.nursery import nursery

DOMAIN = "example.org"


class LocalCluster:
    """The supervisor's process and the commands that speak about it."""

    def __init__(self, data: Path, nodes: int) -> None:
        self.data = data
        self.log = data.with_suffix(".log")
        command = [sys.executable, "-m", "ubiety.cli.main", "cluster", "up", "--data", str(data)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--nodes", str(nodes), "--port-base", "0"], stdout=log, stderr=log
            )

    def command(self, *arguments: str, status: int = 0) -> str:
        """Run `ubiety cluster ...`; returns what it prints."""
        done = nursery().run(["cluster", *arguments, "--data", str(self.data)], os.environ, seconds=60)
        assert done.returncode == status, f"{done.stdout}{done.stderr}\n{self.log.read_text()}"
        return done.stdout

    def state(self) -> dict[str, Any]:
        """What `status --json` says."""
        found: dict[str, Any] = json.loads(self.command("status", "--json"))
        return found

    def part(self, name: str) -> dict[str, Any]:
        """One row of it."""
        return next(part for part in self.state()["parts"] if part["name"] == name)

    def wait_up(self, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until all of it runs."""
        deadline = time.monotonic() + seconds
        file = self.data / "run" / "cluster.json"
        while not (file.exists() and json.loads(file.read_text())["is_up"]):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)
        return self.state()

    def wait_part(self, name: str, other_than: int, seconds: float = 30.0) -> dict[str, Any]:
        """Wait until a part runs in another process than before."""
        deadline = time.monotonic() + seconds
        while True:
            part = self.part(name)
            if part["state"] == "running" and part["process"] not in (None, other_than):
                return part
            assert time.monotonic() < deadline, part
            time.sleep(0.2)


@pytest.fixture
def nodes() -> int:
    """How many nodes the cluster gets."""
    return 2


@pytest.fixture
def cluster(nodes: int) -> Iterator[LocalCluster]:
    # Not below pytest's temporary directory: PostgreSQL does not run as root, and could not enter that one.
    directory = Path(tempfile.mkdtemp(prefix="ubiety-cluster-"))
    directory.chmod(0o755)
    made = LocalCluster(directory / "cluster", nodes=nodes)
    yield made
    if made.process.poll() is None:
        made.process.terminate()
        made.process.wait(60)
    shutil.rmtree(directory, ignore_errors=True)


async def test_a_cluster_starts_serves_heals_and_stops(cluster: LocalCluster) -> None:
    state = cluster.wait_up()
    names = [part["name"] for part in state["parts"]]
    assert names == ["postgresql", "nats", "node1", "node2"]
    shown = cluster.command("status")
    assert all(name in shown for name in names)

    for number, person in ((1, "ada"), (2, "grace")):
        ports = {kind: state["ports"][f"node{number} {kind}"] for kind in ("c2s", "c2s_tls")}
        client = Client(Place("127.0.0.1", ports["c2s"], ports["c2s_tls"], DOMAIN), person, state["password"])
        await client.login()
        client.wire.abort()

    _server_processes_are_not_root(state)
    before = {part["name"]: part["process"] for part in cluster.state()["parts"]}
    frozen = time.monotonic()
    os.kill(before["node1"], signal.SIGSTOP)
    for name in ("node2", "nats"):
        os.kill(before[name], signal.SIGKILL)
    for name in ("nats", "node2"):
        assert cluster.wait_part(name, before[name])["restarts"] == 1
    cluster.wait_part("node1", before["node1"])
    assert time.monotonic() - frozen > 9, "a node that hangs was killed too early"
    assert cluster.part("postgresql")["process"] == before["postgresql"]

    processes = [part["process"] for part in cluster.state()["parts"]]
    cluster.command("down")
    assert cluster.process.wait(30) == 0
    assert not [process for process in processes if _is_alive(process)]
    cluster.command("status", status=3)


@pytest.mark.parametrize("nodes", [1])
def test_nothing_outlives_the_supervisor(cluster: LocalCluster) -> None:
    state = cluster.wait_up()
    processes = [part["process"] for part in cluster.state()["parts"]]
    cluster.process.kill()
    cluster.process.wait(10)
    deadline = time.monotonic() + 20
    while any(_is_alive(process) for process in processes):
        assert time.monotonic() < deadline, state
        time.sleep(0.1)


def _server_processes_are_not_root(state: dict[str, Any]) -> None:
    for part in state["parts"][:2]:
        status = Path(f"/proc/{part['process']}/status").read_text()
        owner = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1]
        assert owner != "0", part


def _is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # nobody waits for orphans in a container without an init
