"""How connections are set up, for each kind of database."""

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

#: Connections that wait in the pool; more are made when they are needed.
POOL_SIZE = 3

SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA wal_autocheckpoint=0",  # only the ledger's thread checkpoints
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-16384",
)


def make_engine(url: URL, busy_timeout: float, *, is_reader: bool, application: str = "ubiety") -> Engine:
    """Return the engine for readers, whose statements are transactions of their own, or for writers.

    ``application``: what PostgreSQL calls the connections.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url, busy_timeout, is_reader)
    return _postgresql_engine(url, busy_timeout, is_reader, application)


def _sqlite_engine(url: URL, busy_timeout: float, is_reader: bool) -> Engine:
    engine = create_engine(
        url,
        connect_args={
            "timeout": busy_timeout,
            "isolation_level": None,  # we say BEGIN ourselves
            "check_same_thread": False,
            "cached_statements": 256,
        },
        pool_size=POOL_SIZE,
        max_overflow=-1,
    )

    def prepare(connection: Any, _record: Any) -> None:
        for pragma in SQLITE_PRAGMAS:
            connection.execute(pragma).close()
        if is_reader:
            connection.execute("PRAGMA query_only=ON").close()

    def begin(conn: Connection) -> None:
        driver: Any = conn.connection.driver_connection  # past SQLAlchemy, which takes ten times as long
        driver.execute("BEGIN IMMEDIATE")

    event.listen(engine, "connect", prepare)
    if not is_reader:
        event.listen(engine, "begin", begin)
    return engine


def _postgresql_engine(url: URL, busy_timeout: float, is_reader: bool, application: str) -> Engine:
    options = [f"-c lock_timeout={int(busy_timeout * 1000)}", "-c timezone=UTC"]
    if is_reader:
        options += ["-c default_transaction_read_only=on", "-c statement_timeout=30000"]
    else:
        # What a node that is gone has locked must not stay locked for longer than its lease.
        options += ["-c idle_in_transaction_session_timeout=2000", "-c tcp_user_timeout=2000"]
        options += ["-c tcp_keepalives_idle=1", "-c tcp_keepalives_interval=1", "-c tcp_keepalives_count=2"]
    return create_engine(
        url,
        connect_args={
            "connect_timeout": 2,
            "application_name": application,
            "options": " ".join(options),
            # A database that was cut off is noticed within two seconds, whether we have sent or wait.
            "tcp_user_timeout": 2000,
            "keepalives_idle": 1,
            "keepalives_interval": 1,
            "keepalives_count": 2,
        },
        pool_size=POOL_SIZE,
        max_overflow=-1,
        isolation_level="AUTOCOMMIT" if is_reader else "READ COMMITTED",
    )
