"""Tokens: how programs prove to the administration interface who they are.

A token is 256 random bits, so its SHA-256 is all that the database needs to keep, and no salt.
"""

import hashlib
import secrets
from typing import Any

from pydantic import Field

from ubiety.admin.context import Node
from ubiety.admin.operation import Arguments, Line, Nothing, Operation, Result
from ubiety.admin.problems import CONFLICT, FORBIDDEN, INVALID, NOT_FOUND, Problem
from ubiety.admin.rbac import ROLES, Caller, check_grants, covers, role_grants
from ubiety.directory.domains import prepare_domain
from ubiety.store import tokens
from ubiety.store.errors import Conflict

PREFIX = "ubi_"
MAX_LENGTH = 100


class AddToken(Arguments):
    """A new token."""

    name: Line = Field(min_length=1, max_length=64, description="What it is for; stands in the audit.")
    role: Line | None = Field(
        None, description=f"One of {', '.join(ROLES)}; the first one if nothing is given."
    )
    permissions: list[Line] = Field([], max_length=100, description="Single permissions beside the role.")
    domains: list[Line] = Field([], max_length=100, description="Limit the role to these domains.")


class TokenView(Result):
    """A token without its secret."""

    name: str
    permissions: list[str]
    created: float


class NewToken(TokenView):
    """A new token with its secret, which is shown this once."""

    token: str


class TokenViews(Result):
    """All tokens."""

    tokens: list[TokenView]


class NamedToken(Arguments):
    """Names a token."""

    name: Line


class TokenDeleted(Result):
    """What was deleted."""

    name: str


async def add(node: Node, caller: Caller, arguments: AddToken) -> NewToken:
    """Makes a token and shows it once."""
    grants = _grants(arguments)
    if not covers(caller, grants):
        raise Problem(FORBIDDEN, f"{caller.name} cannot hand out permissions that it does not hold itself.")
    secret = PREFIX + secrets.token_urlsafe(32)
    now = node.clock.now()
    try:
        await node.database.write(tokens.add, arguments.name, hash_token(secret), grants, now)
    except Conflict as error:
        cure = f"Delete it first: ubiety token delete {arguments.name}"
        raise Problem(CONFLICT, f"There is a token {arguments.name} already.", cure) from error
    return NewToken(name=arguments.name, permissions=grants, created=now, token=secret)


async def list_tokens(node: Node, caller: Caller, arguments: Nothing) -> TokenViews:
    """Lists the tokens, without their secrets."""
    rows = await node.database.read(tokens.list_all)
    views = [TokenView(name=row.name, permissions=row.permissions, created=row.created) for row in rows]
    return TokenViews(tokens=views)


async def delete(node: Node, caller: Caller, arguments: NamedToken) -> TokenDeleted:
    """Deletes a token: it is refused from now on."""
    if not await node.database.write(tokens.delete, arguments.name):
        raise Problem(NOT_FOUND, f"There is no token {arguments.name}.", "See: ubiety token list")
    return TokenDeleted(name=arguments.name)


async def find_caller(node: Node, secret: str) -> Caller | None:
    """Who holds this token; None when nobody does. Raises StoreError."""
    if not secret.startswith(PREFIX) or len(secret) > MAX_LENGTH:
        return None
    row = await node.database.read(tokens.find, hash_token(secret))
    if row is None:
        return None
    return Caller(f"token:{row.name}", frozenset(row.permissions))


def hash_token(secret: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _grants(arguments: AddToken) -> list[str]:
    role = arguments.role or (None if arguments.permissions else "administrator")
    places = [prepare_domain(name) for name in arguments.domains]
    try:
        grants = role_grants(role, places) if role else []
        grants += [name for name in arguments.permissions if name not in grants]
        check_grants(grants)
    except ValueError as error:
        raise Problem(INVALID, str(error)) from error
    return grants


READ, WRITE = "tokens.read", "tokens.write"
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation("token.add", "Makes a token for this interface.", AddToken, NewToken, WRITE, True, add),
    Operation("token.list", "Lists the tokens.", Nothing, TokenViews, READ, False, list_tokens),
    Operation("token.delete", "Deletes a token.", NamedToken, TokenDeleted, WRITE, True, delete),
)
