"""How the database is: its schema, its replicas, its size. For the data monitor and reports."""

from typing import NamedTuple

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from ubiety.store import migrate
from ubiety.store.sql import Sql

PING = Sql("SELECT 1")
IS_REPLICA = Sql("SELECT 0", "SELECT pg_is_in_recovery()")
POSITION = Sql("SELECT 0", "SELECT pg_current_wal_lsn()::text")
REPLICAS = Sql(
    "SELECT '', '', '', 0, 0 WHERE false",
    "SELECT application_name, COALESCE(host(client_addr), 'local'), state || ', ' || sync_state,"
    " pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint,"
    " COALESCE(EXTRACT(EPOCH FROM replay_lag), 0)::float8 FROM pg_stat_replication ORDER BY 1, 2",
)
VERSION = Sql(
    "SELECT 'SQLite ' || sqlite_version()", "SELECT 'PostgreSQL ' || current_setting('server_version')"
)
SIZE = Sql(
    "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "SELECT pg_database_size(current_database())",
)
TABLES = ("addresses", "users", "roster_items", "deliveries", "messages", "archive", "nodes", "settings")

CONNECT_SECONDS = 2


class Replica(NamedTuple):
    """A standby that is connected to the primary."""

    name: str
    address: str
    state: str
    behind: int
    """Bytes that it has not applied yet."""
    lag: float
    """Seconds."""


def ping(conn: Connection) -> None:
    """Ask something that costs nothing."""
    PING.value(conn)


def schema_problem(conn: Connection) -> str:
    """Return what is wrong with the tables for this release; empty: nothing."""
    here, wanted = migrate.revision(conn), migrate.newest_revision()
    if here == wanted:
        return ""
    if here is None:
        return "the database has no tables yet"
    known = here in migrate.known_revisions()
    return f"the database has revision {here}, this release {'wants' if known else 'knows only'} {wanted}"


def primary_problem(conn: Connection) -> str:
    """Return what is wrong with the database as a primary; empty: nothing."""
    return "the database is a replica: it takes no changes" if IS_REPLICA.value(conn) else ""


def position(conn: Connection) -> str:
    """Return how far the primary has written."""
    found: str = POSITION.value(conn)
    return found


def replica_problem(url: str, primary: str, limit: float) -> str:
    """Return what is wrong with a replica: away, no replica, or more than ``limit`` seconds behind."""
    engine = create_engine(url, connect_args={"connect_timeout": CONNECT_SECONDS})
    try:
        with engine.connect() as conn:
            is_replica, behind, age = conn.execute(
                text(
                    "SELECT pg_is_in_recovery(), pg_wal_lsn_diff(:primary, pg_last_wal_replay_lsn()),"
                    # One that has replayed nothing since its start is behind for at least so long.
                    " EXTRACT(EPOCH FROM now()"
                    " - COALESCE(pg_last_xact_replay_timestamp(), pg_postmaster_start_time()))"
                ),
                {"primary": primary},
            ).one()
    except SQLAlchemyError as error:
        return f"the replica does not answer: {str(error.__cause__ or error).strip().splitlines()[0]}"
    finally:
        engine.dispose()
    if not is_replica:
        return "what database.replica_url names is no replica"
    if behind is not None and behind > 0 and float(age) > limit:
        return f"the replica is {float(age):.0f} s behind"
    return ""


class Report(NamedTuple):
    """The database in figures."""

    version: str
    revision: str
    bytes: int
    replicas: list[Replica]
    rows: dict[str, int]


def report(conn: Connection) -> Report:
    """Count what is there."""
    counts = {name: int(Sql(f"SELECT COUNT(*) FROM {name}").value(conn)) for name in _present(conn)}
    replicas = [Replica(*row) for row in REPLICAS.rows(conn)]
    revision = migrate.revision(conn) or ""
    return Report(VERSION.value(conn), revision, int(SIZE.value(conn)), replicas, counts)


def _present(conn: Connection) -> list[str]:
    return [name for name in TABLES if conn.dialect.has_table(conn, name)]
