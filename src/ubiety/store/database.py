"""The door to the database: reads and writes in threads, one transaction per write, typed errors.

SQLite: write-ahead log, ``synchronous=FULL``, one writer at a time (a lock in this process, ``BEGIN
IMMEDIATE`` between processes); connections made here never checkpoint, only the ledger's does. PostgreSQL:
the same calls, through psycopg.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, PoolProxiedConnection
from sqlalchemy.engine import URL, make_url

from ubiety.store import leases
from ubiety.store.changes import NOTED
from ubiety.store.engines import make_engine
from ubiety.store.errors import CommitUnknown, DatabaseUnavailable, StoreError, translate
from ubiety.store.lanes import Call, Lane, run_each
from ubiety.store.leases import Held
from ubiety.store.migrate import upgrade

P = ParamSpec("P")
T = TypeVar("T")

#: Writers wait this long for a lock (seconds).
BUSY_TIMEOUT = 5.0
READERS = 3


class Database:
    """One database, SQLite (``sqlite:////path``) or PostgreSQL (``postgresql+psycopg://...``).

    ``read`` and ``write`` take a plain function whose first argument is the open connection. Reads run
    without a transaction of their own: each statement sees what is committed when it starts. Writes run one
    after the other, in the order in which they were asked for. Each is done as a whole or not at all, and
    is on disk when the call returns; those that wait at the same time share a commit. A function may be run
    a second time when the first try failed, so it does nothing but SQL.

    All calls raise ``StoreError`` (see ``errors``) when the database fails.
    """

    def __init__(
        self,
        url: str,
        *,
        readers: int = READERS,
        busy_timeout: float = BUSY_TIMEOUT,
        application: str = "ubiety",
    ) -> None:
        self.url: URL = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.path: Path | None = Path(self.url.database or "") if self.is_sqlite else None
        self.busy_timeout = busy_timeout
        #: Held for the length of every write transaction of this process (the ledger's as well).
        self.writer_lock = threading.Lock()
        self._write_engine = make_engine(self.url, busy_timeout, is_reader=False, application=application)
        self._read_engine = make_engine(self.url, busy_timeout, is_reader=True, application=application)
        #: Called (in any thread) after a commit of which other nodes have to know: see ``changes``.
        self.on_noted: Callable[[], None] = lambda: None
        #: Returns the sets, with their epochs, that this node serves when a write is asked for: if one of
        #: them is no longer its own when it is written, ``Fenced`` is raised. None: nobody else can have it.
        self.fence: Callable[[], Sequence[Held]] | None = None
        self._held = threading.local()
        self._all_held: list[Connection] = []
        self._readers = Lane("database-read", readers, lambda calls: run_each(calls, self._read))
        self._writer = Lane("database-write", 1, self._write_calls, gathers=True)

    async def read(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn(conn, ...)`` in a reader's thread and return what it returns."""
        result: T = await self._readers.ask(lambda conn: fn(conn, *args, **kwargs))
        return result

    async def write(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``fn(conn, ...)`` in the writer's thread; committed when it returns."""
        held = self.fence() if self.fence is not None else ()
        result: T = await self._writer.ask(_Guarded(lambda conn: fn(conn, *args, **kwargs), held))
        return result

    async def write_open(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Write what any node may write, whoever is served here: new deliveries, nothing else."""
        result: T = await self._writer.ask(lambda conn: fn(conn, *args, **kwargs))
        return result

    def read_now(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn(conn, ...)`` in this thread (command line, jobs, start-up)."""
        return self._again(lambda: self._read_pooled(lambda conn: fn(conn, *args, **kwargs)))

    def write_now(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn(conn, ...)`` in this thread, in one transaction."""
        return self._again(lambda: self._write_pooled(lambda conn: fn(conn, *args, **kwargs)))

    def migrate(self) -> None:
        """Bring the tables to the newest form; safe when several nodes start at once."""
        self.write_now(upgrade)

    def open_driver_connection(self) -> PoolProxiedConnection:
        """Return a new connection, set up like all others, for whoever talks to the driver himself.

        Use its ``driver_connection``; end it with ``invalidate()``.
        """
        with self._translated():
            return self._write_engine.raw_connection()

    def translate(self, error: Exception) -> StoreError | None:
        """Return the typed error for a driver's error, None for a mistake of our own."""
        return translate(error, self.path)

    def close(self) -> None:
        """Finish what was asked for, then close all connections."""
        self._writer.close()
        self._readers.close()
        for conn in self._all_held:
            conn.close()
        self._write_engine.dispose()
        self._read_engine.dispose()

    # -- reading -------------------------------------------------------------------------------------------

    def _read(self, fn: Callable[[Connection], T]) -> T:
        """Read on this thread's own connection, which stays open (a check-out costs more than a query)."""
        return self._again(lambda: self._read_held(fn))

    def _read_held(self, fn: Callable[[Connection], T]) -> T:
        with self._translated(), self._own_connection(self._read_engine) as conn:
            return fn(conn)

    @contextmanager
    def _own_connection(self, engine: Engine) -> Iterator[Connection]:
        """Lend this thread's own connection; a thread of a lane only ever reads or only ever writes."""
        conn: Connection | None = getattr(self._held, "conn", None)
        if conn is None:
            conn = self._held.conn = engine.connect()
            self._all_held.append(conn)
        try:
            yield conn
        except BaseException:
            self._held.conn = None
            self._all_held.remove(conn)
            conn.close()
            raise

    def _read_pooled(self, fn: Callable[[Connection], T]) -> T:
        with self._translated(), self._read_engine.connect() as conn:
            return fn(conn)

    # -- writing -------------------------------------------------------------------------------------------

    def _write_calls(self, calls: list[Call]) -> None:
        """Write what waits: together if that works, else each for itself with its own error."""
        if len(calls) == 1 or not (
            self._write_together(calls, _run_all) or self._write_together(calls, _run_apart)
        ):
            run_each(calls, self._write)

    def _write_together(self, calls: list[Call], run: Callable[[Connection, list[Call]], None]) -> bool:
        """Write calls in one transaction; False when one spoiled it for all: nothing is written then."""
        try:
            self._write(_Guarded(lambda conn: run(conn, calls), _held_for(calls)))
        except DatabaseUnavailable as error:  # for all of them
            for call in calls:
                call.error = error
        except Exception:  # noqa: BLE001  it is found out whose it is
            return False
        return True

    def _write(self, fn: Callable[[Connection], T]) -> T:
        return self._again(lambda: self._write_held(fn))

    def _write_held(self, fn: Callable[[Connection], T]) -> T:
        with self._locked(), self._translated(), self._own_connection(self._write_engine) as conn:
            return self._in_transaction(conn, fn)

    def _write_pooled(self, fn: Callable[[Connection], T]) -> T:
        with self._locked(), self._translated(), self._write_engine.connect() as conn:
            return self._in_transaction(conn, fn)

    def _in_transaction(self, conn: Connection, fn: Callable[[Connection], T]) -> T:
        result = _in_transaction(conn, fn)
        if conn.info.pop(NOTED, False):
            self.on_noted()
        return result

    # -- both ----------------------------------------------------------------------------------------------

    def _again(self, attempt: Callable[[], T]) -> T:
        """Try a second time: an old connection may have died with a database server that is back by now."""
        try:
            return attempt()
        except CommitUnknown:
            raise
        except DatabaseUnavailable:
            # The others in the pools are as old as this one.
            self._read_engine.dispose()
            self._write_engine.dispose()
            return attempt()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self.is_sqlite:
            yield
            return
        with self.writer_lock:
            yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            typed = self.translate(error)
            if typed is None or typed is error:
                raise
            raise typed from error


class _Guarded:
    """A function that writes, and the sets that must be this node's own when it does."""

    __slots__ = ("fn", "held")

    def __init__(self, fn: Callable[[Connection], Any], held: Iterable[Held]) -> None:
        self.fn = fn
        self.held = held

    def __call__(self, conn: Connection) -> Any:
        return self.fn(conn)


def _held_for(calls: Iterable[Call]) -> set[Held]:
    return {held for call in calls if isinstance(call.fn, _Guarded) for held in call.fn.held}


def _in_transaction(conn: Connection, fn: Callable[[Connection], T]) -> T:
    transaction = conn.begin()
    try:
        if isinstance(fn, _Guarded) and fn.held:
            driver: Any = conn.connection.driver_connection
            driver.execute(*leases.fence(fn.held))
        result = fn(conn)
    except BaseException:
        transaction.rollback()
        raise
    with _in_doubt():
        transaction.commit()
    return result


def _run_all(conn: Connection, calls: list[Call]) -> None:
    """Run calls one after the other; the first that fails ends it."""
    for call in calls:
        call.result = call.fn(conn)
        call.error = None


def _run_apart(conn: Connection, calls: list[Call]) -> None:
    """Run calls so that those that fail are as if they had not been."""
    driver: Any = conn.connection.driver_connection
    for call in calls:
        driver.execute("SAVEPOINT one")
        try:
            call.result = call.fn(conn)
            call.error = None
        except Exception as error:  # noqa: BLE001  it belongs to whoever asked, the others go on
            driver.execute("ROLLBACK TO SAVEPOINT one")
            call.error = translate(error) or error
        driver.execute("RELEASE SAVEPOINT one")


@contextmanager
def _in_doubt() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        typed = translate(error)
        if isinstance(typed, DatabaseUnavailable):
            raise CommitUnknown(str(typed)) from error
        raise
