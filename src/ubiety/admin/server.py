"""Serves the administration interface with uvicorn's HTTP protocol, inside the node's loop.

uvicorn's own server is not used: it takes over signals and wakes up ten times a second.
"""

import asyncio
import email.utils
import os
import pwd
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from ubiety.admin.http import App
from ubiety.clock import Clock

MAX_CONNECTIONS = 200
HEADER_TIMEOUT = 10.0
KEEP_ALIVE = 15
STOP_TIMEOUT = 5.0
_BACKLOG = 128


class _Protocol(H11Protocol):
    """An HTTP connection that must send the head of each request in time, and knows its local caller."""

    _deadline: asyncio.TimerHandle | None = None
    is_local = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        if peer is not None and peer.family == socket.AF_UNIX:
            self.client = (f"unix:{_peer_user(peer)}", 0)
            self.is_local = True
        self._arm()

    def data_received(self, data: bytes) -> None:
        if self._deadline is None and self._is_between_requests():
            self._arm()
        super().data_received(data)
        if not self._is_between_requests():
            self._disarm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(HEADER_TIMEOUT, self.transport.close)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class ApiServer:
    """Listeners of the administration interface."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._servers: list[asyncio.Server] = []
        self._states: list[ServerState] = []
        self._socket: Path | None = None

    async def listen_local(self, app: App, path: Path) -> None:
        """Listens on a local socket that only this user can open. Raises OSError."""
        path.unlink(missing_ok=True)
        listening = _local_socket(path)
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(self.protocol(app), sock=listening, backlog=_BACKLOG)
        self._socket = path
        self._servers.append(server)

    def protocol(self, app: App) -> Callable[[], asyncio.Protocol]:
        """What serves `app` on a connection; listening on the network is the affair of `net.listener`."""
        config = Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE,
            h11_max_incomplete_event_size=32 * 1024,
        )
        config.load()
        state = _DatedState(self._clock)
        self._states.append(state)
        loop = asyncio.get_running_loop()
        return lambda: _Protocol(config=config, server_state=state, app_state={}, _loop=loop)

    async def drop_network(self) -> None:
        """Closes the connections that came over the network, once they are answered."""
        for state in self._states:
            for connection in list(state.connections):
                if isinstance(connection, _Protocol) and not connection.is_local:
                    connection.shutdown()

    async def stop(self) -> None:
        """Stops listening, lets requests end for a few seconds and closes all connections."""
        for server in self._servers:
            server.close()
        connections = [connection for state in self._states for connection in list(state.connections)]
        for connection in connections:
            connection.shutdown()
        tasks = [task for state in self._states for task in list(state.tasks)]
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_TIMEOUT)
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)


class _DatedState(ServerState):
    """uvicorn's shared state, whose date is made when it is asked for instead of every second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        super().__init__()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of every answer (RFC 9110 §6.6.1)."""
        return [(b"date", email.utils.formatdate(self._clock.now(), usegmt=True).encode())]

    @default_headers.setter
    def default_headers(self, value: list[tuple[bytes, bytes]]) -> None:
        """uvicorn assigns an empty list at first."""


def _local_socket(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # closed from its first moment on
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        # By way of the descriptor, as a path of more than 107 bytes is refused (unix(7)).
        listening.bind(f"/proc/self/fd/{directory}/{path.name}")
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
        os.close(directory)
    listening.setblocking(False)
    return listening


def _peer_user(peer: socket.socket) -> str:
    # SO_PEERCRED: process, user and group of the other end, vouched for by the kernel.
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    user = struct.unpack("3i", credentials)[1]
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
