"""What an operation is, and the one way to call it: permission, call, audit (design §7)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ubiety.admin.context import Node
from ubiety.admin.forwarding import ask_node
from ubiety.admin.problems import FAULT, FORBIDDEN, NOT_FOUND, UNAVAILABLE, Problem, from_error
from ubiety.admin.rbac import Caller
from ubiety.directory.domains import prepare_domain
from ubiety.routing.homes import NOBODY
from ubiety.store import audit
from ubiety.telemetry import event

# What may stand in a name, a title ...: one line, and only what XML 1.0 can carry.
Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=255, pattern="^[^\\x00-\\x1f\\x7f\\ufffe\\uffff]*$"),
]
PageSize = Annotated[int, Field(ge=1, le=1000, description="Most entries to return.")]
After = Annotated[int, Field(ge=0, description="The `next` of the page before.")]


class Arguments(BaseModel):
    """Base of all arguments: unknown ones are refused."""

    model_config = ConfigDict(extra="forbid")

    def scope(self, served: Sequence[str]) -> str | None:
        """The domain that a call with these arguments touches; None: the whole installation.

        `served`: the domains of this installation, the default one first.
        """
        return None

    def person(self, served: Sequence[str]) -> str | None:
        """The address of the person whom a call with these arguments is about; None: of nobody."""
        return None

    def record(self) -> dict[str, Any]:
        """The arguments for the audit, without secrets: fields of type SecretStr show as asterisks."""
        return self.model_dump(mode="json", exclude_none=True, exclude_defaults=True)


class InDomain(Arguments):
    """Base of arguments that concern one domain."""

    domain: Line | None = Field(None, description="Domain; without it the default one.")

    def scope(self, served: Sequence[str]) -> str | None:
        """The named domain, else the default one. Raises JidError."""
        return prepare_domain(self.domain) if self.domain is not None else served[0]


class OnNode(Arguments):
    """Base of arguments that may name the node that is to do it."""

    node: Line | None = Field(None, description="Name of a node; without it the one that is asked.")


class Result(BaseModel):
    """Base of all results."""


class Nothing(Arguments):
    """No arguments."""


A = TypeVar("A", bound=Arguments)
R = TypeVar("R", bound=Result)
Place = Literal["here", "node", "home", "all"]
"""Which node does an operation: the one that is asked; the one that the argument `node` names; the home of
the person that it is about; or all of them, whose results are merged."""


@dataclass(frozen=True)
class Operation(Generic[A, R]):
    """One row of the table of operations."""

    name: str
    """`subject.verb`; REST serves it at `/api/subject/verb`, the command is `ubiety subject verb`."""
    sentence: str
    arguments: type[A]
    result: type[R]
    permission: str
    changes: bool
    """Whether it changes something: POST and audited, else GET."""
    function: Callable[[Node, Caller, A], Awaitable[R]]
    place: Place = "here"
    merge: Callable[[A, Sequence[R], Sequence[str]], R] | None = None
    """For the place `all`: makes one result of all nodes' results and the names of those without one."""
    seconds: float = 60.0
    """How long another node may take."""


async def call(operation: Operation[A, R], node: Node, caller: Caller, arguments: A) -> R:
    """Calls an operation for somebody. Raises Problem."""
    try:
        _authorise(operation, node, caller, arguments)
        result = await perform(operation, node, caller, arguments)
    except Exception as error:  # every failure becomes an answer
        problem = from_error(error)
        if problem.kind is FAULT:
            event("operation_failed", "error", operation=operation.name, actor=caller.name, exc_info=error)
        await _record(operation, node, caller, arguments, f"{problem.kind.name}: {problem.detail}")
        raise problem from error
    await _record(operation, node, caller, arguments, "done")
    return result


async def perform(operation: Operation[A, R], node: Node, caller: Caller, arguments: A) -> R:
    """Has an operation done where it belongs; authorised and audited by whoever calls this."""
    if operation.place == "all":
        return await _perform_everywhere(operation, node, caller, arguments)
    node_id = _place(operation, node, arguments)
    if node_id == node.homes.node_id:
        return await operation.function(node, caller, arguments)
    return await perform_at(node_id, operation, node, caller, arguments)


async def perform_at(node_id: int, operation: Operation[A, R], node: Node, caller: Caller, arguments: A) -> R:
    """Has another node do an operation. Raises Problem."""
    given = arguments.model_dump(exclude_unset=True)
    answer = await ask_node(node, node_id, operation.name, given, caller, operation.seconds)
    return operation.result.model_validate(answer)


def _place(operation: Operation[A, R], node: Node, arguments: A) -> int:
    if operation.place == "node" and (name := getattr(arguments, "node", None)) is not None:
        found = node.topology.value.named(name)
        if found is None:
            raise Problem(NOT_FOUND, f"There is no node {name}.", "See: ubiety node list")
        return found.id
    if operation.place == "home" and (address := arguments.person(node.domains)) is not None:
        person = node.homes.find(address)
        if person is not None and person.set_id != NOBODY:
            home = node.homes.node_of(person)
            if home is None:
                raise Problem(UNAVAILABLE, f"No node serves {address} at this moment.", "Try again soon.")
            return home
    return node.homes.node_id


async def _perform_everywhere(operation: Operation[A, R], node: Node, caller: Caller, arguments: A) -> R:
    assert operation.merge is not None
    others = node.topology.value.others(node.homes.node_id)
    asked = [perform_at(other, operation, node, caller, arguments) for other in others]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    results = [await operation.function(node, caller, arguments)]
    missing: list[str] = []
    for answer in answers:
        if not isinstance(answer, BaseException):
            results.append(answer)
        elif isinstance(answer, Problem) and "node" in answer.about and not operation.changes:
            missing.append(answer.about["node"])
        else:
            raise answer
    return operation.merge(arguments, results, missing)


def _authorise(operation: Operation[A, R], node: Node, caller: Caller, arguments: A) -> None:
    place = arguments.scope(node.domains)
    if caller.holds(operation.permission, place):
        return
    where = f" in {place}" if place else ""
    held = caller.domains(operation.permission)
    limit = f" It is held for {', '.join(held)} only." if held else ""
    raise Problem(
        FORBIDDEN,
        f"{caller.name} lacks the permission {operation.permission}{where}.{limit}",
        "Use a token with that permission: ubiety token add NAME --role ROLE.",
    )


async def _record(operation: Operation[A, R], node: Node, caller: Caller, arguments: A, outcome: str) -> None:
    if not operation.changes:
        return
    about = arguments.record()
    event("operation_called", operation=operation.name, actor=caller.name, arguments=about, outcome=outcome)
    try:
        await node.database.write(audit.add, node.clock.now(), caller.name, operation.name, about, outcome)
    except Exception as error:  # noqa: BLE001 (what was done is done; the log has it)
        event("audit_failed", "error", operation=operation.name, actor=caller.name, reason=str(error))
