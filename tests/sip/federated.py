"""A node that shares its domain with Microsoft servers, for which SIPp stands."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.harness.client import Client
from tests.harness.wire import trusting_context
from tests.node import DOMAIN, Node
from tests.sip.certificates import Authority, Identity
from tests.sip.sipp import HOST, free_port
from ubiety.cli.client import Client as Console

FEDERATED = "partner.example"
"""Another organisation's domain, reached over SIP without Microsoft's ways."""
OURS = "imp.example.org"
"""What the node's certificate holds."""
PEER = "localhost"
"""What the certificate of the Microsoft side holds: a name that leads to this machine."""


class Federated:
    """The node, and what an administrator has set down for it."""

    def __init__(self, directory: Path) -> None:
        self.firm = Authority(directory / "firm")
        self.peer = self.firm.issue(PEER)
        own = self.firm.issue(OURS, DOMAIN)
        self.node = Node(directory / "node", environment=_environment(own, self.firm))
        self._people: list[str] = []

    def start(self) -> None:
        """Start the node; share its domain, trust this machine."""
        self.node.start()
        self.console = Console(self.node.data)
        self.console.post("federation.enable")
        self.console.post("acl.add", entry=HOST)
        self.console.post("tls_peer.add", subject=PEER)

    def restart(self) -> None:
        """Start it again where it was, after `node.kill()`."""
        self.node.restart()
        self.console = Console(self.node.data)

    def stop(self) -> None:
        """End the node."""
        self.node.stop()

    @property
    def port(self) -> int:
        """SIP over UDP and TCP."""
        return self.node.ports["sip"]

    def route(self, pattern: str, port: int = 0, transport: str = "tcp", priority: int = 1) -> int:
        """Send what is for these users or this domain to a port, if not given a free one; return it."""
        port = port or free_port()
        host = PEER if transport == "tls" else HOST
        self.console.post(
            "route.add", pattern=pattern, next_hop=host, port=port, transport=transport, priority=priority,
            kind="domain" if pattern.startswith(".") else "user",
        )  # fmt: skip
        return port

    def set(self, name: str, value: Any) -> None:
        """Change a setting of the node."""
        self.console.post("setting.set", name=name, value=str(value))

    def count(self, metric: str) -> int:
        """Return a counter of the node, as Prometheus sees it."""
        url = f"https://{HOST}:{self.node.ports['api']}/metrics"
        text = httpx.get(url, verify=trusting_context()).text
        found = re.search(rf"^ubiety_{metric}(?:_total)? (\d+)", text, re.MULTILINE)
        assert found is not None, text
        return int(found.group(1))

    async def log_in(self, count: int = 1, *, is_shown: bool = True) -> Sequence[Client]:
        """Log people in whom no other test knows; show them as available."""
        clients = [Client(self.node.place, name) for name in self.node.take_users(count)]
        for client in clients:
            await client.login()
            if is_shown:
                client.send("<presence/>")
        return clients


def _environment(own: Identity, firm: Authority) -> dict[str, str]:
    ports = {f"UBIETY_SIP_{name}PORT": "0" for name in ("", "TLS_PEER_", "TLS_SERVER_")}
    return {
        **ports,
        "UBIETY_SIP_CA": str(firm.ca),
        "UBIETY_CERTIFICATE": str(own.certificate),
        "UBIETY_PRIVATE_KEY": str(own.key),
    }
