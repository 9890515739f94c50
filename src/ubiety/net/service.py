"""What all client connections share: limits and pace, accounts, and the look-after of idle ones."""

import asyncio
import secrets
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import inf
from time import monotonic
from typing import NamedTuple, Protocol

from ubiety.directory.passwords import ITERATIONS
from ubiety.net.admission import Admission
from ubiety.net.certificates import Certificates
from ubiety.net.farewell import CLOSE_RATE, STEP_SECONDS, Farewells
from ubiety.net.home import ClientHome, ClientSession, LocalHome
from ubiety.net.pacing import LOGIN_RATE, Backoff, Pace
from ubiety.net.pause import Pause
from ubiety.net.remote_homes import RemoteHomes
from ubiety.net.remote_session import MISSING, HomeMissing
from ubiety.routing.homes import NOBODY, Person
from ubiety.routing.links import Links
from ubiety.settings import Setting
from ubiety.stanza import Stanza
from ubiety.store import users as rows
from ubiety.telemetry import event
from ubiety.users.context import Context
from ubiety.users.preferences import PING_SECONDS, RESUME_SECONDS
from ubiety.users.remote_edge import RemoteEdges
from ubiety.users.service import Users
from ubiety.xmpp.features import C2sConfig
from ubiety.xmpp.outputs import Authenticated
from ubiety.xmpp.xmlstream import Limits

TLS_REQUIRED = Setting(
    "c2s.tls_required", bool, True, "", "Clients must use TLS before they log in.", "reconnect"
)
CHANNEL_BINDING = Setting(
    "c2s.channel_binding",
    bool,
    False,
    "",
    "Offer SCRAM with channel binding (-PLUS), type tls-server-end-point.",
    "reconnect",
)
REGISTRATION = Setting(
    "c2s.registration",
    bool,
    False,
    "",
    "Strangers may make accounts for themselves (in-band registration).",
    "reconnect",
)
STANZA_BYTES = Setting(
    "c2s.stanza_bytes",
    int,
    262_144,
    "bytes",
    "Size of the largest stanza that a client may send.",
    "reconnect",
    minimum=10_000,
    maximum=10_000_000,
)
NEGOTIATION_SECONDS = Setting(
    "c2s.negotiation_seconds",
    int,
    30,
    "seconds",
    "Time that a client has from connecting to being logged in.",
    "reconnect",
    minimum=1,
    maximum=600,
)
SEE_OTHER_HOST = Setting(
    "c2s.see_other_host",
    bool,
    False,
    "",
    "Send a client that has logged in to its home node, where that one's public address is known.",
)
ALL = (TLS_REQUIRED, CHANNEL_BINDING, REGISTRATION, STANZA_BYTES, NEGOTIATION_SECONDS)
"""What a stream is negotiated with."""
DRAIN_RATE = Setting(
    "cluster.drain_rate",
    int,
    200,
    "clients per second",
    "Streams closed per second when a node is drained.",
    minimum=1,
    maximum=100_000,
)
SETTINGS = (*ALL, SEE_OTHER_HOST, CLOSE_RATE, DRAIN_RATE)

SWEEP_SECONDS = 1.0
SWEEP_SHARES = 20
"""Turns in which a sweep over all connections is done, so that none of them holds up messages."""
RELEASE_SECONDS = 30.0
"""Silence after which a connection's parser is let go (design.md §4)."""
ANSWER_SECONDS = 30.0
"""Time that a silent client has to give a sign of life."""
MAX_LOGIN_WAIT = 30.0
LOGINS_AT_ONCE = 64
"""Logins that wait for the database or for hashing at which nobody else is let in."""
DRAINED = "This node is emptied before it is stopped. Connect again: another node takes you."
STOP_SECONDS = 2.0
"""Time that clients have to take our last words when the node stops."""


class LoginRefused(Exception):
    """Somebody who proved who they are may not sign in: a SASL condition and why."""

    def __init__(self, condition: str, text: str) -> None:
        super().__init__(condition, text)
        self.condition = condition
        self.text = text


class Connection(Protocol):
    """A connection as the service looks after it."""

    address: str
    last_input: float
    asked: bool
    session: ClientSession | None
    paused: Pause
    negotiating: bool

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def flush(self) -> None:
        """Hand over what was written in this turn of the loop."""

    def pause_reading(self, reason: Pause) -> None:
        """Take no more from the client."""

    def resume_reading(self, reason: Pause) -> None:
        """Read on if nothing else forbids it."""

    def let_in(self) -> None:
        """Begin: it is its turn."""

    def tick(self, now: float) -> None:
        """Let the core act on the time."""

    def release_parser(self) -> None:
        """Let go of the parser."""

    def close(self, condition: str | None = None, text: str = "") -> None:
        """End the stream."""

    def abort(self) -> None:
        """Cut the connection."""


