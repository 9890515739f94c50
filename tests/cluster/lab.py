"""Machines of a cluster on one host: a network namespace each, joined by a bridge whose cables can be pulled.

Pulling a cable (the veth is detached from its bridge) is silent: packets vanish, nobody is told.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from types import TracebackType

import pytest

_NETS = itertools.count(1)


class Machine:
    """A network namespace with one cable to the lab's bridge; `delay` makes it a long one (milliseconds)."""

    def __init__(self, lab: Lab, number: int, delay: float = 0.0) -> None:
        self._lab = lab
        self.name = f"{lab.bridge}n{number}"
        self.address = f"{lab.net}.{number + 1}"
        self._cable = f"{lab.bridge}v{number}"
        self._relay: subprocess.Popen[str] | None = None
        _ip("netns", "add", self.name)
        if delay:
            self._lay_long_cable(delay)
        else:
            self._lay_cable()

    def _lay_cable(self) -> None:
        _ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        self.inside("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            self.inside("ip", "link", "set", device, "up")
        self.plug()
        _ip("link", "set", self._cable, "up")

    def _lay_long_cable(self, delay: float) -> None:
        words = [self.name, f"{self.address}/24", self._lab.bridge, self._cable, str(delay)]
        command = [sys.executable, "-m", "tests.cluster.delay", *words]
        self._relay = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._relay.stdout is not None
        assert self._relay.stdout.readline() == "up\n", "the slow line did not come up"

    @property
    def prefix(self) -> list[str]:
        """What runs a command on this machine when put before it."""
        return ["ip", "netns", "exec", self.name]

    def inside(self, *command: str) -> None:
        """Run a command on this machine."""
        _run(*self.prefix, *command)

    def plug(self) -> None:
        """Connect the cable."""
        _ip("link", "set", self._cable, "master", self._lab.bridge)

    def pull(self) -> None:
        """Pull the cable out: silence in both directions."""
        _ip("link", "set", self._cable, "nomaster")

    def close(self) -> None:
        """Remove the machine; the cable goes with it."""
        if self._relay is not None:
            self._relay.kill()
            self._relay.wait()
        subprocess.run(["ip", "link", "del", self._cable], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)


class Lab:
    """The bridge; the test itself, the database and the bus stand on it at `address`."""

    def __init__(self) -> None:
        require_root()
        number = next(_NETS)
        self.bridge = f"ub{os.getpid() % 100_000}{number}"[:9]
        self.net = f"10.{os.getpid() % 199 + 50}.{number}"
        self.address = f"{self.net}.1"
        self.machines: list[Machine] = []
        _ip("link", "add", self.bridge, "type", "bridge", "forward_delay", "0")
        _ip("address", "add", f"{self.address}/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")

    def add(self, delay: float = 0.0) -> Machine:
        """Return a new machine, `delay` milliseconds away in each direction."""
        machine = Machine(self, len(self.machines) + 1, delay)
        self.machines.append(machine)
        return machine

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for machine in self.machines:
            machine.close()
        _ip("link", "del", self.bridge)


def require_root() -> None:
    """Fail with the cure where namespaces cannot be made."""
    if shutil.which("ip") is None:
        pytest.fail("These tests need the command `ip`: install the Debian package `iproute2`.")
    if os.geteuid() != 0:
        pytest.fail("These tests make network namespaces: run them as root.")


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
