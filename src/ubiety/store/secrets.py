"""What all nodes of a cluster must know and nobody else."""

from sqlalchemy import Connection

from ubiety.store.sql import Sql

#: Salts for accounts that do not exist: the same at every node, or they could be told from those that do.
SALTS = "salts"

ADD = Sql("INSERT INTO secrets (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING")
FIND = Sql("SELECT value FROM secrets WHERE name = :name")


def find_or_add(conn: Connection, name: str, fresh: bytes) -> bytes:
    """Return a secret of the cluster; ``fresh`` becomes it when there is none yet."""
    ADD.run(conn, name=name, value=fresh)
    return bytes(FIND.value(conn, name=name))
