"""Brings the tables to the newest form.

Alembic is imported only for tables of an older release: it takes longer than all that is done here, and nodes
start more often than they are replaced by newer ones.
"""

from functools import cache
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select, text

from ubiety.store.errors import SchemaTooNew
from ubiety.store.schema import metadata

VERSIONS = Path(__file__).parent / "migrations" / "versions"

#: Any constant: nodes that start together take turns on it.
ADVISORY_LOCK = 0x0B1E7

#: Alembic's own table, as Alembic makes it.
_STAMP = Table(
    "alembic_version", MetaData(), Column("version_num", String(32), primary_key=True, nullable=False)
)
_STAMP.primary_key.name = "alembic_version_pkc"


def upgrade(conn: Connection) -> None:
    """Make the tables, or apply the revisions that they lack, in the caller's transaction.

    Raises ``SchemaTooNew`` when the database knows a revision that this release does not.
    """
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
    here = revision(conn)
    if here is None:
        _create(conn)
    elif here not in known_revisions():
        raise SchemaTooNew(f"the database has revision {here}; this release knows up to {newest_revision()}")
    elif here != newest_revision():
        from ubiety.store import revisions  # noqa: PLC0415  see above

        revisions.apply(conn)


def revision(conn: Connection) -> str | None:
    """Return the revision that the tables have, None for an empty database."""
    if not inspect(conn).has_table(_STAMP.name):
        return None
    found: str | None = conn.execute(select(_STAMP.c.version_num)).scalar()
    return found


def newest_revision() -> str:
    """Return the revision that this release wants."""
    return max(known_revisions())


@cache
def known_revisions() -> frozenset[str]:
    """Return all revisions that this release knows: the files of the migrations begin with them."""
    return frozenset(path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*_*.py"))


def _create(conn: Connection) -> None:
    """Make all tables in their newest form, which is what the migrations lead to."""
    metadata.create_all(conn)
    _STAMP.create(conn, checkfirst=True)
    conn.execute(_STAMP.insert().values(version_num=newest_revision()))
