"""A served node, and a way to run commands against it."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from tests.unit.admin.small_node import SmallNode, served, small_node
from ubiety import telemetry
from ubiety.cli.main import run


@dataclass
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Awaitable[Done]]


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """Keeps the node's log off the output of the commands."""
    telemetry.configure_log(None, console=False)
    yield
    structlog.reset_defaults()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[SmallNode]:
    """A node without XMPP that serves its local socket."""
    async with small_node(tmp_path / "data") as made, served(made):
        yield made


@pytest.fixture
def ubiety(node: SmallNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command against the node: `await ubiety("user", "list")`."""
    monkeypatch.setenv("UBIETY_DATA", str(node.config.data_dir))

    async def command(*arguments: str, given: str = "") -> Done:
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        capsys.readouterr()
        code = await asyncio.to_thread(run, list(arguments))
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return command
