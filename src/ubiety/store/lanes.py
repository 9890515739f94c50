"""Threads that work for the loop, cheaper than an executor: what has piled up is taken and answered together.

An executor's call costs about 150 µs (two futures, two wake-ups); here a wake-up is shared by all calls
that wait.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from sqlalchemy import Connection

#: A thread answers after so many calls, or this many seconds, at the latest.
TAKEN_AT_ONCE = 32
ANSWER_WITHIN = 0.002
#: While calls come in company, a lane that gathers begins at most once in so many seconds.
GATHERING = 0.001


class Call:
    """One function to run on a connection, and who waits for what it returns."""

    __slots__ = ("error", "fn", "loop", "result", "waiter")

    def __init__(self, fn: Callable[[Connection], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.fn = fn
        self.loop = loop
        self.waiter: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None


class Lane:
    """Threads that take calls in order; ``work`` runs a few of them and notes results or errors in them.

    A lane that ``gathers`` begins when the loop's turn is over, so that all calls of a turn are run together,
    and waits a moment for more as long as there are several at a time.
    """

    def __init__(
        self, name: str, threads: int, work: Callable[[list[Call]], None], *, gathers: bool = False
    ) -> None:
        self._work = work
        self._gathers = gathers
        self._gathered: dict[asyncio.AbstractEventLoop, list[Call]] = {}
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, fn: Callable[[Connection], Any]) -> "asyncio.Future[Any]":
        """Queue a function; called in a loop, which gets the answer. Raises RuntimeError once closed."""
        if self._is_closed:
            raise RuntimeError("the database is closed")
        loop = asyncio.get_running_loop()
        call = Call(fn, loop)
        if not self._gathers:
            self._calls.put(call)
        elif loop in self._gathered:
            self._gathered[loop].append(call)
        else:
            self._gathered[loop] = [call]
            loop.call_soon(self._hand_over, loop)
        return call.waiter

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        for call in self._gathered.pop(loop, ()):
            self._calls.put(call)

    def close(self) -> None:
        """Finish what was queued and end the threads."""
        if self._is_closed:
            return
        self._is_closed = True
        for loop in list(self._gathered):
            self._hand_over(loop)
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        next_at = 0.0
        while (first := self._calls.get()) is not None:
            if self._gathers and (pause := next_at - time.monotonic()) > 0:
                time.sleep(pause)
            calls = [first]
            ends = self._take_more(calls)
            self._work(calls)
            _answer(calls)
            next_at = time.monotonic() + GATHERING if len(calls) > 1 else 0.0
            if ends:
                return

    def _take_more(self, calls: list[Call]) -> bool:
        """Add what waits already; True when the lane is being closed."""
        share = max(1, self._calls.qsize() // len(self._threads))
        while len(calls) < min(TAKEN_AT_ONCE, share):
            try:
                call = self._calls.get_nowait()
            except Empty:
                return False
            if call is None:
                return True
            calls.append(call)
        return False


def run_each(calls: list[Call], run: Callable[[Callable[[Connection], Any]], Any]) -> None:
    """Run calls one by one, each with its own result or error; answer early when it takes long."""
    begun = time.monotonic()
    for index, call in enumerate(calls):
        try:
            call.result, call.error = run(call.fn), None
        except BaseException as error:  # noqa: BLE001  it belongs to whoever asked
            call.error = error
        if time.monotonic() - begun > ANSWER_WITHIN and index + 1 < len(calls):
            _answer(calls[: index + 1])
            begun = time.monotonic()


def _answer(calls: list[Call]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[Call]] = {}
    for call in calls:
        by_loop.setdefault(call.loop, []).append(call)
    for loop, answered in by_loop.items():
        with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(_settle, answered)


def _settle(calls: list[Call]) -> None:
    for call in calls:
        if call.waiter.done():
            continue  # cancelled, or answered early
        if call.error is not None:
            call.waiter.set_exception(call.error)
        else:
            call.waiter.set_result(call.result)
