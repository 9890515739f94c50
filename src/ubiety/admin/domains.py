"""Operations on domains."""

import asyncio
from typing import Any

from pydantic import Field

from ubiety.admin.context import Node
from ubiety.admin.operation import Arguments, Line, Nothing, Operation, Result
from ubiety.admin.problems import CONFLICT, INVALID, NOT_FOUND, Problem
from ubiety.admin.rbac import Caller
from ubiety.directory.domains import prepare_domain
from ubiety.jid import JidError
from ubiety.store import domains, federated_domains
from ubiety.store.domains import Domain
from ubiety.store.errors import Conflict
from ubiety.telemetry import event


class DomainView(Result):
    """A domain that this installation serves."""

    name: str
    is_default: bool
    created: float
    in_certificate: bool


class Domains(Result):
    """All domains."""

    domains: list[DomainView]


class NamedDomain(Arguments):
    """Names a domain."""

    name: Line = Field(min_length=1, description="The domain, for instance example.org.")


class Deleted(Result):
    """What was deleted."""

    name: str


async def add(node: Node, caller: Caller, arguments: NamedDomain) -> DomainView:
    """Adds a domain; the local authority issues a certificate that holds it."""
    name = _prepared(arguments.name)
    await _check_federated(node, name)
    try:
        made = await node.database.write(domains.add, name, node.clock.now())
    except Conflict as error:
        raise Problem(CONFLICT, f"The domain {name} exists already.") from error
    await node.domains_changed()
    try:
        await asyncio.to_thread(node.certificates.cover, list(node.domains))
    except ValueError as error:  # the domain is there all the same; `check` says what its certificate lacks
        event("certificate_refused", "error", reason=str(error))
    return _view(node, made)


async def list_domains(node: Node, caller: Caller, arguments: Nothing) -> Domains:
    """Lists the domains."""
    rows = await node.database.read(domains.list_all)
    return Domains(domains=[_view(node, row) for row in rows])


async def delete(node: Node, caller: Caller, arguments: NamedDomain) -> Deleted:
    """Deletes a domain to which nobody belongs any more."""
    name = _prepared(arguments.name)
    try:
        found = await node.database.write(domains.delete, name)
    except Conflict as error:
        cure = f"Move or delete its people first: ubiety user list --domain {name}"
        raise Problem(CONFLICT, f"{name} cannot be deleted: {error}.", cure) from error
    if not found:
        raise Problem(NOT_FOUND, f"There is no domain {name}.", "See: ubiety domain list")
    await node.domains_changed()
    return Deleted(name=name)


async def _check_federated(node: Node, name: str) -> None:
    """A domain is ours or another organisation's."""
    if await node.database.read(federated_domains.find, name) is not None:
        raise Problem(
            CONFLICT,
            f"{name} is federated as the domain of another organisation.",
            f"If it is to be ours: ubiety federation remove {name}",
        )


def _prepared(text: str) -> str:
    try:
        return prepare_domain(text)
    except JidError as error:
        raise Problem(INVALID, f"{text!r} is no domain: {error}.", "Give a name like example.org.") from error


def _view(node: Node, row: Domain) -> DomainView:
    covered = node.certificates.current.covers(row.name)
    return DomainView(name=row.name, is_default=row.is_default, created=row.created, in_certificate=covered)


READ, WRITE = "domains.read", "domains.write"
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation("domain.add", "Adds a domain.", NamedDomain, DomainView, WRITE, True, add),
    Operation("domain.list", "Lists the domains.", Nothing, Domains, READ, False, list_domains),
    Operation("domain.delete", "Deletes a domain without people.", NamedDomain, Deleted, WRITE, True, delete),
)
