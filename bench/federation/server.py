"""The node under test: on SQLite, with a static route to the generator's side of the domain."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy import Connection

from bench import process
from bench.people import DOMAIN
from bench.servers.base import Fixture
from bench.servers.ubiety import Ubiety, write_settings
from ubiety.store import acl, static_routes
from ubiety.store.database import Database
from ubiety.store.static_routes import Route

_PATIENCE = 60.0
_SETTINGS: Mapping[str, object] = MappingProxyType(
    {
        "c2s.tls_required": False,
        "c2s.accept_rate": 100_000,
        "c2s.login_rate": 100_000,
        "c2s.connections_per_address": 100_000,
        "c2s.negotiating_per_address": 100_000,
        # A few connections stand for a pool of front ends.
        "sip.message_rate": 100_000,
        "federation.microsoft": True,
        "archive.enabled": False,
    }
)


class Federated(Ubiety):
    """A node with default settings but for what limits rates, and for `more`."""

    def __init__(self, fixture: Fixture, peer_port: int, more: Mapping[str, object]) -> None:
        super().__init__(fixture)
        self.sip_port = process.free_port()
        self._peer_port = peer_port
        self._more = more

    def configure(self, archive: bool) -> None:
        """Store settings, the static route and who is trusted."""
        database = Database(f"sqlite:///{self.data / 'ubiety.db'}")
        try:
            database.write_now(_write, self._peer_port, {**_SETTINGS, **self._more})
        finally:
            database.close()

    def set(self, name: str, value: object) -> None:
        """Change a setting while the node is down."""
        database = Database(f"sqlite:///{self.data / 'ubiety.db'}")
        try:
            database.write_now(write_settings, {name: value})
        finally:
            database.close()

    def end(self) -> float:
        """Stop the node as an administrator does; returns how long that took."""
        began = time.monotonic()
        process.stop(self.pid, _PATIENCE)
        return time.monotonic() - began

    def begin(self) -> None:
        """Start it again on the same data, and return at once."""
        self.pid = self.launch()
        self._pids = [self.pid]

    def note_children(self) -> None:
        """Count all that has been started by now."""
        self._pids = process.tree(self.pid)

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), "UBIETY_SIP_PORT": str(self.sip_port)}


def _write(conn: Connection, port: int, values: Mapping[str, object]) -> None:
    write_settings(conn, values)
    acl.add(conn, "ip", "127.0.0.1", "")
    pattern = "".join(f".{label}" for label in reversed(DOMAIN.split(".")))
    static_routes.add(
        conn, Route(0, pattern, "domain", "", "127.0.0.1", port, "tcp", 1, 10, True, True, False)
    )
