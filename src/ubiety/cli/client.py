"""Talks to the node through the local socket in its data directory."""

import http.client
import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

SOCKET_NAME = "control.sock"
TIMEOUT = 120.0
JSON_TYPE = "application/json"
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


@dataclass(frozen=True)
class _Answer:
    status: int
    reason: str
    body: bytes


class _Connection(http.client.HTTPConnection):
    """HTTP over a local socket. Made from the standard library: commands are short, and httpx takes long."""

    def __init__(self, path: Path) -> None:
        super().__init__("node", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        """Connects. Raises _Unreachable."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            with short_path(self._path) as path:
                self.sock.connect(path)
        except OSError as error:
            raise _Unreachable from error


class _Unreachable(Exception):
    """Nobody listens on the socket, or not for us."""


class Client:
    """Calls operations of the node that serves a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def get(self, operation: str, **arguments: Any) -> Any:
        """Calls an operation that only reads. Raises CommandError."""
        query = urlencode(
            {name: _in_query(value) for name, value in arguments.items() if value is not None}, doseq=True
        )
        return self._call("GET", f"{_path(operation)}?{query}" if query else _path(operation))

    def post(self, operation: str, **arguments: Any) -> Any:
        """Calls an operation that changes something. Raises CommandError."""
        given = {name: value for name, value in arguments.items() if value is not None}
        return self._call("POST", _path(operation), json.dumps(given).encode())

    def is_running(self) -> bool:
        """Whether a node answers on the socket."""
        try:
            with short_path(self.data_dir / SOCKET_NAME) as path, socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(2)
                probe.connect(path)
        except OSError:
            return False
        return True

    def _call(self, method: str, path: str, body: bytes | None = None) -> Any:
        try:
            answer = self._ask(method, path, body)
        except _Unreachable as error:
            raise self._unreachable() from error
        except (OSError, http.client.HTTPException) as error:
            detail = f"The node stopped answering: {error or type(error).__name__}."
            raise CommandError(detail, f"See {self.data_dir / 'logs' / 'ubiety.log'}.") from error
        if 200 <= answer.status < 300:
            return json.loads(answer.body)
        raise _refusal(answer)

    def _ask(self, method: str, path: str, body: bytes | None) -> _Answer:
        # A connection for each call: one that was idle for a while may have been closed by the node.
        with closing(_Connection(self.data_dir / SOCKET_NAME)) as connection:
            connection.request(method, path, body, {} if body is None else {"content-type": JSON_TYPE})
            answer = connection.getresponse()
            return _Answer(answer.status, answer.reason, answer.read())

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


def _path(operation: str) -> str:
    return f"/api/{operation.replace('.', '/')}"


def _in_query(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _refusal(answer: _Answer) -> CommandError:
    try:
        problem = json.loads(answer.body)
        return CommandError(problem["detail"], problem.get("cure", ""))
    except (ValueError, KeyError, TypeError):
        return CommandError(f"The node answered {answer.status} {answer.reason}.")


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
