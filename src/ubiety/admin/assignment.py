"""Operations on user assignment: which node is whose home."""

import asyncio
from collections import Counter
from typing import Any

from pydantic import Field

from ubiety.admin.context import Node
from ubiety.admin.naming import AnyDomain, OfPerson, find_person, name_of, node_named
from ubiety.admin.operation import Arguments, Line, Operation, Result
from ubiety.admin.problems import CONFLICT, INVALID, UNAVAILABLE, Problem
from ubiety.admin.rbac import Caller
from ubiety.cluster.moving import Move
from ubiety.directory import assignment
from ubiety.directory.assignment import MODE, NOBODY, NONE
from ubiety.directory.placing import list_routing
from ubiety.routing.links import NodeUnreachable
from ubiety.store import nodes, users


class Share(Result):
    """How many people are assigned to one node."""

    node: str
    group: str
    people: int


class MovingView(Result):
    """Moves that the node which was asked has begun."""

    total: int
    moved: int
    failed: int
    left: int


class PersonAssignment(Result):
    """Where one person belongs."""

    address: str
    node: str = Field(description="The node to which the person is assigned; empty: to none.")
    served_by: str = Field(description="The node that serves the person now; empty: none.")


class AssignmentView(Result):
    """How people are spread over the nodes."""

    mode: str
    nodes: list[Share]
    unassigned: int
    moving: MovingView
    person: PersonAssignment | None


class ShowAssignment(AnyDomain):
    """Whose assignment to show besides."""

    userid: Line | None = Field(None, description="A person.")

    def scope(self, served: Any) -> str | None:
        """The domain of the person, else the installation."""
        return (
            super().scope(served) if self.userid is None else name_of(self.userid, self.domain, served).domain
        )


class SetAssignment(OfPerson):
    """To which node a person is to belong."""

    node: Line | None = Field(None, description="Name of the node; without it the person belongs to none.")


class Rebalance(Arguments):
    """Over which nodes, and whether to do it."""

    without: list[Line] = Field([], description="Nodes that are to have nobody, because they go.")
    preview: bool = Field(False, description="Only tell how many would move.")


class Moves(Result):
    """How many people move from one node to another."""

    from_node: str = Field(description="Empty: who is assigned to none.")
    to_node: str
    people: int


class Rebalanced(Result):
    """What moves."""

    moves: list[Moves]
    total: int
    started: bool = Field(description="Whether it was begun; `assignment.show` tells how far it is.")


async def show(node: Node, caller: Caller, arguments: ShowAssignment) -> AssignmentView:
    """Shows how people are spread over the nodes, and where one of them belongs."""
    counts = await node.database.read(nodes.count_assigned)
    topology = node.topology.value
    shares = [
        Share(node=one.name, group=group.name, people=counts.pop(one.id, 0))
        for one in topology.nodes
        if (group := topology.group_of(one.id)) is not None
    ]
    progress = node.moving.progress
    return AssignmentView(
        mode=node.settings.get(MODE),
        nodes=shares,
        unassigned=sum(counts.values()),
        moving=MovingView(
            total=progress.total, moved=progress.moved, failed=progress.failed, left=progress.left
        ),
        person=await _person(node, arguments.userid, arguments.domain) if arguments.userid else None,
    )


async def set_node(node: Node, caller: Caller, arguments: SetAssignment) -> PersonAssignment:
    """Assigns a person to a node; who is signed in signs in anew there."""
    user = await find_person(node, arguments.userid, arguments.domain)
    to_set = node_named(node, arguments.node).id if arguments.node else NOBODY
    if user.set_id != to_set:
        try:
            moved = await node.moving.move([Move(user.id, user.set_id, to_set)])
        except (NodeUnreachable, ValueError) as error:
            cure = "See: ubiety node list. For a node that is gone for good: ubiety node remove"
            raise Problem(UNAVAILABLE, str(error), cure) from error
        if not moved:
            raise Problem(CONFLICT, f"{user.jid} was moved by somebody else.", "Look again and repeat.")
    return await _person(node, arguments.userid, arguments.domain)


async def rebalance(node: Node, caller: Caller, arguments: Rebalance) -> Rebalanced:
    """Spreads people over the nodes anew, with the fewest moves."""
    mode = node.settings.get(MODE)
    if mode == NONE:
        raise Problem(
            INVALID,
            "The assignment mode is none: people are assigned by hand.",
            f"Choose another one: ubiety setting set {MODE.name} balanced",
        )
    gone = {node_named(node, name).id for name in arguments.without}
    gone |= await node.database.read(list_routing)
    people = await node.database.read(users.ids_by_set)
    topology = node.topology.value
    groups = [[one.id for one in group.nodes if one.id not in gone] for group in topology.groups]
    if not any(groups):
        raise Problem(INVALID, "Somebody has to serve the people: leave at least one node.")
    planned = await asyncio.to_thread(assignment.rebalance, people, groups, mode)
    moves = [Move(*move) for move in planned]
    if moves and not arguments.preview and not node.moving.start(moves):
        raise Problem(CONFLICT, "People are being moved already.", "See: ubiety assignment show")
    pairs = Counter((move.from_set, move.to_set) for move in moves)
    rows = [
        Moves(from_node=_name(node, from_set), to_node=_name(node, to_set), people=count)
        for (from_set, to_set), count in sorted(pairs.items())
    ]
    return Rebalanced(moves=rows, total=len(moves), started=bool(moves) and not arguments.preview)


async def _person(node: Node, userid: str, domain: str | None) -> PersonAssignment:
    user = await find_person(node, userid, domain)
    known = node.homes.user(user.id)
    home = node.homes.node_of(known) if known is not None else None
    return PersonAssignment(
        address=user.jid,
        node=_name(node, user.set_id),
        served_by=node.topology.value.name_of(home) if home is not None else "",
    )


def _name(node: Node, set_id: int) -> str:
    return node.topology.value.name_of(set_id) if set_id != NOBODY else ""


READ, WRITE = "people.read", "people.write"
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation(
        "assignment.show",
        "Shows how people are spread over the nodes.",
        ShowAssignment,
        AssignmentView,
        READ,
        False,
        show,
    ),
    Operation(
        "assignment.set",
        "Assigns a person to a node.",
        SetAssignment,
        PersonAssignment,
        WRITE,
        True,
        set_node,
    ),
    Operation(
        "assignment.rebalance",
        "Spreads people over the nodes anew.",
        Rebalance,
        Rebalanced,
        WRITE,
        True,
        rebalance,
    ),
)
