"""ejabberd from Debian as a cluster on Mnesia: Erlang nodes on loopback with an epmd of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import process
from bench.cluster.base import Cluster, Ground
from bench.people import DOMAIN, Population
from bench.process import BenchError
from bench.servers.base import Fixture
from bench.servers.ejabberd import Ejabberd, secret_term

_MODULE = Path(__file__).with_name("crowd.erl")
_COOKIE = "bench"
_NOBODY = Population((), (), (), ())
_JOIN_SECONDS = 900.0
_LOAD_SECONDS = 180.0
_FILL = (
    "{ok, _} = application:ensure_all_started(ejabberd),"
    ' {ok, crowd, Code} = compile:file("%(module)s", [binary]),'
    ' {module, crowd} = code:load_binary(crowd, "%(module)s", Code),'
    ' ok = crowd:fill(<<"%(domain)s">>, %(people)d, %(steps)s, %(secret)s),'
    ' io:format("FILLED~n"), ejabberd:stop(), init:stop().'
)
_HOLD = (
    "{atomic, ok} = rpc:call('%(name)s', mnesia, change_table_copy_type, [roster, '%(name)s', disc_copies]),"
    ' io:format("HELD~n"), halt().'
)


class EjabberdNode(Ejabberd):
    """One node of the cluster, with a Mnesia directory of its own."""

    def __init__(self, fixture: Fixture, number: int, epmd: int) -> None:
        super().__init__(fixture, f"node{number}")
        self.erlang_name = f"ejabberd{number}@127.0.0.1"
        self._epmd = epmd

    def command(self, spool: Path, extra: Sequence[str]) -> list[str]:
        """With a name and a cookie, on loopback only."""
        return super().command(spool, [*distribution(self.erlang_name), *extra])

    def environment(self) -> dict[str, str]:
        """With the epmd of this cluster."""
        return {**super().environment(), "ERL_EPMD_PORT": str(self._epmd)}

    def fill(self, people: int, steps: Sequence[int]) -> None:
        """Make the tables and write everybody into them."""
        # Erlang's lists of numbers are written as JSON's.
        words = {"module": _MODULE, "domain": DOMAIN, "people": people, "steps": json.dumps(list(steps))}
        script = _FILL % {**words, "secret": secret_term()}
        self.configure(archive=False)
        # Its log of changes would be dumped hundreds of times.
        command = self.command(self.data, ["-mnesia", "dump_log_write_threshold", "100000", "-eval", script])
        done = self._run(command)
        if "FILLED" not in done.stdout:
            raise BenchError(f"ejabberd did not take the people: {done.stdout[-2000:]}{done.stderr[-1000:]}")

    def is_started(self) -> bool:
        """Whether it is ready; it listens a moment before that."""
        return self._ask("status").returncode == 0

    def join(self, other: EjabberdNode) -> None:
        """Copy all tables from another node. Raises BenchError."""
        done = self._ask("join_cluster", other.erlang_name)
        if done.returncode:
            raise BenchError(f"{self.erlang_name} did not join: {done.stdout[-1000:]}{done.stderr[-1000:]}")

    def hold_rosters(self) -> None:
        """Keep contact lists in memory, and on disk.

        As ejabberd makes their table at each start, on disk alone, one process reads it for every presence
        while half of the machine idles: 12 people a second signed in, and ever fewer. Raises BenchError.
        """
        script = _HOLD % {"name": self.erlang_name}
        done = self._run([*_control("hold"), "-eval", script])
        if "HELD" not in done.stdout:
            raise BenchError(f"{self.erlang_name} did not take: {done.stdout[-1000:]}{done.stderr[-1000:]}")

    def count_nodes(self) -> int:
        """How many nodes it sees, itself among them."""
        return len(self._ask("list_cluster").stdout.split())

    def _ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Do what `ejabberdctl` does."""
        words = ("-s", "ejabberd_ctl", "-extra", self.erlang_name, "--no-timeout", *words)
        return self._run([*_control("ctl"), *words])

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=_JOIN_SECONDS,
            check=False,
        )


class EjabberdCluster(Cluster):
    """Nodes with Debian's default modules; all tables are copied to each, as `join_cluster` does."""

    name = "ejabberd"

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self._epmd = process.free_port()
        fixture = Fixture(ground.folder, ground.certificate, _NOBODY)
        self._servers = [EjabberdNode(fixture, i + 1, self._epmd) for i in range(ground.crowd.nodes)]

    def install(self) -> None:
        """Install the package `ejabberd`."""
        self._servers[0].install()
        self.version = self._servers[0].version

    def provision(self) -> None:
        """Write everybody into the first node's directory; the others will copy it."""
        epmd = shutil.which("epmd") or "epmd"
        log = self.ground.folder / "epmd.log"
        self.add("epmd", process.spawn([epmd, "-address", "127.0.0.1", "-port", str(self._epmd)], log))
        process.wait_for_port(self.parts[0].pid, self._epmd, log)
        crowd = self.ground.crowd
        self._servers[0].fill(crowd.people, crowd.steps)

    def start(self) -> None:
        """Start the nodes; each but the first joins the first."""
        first = self._servers[0]
        for number, server in enumerate(self._servers, 1):
            server.configure(archive=False)
            server.pid = server.launch()
            self.add(f"node{number}", server.pid, is_node=True)
            # Its tables are loaded before it listens. Who is told to join before it is ready hangs for ever.
            process.wait_for_port(server.pid, server.tls_port, server.log, _LOAD_SECONDS)
            _wait(server.is_started, f"{server.erlang_name} does not start")
            if server is not first:
                server.join(first)
        _wait(lambda: first.count_nodes() == len(self._servers), "the nodes do not find each other")
        for server in self._servers:
            _wait(server.is_started, f"{server.erlang_name} does not start again")
            process.wait_for_port(server.pid, server.tls_port, server.log)
            server.hold_rosters()

    @property
    def ports(self) -> list[int]:
        """Of direct TLS, or the plain ones."""
        return [server.tls_port if self.ground.tls else server.port for server in self._servers]


def distribution(erlang_name: str) -> list[str]:
    """Flags that make an Erlang machine a node on loopback."""
    interface = ["-kernel", "inet_dist_use_interface", "{127,0,0,1}"]
    return ["-name", erlang_name, "-setcookie", _COOKIE, *interface]


def _control(name: str) -> list[str]:
    """An Erlang machine that only talks to a node."""
    erl = shutil.which("erl") or "erl"
    return [erl, *distribution(f"{name}-{os.getpid()}@127.0.0.1"), "-hidden", "-noinput"]


def _wait(condition: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            raise BenchError(otherwise)
        time.sleep(0.2)
