"""systemd's watchdog: as long as the loop turns, systemd is told; if it hangs, systemd ends the node.

sd_notify(3): a datagram to the socket that ``NOTIFY_SOCKET`` names; ``WATCHDOG_USEC`` is the time allowed.
"""

import asyncio
import os
import socket
from collections.abc import Mapping

from ubiety.telemetry import event


class Watchdog:
    """Tells systemd that this node is alive; does nothing where systemd does not ask."""

    def __init__(self, loop: asyncio.AbstractEventLoop, environment: Mapping[str, str] | None = None) -> None:
        variables = os.environ if environment is None else environment
        allowed = variables.get("WATCHDOG_USEC", "")
        name = variables.get("NOTIFY_SOCKET", "")
        self._loop = loop
        self._pause = int(allowed) / 2_000_000 if allowed.isdecimal() else 0.0
        self._address = "\0" + name[1:] if name.startswith("@") else name  # an abstract socket
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin: the node serves."""
        if not self._address:
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._say(b"READY=1")
        if self._pause > 0:
            self._tick()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._pause, self._tick)
        self._say(b"WATCHDOG=1")

    def _say(self, what: bytes) -> None:
        assert self._socket is not None
        try:
            self._socket.sendto(what, self._address)
        except OSError as error:
            event("watchdog_not_told", level="warning", reason=str(error))

    def stop(self) -> None:
        """End: the node stops, which may take a while."""
        if self._socket is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._say(b"STOPPING=1")
        self._socket.close()
        self._socket = None
