"""Operations that are done by another node than the one that was asked.

The node where the call came in has authorised it, and audits it once. What travels is the operation's name,
its arguments and who calls as JSON; what comes back is the result or the problem, as JSON too.
"""

import json
from typing import Any

from pydantic import SecretStr

from ubiety.admin.context import Node
from ubiety.admin.problems import KINDS, UNAVAILABLE, Problem
from ubiety.admin.rbac import Caller
from ubiety.cluster import asking
from ubiety.routing.links import NodeUnreachable

QUESTION = "operation"


async def ask_node(
    node: Node, node_id: int, name: str, arguments: dict[str, Any], caller: Caller, seconds: float
) -> Any:
    """Have another node do an operation and return its result, ready for the result's type.

    Raises Problem: the other node's own, or one that names the node when it does not answer.
    """
    words = node.topology.value.name_of(node_id)
    links = node.links
    if links is None or not links.is_up(node_id):
        raise unreachable(words)
    request = {"name": name, "arguments": arguments, "caller": [caller.name, sorted(caller.grants)]}
    try:
        text = await asking.ask(links, node_id, QUESTION, json.dumps(request, default=_reveal), seconds)
    except NodeUnreachable:
        raise unreachable(words) from None
    except ValueError as error:
        raise Problem(UNAVAILABLE, f"The node {words} could not do it: {error}.") from error
    answer = json.loads(text)
    if "problem" in answer:
        kind, detail, cure, about = answer["problem"]
        raise Problem(KINDS[kind], detail, cure, **about)
    return answer["result"]


def unreachable(name: str) -> Problem:
    """What is said of a node that does not answer."""
    return Problem(UNAVAILABLE, f"The node {name} does not answer.", "See: ubiety node list", node=name)


def pack_problem(problem: Problem) -> bytes:
    """A problem as the answer to another node."""
    return json.dumps(
        {"problem": [problem.kind.name, problem.detail, problem.cure, problem.about]}, default=str
    ).encode()


def _reveal(value: object) -> str:
    """Passwords travel between nodes as they are: the bus is encrypted."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    raise TypeError(type(value).__name__)
