"""What administrators have decided about the services of each node: it outlives a restart."""

from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store.sql import Sql

LOAD = Sql(
    "SELECT service, activated, stopped, auto_restart FROM node_services WHERE node_id = :node_id"
    " ORDER BY service"
)
WITHOUT = Sql("SELECT node_id FROM node_services WHERE service = :service AND activated = :activated")
SAVE = Sql(
    "INSERT INTO node_services (node_id, service, activated, stopped, auto_restart)"
    " VALUES (:node_id, :service, :activated, :stopped, :auto_restart)"
    " ON CONFLICT (node_id, service) DO UPDATE SET activated = excluded.activated,"
    " stopped = excluded.stopped, auto_restart = excluded.auto_restart"
)


class Decision(NamedTuple):
    """What is decided about one service of a node."""

    activated: bool = True
    stopped: bool = False
    """It shall not run, not even after the node has started again."""
    auto_restart: bool = True
    """It is started again when it fails."""


def load(conn: Connection, node_id: int) -> dict[str, Decision]:
    """Return what is decided for a node, by service; who is not in it runs."""
    rows = LOAD.rows(conn, node_id=node_id)
    return {service: Decision(*(bool(flag) for flag in flags)) for service, *flags in rows}


def nodes_without(conn: Connection, service: str) -> set[int]:
    """Return the ids of the nodes on which a service is deactivated."""
    return {node_id for (node_id,) in WITHOUT.rows(conn, service=service, activated=False)}


def save(conn: Connection, node_id: int, service: str, decision: Decision) -> None:
    """Put down what is decided for one service."""
    SAVE.run(conn, node_id=node_id, service=service, **decision._asdict())
