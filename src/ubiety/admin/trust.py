"""Operations on whom we trust over SIP: the access control list and TLS peers (facts §5.1)."""

from typing import Any, Literal

from pydantic import Field

from ubiety.admin.context import Node
from ubiety.admin.operation import Arguments, Line, Nothing, Operation, Result
from ubiety.admin.problems import CONFLICT, INVALID, NOT_FOUND, Problem
from ubiety.admin.rbac import Caller
from ubiety.gateway.patterns import PatternError
from ubiety.gateway.peers import AclEntry, read_domain, read_entry, read_name
from ubiety.store import acl, tls_peers
from ubiety.store.errors import Conflict

Kind = Literal["all", "ip", "fqdn", "domain"]
MAX_DOMAINS = 100


class AclEntryView(Result):
    """An entry of the access control list."""

    id: int
    kind: Kind
    value: str
    description: str
    domains: list[str] = Field(description="For whose people the peer may speak; none: for everybody's.")
    pattern: str = Field(description="As it is documented: Allow from ...")


class AclView(Result):
    """The access control list."""

    entries: list[AclEntryView]


class AddEntry(Arguments):
    """Whom to trust."""

    entry: Line = Field(description="An IP address or network, the name of a host, *.example.com, or all.")
    kind: Kind | None = Field(None, description="Without it what the entry looks like.")
    description: Line = ""
    domains: list[Line] = Field(
        [],
        max_length=MAX_DOMAINS,
        description="For whose people the peer may speak: federated domains, or, for the Microsoft side, the "
        "domain that is shared with it. Without any: for everybody's.",
    )


class NamedEntry(Arguments):
    """Names an entry."""

    entry: Line = Field(min_length=1, description="The entry, or its number.")
    kind: Kind | None = Field(None, description="Of the entry, where it is not what it looks like.")


class TlsPeerView(Result):
    """A server whose certificate is accepted for mutual TLS."""

    id: int
    subject: str
    description: str


class TlsPeers(Result):
    """All of them."""

    peers: list[TlsPeerView]


class AddTlsPeer(Arguments):
    """A server whose certificate is to be accepted."""

    subject: Line = Field(min_length=1, description="The name in its certificate.")
    description: Line = ""


class NamedTlsPeer(Arguments):
    """Names a TLS peer."""

    subject: Line = Field(min_length=1, description="The name in its certificate.")


class Deleted(Result):
    """What was deleted."""

    name: str


async def list_entries(node: Node, caller: Caller, arguments: Nothing) -> AclView:
    """Lists the access control list."""
    rows = await node.database.read(acl.list_all)
    return AclView(entries=[_view(row) for row in rows])


async def add_entry(node: Node, caller: Caller, arguments: AddEntry) -> AclEntryView:
    """Trusts a peer from now on."""
    read = _read(arguments.entry, arguments.kind, arguments.description)
    domains = tuple(dict.fromkeys(_domain(one) for one in arguments.domains))
    try:
        made = await node.database.write(acl.add, read.kind, read.value, read.description, domains)
    except Conflict as error:
        cure = "See: ubiety acl list. To change it, delete it first."
        raise Problem(CONFLICT, f"{read.words} is there already.", cure) from error
    await node.federation.refresh(node.database)
    return _view(acl.Entry(made, read.kind, read.value, read.description, domains))


async def delete_entry(node: Node, caller: Caller, arguments: NamedEntry) -> AclEntryView:
    """Trusts a peer no more; what is under way with it ends as it would."""
    rows = await node.database.read(acl.list_all)
    found = _find(rows, arguments)
    if found is None or not await node.database.write(acl.delete, found.id):
        raise Problem(NOT_FOUND, f"There is no entry {arguments.entry}.", "See: ubiety acl list")
    await node.federation.refresh(node.database)
    return _view(found)


async def list_peers(node: Node, caller: Caller, arguments: Nothing) -> TlsPeers:
    """Lists the TLS peers."""
    rows = await node.database.read(tls_peers.list_all)
    return TlsPeers(peers=[TlsPeerView(**row._asdict()) for row in rows])


async def add_peer(node: Node, caller: Caller, arguments: AddTlsPeer) -> TlsPeerView:
    """Accepts the certificate of a server."""
    subject = _name(arguments.subject)
    try:
        made = await node.database.write(tls_peers.add, subject, arguments.description)
    except Conflict as error:
        raise Problem(CONFLICT, f"{subject} is a TLS peer already.", "See: ubiety tls-peer list") from error
    await node.federation.refresh(node.database)
    return TlsPeerView(id=made, subject=subject, description=arguments.description)


async def delete_peer(node: Node, caller: Caller, arguments: NamedTlsPeer) -> Deleted:
    """Accepts the certificate of a server no more."""
    subject = _name(arguments.subject)
    if not await node.database.write(tls_peers.delete, subject):
        raise Problem(NOT_FOUND, f"{subject} is no TLS peer.", "See: ubiety tls-peer list")
    await node.federation.refresh(node.database)
    return Deleted(name=subject)


def _find(rows: list[acl.Entry], arguments: NamedEntry) -> acl.Entry | None:
    if arguments.entry.isdigit():
        return next((row for row in rows if row.id == int(arguments.entry)), None)
    read = _read(arguments.entry, arguments.kind, "")
    return next((row for row in rows if (row.kind, row.value) == (read.kind, read.value)), None)


def _read(text: str, kind: str | None, description: str) -> AclEntry:
    try:
        return read_entry(text, kind or "", description)
    except PatternError as error:
        raise Problem(INVALID, str(error), error.cure) from error


def _domain(text: str) -> str:
    try:
        return read_domain(text)
    except PatternError as error:
        raise Problem(INVALID, str(error), error.cure) from error


def _name(text: str) -> str:
    try:
        return read_name(text)
    except PatternError as error:
        raise Problem(INVALID, str(error), error.cure) from error


def _view(row: acl.Entry) -> AclEntryView:
    entry = AclEntry(**row._asdict())
    return AclEntryView(**row._asdict() | {"domains": list(row.domains)}, pattern=entry.words)


READ, WRITE = "federation.read", "federation.write"
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation(
        "acl.list",
        "Lists whose SIP requests are taken without a password.",
        Nothing,
        AclView,
        READ,
        False,
        list_entries,
    ),
    Operation(
        "acl.add", "Trusts the SIP requests of a peer.", AddEntry, AclEntryView, WRITE, True, add_entry
    ),
    Operation(
        "acl.delete",
        "Trusts the SIP requests of a peer no more.",
        NamedEntry,
        AclEntryView,
        WRITE,
        True,
        delete_entry,
    ),
    Operation(
        "tls_peer.list",
        "Lists the servers whose certificates are accepted for mutual TLS.",
        Nothing,
        TlsPeers,
        READ,
        False,
        list_peers,
    ),
    Operation(
        "tls_peer.add",
        "Accepts the certificate of a server for mutual TLS.",
        AddTlsPeer,
        TlsPeerView,
        WRITE,
        True,
        add_peer,
    ),
    Operation(
        "tls_peer.delete",
        "Accepts the certificate of a server for mutual TLS no more.",
        NamedTlsPeer,
        Deleted,
        WRITE,
        True,
        delete_peer,
    ),
)
