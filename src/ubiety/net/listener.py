"""Listening sockets: one per address, IPv4 and IPv6 apart, so that a node can say which one failed."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence

from ubiety.config import Listen

BACKLOG = 4096
SUPERVISED = ("WATCHDOG_USEC", "UBIETY_SUPERVISED")
"""Set in the environment by who ends a node that hangs: systemd's watchdog, `ubiety cluster up`."""


class ListenError(Exception):
    """An address cannot be listened on; the text names cause and cure."""


async def listen(
    protocol: Callable[[], asyncio.Protocol],
    addresses: Sequence[Listen],
    setting: str,
    context: ssl.SSLContext | None = None,
) -> list[asyncio.Server]:
    """Listen on all addresses; port 0 means one free port for all of them. Raises ListenError."""
    loop = asyncio.get_running_loop()
    servers: list[asyncio.Server] = []
    port = 0
    for address in addresses:
        if address.is_shared:
            _require_supervisor(address)
        try:
            sock = _open(address, address.port or port)
        except OSError as error:
            if ":" in address.host and len(addresses) > 1 and has_no_ipv6(error):
                continue  # a machine without IPv6 serves IPv4
            raise ListenError(
                f"Cannot listen on {address}: {error.strerror or error}. "
                f"Stop what uses the port, or choose another one with {setting}."
            ) from None
        port = sock.getsockname()[1]
        servers.append(await loop.create_server(protocol, sock=sock, ssl=context, backlog=BACKLOG))
    return servers


def port_of(servers: Sequence[asyncio.Server]) -> int:
    """Return the port that was really bound."""
    port: int = servers[0].sockets[0].getsockname()[1]
    return port


def _require_supervisor(address: Listen) -> None:
    """A node that hangs would keep its share of the new connections to itself. Raises ListenError."""
    if not any(os.environ.get(name) for name in SUPERVISED):
        raise ListenError(
            f"Cannot share {address} with other nodes: nobody would end this node if it hung. Start it with "
            "`ubiety cluster up`, or by systemd with WatchdogSec=10, or set UBIETY_REUSE_PORT to off."
        )


def _open(address: Listen, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what is accepted
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, port))
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def has_no_ipv6(error: BaseException | None) -> bool:
    """Whether an address could not be listened on because the machine has no IPv6."""
    return isinstance(error, OSError) and error.errno in (97, 99)  # EAFNOSUPPORT, EADDRNOTAVAIL
