"""What answers on the local socket until the node is composed: that it is starting, and what it waits for."""

import json
from collections.abc import Callable

from ubiety.admin.http import App, Receive, Scope, Send, send_problem
from ubiety.admin.problems import UNAVAILABLE, Problem
from ubiety.cluster.health import Health


class Front:
    """An application that is exchanged while it is served."""

    def __init__(self, health: Callable[[], Health]) -> None:
        self._health = health
        self._app: App | None = None

    def show(self, app: App) -> None:
        """Have the node itself answer from now on."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == "/healthz":
            await _answer(send, 503, health_document(self._health()))
        elif scope["type"] == "http":
            await send_problem(send, Problem(UNAVAILABLE, self._health().reason, "Try again soon."))


def health_document(health: Health) -> dict[str, str]:
    """The body of /healthz."""
    document = {"status": health.status}
    return document | {"reason": health.reason} if health.reason else document


async def _answer(send: Send, status: int, document: dict[str, str]) -> None:
    body = json.dumps(document).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
