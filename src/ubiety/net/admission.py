"""Who may begin to sign in, and when: a crowd that comes back is accepted at once and served in turn.

A new connection that must wait is not read; its time to sign in begins when it is let in. Addresses take
turns. Nobody is let in faster than the pace, while this process is behind with its work, or while enough of
those who were let in wait for the database: so they are served at full speed, and none of them times out.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from ubiety.net.pacing import ACCEPT_RATE, ADDRESS_CONNECTIONS, NEGOTIATING
from ubiety.settings import Settings
from ubiety.telemetry import Counters, event

STEP_SECONDS = 0.02
BURST_SECONDS = 0.1
"""So many seconds' worth of connections may be let in at once."""
BEHIND_SECONDS = 0.05
"""A step that comes so late means that this process has enough to do."""
LEAST_A_SECOND = 20.0
"""Let in however busy the process is."""
MAX_WAITING = 50_000
"""Connections that may wait; more are refused."""


class Newcomer(Protocol):
    """A connection that wants in."""

    address: str

    def let_in(self) -> None:
        """Begin: it is its turn."""


class Admission:
    """One per node. ``is_busy`` tells whether enough logins are under way."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        counters: Counters,
        is_busy: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._counters = counters
        self._is_busy = is_busy
        self._by_address: Counter[str] = Counter()
        self._inside: Counter[str] = Counter()  # let in and not signed in yet, by address
        self._waiting: set[Newcomer] = set()
        self._lines: OrderedDict[str, deque[Newcomer]] = OrderedDict()  # of addresses that take turns
        self._full: dict[str, deque[Newcomer]] = {}  # of those that have enough inside
        self._at = loop.time()
        self._allowed = 1.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    def enter(self, newcomer: Newcomer) -> bool:
        """Let a connection in, now or when it is its turn. False: there are too many."""
        address = newcomer.address
        if self._by_address[address] >= self._settings.get(ADDRESS_CONNECTIONS):
            return self._refuse(address, "too many from this address")
        if len(self._waiting) >= MAX_WAITING:
            return self._refuse(address, "too many wait")
        self._by_address[address] += 1
        if self._timer is None and self._has_room(address) and not self._is_busy() and self._may():
            self._let_in(newcomer)
            return True
        self._waiting.add(newcomer)
        line = self._full if address in self._full else self._lines
        line.setdefault(address, deque()).append(newcomer)
        if self._timer is None:
            self._timer = self._loop.call_later(STEP_SECONDS, self._step)
        return True

    def _refuse(self, address: str, reason: str) -> bool:
        self._counters.refused_connections += 1
        event("connection_refused", level="warning", address=address, reason=reason)
        return False

    def is_waiting(self, newcomer: Newcomer) -> bool:
        """Tell whether a connection has not been let in yet."""
        return newcomer in self._waiting

    def signed_in(self, newcomer: Newcomer) -> None:
        """A connection makes room for the next one of its address."""
        address = newcomer.address
        _count_down(self._inside, address)
        line = self._full.pop(address, None)
        if line is not None:
            self._lines[address] = line
            if self._timer is None:
                self._timer = self._loop.call_later(STEP_SECONDS, self._step)

    def left(self, newcomer: Newcomer, *, has_signed_in: bool) -> None:
        """A connection is gone."""
        _count_down(self._by_address, newcomer.address)
        if newcomer in self._waiting:
            self._waiting.discard(newcomer)  # its line drops it when it is its turn
        elif not has_signed_in:
            self.signed_in(newcomer)

    def _has_room(self, address: str) -> bool:
        return self._inside[address] < self._settings.get(NEGOTIATING)

    def _may(self) -> bool:
        """Take a token of the pace if there is one."""
        rate, now = float(self._settings.get(ACCEPT_RATE)), self._loop.time()
        self._allowed = min(max(1.0, rate * BURST_SECONDS), self._allowed + (now - self._at) * rate)
        self._at = now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True

    def _let_in(self, newcomer: Newcomer) -> None:
        self._inside[newcomer.address] += 1
        newcomer.let_in()

    def _step(self) -> None:
        """Let some in: as many as the pace allows, or a few while there is enough to do."""
        now = self._loop.time()
        late = now - self._timer.when() if self._timer is not None else 0.0
        self._timer = self._loop.call_later(STEP_SECONDS, self._step) if self._lines else None
        if late > BEHIND_SECONDS or self._is_busy():
            self._allowed = min(1.0, self._allowed + (now - self._at) * LEAST_A_SECOND)
            self._at = now
            if self._allowed >= 1:
                self._allowed = 0.0
                self._let_next_in()
            return
        while self._lines and self._may():
            if not self._let_next_in():
                self._allowed += 1  # it had left

    def _let_next_in(self) -> bool:
        """Let the first of the address in whose turn it is; False if nobody was there."""
        address, line = self._lines.popitem(last=False)
        while line and line[0] not in self._waiting:
            line.popleft()
        if not line:
            return False
        if not self._has_room(address):
            self._full[address] = line
            return False
        newcomer = line.popleft()
        if line:
            self._lines[address] = line  # at the end: the others first
        self._waiting.discard(newcomer)
        self._let_in(newcomer)
        return True

    def stop(self) -> None:
        """Let nobody in any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._lines.clear()
        self._full.clear()


def _count_down(counter: Counter[str], address: str) -> None:
    counter[address] -= 1
    if counter[address] <= 0:
        del counter[address]
