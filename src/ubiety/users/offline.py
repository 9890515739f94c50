"""Messages that must arrive: every durable message is offline until it is delivered.

One ``Inbox`` per person. A message to somebody who is there is sent at once and followed by a
``Delivery``, the token that sessions hold until the client has it; a message to somebody who is not
there is a row of the ledger. When a session becomes available the rows are read back in order, and
until the last one is sent new messages queue behind them (design.md promises 1 to 3).
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from ubiety.element import escape_attribute
from ubiety.routing.delivery import takes_bare
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, UNSERVED, Pending, refuse
from ubiety.store import messages
from ubiety.store.database import Database
from ubiety.store.errors import DatabaseBusy, DatabaseFull, Fenced, StoreError
from ubiety.store.ledger import Entry, Ledger
from ubiety.telemetry import event

PAGE = 100
"""Rows read back at a time while a backlog drains."""
RETRY_SECONDS = 2.0
"""Pause before a backlog is read again after the database failed."""
NOT_STORED = refuse("resource-constraint", "The server cannot store messages right now.")
TROUBLES = DatabaseFull, DatabaseBusy
"""Failures that pass: the ledger pauses, then tries what it is given next."""


class Delivery:
    """The token of one message to one person: who holds it, is it written, is it done."""

    __slots__ = ("committed", "done", "entry", "holders", "inbox", "kept", "number", "pending", "submitted")

    def __init__(self, inbox: "Inbox", number: int, entry: Entry | None, pending: Pending | None) -> None:
        self.inbox = inbox
        self.number = number
        self.entry = entry  # None: the row exists, nothing is left to write
        self.pending = pending
        self.holders = 0  # connected sessions that deliver it
        self.kept = 0  # sessions that wait to be resumed and would send it again
        self.submitted = False
        self.committed = entry is None
        self.done = False

    def acknowledged(self) -> None:
        """The client has it: nothing needs to be written, or the row goes."""
        if self.done:
            return
        self.done = True
        self.inbox.finish(self)
        if self.committed:
            self.inbox.forget(self.number)
        elif self.submitted and self.entry is not None and not self.inbox.ledger.cancel(self.entry):
            self.inbox.forget(self.number)  # in the ledger's hands already: it deletes behind itself
        if self.pending is not None:
            self.pending.settle(DELIVERED)

    def held(self) -> None:
        """A session that kept it is connected again."""
        self.kept -= 1
        if not self.done:
            self.holders += 1
            self.inbox.take_back(self)

    def suspended(self) -> None:
        """A session that delivers it has lost its connection and keeps it."""
        self.kept += 1
        self.unheld()

    def dropped(self) -> None:
        """A session that kept it is gone for good."""
        self.kept -= 1
        if not self.kept:
            self.inbox.released.pop(self.number, None)

    def unheld(self) -> None:
        """One session less; without any it becomes a row that waits for the next session."""
        self.holders -= 1
        if self.done or self.holders > 0:
            return
        self.inbox.release(self)
        self.submit()
        self.inbox.row_waits()

    def abandon(self) -> None:
        """Another node serves the person: write nothing, wait for nothing."""
        self.done = True
        if self.entry is not None and self.submitted and self.inbox.ledger.cancel(self.entry):
            self.submitted = False

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for its verdict."""
        return self.pending is not None and self.pending.verdict is None

    def submit(self) -> None:
        """Have the ledger write it, once."""
        if self.entry is not None and not self.submitted:
            self.submitted = True
            self.inbox.ledger.submit(self.entry)

    def settled(self, _entry: Entry, error: StoreError | None) -> None:
        """Take the ledger's word: committed, or not to be written."""
        if error is None:
            self.committed = True
            self.entry = None
            if self.pending is not None:
                self.pending.settle(DELIVERED)
            return
        self.submitted = False
        if self.done:
            if self.is_awaited:  # abandoned while it was being written
                self.inbox.astray(self)
            return
        if self.holders > 0:  # a client may still acknowledge it; if it goes away we try again
            if isinstance(error, TROUBLES) and self.entry is not None:
                self.submitted = True
                self.inbox.ledger.retry(self.entry)  # what is newer must not be on disk before it
            return
        self.done = True
        self.inbox.finish(self)
        self.inbox.ledger.unarchive(self.number)
        is_fenced = isinstance(error, Fenced)  # then it goes after the person, from here or the sender's home
        level = "info" if is_fenced else "error"
        event("message_not_stored", level=level, number=self.number, reason=str(error))
        if is_fenced:
            self.inbox.astray(self)
        elif self.pending is not None:
            self.pending.settle(NOT_STORED)


