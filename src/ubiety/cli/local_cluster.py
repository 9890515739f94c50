"""A cluster on one machine for trying out: PostgreSQL, NATS, a few nodes, and the process that keeps them."""

import asyncio
import contextlib
import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ubiety.cli.client import Client, CommandError, short_path
from ubiety.cli.cluster_files import Files, print_parts
from ubiety.cli.output import console, print_line
from ubiety.cli.supervisor import Keeper, Part, PartError, as_user
from ubiety.config import KEYS
from ubiety.net import authority

HOST = "127.0.0.1"
NAME = "ubiety"
"""User and database in PostgreSQL, user in NATS."""
PEOPLE = ("ada", "grace", "alan", "hedy", "linus", "margaret")
PROBE_SECONDS = 2.0
MAX_SOCKET_DIRECTORY = 85
"""Bytes; what is left of 107 (unix(7)) beside the name of PostgreSQL's socket."""
_SERVER_USERS = ("postgres", "nobody")


@dataclass(frozen=True)
class Plan:
    """What is to run and where."""

    files: Files
    nodes: int
    domain: str
    ports: dict[str, int]
    """By what listens there: `postgresql`, `nats`, `node1 c2s` ..."""
    passwords: dict[str, str]
    user: str | None
    """Whom the database and the bus run as; None: as who runs this."""

    @property
    def database_url(self) -> str:
        """Where the nodes find the database."""
        return f"postgresql+psycopg://{NAME}:{self.passwords['postgresql']}@{HOST}:{self.ports['postgresql']}/{NAME}"

    @property
    def bus_url(self) -> str:
        """Where the nodes find the bus."""
        return f"tls://{NAME}:{self.passwords['nats']}@{HOST}:{self.ports['nats']}"


def main(options: dict[str, Any]) -> int:
    """Runs the cluster until a signal comes; returns the exit code."""
    os.umask(0o077)
    try:
        return asyncio.run(_run(options))
    except (CommandError, PartError, authority.CertificateError) as error:
        screen = console(stderr=True)
        screen.print("Error: ", style="bold red", end="")
        screen.print(str(error))
        if isinstance(error, CommandError) and error.cure:
            screen.print(error.cure)
        return 1


async def _run(options: dict[str, Any]) -> int:
    files = Files(Path(options["data"]))
    programs = find_programs()
    files.make(is_shared=os.geteuid() == 0)
    with _only_one(files.lock):
        plan = make_plan(files, options)
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        cluster = LocalCluster(plan, programs)
        running = asyncio.create_task(cluster.run())
        stopped = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            stopped.cancel()
            await cluster.stop(running)
    return 0


