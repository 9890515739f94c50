"""Operations on presence redundancy groups: which nodes belong together, high availability on and off."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import Connection

from ubiety.admin.context import Node
from ubiety.admin.ha import (
    ANSWER_SECONDS,
    READ,
    WRITE,
    GroupView,
    GroupViews,
    NodeView,
    OfGroup,
    look,
    look_everywhere,
    merge,
)
from ubiety.admin.operation import Arguments, Line, Nothing, Operation, Result, perform, perform_at
from ubiety.admin.problems import CONFLICT, NOT_FOUND, UNAVAILABLE, Problem
from ubiety.admin.rbac import Caller
from ubiety.admin.replication import DATABASE_STATE, NodeState
from ubiety.clock import Clock
from ubiety.cluster import topology
from ubiety.cluster.services import DATA_MONITOR
from ubiety.cluster.states import State
from ubiety.store import nodes, session_records

APPLY_SECONDS = 30.0
LOOK_SECONDS = 0.2
PATIENCE_SECONDS = 6.0
"""What a node says of its database counts only after so long: one late answer is no fault."""
SEE_DATABASE = "See: ubiety utils dbreplication runtimestate"
Applied = Callable[[GroupViews], bool]
Seen = tuple[GroupView, Sequence[NodeState]]
"""A group, and how all nodes stand to the database."""


class Unwell(Problem):
    """What a node says now, and may say otherwise in a moment."""


class Group(Arguments):
    """Which group."""

    name: Line = Field(description="Name of the presence redundancy group.")


class AddGroup(Group):
    """A group to be made of nodes."""

    nodes: Annotated[list[Line], Field(min_length=1, max_length=2, description="Names of its nodes.")]
    description: Line = ""


class Change(Group):
    """Turns high availability of a group on or off."""

    force: bool = Field(
        False,
        description="Also where services do not run, replication is not well, or people are failed over.",
    )


class Sessions(Result):
    """Active sessions of a node, before and now."""

    node: str
    before: int | None = Field(description="As recorded when high availability was turned off.")
    now: int


class Changed(Result):
    """The group after the change; every node has applied it."""

    group: GroupView
    sessions: list[Sessions]
    warnings: list[str]


class Removed(Result):
    """The nodes of a group that is no more, each in a group of its own."""

    name: str
    nodes: list[str]


async def add(node: Node, caller: Caller, arguments: AddGroup) -> GroupView:
    """Makes a group of one or two nodes, which leave the groups where they were."""
    known = [_named(node, name) for name in arguments.nodes]
    ids = [one.id for one in known]
    await node.database.write_open(nodes.add_group, arguments.name, arguments.description, ids)
    found = await _until_applied(
        node, caller, lambda views: _members(views, arguments.name) == set(arguments.nodes)
    )
    return found.find(arguments.name)


async def remove(node: Node, caller: Caller, arguments: Group) -> Removed:
    """Takes a pair apart: each of its nodes gets a group of its own."""
    group = _group(node, arguments.name)
    if not group.is_pair:
        raise Problem(
            CONFLICT,
            f"{group.name} has but one node, and every node belongs to a group.",
            "Put the node into another group: ubiety prg add NAME NODE NODE",
        )
    await node.database.write_open(_take_apart, group)
    names = [one.name for one in group.nodes]
    await _until_applied(node, caller, lambda views: all(len(_around(views, name)) == 1 for name in names))
    return Removed(name=group.name, nodes=names)


async def enable(node: Node, caller: Caller, arguments: Change) -> Changed:
    """Turns high availability of a pair on; returns when every node has applied it."""
    group = _group(node, arguments.name)

    async def see() -> Seen:
        views, database = await asyncio.gather(
            look_everywhere(node, caller), perform(DATABASE_STATE, node, caller, Nothing())
        )
        return views.find(group.name), database.nodes

    await until_ready(see, node.clock, arguments.force)
    recorded = await node.database.read(session_records.load, [one.id for one in group.nodes])
    await node.database.write_open(nodes.set_ha, group.id, True)
    after = await _until_applied(node, caller, lambda views: _is_applied(views, group.name, True))
    return _changed(after, group.name, recorded)


async def disable(node: Node, caller: Caller, arguments: Change) -> Changed:
    """Turns high availability of a pair off and records the active sessions; returns when it is applied."""
    group = _group(node, arguments.name)
    before = (await look_everywhere(node, caller)).find(group.name)
    _check_may_disable(before, arguments.force)
    counts = {one.id: one.active_sessions for one in before.nodes if one.answers}
    await node.database.write_open(session_records.put, counts, node.clock.now())
    await node.database.write_open(nodes.set_ha, group.id, False)
    after = await _until_applied(node, caller, lambda views: _is_applied(views, group.name, False))
    return _changed(after, group.name, counts)


# -- what must be so before ------------------------------------------------------------------------


async def until_ready(see: Callable[[], Awaitable[Seen]], clock: Clock, force: bool) -> None:
    """Return as soon as high availability may be turned on. Raises Problem when it may not.

    A node that does not answer, and a database that is said to be away or not well, are asked again, for a
    bounded time.
    """
    deadline = clock.monotonic() + PATIENCE_SECONDS
    while True:
        group, databases = await see()
        try:
            check_may_enable(group, databases, force)
            return
        except Unwell:
            if clock.monotonic() >= deadline:
                raise
        await asyncio.sleep(LOOK_SECONDS)


def check_may_enable(group: GroupView, databases: Sequence[NodeState], force: bool) -> None:
    """Raise Problem, with the cure, unless high availability of a group may be turned on."""
    if len(group.nodes) != nodes.MAX_GROUP_NODES:
        raise Problem(
            CONFLICT,
            f"High availability needs two nodes; {group.name} has {len(group.nodes)}.",
            f"Make a pair of them: ubiety prg add {group.name} NODE NODE",
        )
    for one in group.nodes:
        _check_services(one, force)
    releases = {one.release for one in group.nodes}
    if len(releases) > 1:
        told = ", ".join(f"{one.name} has {one.release}" for one in group.nodes)
        raise Problem(CONFLICT, f"Both nodes need the same release: {told}.", "Upgrade the older one first.")
    for one in group.nodes:
        _check_database(one, next((state for state in databases if state.id == one.id), None), force)


def _check_services(one: NodeView, force: bool) -> None:
    if not one.answers:
        raise Unwell(CONFLICT, f"The node {one.name} does not answer.", "Start it first.")
    if not one.manager_runs:
        raise Problem(
            CONFLICT,
            f"The Cisco Server Recovery Manager does not run on {one.name}.",
            'Run there: ubiety utils service start "Cisco Server Recovery Manager"',
        )
    if one.critical_down and not force:
        raise Problem(
            CONFLICT,
            f"Critical services do not run on {one.name}: {', '.join(one.critical_down)}.",
            "Start them first; with --force the node fails over at once.",
        )


def _check_database(one: NodeView, state: NodeState | None, force: bool) -> None:
    """``state``: what the node's data monitor and a question to its database say, just now."""
    if not one.has_database or state is None or not state.database:
        raise Unwell(CONFLICT, f"{one.name} does not reach the database.", SEE_DATABASE)
    if force:
        return
    if not state.monitor:
        raise Problem(
            CONFLICT,
            f"The {DATA_MONITOR} does not run on {one.name}: nobody knows whether replication is well.",
            f'Run there: ubiety utils service start "{DATA_MONITOR}"; --force does without.',
        )
    if state.problems:
        raise Unwell(
            CONFLICT,
            f"The database is not well, as {one.name} sees it: {'; '.join(state.problems)}.",
            f"{SEE_DATABASE}; --force does it all the same.",
        )


