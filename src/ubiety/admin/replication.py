"""Operations on the state of the database as the nodes see it, and on alarms."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pydantic import Field

from ubiety.admin.context import Node
from ubiety.admin.operation import After, Arguments, Nothing, Operation, PageSize, Result
from ubiety.admin.rbac import Caller
from ubiety.cluster import monitor
from ubiety.cluster.alarms import KINDS
from ubiety.cluster.services import DATA_MONITOR
from ubiety.store import alarms, replication
from ubiety.store.errors import StoreError

GOOD = "(2) Setup Completed"
WAITING = "(0) Initializing"
FAILED = "(4) Setup Failed"
OFFLINE = "Off-Line"
READ_SECONDS = 5.0
"""Time that the database has to answer; a report waits no longer."""


class NodeState(Result):
    """How one node stands to the database."""

    node: str
    id: int
    address: str
    publisher: bool
    ping: float | None = Field(description="Milliseconds that a question to the database takes from there.")
    database: bool = Field(description="Whether the database answers it.")
    answers: bool = Field(description="Whether the node itself answers.")
    monitor: bool = Field(description="Whether its data monitor runs.")
    state: str = Field(description="`(2) Setup Completed` when all is well.")
    problems: list[str]


class DatabaseState(Result):
    """How all nodes stand to the database."""

    at: float
    version: str
    revision: str
    bytes: int
    replicas: list[str]
    rows: dict[str, int]
    nodes: list[NodeState]
    good: bool = Field(description="Whether every node has the state (2).")


class AlarmView(Result):
    """One alarm."""

    id: int
    node: str
    name: str
    severity: str
    text: str
    raised: float
    cleared: float | None
    meaning: str
    cure: str


class AlarmViews(Result):
    """A page of alarms, the newest first."""

    alarms: list[AlarmView]
    next: int | None = Field(description="Pass it as `before` to get the next page; null on the last one.")


class ListAlarms(Arguments):
    """Which alarms."""

    all: bool = Field(False, description="Also those that are over, and notices.")
    before: After | None = None
    limit: PageSize = 100


async def show_database(node: Node, caller: Caller, arguments: Nothing) -> DatabaseState:
    """Tells how this node stands to the database, looking anew; `merge` adds the others."""
    if node.services.is_running(DATA_MONITOR):
        await node.monitor.look(anew=True)
    began, ping, report = node.clock.monotonic(), None, None
    if not _is_away(node):
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(READ_SECONDS):
                await node.database.read(replication.ping)
                ping = (node.clock.monotonic() - began) * 1000
                report = await node.database.read(replication.report)
    known = node.topology.value.nodes
    others = [_unheard(one.name, one.id, one.address, one.is_publisher) for one in known]
    own = [_own(node, ping)]
    return DatabaseState(
        at=node.clock.now(),
        version=report.version if report else "",
        revision=report.revision if report else "",
        bytes=report.bytes if report else 0,
        replicas=[_replica(one) for one in report.replicas] if report else [],
        rows=report.rows if report else {},
        nodes=own + [one for one in others if one.id != node.homes.node_id],
        good=own[0].state == GOOD,
    )


def merge(arguments: Nothing, parts: Sequence[DatabaseState], missing: Sequence[str]) -> DatabaseState:
    """What each node tells of itself; who does not answer is off-line."""
    told = {one.id: one for part in parts for one in part.nodes if one.answers}
    known = {one.id: one for part in parts for one in part.nodes} | told
    nodes = [known[one] for one in sorted(known)]
    figures = next((part for part in parts if part.version), parts[0])
    is_good = all(one.state == GOOD for one in nodes)
    return figures.model_copy(update={"nodes": nodes, "good": is_good})


def _is_away(node: Node) -> bool:
    """Whether it is known that the database does not answer: nobody shall wait for that."""
    is_watched = node.services.is_running(DATA_MONITOR) and node.monitor.seen_at > 0
    return is_watched and bool(node.monitor.problem(monitor.DATABASE))


def _own(node: Node, ping: float | None) -> NodeState:
    name, own = node.config.node, node.topology.value.node(node.homes.node_id)
    watcher = node.monitor
    problems = watcher.core.problems
    state = GOOD if not problems else FAILED if watcher.core.is_released else WAITING
    return NodeState(
        node=name,
        id=node.homes.node_id,
        address=own.address if own is not None else "",
        publisher=own is None or own.is_publisher,
        ping=ping,
        database=ping is not None,
        answers=True,
        monitor=node.services.is_running(DATA_MONITOR),
        state=state,
        problems=problems,
    )


def _unheard(name: str, node_id: int, address: str, is_publisher: bool) -> NodeState:
    return NodeState(
        node=name,
        id=node_id,
        address=address,
        publisher=is_publisher,
        ping=None,
        database=False,
        answers=False,
        monitor=False,
        state=OFFLINE,
        problems=["the node does not answer"],
    )


def _replica(one: replication.Replica) -> str:
    return f"{one.name} at {one.address}: {one.state}, {one.behind} bytes and {one.lag:.1f} s behind"


async def list_alarms(node: Node, caller: Caller, arguments: ListAlarms) -> AlarmViews:
    """Lists the alarms of all nodes; without a database those of this node that are not over."""
    before = alarms.LARGEST if arguments.before is None else arguments.before
    rows = _own_alarms(node)
    if not _is_away(node):
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(READ_SECONDS):
                rows = await node.database.read(
                    alarms.list_page, with_cleared=arguments.all, before=before, limit=arguments.limit
                )
    views = [_alarm_view(row) for row in rows]
    return AlarmViews(alarms=views, next=views[-1].id if len(views) == arguments.limit else None)


def _own_alarms(node: Node) -> list[alarms.Alarm]:
    name = node.config.node
    return [
        alarms.Alarm(0, name, one.name, KINDS[one.name].severity, one.text, one.raised, None)
        for one in node.alarms.current.values()
    ]


def _alarm_view(row: alarms.Alarm) -> AlarmView:
    kind = KINDS.get(row.name)
    meaning, cure = (kind.meaning, kind.cure) if kind is not None else ("", "")
    return AlarmView(**row._asdict(), meaning=meaning, cure=cure)


READ = "system.read"
DATABASE_STATE = Operation(
    "database.state",
    "Tells how every node stands to the database: replication, schema, directory.",
    Nothing,
    DatabaseState,
    READ,
    False,
    show_database,
    "all",
    merge,
    10.0,
)
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    DATABASE_STATE,
    Operation(
        "alarm.list", "Lists the alarms of all nodes.", ListAlarms, AlarmViews, READ, False, list_alarms
    ),
)
