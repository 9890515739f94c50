"""The composition root: the only place that knows all parts of a node."""

import asyncio
import fcntl
import itertools
import json
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Any

from pydantic import SecretStr

from ubiety import __version__
from ubiety.admin import answering, live
from ubiety.admin.api import make_app, trust_local
from ubiety.admin.credentials import make_keys
from ubiety.admin.live import LivePolicies, LiveSessions
from ubiety.admin.problems import Problem
from ubiety.admin.server import ApiServer
from ubiety.admin.starting import Front
from ubiety.admin.system import AUDIT_DAYS, LOG_LEVEL
from ubiety.border import Border
from ubiety.clock import SystemClock
from ubiety.cluster import directory
from ubiety.cluster.alarms import Alarms
from ubiety.cluster.bus import BusError
from ubiety.cluster.changes import Changes
from ubiety.cluster.control import ControlCenter
from ubiety.cluster.health import Health
from ubiety.cluster.monitor import DataMonitor, wait_for_database
from ubiety.cluster.moving import Moving
from ubiety.cluster.recovery import Recovery
from ubiety.cluster.topology import Topology, TopologyCopy
from ubiety.conditions import StanzaError
from ubiety.config import Config
from ubiety.declared import SETTINGS
from ubiety.directory.assignment import MODE
from ubiety.directory.placing import place
from ubiety.gateway.federation import FederationCopy
from ubiety.gateway.settings import ROUTING_MODE, refuse_advanced
from ubiety.member import Bus, Member, Neighbourhood
from ubiety.net.authority import CertificateError
from ubiety.net.c2s import ClientConnection
from ubiety.net.certificates import Certificates
from ubiety.net.control import client_hooks
from ubiety.net.drain import Drain
from ubiety.net.listener import ListenError
from ubiety.net.listeners import Listener, Listeners
from ubiety.net.service import C2sService
from ubiety.net.sip import SipStack
from ubiety.net.sip_socket import in_uri
from ubiety.routing.homes import NOBODY, Homes, Person
from ubiety.routing.links import Links
from ubiety.routing.router import Router
from ubiety.settings import Settings
from ubiety.sip.outputs import Peer
from ubiety.store import (
    audit,
    changes,
    domains,
    messages,
    nodes,
    outgoing_messages,
    secrets,
    sip_dialogs,
    sip_subscriptions,
    streams,
    users,
)
from ubiety.store import settings as setting_rows
from ubiety.store.database import Database
from ubiety.store.digests import Vault, load_vault
from ubiety.store.errors import StoreError
from ubiety.store.leases import APPLICATION
from ubiety.store.ledger import Ledger
from ubiety.telemetry import Counters, Metrics, event, set_level
from ubiety.users import archive
from ubiety.users.context import Context
from ubiety.users.elsewhere import Elsewhere
from ubiety.users.features import compose
from ubiety.users.host import Host
from ubiety.users.iq import Queries
from ubiety.users.registration import Registration
from ubiety.users.remote_presence import RemotePresence
from ubiety.users.service import DAY, Users

TIDY_SECONDS = 3600.0
EXPIRE_TURNS = 24  # once a day: it looks at every message
SALT_BYTES = 32
SLICE_SECONDS = 60.0
CERTIFICATE_SECONDS = 60.0
XMPP_PORT = 5222


class StartError(Exception):
    """The node cannot start; the text names cause and cure."""


START_ERRORS = (StartError, ListenError, CertificateError, StoreError, BusError)
"""What is raised when the node cannot start."""