class LocalCluster:
    """The parts of a local cluster and what keeps each of them running."""

    def __init__(self, plan: Plan, programs: "Programs") -> None:
        self.plan = plan
        self._programs = programs
        self._keepers: list[Keeper] = []
        self._is_up = False
        self._began = time.time()

    async def run(self) -> None:
        """Start everything and keep it running. Raises PartError."""
        plan = self.plan
        issue_certificates(plan)
        prepare_postgresql(plan, self._programs)
        prepare_nats(plan)
        await self._start(postgresql_part(plan, self._programs), nats_part(plan, self._programs))
        await asyncio.to_thread(create_database, plan, self._programs)
        first, *others = [node_part(plan, number) for number in range(1, plan.nodes + 1)]
        await self._start(first)  # it makes the tables
        await asyncio.to_thread(add_people, plan)
        await self._start(*others)
        self._is_up = True
        self._changed("")
        print_parts(self.document)
        print_line(describe(plan))
        sys.stdout.flush()
        async with asyncio.TaskGroup() as group:
            for keeper in self._keepers:
                group.create_task(keeper.keep())

    async def stop(self, running: asyncio.Task[None]) -> None:
        """Stop the nodes, then the bus and the database."""
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        servers, nodes = self._keepers[:2], self._keepers[2:]
        self._is_up = False
        print_line("Stopping ...")
        await asyncio.gather(*(keeper.stop() for keeper in nodes))
        await asyncio.gather(*(keeper.stop() for keeper in servers))
        self.plan.files.state.unlink(missing_ok=True)

    @property
    def document(self) -> dict[str, Any]:
        """What `ubiety cluster status` shows."""
        return {
            "process": os.getpid(),
            "is_up": self._is_up,
            "began": self._began,
            "domain": self.plan.domain,
            "people": [f"{name}@{self.plan.domain}" for name in PEOPLE],
            "password": self.plan.passwords["people"],
            "authority": str(self.plan.files.authority),
            "database_url": self.plan.database_url,
            "bus_url": self.plan.bus_url,
            "ports": self.plan.ports,
            "parts": [keeper.row for keeper in self._keepers],
        }

    async def _start(self, *parts: Part) -> None:
        keepers = [Keeper(part, self._changed) for part in parts]
        self._keepers += keepers
        for part in parts:
            print_line(f"Starting {part.name} ...")
        await asyncio.gather(*(keeper.start() for keeper in keepers))

    def _changed(self, sentence: str) -> None:
        if sentence:
            print_line(time.strftime("%H:%M:%S ") + sentence)
            sys.stdout.flush()
        state = self.plan.files.state
        fresh = state.with_suffix(".new")
        fresh.write_text(json.dumps(self.document, indent=1))
        fresh.replace(state)


# -- what is needed -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Programs:
    """Where the servers' programs are."""

    postgresql: Path
    """The directory of initdb, postgres and createdb."""
    nats: Path


