"""The nodes of the cluster and their presence redundancy groups.

A node's id is also the id of its set, the people assigned to it. Ids are never used a second time: the
row in ``leases`` of a node that was removed keeps its number taken.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from ubiety.store import changes
from ubiety.store.errors import Conflict
from ubiety.store.sql import Sql

FIRST_NODE = 1
MAX_GROUP_NODES = 2
GROUP_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
GROUP_DESCRIPTION = re.compile(r"[^\"%&\\<>\x00-\x1f]{0,128}")

COLUMNS = (
    "id, name, group_id, is_publisher, address, ports, state, reason, state_since, release, boot, started,"
    " draining"
)
GROUP_COLUMNS = "id, name, description, ha_enabled"
# Nodes that start for the first time at the same moment take turns; readers are not held up.
LOCK = Sql("SELECT 1", "LOCK TABLE nodes IN SHARE ROW EXCLUSIVE MODE")
ALL = Sql(f"SELECT {COLUMNS} FROM nodes ORDER BY id")
FIND = Sql(f"SELECT {COLUMNS} FROM nodes WHERE name = :name")
LOAD = Sql(f"SELECT {COLUMNS} FROM nodes WHERE id = :id")
NEXT_ID = Sql(
    "SELECT 1 + COALESCE((SELECT MAX(id) FROM nodes), 0), 1 + COALESCE((SELECT MAX(set_id) FROM leases), 0)"
)
INSERT = Sql(
    "INSERT INTO nodes (id, name, group_id, is_publisher, address, ports, release, boot, started)"
    " VALUES (:id, :name, :group_id, :is_publisher, :address, :ports, :release, :boot, :started)"
)
STARTED = Sql(
    "UPDATE nodes SET address = :address, ports = :ports, release = :release, boot = :boot,"
    " started = :started, draining = false WHERE id = :id"
)
SET_STATE = Sql(
    "UPDATE nodes SET state = :state, reason = :reason, state_since = :at WHERE id = :id"
    " AND (state <> :state OR reason <> :reason)"
)
RENAME = Sql("UPDATE nodes SET name = :name WHERE id = :id")
SET_PORTS = Sql("UPDATE nodes SET ports = :ports WHERE id = :id")
SET_DRAINING = Sql("UPDATE nodes SET draining = :draining WHERE id = :id")
SET_PUBLISHER = Sql("UPDATE nodes SET is_publisher = (id = :id)")
SET_GROUP = Sql("UPDATE nodes SET group_id = :group_id WHERE id = :id")
DELETE = Sql("DELETE FROM nodes WHERE id = :id")
ASSIGNED = Sql("SELECT COUNT(*) FROM users WHERE set_id = :set_id")
ASSIGNED_ALL = Sql("SELECT set_id, COUNT(*) FROM users GROUP BY set_id ORDER BY set_id")

GROUPS = Sql(f"SELECT {GROUP_COLUMNS} FROM redundancy_groups ORDER BY id")
FIND_GROUP = Sql(f"SELECT {GROUP_COLUMNS} FROM redundancy_groups WHERE name = :name")
INSERT_GROUP = Sql(
    "INSERT INTO redundancy_groups (name, description) VALUES (:name, :description) RETURNING id"
)
UPDATE_GROUP = Sql("UPDATE redundancy_groups SET description = :description WHERE id = :id")
SET_HA = Sql("UPDATE redundancy_groups SET ha_enabled = :enabled WHERE id = :id")
# High availability needs two nodes: a group that loses one is without it.
WITHOUT_PAIR = Sql(
    "UPDATE redundancy_groups SET ha_enabled = false WHERE ha_enabled"
    " AND (SELECT COUNT(*) FROM nodes WHERE group_id = redundancy_groups.id) < 2"
)
DELETE_EMPTY = Sql(
    "DELETE FROM redundancy_groups"
    " WHERE NOT EXISTS (SELECT 1 FROM nodes WHERE group_id = redundancy_groups.id)"
)


class NodeRow(NamedTuple):
    """One row of ``nodes``."""

    id: int
    name: str
    group_id: int
    is_publisher: bool
    address: str
    """Public host name or address that clients are sent to; empty: none is known."""
    ports: dict[str, int]
    """The ports that its listeners got: ``c2s``, ``c2s_tls``, ``api``."""
    state: str
    reason: str
    state_since: float
    release: str
    boot: str
    """Names one run of the process."""
    started: float
    draining: bool


class GroupRow(NamedTuple):
    """One row of ``redundancy_groups``."""

    id: int
    name: str
    description: str
    ha_enabled: bool


def register(
    conn: Connection,
    name: str,
    release: str,
    boot: str,
    now: float,
    *,
    group: str = "",
    address: str = "",
    ports: Mapping[str, int] | None = None,
) -> NodeRow:
    """Note that a node starts, adding it the first time, and return its row.

    The first node ever gets id 1 and is the publisher. A new one joins ``group``, else a group of its own.
    A node that is draining does so no more. Raises ``Conflict`` when the group has two nodes already.
    """
    take_turns(conn)
    known = find(conn, name)
    values = {"address": address, "ports": json.dumps(dict(ports or {})), "release": release, "boot": boot}
    if known is None:
        others = list_all(conn)
        node_id = max(NEXT_ID.rows(conn)[0]) if others else FIRST_NODE
        group_id = _group_for(conn, group, name)
        INSERT.run(
            conn,
            id=node_id,
            name=name,
            group_id=group_id,
            is_publisher=not others,
            started=now,
            **values,
        )
    else:
        node_id = known.id
        STARTED.run(conn, id=node_id, started=now, **values)
    changes.note(conn, changes.TOPOLOGY)
    return _must_load(conn, node_id)


def take_turns(conn: Connection) -> None:
    """Wait until no other node is being registered or moved between groups, and have others wait."""
    LOCK.run(conn)


def list_all(conn: Connection) -> list[NodeRow]:
    """Return all nodes by id."""
    return [_node(row) for row in ALL.rows(conn)]


def find(conn: Connection, name: str) -> NodeRow | None:
    """Return a node by its name."""
    row = FIND.one(conn, name=name)
    return _node(row) if row else None


def load(conn: Connection, node_id: int) -> NodeRow | None:
    """Return a node by its id."""
    row = LOAD.one(conn, id=node_id)
    return _node(row) if row else None


def set_state(conn: Connection, node_id: int, state: str, reason: str, now: float) -> bool:
    """Note the redundancy state of a node; False when it was the same before."""
    changed = SET_STATE.run(conn, id=node_id, state=state, reason=reason, at=now) > 0
    if changed:
        changes.note(conn, changes.TOPOLOGY)
    return changed


def rename(conn: Connection, node_id: int, name: str) -> None:
    """Give a node another name. Raises ``Conflict`` when it is taken."""
    RENAME.run(conn, id=node_id, name=name)
    changes.note(conn, changes.TOPOLOGY)


def set_ports(conn: Connection, node_id: int, ports: Mapping[str, int]) -> None:
    """Note the ports that a node's listeners got."""
    SET_PORTS.run(conn, id=node_id, ports=json.dumps(dict(ports)))
    changes.note(conn, changes.TOPOLOGY)


