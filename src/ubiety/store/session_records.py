"""How many active sessions each node had when high availability was turned off, to compare afterwards."""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from ubiety.store.sql import Sql

PUT = Sql(
    "INSERT INTO session_records (node_id, sessions, at) VALUES (:node_id, :sessions, :at)"
    " ON CONFLICT (node_id) DO UPDATE SET sessions = excluded.sessions, at = excluded.at"
)
ALL = Sql("SELECT node_id, sessions FROM session_records")


def put(conn: Connection, counts: Mapping[int, int], now: float) -> None:
    """Record node -> active sessions."""
    for node_id, sessions in counts.items():
        PUT.run(conn, node_id=node_id, sessions=sessions, at=now)


def load(conn: Connection, node_ids: Iterable[int]) -> dict[int, int]:
    """Return what was recorded of these nodes."""
    wanted = set(node_ids)
    return {node_id: sessions for node_id, sessions in ALL.rows(conn) if node_id in wanted}
