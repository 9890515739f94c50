"""A real node process for tests, and the fixtures that hand it out (a pytest plugin of `tests`)."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.harness.client import Place
from tests.nursery import Child, nursery

HOST = "127.0.0.1"
DOMAIN = "example.org"
PASSWORD = "secret"
_BATCH = 40


class NodeError(Exception):
    """The node or its command line did not do what the test needs; the text holds its own words."""


class Node:
    """One `ubiety serve` process with a data directory of its own."""

    def __init__(
        self,
        data: Path,
        domain: str = DOMAIN,
        database_url: str | None = None,
        environment: Mapping[str, str] | None = None,
        host: str = HOST,
        network: str = "",
    ) -> None:
        self.data = data
        self.domain = domain
        self.host = host
        self._network = network  # the network namespace in which the process runs, if not in that of the test
        self.options: list[str] = []
        """Further options of `ubiety serve`."""
        self.ports: dict[str, int] = {}
        self.process: Child | None = None
        self.log = data.parent / f"{data.name}.log"
        self._environment = {
            **os.environ,
            "UBIETY_DATA": str(data),
            "UBIETY_LISTEN": host,
            "UBIETY_C2S_PORT": "0",
            "UBIETY_C2S_TLS_PORT": "0",
            "UBIETY_API_PORT": "0",
            **({"UBIETY_DATABASE_URL": database_url} if database_url else {}),
            **(environment or {}),
        }
        self._pool: list[str] = []
        self._numbers = itertools.count(1)

    @property
    def place(self) -> Place:
        """Where clients connect."""
        return Place(self.host, self.ports["c2s"], self.ports["c2s_tls"], self.domain)

    @property
    def pid(self) -> int:
        """Process id of the running node; AssertionError when it does not run."""
        assert self.process is not None, "the node is not running"
        return self.process.pid

    def start(self, seconds: float = 60.0) -> None:
        """Start the process and wait until it listens; raises NodeError with its log when it does not."""
        (self.data / "run" / "ports.json").unlink(missing_ok=True)
        self.process = self._launch()
        deadline = time.monotonic() + seconds
        while not self._is_ready():
            if self.process.poll() is not None:
                raise NodeError(f"the node ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise NodeError(f"the node does not listen after {seconds} s:\n{self.tail()}")
            time.sleep(0.05)

    def _launch(self) -> Child:
        command = ["serve", "--data", str(self.data), "--domain", self.domain, *self.options]
        with self.log.open("ab") as log, open(os.devnull, "rb") as nothing:
            return nursery().start(command, self._environment, nothing, log, log, self._network)

    def kill(self) -> None:
        """End the process with SIGKILL, as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the process as an administrator does (SIGTERM), or kill it when it lingers."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Start again on the same ports with the same data (after `kill` or `stop`)."""
        for name, port in self.ports.items():
            self._environment[f"UBIETY_{name.upper()}_PORT"] = str(port)
        self.start()

    def command(self, *arguments: str, given: str | None = None) -> str:
        """Run a `ubiety` command against this node; returns what it prints, raises NodeError."""
        done = self.try_command(*arguments, given=given)
        if done.returncode:
            raise NodeError(f"ubiety {' '.join(arguments)}: {done.stdout}{done.stderr}\n{self.tail()}")
        return done.stdout

    def try_command(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a `ubiety` command against this node; returns how it ended."""
        return nursery().run(arguments, self._environment, given)

    def add_users(self, *names: str, password: str = PASSWORD) -> None:
        """Make accounts by one import of a CSV file."""
        text = io.StringIO()
        rows = csv.writer(text)
        rows.writerow(("userid", "name", "password"))
        rows.writerows((name, name.title(), password) for name in names)
        file = self.data.parent / f"{self.data.name}-users.csv"
        file.write_text(text.getvalue(), "utf-8")
        self.command("user", "import", str(file))

    def take_users(self, count: int) -> list[str]:
        """Return names of accounts that no other test has used; they are made in batches."""
        if len(self._pool) < count:
            fresh = [f"person{next(self._numbers)}" for _ in range(max(count, _BATCH))]
            self.add_users(*fresh)
            self._pool += fresh
        return [self._pool.pop(0) for _ in range(count)]

    def set_setting(self, name: str, value: str) -> None:
        """Change a setting of the running node."""
        self.command("setting", "set", name, value)

    def tail(self, lines: int = 60) -> str:
        """Return the last lines that the node has written."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def _is_ready(self) -> bool:
        file = self.data / "run" / "ports.json"
        try:
            ports = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            return False
        self.ports = {name: port for name, port in ports.items() if isinstance(port, int)}
        return all(_is_open(self.host, port) for port in self.ports.values())

    def _end(self, sign: signal.Signals) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(sign)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=20)
        self.process = None


def _is_open(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


class NodeFactory:
    """Makes nodes below one directory and stops what it made."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.made: list[Node] = []

    def __call__(
        self,
        database_url: str | None = None,
        environment: Mapping[str, str] | None = None,
        data: Path | None = None,
    ) -> Node:
        """Return a started node."""
        node = Node(
            data or self._directory / f"node{len(self.made) + 1}",
            database_url=database_url,
            environment=environment,
        )
        self.made.append(node)
        node.start()
        return node

    def close(self) -> None:
        """Stop every node that was made."""
        for node in self.made:
            node.stop()


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[NodeFactory]:
    """A factory of nodes that end with the test."""
    factory = NodeFactory(tmp_path)
    yield factory
    factory.close()


@pytest.fixture
def node(start_node: NodeFactory) -> Node:
    """A node of the test's own, on SQLite."""
    return start_node()


@pytest.fixture(scope="session")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all tests that leave only accounts behind. People are asked who may see them."""
    factory = NodeFactory(tmp_path_factory.mktemp("shared"))
    node = factory()
    node.set_setting("presence.auto_authorize", "false")
    yield node
    factory.close()


@pytest.fixture
def people(shared_node: Node) -> Callable[[int], Sequence[str]]:
    """Hand out fresh accounts of the shared node: `alice, bob = people(2)`."""
    return shared_node.take_users


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # a generator that returns the report
    """Show the end of the node's log beside a failure."""
    report = yield
    funcargs = getattr(item, "funcargs", {})
    if report is not None and report.failed:
        for name in ("shared_node", "node", "start_node"):
            for node in _nodes(funcargs.get(name)):
                report.sections.append((f"log of {node.data.name} ({name})", node.tail()))
    return report


def _nodes(fixture: object) -> list[Node]:
    if isinstance(fixture, NodeFactory):
        return fixture.made
    return [fixture] if isinstance(fixture, Node) else []
