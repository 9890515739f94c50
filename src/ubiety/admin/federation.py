"""Operations on the federation: with Microsoft servers in our own domains, and with other organisations."""

import json
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from ubiety.admin.context import Node
from ubiety.admin.operation import Arguments, Line, Nothing, Operation, PageSize, Result
from ubiety.admin.problems import CONFLICT, INVALID, NOT_FOUND, Problem
from ubiety.admin.rbac import Caller
from ubiety.directory.domains import prepare_domain
from ubiety.gateway.settings import MICROSOFT, ROUTING_MODE
from ubiety.jid import JidError, parse
from ubiety.settings import Setting
from ubiety.store import (
    federated_domains,
    microsoft_addresses,
    outgoing_messages,
    sip_dialogs,
    sip_subscriptions,
)
from ubiety.store import settings as stored
from ubiety.store.errors import Conflict

Mode = Literal["basic", "advanced"]
MAX_ADDRESSES = 5_000


class DomainRoutes(Result):
    """A domain, and how many routes lead to who is not ours in it."""

    name: str
    routes: int


class RemoteDomain(Result):
    """A domain of another organisation."""

    name: str
    protocol: str
    description: str
    routes: int


class HopTrouble(Result):
    """A next hop that does not answer."""

    hop: str
    reason: str
    since: float = Field(description="Seconds on the node's monotonic clock for which it has been so.")
    failures: int


class StrangerView(Result):
    """A domain that a request named and nobody knows here."""

    domain: str
    requests: int
    last: float
    example: str


class FederationStatus(Result):
    """How the federation is set up, and what it is doing."""

    is_shared: bool = Field(description="Whether our domains are shared with Microsoft servers.")
    mode: Mode
    domains: list[DomainRoutes]
    remote_domains: list[RemoteDomain]
    trusted: int = Field(description="Entries of the access control list.")
    tls_peers: int
    microsoft_addresses: int
    watched: int = Field(description="Subscriptions of outsiders to our people.")
    watching: int = Field(description="Subscriptions of our people to outsiders.")
    conversations: int
    outgoing: int = Field(description="Messages to outsiders that are not taken yet.")
    trouble: list[HopTrouble] = Field(description="Next hops that do not answer this node.")
    strangers: list[StrangerView] = Field(description="Domains that requests to this node named in vain.")


class Enable(Arguments):
    """How to look for people on the Microsoft side."""

    mode: Mode | None = Field(None, description="Routing mode; without it as it is.")


class AddDomain(Arguments):
    """A domain of another organisation."""

    domain: Line = Field(min_length=1, description="For instance partner.example.")
    description: Line = ""


class NamedRemoteDomain(Arguments):
    """Names a domain of another organisation."""

    domain: Line = Field(min_length=1)


class AddAddresses(Arguments):
    """Addresses of people on the Microsoft side."""

    addresses: list[Line] = Field(min_length=1, max_length=MAX_ADDRESSES)

    def record(self) -> dict[str, Any]:
        """For the audit: how many."""
        return {"addresses": len(self.addresses)}


class Added(Result):
    """What was added."""

    added: int
    refused: list[str] = Field(description="Those that are no addresses, with the reason.")


class NamedAddress(Arguments):
    """Names an address on the Microsoft side."""

    address: Line = Field(min_length=1)


class AddressPage(Arguments):
    """Which part of the addresses to list."""

    after: Line = Field("", description="The `next` of the page before.")
    limit: PageSize = 1000


class Addresses(Result):
    """Addresses of people on the Microsoft side."""

    addresses: list[str]
    next: str = Field(description="Where the next page begins; empty: there is none.")


class Deleted(Result):
    """What was deleted."""

    name: str


async def status(node: Node, caller: Caller, arguments: Nothing) -> FederationStatus:
    """Shows how the federation is set up, and what it is doing."""
    database, federation, now = node.database, node.federation, node.clock.monotonic()
    subscriptions = await database.read(sip_subscriptions.count)
    remote = await database.read(federated_domains.list_all)
    return FederationStatus(
        is_shared=node.settings.get(MICROSOFT),
        mode=_mode(node),
        domains=[DomainRoutes(name=name, routes=_routes(node, name)) for name in node.domains],
        remote_domains=[RemoteDomain(**row._asdict(), routes=_routes(node, row.name)) for row in remote],
        trusted=len(federation.value.entries),
        tls_peers=len(federation.value.subjects),
        microsoft_addresses=await database.read(microsoft_addresses.count),
        watched=_sum(subscriptions, sip_subscriptions.IN),
        watching=_sum(subscriptions, sip_subscriptions.OUT),
        conversations=await database.read(sip_dialogs.count),
        outgoing=await database.read(outgoing_messages.count),
        trouble=[
            HopTrouble(
                hop=f"{hop.host} port {hop.port} over {hop.transport.upper()}",
                reason=health.reason,
                since=now - health.since,
                failures=health.failures,
            )
            for hop, health in federation.hops.dead().items()
        ],
        strangers=[
            StrangerView(domain=one.domain, requests=one.requests, last=one.last, example=one.example)
            for one in federation.strangers()
        ],
    )


async def enable(node: Node, caller: Caller, arguments: Enable) -> FederationStatus:
    """Shares our domains with Microsoft servers."""
    if arguments.mode is not None:
        await _set(node, ROUTING_MODE, arguments.mode)
    await _set(node, MICROSOFT, "on")
    return await status(node, caller, Nothing())


async def disable(node: Node, caller: Caller, arguments: Nothing) -> FederationStatus:
    """Shares our domains no more: who is not ours does not exist."""
    await _set(node, MICROSOFT, "off")
    return await status(node, caller, Nothing())


