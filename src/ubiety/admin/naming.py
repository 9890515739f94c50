"""Finding the person that an operation names."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import Connection

from ubiety.admin.context import Node
from ubiety.admin.operation import Arguments, InDomain, Line
from ubiety.admin.problems import CONFLICT, INVALID, NOT_FOUND, Problem
from ubiety.cluster.topology import Node as ClusterNode
from ubiety.directory.domains import Name, prepare_domain, read_name
from ubiety.jid import JidError
from ubiety.store import addresses, users
from ubiety.store.users import User

UserId = Annotated[
    Line, Field(min_length=1, description="User id, or address at a domain that is served here.")
]


class OfPerson(InDomain):
    """Base of arguments that name one person."""

    userid: UserId

    def scope(self, served: Sequence[str]) -> str | None:
        """The domain of the person. Raises Problem."""
        return name_of(self.userid, self.domain, served).domain

    def person(self, served: Sequence[str]) -> str | None:
        """The address of the person. Raises Problem."""
        return name_of(self.userid, self.domain, served).address


class AnyDomain(Arguments):
    """Base of arguments that may be limited to a domain."""

    domain: Line | None = Field(None, description="Only this domain; without it all of them.")

    def scope(self, served: Sequence[str]) -> str | None:
        """The named domain; without one, the whole installation."""
        return prepare_domain(self.domain) if self.domain is not None else None


def name_of(userid: str, domain: str | None, served: Sequence[str]) -> Name:
    """Reads a user id. Raises Problem when it, or its domain, cannot be."""
    try:
        name = read_name(userid, domain, served, served[0])
    except JidError as error:
        raise Problem(INVALID, f"{userid!r} cannot be a user id: {error}.") from error
    if name.domain not in served:
        raise Problem(
            NOT_FOUND,
            f"The domain {name.domain} is not served here.",
            f"Add it with: ubiety domain add {name.domain}. Served are: {', '.join(served)}.",
        )
    return name


async def find_person(node: Node, userid: str, domain: str | None) -> User:
    """The person with this user id. Raises Problem."""
    name = name_of(userid, domain, node.domains)
    found = await node.database.read(load_by_address, name.address)
    if found is None:
        raise Problem(
            NOT_FOUND, f"There is nobody with the address {name.address}.", "See: ubiety user list --text ..."
        )
    return found


def node_named(node: Node, name: str) -> ClusterNode:
    """The node with this name. Raises Problem."""
    found = node.topology.value.named(name)
    if found is None:
        raise Problem(NOT_FOUND, f"There is no node {name}.", "See: ubiety node list")
    return found


def load_by_address(conn: Connection, address: str) -> User | None:
    """The person with this bare address, or None."""
    address_id = addresses.find(conn, address)
    return users.find_by_address(conn, address_id) if address_id is not None else None


def require(found: Any, what: str) -> None:
    """Raises Problem when a row that was there a moment ago has gone."""
    if not found:
        raise Problem(CONFLICT, f"{what} was changed by somebody else meanwhile.", "Look again and repeat.")
