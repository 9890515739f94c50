"""Operations on redundancy: how each group is, fail-over, fall-back, recovery."""

import asyncio
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from ubiety import __version__
from ubiety.admin.context import Node
from ubiety.admin.operation import Arguments, Line, Operation, Result, perform, perform_at
from ubiety.admin.problems import CONFLICT, NOT_FOUND, UNAVAILABLE, Problem
from ubiety.admin.rbac import Caller
from ubiety.cluster import topology
from ubiety.cluster.recovery import Recovery, Refused
from ubiety.cluster.states import Reason, Request, State
from ubiety.cluster.topology import Group

MIXED = (
    "Presence redundancy groups with and without high availability exist side by side; this is not "
    "recommended: people of {names} are without service when their node fails."
)
SEE = "See: ubiety utils ha status"
RECOVERY_SECONDS = 60.0
LOOK_SECONDS = 0.2
ANSWER_SECONDS = 3.0
"""A node that takes longer to tell how it is counts as one that does not answer."""


class NodeView(Result):
    """One node of a group."""

    id: int
    name: str
    state: str
    reason: str
    answers: bool = Field(description="Whether the node itself has told this.")
    release: str = ""
    is_enabled: bool = Field(False, description="Whether the node works with high availability.")
    has_database: bool = False
    manager_runs: bool = False
    critical_down: list[str] = Field([], description="Critical services that do not run.")
    serves: list[str] = Field([], description="The nodes whose people it serves.")
    active_sessions: int = Field(0, description="People assigned to what it serves (ActiveJsmSessions).")
    client_sessions: int = Field(0, description="Signed-in clients (JsmSessionsClient).")


class GroupView(Result):
    """One presence redundancy group."""

    name: str
    description: str
    high_availability: bool
    nodes: list[NodeView]

    @property
    def active_sessions(self) -> int:
        """People served by its nodes."""
        return sum(one.active_sessions for one in self.nodes)


class GroupViews(Result):
    """All groups, as one node knows them."""

    groups: list[GroupView]
    warnings: list[str] = Field([], description="What is not as it should be.")
    missing: list[str] = Field([], description="Nodes that did not answer.")

    def find(self, name: str) -> GroupView:
        """The group of this name. Raises Problem."""
        for group in self.groups:
            if group.name == name:
                return group
        known = ", ".join(group.name for group in self.groups)
        raise Problem(NOT_FOUND, f"There is no presence redundancy group {name}.", f"There are: {known}.")


class OfGroup(Arguments):
    """Which groups to show."""

    group: Line | None = Field(None, description="Name of a presence redundancy group; without it all.")


class NamedNode(Arguments):
    """Which node."""

    node: Line = Field(description="Name of the node.")


class Recover(Arguments):
    """Which group to recover."""

    group: Line = Field(description="Name of the presence redundancy group.")
    node: Line | None = Field(None, description="The node that begins; without it one that answers.")


# -- how it is -------------------------------------------------------------------------------------


async def look(node: Node, caller: Caller, arguments: OfGroup) -> GroupViews:
    """Shows the groups as this node knows them; `merge` adds what the others know of themselves."""
    known = node.topology.value
    views = [_group_view(node, group) for group in known.groups]
    return GroupViews(groups=views, warnings=_warnings(known.groups), missing=[])


def merge(arguments: OfGroup, parts: Sequence[GroupViews], missing: Sequence[str]) -> GroupViews:
    """What each node tells of itself, in one view."""
    told = {one.id: one for part in parts for group in part.groups for one in group.nodes if one.answers}
    whole = parts[0].model_copy(deep=True)
    for group in whole.groups:
        group.nodes = [told.get(one.id, one) for one in group.nodes]
    if arguments.group is not None:
        whole.groups = [whole.find(arguments.group)]
    whole.missing = sorted(missing)
    return whole


async def look_everywhere(node: Node, caller: Caller, group: str | None = None) -> GroupViews:
    """Shows the groups with what each node tells of itself."""
    return await perform(STATUS, node, caller, OfGroup(group=group))


def _group_view(node: Node, group: Group) -> GroupView:
    return GroupView(
        name=group.name,
        description=group.description,
        high_availability=group.ha_enabled,
        nodes=[_node_view(node, group, one) for one in group.nodes],
    )


