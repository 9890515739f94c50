"""pjsua2 user agents, each in a process of its own (see `pjsua_agent.py`)."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

SECONDS = 15.0


class Agent:
    """One user agent."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.events: list[dict[str, Any]] = []
        self._process = process
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if line.startswith(b"{"):
                self.events.append(json.loads(line))
                self._news.set()

    def order(self, name: str, **fields: Any) -> None:
        """Have it do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"order": name, **fields}).encode() + b"\n")

    async def saw(
        self, event: str, is_it: Callable[[dict[str, Any]], bool] = lambda one: True
    ) -> dict[str, Any]:
        """Wait for an event and take it; AssertionError with what came instead."""
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    for index, one in enumerate(self.events):
                        if one["event"] == event and is_it(one):
                            return self.events.pop(index)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {event}; instead: {self.events}") from None

    async def stop(self) -> None:
        """Sign out and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reading

    async def kill(self) -> None:
        """End without a word."""
        self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def agent(log: Path | None = None) -> AsyncIterator[Agent]:
    """A user agent that has not signed in."""
    if importlib.util.find_spec("pjsua2") is None:
        raise AssertionError("pjsua2-python is not installed: make the environment anew (make setup)")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("pjsua_agent.py")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **({"PJSUA_LOG": str(log)} if log else {})},
    )
    made = Agent(process)
    try:
        await made.saw("ready")
        yield made
    finally:
        if process.returncode is None:
            await made.stop()
