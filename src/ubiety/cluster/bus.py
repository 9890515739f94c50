"""What carries messages between the nodes: the interface, and the bus of nodes that share one process.

A bus may lose, repeat and delay messages, and drops what is published while it has no connection: `flow.py`
makes up for all of that. NATS, the bus between processes, is driven by `net/bus.py`.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

Receive = Callable[[str, bytes], None]
"""Called in the loop with a subject and a message."""


class BusError(Exception):
    """The bus cannot be used. The text names the cause and the cure."""


class Bus(Protocol):
    """A way to publish messages under subjects of words and dots, and to hear those of others."""

    @property
    def connected(self) -> bool:
        """Whether what is published now has a way out."""

    async def start(self) -> None:
        """Connect, and stay connected from now on. Raises BusError where waiting would not help."""

    async def close(self) -> None:
        """Stop. What was published before is still sent if there is a connection."""

    def publish(self, subject: str, data: bytes) -> None:
        """Send a message. Never waits and never raises; without a connection it is dropped."""

    async def subscribe(self, subject: str, receive: Receive) -> None:
        """Have ``receive`` called for each message of a subject; ``*`` stands for one word of it."""

    async def unsubscribe(self, subject: str, receive: Receive) -> None:
        """Hear a subject no more."""

    def watch(self, notice: Callable[[bool], None]) -> None:
        """Have ``notice(connected)`` called when the connection is lost and when it is back."""


class LocalBus:
    """The bus of several nodes in one process: made once, and given to each of them."""

    def __init__(self) -> None:
        self._subscribers: list[tuple[list[str], Receive]] = []
        self._routes: dict[str, list[Receive]] = {}

    @property
    def connected(self) -> bool:
        """Always true: there is nothing in between."""
        return True

    async def start(self) -> None:
        """Nothing is to be done."""

    async def close(self) -> None:
        """The other nodes of the process go on."""

    def publish(self, subject: str, data: bytes) -> None:
        """Hand a message to the subscribers in the next turn of the loop."""
        receivers = self._routes.get(subject)
        if receivers is None:
            words = subject.split(".")
            receivers = [receive for pattern, receive in self._subscribers if _matches(pattern, words)]
            self._routes[subject] = receivers
        loop = asyncio.get_running_loop()
        for receive in receivers:
            loop.call_soon(receive, subject, data)

    async def subscribe(self, subject: str, receive: Receive) -> None:
        """Hear the messages of a subject."""
        self._subscribers.append((subject.split("."), receive))
        self._routes.clear()

    async def unsubscribe(self, subject: str, receive: Receive) -> None:
        """Hear a subject no more."""
        self._subscribers.remove((subject.split("."), receive))
        self._routes.clear()

    def watch(self, notice: Callable[[bool], None]) -> None:
        """There is no change of state to be told."""


def _matches(pattern: list[str], words: list[str]) -> bool:
    return len(pattern) == len(words) and all(
        expected in ("*", word) for expected, word in zip(pattern, words, strict=True)
    )
