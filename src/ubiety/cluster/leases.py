"""The thread that keeps the leases: its own connection, so that nothing else can delay a renewal.

Every half second one statement renews what this node holds and reads the rows of all sets. What it learns
goes into the ``Tenure`` at once, under the lock, so that a loop that is busy for a while loses nobody; the
loop is told afterwards. While the loop does not tick at all, nothing is renewed: somebody else shall serve.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeVar

from sqlalchemy.engine import URL

from ubiety.cluster.tenure import RENEW, Take, Tenure
from ubiety.store import driver, leases
from ubiety.store.leases import Conn, Lease
from ubiety.telemetry import event

T = TypeVar("T")

LOOP_SECONDS = 6.0
"""A loop that has not ticked for so long counts as hung."""
STUCK_SECONDS = 1.5
"""A statement without an answer for so long is broken off."""


class LeaseThread:
    """Talks with the database about leases. ``told`` is called in the thread after each round
    with the rows, None when the database did not answer."""

    def __init__(
        self,
        url: URL,
        tenure: Tenure,
        lock: threading.Lock,
        ticked: Callable[[], float],
        told: Callable[[Sequence[Lease] | None], None],
    ) -> None:
        self._url = url
        self._tenure = tenure
        self._lock = lock
        self._ticked = ticked
        self._told = told
        self._calls: SimpleQueue[tuple[Callable[[Conn], Any], Future[Any]] | None] = SimpleQueue()
        self._conn: Conn | None = None
        # The same socket under a number of our own: closing the connection is for the thread alone.
        self._socket: socket.socket | None = None
        self._socket_lock = threading.Lock()
        self._asked_at: float | None = None
        self._is_stopping = False
        self._is_well: bool | None = None
        self._is_hung = False
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self, seconds: float = 3.0) -> None:
        """Renew no more and close the connection."""
        self._is_stopping = True
        self._calls.put(None)
        self._thread.join(seconds)

    def ask(self, fn: Callable[[Conn], T]) -> "Future[T]":
        """Run a function on the connection before the next renewal. It fails with psycopg.Error."""
        future: Future[T] = Future()
        self._calls.put((fn, future))
        return future

    def hurry(self) -> None:
        """Renew at once: something looks as if a lease were lost."""
        self._calls.put((lambda _conn: None, Future()))

    def break_off(self, now: float) -> None:
        """Give up a statement that is not answered; called by the loop now and then."""
        asked_at = self._asked_at
        if asked_at is None or now - asked_at < STUCK_SECONDS:
            return
        with self._socket_lock, contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)

    # -- in the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        due = monotonic()
        while not self._is_stopping:
            try:
                call = self._calls.get(timeout=max(0.0, due - monotonic()))
            except Empty:
                call = None
            if call is not None:
                self._answer(*call)
            elif self._is_stopping:
                break
            due = monotonic() + RENEW
            self._renew()
        self._close()
        while not self._calls.empty():
            call = self._calls.get()
            if call is not None:
                call[1].set_exception(driver.OperationalError("the node stops"))

    def _answer(self, fn: Callable[[Conn], Any], future: "Future[Any]") -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(self._on_database(fn))
        except Exception as error:  # noqa: BLE001  it belongs to whoever asked
            future.set_exception(error)

    def _renew(self) -> None:
        now = monotonic()
        if self._hangs(now):
            return
        with self._lock:
            renewal = self._tenure.renew(now)
        try:
            found = self._on_database(lambda conn: leases.renew(conn, self._tenure.node_id, renewal.rows))
        except driver.Error as error:
            self._note(error)
            with self._lock:
                self._tenure.failed()
            self._told(None)
            return
        self._note(None)
        with self._lock:
            self._tenure.renewed(renewal, {lease.set_id for lease in found if lease.is_renewed})
            for lease in found:
                self._tenure.note_epoch(lease.set_id, lease.epoch)
        self._told(found)

    def _hangs(self, now: float) -> bool:
        is_hung = now - self._ticked() > LOOP_SECONDS
        if is_hung != self._is_hung:
            self._is_hung = is_hung
            event("loop_hung" if is_hung else "loop_ticked_again", level="error")
        return is_hung

    def _on_database(self, fn: Callable[[Conn], T]) -> T:
        self._asked_at = monotonic()
        try:
            return fn(self._conn or self._connect())
        except driver.Error:
            self._close()
            raise
        finally:
            self._asked_at = None

    def _connect(self) -> Conn:
        conn = self._conn = leases.connect(self._url)
        with self._socket_lock:
            self._socket = socket.socket(fileno=os.dup(conn.fileno()))
        return conn

    def _close(self) -> None:
        conn, self._conn = self._conn, None
        with self._socket_lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
        if conn is not None:
            with contextlib.suppress(driver.Error):
                conn.close()

    def _note(self, error: "driver.Error | None") -> None:
        is_well = error is None
        if is_well != self._is_well:
            if error is not None:
                event("lease_database_lost", level="error", reason=f"{type(error).__name__}: {error}".strip())
            elif self._is_well is not None:
                event("lease_database_back", level="warning")
            self._is_well = is_well


def take(conn: Conn, order: Take, node_id: int) -> int | None:
    """Take a set for a node; break writes off that a former owner has left behind and that are in the way."""

    def attempt() -> int | None:
        return leases.take(conn, order.set_id, node_id, order.successor, has_waited=order.has_waited)

    try:
        return attempt()
    except driver.errors.LockNotAvailable:
        owners = [lease.owner for lease in leases.show(conn) if lease.set_id == order.set_id]
        ended = sum(leases.end_stuck(conn, owner) for owner in owners)
        event("stuck_writes_ended", level="warning", set_id=order.set_id, owners=owners, writes=ended)
        return attempt()
