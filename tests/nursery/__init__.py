"""Nodes and commands for tests without a new interpreter each: a process that has imported Ubiety forks.

An interpreter needs 2 s of CPU to import what a node needs and 0.2 s and more for a command, and the tests
start some 200 nodes and 500 commands. So each pytest process has one nursery (`tests/nursery/__main__.py`),
started when it is first asked: a clean, single-threaded process that imports once. What it forks is a process
of its own, with the entry point, arguments, environment, working directory and standard streams that a
subprocess would have.

The nursery ends when the pytest process does, whatever ends that, and the kernel ends what it forked. What is
not forked but really run: tests/unit/cli/test_serve.py, tests/lab/test_commands.py, the first start of
tests/demo, and `ubiety cluster up`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
REPORT = struct.Struct("i")
"""What a report is made of: the process id when it begins, the exit code when it has ended."""


class NurseryError(Exception):
    """The nursery ended on its own, and took what it had forked along; the text holds its last words."""


class Nursery:
    """The forking process of this pytest process."""

    def __init__(self) -> None:
        # Packets, not a stream: a request and its descriptors stay together.
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - read when the nursery has ended
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.nursery"],
                cwd=ROOT,
                stdin=theirs.fileno(),
                stdout=self._words,
                stderr=subprocess.STDOUT,
            )

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        stdin: IO[bytes],
        output: IO[bytes],
        errors: IO[bytes],
        network: str = "",
    ) -> Child:
        """Fork `ubiety ARGUMENTS`, in the network namespace of that name if any. Raises NurseryError."""
        request = json.dumps([list(arguments), dict(environment), os.getcwd(), network]).encode()
        reading, writing = os.pipe()
        reports = open(reading, "rb", buffering=0)  # noqa: SIM115 - the child keeps it
        try:
            files = [stdin.fileno(), output.fileno(), errors.fileno(), writing]
            socket.send_fds(self._requests, [request], files)
        except OSError as error:
            raise self.ended() from error
        finally:
            os.close(writing)
        return Child(self, reports)

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        given: str | None = None,
        seconds: float = 120.0,
    ) -> subprocess.CompletedProcess[str]:
        """Fork `ubiety ARGUMENTS`, hand it `given` and wait for its end, as subprocess.run does."""
        with contextlib.ExitStack() as stack:
            stdin, output, errors = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            stdin.write((given or "").encode())
            stdin.seek(0)
            child = self.start(arguments, environment, stdin, output, errors)
            try:
                code = child.wait(seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                raise
            said = []
            for file in (output, errors):
                file.seek(0)
                said.append(file.read().decode())
        return subprocess.CompletedProcess(arguments, code, *said)

    def close(self) -> None:
        """End it, and what still runs of what it forked."""
        self._requests.close()
        self.process.wait(10)
        self._words.close()

    def ended(self) -> NurseryError:
        """Why it has ended."""
        code = self.process.wait(10)
        size = os.fstat(self._words.fileno()).st_size
        words = os.pread(self._words.fileno(), 10_000, max(0, size - 10_000)).decode(errors="replace")
        return NurseryError(f"the nursery (process {self.process.pid}) ended with {code}:\n{words}")


class Child:
    """A process that the nursery forked: what the tests need of subprocess.Popen."""

    def __init__(self, nursery: Nursery, reports: IO[bytes]) -> None:
        self._nursery = nursery
        self._reports = reports
        self.returncode: int | None = None
        self.pid = self._next()

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs. Raises NurseryError."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code; negative is a signal. Raises TimeoutExpired (seconds), NurseryError."""
        if self.returncode is None:
            look = select.poll()  # not select(): tests have more than 1024 descriptors open
            look.register(self._reports)
            if not look.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("ubiety", timeout or 0)
            self.returncode = self._next()
            self._reports.close()
        return self.returncode

    def send_signal(self, sign: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sign)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _next(self) -> int:
        report = self._reports.read(REPORT.size)
        if len(report) < REPORT.size:
            raise self._nursery.ended()
        number: int = REPORT.unpack(report)[0]
        return number


_running: list[Nursery] = []  # at the end of it: earlier ones have ended
_lock = threading.Lock()


def nursery() -> Nursery:
    """Return the nursery of this pytest process; start one if there is none or it has ended."""
    with _lock:
        if not _running or _running[-1].process.poll() is not None:
            _running.append(Nursery())
        return _running[-1]


def pytest_unconfigure() -> None:
    """End the nurseries."""
    while _running:
        _running.pop().close()
