"""Takes over what other nodes have written: whoever changes people, domains, settings, policies or the
topology leaves a row in the table of changes, and every node looks there when told so, and once a second.

What a node wrote itself it reads here as well; taking over the same thing twice does nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from ubiety.clock import Clock
from ubiety.routing.links import Item, Kind, Links
from ubiety.store import changes
from ubiety.store.changes import KEEP_SECONDS
from ubiety.store.database import Database
from ubiety.store.errors import StoreError
from ubiety.telemetry import event

POLL_SECONDS = 1.0
LATE_SECONDS = 10.0
"""A copy that was not compared with the database for so long is not what the database has."""
TIDY_SECONDS = 300.0
ORDER = (
    changes.TOPOLOGY,
    changes.SETTINGS,
    changes.DOMAINS,
    changes.PEOPLE,
    changes.POLICY,
    changes.FEDERATION,
    changes.MICROSOFT,
    changes.MESSAGES,
)
"""Each kind is about what the kinds before it have made known."""

TakeOver = Callable[[Sequence[int] | None], Awaitable[None]]
"""Reads the rows with these ids again (see ``store.changes`` for whose they are); None: everything."""


class Changes:
    """Reads the table of changes of this cluster for one node."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        horizon: int,
        take_over: Mapping[str, TakeOver],
        others: Callable[[], Iterable[int]],
    ) -> None:
        """``horizon``: where reading begins, taken before the node loaded what the changes are about.

        ``others``: the other nodes' ids.
        """
        self._database = database
        self._clock = clock
        self._horizon = horizon
        self._take_over = take_over
        self._others = others
        self._seen: set[int] = set()
        self._read_at = clock.monotonic()
        self._has_looked = False
        self._tidied_at = clock.monotonic()
        self._told = asyncio.Event()
        self._looking = asyncio.Lock()
        self._links: Links | None = None

    def join(self, links: Links, loop: asyncio.AbstractEventLoop) -> None:
        """Tell the other nodes of what is written here, and look at once when they tell."""
        self._links = links
        links.handle(Kind.CHANGED, self._hear)
        self._database.on_noted = lambda: _call_soon(loop, self._tell)

    def _hear(self, _node_id: int, _item: Item) -> None:
        self._told.set()

    def _tell(self) -> None:
        self._told.set()  # what was written here besides operations, which take over at once
        if self._links is None:
            return
        for node_id in self._others():
            if self._links.is_up(node_id):  # else it looks by itself when it is back
                self._links.send(node_id, (Kind.CHANGED, 0))

    async def run(self) -> None:
        """Look for as long as the node runs."""
        while True:
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._told.wait()
            except TimeoutError:
                pass
            self._told.clear()
            try:
                await self.look()
                await self._tidy()
            except StoreError as error:  # what was not taken over is read again
                event("changes_not_read", level="warning", reason=str(error))

    async def problem(self) -> str:
        """Return what this node's copies lack, looking for the first time if need be. Raises StoreError."""
        if not self._has_looked:
            await self.look()
        if self._clock.monotonic() - self._read_at <= LATE_SECONDS:
            return ""
        return "what other nodes change is not taken over; the log says why (changes_not_read)"

    async def look(self) -> None:
        """Take over what was changed since the last look. Raises StoreError; then the next look does it."""
        async with self._looking:
            now = self._clock.monotonic()
            if now - self._read_at > KEEP_SECONDS / 2:  # rows may be gone that were never read
                await self._begin_anew()
                self._read_at, self._has_looked = now, True
                return
            seen = await self._database.read(changes.read, self._horizon)
            fresh = [change for change in seen.changes if change.revision not in self._seen]
            for kind in ORDER:
                ids = [change.ref_id for change in fresh if change.kind == kind]
                if ids:
                    await self._apply(kind, list(dict.fromkeys(ids)))
            self._horizon, self._read_at, self._has_looked = seen.horizon, now, True
            self._seen = {change.revision for change in seen.changes}

    async def _begin_anew(self) -> None:
        horizon = await self._database.read(changes.horizon)
        event("changes_missed", level="warning")
        for kind in ORDER:
            await self._apply(kind, None)
        self._horizon = horizon
        self._seen = set()

    async def _apply(self, kind: str, ids: Sequence[int] | None) -> None:
        try:
            await self._take_over[kind](ids)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001  one bad row must not keep all others out
            event("change_not_applied", level="error", kind=kind, reason=str(error), exc_info=error)

    async def _tidy(self) -> None:
        now = self._clock.monotonic()
        if now - self._tidied_at >= TIDY_SECONDS:
            self._tidied_at = now
            await self._database.write(changes.gc_changes)


def _call_soon(loop: asyncio.AbstractEventLoop, fn: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(fn)
