"""Operations on presence gateways: phone systems that say who is on the phone (facts §4.4)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ubiety.admin.context import Node
from ubiety.admin.operation import Arguments, Line, Nothing, Operation, Result
from ubiety.admin.problems import CONFLICT, INVALID, NOT_FOUND, Problem
from ubiety.admin.rbac import Caller
from ubiety.gateway.patterns import PatternError
from ubiety.gateway.static import DEFAULT_PORT, TLS_PORT, check_hop
from ubiety.store import presence_gateways
from ubiety.store.errors import Conflict
from ubiety.store.presence_gateways import PresenceGateway

Transport = Literal["tcp", "tls", "udp"]
Port = Annotated[int, Field(ge=0, le=65_535, description="0: the address is a name with SRV records.")]


class GatewayView(Result):
    """A phone system."""

    id: int
    kind: Literal["cucm"]
    address: str
    port: int
    transport: Transport
    is_asked: bool = Field(description="Whether we ask it for the state of people's phones.")
    description: str


class Gateways(Result):
    """All of them."""

    gateways: list[GatewayView]


class AddGateway(Arguments):
    """A phone system."""

    address: Line = Field(min_length=1, description="IP address or name of the publisher, or an SRV name.")
    kind: Literal["cucm"] = Field("cucm", description="Unified CM.")
    port: Port | None = Field(None, description="Without it 5060, for TLS 5061; 0 asks for SRV records.")
    transport: Transport = "tcp"
    is_asked: bool = Field(
        False, description="Ask for the state of people's phones; without it the system publishes them."
    )
    description: Line = ""


class NamedGateway(Arguments):
    """Names a phone system."""

    address: Line = Field(min_length=1)


class Deleted(Result):
    """What was deleted."""

    name: str


async def list_gateways(node: Node, caller: Caller, arguments: Nothing) -> Gateways:
    """Lists the presence gateways."""
    rows = await node.database.read(presence_gateways.list_all)
    return Gateways(gateways=[GatewayView(**row._asdict()) for row in rows])


async def add(node: Node, caller: Caller, arguments: AddGateway) -> GatewayView:
    """Adds a presence gateway."""
    port = arguments.port
    if port is None:
        port = TLS_PORT if arguments.transport == "tls" else DEFAULT_PORT
    address = _read(arguments.address, port)
    row = PresenceGateway(
        0,
        arguments.kind,
        address,
        port,
        arguments.transport,
        arguments.is_asked,
        arguments.description,
    )
    try:
        made = await node.database.write(presence_gateways.add, row)
    except Conflict as error:
        raise Problem(CONFLICT, f"{address} is there already.", "See: ubiety gateway list") from error
    await node.federation.refresh(node.database)
    return GatewayView(**row._replace(id=made)._asdict())


async def delete(node: Node, caller: Caller, arguments: NamedGateway) -> Deleted:
    """Deletes a presence gateway; what it has published ends in its time."""
    address = arguments.address.strip().lower()
    if not await node.database.write(presence_gateways.delete, address):
        raise Problem(NOT_FOUND, f"There is no presence gateway {address}.", "See: ubiety gateway list")
    await node.federation.refresh(node.database)
    return Deleted(name=address)


def _read(text: str, port: int) -> str:
    try:
        return check_hop(text, port)
    except PatternError as error:
        raise Problem(INVALID, str(error), error.cure) from error


READ, WRITE = "federation.read", "federation.write"
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation("gateway.list", "Lists the presence gateways.", Nothing, Gateways, READ, False, list_gateways),
    Operation("gateway.add", "Adds a presence gateway.", AddGateway, GatewayView, WRITE, True, add),
    Operation("gateway.delete", "Deletes a presence gateway.", NamedGateway, Deleted, WRITE, True, delete),
)
