"""Requests to SIP clients of our people: they take the connection that the client has made to us."""

from collections.abc import Callable
from typing import Protocol

from ubiety.gateway.stack import Stack
from ubiety.sip.message import Request, Response
from ubiety.sip.outputs import Hop

Done = Callable[[Response | None], None]
"""Told of the end of a request: its final answer, None if nobody answered."""


class FlowStack(Stack, Protocol):
    """A stack that sends over a connection that is there (RFC 5626 §5.3)."""

    def send(self, request: Request, hop: Hop, flow: int | None = None) -> int:
        """Send a request over `flow`; where that is None or gone, to `hop`."""

    def hold(self, flow: int) -> None:
        """Keep a connection open although it is silent, until as many `release`."""

    def release(self, flow: int) -> None:
        """Undo one `hold`."""


class Calls:
    """What is on its way. Whoever receives from the stack hands on answers and failures."""

    def __init__(self, stack: FlowStack) -> None:
        self._stack = stack
        self._done: dict[int, Done] = {}

    def __len__(self) -> int:
        return len(self._done)

    def send(self, request: Request, hop: Hop, flow: int | None, done: Done) -> None:
        """Send a request; `done` is told once, later."""
        self._done[self._stack.send(request, hop, flow)] = done

    def response_received(self, key: int, response: Response) -> bool:
        """Take an answer; False if the request is not one of these."""
        if key not in self._done:
            return False
        if response.status >= 200:
            self._done.pop(key)(response)
        return True

    def failed(self, key: int) -> bool:
        """Take note that there will be no answer; False if the request is not one of these."""
        done = self._done.pop(key, None)
        if done is not None:
            done(None)
        return done is not None
