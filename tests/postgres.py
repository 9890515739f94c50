"""A private PostgreSQL for the tests: one cluster per session, one fresh database per test.

A cluster is a copy of one that was made once in the run, and so is a migrated database in it: making and
migrating cost several seconds.

The server never runs as root: under root it is started as the user ``postgres`` of Debian's package, else as
whoever runs the tests. It listens on a Unix socket in its own directory and on a free port of 127.0.0.1, with
``fsync`` on: what the tests call durable is durable.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.databases import migrate

USER = "postgres"
#: The database in every cluster that others are copied from.
MIGRATED = "migrated"
MISSING = (
    "These tests need PostgreSQL's server: install the Debian package `postgresql`"
    " (looked for initdb on the PATH and in /usr/lib/postgresql/*/bin)."
)

#: Ends the connections of others, and waits for that.
DISCONNECT = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
#: What the tables look like, and whether a database has become so large that another one is cheaper.
SHAPE = """
    SELECT md5(string_agg(concat(relname, attname, atttypid, attnotnull), ',' ORDER BY relname, attnum)),
        pg_database_size(current_database()) > 40000000
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relnamespace = 'public'::regnamespace AND attnum > 0
"""
#: All that migrating writes is the revision.
EMPTY = """
    DO $$ DECLARE one regclass; BEGIN
        SET LOCAL session_replication_role = replica;
        FOR one IN
            SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
            AND relname <> 'alembic_version'
        LOOP EXECUTE format('DELETE FROM %s', one); END LOOP;
        PERFORM setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
        FROM pg_sequences WHERE last_value IS NOT NULL;
    END $$
"""


class PostgresError(Exception):
    """The private server did not start or stop; the text holds its log."""


class Postgres:
    """One running cluster in a temporary directory."""

    def __init__(self, directory: Path, port: int = 0, network: str = "") -> None:
        self.directory = directory
        self.network = network  # "ADDRESS/BITS" of a network that is served as well
        self.data = directory / "data"
        self.log = directory / "log"
        self.port = port or _free_port()
        self._bin = _find_programs()
        self._as_user = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
        self._server: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._spare: list[str] = []

    def create(self) -> None:
        """Make the cluster's files, with a migrated database in them."""
        self.give(self.directory)
        self.directory.chmod(0o755)
        settings = ("-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N", "--wal-segsize=1")
        self._run("initdb", "-D", str(self.data), *settings)
        self.start()
        with self.connect() as conn:
            conn.execute(f"CREATE DATABASE {MIGRATED}".encode())
        migrate(self._url(MIGRATED))
        self.stop()

    def copy(self, template: Path) -> None:
        """Take over the packed files of a cluster that was created and stopped."""
        self.give(self.directory)
        self.directory.chmod(0o755)
        _tar("-xpf", template, self.directory)
        if self.network:
            with (self.data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {self.network} trust\n")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = {
            "port": self.port,
            "listen_addresses": ",".join(filter(None, ("127.0.0.1", self.network.partition("/")[0]))),
            "unix_socket_directories": self.directory,
            "fsync": "on",
            "max_connections": 50,
            "shared_buffers": "32MB",
            "log_min_messages": "warning",
            "deadlock_timeout": "100ms",  # of which some tests make many
        }
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [*self._as_user, str(self._bin / "postgres"), "-D", str(self.data), *arguments]
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory
            )
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise PostgresError(self.log.read_text(errors="replace"))
            time.sleep(0.05)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: ``fast`` like an administrator, ``immediate`` like a crash."""
        if self._server is None:
            return
        self._run("pg_ctl", "stop", "-D", str(self.data), "-m", mode, "-w", "-t", "30")
        self._server.wait(30)
        self._server = None

    def restart(self, mode: str = "fast") -> None:
        """Stop and start again on the same port."""
        self.stop(mode)
        self.start()

    def make_database(self, place: Path | None = None, *, is_empty: bool = False) -> str:
        """Create a database and return its URL: migrated, or without any table.

        ``place``: in a tablespace there.
        """
        name = f"test{next(self._numbers)}"
        with self.connect() as conn:
            if place is not None:
                conn.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'".encode())
            where = f" TABLESPACE {name}" if place is not None else ""
            like = "template1" if is_empty else MIGRATED
            conn.execute(f'CREATE DATABASE "{name}" TEMPLATE {like}{where}'.encode())
        return self._url(name)

    def lend_database(self) -> str:
        """Return the URL of a migrated database without rows, made or given back."""
        return self._spare.pop() if self._spare else self.make_database()

    def give_back(self, url: str) -> None:
        """Take back what was lent, and empty it: to make and drop one costs eight times as much."""
        with self.connect(url.rpartition("/")[2]) as conn:
            conn.execute(DISCONNECT)
            is_as_made = conn.execute(SHAPE).fetchone() == self._shape
            if is_as_made:
                conn.execute(EMPTY)
        if is_as_made:
            self._spare.append(url)
        else:
            self.drop_database(url)

    def give(self, directory: Path) -> None:
        """Let the server write to a directory."""
        if self._as_user:
            owner = _unprivileged()
            os.chown(directory, owner.pw_uid, owner.pw_gid)

    def drop_database(self, url: str) -> None:
        """Drop a database and whoever is still connected to it."""
        with self.connect() as conn:
            conn.execute(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)'.encode())

    def connect(self, name: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """Connect as the superuser, in autocommit mode."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, dbname=name, autocommit=True, connect_timeout=3
        )

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{name}"

    @functools.cached_property
    def _shape(self) -> tuple[object, ...] | None:
        with self.connect(MIGRATED) as conn:
            return conn.execute(SHAPE).fetchone()

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._bin / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.directory, check=False)
        if done.returncode != 0:
            raise PostgresError(f"{program} failed:\n{done.stdout}{done.stderr}")


