"""What the tests' nursery forks is a process as a subprocess is one, and it ends with the nursery."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nursery import Child, Nursery, NurseryError, nursery

LAB = ("lab", "microsoft", "--port", "0", "--no-terminal")


@pytest.fixture
def own_nursery() -> Iterator[Nursery]:
    """One that may die."""
    made = Nursery()
    yield made
    made.close()


def start(parent: Nursery, *arguments: str) -> Child:
    """Start something that goes on until it is told to end; return when it has said something."""
    with tempfile.TemporaryFile() as output, open(os.devnull, "rb") as nothing:
        child = parent.start(arguments, os.environ, nothing, output, output)
        deadline = time.monotonic() + 30
        while b"listens on" not in os.pread(output.fileno(), 10_000, 0):
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    return child


def is_gone(pid: int) -> bool:
    """Whether there is no such process any more, within a moment."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_a_command_ends_as_the_real_one(tmp_path: Path) -> None:
    environment = {**os.environ, "UBIETY_DATA": str(tmp_path / "nowhere")}
    for arguments in (["version"], ["user", "nonsense"], ["status"]):
        forked = nursery().run(arguments, environment)
        command = [sys.executable, "-m", "ubiety.cli.main", *arguments]
        real = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (forked.returncode, forked.stdout, forked.stderr) == (
            real.returncode,
            real.stdout,
            real.stderr,
        )


def test_processes_are_of_their_own() -> None:
    one, other = start(nursery(), *LAB), start(nursery(), *LAB)
    assert one.pid != other.pid
    with pytest.raises(subprocess.TimeoutExpired):
        one.wait(0.1)
    one.kill()
    assert one.wait(10) == one.poll() == one.returncode == -signal.SIGKILL
    assert other.poll() is None
    other.send_signal(signal.SIGTERM)
    assert other.wait(10) == 0


def test_when_the_nursery_dies_its_processes_do_and_the_reason_is_told(own_nursery: Nursery) -> None:
    child = start(own_nursery, *LAB)
    own_nursery.process.kill()
    with pytest.raises(NurseryError, match="ended with -9"):
        child.wait(10)
    assert is_gone(child.pid)
    with pytest.raises(NurseryError, match="ended with -9"):
        own_nursery.run(["version"], os.environ)
