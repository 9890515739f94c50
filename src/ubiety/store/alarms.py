"""Alarms of the nodes: what was wrong, from when to when."""

from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store.sql import Sql

RAISE = Sql(
    "INSERT INTO alarms (node_id, name, severity, text, raised)"
    " VALUES (:node_id, :name, :severity, :text, :at)"
)
CHANGE = Sql(
    "UPDATE alarms SET text = :text WHERE node_id = :node_id AND name = :name AND cleared IS NULL",
)
NOTE = Sql(
    "INSERT INTO alarms (node_id, name, severity, text, raised, cleared)"
    " VALUES (:node_id, :name, :severity, :text, :at, :at)"
)
CLEAR = Sql("UPDATE alarms SET cleared = :at WHERE node_id = :node_id AND name = :name AND cleared IS NULL")
CLEAR_ALL = Sql("UPDATE alarms SET cleared = :at WHERE node_id = :node_id AND cleared IS NULL")
PAGE = Sql(
    "SELECT a.id, n.name, a.name, a.severity, a.text, a.raised, a.cleared"
    " FROM alarms a JOIN nodes n ON n.id = a.node_id"
    " WHERE a.id < :before AND (:all OR a.cleared IS NULL) ORDER BY a.id DESC LIMIT :limit"
)
COLLECT = Sql("DELETE FROM alarms WHERE node_id = :node_id AND cleared < :older_than")

LARGEST = 2**63 - 1


class Alarm(NamedTuple):
    """One alarm."""

    id: int
    node: str
    """The node's name."""
    name: str
    severity: str
    text: str
    raised: float
    cleared: float | None
    """When it was over; a notice is over when it is written."""


def begin(conn: Connection, node_id: int, name: str, severity: str, text: str, at: float) -> None:
    """Put down that something is wrong; while it was wrong before, only the text is renewed."""
    if not CHANGE.run(conn, node_id=node_id, name=name, text=text):
        RAISE.run(conn, node_id=node_id, name=name, severity=severity, text=text, at=at)


def note(conn: Connection, node_id: int, name: str, severity: str, text: str, at: float) -> None:
    """Put down something that happened and is over."""
    NOTE.run(conn, node_id=node_id, name=name, severity=severity, text=text, at=at)


def clear(conn: Connection, node_id: int, name: str, at: float) -> None:
    """Put down that it is well again."""
    CLEAR.run(conn, node_id=node_id, name=name, at=at)


def clear_all(conn: Connection, node_id: int, at: float) -> None:
    """End what an earlier run of the node has left: a fresh process finds out anew."""
    CLEAR_ALL.run(conn, node_id=node_id, at=at)


def list_page(
    conn: Connection, *, with_cleared: bool = False, before: int = LARGEST, limit: int = 100
) -> list[Alarm]:
    """Return the newest alarms with an id below ``before``, the newest first."""
    return [Alarm(*row) for row in PAGE.rows(conn, before=before, limit=limit, all=with_cleared)]


def gc_alarms(conn: Connection, node_id: int, older_than: float) -> int:
    """Delete what was over before on a node; returns how many."""
    return COLLECT.run(conn, node_id=node_id, older_than=older_than)
