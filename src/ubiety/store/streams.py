"""How far the streams were settled that a crash cut off (XEP-0198 §5); written by the ledger."""

from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store.sql import Sql

FIND = Sql("SELECT user_id, h FROM sm_streams WHERE smid = :smid")
OF_USER = Sql("SELECT smid, h FROM sm_streams WHERE user_id = :user_id ORDER BY updated DESC")
DELETE = Sql("DELETE FROM sm_streams WHERE smid = :smid")
COLLECT = Sql("DELETE FROM sm_streams WHERE updated < :older_than")


class Stream(NamedTuple):
    """Whose stream it was, and the ``h`` for its ``<failed/>``."""

    user_id: int
    h: int


def find(conn: Connection, smid: str) -> Stream | None:
    """Return what is known of a stream that cannot be resumed."""
    row = FIND.one(conn, smid=smid)
    return Stream(*row) if row else None


def list_of_user(conn: Connection, user_id: int) -> list[tuple[str, int]]:
    """Return (smid, h) of one person's streams, newest first."""
    return [(row[0], row[1]) for row in OF_USER.rows(conn, user_id=user_id)]


def delete(conn: Connection, smid: str) -> bool:
    """Forget a stream; False if it is not known."""
    return DELETE.run(conn, smid=smid) > 0


def gc_streams(conn: Connection, older_than: float) -> int:
    """Forget streams that were last written before ``older_than``; returns how many."""
    return COLLECT.run(conn, older_than=older_than)