def set_draining(conn: Connection, node_id: int, draining: bool) -> None:
    """Note that a node hands its people over, or does so no more."""
    SET_DRAINING.run(conn, id=node_id, draining=draining)
    changes.note(conn, changes.TOPOLOGY)


def set_publisher(conn: Connection, node_id: int) -> None:
    """Make a node the publisher; no other one is it then."""
    SET_PUBLISHER.run(conn, id=node_id)
    changes.note(conn, changes.TOPOLOGY)


def remove(conn: Connection, node_id: int) -> bool:
    """Remove a node, and its group if it was alone in it; False if there is no such node.

    Raises ``Conflict`` for the publisher, and while people are assigned to the node.
    """
    take_turns(conn)
    node = load(conn, node_id)
    if node is None:
        return False
    if node.is_publisher:
        raise Conflict(f"{node.name} is the publisher")
    people = ASSIGNED.value(conn, set_id=node_id)
    if people:
        raise Conflict(f"{people} people are assigned to {node.name}")
    DELETE.run(conn, id=node_id)
    _tidy_groups(conn)
    changes.note(conn, changes.TOPOLOGY)
    return True


def count_assigned(conn: Connection) -> dict[int, int]:
    """Return set -> how many people are assigned to it; 0 stands for none."""
    return dict(ASSIGNED_ALL.rows(conn))


# -- redundancy groups -----------------------------------------------------------------------------


def list_groups(conn: Connection) -> list[GroupRow]:
    """Return all groups by id."""
    return [_group(row) for row in GROUPS.rows(conn)]


def find_group(conn: Connection, name: str) -> GroupRow | None:
    """Return a group by its name."""
    row = FIND_GROUP.one(conn, name=name)
    return _group(row) if row else None


