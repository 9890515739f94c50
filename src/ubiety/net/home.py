"""A client's session and its home, as the connection sees them: in this process, or at another node.

``net/c2s.py`` talks to a ``ClientSession`` for each stanza and to a ``ClientHome`` for what comes seldom.
"""

from collections.abc import Coroutine
from typing import Any, Protocol

from ubiety.conditions import StanzaError
from ubiety.jid import Jid
from ubiety.net.pause import Pause
from ubiety.routing.sessions import Edge, Session
from ubiety.stanza import Stanza
from ubiety.telemetry import Counters
from ubiety.users.actor import User
from ubiety.users.service import Users
from ubiety.xmpp.c2s import C2sStream
from ubiety.xmpp.outputs import Output
from ubiety.xmpp.smacks import SmacksError


class ClientSession(Protocol):
    """What a connection needs of the session of its client."""

    @property
    def jid(self) -> Jid:
        """The full address."""

    @property
    def smacks(self) -> object | None:
        """Something if the client uses stream management."""

    def receive(self, stanza: Stanza) -> None:
        """Handle a stanza from the client."""

    def answered(self, data: bytes) -> None:
        """Count a stanza that the stream answered by itself, and send the answer."""

    def acknowledge(self, h: int) -> None:
        """Take the client's ``<a h=…/>``. Raises SmacksError when it counts more than was sent."""

    def acknowledgement_requested(self) -> None:
        """Answer ``<r/>``."""


class Client(Edge, Protocol):
    """A connection, as the home of its client needs it."""

    address: str
    core: C2sStream

    @property
    def is_open(self) -> bool:
        """Whether anything can still be said to the client."""

    def begin(self, session: ClientSession) -> None:
        """Serve this session from now on."""

    def perform(self, outputs: list[Output]) -> None:
        """Do what the core asks for."""

    def run(self, work: Coroutine[Any, Any, list[Output]]) -> None:
        """Perform what a coroutine returns; it is cancelled when the connection goes."""

    def pause_reading(self, reason: Pause = Pause.ORDER) -> None:
        """Take no more from the client while this or another reason lasts."""

    def resume_reading(self, reason: Pause = Pause.ORDER) -> None:
        """Read on if nothing else forbids it."""

    def move(self, home: "ClientHome") -> None:
        """The session, which is not bound yet, lives here from now on."""

    def dismiss(self, condition: str, text: str) -> None:
        """Let go of the session at once, and end the stream when it is its turn."""


class ClientHome(Protocol):
    """Where the session of one client lives."""

    def bind(self, client: Client, resource: str) -> None:
        """Open a session; the client is told."""

    def resume(self, client: Client, previd: str, h: int) -> None:
        """Go on with an earlier session, or tell the client that this cannot be."""

    def enable(self, client: Client, smid: str, seconds: int) -> None:
        """Write ``<enabled/>`` and count from there (XEP-0198 §3)."""

    def set_inactive(self, is_inactive: bool) -> None:
        """Follow ``<inactive/>`` and ``<active/>`` (XEP-0352)."""

    def note_slow(self, is_slow: bool) -> None:
        """The client reads slowly, or has caught up."""

    def end(self) -> None:
        """The client has closed its stream properly."""

    def lose(self, client: Client) -> None:
        """The connection is gone."""


class LocalHome:
    """The session is in this process."""

    __slots__ = ("_counters", "_session", "_user", "_users")

    def __init__(self, users: Users, user: User, counters: Counters) -> None:
        self._users = users
        self._user = user
        self._counters = counters
        self._session: Session | None = None

    def bind(self, client: Client, resource: str) -> None:
        """Open a session."""
        try:
            session = self._users.bind(self._user, resource, client)
        except StanzaError as error:
            client.perform(client.core.bind_failed(error.condition, error.text))
            return
        self._begin(client, session)
        client.perform(client.core.bound(session.jid))

    def _begin(self, client: Client, session: Session) -> None:
        session.remote_address = client.address
        self._session = session
        client.begin(session)

    def resume(self, client: Client, previd: str, h: int) -> None:
        """Look for the session, and let what it sent settle first."""
        client.run(self._resume(client, previd, h))

    async def _resume(self, client: Client, previd: str, h: int) -> list[Output]:
        users = self._users
        session = await users.resumable(self._user, previd)
        if session is None or session.smacks is None:
            settled = await users.settled_before(self._user, previd)
            return client.core.resume_failed("item-not-found", settled)
        if not client.is_open:
            return []
        try:
            again = users.resume(session, client, h)
        except SmacksError as error:
            return client.core.close(error.condition, error.text, error.detail)
        self._begin(client, session)
        client.perform(client.core.resumed(session.jid, previd, session.smacks.h, again))
        session.resumed()
        return []

    def enable(self, client: Client, smid: str, seconds: int) -> None:
        """``<enabled/>`` goes out before anything is counted: both sides count from there."""
        if self._session is not None:
            client.perform(client.core.enabled(smid, seconds, seconds > 0))
            self._users.enable(self._session, smid, seconds)

    def set_inactive(self, is_inactive: bool) -> None:
        """Hold presence back, or send what was held."""
        session = self._session
        if session is not None:
            self._counters.inactive_sessions += is_inactive - session.inactive
            session.set_inactive(is_inactive)

    def note_slow(self, is_slow: bool) -> None:
        """The session asks the connection itself; only room is news."""
        if self._session is not None and not is_slow:
            self._session.room_again()

    def end(self) -> None:
        """End the session for good."""
        session, self._session = self._session, None
        if session is not None:
            self._users.end(session, clean=True)

    def lose(self, client: Client) -> None:
        """Keep the session if it can be resumed."""
        session, self._session = self._session, None
        if session is not None and session.edge is client:
            self._users.disconnect(session)
