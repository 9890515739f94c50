"""What this node knows of the ways out over SIP: rules, trusted peers, the health of next hops, its own name.

The rows are read when the node starts and whenever somebody has changed them; decisions are then made from
memory.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import random
from typing import Any, cast

from sqlalchemy import Connection

from ubiety.clock import Clock
from ubiety.conditions import StanzaError
from ubiety.gateway.hops import Hops
from ubiety.gateway.peers import AclEntry, Kind, Trust
from ubiety.gateway.routing import Action, Decision, Question, Rules, decide
from ubiety.gateway.settings import ADVANCED, MICROSOFT, ROUTING_MODE
from ubiety.gateway.static import RouteTable, StaticRoute
from ubiety.jid import Jid
from ubiety.routing.homes import Homes
from ubiety.settings import Settings
from ubiety.sip.outputs import Hop
from ubiety.store import acl, federated_domains, microsoft_addresses, static_routes, tls_peers
from ubiety.store.database import Database
from ubiety.telemetry import event

LOOK_SECONDS = 1.0
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Name:
    """How this node calls itself towards peers."""

    host: str
    ports: Callable[[], dict[str, int]]
    """The ports that are listened on: `sip`, `sip_tls_peer`."""


class StaticWays:
    """The ways of one node. Implements `stack.Ways`."""

    def __init__(
        self, homes: Homes, settings: Settings, database: Database, clock: Clock, name: Name
    ) -> None:
        self._homes = homes
        self._settings = settings
        self._database = database
        self._clock = clock
        self._name = name
        self._table = RouteTable()
        self._remote: frozenset[str] = frozenset()
        self._microsoft: frozenset[str] = frozenset()
        self.trust = Trust()
        self.health: Hops[Hop] = Hops(_tell)

    # -- what is known -----------------------------------------------------------------------------

    async def reload(self) -> None:
        """Take over what is stored by now. Raises StoreError."""
        rows = await self._database.read(_read)
        self._table = RouteTable(rows.routes)
        for route, why in self._table.refused:
            event("static_route_ignored", "warning", route=route.id, reason=why)
        self._remote, self._microsoft, self.trust = rows.remote_domains, rows.microsoft, rows.trust
        self.health.keep({route.hop for route in self._table.routes})

    @property
    def rules(self) -> Rules:
        """What decisions are made by at this moment."""
        get = self._settings.get
        return Rules(
            self._homes.domains,
            get(MICROSOFT),
            get(ROUTING_MODE),
            self._remote,
            self._table,
            self._microsoft.__contains__,
        )

    def is_outside(self, address: Jid) -> bool:
        """Tell whether an address that nobody here has can be somebody's outside."""
        if not address.local:
            return False
        if address.domain in self._remote:
            return True
        if address.domain not in self._homes.domains or not self._settings.get(MICROSOFT):
            return False
        return self._settings.get(ROUTING_MODE) != ADVANCED or address.bare in self._microsoft

    def decide(self, question: Question) -> Decision:
        """Decide on a request, by what is known now."""
        return decide(question, self.rules, random, self.health.is_dead)

    # -- stack.Ways --------------------------------------------------------------------------------

    def hops(self, sender: Jid, recipient: Jid) -> Sequence[Hop]:
        """Return the next hops for a new request of one of our people, in the order to be tried."""
        decision = self.decide(Question(sender.bare, recipient.local, recipient.domain, is_ours=False))
        if decision.action in (Action.MICROSOFT, Action.REMOTE):
            return [route.hop for route in decision.routes]
        raise StanzaError(decision.condition or "item-not-found", decision.reason)

    def contact(self, transport: str) -> str:
        """Return our Contact for requests over a transport."""
        port = self._name.ports().get("sip_tls_peer" if transport == "tls" else "sip", 0)
        where = f"{self._name.host}:{port}" if port else self._name.host
        return f"<sip:{where};transport={transport}>"

    def is_microsoft(self, address: Jid) -> bool:
        """Tell whether somebody outside is reached at the Microsoft side of one of our own domains."""
        return address.domain in self._homes.domains

    def answered(self, hop: Hop, status: int, retry_after: float | None) -> None:
        """Note that a next hop gave a final answer."""
        self.health.answered(hop, status, self._clock.monotonic(), retry_after)

    def failed(self, hop: Hop, reason: str) -> None:
        """Note that a next hop could not be reached or did not answer."""
        self.health.failed(hop, reason, self._clock.monotonic())

    # -- probes ------------------------------------------------------------------------------------

    async def probe(self, send: Callable[[Hop], None]) -> None:
        """Have next hops that do not answer asked now and then, for as long as the gateway runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for hop in self.health.due_probes(self._clock.monotonic()):
                send(hop)


def _tell(hop: Hop, reason: str) -> None:
    where = f"{hop.host}:{hop.port} over {hop.transport.upper()}"
    if reason:
        event("sip_hop_dead", "warning", hop=where, reason=reason)
    else:
        event("sip_hop_back", hop=where)


@dataclass(frozen=True, slots=True)
class _Rows:
    routes: list[StaticRoute]
    trust: Trust
    remote_domains: frozenset[str]
    microsoft: frozenset[str]


def _read(conn: Connection) -> _Rows:
    entries = [AclEntry(row.id, cast(Kind, row.kind), row.value) for row in acl.list_all(conn)]
    subjects = [row.subject for row in tls_peers.list_all(conn)]
    domains = federated_domains.list_all(conn)
    return _Rows(
        [StaticRoute(*cast(Any, row)) for row in static_routes.list_all(conn)],
        Trust(entries, subjects),
        frozenset(row.name for row in domains if row.protocol == federated_domains.SIP),
        frozenset(_read_microsoft(conn)),
    )


def _read_microsoft(conn: Connection) -> list[str]:
    found: list[str] = []
    while page := microsoft_addresses.list_page(conn, found[-1] if found else "", PAGE):
        found += page
    return found
