"""How a running pool is told what to do: line by line, from a terminal or over a Unix socket."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from ubiety.lab.commands import CommandRefusedError, run
from ubiety.lab.pool import Pool

END = ("quit", "exit")


async def answer(pool: Pool, line: str) -> list[str]:
    """Carries out a line; the last line of the answer is `ok` or `error: ...`."""
    try:
        return [*(await run(pool, line)), "ok"]
    except CommandRefusedError as error:
        return [f"error: {error}"]


class Control:
    """A Unix socket that takes commands. Each connection may send many."""

    def __init__(self, pool: Pool, path: Path) -> None:
        self._pool = pool
        self._path = path
        self._server: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        """Listens. Raises OSError."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def stop(self) -> None:
        """Stops listening."""
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                text = line.decode("utf-8", "replace").strip()
                if text in END:
                    break
                writer.write("".join(f"{one}\n" for one in await answer(self._pool, text)).encode())
                await writer.drain()
        writer.close()


async def tell(path: Path, line: str) -> list[str]:
    """Sends one command to a running pool and returns its answer. Raises OSError."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(f"{line}\n".encode())
    writer.write_eof()
    lines = (await reader.read()).decode().splitlines()
    writer.close()
    return lines


async def obey_terminal(pool: Pool, show: Callable[[str], None]) -> None:
    """Carries out what comes on standard input until it ends, or somebody says quit."""
    async for line in _read_terminal():
        if line.strip() in END:
            return
        if line.strip():
            for one in await answer(pool, line):
                show(one)


async def _read_terminal() -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode("utf-8", "replace")
