"""A cluster for tests: machines in a lab, PostgreSQL and NATS on the bridge, real node processes."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import Connection

from tests.cluster.lab import Lab, Machine
from tests.harness.client import Place
from tests.nats import Nats
from tests.node import DOMAIN, PASSWORD, Node
from tests.postgres import Postgres
from tests.postgres import running as running_postgres
from ubiety.directory.passwords import dump_keys, hash_password
from ubiety.store import addresses, domains, nodes, roster, settings, users
from ubiety.store.database import Database

#: A crowd comes from one address here, and the tests look at the cluster's own pace.
SETTINGS: Mapping[str, object] = {
    "c2s.tls_required": False,
    "c2s.connections_per_address": 100_000,
    "c2s.negotiating_per_address": 100_000,
}
ITERATIONS = 4096
SALT = b"a salt for tests"


class ClusterNode(Node):
    """A node on a machine of its own."""

    def __init__(self, data: Path, machine: Machine, environment: Mapping[str, str]) -> None:
        super().__init__(data, environment=environment, host=machine.address, network=machine.name)
        self.machine = machine
        self.deaths: list[float] = []
        """When the process was killed: seconds since 1970."""

    def kill(self) -> None:
        """End the process with SIGKILL."""
        super().kill()
        self.deaths.append(time.time())

    def freeze(self) -> None:
        """Stop the process as a machine that hangs does."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def events(self, *names: str) -> list[dict[str, object]]:
        """Return the events with these names from the structured logs, oldest first."""
        found = []
        for file in sorted((self.data / "logs").glob("ubiety.log*"), reverse=True):
            for line in file.read_text("utf-8", "replace").splitlines():
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    if entry.get("event") in names:
                        found.append(entry)
        return found


class Rig:
    """The parts of one cluster, to be stopped, cut and started one by one."""

    def __init__(self, directory: Path, lab: Lab, postgres: Postgres, nats: Nats) -> None:
        self.directory = directory
        self.lab = lab
        self.postgres = postgres
        self.nats = nats
        self.nodes: list[ClusterNode] = []
        local = postgres.make_database()
        self.local_url = local
        self.url = local.replace("127.0.0.1", lab.address)

    def provision(self, people: Sequence[str], node_count: int, contacts: int = 0) -> None:
        """Write nodes, people (spread evenly) and contact lists into the database, before nodes start."""
        database = Database(self.local_url)
        try:
            database.migrate()
            database.write_now(_write_settings)
            database.write_now(_write_nodes, node_count)
            database.write_now(_write_people, people, node_count, contacts)
        finally:
            database.close()

    def start_nodes(self, count: int, delays: Mapping[int, float] = MappingProxyType({})) -> None:
        """Start the nodes on machines of their own, some so many milliseconds away in each direction."""
        for number in range(1, count + 1):
            node = ClusterNode(
                self.directory / f"node{number}",
                self.lab.add(delays.get(number, 0.0)),
                {
                    "UBIETY_NODE": f"node{number}",
                    "UBIETY_DATABASE_URL": self.url,
                    "UBIETY_BUS_URL": self.nats.url,
                    "UBIETY_BUS_CA": str(self.nats.ca),
                    "UBIETY_C2S_PORT": "5222",
                    "UBIETY_C2S_TLS_PORT": "5223",
                    "UBIETY_API_PORT": "8443",
                },
            )
            self.nodes.append(node)
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(ClusterNode.start, self.nodes))

    @property
    def places(self) -> list[Place]:
        """Where clients connect: one address per node."""
        return [node.place for node in self.nodes]

    def close(self) -> None:
        """Stop the nodes."""
        for node in self.nodes:
            node.machine.plug()
            with contextlib.suppress(AssertionError, ProcessLookupError):
                node.thaw()
            node.kill()


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Rig]:
    """Run what a cluster stands on."""
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab())
        postgres = stack.enter_context(running_postgres(f"{lab.address}/24"))
        place = directory / "nats"
        place.mkdir()
        nats = Nats(place, names=[lab.address], host=lab.address)
        nats.start()
        stack.callback(nats.kill)
        rig = Rig(directory, lab, postgres, nats)
        stack.callback(rig.close)
        yield rig


def _write_settings(conn: Connection) -> None:
    for name, value in SETTINGS.items():
        settings.put(conn, name, json.dumps(value))


def _write_nodes(conn: Connection, count: int) -> None:
    """In pairs: the groups are called pair1, pair2 and so on."""
    for number in range(1, count + 1):
        nodes.register(conn, f"node{number}", "", "", time.time(), group=f"pair{(number + 1) // 2}")


def _write_people(conn: Connection, people: Sequence[str], node_count: int, contacts: int) -> None:
    """Everybody with the same password; each has the next ones of the list as contacts, both ways."""
    now = time.time()
    domain = domains.add(conn, DOMAIN, now, is_default=True)
    scram = dump_keys(hash_password(PASSWORD, ITERATIONS, (SALT, SALT)))
    ids = addresses.intern_many(conn, [f"{name}@{DOMAIN}" for name in people])
    sets = itertools.cycle(range(1, node_count + 1))
    for index, name in enumerate(people):
        user_id = users.create(conn, f"{name}@{DOMAIN}", name, domain.id, now, set_id=next(sets))
        users.set_scram(conn, user_id, scram)
        for step in range(1, contacts // 2 + 1):
            for other in (people[(index + step) % len(people)], people[index - step]):
                roster.set_subscription(conn, user_id, ids[f"{other}@{DOMAIN}"], roster.BOTH)
