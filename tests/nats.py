"""A private NATS server for the tests: TLS with a certificate of its own, a user and a password.

It is Debian's `nats-server`, a child process on a free port of 127.0.0.1 which can be killed, stopped and
started again on the same port.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ubiety.net import authority

MISSING = (
    "These tests need a NATS server: install the Debian package `nats-server`"
    " (looked for nats-server on the PATH and in /usr/sbin)."
)
USER = "ubiety"
PASSWORD = "p@ss/word"


class NatsError(Exception):
    """The private server did not start; the text holds its log."""


class Nats:
    """One server in a directory."""

    def __init__(
        self,
        directory: Path,
        has_tls: bool = True,
        max_payload: str = "1MB",
        names: Sequence[str] = ("localhost", "127.0.0.1"),
        host: str = "127.0.0.1",
    ) -> None:
        self.directory = directory
        self.host = host
        self.has_tls = has_tls
        self.log = directory / "log"
        self.port = _free_port()
        self.files = authority.Files(directory)
        self._server: subprocess.Popen[bytes] | None = None
        authority.make_authority(self.files, "bus", time.time())
        authority.issue(self.files, names, time.time())
        tls = (
            f'tls {{ cert_file: "{self.files.certificate}", key_file: "{self.files.key}" }}\n'
            if has_tls
            else ""
        )
        self.config = directory / "nats.conf"
        self.config.write_text(
            f'listen: "{host}:{self.port}"\n'
            f'authorization {{ user: "{USER}", password: "{PASSWORD}" }}\n'
            f"{tls}max_payload: {max_payload}\n"
        )

    @property
    def ca(self) -> Path:
        """Who signed its certificate."""
        return self.files.ca

    @property
    def url(self) -> str:
        """Where it is, and as whom to log in."""
        return f"{'tls' if self.has_tls else 'nats'}://{USER}:p%40ss%2Fword@{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._server is not None
        return self._server.pid

    def start(self) -> None:
        """Start it and wait until it listens."""
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                [_find_program(), "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )
        deadline = time.monotonic() + 20
        while not self._listens():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise NatsError(self.log.read_text(errors="replace"))
            time.sleep(0.02)

    def kill(self) -> None:
        """End it like a crash (SIGKILL)."""
        if self._server is not None:
            self._server.kill()
            self._server.wait(20)
            self._server = None

    def restart(self) -> None:
        """Kill it and start it again on the same port."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop it without a word (SIGSTOP): connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def _listens(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as probe:
                return probe.recv(4) == b"INFO"
        except OSError:
            return False


def _find_program() -> str:
    found = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
    if found is None:
        pytest.fail(MISSING)
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """The session's server: leave it running."""
    server = Nats(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Nats]]:
    """Makes servers of the test's own, not started yet; its arguments are those of Nats."""
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> Nats:
            server = Nats(tmp_path_factory.mktemp("nats"), **options)
            stack.callback(server.kill)
            return server

        yield make