def _find_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        pytest.fail(MISSING)
    return Path(on_path).resolve().parent


def _tar(action: str, archive: Path, directory: Path) -> None:
    """Pack or unpack a cluster's files, with their owner as the server wants it."""
    subprocess.run(["tar", action, str(archive), "-C", str(directory), "data"], check=True)


def _unprivileged() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        pytest.fail(MISSING)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(network: str = "") -> Iterator[Postgres]:
    """Run a cluster of one's own, for tests that stop it."""
    with _placed(network) as server:
        server.copy(_template())
        server.start()
        yield server


@contextlib.contextmanager
def _placed(network: str = "") -> Iterator[Postgres]:
    # Not below pytest's temporary directory: that one is closed to other users.
    directory = Path(tempfile.mkdtemp(prefix="ubiety-pg-"))
    server = Postgres(directory, network=network)
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


@functools.cache
def _template() -> Path:
    """The packed files of a stopped cluster, made by whichever of the run's processes needs one first."""
    made = SHARED.folder / "postgresql.tar"
    with (SHARED.folder / "postgresql.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with _placed() as server:
                server.create()
                _tar("-cf", made.with_suffix(".new"), server.directory)
            made.with_suffix(".new").rename(made)
    return made


class Shared:
    """Where the processes of one test run keep what they have in common."""

    folder: Path


SHARED = Shared()


@pytest.fixture(scope="session", autouse=True)
def _shared(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    SHARED.folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's cluster."""
    with running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A database of the test's own: migrated, without rows."""
    url = postgres.lend_database()
    yield url
    postgres.give_back(url)


@pytest.fixture
def empty_postgres_url(postgres: Postgres) -> Iterator[str]:
    """A database of the test's own without any table."""
    url = postgres.make_database(is_empty=True)
    yield url
    postgres.drop_database(url)


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A cluster of the test's own: stop it, start it."""
    with running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without any table, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ubiety.db'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database without rows, once of each kind: open it with ``open_migrated``."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ubiety.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url
