"""What the benchmark needs of a cluster under test."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from bench import process
from bench.certificate import Certificate
from bench.cluster.crowd import Crowd


@dataclass(frozen=True)
class Ground:
    """What a cluster stands on: a folder for its files, the certificate, its people, TLS or not."""

    folder: Path
    certificate: Certificate
    crowd: Crowd
    tls: bool


@dataclass
class Part:
    """One process of a cluster. What it used is remembered when it has died."""

    name: str
    pid: int
    is_node: bool
    spent: float = 0.0
    """CPU seconds when it was last looked at."""
    pids: list[int] = field(default_factory=list)

    def cpu(self) -> float:
        """CPU seconds of the process tree so far."""
        if process.is_alive(self.pid):
            # A database's processes come and go.
            self.spent = max(self.spent, process.cpu_seconds(process.tree(self.pid)))
        return self.spent

    def resident(self) -> int:
        """Resident bytes of the process tree; pages that a database's processes share are counted once."""
        if not process.is_alive(self.pid):
            return 0
        count = process.resident_bytes if self.is_node else process.proportional_bytes
        return count(process.tree(self.pid))


class Cluster(ABC):
    """Nodes, numbered from 0 on, and what they need: started once, one node killed, stopped."""

    name: str = ""
    version: str = ""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.parts: list[Part] = []

    @abstractmethod
    def install(self) -> None:
        """Make sure that the software is on this machine. Raises BenchError naming what is missing."""

    @abstractmethod
    def provision(self) -> None:
        """Write everybody, with contact lists."""

    @abstractmethod
    def start(self) -> None:
        """Start the nodes and wait until they are one cluster that serves everybody. Raises BenchError."""

    @property
    @abstractmethod
    def ports(self) -> list[int]:
        """Where each node takes clients."""

    @property
    def nodes(self) -> list[Part]:
        """The servers themselves."""
        return [part for part in self.parts if part.is_node]

    def kill(self, node: int) -> float:
        """End a node with SIGKILL; returns the moment on the monotonic clock."""
        part = self.nodes[node]
        part.cpu()
        moment = time.monotonic()
        process.kill(part.pid)
        return moment

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each part so far."""
        return {part.name: part.cpu() for part in self.parts}

    def resident(self) -> dict[str, int]:
        """Resident bytes of each part; 0 for a dead one."""
        return {part.name: part.resident() for part in self.parts}

    def add(self, name: str, pid: int, is_node: bool = False) -> None:
        """Note a process that was started."""
        self.parts.append(Part(name, pid, is_node))

    def stop(self) -> None:
        """End everything, the last started first."""
        for part in reversed(self.parts):
            process.stop(part.pid)
        self.parts = []