def add_group(conn: Connection, name: str, description: str, node_ids: Sequence[int]) -> GroupRow:
    """Add a group of one or two nodes, which leave their old groups; an empty group is removed.

    Raises ``Conflict``: a name or description that is not allowed or taken, too many nodes, an unknown one,
    a node of a pair with high availability.
    """
    take_turns(conn)
    _check_group(name, description)
    if not 1 <= len(set(node_ids)) <= MAX_GROUP_NODES:
        raise Conflict(f"a group has one or two nodes, not {len(set(node_ids))}")
    old = find_group(conn, name)
    if old is not None and not _holds_only(conn, old, node_ids):
        raise Conflict(f"there is a group {name} already")
    for node_id in node_ids:
        _check_may_leave(conn, node_id)
    if old is None:
        group_id = INSERT_GROUP.value(conn, name=name, description=description)
    else:  # the node's own group, named after it, becomes the pair's
        group_id = old.id
        UPDATE_GROUP.run(conn, id=group_id, description=description)
    for node_id in node_ids:
        SET_GROUP.run(conn, id=node_id, group_id=group_id)
    _tidy_groups(conn)
    changes.note(conn, changes.TOPOLOGY)
    made = find_group(conn, name)
    assert made is not None
    return made


def describe_group(conn: Connection, group_id: int, description: str) -> None:
    """Change what stands beside a group. Raises ``Conflict`` for signs that are not allowed."""
    _check_group("any", description)
    UPDATE_GROUP.run(conn, id=group_id, description=description)
    changes.note(conn, changes.TOPOLOGY)


def set_ha(conn: Connection, group_id: int, enabled: bool) -> None:
    """Turn high availability of a group on or off. Raises ``Conflict`` when the group is no pair."""
    members = [node for node in list_all(conn) if node.group_id == group_id]
    if enabled and len(members) != MAX_GROUP_NODES:
        raise Conflict("high availability needs two nodes in the group")
    SET_HA.run(conn, id=group_id, enabled=enabled)
    changes.note(conn, changes.TOPOLOGY)


def move_node(conn: Connection, node_id: int, group_id: int) -> None:
    """Put a node into another group; the old one is removed when it is empty. Raises ``Conflict``."""
    take_turns(conn)
    _check_may_leave(conn, node_id)
    members = [node for node in list_all(conn) if node.group_id == group_id and node.id != node_id]
    if len(members) >= MAX_GROUP_NODES:
        raise Conflict("the group has two nodes already")
    SET_GROUP.run(conn, id=node_id, group_id=group_id)
    _tidy_groups(conn)
    changes.note(conn, changes.TOPOLOGY)


def own_group_name(node_name: str) -> str:
    """Return how a node's group is called in which it is alone."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", node_name)[:128]


def _group_for(conn: Connection, group: str, node_name: str) -> int:
    name = group or own_group_name(node_name)
    _check_group(name, "")
    known = find_group(conn, name)
    if known is None:
        made: int = INSERT_GROUP.value(conn, name=name, description="")
        return made
    members = [node.name for node in list_all(conn) if node.group_id == known.id]
    if len(members) >= MAX_GROUP_NODES or not group:
        raise Conflict(f"the redundancy group {name} has its nodes already: {', '.join(members)}")
    return known.id


def _check_group(name: str, description: str) -> None:
    if not GROUP_NAME.fullmatch(name):
        raise Conflict("a group's name has 1 to 128 letters, digits, - and _")
    if not GROUP_DESCRIPTION.fullmatch(description):
        raise Conflict('a description has up to 128 signs, none of " % & \\ < >')


def _check_may_leave(conn: Connection, node_id: int) -> None:
    node = load(conn, node_id)
    if node is None:
        raise Conflict(f"there is no node {node_id}")
    for group in list_groups(conn):
        if group.id == node.group_id and group.ha_enabled:
            raise Conflict(f"disable high availability of {group.name} before {node.name} leaves it")


def _holds_only(conn: Connection, group: GroupRow, node_ids: Sequence[int]) -> bool:
    return {node.id for node in list_all(conn) if node.group_id == group.id} <= set(node_ids)


def _tidy_groups(conn: Connection) -> None:
    DELETE_EMPTY.run(conn)
    WITHOUT_PAIR.run(conn)


def _must_load(conn: Connection, node_id: int) -> NodeRow:
    node = load(conn, node_id)
    assert node is not None
    return node


def _node(row: tuple[Any, ...]) -> NodeRow:
    made = NodeRow._make(row)
    return made._replace(
        is_publisher=bool(made.is_publisher), ports=json.loads(row[5]), draining=bool(made.draining)
    )


def _group(row: tuple[Any, ...]) -> GroupRow:
    return GroupRow(row[0], row[1], row[2], bool(row[3]))