class Node:
    """One running node. Implements what operations see of it (``admin.context.Node``)."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clock = SystemClock()
        self.started = self.clock.now()
        self.counters = Counters()
        self.metrics = Metrics(self.counters)
        self.settings = Settings(SETTINGS)
        self.settings.guard(ROUTING_MODE, refuse_advanced(lambda: 1))  # clusters cannot be joined yet
        self.certificates = Certificates(
            config.certificates_dir,
            self.clock,
            (config.certificate, config.private_key) if config.certificate and config.private_key else None,
            config.hostnames,
        )
        self.homes = Homes()
        self.boot = token_hex(8)
        """Names this run of the process."""
        self.topology = TopologyCopy()
        self.federation = FederationCopy()
        self.database: Database
        self.vault: Vault
        self.sessions: LiveSessions
        self.policies: LivePolicies
        self.member: Member
        self.drain: Drain
        self._bus: Bus | None = None
        self._api = ApiServer(self.clock)
        self._front = Front(lambda: self.health)
        self._waits_for = "The node is starting."
        """What keeps the node from being composed; empty: it is."""
        self._on_stop: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._ports: dict[str, int] = {}
        self._domains: list[str] = [config.domain]

    # -- start and stop ------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the database, load the directory, take what is ours, listen.

        Raises StartError, StoreError, ListenError, BusError.
        """
        self._lock = _lock(self.config.lock_file)
        self.database = Database(self.config.url, application=APPLICATION + self.config.node)
        self._alarms = Alarms(self.database, self.clock)
        await self._api.listen_local(self._front, self.config.control_socket)
        await self._open_database()
        await self._load()
        self.certificates.open(self._domains)
        await self._compose()
        if self._bus is not None:
            await self._bus.start()
            self._meet(self.topology.value)
        self._front.show(trust_local(self._app))
        self._waits_for = ""
        await self.member.start()
        await self.member.open()
        self._ports = {**self._listeners.ports, **self._web.ports, **self.border.stack.ports}
        self._write_ports()
        await self.database.write_open(nodes.set_ports, self.homes.node_id, self._ports)
        self._spawn(self._tidy())
        self._spawn(self._count())
        self._spawn(self._watch_certificate())
        event("node_started", version=__version__, node=self.config.node, ports=self._ports)

    async def _open_database(self) -> None:
        """Bring the tables to the newest form. A node of a cluster waits for its database."""

        async def migrate() -> None:
            await asyncio.get_running_loop().run_in_executor(None, self.database.migrate)

        def waits_for(text: str) -> None:
            self._waits_for = text

        if self.config.bus_url:
            await wait_for_database(migrate, self._alarms, self.clock, waits_for)
        else:
            await migrate()

    async def _load(self) -> None:
        await self._register()
        await self.database.write(_ensure_domain, self.config.domain, self.clock.now())
        stored = await self.database.read(setting_rows.load)
        for problem in self.settings.load(stored):
            event("setting_ignored", level="warning", problem=problem)
        set_level(self.settings.get(LOG_LEVEL))
        self.settings.watch(LOG_LEVEL, set_level)
        await self.domains_changed()
        await self.federation.refresh(self.database)
        await self.federation.refresh_microsoft(self.database)
        people = await self.database.read(lambda conn: list(users.all_people(conn)))
        for row in people:
            self.homes.put(directory.known(row))
        fresh = token_bytes(SALT_BYTES)
        self._salts = await self.database.write_open(secrets.find_or_add, secrets.SALTS, fresh)
        self.vault = await self.database.write_open(load_vault)

    async def _register(self) -> None:
        """Take this node's place among the nodes; its id is also the id of the set that it serves."""
        self._horizon = await self.database.read(changes.horizon)
        about = self.config.group, self.config.address
        self._row = await self.database.write(_register, self.config.node, self.boot, self.started, *about)
        self.homes.node_id = self._row.id
        self.homes.here.clear()  # until the lease is ours
        await self.topology.refresh(self.database)

    async def _compose(self) -> None:
        loop = asyncio.get_running_loop()
        if self.config.bus_url:
            self._bus = Bus(self.config, self.homes.node_id, self.counters)
        self.ledger = Ledger(
            self.database, loop, on_overload=lambda is_so: self.service.ledger_overloaded(is_so)
        )
        self.router = Router()
        self.context = Context(
            homes=self.homes,
            router=self.router,
            database=self.database,
            ledger=self.ledger,
            settings=self.settings,
            clock=self.clock,
            counters=self.counters,
            next_number=itertools.count().__next__,  # until a set is served: see Context.set_epoch
            defer=loop.call_soon,
            spawn=self._spawn,
            load=self._load_person,
            domain=self.config.domain,
            links=self._bus.links if self._bus is not None else None,
        )
        accounts = Registration(
            self.context,
            self.people_changed,
            self._hash_password,
            lambda conn: place(conn, self.settings.get(MODE)),
        )
        features = compose(self.context, accounts)
        queries = Queries(self.context, features.handlers)
        self.users = Users(self.context, queries)
        self.border = Border(
            self.config, self.context, self.federation, self.certificates, self.users.take_promised
        )
        self.border.admit(self.users, self.vault, self._sip_home_of)
        self.router.routes = [self.users, self.border.gateway, Host(self.context, queries)]
        self.sessions = LiveSessions(self.context, self.users, self.topology)
        self.policies = LivePolicies(self.context)
        end_user, movables = self.sessions.end_user, [self.border]
        self.people = directory.People(self.context, self.users.forget, end_user, movables)
        self.moving = Moving(self.context, self.users, self.people, end_user, self.topology, movables)
        self.changes = self._make_changes()
        self.service = C2sService(
            self.context,
            self.users,
            self.certificates,
            self._salts,
            accounts,
            features.stream_feature,
            loop,
        )
        self.border.stack.before_input = self.service.look_at_time
        self.member = self._make_member()
        self.border.gateway.is_well = lambda: self.member.sip_health.is_active
        self.drain = Drain(self.service, self._listeners, self.member.hand_over, self._spawn)
        if self._bus is not None:
            self._join(self._bus.links)

    def _make_changes(self) -> Changes:
        async def settings(_: object) -> None:
            stored = await self.database.read(setting_rows.load)
            await directory.take_over_settings(self.settings, stored)

        async def domains_changed(_: object) -> None:
            await self.domains_changed()
            try:
                await asyncio.to_thread(self.certificates.cover, list(self._domains))
            except ValueError as error:  # `ubiety check` says what its certificate lacks
                event("certificate_refused", "error", reason=str(error))

        return Changes(
            self.database,
            self.clock,
            self._horizon,
            {
                changes.TOPOLOGY: lambda _: self.topology.refresh(self.database),
                changes.SETTINGS: settings,
                changes.DOMAINS: domains_changed,
                changes.PEOPLE: self.people.refresh,
                changes.POLICY: self.people.refresh_policies,
                changes.FEDERATION: lambda _: self.federation.refresh(self.database),
                changes.MICROSOFT: lambda _: self.federation.refresh_microsoft(self.database),
                changes.MESSAGES: self.users.rows_added,
            },
            lambda: self.topology.value.others(self.homes.node_id),
        )

    def _make_member(self) -> Member:
        """Make what joins this node to its cluster, and the listeners that are services there."""
        config, service = self.config, self.service
        self._listeners = Listeners(
            Listener("c2s", lambda: ClientConnection(service, False), config.c2s, "UBIETY_C2S_PORT"),
            Listener(
                "c2s_tls", lambda: ClientConnection(service, True), config.c2s_tls, "UBIETY_C2S_TLS_PORT"
            ),
        )
        self._app = make_app(self)
        self._web = Listeners(
            Listener(
                "api",
                self._api.protocol(self._app),
                config.api,
                "UBIETY_API_PORT",
                self.certificates.switching_context,
            )
        )
        return Member(
            neighbourhood=self._meet_neighbours() if self._bus is not None else None,
            row=self._row,
            boot=self.boot,
            config=config,
            context=self.context,
            users=self.users,
            service=service,
            topology=self.topology,
            changes=self.changes,
            bus=self._bus,
            hooks={
                **client_hooks(self.context, self.users, service, self._listeners),
                **self.border.hooks(),
            },
            homed=[self.border],
            alarms=self._alarms,
            web=self._web,
            drop_web=self._api.drop_network,
        )

    def _meet_neighbours(self) -> Neighbourhood:
        """Make what people of this node and of others see and send each other."""
        assert self.context.links is not None
        links, later = self.context.links, asyncio.get_running_loop().call_later
        elsewhere = self.users.elsewhere = Elsewhere(self.context, self.users, links, later)
        presence = self.context.neighbours = RemotePresence(self.context, self.users, links, later)
        return Neighbourhood(self.homes, elsewhere.nodes, presence)

    def _join(self, links: Links) -> None:
        """Join what speaks with other nodes."""
        self.changes.join(links, asyncio.get_running_loop())
        self.moving.join(links)
        self.border.join(links)
        self.sessions.join(links)
        answering.join(self, links)
        self.topology.watch(self._meet)
        self.service.address_of = self._address_of

    def _meet(self, topology: Topology) -> None:
        if self._bus is not None:
            self._bus.links.set_peers(topology.others(self.homes.node_id))

    def _address_of(self, node_id: int) -> str:
        node = self.topology.value.node(node_id)
        if node is None or not node.address:
            return ""
        host = f"[{node.address}]" if ":" in node.address else node.address
        port = node.port("c2s")
        return host if port in (0, XMPP_PORT) else f"{host}:{port}"

    def _sip_home_of(self, person: Person, peer: Peer) -> str:
        node = self.topology.value.node(self.homes.node_of(person) or NOBODY)
        port = node.port(peer.listener) if node is not None else 0
        if node is None or not node.address or not port:
            return ""
        return f"<sip:{in_uri(node.address)}:{port};transport={peer.transport}>"

    def _write_ports(self) -> None:
        path = self.config.ports_file
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(self._ports))
        temporary.replace(path)

    def on_stop(self, finish: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have ``finish`` awaited when the node stops, before its clients are told."""
        self._on_stop.append(finish)

    async def stop(self) -> None:
        """Close streams, write what is queued, let go of the database."""
        for finish in self._on_stop:
            await finish()
        await self.member.stop()
        await self.border.stack.close()
        await self._api.stop()
        await self.service.stop()
        if self.users.elsewhere is not None:
            await self.users.elsewhere.nodes.drain()
        await self.users.note_seen()
        await self.ledger.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._bus is not None:
            await self._bus.close()
        await asyncio.get_running_loop().run_in_executor(None, self.database.close)
        self.config.ports_file.unlink(missing_ok=True)
        event("node_stopped", node=self.config.node)

    # -- what operations see ---------------------------------------------------------------------

    @property
    def is_composed(self) -> bool:
        """Whether all parts are there, started or not."""
        return not self._waits_for

    @property
    def links(self) -> Links | None:
        """The way to the other nodes; None where there is but one."""
        return self.context.links

    @property
    def bus_problem(self) -> str:
        """Why the bus cannot be used; empty: it can, or there is none."""
        return self._bus.problem if self._bus is not None else ""

    @property
    def sip(self) -> SipStack:
        """The SIP stack of this node."""
        return self.border.stack

    @property
    def recovery(self) -> Recovery:
        """The recovery manager of this node."""
        return self.member.recovery

    @property
    def services(self) -> ControlCenter:
        """The services of this node."""
        return self.member.services

    @property
    def monitor(self) -> DataMonitor:
        """The data monitor of this node."""
        return self.member.monitor

    @property
    def alarms(self) -> Alarms:
        """The alarms of this node."""
        return self.member.alarms

    @property
    def health(self) -> Health:
        """Return whether a load balancer may send clients here."""
        if self._waits_for:
            return Health(False, "starting", self._waits_for)
        return self.member.health

    @property
    def ports(self) -> Mapping[str, int]:
        """The ports that the listeners really got."""
        return self._ports

    @property
    def domains(self) -> Sequence[str]:
        """The domains served here, the default one first."""
        return self._domains

    async def people_changed(self, address_ids: Sequence[int]) -> None:
        """Take over from the database who was added, changed or deleted."""
        await self.people.refresh(address_ids)

    async def domains_changed(self) -> None:
        """Read the table of domains again."""
        rows = [row for row in await self.database.read(domains.list_all) if row.kind == "local"]
        rows.sort(key=lambda row: (not row.is_default, row.name))
        self._domains = [row.name for row in rows]
        self.homes.domains = set(self._domains)

    async def announce(self, recipients: Sequence[str], subject: str, text: str) -> int:
        """Send a message of the server to bare addresses."""
        return await live.announce(self.context, recipients, subject, text)

    async def _hash_password(self, userid: str, password: str) -> str:
        try:
            return await make_keys(self, userid, SecretStr(password))
        except Problem as problem:
            raise StanzaError("not-acceptable", str(problem)) from None

    # -- beside ------------------------------------------------------------------------------------

    def _load_person(self, person: Person) -> Coroutine[Any, Any, Any]:
        return self.users.load(person)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            event("task_failed", level="error", reason=f"{type(error).__name__}: {error}", exc_info=error)

    async def _tidy(self) -> None:
        """Remove what nobody needs any more, in small steps."""
        for turn in itertools.count():
            await asyncio.sleep(TIDY_SECONDS)
            try:
                if turn % EXPIRE_TURNS == 0:
                    await archive.expire(self.context)
                before = self.clock.now() - DAY
                await self.database.write(streams.gc_streams, before)
                await self.database.write(sip_subscriptions.gc_subscriptions, before)
                await self.database.write(sip_dialogs.gc_dialogs, before - 6 * DAY)
                await self.database.write(outgoing_messages.gc_outgoing)
                after: int | None = 0
                while after is not None:
                    after = (await self.database.write(messages.gc_messages, before, after)).after
                if days := self.settings.get(AUDIT_DAYS):
                    await self.database.write(audit.gc_audit, self.clock.now() - days * DAY)
            except StoreError as error:
                event("tidying_failed", level="warning", reason=str(error))

    async def _count(self) -> None:
        """Keep the gauges that nobody counts in passing."""
        counters, before, slice_ends = self.counters, 0, self.clock.monotonic() + SLICE_SECONDS
        while True:
            counters.active_sessions = counters.composed_sessions = self.homes.count_here()
            counters.im_sessions = counters.composed_sessions + counters.client_sessions
            counters.ledger_bytes = self.ledger.queued_bytes
            counters.stored_messages = self.ledger.written
            if self.clock.monotonic() >= slice_ends:
                before, slice_ends = counters.end_slice(before), slice_ends + SLICE_SECONDS
            await asyncio.sleep(1.0)

    async def _watch_certificate(self) -> None:
        """Take over certificate files that were changed, and renew the local one in time."""
        while True:
            await asyncio.sleep(CERTIFICATE_SECONDS)
            await asyncio.to_thread(self.certificates.refresh)


def _register(conn: Any, name: str, boot: str, now: float, group: str, address: str) -> nodes.NodeRow:
    known = nodes.list_all(conn)
    if conn.dialect.name == "sqlite" and known:  # there is only one, whatever it is called now
        nodes.rename(conn, known[0].id, name)
    return nodes.register(conn, name, __version__, boot, now, group=group, address=address)


def _ensure_domain(conn: Any, name: str, now: float) -> None:
    nodes.take_turns(conn)  # nodes may start for the first time together
    if domains.find(conn, name) is not None:
        return
    known = domains.default(conn)
    if known is not None:
        raise StartError(
            f"The database belongs to an installation for {known.name}, which does not serve {name}. "
            f"Start this node with --domain {known.name}, or add the other one: ubiety domain add {name}"
        )
    domains.add(conn, name, now, is_default=True)


def _lock(path: Path) -> int:
    """Hold the data directory for this process alone (design.md §1: it stands in for the leases)."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise StartError(
            f"Another node (process {holder or 'unknown'}) serves {path.parent.parent}. "
            "Stop it, or give this one a directory of its own with --data."
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor
