"""Runs the migrations: Alembic, driven by the program and not by its command."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

MIGRATIONS = Path(__file__).parent / "migrations"


def apply(conn: Connection, target: str = "head") -> None:
    """Apply the revisions that are missing, in the caller's transaction; ``target``: up to which."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = conn
    command.upgrade(config, target)
