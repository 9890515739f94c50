"""What can go wrong in the store, in words that callers act on.

``StoreError``
  ``DatabaseUnavailable``  not reachable, restarting, read only: keep what you have and try again
    ``CommitUnknown``      ... and this change may have been written
  ``SchemaTooNew``         the tables were made by a newer release
  ``DatabaseFull``         no space left: refuse the work, nothing was written
  ``DatabaseBusy``         locked by somebody else for longer than the time-out: refuse the work
  ``Conflict``             a unique key or a reference forbids it: the caller's mistake
    ``Stale``              the row was changed since it was read
  ``Fenced``               this node does not serve a set any more for which it wrote
  ``DataRefused``          a value that the database cannot hold (a NUL in a text, a number out of range)
"""

import shutil
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ubiety.store import driver


class StoreError(Exception):
    """The database did not do what was asked; nothing of that transaction was written."""


class DatabaseUnavailable(StoreError):
    """The database cannot be reached now; the same call may succeed later."""


class CommitUnknown(DatabaseUnavailable):
    """The connection was lost while committing: the change may or may not be there."""


class SchemaTooNew(StoreError):
    """The tables were made by a newer release than this one."""


class DatabaseFull(StoreError):
    """The disk under the database is full."""


class DatabaseBusy(StoreError):
    """Somebody else holds the lock and did not let go in time."""


class Conflict(StoreError):
    """A unique key or a foreign key forbids the change."""


class Stale(Conflict):
    """Somebody changed the row since it was read: read it again."""


class DataRefused(StoreError):
    """One of the values cannot be stored."""


class Fenced(StoreError):
    """Another node serves a set for which this one was about to write; nothing was written."""


#: PostgreSQL error codes, longest prefix first (https://www.postgresql.org/docs/15/errcodes-appendix.html).
POSTGRESQL_CODES: tuple[tuple[str, type[StoreError]], ...] = (
    ("53100", DatabaseFull),
    ("53200", DatabaseBusy),  # out of memory: ours to refuse, not to repeat for ever
    ("25006", DatabaseUnavailable),  # read-only transaction: a standby that was not promoted yet
    ("55P03", DatabaseBusy),  # lock_timeout
    ("57014", DatabaseBusy),  # statement_timeout
    ("53", DatabaseUnavailable),
    ("08", DatabaseUnavailable),
    ("57", DatabaseUnavailable),  # shutting down, starting up, crash of another backend
    ("58", DatabaseUnavailable),
    ("25P03", DatabaseUnavailable),  # idle_in_transaction_session_timeout
    ("28", DatabaseUnavailable),  # password or pg_hba refused
    ("3D", DatabaseUnavailable),  # no such database
    ("40", DatabaseBusy),  # serialisation failure, deadlock
    ("23", Conflict),
    ("22012", Fenced),  # division by zero: see leases.FENCE
    ("22", DataRefused),
)

#: SQLite result codes by name; extended names start with the primary one.
SQLITE_NAMES: tuple[tuple[str, type[StoreError]], ...] = (
    ("SQLITE_FULL", DatabaseFull),
    ("SQLITE_BUSY", DatabaseBusy),
    ("SQLITE_LOCKED", DatabaseBusy),
    ("SQLITE_CONSTRAINT", Conflict),
    ("SQLITE_IOERR", DatabaseUnavailable),
    ("SQLITE_CANTOPEN", DatabaseUnavailable),
    ("SQLITE_READONLY", DatabaseUnavailable),
    ("SQLITE_NOTADB", DatabaseUnavailable),
    ("SQLITE_CORRUPT", DatabaseUnavailable),
    ("SQLITE_TOOBIG", DataRefused),
    ("SQLITE_MISMATCH", DataRefused),
)

LOW_SPACE_BYTES = 256 * 1024


def translate(error: Exception, path: Path | None = None) -> StoreError | None:
    """Return the typed error for what a driver or SQLAlchemy raised.

    None means that it is a mistake in our own code. ``path`` is the SQLite file: an I/O error while its
    disk has no space is ``DatabaseFull``.
    """
    if isinstance(error, StoreError):
        return error
    cause: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return _from_sqlite(cause, path)
    if isinstance(cause, driver.Error):
        return _from_postgresql(cause)
    if isinstance(cause, UnicodeError | OverflowError):
        return DataRefused(str(cause))
    return DatabaseUnavailable(str(error)) if isinstance(error, SQLAlchemyError) and _is_pool(error) else None


def _is_pool(error: SQLAlchemyError) -> bool:
    return type(error).__name__ in {"TimeoutError", "ResourceClosedError", "PendingRollbackError"}


def _from_sqlite(error: sqlite3.Error, path: Path | None) -> StoreError | None:
    name = getattr(error, "sqlite_errorname", "") or ""
    for prefix, kind in SQLITE_NAMES:
        if name.startswith(prefix):
            # A WAL index that cannot grow is reported as an I/O error, not as "full".
            if prefix == "SQLITE_IOERR" and path is not None and _is_full(path):
                kind = DatabaseFull
            return kind(f"{name}: {error}")
    if isinstance(error, sqlite3.DataError):
        return DataRefused(str(error))
    return None


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < LOW_SPACE_BYTES
    except OSError:
        return False


def _from_postgresql(error: "driver.Error") -> StoreError | None:
    code = error.sqlstate
    if code is None:
        if isinstance(error, driver.DataError):
            return DataRefused(str(error))
        is_ours = isinstance(error, driver.ProgrammingError | driver.NotSupportedError)
        return None if is_ours else DatabaseUnavailable(str(error))
    for prefix, kind in POSTGRESQL_CODES:
        if code.startswith(prefix):
            return kind(f"{code}: {error}")
    return None
