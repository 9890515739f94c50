"""Talks to the node through the local socket in its data directory."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

SOCKET_NAME = "control.sock"
TIMEOUT = 120.0
MAX_SOCKET_PATH = 100
"""Bytes; the kernel takes 107 (unix(7))."""


class CommandError(Exception):
    """A command was not done. `cure` says what to do about it; `code` is the exit code."""

    def __init__(self, detail: str, cure: str = "", code: int = 1) -> None:
        super().__init__(detail)
        self.detail = detail
        self.cure = cure
        self.code = code


NOT_RUNNING = 3
"""Exit code when no node serves the directory."""


class Client:
    """Calls operations of the node that serves a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._http: httpx.Client | None = None
        self._stack = ExitStack()  # open for as long as the process lives: commands are short

    def get(self, operation: str, **arguments: Any) -> Any:
        """Calls an operation that only reads. Raises CommandError."""
        given = {name: value for name, value in arguments.items() if value is not None}
        return self._call("GET", operation, params=given)

    def post(self, operation: str, **arguments: Any) -> Any:
        """Calls an operation that changes something. Raises CommandError."""
        given = {name: value for name, value in arguments.items() if value is not None}
        return self._call("POST", operation, json=given)

    def is_running(self) -> bool:
        """Whether a node answers on the socket."""
        try:
            with short_path(self.data_dir / SOCKET_NAME) as path, socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(2)
                probe.connect(path)
        except OSError:
            return False
        return True

    def _call(self, method: str, operation: str, **about: Any) -> Any:
        path = f"/api/{operation.replace('.', '/')}"
        try:
            answer = self._open().request(method, path, **about)
        except httpx.ConnectError as error:
            raise self._unreachable() from error
        except httpx.HTTPError as error:
            detail = f"The node stopped answering: {error or type(error).__name__}."
            raise CommandError(detail, f"See {self.data_dir / 'logs' / 'ubiety.log'}.") from error
        if answer.is_success:
            return answer.json()
        raise _refusal(answer)

    def _open(self) -> httpx.Client:
        if self._http is None:
            path = self._stack.enter_context(short_path(self.data_dir / SOCKET_NAME))
            transport = httpx.HTTPTransport(uds=path)
            self._http = httpx.Client(transport=transport, base_url="http://node", timeout=TIMEOUT)
        return self._http

    def _unreachable(self) -> CommandError:
        path = self.data_dir / SOCKET_NAME
        if path.exists() and not os.access(path, os.W_OK):
            owner = path.stat().st_uid
            return CommandError(
                f"{path} belongs to the user {owner}.", "Run the command as that user, or with sudo."
            )
        if not self.data_dir.is_dir():
            return CommandError(
                f"There is no directory {self.data_dir}.",
                "Name the node's data directory with --data DIR or UBIETY_DATA.",
                NOT_RUNNING,
            )
        return CommandError(
            f"No node serves {self.data_dir}.", f"Start it: ubiety serve --data {self.data_dir}", NOT_RUNNING
        )


def _refusal(answer: httpx.Response) -> CommandError:
    try:
        problem = answer.json()
        return CommandError(problem["detail"], problem.get("cure", ""))
    except (ValueError, KeyError, TypeError):
        return CommandError(f"The node answered {answer.status_code} {answer.reason_phrase}.")


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A path to the socket that fits into the kernel's limit, by way of a descriptor of its directory."""
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH or not path.parent.is_dir():
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
