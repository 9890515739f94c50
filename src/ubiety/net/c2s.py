"""The connection of a client: socket, TLS and parser; everything that is decided is decided elsewhere.

The driver's duty (style, principle 2): feed the core, perform its outputs in order, hand stanzas to
the session. What the core asks for and cannot have at once runs as a task; the core holds further
input back until it is answered.
"""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, cast

from ubiety.directory import passwords
from ubiety.net.home import ClientHome, ClientSession
from ubiety.net.pause import Pause
from ubiety.net.service import C2sService, LoginRefused
from ubiety.net.tls import TlsLayer
from ubiety.stanza import Stanza
from ubiety.store.errors import StoreError
from ubiety.store.users import Login
from ubiety.telemetry import event
from ubiety.xmpp import outputs as out
from ubiety.xmpp import sasl
from ubiety.xmpp.c2s import C2sStream
from ubiety.xmpp.outputs import Output
from ubiety.xmpp.smacks import SmacksError

HIGH_WATER = 256 * 1024
"""Bytes unsent at which a client counts as congested."""
HARD_LIMIT = 8 * 1024 * 1024
"""Bytes unsent at which a client that does not read is cut off."""
GATHERED = 64
"""Writes gathered at most: so that a client's slowness shows before much has been prepared for it."""
CLOSE_SECONDS = 5.0
"""Time that a client has to take our last words."""


