"""Does operations for other nodes: the other end of `forwarding`."""

import json
from typing import Any

from ubiety.admin import forwarding
from ubiety.admin.context import Node
from ubiety.admin.operations import BY_NAME
from ubiety.admin.problems import FAULT, NOT_FOUND, Problem, from_error
from ubiety.admin.rbac import Caller
from ubiety.cluster import asking
from ubiety.routing.links import Links
from ubiety.telemetry import event


def join(node: Node, links: Links) -> None:
    """Answer the other nodes' requests from now on."""

    async def answer(_node_id: int, text: Any) -> bytes:
        return await _answer(node, text)

    asking.answer(links, forwarding.QUESTION, answer)


async def _answer(node: Node, text: str) -> bytes:
    request = json.loads(text)
    name, grants = request["caller"]
    operation = BY_NAME.get(request["name"])
    try:
        if operation is None:  # of a newer release
            raise Problem(
                NOT_FOUND,
                f"{node.config.node} does not know the operation {request['name']}.",
                "Bring all nodes to the same release.",
            )
        arguments = operation.arguments.model_validate(request["arguments"])
        result = await operation.function(node, Caller(name, frozenset(grants)), arguments)
    except Exception as error:  # noqa: BLE001  every failure becomes an answer
        problem = from_error(error)
        if problem.kind is FAULT:
            event("operation_failed", "error", operation=request["name"], actor=name, exc_info=error)
        return forwarding.pack_problem(problem)
    return json.dumps({"result": result.model_dump(mode="json")}).encode()
