"""The door to the database: reads and writes in threads, one transaction per write, typed errors.

SQLite: write-ahead log, ``synchronous=FULL``, one writer at a time (a lock in this process, ``BEGIN
IMMEDIATE`` between processes); connections made here never checkpoint, only the ledger's does. PostgreSQL:
the same calls, through psycopg.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, PoolProxiedConnection, create_engine, event
from sqlalchemy.engine import URL, make_url

from ubiety.store.errors import CommitUnknown, DatabaseUnavailable, StoreError, translate
from ubiety.store.migrate import upgrade

P = ParamSpec("P")
T = TypeVar("T")

#: Connections of the ledger and of the writers wait this long for a lock (seconds).
BUSY_TIMEOUT = 5.0
READERS = 3

SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA wal_autocheckpoint=0",  # only the ledger's thread checkpoints
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-16384",
)


class Database:
    """One database, SQLite (``sqlite:////path``) or PostgreSQL (``postgresql+psycopg://...``).

    ``read`` and ``write`` take a plain function whose first argument is the open connection. Reads run
    without a transaction of their own: each statement sees what is committed when it starts. Writes run one
    after the other, in the order in which they were asked for, each in one transaction that is on disk when
    the call returns.

    All calls raise ``StoreError`` (see ``errors``) when the database fails.
    """

    def __init__(self, url: str, *, readers: int = READERS, busy_timeout: float = BUSY_TIMEOUT) -> None:
        self.url: URL = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.path: Path | None = Path(self.url.database or "") if self.is_sqlite else None
        self.busy_timeout = busy_timeout
        #: Held for the length of every write transaction of this process (the ledger's as well).
        self.writer_lock = threading.Lock()
        self._write_engine = self._make_engine(is_reader=False)
        self._read_engine = self._make_engine(is_reader=True)
        self._readers = ThreadPoolExecutor(readers, "database-read")
        self._writer = ThreadPoolExecutor(1, "database-write")
        self._held = threading.local()

    async def read(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn(conn, ...)`` in a reader's thread and return what it returns."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._readers, lambda: self._read_held(lambda conn: fn(conn, *args, **kwargs))
        )

    async def write(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``fn(conn, ...)`` in the writer's thread, in one transaction; committed when it returns."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, lambda: self.write_now(fn, *args, **kwargs))

    def read_now(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn(conn, ...)`` in this thread (command line, jobs, start-up)."""
        return self._repeated(lambda: self._read_pooled(lambda conn: fn(conn, *args, **kwargs)))

    def write_now(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn(conn, ...)`` in this thread, in one transaction."""
        return self._repeated(lambda: self._write_once(lambda conn: fn(conn, *args, **kwargs)))

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
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self._write_engine.dispose()
        self._read_engine.dispose()

    # -- how ---------------------------------------------------------------------------------------------

    def _read_held(self, fn: Callable[[Connection], T]) -> T:
        """Read on this thread's own connection, which stays open (a check-out costs more than a query)."""

        def attempt() -> T:
            conn: Connection | None = getattr(self._held, "conn", None)
            with self._translated():
                if conn is None:
                    conn = self._held.conn = self._read_engine.connect()
                try:
                    return fn(conn)
                except BaseException:
                    self._held.conn = None
                    conn.close()
                    raise

        return self._repeated(attempt)

    def _read_pooled(self, fn: Callable[[Connection], T]) -> T:
        with self._translated(), self._read_engine.connect() as conn:
            return fn(conn)

    def _write_once(self, fn: Callable[[Connection], T]) -> T:
        with self._locked(), self._translated(), self._write_engine.connect() as conn:
            transaction = conn.begin()
            try:
                result = fn(conn)
            except BaseException:
                transaction.rollback()
                raise
            with _unrepeatable():
                transaction.commit()
            return result

    def _repeated(self, attempt: Callable[[], T]) -> T:
        """Try a second time: an old connection may have died with a database server that is back by now."""
        try:
            return attempt()
        except CommitUnknown:
            raise
        except DatabaseUnavailable:
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

    def _make_engine(self, *, is_reader: bool) -> Engine:
        if self.is_sqlite:
            return _sqlite_engine(self.url, self.busy_timeout, is_reader)
        return _postgresql_engine(self.url, self.busy_timeout, is_reader)


@contextmanager
def _unrepeatable() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        typed = translate(error)
        if isinstance(typed, DatabaseUnavailable):
            raise CommitUnknown(str(typed)) from error
        raise


def _sqlite_engine(url: URL, busy_timeout: float, is_reader: bool) -> Engine:
    engine = create_engine(
        url,
        connect_args={
            "timeout": busy_timeout,
            "isolation_level": None,  # we say BEGIN ourselves
            "check_same_thread": False,
            "cached_statements": 256,
        },
        pool_size=READERS,
        max_overflow=-1,
    )

    def prepare(connection: Any, _record: Any) -> None:
        for pragma in SQLITE_PRAGMAS:
            connection.execute(pragma).close()
        if is_reader:
            connection.execute("PRAGMA query_only=ON").close()

    def begin(conn: Connection) -> None:
        conn.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", prepare)
    if not is_reader:
        event.listen(engine, "begin", begin)
    return engine


def _postgresql_engine(url: URL, busy_timeout: float, is_reader: bool) -> Engine:
    options = [f"-c lock_timeout={int(busy_timeout * 1000)}", "-c timezone=UTC"]
    if is_reader:
        options += ["-c default_transaction_read_only=on", "-c statement_timeout=30000"]
    else:
        options += ["-c idle_in_transaction_session_timeout=10000"]
    return create_engine(
        url,
        connect_args={
            "connect_timeout": 3,
            "application_name": "ubiety",
            "options": " ".join(options),
            "tcp_user_timeout": 5000,
        },
        pool_size=READERS,
        max_overflow=-1,
        isolation_level="AUTOCOMMIT" if is_reader else "READ COMMITTED",
    )