async def _set(node: Node, setting: Setting[Any], text: str) -> None:
    value = node.settings.parse(setting.name, text)
    await node.database.write(stored.put, setting.name, json.dumps(value))
    node.settings.apply(setting.name, value)


async def add_domain(node: Node, caller: Caller, arguments: AddDomain) -> RemoteDomain:
    """Lets our people reach those of another organisation over SIP, and be reached by them."""
    name = _prepared(arguments.domain)
    if name in node.domains:
        raise Problem(
            CONFLICT,
            f"{name} is one of our own domains.",
            "To share it with Microsoft servers: ubiety federation enable",
        )
    protocol = federated_domains.SIP
    try:
        await node.database.write(federated_domains.add, name, protocol, arguments.description)
    except Conflict as error:
        known = await node.database.read(federated_domains.find, name)
        over = f" over {known.protocol.upper()}" if known is not None else ""
        cure = f"A domain is federated once. To change it: ubiety federation remove {name}"
        raise Problem(CONFLICT, f"{name} is federated already{over}.", cure) from error
    await node.federation.refresh(node.database)
    return RemoteDomain(
        name=name, protocol=protocol, description=arguments.description, routes=_routes(node, name)
    )


async def remove_domain(node: Node, caller: Caller, arguments: NamedRemoteDomain) -> Deleted:
    """Ends the federation with another organisation."""
    name = _prepared(arguments.domain)
    if not await node.database.write(federated_domains.delete, name):
        raise Problem(NOT_FOUND, f"{name} is not federated.", "See: ubiety federation status")
    await node.federation.refresh(node.database)
    return Deleted(name=name)


async def list_addresses(node: Node, caller: Caller, arguments: AddressPage) -> Addresses:
    """Lists who is known to be on the Microsoft side."""
    found = await node.database.read(microsoft_addresses.list_page, arguments.after, arguments.limit)
    return Addresses(addresses=found, next=found[-1] if len(found) == arguments.limit else "")


async def add_addresses(node: Node, caller: Caller, arguments: AddAddresses) -> Added:
    """Adds people of the Microsoft side, for the advanced routing mode; bad ones do not keep others out."""
    good, refused = _read_addresses(arguments.addresses)
    added = await node.database.write(microsoft_addresses.add_many, good) if good else 0
    if added:
        await node.federation.refresh_microsoft(node.database)
    return Added(added=added, refused=refused)


async def delete_address(node: Node, caller: Caller, arguments: NamedAddress) -> Deleted:
    """Forgets somebody of the Microsoft side."""
    good, refused = _read_addresses([arguments.address])
    if refused:
        raise Problem(INVALID, f"{refused[0]}.")
    if not await node.database.write(microsoft_addresses.delete, good[0]):
        raise Problem(NOT_FOUND, f"{good[0]} is not known there.", "See: ubiety microsoft list")
    await node.federation.refresh_microsoft(node.database)
    return Deleted(name=good[0])


def _read_addresses(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    good, refused = [], []
    for text in texts:
        try:
            address = parse(text.removeprefix("sip:"))
        except JidError as error:
            refused.append(f"{text!r} is no address: {error}")
            continue
        if address.local and not address.resource:
            good.append(address.bare)
        else:
            refused.append(f"{text!r} is not the address of a person")
    return good, refused


def _prepared(text: str) -> str:
    try:
        return prepare_domain(text)
    except JidError as error:
        raise Problem(INVALID, f"{text!r} is no domain: {error}.", "Give a name like example.org.") from error


def _mode(node: Node) -> Mode:
    mode: Mode = "advanced" if node.settings.get(ROUTING_MODE) == "advanced" else "basic"
    return mode


def _routes(node: Node, domain: str) -> int:
    """How many routes lead to people of a domain, whatever they are called."""
    return sum(len(level) for level in node.federation.value.table.levels("", domain))


def _sum(counts: dict[tuple[str, str], int], direction: str) -> int:
    return sum(number for (one, _), number in counts.items() if one == direction)


READ, WRITE = "federation.read", "federation.write"
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation(
        "federation.status",
        "Shows how the federation is set up, and what it is doing.",
        Nothing,
        FederationStatus,
        READ,
        False,
        status,
    ),
    Operation(
        "federation.enable",
        "Shares our domains with Microsoft servers.",
        Enable,
        FederationStatus,
        WRITE,
        True,
        enable,
    ),
    Operation(
        "federation.disable",
        "Shares our domains with Microsoft servers no more.",
        Nothing,
        FederationStatus,
        WRITE,
        True,
        disable,
    ),
    Operation(
        "federation.add",
        "Federates with another organisation over SIP.",
        AddDomain,
        RemoteDomain,
        WRITE,
        True,
        add_domain,
    ),
    Operation(
        "federation.remove",
        "Ends the federation with another organisation.",
        NamedRemoteDomain,
        Deleted,
        WRITE,
        True,
        remove_domain,
    ),
    Operation(
        "microsoft.list",
        "Lists who is known to be on the Microsoft side.",
        AddressPage,
        Addresses,
        READ,
        False,
        list_addresses,
    ),
    Operation(
        "microsoft.add",
        "Adds people of the Microsoft side.",
        AddAddresses,
        Added,
        WRITE,
        True,
        add_addresses,
    ),
    Operation(
        "microsoft.delete",
        "Forgets somebody of the Microsoft side.",
        NamedAddress,
        Deleted,
        WRITE,
        True,
        delete_address,
    ),
)
