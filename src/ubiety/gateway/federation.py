"""What administrators have set down for SIP, as this node knows it: one value, replaced when it changes."""

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from sqlalchemy import Connection

from ubiety.gateway.hops import Hops
from ubiety.gateway.peers import AclEntry, Trust
from ubiety.gateway.routing import Rules
from ubiety.gateway.settings import MICROSOFT, ROUTING_MODE
from ubiety.gateway.static import RouteTable, StaticRoute
from ubiety.settings import Settings
from ubiety.sip.outputs import Hop
from ubiety.store import (
    acl,
    federated_domains,
    microsoft_addresses,
    presence_gateways,
    static_routes,
    tls_peers,
)
from ubiety.store.database import Database
from ubiety.store.presence_gateways import PresenceGateway
from ubiety.telemetry import event

PAGE = 5_000
"""Addresses of the Microsoft side that are read at a time."""
MOST_STRANGERS = 100
"""Domains that are remembered because requests named them in vain."""


@dataclass(frozen=True, slots=True)
class Federation:
    """Routes, trust and domains of others."""

    routes: tuple[StaticRoute, ...] = ()
    entries: tuple[AclEntry, ...] = ()
    subjects: tuple[str, ...] = ()
    remote_domains: frozenset[str] = frozenset()
    gateways: tuple[PresenceGateway, ...] = ()
    table: RouteTable = field(default_factory=RouteTable, compare=False)
    trust: Trust = field(default_factory=Trust, compare=False)


@dataclass(slots=True)
class Stranger:
    """A domain for which, or of which, a request came in that is neither ours nor federated."""

    domain: str
    requests: int
    last: float
    """Seconds since 1970."""
    example: str
    """Who asked whom the last time."""


class FederationCopy:
    """What this node decides by. Whoever changes the tables calls `refresh`; other nodes see the change."""

    def __init__(self) -> None:
        self.value = Federation()
        self.microsoft: frozenset[str] = frozenset()
        self.hops: Hops[Hop] = Hops(_tell, lambda hop: hop in self._next_hops)
        self._next_hops: frozenset[Hop] = frozenset()
        self._strangers: OrderedDict[str, Stranger] = OrderedDict()
        self._watchers: list[Callable[[Federation], None]] = []

    def watch(self, notice: Callable[[Federation], None]) -> None:
        """Have `notice(federation)` called in the loop after each change."""
        self._watchers.append(notice)

    def rules(self, settings: Settings, domains: Collection[str]) -> Rules:
        """What decisions are made by at this moment."""
        value = self.value
        return Rules(
            domains,
            settings.get(MICROSOFT),
            settings.get(ROUTING_MODE),
            value.remote_domains,
            value.table,
            self.microsoft.__contains__,
        )

    async def refresh(self, database: Database) -> None:
        """Reads routes, trust and domains again. Raises StoreError."""
        found = await database.read(load)
        if found == self.value:
            return
        self.value = found
        for route, reason in found.table.refused:
            event("static_route_ignored", "warning", route=route.id, pattern=route.pattern, reason=reason)
        self._next_hops = frozenset(route.hop for route in found.routes)
        self.hops.tidy()
        for notice in list(self._watchers):
            notice(found)

    async def refresh_microsoft(self, database: Database) -> None:
        """Reads the addresses of the Microsoft side again. Raises StoreError."""
        found: list[str] = []
        while page := await database.read(microsoft_addresses.list_page, found[-1] if found else "", PAGE):
            found += page
        self.microsoft = frozenset(found)

    def note_stranger(self, domain: str, example: str, now: float) -> None:
        """Remembers for `ubiety check` that a request named a domain that nobody knows here."""
        known = self._strangers.pop(domain, None) or Stranger(domain, 0, now, example)
        known.requests += 1
        known.last, known.example = now, example
        self._strangers[domain] = known
        if len(self._strangers) > MOST_STRANGERS:
            self._strangers.popitem(last=False)

    def strangers(self) -> list[Stranger]:
        """The domains that were named in vain, newest first, without those that are federated by now."""
        found = [one for one in self._strangers.values() if one.domain not in self.value.remote_domains]
        return found[::-1]


def load(conn: Connection) -> Federation:
    """Read everything but the addresses of the Microsoft side."""
    routes = tuple(StaticRoute(*row) for row in static_routes.list_all(conn))  # type: ignore[arg-type]
    entries = tuple(AclEntry(*row) for row in acl.list_all(conn))  # type: ignore[arg-type]
    subjects = tuple(row.subject for row in tls_peers.list_all(conn))
    remote = frozenset(
        row.name for row in federated_domains.list_all(conn) if row.protocol == federated_domains.SIP
    )
    gateways = tuple(presence_gateways.list_all(conn))
    trust = Trust(entries, subjects, (one.address for one in gateways))
    return Federation(routes, entries, subjects, remote, gateways, RouteTable(routes), trust)


def _tell(hop: Hop, reason: str) -> None:
    place = f"{hop.host} port {hop.port} over {hop.transport.upper()}"
    if reason:
        event("sip_hop_lost", "warning", hop=place, reason=reason)
    else:
        event("sip_hop_back", hop=place)
