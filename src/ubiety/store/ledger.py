"""The ledger: what must not be lost is committed in groups, by a thread of its own (design: "Promises").

All state lives in the loop's thread. ``submit`` and its like queue; when the window has passed since the
first queued entry, what is queued is handed to the thread as one batch, one transaction; when that is
settled the callbacks run in the loop, in order, and the next batch goes. At most one batch is on its way,
so the ``h`` that is stored with it is exact, and an entry that was not handed over can be cancelled without
asking anybody.

The database away: the batch comes back to the front of the queue, is tried again with growing pauses, and
nothing is acknowledged. The disk full or the database locked: the entries of that batch fail with the typed
error; deletions and history are kept and tried again.

In a cluster a batch is written only while this node serves the sets that it believes to serve (``fence``).
When it does not, the batch comes back too; what belongs to people who are no longer served here is left out
of the next one and its entries fail with ``Fenced``.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ubiety.store.batch import (
    ArchiveRow,
    Batch,
    Entry,
    Fence,
    Forget,
    Item,
    Outcome,
    State,
    StreamCursor,
    StreamRow,
    collect,
)
from ubiety.store.database import Database
from ubiety.store.errors import DatabaseUnavailable, Fenced, StoreError
from ubiety.store.writer import Writer
from ubiety.store.writer_postgresql import PostgresqlDialect
from ubiety.store.writer_sqlite import SqliteDialect
from ubiety.telemetry import event

__all__ = ["ArchiveRow", "Entry", "Ledger", "StreamCursor"]

WINDOW = 0.025
#: History and deletions alone wait longer: nobody waits for them.
LAZY_WINDOW = 0.1
BOUND_BYTES = 64 * 1024 * 1024
#: A queue that was built up in an outage goes in steps of so many.
BATCH_ITEMS = 2_000
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
CHECKPOINT_EVERY = 1.0


class Ledger:
    """Group commit for one node. Make it in the running loop; every method is called there."""

    def __init__(
        self,
        database: Database,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        window: float = WINDOW,
        bound_bytes: int = BOUND_BYTES,
        on_overload: Callable[[bool], None] | None = None,
    ) -> None:
        self.window = window
        self.bound_bytes = bound_bytes
        #: Bytes that wait for their commit.
        self.queued_bytes = 0
        #: Whether clients must not be read until less is queued; ``on_overload`` is called when it changes.
        self.overloaded = False
        #: Why nothing could be written the last time, None while all is well.
        self.trouble: StoreError | None = None
        #: Batches and entries written since the start.
        self.batches = 0
        self.written = 0
        #: What must hold for a batch to be written; None where nobody else can serve our people.
        self.fence: Fence | None = None
        #: Called when a batch was refused because a set is no longer ours.
        self.on_fenced: Callable[[], None] = lambda: None
        self._loop = loop or asyncio.get_running_loop()
        self._on_overload = on_overload
        self._queue: deque[Item] = deque()
        self._again: list[Entry] = []  # of the batch being settled, to be tried again
        self._unwanted: set[int] = set()  # messages that were refused while their history waited
        self._accepted = 0  # items ever queued, and those of them that are done with: for flush()
        self._done = 0
        self._flushers: list[tuple[int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_on_its_way = False
        self._due = 0.0  # when the oldest queued thing must go
        self._pause = 0.0
        self._writer = Writer(database, SqliteDialect if database.is_sqlite else PostgresqlDialect)
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._checkpointer: asyncio.TimerHandle | None = None
        if database.is_sqlite:
            self._checkpoint_later()

    # -- orders --------------------------------------------------------------------------------------------

    def submit(self, entry: Entry) -> None:
        """Queue a message; ``entry.on_settled(entry, error)`` is called once, unless it is cancelled."""
        entry.state = State.QUEUED
        self._put(entry, self.window)
        self._weigh(entry.size)

    def retry(self, entry: Entry) -> None:
        """Queue a message again that could not be written, before newer ones; called by ``on_settled``."""
        entry.state = State.QUEUED
        self._again.append(entry)
        self._accepted += 1
        self._weigh(entry.size)

    def cancel(self, entry: Entry) -> bool:
        """Take a message back that was delivered meanwhile. True: no row of it will be there."""
        if entry.state is not State.QUEUED:
            return entry.state is State.CANCELLED
        entry.state = State.CANCELLED
        self._weigh(-entry.size)
        if entry.is_uncertain:
            self.forget(entry.recipient_id, entry.number, bool(entry.outside))
        return True

    def forget(self, user_id: int, number: int, is_outgoing: bool = False) -> None:
        """Delete a delivered message's row with one of the next batches; its sender's if it went outside."""
        self._put(Forget(user_id, number, is_outgoing), LAZY_WINDOW)

    def archive(self, row: ArchiveRow) -> None:
        """Add a message to somebody's history with one of the next batches."""
        self._put(row, LAZY_WINDOW)
        self._weigh(row.size)

    def unarchive(self, number: int) -> None:
        """Keep a message that was refused, because it could not be stored, out of all histories."""
        self._unwanted.add(number)

    def save_stream(self, smid: str, user_id: int, h: int) -> None:
        """Store how far a stream is settled; entries with that stream do it by themselves."""
        self._put(StreamRow(smid, user_id, h), LAZY_WINDOW)

    def drop_stream(self, smid: str) -> None:
        """Forget a stream that can no longer be resumed."""
        self._put(StreamRow(smid, 0, None), LAZY_WINDOW)

    async def flush(self) -> None:
        """Wait until all that was queued before is settled.

        Raises ``StoreError`` when the database refuses it or is away; what was queued stays queued then.
        """
        if self._done == self._accepted:
            return
        if isinstance(self.trouble, DatabaseUnavailable):
            raise self.trouble
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._flushers.append((self._accepted, waiter))
        if not self._is_on_its_way:
            self._hand_over()
        else:
            self._due = self._loop.time()
        await waiter

    async def close(self) -> None:
        """Write what is queued if the database lets us, then end the thread."""
        with contextlib.suppress(StoreError):
            await self.flush()
        for timer in (self._checkpointer, self._timer):
            if timer is not None:
                timer.cancel()
        await self._loop.run_in_executor(self._thread, self._writer.close)
        self._thread.shutdown(wait=False)

    # -- queue ---------------------------------------------------------------------------------------------

    def _put(self, item: Item, window: float) -> None:
        self._queue.append(item)
        self._accepted += 1
        due = self._loop.time() + window
        if len(self._queue) == 1 or due < self._due:
            self._due = due
            if not self._is_on_its_way and (self._timer is None or not self._pause):
                self._arm(due)

    def _weigh(self, size: int) -> None:
        self.queued_bytes += size
        if self.overloaded is (self.queued_bytes > self.bound_bytes):
            return
        if self.overloaded and self.queued_bytes > self.bound_bytes // 2:
            return  # on and off at different marks, or reading would stutter
        self.overloaded = not self.overloaded
        if self._on_overload is not None:
            self._on_overload(self.overloaded)

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._hand_over)

    def _hand_over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_on_its_way:
            return
        batch = self._take()
        if not len(batch):
            self._go_on()
            return
        self._is_on_its_way = True
        future = self._thread.submit(self._writer.write, batch)
        future.add_done_callback(lambda done: self._report(batch, done))

    def _take(self) -> Batch:
        """Take the next batch off the queue, without what was cancelled."""
        items: list[Item] = []
        foreign: list[Item] = []
        queue, fence = self._queue, self.fence
        for _ in range(min(len(queue), BATCH_ITEMS)):
            item = queue.popleft()
            if isinstance(item, Entry) and item.state is State.CANCELLED:
                self._done += 1
            elif self._unwanted and isinstance(item, ArchiveRow) and item.message_id in self._unwanted:
                self._done += 1
                self._weigh(-item.size)
            elif fence is not None and not fence.covers(_person_of(item)):
                foreign.append(item)
            else:
                items.append(item)
        if not queue:
            self._unwanted.clear()
        self._leave_out(foreign)
        batch = collect(items)
        if fence is not None:
            batch.fence = fence.held()
        seqs: dict[StreamCursor, list[int]] = {}
        for entry in batch.entries:
            entry.state = State.HANDED_OVER
            if entry.stream is not None and entry.stream.smid:
                seqs.setdefault(entry.stream, []).append(entry.seq)
        batch.cursors = [StreamRow(s.smid, s.user_id, s.h_with(done)) for s, done in seqs.items()]
        return batch

    def _leave_out(self, items: list[Item]) -> None:
        """Drop what is now for another node to write."""
        for item in items:
            self._done += 1
            if isinstance(item, Entry):
                self._settle_entry(item, Fenced("another node serves this person now"))
            elif isinstance(item, ArchiveRow):
                self._weigh(-item.size)

    # -- settlement ----------------------------------------------------------------------------------------

    def _report(self, batch: Batch, done: "Future[Outcome]") -> None:
        """In the ledger's thread: tell the loop, once per batch."""
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._settle, batch, done)

    def _settle(self, batch: Batch, done: "Future[Outcome]") -> None:
        self._is_on_its_way = False
        outcome = done.result()
        self._note(outcome.error)
        self.batches += 1
        failed = {id(item): error for item, error in outcome.refused}
        back: list[Item] = []
        for item in outcome.unwritten:
            assert outcome.error is not None
            if not isinstance(item, Entry) or isinstance(outcome.error, DatabaseUnavailable | Fenced):
                back.append(item)
            else:
                failed[id(item)] = outcome.error
        self._put_back(back)
        self._done += len(batch) - len(back)
        kept = {id(item) for item in back}
        self._weigh(-sum(row.size for row in batch.archive if id(row) not in kept))
        if outcome.refused:
            item, first = outcome.refused[0]
            what = f"{len(outcome.refused)} rows, the first a {type(item).__name__}"
            event("rows_refused", level="error", what=what, reason=str(first))
        for entry in batch.entries:
            if id(entry) not in kept:
                self._settle_entry(entry, failed.get(id(entry)))
        self._queue.extendleft(reversed(self._again))
        self._again.clear()
        self._release_flushers(outcome.error)
        self._go_on()

    def _settle_entry(self, entry: Entry, error: StoreError | None) -> None:
        entry.state = State.SETTLED
        self._weigh(-entry.size)
        if error is None:
            self.written += 1
        try:
            entry.on_settled(entry, error)
        except Exception as mistake:  # noqa: BLE001  one mistaken callback must not stop everybody's messages
            self._loop.call_exception_handler({"message": "a settlement failed", "exception": mistake})

    def _put_back(self, items: list[Item]) -> None:
        for item in reversed(items):
            if isinstance(item, Entry):
                item.state = State.QUEUED
                item.is_uncertain = True
            self._queue.appendleft(item)

    def _note(self, error: StoreError | None) -> None:
        if type(error) is not type(self.trouble):
            if error is None:
                event("ledger_recovered")
            else:
                event("ledger_stopped", level="error", reason=f"{type(error).__name__}: {error}")
        self.trouble = error
        self._pause = 0.0 if error is None else min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
        if isinstance(error, Fenced):
            self._pause = FIRST_PAUSE  # it is soon known which set it is
            self.on_fenced()

    def _release_flushers(self, error: StoreError | None) -> None:
        waiting = []
        for mark, waiter in self._flushers:
            if waiter.done():
                continue
            if self._done >= mark:
                waiter.set_result(None)
            elif error is not None:
                waiter.set_exception(error)
            else:
                waiting.append((mark, waiter))
        self._flushers = waiting

    def _go_on(self) -> None:
        """See to the next batch."""
        if not self._queue:
            self._release_flushers(None)
            return
        now = self._loop.time()
        if self._flushers or len(self._queue) >= BATCH_ITEMS:
            self._due = now
        when = now + self._pause if self._pause else max(self._due, now)
        self._arm(when)

    def _checkpoint(self) -> None:
        self._thread.submit(self._writer.maintain)
        self._checkpoint_later()

    def _checkpoint_later(self) -> None:
        self._checkpointer = self._loop.call_later(CHECKPOINT_EVERY, self._checkpoint)


def _person_of(item: Item) -> int:
    """Return whose row it is; 0 where it does not matter."""
    if isinstance(item, Entry):
        return item.recipient_id
    return item.owner_id if isinstance(item, ArchiveRow) else item.user_id