def _check_may_disable(group: GroupView, force: bool) -> None:
    if not group.high_availability or force:
        return
    away = [one for one in group.nodes if one.state != State.NORMAL.value]
    if away:
        told = ", ".join(f"{one.name} is {one.state}" for one in away)
        raise Problem(
            CONFLICT,
            f"People of {group.name} may be served by the other node: {told}.",
            "Fall back or recover first (ubiety utils ha fallback|recover); --force does it all the same.",
        )


# -- waiting until all nodes know ------------------------------------------------------------------


async def _until_applied(node: Node, caller: Caller, is_applied: Applied) -> GroupViews:
    """Waits until every node that answers has applied a change. Raises Problem when that takes too long."""
    await node.topology.refresh(node.database)
    deadline = node.clock.monotonic() + APPLY_SECONDS
    late: list[str] = []
    while node.clock.monotonic() < deadline:
        late = await _late(node, caller, is_applied)
        if not late:
            return await look_everywhere(node, caller)
        await asyncio.sleep(LOOK_SECONDS)
    raise Problem(
        UNAVAILABLE,
        f"It is written down, but not applied yet by: {', '.join(late)}.",
        "They apply it as soon as they can. See: ubiety prg list",
    )


async def _late(node: Node, caller: Caller, is_applied: Applied) -> list[str]:
    known = node.topology.value
    mine = await look(node, caller, OfGroup(group=None))
    late = [] if is_applied(mine) else [node.config.node]
    for other in known.others(node.homes.node_id):
        if node.links is None or not node.links.is_up(other):
            continue  # a node that is away reads it when it is back
        try:
            theirs = await perform_at(other, LIST, node, caller, OfGroup(group=None))
        except Problem:
            late.append(known.name_of(other))
            continue
        if not is_applied(theirs):
            late.append(known.name_of(other))
    return late


