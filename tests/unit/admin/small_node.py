"""A node without XMPP for the tests of administration: real database, certificate, settings and HTTP."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.databases import open_migrated
from ubiety.admin import api
from ubiety.admin.context import Node, SessionInfo, Sip
from ubiety.admin.operation import call
from ubiety.admin.operations import BY_NAME
from ubiety.admin.problems import Problem
from ubiety.admin.rbac import Caller
from ubiety.admin.server import ApiServer
from ubiety.clock import SystemClock
from ubiety.cluster import monitor, services
from ubiety.cluster.alarms import Alarms
from ubiety.cluster.control import ControlCenter, Hooks
from ubiety.cluster.health import Health
from ubiety.cluster.recovery import Recovery
from ubiety.cluster.topology import TopologyCopy
from ubiety.config import Config
from ubiety.directory import assignment, passwords
from ubiety.gateway import client_settings
from ubiety.gateway import settings as federation
from ubiety.gateway.federation import FederationCopy
from ubiety.jid import Jid
from ubiety.net.certificates import Certificates
from ubiety.net.listener import listen, port_of
from ubiety.routing.homes import Homes
from ubiety.routing.links import Links
from ubiety.settings import Setting, Settings
from ubiety.store import addresses, domains, policy
from ubiety.store.database import Database
from ubiety.store.digests import load_vault
from ubiety.store.users import User
from ubiety.telemetry import Counters, Metrics

CONTACTS = Setting(
    "roster.maximum",
    int,
    200,
    "contacts",
    "Most contacts of a person.",
    minimum=0,
    maximum=5000,
    zero="no limit",
)
ROOT = Caller("unix:root", frozenset({"*"}))


class ListedSessions:
    """Sessions that a test puts there."""

    def __init__(self) -> None:
        self.present: list[SessionInfo] = []
        self.reasons: list[str] = []

    def list(self) -> Sequence[SessionInfo]:
        return list(self.present)

    async def count(self, address: str) -> int:
        return sum(one.address.partition("/")[0] == address for one in self.present)

    async def online(self) -> Sequence[str]:
        return sorted({one.address.partition("/")[0] for one in self.present})

    async def end(self, address: str, reason: str) -> int:
        gone = [one for one in self.present if address in (one.address, one.address.partition("/")[0])]
        self.present = [one for one in self.present if one not in gone]
        self.reasons += [reason] * len(gone)
        return len(gone)

    def add(self, address: str) -> None:
        self.present.append(
            SessionInfo(address, 1_795_000_000.0, "192.0.2.7", "TLSv1.3", "online", "available", 0, 0)
        )


class StoredPolicies:
    """Policies of people who are never signed in."""

    default = "allow"

    def __init__(self, database: Database) -> None:
        self._database = database
        self.done = 0

    async def set_default(self, user: User, action: str | None) -> None:
        await self._database.write(policy.set_default, user.id, action)

    async def put(self, user: User, action: str, target: Jid) -> None:
        self.done += 1
        if not target.local:
            await self._database.write(policy.put_domain, user.id, action, target.domain)
            return
        address_id = await self._database.write(addresses.intern, target.bare)
        await self._database.write(policy.put_address, user.id, action, address_id)

    async def remove(self, user: User, target: Jid) -> None:
        if not target.local:
            await self._database.write(policy.remove_domain, user.id, target.domain)
        elif (address_id := await self._database.read(addresses.find, target.bare)) is not None:
            await self._database.write(policy.remove_address, user.id, address_id)


class SmallNode:
    """What `app.py` is for operations, without people who chat."""

    def __init__(self, data: Path, url: str = "") -> None:
        self.config = Config(
            data_dir=data, domain="example.org", hosts=("127.0.0.1",), database_url=url, api_port=0
        )
        self.config.make_directories()
        self.clock = SystemClock()
        self.settings = Settings(
            [
                CONTACTS,
                *passwords.SETTINGS,
                *assignment.SETTINGS,
                *api.SETTINGS,
                *monitor.SETTINGS,
                *federation.SETTINGS,
                *client_settings.SETTINGS,
            ]
        )
        self.settings.set_text("password.iterations", "4096")
        self.database = open_migrated(self.config.url)
        self.vault = self.database.write_now(load_vault)
        self.metrics = Metrics(Counters())
        self.homes = Homes()
        self.topology = TopologyCopy()
        self.federation = FederationCopy()
        self.sip: Sip | None = None
        self.clusters = 1
        self.settings.guard(federation.ROUTING_MODE, federation.refuse_advanced(lambda: self.clusters))
        self.links: Links | None = None
        self.bus_problem = ""
        self.recovery: Recovery | None = None
        self.told: list[str] = []
        self.alarms = Alarms(self.database, self.clock)
        self.services = ControlCenter(
            {name: self._hooks(name) for name in services.names() if name != services.DATABASE},
            self.database,
            self.clock,
            lambda work: asyncio.get_running_loop().create_task(work),
            self.settings.restarted,
        )
        checks = monitor.database_checks(self.database, "", self.settings)
        self.monitor = monitor.DataMonitor(checks, self.alarms, self.clock, lambda _: None)
        self.health = Health(True, "active", "")
        self.sessions = ListedSessions()
        self.policies = StoredPolicies(self.database)
        self.certificates = Certificates(self.config.certificates_dir, self.clock)
        self.started = self.clock.now()
        self.ports: Mapping[str, int] = {}
        self.domains: list[str] = []
        self.changed: list[int] = []
        self.announced: list[tuple[list[str], str, str]] = []

    def _hooks(self, name: str) -> Hooks:
        async def start() -> None:
            self.told.append(f"+{name}")

        async def stop() -> None:
            self.told.append(f"-{name}")

        return Hooks(start, stop)

    async def open(self) -> None:
        await self.database.write(domains.add, self.config.domain, self.clock.now())
        await self.domains_changed()
        self.certificates.open(self.domains)

    async def people_changed(self, address_ids: Sequence[int]) -> None:
        self.changed += address_ids

    async def domains_changed(self) -> None:
        rows = await self.database.read(domains.list_all)
        self.domains = [row.name for row in sorted(rows, key=lambda row: not row.is_default)]

    async def announce(self, recipients: Sequence[str], subject: str, text: str) -> int:
        self.announced.append((list(recipients), subject, text))
        return len(recipients)


async def do(node: SmallNode, name: str, caller: Caller = ROOT, /, **arguments: Any) -> Any:
    """Calls an operation as one of the faces does."""
    operation = BY_NAME[name]
    return await call(operation, node, caller, operation.arguments(**arguments))


async def refused(node: SmallNode, name: str, caller: Caller = ROOT, /, **arguments: Any) -> Problem:
    """Calls an operation that must be refused; returns the problem."""
    with pytest.raises(Problem) as caught:
        await do(node, name, caller, **arguments)
    return caught.value


@asynccontextmanager
async def small_node(data: Path, url: str = "") -> AsyncIterator[SmallNode]:
    """A node that is closed behind the test."""
    node = SmallNode(data, url)
    _: Node = node  # it is what operations ask for
    try:
        await node.open()
        yield node
    finally:
        node.database.close()


@asynccontextmanager
async def served(node: SmallNode) -> AsyncIterator[httpx.AsyncClient]:
    """The node's interface on the local socket and on a TLS port; yields a client of the port."""
    server = ApiServer(node.clock)
    app = api.make_app(node)
    await server.listen_local(api.trust_local(app), node.config.control_socket)
    context = node.certificates.switching_context()
    listeners = await listen(server.protocol(app), node.config.api, "UBIETY_API_PORT", context)
    port = port_of(listeners)
    node.ports = {"api": port}
    trusted = ssl.create_default_context(cafile=node.certificates.ca_path)
    try:
        async with httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{port}", verify=trusted, timeout=20
        ) as client:
            yield client
    finally:
        for listener in listeners:
            listener.close()
        await server.stop()
        await asyncio.sleep(0)
