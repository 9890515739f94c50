"""A load balancer of the active/backup kind, as seed 000 puts one before two nodes: it asks by OPTIONS."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence

HOST = "127.0.0.1"
PROBE_SECONDS = 2.0


class Balancer:
    """Takes connections and leads each to the first node that answers OPTIONS with 200."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.ports = list(ports)
        """Of the nodes: the active one, then the backup."""
        self.port = 0
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> Balancer:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, HOST, port)
        self.port = port
        return self

    async def stop(self) -> None:
        """Listen no more; connections end."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def probe(self, port: int) -> int:
        """Return what a node answers to OPTIONS; 0: it is not there."""
        request = (
            f"OPTIONS sip:{HOST} SIP/2.0\r\n"
            f"Via: SIP/2.0/TCP {HOST}:{self.port};branch=z9hG4bKprobe{next(self._numbers)}\r\n"
            f"From: <sip:balancer@{HOST}>;tag=1\r\nTo: <sip:{HOST}>\r\n"
            f"Call-ID: probe{next(self._numbers)}\r\nCSeq: 1 OPTIONS\r\n"
            "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                reader, writer = await asyncio.open_connection(HOST, port)
                try:
                    writer.write(request.encode())
                    line = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return 0
        words = line.split()
        return int(words[1]) if len(words) > 1 else 0

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            for port in self.ports:
                if await self.probe(port) == 200:
                    break
            else:
                return
            node_reader, node_writer = await asyncio.open_connection(HOST, port)
            with contextlib.closing(node_writer):
                pumps = [_pump(reader, node_writer), _pump(node_reader, writer)]
                tasks = [asyncio.get_running_loop().create_task(pump) for pump in pumps]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in tasks:
                        task.cancel()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
