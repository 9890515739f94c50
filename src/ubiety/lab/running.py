"""Runs a pool until it is told to stop: what `ubiety lab microsoft` does."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ubiety.lab.connection import Traced
from ubiety.lab.control import Control, obey_terminal
from ubiety.lab.journal import Entry
from ubiety.lab.plan import Plan
from ubiety.lab.pool import Pool


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a pool is run."""

    control: Path | None = None
    """The Unix socket for commands."""
    has_terminal: bool = True
    """Whether commands come on standard input; the pool ends with it."""
    traces: bool = False
    """Whether every message is printed."""


async def run_pool(plan: Plan, wishes: Wishes, show: Callable[[str], None]) -> None:
    """Runs until the terminal is at its end or a signal comes. Raises OSError if a port is taken."""

    def trace(traced: Traced) -> None:
        arrow = "->" if traced.direction == "out" else "<-"
        show(f"{arrow} {traced.transport} {traced.peer}\n{traced.data.decode('utf-8', 'replace')}")

    pool = Pool(plan, trace if wishes.traces else lambda _traced: None)
    pool.on_entry = lambda uri, entry: show(_told(uri, entry))
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with pool:
        for line in describe(pool):
            show(line)
        control = Control(pool, wishes.control) if wishes.control else None
        if control is not None:
            await control.start()
        try:
            await _until_told(pool, wishes, stopped, show)
        finally:
            if control is not None:
                await control.stop()


async def _until_told(
    pool: Pool, wishes: Wishes, stopped: asyncio.Event, show: Callable[[str], None]
) -> None:
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(stopped.wait())]
    if wishes.has_terminal:
        tasks.append(asyncio.create_task(obey_terminal(pool, show)))
    _done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def describe(pool: Pool) -> list[str]:
    """What is running, for people."""
    plan = pool.site.plan
    lines = [
        f"Front end {one.plan.name} listens on "
        + ", ".join(f"{transport} {plan.address}:{port}" for transport, port in one.ports.items())
        for one in pool.front_ends
    ]
    for domain, route in plan.routes.items():
        place = f"{route.host}:{route.port} ({route.transport})"
        lines.append(f"Unknown people of {domain} are looked for at {place}")
    lines.append(f"{len(plan.users)} people. Say help for the commands.")
    return lines


def _told(uri: str, entry: Entry) -> str:
    return f"[{uri.partition('@')[0]}] {entry}"
