"""One measurement: CPU of server and generator between two moments, divided by the operations done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from bench import process
from bench.process import BenchError


@dataclass(frozen=True)
class Measurement:
    """Cost per operation: seconds of CPU, or bytes for the memory rows."""

    value: float
    operations: int
    seconds: float = 0.0
    server_share: float = 0.0
    """Part of its core that the server used: near 1 when it was saturated."""
    generator_share: float = 0.0
    """Part of its core that the generator used: near 1 when the generator was the bottleneck."""
    notes: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """For bench/out."""
        return asdict(self)


class Meter:
    """Started once, read once."""

    def __init__(self, server_cpu: Callable[[], float]) -> None:
        self._cpu = server_cpu
        self._start = (server_cpu(), process.own_cpu_seconds(), time.monotonic())

    def read(self, operations: int, **notes: float) -> Measurement:
        """The cost of `operations` done since the start. Raises BenchError when nothing was done."""
        cpu, own, now = self._cpu(), process.own_cpu_seconds(), time.monotonic()
        server = cpu - self._start[0]
        elapsed = now - self._start[2]
        if operations <= 0:
            raise BenchError("no operation was completed")
        own_share = (own - self._start[1]) / elapsed
        return Measurement(server / operations, operations, elapsed, server / elapsed, own_share, dict(notes))
