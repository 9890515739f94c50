"""`python -m bench.cluster.worker`: one process of the generator; one may not have files for all sessions.

Reads orders, one JSON object a line, and answers each with one. The first line says who is in the crowd and
which part of it is this process's.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from dataclasses import asdict
from typing import Any

import uvloop

from bench import process
from bench.cluster.crowd import Crowd
from bench.cluster.sessions import Sessions
from bench.load.login import prepare_keys
from bench.people import ITERATIONS, SALT


class Worker:
    """Does what it is told, one thing after the other."""

    def __init__(self, order: dict[str, Any]) -> None:
        crowd = Crowd(**order["crowd"])
        self._crowd = crowd
        self._mine = range(order["number"], crowd.people, order["workers"])
        self._sessions = Sessions(crowd, order["ports"], order["tls"])

    async def enter(self, first: int, last: int, at_once: int) -> dict[str, Any]:
        """Sign in those of our people whose numbers are in a range, in an order of chance."""
        people = [person for person in self._mine if first <= person < last]
        # Neighbours, who are each other's contacts, do not come together.
        people.sort(key=lambda person: person * 7919 % 104_729)
        return {"times": await self._sessions.enter({who: self._crowd.edge(who) for who in people}, at_once)}

    async def come_back(self, dead: int, at_once: int, watch: float) -> dict[str, Any]:
        """Sign in again whoever was at the dead node, and who else is cut off."""
        times, elsewhere = await self._sessions.come_back(dead, at_once, watch)
        return {"times": times, "elsewhere": elsewhere}

    async def chat(self, rate: float, seconds: float) -> dict[str, Any]:
        """Single messages at a modest rate."""
        return {"sent": await self._sessions.chat(rate, seconds, self._crowd.people)}

    async def start_echo(self, chatters: int, is_cross: bool) -> dict[str, Any]:
        """Keep messages in flight."""
        self._sessions.start_echo([person for person in self._mine if person < chatters], is_cross)
        return {}

    async def stop_echo(self) -> dict[str, Any]:
        """Let them arrive."""
        self._sessions.stop_echo()
        return {}

    async def counts(self) -> dict[str, Any]:
        """What was counted since the last time it was reset, and who is on."""
        return asdict(self._sessions.counts) | {"online": self._sessions.online()}

    async def reset(self) -> dict[str, Any]:
        """Count from zero."""
        self._sessions.reset()
        return {}


async def serve() -> None:
    """Obey until the input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    worker = Worker(json.loads(await reader.readline()))
    while line := await reader.readline():
        order = json.loads(line)
        answer = await getattr(worker, order.pop("do"))(**order)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    process.raise_descriptor_limit()
    prepare_keys(SALT, ITERATIONS)
    gc.disable()
    uvloop.run(serve())
