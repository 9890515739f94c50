"""The outermost layer of the administration interface: sizes, time and errors in one form (ASGI)."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ubiety.admin.problems import TOO_LARGE, TOO_SLOW, Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 4 * 1024 * 1024
"""Bytes; 500 rows of an import with photos stay below it, or are sent in smaller parts."""
BODY_TIMEOUT = 30.0
_PATIENCE = 4

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
]


class Limited:
    """Reads the whole body within limits before the application sees the request."""

    def __init__(self, app: App, max_body: int = MAX_BODY, body_timeout: float = BODY_TIMEOUT) -> None:
        self._app = app
        self._max_body = max_body
        self._body_timeout = body_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            return
        try:
            async with asyncio.timeout(self._body_timeout):
                body = await self._read_body(scope, receive)
        except TimeoutError:
            await send_problem(_with_headers(send), Problem(TOO_SLOW, "The body did not arrive in time."))
        except Problem as problem:
            await send_problem(_with_headers(send), problem)
        else:
            if body is not None:
                await self._app(scope, _replay(body, receive), _with_headers(send))

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes | None:
        body = bytearray()
        size, announced = 0, _announced_size(scope)
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            is_over = max(size, announced) > self._max_body
            if not is_over:
                body += part
            # A client that still sends does not read: swallow a while, so that it sees the answer.
            if is_over and (not message.get("more_body") or size > _PATIENCE * self._max_body):
                raise Problem(TOO_LARGE, f"A request may have {self._max_body} bytes.", "Send it in parts.")
            if not message.get("more_body"):
                return bytes(body)


def _announced_size(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:19])
    return 0


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return pending.pop() if pending else await receive()

    return read


def _with_headers(send: Send) -> Send:
    async def write(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name for name, _ in message["headers"]}
            missing = [header for header in _HEADERS if header[0] not in present]
            message["headers"] = [*message["headers"], *missing]
        await send(message)

    return write


async def send_problem(send: Send, problem: Problem) -> None:
    """Answers with a problem (RFC 9457), without any framework."""
    body = json.dumps(problem.document()).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"connection", b"close")]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": problem.kind.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
