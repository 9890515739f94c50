"""What the suite needs of a server under test."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from bench import process
from bench.certificate import Certificate
from bench.people import Population


@dataclass(frozen=True)
class Fixture:
    """What all servers share in one run: a folder for their files, the certificate, the people."""

    folder: Path
    certificate: Certificate
    population: Population


class Server(ABC):
    """One server: provisioned once into a template, started any number of times from a fresh copy of it."""

    name: str = ""
    version: str = ""

    def __init__(self, fixture: Fixture, instance: str = "first") -> None:
        self.fixture = fixture
        self.folder = fixture.folder / self.name / instance
        self.folder.mkdir(parents=True, exist_ok=True)
        self.template = self.folder.parent / "template"
        self.data = self.folder / "data"
        self.log = self.folder / "output.log"
        self.port = process.free_port()
        self.tls_port = process.free_port()
        self.pid = 0
        self._pids: list[int] = []

    def sibling(self) -> Server:
        """Another instance, with ports and data of its own, for a measurement beside this one."""
        twin = type(self)(self.fixture, "second")
        twin.version = self.version
        return twin

    @abstractmethod
    def install(self) -> None:
        """Make sure that the software is on this machine. Raises BenchError naming what is missing."""

    @abstractmethod
    def provision(self) -> None:
        """Fill `template` with accounts and contact lists."""

    @abstractmethod
    def configure(self, archive: bool) -> None:
        """Write the configuration beside `data`, with or without the message archive."""

    @abstractmethod
    def launch(self) -> int:
        """Start the server on `data` and return its process id."""

    def start(self, archive: bool = False) -> None:
        """Start from a fresh copy of the template and wait until both ports accept."""
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.copytree(self.template, self.data)
        self.configure(archive)
        self.pid = self.launch()
        process.wait_for_port(self.pid, self.port, self.log)
        process.wait_for_port(self.pid, self.tls_port, self.log)
        self._pids = process.tree(self.pid)

    def stop(self) -> None:
        """End the server; its data directory goes with the next start."""
        if self.pid:
            process.stop(self.pid)
        self.pid = 0

    def cpu(self) -> float:
        """CPU seconds used by the process tree so far."""
        return process.cpu_seconds(self._pids)

    def resident(self) -> int:
        """Resident bytes of the process tree."""
        return process.resident_bytes(self._pids)