def refuse_astray(delivery: Delivery) -> None:
    """Have whoever sent it look for the recipient's new home."""
    if delivery.pending is not None:
        delivery.pending.settle(UNSERVED)


class Inbox:
    """The undelivered messages of one person."""

    __slots__ = (
        "_behind",
        "_database",
        "_domain",
        "_draining",
        "_gone",
        "_more",
        "_rewind",
        "_sessions",
        "_spawn",
        "astray",
        "inflight",
        "ledger",
        "released",
        "user_id",
        "waiting",
    )

    def __init__(
        self,
        user_id: int,
        sessions: dict[str, Session],
        ledger: Ledger,
        database: Database,
        spawn: Callable[..., object],
        domain: str,
        waiting: bool,
        astray: Callable[[Delivery], object] = refuse_astray,
    ) -> None:
        """``astray`` is told what this node may not write, as another one serves the person by now."""
        self.user_id = user_id
        self.astray = astray
        self.ledger = ledger
        self.inflight: dict[int, Delivery] = {}
        self.released: dict[int, Delivery] = {}  # held by a session that waits to be resumed
        self.waiting = waiting  # rows exist that no connected session holds: new messages queue behind
        self._sessions = sessions
        self._database = database
        self._spawn = spawn
        self._domain = domain
        self._draining = False
        self._more = False
        self._rewind = False  # rows came back that the drain under way has passed already
        # Who could not take messages that others got, and the number of the last one before those.
        self._behind: dict[Session, int] = {}
        # Delivered while draining: their rows may still be there to be read. An empty set is 216 bytes.
        self._gone: set[int] | None = None

    def forget(self, number: int) -> None:
        """Delete a delivered message's row with the ledger's next batch."""
        self.ledger.forget(self.user_id, number)

    def hold(self, delivery: Delivery) -> None:
        """Note that a connected session is delivering it."""
        self.released.pop(delivery.number, None)
        self.inflight[delivery.number] = delivery

    def take_back(self, delivery: Delivery) -> None:
        """Note that a resumed session delivers it: those who were about to get it do not miss it for that."""
        self.hold(delivery)
        for session in takes_bare(self._sessions.values()) if self.waiting else ():
            self._behind.setdefault(session, delivery.number - 1)

    def release(self, delivery: Delivery) -> None:
        """Note that no connected session delivers it any more."""
        self.inflight.pop(delivery.number, None)
        self._rewind = True
        if delivery.kept:
            self.released[delivery.number] = delivery

    def finish(self, delivery: Delivery) -> None:
        """Note that a message reached somebody, or was refused."""
        self.inflight.pop(delivery.number, None)
        if self.released:
            self.released.pop(delivery.number, None)
        if self._gone is not None:
            self._gone.add(delivery.number)

    def store(self, delivery: Delivery) -> None:
        """Write a message that nobody can take now; it is delivered in its turn."""
        delivery.submit()
        self.row_waits()

    def abandon(self) -> list[Delivery]:
        """Let go of everything, on this node, for good; return that for whose verdict somebody waits."""
        self.waiting = self._more = False
        deliveries = [*self.inflight.values(), *self.released.values()]
        self.inflight, self.released, self._behind = {}, {}, {}
        for delivery in deliveries:
            delivery.abandon()
        return sorted((one for one in deliveries if one.is_awaited), key=lambda one: one.number)

    def row_waits(self) -> None:
        """A row is to be read back: at once if somebody is there to get it."""
        self.waiting = True
        self._more = True
        self.wake()

    def miss(self, targets: Iterable[Session], number: int) -> None:
        """Note which sessions do not get a message that others get: it comes before newer ones there."""
        for session in targets:
            if not _is_ready(session):
                self._behind.setdefault(session, number - 1)

    def join(self, session: Session) -> None:
        """A session takes messages from now on: first what others hold and may not deliver (promise 2)."""
        self._behind[session] = 0
        self.rejoin(session)

    def rejoin(self, session: Session) -> None:
        """A session takes messages again: first what it missed, then what waits."""
        after = self._behind.get(session)
        if after is not None:
            missed = [delivery for delivery in self.inflight.values() if delivery.number > after]
            for delivery in missed:
                delivery.submit()
            if missed:
                self.waiting = self._more = self._rewind = True
            elif not self.waiting:
                del self._behind[session]
        if self.waiting and not self._draining:
            self._start()

    def leave(self, session: Session) -> None:
        """A session is over; others may take what it held."""
        self._behind.pop(session, None)
        self.wake()

    def wake(self) -> None:
        """Start to drain if there is a backlog and a session that takes it."""
        if self.waiting and not self._draining and self._takers():
            self._start()

    def _start(self) -> None:
        self._draining = True
        self._spawn(self._drain())

    def _takers(self) -> list[Session]:
        return [session for session in takes_bare(self._sessions.values()) if _is_ready(session)]

    async def _drain(self) -> None:
        try:
            while self.waiting:
                self._more = False
                try:
                    if not await self._drain_rows():
                        return  # nobody takes more for now: the next session, or the drained one, wakes us
                except StoreError as error:
                    event("backlog_not_read", level="warning", user_id=self.user_id, reason=str(error))
                    await asyncio.sleep(RETRY_SECONDS)
                    if not self._takers():
                        return
                else:
                    self.waiting = self._more
        finally:
            self._draining = False
            self._gone = None

    async def _drain_rows(self) -> bool:
        """Send all rows that nobody holds, in order. False when the takers went away or are full.

        What is sent is gathered between two awaits: nothing older can come back in between unnoticed.
        """
        after, gone = 0, set[int]()
        self._rewind = True
        while True:
            if self._rewind:
                after, self._rewind = 0, False
                self._gone = gone = set[int]()  # the rows of what was delivered until now go with this flush
                await self.ledger.flush()
            rows = await self._database.read(messages.backlog, self.user_id, after, PAGE)
            if self._rewind:
                continue
            for row in rows:
                after = row.number
                if row.number not in gone and not self._pass_on(row):
                    return False
            if len(rows) < PAGE:
                takers = self._takers()
                self._behind = {s: last for s, last in self._behind.items() if s not in takers}
                return True
            await asyncio.sleep(0)

    def _pass_on(self, row: messages.Waiting) -> bool:
        """Send a row to all who take it, or to those who missed it. False when nobody takes it now."""
        takers, delivery = self._takers(), self.inflight.get(row.number)
        if delivery is not None:
            takers = [s for s in takers if self._behind.get(s, row.number) < row.number]
            takers = [s for s in takers if delivery not in s.tokens()]
        elif takers:
            delivery = self.released.get(row.number) or Delivery(self, row.number, None, None)
            self.hold(delivery)
            self.miss(takes_bare(self._sessions.values()), row.number)
        else:
            return False
        delivery.holders += len(takers)
        for session in takers:
            if session in self._behind:
                self._behind[session] = row.number
            session.send(with_delay(row.stanza, self._domain, row.stamp), delivery)
        return True


def _is_ready(session: Session) -> bool:
    return session.edge is not None and not session.congested


def with_delay(stanza: bytes, domain: str, stamp: float) -> bytes:
    """Return a stored message with the time at which it was sent (XEP-0203)."""
    moment = datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    delay = f"<delay xmlns='urn:xmpp:delay' from='{escape_attribute(domain)}' stamp='{moment}'/>"
    return stanza[: -len(b"</message>")] + delay.encode() + b"</message>"
