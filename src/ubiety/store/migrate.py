"""Runs the migrations: Alembic, driven by the program and not by its command."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from ubiety.store.errors import SchemaTooNew

MIGRATIONS = Path(__file__).parent / "migrations"

#: Any constant: nodes that start together take turns on it.
ADVISORY_LOCK = 0x0B1E7


def upgrade(conn: Connection, target: str = "head") -> None:
    """Apply the revisions that are missing, in the caller's transaction; ``target``: up to which.

    Raises ``SchemaTooNew`` when the database knows a revision that this release does not.
    """
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
    config = _config(conn)
    here = revision(conn)
    if here is not None and here not in known_revisions():
        raise SchemaTooNew(f"the database has revision {here}; this release knows up to {newest_revision()}")
    if here != newest_revision():
        command.upgrade(config, target)


def revision(conn: Connection) -> str | None:
    """Return the revision that the tables have, None for an empty database."""
    return MigrationContext.configure(conn).get_current_revision()


def newest_revision() -> str:
    """Return the revision that this release wants."""
    head = _scripts().get_current_head()
    assert head is not None
    return head


def known_revisions() -> set[str]:
    """Return all revisions that this release knows."""
    return {script.revision for script in _scripts().walk_revisions()}


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS))


def _config(conn: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = conn
    return config