class ClientConnection(asyncio.Protocol):
    """One socket of one client; the edge of at most one session."""

    def __init__(self, service: C2sService, direct_tls: bool) -> None:
        self._service = service
        self._direct_tls = direct_tls
        self._loop = service.loop
        self._transport: asyncio.Transport | None = None
        self._tls: TlsLayer | None = None
        self._home: ClientHome | None = None  # of the person, once they have proved who they are
        self._row: Login | None = None  # of a person who is not loaded yet
        self._login_tasks: set[asyncio.Task[None]] = set()
        self.core: C2sStream
        self._has_begun = False  # there is a core
        self._early = b""  # what came before
        self._closing = False
        self.session: ClientSession | None = None
        self.paused = Pause(0)
        self.congested = False
        self.negotiating = True  # no session yet
        self.last_input = 0.0
        self._is_plain = False  # the login under way is SASL PLAIN
        self.asked = False  # was asked for a sign of life since the last input
        self.address = ""
        self._unsent: list[bytes] = []

    # -- the socket ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse what is over the limits; others are let in when it is their turn."""
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if peer else ""
        self.last_input = self._service.now
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self.pause_reading(Pause.PACE)
        if not self._service.admit(self):
            transport.abort()

    def let_in(self) -> None:
        """Begin: it is its turn."""
        service, hash_ = self._service, None
        if self._direct_tls:
            self._tls = TlsLayer(service.tls_context())
            hash_ = service.endpoint_hash()
        now = self.last_input = self._loop.time()
        self.core = C2sStream(service.stream_config(), service.new_id, now, self._direct_tls, hash_)
        self._has_begun = True
        self.resume_reading(Pause.PACE)
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        """Feed the core and perform what it puts out."""
        if not self._has_begun:
            self._keep_early(data)
            return
        service = self._service
        if monotonic() >= service.serves_until:  # the loop's time is as old as this turn of the loop
            service.overdue()
            if self._closing:
                return
        self.last_input = now = service.now
        self.asked = False
        if self._tls is not None:
            data = self._decrypt(data)
            if not data:
                return
        for output in self.core.receive(data, now):
            if type(output) is Stanza:
                if self.session is not None:
                    self.session.receive(output)
            else:
                self._perform_one(output)

    def _keep_early(self, data: bytes) -> None:
        """uvloop begins to read after ``connection_made``, whatever was asked for there."""
        self._early += data
        if self._transport is not None:
            self._transport.pause_reading()

    def _decrypt(self, data: bytes) -> bytes:
        assert self._tls is not None and self._transport is not None
        try:
            plain, answer, closed = self._tls.receive(data)
        except ssl.SSLError as error:
            event("tls_failed", level="warning", address=self.address, reason=str(error))
            self._transport.abort()
            return b""
        if answer:
            self._transport.write(answer)
        if closed:
            self._transport.close()
        return plain

    def eof_received(self) -> bool:
        """A half-closed socket is closed: a client that sends no more cannot be served."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Give the session to be resumed or ended."""
        self._closing = True
        self._service.gone(self)
        for task in self._login_tasks:
            task.cancel()
        if self._has_begun:
            self.core.close()  # lets go of the parser, which refers to itself
        self._let_go()
        self._transport = None

    def _let_go(self) -> None:
        self.session = None
        home, self._home = self._home, None
        if home is not None:
            home.lose(self)

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self.congested = True
        if self._home is not None:
            self._home.note_slow(True)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.congested = False
        if self._home is not None:
            self._home.note_slow(False)

    # -- the edge of a session ---------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes. Never waits; a client that does not read is cut off at the hard limit."""
        transport = self._transport
        if transport is None or self._closing:
            return
        if self._tls is not None and not self._tls.established:
            return  # nothing can be said in the middle of a handshake, not even why it ends here
        if not self._unsent:
            self._service.flush_later(self)
        self._unsent.append(data)
        if len(self._unsent) >= GATHERED:
            self.flush()

    def flush(self) -> None:
        """Hand over what was written in this turn of the loop: one system call, one TLS record."""
        transport = self._transport
        if not self._unsent or transport is None:
            return
        data = self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent)
        self._unsent.clear()
        if transport.is_closing():
            return  # uvloop refuses writes between the end of a socket and connection_lost
        if self._tls is not None:
            data = self._tls.send(data)
        transport.write(data)
        if self.congested and transport.get_write_buffer_size() > HARD_LIMIT:
            event("slow_client_cut", level="warning", address=self.address)
            transport.abort()

    def pause_reading(self, reason: Pause = Pause.ORDER) -> None:
        """Take no more from the client while this or another reason lasts."""
        self.paused |= reason
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume_reading(self, reason: Pause = Pause.ORDER) -> None:
        """Read on if nothing else forbids it."""
        self.paused &= ~reason
        if self.paused or self._transport is None or self._closing or self._transport.is_reading():
            return
        self._transport.resume_reading()

    def close(self, condition: str | None = None, text: str = "") -> None:
        """End the stream and the connection; at a pace when a home has changed, which many are told."""
        if not self._has_begun:
            self.abort()
        elif condition == "reset" and Pause.LEAVING not in self.paused:
            self.dismiss(condition, text)
        else:
            self.perform(self.core.close(condition, text))

    def dismiss(self, condition: str, text: str) -> None:
        """Let go of the session at once, and end the stream when it is its turn."""
        self.pause_reading(Pause.LEAVING)
        self._let_go()
        self._service.farewells.add(lambda: self.close(condition, text))

    @property
    def is_open(self) -> bool:
        """Whether anything can still be said to the client."""
        return not self._closing

    @property
    def secured_by(self) -> str:
        """The TLS version, or "plain"."""
        return self._tls.version if self._tls is not None else "plain"

    # -- looked after by the service -----------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Let the core act on the time."""
        if not self._closing and not self._login_tasks:  # it waits for us, not we for it
            self.perform(self.core.tick(now))

    def release_parser(self) -> None:
        """Let go of the parser while nothing comes."""
        self.core.release()

    def abort(self) -> None:
        """Cut the connection: the other side is gone."""
        if self._transport is not None:
            self._transport.abort()

    # -- outputs of the core ---------------------------------------------------------------------------

    def perform(self, outputs: list[Output]) -> None:
        """Do what the core asks for, in order."""
        for output in outputs:
            if type(output) is Stanza:
                if self.session is not None:
                    self.session.receive(output)
            else:
                self._perform_one(output)

    def _perform_one(self, output: Output) -> None:
        if type(output) is out.Write:
            self.write(output.data)
            return
        session = self.session
        if session is not None:
            if type(output) is out.SmAck:
                self._acknowledge(session, output.h)
                return
            if type(output) is out.SmRequest:
                session.acknowledgement_requested()
                return
        _PERFORM[type(output)](self, output)

    def _acknowledge(self, session: ClientSession, h: int) -> None:
        try:
            session.acknowledge(h)
        except SmacksError as error:
            self.perform(self.core.close(error.condition, error.text, error.detail))

    def _close(self, _output: out.Close) -> None:
        transport = self._transport
        if transport is None or self._closing:
            return
        self.flush()
        if self._tls is not None and self._tls.established:
            transport.write(self._tls.close())
        self._closing = True
        transport.close()
        self._loop.call_later(CLOSE_SECONDS, transport.abort)

    def _start_tls(self, _output: out.StartTls) -> None:
        self.flush()  # <proceed/> is the last that goes out in plain text
        self._tls = TlsLayer(self._service.tls_context())
        self.perform(self.core.tls_ready(self._service.endpoint_hash(), self._service.now))

    def _client_state(self, output: out.ClientState) -> None:
        if self._home is not None:
            self._home.set_inactive(not output.active)

    def _session_ended(self, _output: out.SessionEnded) -> None:
        self.session = None
        if self._home is not None:
            self._home.end()

    def _stanza_answered(self, output: out.StanzaAnswered) -> None:
        session = self.session
        if session is not None:
            session.answered(output.data)

    def _enable(self, output: out.SmEnableRequested) -> None:
        if self._home is not None:
            self._home.enable(self, *self._service.new_stream(output.resume, output.max))

    # -- what takes time -------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, list[Output]]) -> None:
        """Perform what a coroutine returns; it is cancelled when the connection goes."""
        task = self._loop.create_task(self._finish(work))
        self._login_tasks.add(task)
        task.add_done_callback(self._login_tasks.discard)

    async def _finish(self, work: Coroutine[Any, Any, list[Output]]) -> None:
        begun = self._loop.time()
        try:
            outputs = await work
        except StoreError as error:
            event("login_failed", level="error", address=self.address, reason=str(error))
            outputs = self.core.refused("temporary-auth-failure", "The database does not answer.")
            outputs = outputs or self.core.close("internal-server-error")
        except LoginRefused as refused:
            outputs = self.core.refused(refused.condition, refused.text)
        except Exception:
            self.perform(self.core.close("internal-server-error"))
            raise
        if not self._closing:
            self.core.postpone(self._loop.time() - begun)
            self.perform(outputs)

    def _credentials_needed(self, output: out.CredentialsNeeded) -> None:
        self._is_plain = False
        self.run(self._find_credentials(output))

    async def _find_credentials(self, output: out.CredentialsNeeded) -> list[Output]:
        account = await self._service.begin_login(self, output.username, output.domain)
        if account is None:
            return self.core.refused("temporary-auth-failure", "Too many attempts. Try again later.")
        self._row = account.row
        return self.core.credentials(_keys(account.scram, output.hash_name), self._service.now)

    def _password_needed(self, output: out.PasswordNeeded) -> None:
        self._is_plain = True
        self.run(self._check_password(output))

    async def _check_password(self, output: out.PasswordNeeded) -> list[Output]:
        account = await self._service.begin_login(self, output.username, output.domain)
        if account is None:
            return self.core.refused("temporary-auth-failure", "Too many attempts. Try again later.")
        self._row = account.row
        ok = await self._service.check(_is_password, account.scram, output.password)
        return self.core.password_checked(ok, self._service.now)

    def _authentication_failed(self, output: out.AuthenticationFailed) -> None:
        self._service.login_failed(self.address, output.username, self.core.domain, is_plain=self._is_plain)

    def _authenticated(self, output: out.Authenticated) -> None:
        self.run(self._authorise(output))

    async def _authorise(self, output: out.Authenticated) -> list[Output]:
        row, self._row = self._row, None
        self._home = await self._service.authorise(self, output, row)
        return self.core.authorised()

    def _registration_requested(self, output: out.RegistrationRequested) -> None:
        self.run(self._register(output))

    async def _register(self, output: out.RegistrationRequested) -> list[Output]:
        return [out.Write(await self._service.register(self.address, output.stanza, output.domain))]

    def _bind_requested(self, output: out.BindRequested) -> None:
        assert self._home is not None
        self._home.bind(self, output.resource or self._service.new_resource())

    def _resume_requested(self, output: out.SmResumeRequested) -> None:
        assert self._home is not None
        self._home.resume(self, output.previd, output.h)

    def begin(self, session: ClientSession) -> None:
        """Serve this session from now on."""
        self.session = session
        self._service.logged_in(self)

    def move(self, home: ClientHome) -> None:
        """The person, who has no session yet, is served elsewhere than was thought."""
        self._home = home


