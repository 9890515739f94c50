"""Ubiety itself, started with this interpreter."""

from __future__ import annotations

from bench.process import BenchError
from bench.servers.base import Server


class Ubiety(Server):
    """A single node on SQLite with its default settings but for rate limits."""

    name = "ubiety"
    version = "?"

    def install(self) -> None:
        """Nothing to install: it is the package beside this one."""

    def provision(self) -> None:
        raise BenchError("not yet")

    def configure(self, archive: bool) -> None:
        raise BenchError("not yet")

    def launch(self) -> int:
        raise BenchError("not yet")
