"""Keeps processes running: starts them, restarts what died or hangs, stops them in order."""

import asyncio
import pwd
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_SECONDS = 60.0
"""Time that a process has until it answers for the first time."""
HUNG_SECONDS = 10.0
"""Silence after which a process that answered before is taken for hung (design.md §1)."""
STARTING = "starting"
"""What a node says of itself until it serves."""
LOOK_SECONDS = 1.0
POLL_SECONDS = 0.1
STOP_SECONDS = 30.0
SHORT_LIFE = 10.0
"""Whoever ends sooner than this after its start is started again ever more slowly."""
LONGEST_PAUSE = 30.0


class PartError(Exception):
    """A part does not start. The text names it and holds the end of its log."""


@dataclass(frozen=True)
class Part:
    """One process of a local cluster."""

    name: str
    command: Sequence[str]
    log: Path
    """Where its output goes."""
    probe: Callable[[], Awaitable[str]]
    """Asks it how it is, in a word or two; empty when it does not answer."""
    address: str
    """Where it is reached, for people to read."""
    environment: Mapping[str, str]
    user: str | None = None
    """Whom it runs as; None: the same user."""
    stop_signal: signal.Signals = signal.SIGTERM
    is_watched: bool = False
    """Whether it is killed when it hangs."""
    cleanup: Callable[[], None] = field(default=lambda: None)
    """Done before each start."""


class Keeper:
    """Runs one part, again and again until it is told to stop."""

    def __init__(self, part: Part, changed: Callable[[str], None]) -> None:
        """`changed` is told in a sentence what happened; empty for what nobody needs to read."""
        self.part = part
        self.state = "stopped"
        self.health = ""
        self.since = 0.0
        self.restarts = 0
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._answered = 0.0
        self._pause = 0.0

    @property
    def row(self) -> dict[str, Any]:
        """What is known of the part, for JSON."""
        process = self._process
        return {
            "name": self.part.name,
            "state": self.state,
            "health": self.health,
            "process": process.pid if process is not None and process.returncode is None else None,
            "since": self.since,
            "restarts": self.restarts,
            "address": self.part.address,
            "log": str(self.part.log),
        }

    async def start(self) -> None:
        """Start the process and wait until it answers. Raises PartError."""
        await self._spawn()
        deadline = time.monotonic() + START_SECONDS
        while not await self._look() or self.health == STARTING:
            if self._alive.returncode is not None or time.monotonic() > deadline:
                raise PartError(f"{self.part.name} does not start:\n{self.tail()}")
            await asyncio.sleep(POLL_SECONDS)

    async def keep(self) -> None:
        """Start the process again whenever it ends or hangs. Never returns: cancel it."""
        while True:
            reason = await self._until_down()
            self.restarts += 1
            self.health = ""
            self._become("restarting", f"{self.part.name} {reason}; it is started again.")
            is_short = time.time() - self.since < SHORT_LIFE
            self._pause = min(LONGEST_PAUSE, max(1.0, self._pause * 2)) if is_short else 0.0
            await asyncio.sleep(self._pause)
            await self._spawn()

    async def stop(self) -> None:
        """End the process as an administrator does, or kill it when it lingers."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(self.part.stop_signal)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
        self.health = ""
        self._become("stopped", "")

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the part's output."""
        if not self.part.log.exists():
            return "(it has written nothing)"
        return "\n".join(self.part.log.read_text("utf-8", "replace").splitlines()[-lines:])

    @property
    def _alive(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    def _become(self, state: str, sentence: str) -> None:
        self.state = state
        self._changed(sentence)

    async def _spawn(self) -> None:
        part = self.part
        part.cleanup()
        with part.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                # The kernel ends it when the supervisor is gone, whatever the reason.
                *as_user(part.user, "--pdeathsig", part.stop_signal.name.removeprefix("SIG")),
                *part.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(part.environment),
                start_new_session=True,  # Ctrl-C in the terminal is for the supervisor alone
            )
        self.since, self._answered = time.time(), 0.0
        self._become("starting", "")

    async def _until_down(self) -> str:
        process, began = self._alive, time.monotonic()
        while True:
            try:
                status = await asyncio.wait_for(process.wait(), LOOK_SECONDS)
            except TimeoutError:
                if self.part.is_watched or not self._answered:
                    await self._look()
            else:
                return f"was killed by {_signal_name(-status)}" if status < 0 else f"ended with {status}"
            limit = HUNG_SECONDS if self._answered else START_SECONDS
            silence = time.monotonic() - (self._answered or began)
            if self.part.is_watched and silence > limit:
                process.kill()
                await process.wait()
                return f"did not answer for {silence:.0f} s and was killed"

    async def _look(self) -> bool:
        health = await self.part.probe()
        if health:
            self._answered = time.monotonic()
        elif self._answered and self.part.is_watched:
            health = f"silent for {time.monotonic() - self._answered:.0f} s"
        state = "running" if self._answered else self.state
        if (state, health) != (self.state, self.health):
            self.health = health
            self._become(state, "")
        return bool(self._answered)


def as_user(name: str | None, *options: str) -> list[str]:
    """Return what stands before a command that is to run as somebody (setpriv(1))."""
    if name is None:
        return ["setpriv", *options, "--"] if options else []
    group = str(pwd.getpwnam(name).pw_gid)
    return ["setpriv", *options, "--reuid", name, "--regid", group, "--init-groups", "--"]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