class Registrar(Protocol):
    """Makes accounts for strangers, where a setting allows it (XEP-0077)."""

    async def register(self, address: str, stanza: Stanza, domain: str) -> bytes:
        """Answer a registration query that came before login."""


class Account(NamedTuple):
    """What a login needs of an account: its keys, and the row of a person who is not loaded yet."""

    scram: str | None
    row: rows.Login | None


class C2sService:
    """One per node."""

    def __init__(
        self,
        context: Context,
        users: Users,
        certificates: Certificates,
        secret: bytes,
        registrar: Registrar,
        stream_feature: Callable[[str], bytes],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.context = context
        self.users = users
        self.loop = loop
        self.now = loop.time()  # read once a second and per batch of events: exact enough for time-outs
        self.serves_until = inf
        """When this passes (``time.monotonic``) nothing more may be taken from anybody before ``overdue``."""
        self.overdue: Callable[[], None] = lambda: None
        """Stops to serve those who may be served no more; looked at before each input (design.md §1)."""
        self.hashing = ThreadPoolExecutor(2, "password")
        self._certificates = certificates
        self._secret = secret
        self._registrar = registrar
        self._stream_feature = stream_feature
        self._connections: set[Connection] = set()
        self._unflushed: list[Connection] = []
        self._checking = 0  # logins that wait for the database, or for a password to be hashed
        self.is_draining = False
        """Whether nobody new comes in, because this node is to be emptied."""
        self.drain_rate = 0.0
        """Clients closed a second while this node is drained."""
        self.admission = Admission(
            loop, context.settings, context.counters, lambda: self._checking >= LOGINS_AT_ONCE
        )
        self._is_overloaded = False
        self.refusal = ""
        """Why nobody may log in now; empty: everybody may (Cisco XCP Authentication Service)."""
        settings = context.settings
        self._logins = Pace(settings.get(LOGIN_RATE), MAX_LOGIN_WAIT)
        settings.watch(LOGIN_RATE, self._logins.set_rate)
        self._address_backoff = Backoff(free=10, most=60.0)
        self._account_backoff = Backoff(free=5, most=10.0)
        self._config: C2sConfig | None = None
        for setting in (*ALL, ITERATIONS):
            settings.watch(setting, self._forget_config)
        self.farewells = Farewells(loop, lambda: settings.get(CLOSE_RATE))
        self.address_of: Callable[[int], str] = lambda _node_id: ""
        """Returns the public address of a node, "" when none is known; for ``c2s.see_other_host``."""
        links = context.links
        self.remote_homes = self._open_remote_homes(links) if links is not None else None
        self.remote_edges = RemoteEdges(context, users, links) if links is not None else None
        self._round: list[Connection] = []  # still to be looked after in this round
        self._share = 1
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep()

    def flush_later(self, connection: Connection) -> None:
        """Flush the connection when this turn of the loop is over.

        uvloop hands each write to the kernel at once; what one turn writes to a socket shall be one call.
        """
        if not self._unflushed:
            self.loop.call_soon(self._flush)
        self._unflushed.append(connection)

    def _flush(self) -> None:
        ready, self._unflushed = self._unflushed, []
        for connection in ready:
            try:
                connection.flush()
            except Exception as error:  # noqa: BLE001  one broken connection must not silence the others
                event("connection_failed", level="error", address=connection.address, reason=str(error))
                connection.abort()

    def _open_remote_homes(self, links: Links) -> RemoteHomes:
        return RemoteHomes(self.context.homes, links, self._home_here, self._logins.turn, self._other_host)

    def _other_host(self, node_id: int) -> str:
        return self.address_of(node_id) if self.context.settings.get(SEE_OTHER_HOST) else ""

    async def _home_here(self, person: Person) -> ClientHome:
        return LocalHome(self.users, await self.users.load(person), self.context.counters)

    # -- connections come and go -----------------------------------------------------------------

    def admit(self, connection: Connection) -> bool:
        """Take a new connection in, to be read when it is its turn; False if there are too many."""
        self.now = self.loop.time()
        if self.is_draining or not self.admission.enter(connection):
            return False
        self._connections.add(connection)
        self.context.counters.sockets += 1
        if self._is_overloaded:
            connection.pause_reading(Pause.LEDGER)
        return True

    def logged_in(self, connection: Connection) -> None:
        """A connection has its session."""
        connection.negotiating = False
        self.admission.signed_in(connection)

    def gone(self, connection: Connection) -> None:
        """A connection is closed."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self.admission.left(connection, has_signed_in=not connection.negotiating)
        self.context.counters.sockets -= 1

    def __len__(self) -> int:
        return len(self._connections)

    def ledger_overloaded(self, is_overloaded: bool) -> None:
        """Stop reading from clients while more waits for the disk than may, and read on afterwards."""
        self._is_overloaded = is_overloaded
        event("ledger_overloaded" if is_overloaded else "ledger_caught_up", level="warning")
        if self.remote_edges is not None:
            self.remote_edges.ledger_overloaded(is_overloaded)
        for connection in list(self._connections):
            if is_overloaded:
                connection.pause_reading(Pause.LEDGER)
            else:
                connection.resume_reading(Pause.LEDGER)

    # -- what a stream needs -----------------------------------------------------------------------

    def tls_context(self) -> ssl.SSLContext:
        """Return the TLS context of now: a renewed certificate is used at once."""
        return self._certificates.current.context

    def endpoint_hash(self) -> bytes | None:
        """Return the certificate's hash for channel binding (RFC 5929 §4)."""
        return self._certificates.current.endpoint_hash

    def new_id(self) -> str:
        """Return a random id that nobody can guess."""
        return secrets.token_urlsafe(18)

    def new_resource(self) -> str:
        """Return a resource for a client that names none."""
        return f"ubiety-{secrets.token_hex(6)}"

    def new_stream(self, resume: bool, wanted: int | None) -> tuple[str, int]:
        """Return id and resumption time (0: not resumable) for stream management."""
        seconds = self.context.settings.get(RESUME_SECONDS) if resume else 0
        if wanted:
            seconds = min(seconds, wanted)
        return secrets.token_urlsafe(18), seconds

    def stream_config(self) -> C2sConfig:
        """Return what streams that begin now are negotiated with."""
        if self._config is None:
            get = self.context.settings.get
            self._config = C2sConfig(
                domains=lambda domain: domain in self.context.homes.domains,
                default_domain=self.context.domain,
                secret=self._secret,
                tls_required=get(TLS_REQUIRED),
                scram_iterations=get(ITERATIONS),
                plus=get(CHANNEL_BINDING),
                registration=get(REGISTRATION),
                extra_features=self._stream_feature,
                limits=Limits(stanza_bytes=get(STANZA_BYTES)),
                negotiation_timeout=float(get(NEGOTIATION_SECONDS)),
            )
        return self._config

    def _forget_config(self, _value: object) -> None:
        self._config = None

    # -- accounts ------------------------------------------------------------------------------------

    async def begin_login(self, connection: Connection, username: str, domain: str) -> Account | None:
        """Find an account, at the pace of logins and after the back-off for wrong passwords.

        Returns None when the caller must come back later. An account that does not exist has no keys.
        Raises LoginRefused while nobody may log in.
        """
        if self.refusal:
            raise LoginRefused("temporary-auth-failure", self.refusal)  # RFC 6120 §6.5.9
        account = f"{username}@{domain}"
        wait = max(
            self._address_backoff.wait(connection.address, self.loop.time()),
            self._account_backoff.wait(account, self.loop.time()),
        )
        if wait > MAX_LOGIN_WAIT or not await self._logins.turn():
            return None
        if wait > 0:
            await asyncio.sleep(wait)
        person = self.context.homes.find(account)
        if person is None:
            return Account(None, None)
        self._checking += 1
        try:
            return await self._read_account(person)
        finally:
            self._checking -= 1

    async def _read_account(self, person: Person) -> Account:
        if person.address_id in self.context.actors or not self.context.homes.is_here(person):
            found = await self.context.database.read(rows.load_credentials, person.jid.bare)
            return Account(found.scram if found is not None else None, None)
        # One read for the whole login: the actor is made of it once the password was right.
        login = await self.context.database.read(rows.load_login, person.address_id)
        return Account(login.scram if login is not None else None, login)

    async def check(
        self, is_password: Callable[[str | None, str], bool], scram: str | None, text: str
    ) -> bool:
        """Check a password in a thread: that takes a while."""
        self._checking += 1
        try:
            return await self.loop.run_in_executor(self.hashing, is_password, scram, text)
        finally:
            self._checking -= 1

    def login_failed(self, address: str, username: str, domain: str, *, is_plain: bool) -> None:
        """Count a wrong password against the address and the account."""
        now = self.loop.time()
        self._address_backoff.failed(address, now)
        self._account_backoff.failed(f"{username}@{domain}", now)
        self.context.counters.plain_failed += is_plain
        self.context.counters.scram_failed += not is_plain
        event("login_refused", level="warning", address=address, account=f"{username}@{domain}")

    async def authorise(
        self, connection: Connection, login: Authenticated, row: rows.Login | None
    ) -> ClientHome:
        """Return the home of somebody who proved who they are. Raises LoginRefused."""
        account = f"{login.username}@{login.domain}"
        self._account_backoff.succeeded(account)
        self._address_backoff.succeeded(connection.address)
        person = self.context.homes.find(account)
        if person is None or not person.enabled:
            self.context.counters.failed_license += 1
            raise LoginRefused("account-disabled", "This account may not sign in.")
        if login.mechanism == "PLAIN":
            self.context.counters.plain_success += 1
        else:
            self.context.counters.scram_success += 1
        return await self._home_of(person, row)

    async def _home_of(self, person: Person, row: rows.Login | None) -> ClientHome:
        homes = self.context.homes
        if homes.is_here(person) and person.set_id not in homes.leaving:
            return LocalHome(self.users, await self.users.load(person, row), self.context.counters)
        if self.remote_homes is None or person.set_id == NOBODY:
            raise LoginRefused("temporary-auth-failure", "This account is assigned to no node.")
        try:
            await self.remote_homes.find(person)
        except HomeMissing:
            raise LoginRefused("temporary-auth-failure", MISSING) from None
        if homes.is_here(person):
            return await self._home_here(person)
        return self.remote_homes.session(person)

    async def register(self, address: str, stanza: Stanza, domain: str) -> bytes:
        """Answer a registration query that came before login."""
        return await self._registrar.register(address, stanza, domain)

    # -- looking after ---------------------------------------------------------------------------------

    def look_at_time(self) -> None:
        """Stop to serve those who may be served no more, before anything is taken for them (design.md §1)."""
        if monotonic() >= self.serves_until:
            self.overdue()

    def _sweep(self) -> None:
        """Look after a share of the connections: all of them once a second, none of them for long."""
        self._sweeper = self.loop.call_later(SWEEP_SECONDS / SWEEP_SHARES, self._sweep)  # whatever happens
        self.look_at_time()
        self.now = now = self.loop.time()
        if not self._round:
            self._round = list(self._connections)
            self._share = len(self._round) // SWEEP_SHARES + 1
            self.users.expire()
            if self.remote_homes is not None:
                self.remote_homes.look_after()
        share, self._round = self._round[-self._share :], self._round[: -self._share]
        for connection in share:
            if connection.negotiating:
                if not self.admission.is_waiting(connection):
                    connection.tick(now)
            else:
                self._look_after(connection, now)

    def _look_after(self, connection: Connection, now: float) -> None:
        """Let go of an idle parser; ask a silent client for a sign of life; cut off a dead one."""
        if connection.paused:
            connection.last_input = now  # it may have said much: we do not listen
        silence = now - connection.last_input
        if silence > RELEASE_SECONDS:
            connection.release_parser()
        limit = self.context.settings.get(PING_SECONDS)
        if silence > limit + ANSWER_SECONDS:
            event("dead_client_cut", address=connection.address)
            connection.abort()
        elif silence > limit and not connection.asked:
            connection.asked = True
            self._ask(connection)

    def _ask(self, connection: Connection) -> None:
        session = connection.session
        if session is None:
            return
        if session.smacks is not None:
            connection.write(b"<r xmlns='urn:xmpp:sm:3'/>")  # XEP-0198 §4
            return
        host = session.jid.domain.encode()
        connection.write(
            b"<iq type='get' id='alive' from='%s' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>"
            % (host, session.jid.xml.encode())
        )

    async def close_clients(self, text: str) -> None:
        """Close the streams of all clients that are connected here; at a pace while this node is drained."""
        if self.is_draining:
            await self.drain()
        await self._close_at_once(text)

    async def drain(self) -> None:
        """Close clients at the rate of the drain, until none is left or ``is_draining`` is taken back."""
        farewells = Farewells(self.loop, lambda: self.drain_rate)
        while self.is_draining and self._connections:
            if not len(farewells):
                for connection in list(self._connections):
                    farewells.add(partial(connection.close, "system-shutdown", DRAINED))
            await asyncio.sleep(STEP_SECONDS)
        farewells.stop()

    async def _close_at_once(self, text: str) -> None:
        for connection in list(self._connections):
            connection.close("system-shutdown", text)
        deadline = self.loop.time() + STOP_SECONDS
        while self._connections and self.loop.time() < deadline:
            await asyncio.sleep(0.02)
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)

    async def stop(self, text: str = "The server is shutting down.") -> None:
        """Close all streams."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.admission.stop()
        self.farewells.stop()
        if self.remote_edges is not None:
            self.remote_edges.stop()
        await self._close_at_once(text)
        self.hashing.shutdown(wait=False, cancel_futures=True)