_PERFORM: dict[type, Callable[[ClientConnection, Any], None]] = {
    out.Close: ClientConnection._close,
    out.StartTls: ClientConnection._start_tls,
    out.CredentialsNeeded: ClientConnection._credentials_needed,
    out.PasswordNeeded: ClientConnection._password_needed,
    out.Authenticated: ClientConnection._authenticated,
    out.AuthenticationFailed: ClientConnection._authentication_failed,
    out.RegistrationRequested: ClientConnection._registration_requested,
    out.BindRequested: ClientConnection._bind_requested,
    out.StanzaAnswered: ClientConnection._stanza_answered,
    out.SessionEnded: ClientConnection._session_ended,
    out.SmEnableRequested: ClientConnection._enable,
    out.SmResumeRequested: ClientConnection._resume_requested,
    out.ClientState: ClientConnection._client_state,
    out.SmAck: lambda _connection, _output: None,  # without a session there is nothing to count
    out.SmRequest: lambda _connection, _output: None,
}


def _keys(scram: str | None, hash_name: str) -> sasl.ScramKeys | None:
    return passwords.load_keys(scram).get(hash_name) if scram else None


def _is_password(scram: str | None, password: str) -> bool:
    """Compare a password from PLAIN; takes as long for people who do not exist."""
    keys = _keys(scram, passwords.HASHES[0])
    if keys is None:
        sasl.derive_keys("nobody", b"nobody's own salt", passwords.ITERATIONS.default)
        return False
    return sasl.check_password(keys, password)
