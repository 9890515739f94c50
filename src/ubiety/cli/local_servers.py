"""The servers of a local cluster: PostgreSQL and NATS from Debian, with directories of their own."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from ubiety.cli.client import CommandError
from ubiety.cli.cluster_files import Files
from ubiety.cli.supervisor import Part, PartError, as_user
from ubiety.net import authority

HOST = "127.0.0.1"
NAME = "ubiety"
"""User and database in PostgreSQL, user in NATS."""
PROBE_SECONDS = 2.0
MAX_SOCKET_DIRECTORY = 85
"""Bytes; what is left of 107 (unix(7)) beside the name of PostgreSQL's socket."""


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
    is_shared: bool = False
    """Whether the nodes share their ports for clients."""

    @property
    def database_url(self) -> str:
        """Where the nodes find the database."""
        return f"postgresql+psycopg://{NAME}:{self.passwords['postgresql']}@{HOST}:{self.ports['postgresql']}/{NAME}"

    @property
    def bus_url(self) -> str:
        """Where the nodes find the bus."""
        return f"tls://{NAME}:{self.passwords['nats']}@{HOST}:{self.ports['nats']}"


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
        environment=environment(),
        user=plan.user,
        stop_signal=signal.SIGINT,  # "fast": it does not wait for clients to leave
    )


def create_database(plan: Plan, programs: Programs) -> None:
    """Make the nodes' database unless it is there. Raises PartError."""
    where = ["-h", HOST, "-p", str(plan.ports["postgresql"]), "-U", NAME]
    variables = environment() | {"PGPASSWORD": plan.passwords["postgresql"]}
    deadline = time.monotonic() + 30
    while True:
        command = [str(programs.postgresql / "createdb"), *where, "--maintenance-db=postgres", NAME]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
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
        environment=environment(),
        user=plan.user,
    )


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


def _give(path: Path, user: str | None) -> None:
    if user is not None:
        shutil.chown(path, user, pwd.getpwnam(user).pw_gid)


def environment() -> dict[str, str]:
    """The environment of the parts: without what an administrator has set for a node."""
    return {name: value for name, value in os.environ.items() if not name.startswith("UBIETY_")}