def _node_view(node: Node, group: Group, one: topology.Node) -> NodeView:
    if one.id != node.homes.node_id:
        silent = (State.UNKNOWN, Reason.PEER_DOWN if group.ha_enabled else Reason.NOT_ENABLED)
        return NodeView(
            id=one.id,
            name=one.name,
            state=silent[0].value,
            reason=silent[1].value,
            answers=False,
            release=one.release,
            is_enabled=False,
            critical_down=[],
            serves=[],
            active_sessions=0,
            client_sessions=0,
        )
    recovery = node.recovery
    state = (recovery.state, recovery.reason) if recovery else (State.UNKNOWN, Reason.NOT_ENABLED)
    counters = node.metrics.counters
    return NodeView(
        id=one.id,
        name=one.name,
        state=state[0].value,
        reason=state[1].value,
        answers=True,
        release=__version__,
        is_enabled=recovery is not None and recovery.is_in_force,
        has_database=recovery is None or recovery.has_database,
        manager_runs=recovery is not None and recovery.is_running,
        critical_down=recovery.critical_down() if recovery else [],
        serves=[node.topology.value.name_of(set_id) for set_id in sorted(node.homes.here)],
        active_sessions=node.homes.count_here(),
        client_sessions=counters.client_sessions,
    )


def _warnings(groups: Sequence[Group]) -> list[str]:
    without = [group.name for group in groups if not group.ha_enabled]
    if without and len(without) < len(groups):
        return [MIXED.format(names=", ".join(without))]
    return []


# -- what an administrator asks for ----------------------------------------------------------------


async def failover(node: Node, caller: Caller, arguments: NamedNode) -> GroupView:
    """Has this node's people taken over by its peer; its critical services stop until fall-back."""
    return await _ask(node, Request.FAILOVER, _recovery(node))


async def fallback(node: Node, caller: Caller, arguments: NamedNode) -> GroupView:
    """Takes this node's people back from its peer, after starting its critical services."""
    recovery = _recovery(node)
    if recovery.state in (State.BACKUP, State.BACKUP_ACTIVATED):
        peer = node.topology.value.name_of(recovery.peer_id)
        raise Problem(
            CONFLICT,
            f"{arguments.node} is the backup: it is {peer} whose people fall back.",
            f"Run: ubiety utils ha fallback {peer}",
        )
    return await _ask(node, Request.FALLBACK, recovery)


async def recover(node: Node, caller: Caller, arguments: Recover) -> GroupView:
    """Restarts the recovery of a group whose nodes have failed, with their critical services."""
    group = node.topology.value.group_named(arguments.group)
    if group is None:
        raise Problem(NOT_FOUND, f"There is no presence redundancy group {arguments.group}.", SEE)
    if arguments.node is None:
        ids = [one.id for one in group.nodes]
        chosen = next((one for one in ids if _is_near(node, one)), ids[0])
        given = Recover(group=arguments.group, node=node.topology.value.name_of(chosen))
        if chosen != node.homes.node_id:
            return await perform_at(chosen, RECOVER, node, caller, given)
    recovery = _recovery(node)
    await _ask(node, Request.RECOVER, recovery)
    deadline = node.clock.monotonic() + RECOVERY_SECONDS
    while recovery.state is State.INITIALIZING and node.clock.monotonic() < deadline:
        await asyncio.sleep(LOOK_SECONDS)
    return _own_group(node)


def _is_near(node: Node, node_id: int) -> bool:
    return node_id == node.homes.node_id or (node.links is not None and node.links.is_up(node_id))


async def _ask(node: Node, request: Request, recovery: Recovery) -> GroupView:
    try:
        recovery.ask(request)
    except Refused as error:
        words = f"{node.config.node} is {recovery.state.value} ({recovery.reason.value}). {error}"
        raise Problem(CONFLICT, words, SEE) from error
    await asyncio.sleep(LOOK_SECONDS)  # the peer has heard of it
    return _own_group(node)


def _own_group(node: Node) -> GroupView:
    group = node.topology.value.group_of(node.homes.node_id)
    assert group is not None
    return _group_view(node, group)


def _recovery(node: Node) -> Recovery:
    if node.recovery is None:
        raise Problem(
            UNAVAILABLE,
            "This is a node on its own: there is nobody who could take its people over.",
            "A cluster has a PostgreSQL database and a bus: see docs/redundancy.md.",
        )
    return node.recovery


READ, WRITE = "system.read", "system.write"
STATUS = Operation(
    "ha.status",
    "Shows state and reason of each node of the presence redundancy groups.",
    OfGroup,
    GroupViews,
    READ,
    False,
    look,
    place="all",
    merge=merge,
    seconds=ANSWER_SECONDS,
)
RECOVER = Operation(
    "ha.recover",
    "Recovers a presence redundancy group whose nodes have failed.",
    Recover,
    GroupView,
    WRITE,
    True,
    recover,
    place="node",
    seconds=90.0,
)
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    STATUS,
    Operation(
        "ha.failover",
        "Has the people of a node taken over by its peer.",
        NamedNode,
        GroupView,
        WRITE,
        True,
        failover,
        place="node",
    ),
    Operation(
        "ha.fallback",
        "Takes the people of a node back from its peer.",
        NamedNode,
        GroupView,
        WRITE,
        True,
        fallback,
        place="node",
    ),
    RECOVER,
)
