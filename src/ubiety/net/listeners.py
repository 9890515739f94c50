"""Listening sockets that a service opens and closes; what was bound once is bound again."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ubiety.config import Listen
from ubiety.net.listener import ListenError, listen, port_of


@dataclass(frozen=True)
class Listener:
    """What listens at some addresses."""

    name: str
    protocol: Callable[[], asyncio.Protocol]
    addresses: Sequence[Listen]
    setting: str
    """What an administrator changes when the port is taken."""
    context: Callable[[], ssl.SSLContext | None] = lambda: None


class Listeners:
    """The sockets of one service."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self._servers: list[asyncio.Server] = []
        self._bound: dict[str, int] = {}

    @property
    def ports(self) -> dict[str, int]:
        """The ports by name: those that were bound, else those of the configuration."""
        return {one.name: self._bound.get(one.name, one.addresses[0].port) for one in self._listeners}

    async def open(self) -> None:
        """Listen. Raises ListenError; then nothing listens."""
        try:
            for one in self._listeners:
                port = self._bound.get(one.name)
                addresses = [replace(at, port=port or at.port) for at in one.addresses]
                servers = await listen(one.protocol, addresses, one.setting, one.context())
                self._servers += servers
                self._bound[one.name] = port_of(servers)
        except ListenError:
            self.close()
            raise

    def close(self) -> None:
        """Listen no more; connections stay."""
        for server in self._servers:
            server.close()
        self._servers.clear()