def find_programs() -> Programs:
    """Find PostgreSQL and NATS. Raises CommandError with the names of the missing packages."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("initdb")
    initdb = found[-1] if found else Path(on_path).resolve() if on_path else None
    nats = shutil.which("nats-server", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if initdb is None or nats is None:
        missing = [name for name, path in (("postgresql", initdb), ("nats-server", nats)) if path is None]
        raise CommandError(
            f"A local cluster needs {' and '.join(missing)}, which this machine does not have.",
            f"On Debian or Ubuntu: apt-get install {' '.join(missing)}",
        )
    return Programs(initdb.parent, Path(nats))


def make_plan(files: Files, options: dict[str, Any]) -> Plan:
    """Decide who runs where; passwords are made once per directory. Raises CommandError."""
    nodes, base = int(options["nodes"]), int(options["port_base"])
    wanted = {"postgresql": base + 1, "nats": base + 2}
    for number in range(1, nodes + 1):
        first = base + 10 * number
        names = (("c2s", first + 2), ("c2s_tls", first + 3), ("api", first + 8))
        wanted |= {f"node{number} {name}": port for name, port in names}
    if base and max(wanted.values()) > 65535:
        raise CommandError(f"{nodes} nodes from port {base} on do not fit.", "Give a lower --port-base.")
    ports = wanted if base else dict(zip(wanted, _free_ports(len(wanted)), strict=True))
    return Plan(files, nodes, options["domain"], ports, _passwords(files.passwords), _server_user(files))


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


def _passwords(path: Path) -> dict[str, str]:
    if not path.exists():
        made = {name: secrets.token_urlsafe(18) for name in ("postgresql", "nats", "people")}
        path.write_text(json.dumps(made))
    passwords: dict[str, str] = json.loads(path.read_text())
    return passwords


def _server_user(files: Files) -> str | None:
    """PostgreSQL refuses to run as root, and nothing here needs to."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = next((name for name in _SERVER_USERS if name in known), None)
    if user is None:
        raise CommandError(
            "PostgreSQL does not run as root, and there is no user postgres or nobody.",
            "Run this as an ordinary user.",
        )
    closed = next((path for path in files.data.parents if not path.stat().st_mode & 0o001), None)
    if closed is not None:
        raise CommandError(
            f"PostgreSQL does not run as root but as {user}, who cannot enter {closed}.",
            "Run this as an ordinary user, or give --data another directory, for instance /var/tmp/cluster.",
        )
    return user


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandError(
                f"A cluster runs from {path.parent.parent} already.", "See: ubiety cluster status"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


# -- certificates -------------------------------------------------------------------------------------


def issue_certificates(plan: Plan) -> None:
    """Make the cluster's authority, if need be, and a fresh certificate for all nodes and the bus."""
    files, now = authority.Files(plan.files.certificates), time.time()
    if not files.ca.exists():
        authority.make_authority(files, plan.domain, now)
    authority.issue(files, [plan.domain, f"*.{plan.domain}", "localhost", HOST, "::1"], now)


# -- PostgreSQL ---------------------------------------------------------------------------------------


def prepare_postgresql(plan: Plan, programs: Programs) -> None:
    """Make the database's files at the first start. Raises PartError."""
    home = plan.files.postgresql
    _give(home, plan.user)
    if (home / "data" / "PG_VERSION").exists():
        return
    password = home / "password"
    password.write_text(plan.passwords["postgresql"])
    _give(password, plan.user)
    options = ["-U", NAME, "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--locale=C"]
    command = [*as_user(plan.user), str(programs.postgresql / "initdb"), "-D", str(home / "data"), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=home, check=False)
    password.unlink()
    if done.returncode:
        raise PartError(f"initdb failed:\n{done.stdout}{done.stderr}")


def postgresql_part(plan: Plan, programs: Programs) -> Part:
    """The database server: on loopback, and on a Unix socket where its path is short enough."""
    home, port = plan.files.postgresql, plan.ports["postgresql"]
    has_socket = len(os.fsencode(home)) <= MAX_SOCKET_DIRECTORY
    settings = {
        "port": port,
        "listen_addresses": HOST,
        "unix_socket_directories": home if has_socket else "",
        "max_connections": 30 + 20 * plan.nodes,
        "shared_buffers": "64MB",
        "log_min_messages": "warning",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return Part(
        name="postgresql",
        command=[str(programs.postgresql / "postgres"), "-D", str(home / "data"), *options],
        log=plan.files.logs / "postgresql.log",
        probe=_accepts(port),
        address=f"{HOST}:{port}",
        environment=_environment(),
        user=plan.user,
        stop_signal=signal.SIGINT,  # "fast": it does not wait for clients to leave
    )


def create_database(plan: Plan, programs: Programs) -> None:
    """Make the nodes' database unless it is there. Raises PartError."""
    where = ["-h", HOST, "-p", str(plan.ports["postgresql"]), "-U", NAME]
    environment = _environment() | {"PGPASSWORD": plan.passwords["postgresql"]}
    deadline = time.monotonic() + 30
    while True:
        command = [str(programs.postgresql / "createdb"), *where, "--maintenance-db=postgres", NAME]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0 or "already exists" in done.stderr:
            return
        if time.monotonic() > deadline:
            raise PartError(f"createdb failed:\n{done.stderr}")
        time.sleep(0.2)  # it accepts connections a moment before it answers them


# -- NATS ---------------------------------------------------------------------------------------------


def prepare_nats(plan: Plan) -> None:
    """Write the bus's configuration and hand it its certificate."""
    home, source = plan.files.nats, authority.Files(plan.files.certificates)
    own = authority.Files(home)
    for place, origin in ((own.certificate, source.certificate), (own.key, source.key)):
        shutil.copyfile(origin, place)
    config = home / "nats.conf"
    config.write_text(
        f'listen: "{HOST}:{plan.ports["nats"]}"\n'
        f'authorization {{ user: "{NAME}", password: "{plan.passwords["nats"]}" }}\n'
        f'tls {{ cert_file: "{own.certificate}", key_file: "{own.key}", timeout: 5 }}\n'
        "max_payload: 1MB\n"
    )
    for path in (home, own.certificate, own.key, config):
        _give(path, plan.user)


def nats_part(plan: Plan, programs: Programs) -> Part:
    """The bus: TLS with the cluster's authority, a user and a password."""
    port = plan.ports["nats"]
    return Part(
        name="nats",
        command=[str(programs.nats), "-c", str(plan.files.nats / "nats.conf")],
        log=plan.files.logs / "nats.log",
        probe=_accepts(port),
        address=f"{HOST}:{port}",
        environment=_environment(),
        user=plan.user,
    )


# -- nodes --------------------------------------------------------------------------------------------


def node_part(plan: Plan, number: int) -> Part:
    """A node with its own directory and ports; each two of them make a redundancy group."""
    name = f"node{number}"
    data, certificates = plan.files.data / name, authority.Files(plan.files.certificates)
    ports = {kind: plan.ports[f"{name} {kind}"] for kind in ("c2s", "c2s_tls", "api")}
    known = {key.variable for key in KEYS}
    given = {
        "UBIETY_NODE": name,
        "UBIETY_DOMAIN": plan.domain,
        "UBIETY_GROUP": f"group{(number + 1) // 2}",
        "UBIETY_ADDRESS": HOST,
        "UBIETY_LISTEN": HOST,
        "UBIETY_DATABASE_URL": plan.database_url,
        "UBIETY_BUS_URL": plan.bus_url,
        "UBIETY_BUS_CA": str(certificates.ca),
        "UBIETY_CERTIFICATE": str(certificates.certificate),
        "UBIETY_PRIVATE_KEY": str(certificates.key),
        **{f"UBIETY_{kind.upper()}_PORT": str(port) for kind, port in ports.items()},
    }
    return Part(
        name=name,
        command=[sys.executable, "-m", "ubiety.cli.main", "serve", "--data", str(data)],
        log=plan.files.logs / f"{name}.log",
        probe=lambda: _ask_node(data),
        address=", ".join(f"{kind} {port}" for kind, port in ports.items()),
        environment=_environment()
        | {key: value for key, value in given.items() if key in known}
        | {"UBIETY_SUPERVISED": "1"},  # it is ended when it hangs: it may share its ports
        is_watched=True,
    )


def add_people(plan: Plan) -> None:
    """Add sample accounts at the first start. Raises CommandError."""
    node = Client(plan.files.data / "node1")
    if node.get("user.list", limit=1)["people"]:
        return
    for name in PEOPLE:
        node.post("user.add", userid=name, name=name.title(), password=plan.passwords["people"])


def describe(plan: Plan) -> str:
    """How to go on."""
    here = plan.files.data
    people = ", ".join(PEOPLE[:-1]) + f" or {PEOPLE[-1]}"
    return (
        f"\nLog in with any XMPP client as {people} @{plan.domain}, password {plan.passwords['people']},\n"
        f"at {HOST}, port {plan.ports['node1 c2s']} (STARTTLS) or that of another node;"
        f" let it trust {plan.files.authority}\n"
        f"Commands for a node: ubiety status --data {here / 'node1'}\n"
        f"See it: ubiety cluster status --data {here}\n"
        f"Stop it: Ctrl-C, or ubiety cluster down --data {here}\n"
    )


# -- how they are -------------------------------------------------------------------------------------


def _accepts(port: int) -> Callable[[], Awaitable[str]]:
    async def probe() -> str:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                _, writer = await asyncio.open_connection(HOST, port)
        except (OSError, TimeoutError):
            return ""
        writer.close()
        return "accepts connections"

    return probe


async def _ask_node(data: Path) -> str:
    """Ask a node's control socket: any answer shows that its loop runs."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            with short_path(data / "control.sock") as path:
                reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return ""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        return ""
    try:
        return str(json.loads(body).get("status") or "answers")
    except (ValueError, AttributeError):
        return "answers"


def _give(path: Path, user: str | None) -> None:
    if user is not None:
        shutil.chown(path, user, pwd.getpwnam(user).pw_gid)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("UBIETY_")}


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
