"""SIP stacks on loopback, and a user for them that answers what a load balancer asks."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ubiety.config import Listen
from ubiety.net.sip import Places, SipStack
from ubiety.net.sip_settings import SETTINGS
from ubiety.settings import Settings
from ubiety.sip.message import Request, Response, make_request, make_response
from ubiety.sip.outputs import Cause, Hop, Peer
from ubiety.telemetry import Counters

HOST = "127.0.0.1"
SECONDS = 10.0
NOWHERE = Places()
_numbers = itertools.count(1)


class Echo:
    """Answers OPTIONS with 200, sends the body of a MESSAGE back in its 200, refuses all else with 501.

    It keeps all that it is told.
    """

    def __init__(self) -> None:
        self.stack: SipStack
        self.is_alive = True
        self.requests: list[tuple[Request, Peer]] = []
        self.acks: list[Request] = []
        self.cancelled_keys: list[int] = []
        self.responses: dict[int, list[Response]] = {}
        self.failures: dict[int, Cause] = {}
        self._changed = asyncio.Event()

    def request_received(self, key: int, request: Request, peer: Peer) -> None:
        self.requests.append((request, peer))
        self._changed.set()
        self.answer(key, request, peer)

    def answer(self, key: int, request: Request, peer: Peer) -> None:
        if request.method == "OPTIONS":
            # A load balancer sends requests elsewhere when this is not 200.
            self.stack.respond(key, make_response(request, 200 if self.is_alive else 503))
        elif request.method == "MESSAGE":
            kind = request.headers.get("content-type") or ""
            self.stack.respond(key, make_response(request, 200, content_type=kind, body=request.body))
        else:
            self.stack.respond(key, make_response(request, 501))

    def response_received(self, key: int, response: Response) -> None:
        self.responses.setdefault(key, []).append(response)
        self._changed.set()

    def failed(self, key: int, cause: Cause) -> None:
        self.failures[key] = cause
        self._changed.set()

    def ack_received(self, request: Request, peer: Peer) -> None:
        self.acks.append(request)
        self._changed.set()

    def cancelled(self, key: int) -> None:
        self.cancelled_keys.append(key)
        self._changed.set()

    async def until(self, is_so: Callable[[], Any], seconds: float = SECONDS) -> Any:
        """Wait until something is so; return what it is."""
        async with asyncio.timeout(seconds):
            while not (result := is_so()):
                self._changed.clear()
                await self._changed.wait()
        return result

    async def outcome(self, key: int, seconds: float = SECONDS) -> int | Cause:
        """Wait for the final answer to a request, or for the cause why there is none."""

        def is_over() -> int | Cause | None:
            final = [one.status for one in self.responses.get(key, ()) if one.status >= 200]
            return final[0] if final else self.failures.get(key)

        result: int | Cause = await self.until(is_over, seconds)
        return result


def settings(**values: int | str) -> Settings:
    """Settings of the stack; names without `sip.`."""
    made = Settings(SETTINGS)
    made.load({f"sip.{name}": json.dumps(value) for name, value in values.items()})
    return made


@asynccontextmanager
async def running(
    places: Places | None = None, handler: Echo | None = None, **options: Any
) -> AsyncIterator[tuple[SipStack, Echo]]:
    """A stack and its user; it listens for UDP and TCP unless `places` says something else."""
    handler = handler or Echo()
    places = Places(sip=[Listen(HOST, 0)]) if places is None else places
    made = options.pop("settings", None) or settings()
    stack = SipStack(handler, places, made, options.pop("counters", None) or Counters(), **options)
    handler.stack = stack
    await stack.start()
    try:
        yield stack, handler
    finally:
        await stack.close()


def hop_to(
    stack: SipStack, transport: str = "tcp", listener: str = "", host: str = HOST, name: str = ""
) -> Hop:
    """The way to a stack."""
    listener = listener or ("sip_tls_peer" if transport == "tls" else "sip")
    return Hop(transport, host, stack.ports[listener], name)


def request(method: str = "MESSAGE", body: bytes = b"hello", **fields: Any) -> Request:
    """A request from one person to another."""
    number = next(_numbers)
    kind = {"content_type": "text/plain", "body": body} if body and method != "OPTIONS" else {}
    return make_request(
        method,
        "sip:bob@example.org",
        "<sip:alice@example.com>;tag=a1",
        "<sip:bob@example.org>",
        f"call-{number}@test",
        1,
        **{**kind, **fields},
    )
