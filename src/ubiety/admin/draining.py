"""Operations that empty a node before it is stopped."""

from typing import Annotated, Any

from pydantic import Field

from ubiety.admin.context import Node
from ubiety.admin.operation import OnNode, Operation, Result
from ubiety.admin.problems import CONFLICT, Problem
from ubiety.admin.rbac import Caller
from ubiety.store import nodes


class DrainNode(OnNode):
    """Which node to empty, and how fast."""

    rate: Annotated[
        int | None,
        Field(None, ge=1, le=100_000, description="Clients a second; without it `cluster.drain_rate`."),
    ]


class Progress(Result):
    """How far a drain is."""

    node: str
    step: str = Field(description="serving, handing over, closing clients, drained or failed.")
    clients: int = Field(description="Clients that are still connected.")
    over: bool = Field(description="Whether nothing more happens by itself.")
    problem: str = Field("", description="Why it failed.")
    handed_over: bool = Field(False, description="Whether the other node of the group has its people.")


async def drain(node: Node, caller: Caller, arguments: DrainNode) -> Progress:
    """Begins to empty a node: it takes nobody in, hands its people over, and closes clients at a pace."""
    await node.database.write_open(nodes.set_draining, node.homes.node_id, True)
    node.drain.start(arguments.rate)
    return await show(node, caller, arguments)


async def cancel(node: Node, caller: Caller, arguments: OnNode) -> Progress:
    """Lets clients in again. People who were handed over return by a fall-back."""
    if node.drain.step == "handing over":
        raise Problem(CONFLICT, "The node is handing its people over.", "Cancel when that is done.")
    await node.drain.cancel()
    await node.database.write_open(nodes.set_draining, node.homes.node_id, False)
    return await show(node, caller, arguments)


async def show(node: Node, caller: Caller, arguments: OnNode) -> Progress:
    """Tells how far a drain is."""
    now = node.drain
    return Progress(
        node=node.config.node,
        step=now.step,
        clients=now.clients,
        over=now.is_over,
        problem=now.problem,
        handed_over=not node.homes.here,
    )


OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation(
        "node.drain",
        "Empties a node before it is stopped.",
        DrainNode,
        Progress,
        "services.write",
        True,
        drain,
        place="node",
    ),
    Operation(
        "node.drain_cancel",
        "Lets clients into a node again that was emptied.",
        OnNode,
        Progress,
        "services.write",
        True,
        cancel,
        place="node",
    ),
    Operation(
        "node.drain_show",
        "Tells how far the emptying of a node is.",
        OnNode,
        Progress,
        "system.read",
        False,
        show,
        place="node",
    ),
)