def _is_applied(views: GroupViews, name: str, is_on: bool) -> bool:
    """Whether the node that shows this has applied it: it knows, and if it belongs to the pair, works so."""
    for group in views.groups:
        if group.name == name:
            unsettled = (State.INITIALIZING.value, State.UNKNOWN.value)
            own = [one for one in group.nodes if one.answers]
            works = all(one.is_enabled == is_on and (not is_on or one.state not in unsettled) for one in own)
            return group.high_availability == is_on and works
    return False


def _changed(views: GroupViews, name: str, recorded: dict[int, int]) -> Changed:
    group = views.find(name)
    sessions = [
        Sessions(node=one.name, before=recorded.get(one.id), now=one.active_sessions) for one in group.nodes
    ]
    return Changed(group=group, sessions=sessions, warnings=views.warnings)


def _members(views: GroupViews, name: str) -> set[str]:
    return {one.name for group in views.groups if group.name == name for one in group.nodes}


def _around(views: GroupViews, node_name: str) -> Sequence[NodeView]:
    return next(
        (group.nodes for group in views.groups if any(one.name == node_name for one in group.nodes)), ()
    )


def _named(node: Node, name: str) -> topology.Node:
    found = node.topology.value.named(name)
    if found is None:
        known = ", ".join(one.name for one in node.topology.value.nodes)
        raise Problem(NOT_FOUND, f"There is no node {name}.", f"There are: {known}.")
    return found


def _group(node: Node, name: str) -> topology.Group:
    found = node.topology.value.group_named(name)
    if found is None:
        known = ", ".join(one.name for one in node.topology.value.groups)
        raise Problem(NOT_FOUND, f"There is no presence redundancy group {name}.", f"There are: {known}.")
    return found


def _take_apart(conn: Connection, group: topology.Group) -> None:
    for one in group.nodes:
        if one.name != group.name:
            nodes.add_group(conn, nodes.own_group_name(one.name), "", [one.id])


LIST = Operation(
    "prg.list",
    "Lists the presence redundancy groups with their nodes and active sessions.",
    OfGroup,
    GroupViews,
    READ,
    False,
    look,
    place="all",
    merge=merge,
    seconds=ANSWER_SECONDS,
)
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    LIST,
    Operation(
        "prg.add", "Makes a presence redundancy group of nodes.", AddGroup, GroupView, WRITE, True, add
    ),
    Operation(
        "prg.remove",
        "Takes a presence redundancy group apart: each node gets a group of its own.",
        Group,
        Removed,
        WRITE,
        True,
        remove,
    ),
    Operation(
        "prg.enable-ha",
        "Turns high availability of a presence redundancy group on.",
        Change,
        Changed,
        WRITE,
        True,
        enable,
    ),
    Operation(
        "prg.disable-ha",
        "Turns high availability of a presence redundancy group off.",
        Change,
        Changed,
        WRITE,
        True,
        disable,
    ),
)
