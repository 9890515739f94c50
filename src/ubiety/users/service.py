"""The people of this node: loads actors, opens and ends their sessions, and is the route to them."""

import asyncio
import contextlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence

from ubiety.conditions import StanzaError
from ubiety.jid import Jid, JidError, parse
from ubiety.routing.homes import Person
from ubiety.routing.remote_home import RemoteOrigin
from ubiety.routing.sessions import Edge, Session
from ubiety.routing.verdict import DELIVERED, UNSERVED, Pending, Verdict, refuse
from ubiety.stanza import Stanza
from ubiety.store import addresses, streams, users
from ubiety.store import messages as message_rows
from ubiety.store.errors import Fenced, StoreError
from ubiety.telemetry import event
from ubiety.users import availability, farewell, messages, outside_presence, outsiders, subscribing, temporary
from ubiety.users.actor import RECENT_ORIGINS, User
from ubiety.users.context import Context
from ubiety.users.elsewhere import Elsewhere, Origin
from ubiety.users.iq import Asked, Queries
from ubiety.users.offline import Delivery, Inbox, refuse_astray
from ubiety.users.policy import Policy
from ubiety.users.preferences import DEFAULT_BLOCK, MAX_SESSIONS
from ubiety.users.subscriptions import FROM, TO
from ubiety.xmpp.smacks import Smacks

MAX_QUEUED = 1000
"""Stanzas that may wait for one actor to be loaded."""
MAX_QUEUED_IN_ALL = 50_000
"""Stanzas that may wait for actors: many come at once when a crowd is back after a restart."""
IDLE_ACTORS = 10_000
"""People without a session who stay loaded."""
IDLE_SECONDS = 60.0
"""An actor that was idle for less is never unloaded: the ledger may still owe it a word."""
DAY = 86_400.0
SETTLE_LOOKS, SETTLE_SECONDS = 20, 0.05
"""How often a resuming client's stanzas are looked at until they are settled, and the pause between."""

_SUBSCRIPTION_TYPES = frozenset({"subscribe", "subscribed", "unsubscribe", "unsubscribed"})


class Users:
    """Everybody whose home is this node."""

    def __init__(self, context: Context, queries: Queries) -> None:
        self._context = context
        self._queries = queries
        self.elsewhere: Elsewhere | None = None
        """The people whom other nodes serve; None where there is but one node."""
        self._follow = self.follow  # one object for all inboxes
        self._loading: dict[int, list[Callable[[User | None], None]]] = {}
        self._queued = 0
        self._detached: dict[str, tuple[Session, float]] = {}
        self._idle: OrderedDict[int, float] = OrderedDict()
        self._logins: dict[int, float] = {}  # user id -> when a session began, not yet written
        self._seen: dict[int, tuple[float, bytes]] = {}  # user id -> when and how they left, not yet written

    # -- the route -----------------------------------------------------------------------------

    def claims(self, address: Jid) -> bool:
        """People of our domains, but for those of them who are outside."""
        homes, outside = self._context.homes, self._context.outside
        if not address.local or address.domain not in homes.domains:
            return False
        return outside is None or homes.find(address.bare) is not None or not outside.claims(address)

    def route(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Deliver to a person, loading them first if need be."""
        assert stanza.to is not None
        person = self._context.homes.find(stanza.to.bare)
        if person is None or not person.enabled:
            if stanza.kind == "presence":
                return DELIVERED
            return refuse("service-unavailable")  # RFC 6121 §8.5.1
        elsewhere = self.elsewhere
        if elsewhere is not None and elsewhere.claims(person):
            return elsewhere.send(person, stanza, origin)
        return self.take(person, stanza, origin)

    def take(self, person: Person, stanza: Stanza, origin: Origin | None) -> Verdict:
        """Deliver to a person who is served here, loading them first if need be."""
        user = self._context.actors.get(person.address_id)
        if user is not None:
            return self._deliver(user, stanza, origin)
        if stanza.kind == "presence" and stanza.type in (None, "unavailable"):
            return DELIVERED  # nobody is there to see it
        return self._deliver_later(person, stanza, origin)

    def take_promised(self, stanza: Stanza) -> Verdict:
        """Deliver a message of somebody outside who is told that it arrived: settled when it is committed."""
        assert stanza.to is not None
        person = self._context.homes.find(stanza.to.bare)
        if person is None or not person.enabled:
            return refuse("service-unavailable")
        elsewhere = self.elsewhere
        if elsewhere is not None and elsewhere.claims(person):
            return elsewhere.nodes.send(person, stanza, 0, promised=True)
        return self.take(person, stanza, RemoteOrigin(0, promised=True))

    async def rows_added(self, epochs: Sequence[int] | None) -> None:
        """Take over which messages other nodes have written (``store.changes.MESSAGES``)."""
        if self.elsewhere is not None:
            await self.elsewhere.rows_added(epochs)

    def _deliver(self, user: User, stanza: Stanza, origin: Origin | None) -> Verdict:
        if stanza.kind == "message":
            return messages.deliver(self._context, user, stanza, origin)
        if stanza.kind == "presence":
            if stanza.type in _SUBSCRIPTION_TYPES:
                return outsiders.receive(self._context, user, stanza)
            return availability.deliver(self._context, user, stanza)
        return self._deliver_query(user, stanza, origin if isinstance(origin, Session) else None)

    def _deliver_query(self, user: User, stanza: Stanza, origin: Session | None) -> Verdict:
        assert stanza.to is not None and stanza.from_ is not None
        is_own = stanza.from_.bare == user.jid.bare
        if user.policy is not None and not is_own and not user.policy.allows(stanza.from_):
            return refuse("service-unavailable")  # XEP-0191 §3.2
        if not stanza.to.resource:
            return self._queries.handle(Asked.OTHER, user, stanza, origin)
        session = user.sessions.get(stanza.to.resource)
        if session is None or session.ended:
            return refuse("service-unavailable")  # RFC 6121 §8.5.3.2.3
        session.send(stanza.to_bytes())
        return DELIVERED

    def _deliver_later(self, person: Person, stanza: Stanza, origin: Origin | None) -> Verdict:
        pending = Pending()
        seq = origin.inbound if origin is not None else 0

        def deliver(user: User | None) -> None:
            if user is None:
                verdict = self._without_actor(person, stanza, origin)
            elif origin is not None:
                origin.inbound, current = seq, origin.inbound
                verdict = self._deliver(user, stanza, origin)
                origin.inbound = current
            else:
                verdict = self._deliver(user, stanza, origin)
            if isinstance(verdict, Pending):
                verdict.then(pending.settle)
            else:
                pending.settle(verdict)

        if not self.when_loaded(person, deliver):
            return refuse("resource-constraint", "The server is busy. Try again later.")
        return pending

    def _without_actor(self, person: Person, stanza: Stanza, origin: Origin | None) -> Verdict:
        """A person could not be loaded: the database is away, or another node serves them by now."""
        elsewhere = self.elsewhere
        if elsewhere is None or self._context.homes.is_here(person):
            return refuse("resource-constraint", "The database does not answer. Try again later.")
        if isinstance(origin, RemoteOrigin):
            return UNSERVED
        return elsewhere.send(person, stanza, origin)

    def follow(self, delivery: Delivery) -> None:
        """Have a message that this node may not write go after its recipient, or have it refused."""
        if self.elsewhere is not None and self.elsewhere.follow(delivery):
            return
        refuse_astray(delivery)

    def when_loaded(self, person: Person, fn: Callable[[User | None], None]) -> bool:
        """Call ``fn`` with a person's actor, behind what waits for it already; None: it cannot be loaded.

        False when too much waits.
        """
        user = self._context.actors.get(person.address_id)
        if user is not None:
            fn(user)
            return True
        waiting = self._loading.get(person.address_id, [])
        if len(waiting) >= MAX_QUEUED or self._queued >= MAX_QUEUED_IN_ALL:
            return False
        self._queued += 1
        waiting.append(fn)
        if len(waiting) == 1:
            self._loading[person.address_id] = waiting
            self._context.spawn(self._load_for(person))
        return True

    def is_loading(self, person: Person) -> bool:
        """Tell whether stanzas wait for a person to be loaded."""
        return person.address_id in self._loading

    async def _load_for(self, person: Person) -> None:
        """Load an actor for stanzas that wait."""
        try:
            await self.load(person)
        except (StoreError, LookupError) as error:
            event("person_not_loaded", level="error", user_id=person.user_id, reason=str(error))
        finally:
            self._deliver_waiting(person, self._context.actors.get(person.address_id))

    def _deliver_waiting(self, person: Person, user: User | None) -> None:
        """Deliver what waited for an actor, in the order in which it came; None: it cannot be loaded."""
        for deliver in self._loading.pop(person.address_id, ()):
            self._queued -= 1
            deliver(user)

    # -- what clients send ---------------------------------------------------------------------

    def handle(self, stanza: Stanza, session: Session) -> Verdict:
        """Handle a stanza from one of our clients (RFC 6120 §10.3)."""
        user = self._context.actors[session.address_id]
        kind = stanza.kind
        if kind == "message":
            return messages.send(self._context, user, stanza, session)
        if kind == "presence":
            if stanza.to is None:
                return self._send_presence(user, stanza, session)
            if stanza.type in _SUBSCRIPTION_TYPES:
                return subscribing.send(self._context, user, stanza, session)
            return availability.send_directed(self._context, user, stanza, session)
        return self._send_query(user, stanza, session)

    def _send_presence(self, user: User, stanza: Stanza, session: Session) -> Verdict:
        if stanza.type not in (None, "unavailable"):
            return refuse("bad-request", "This kind of presence needs an address.")
        was_available = session.available
        verdict = availability.send(self._context, user, stanza, session)
        if user.has_requests and session.available and not was_available:
            self._context.spawn(subscribing.deliver_requests(self._context, user, session))
        return verdict

    def _send_query(self, user: User, stanza: Stanza, session: Session) -> Verdict:
        self._context.counters.queries += 1
        if stanza.type in ("result", "error") and session.ping_answered(stanza.id):
            return DELIVERED
        to = stanza.to
        if to is None or to.text == user.jid.text:
            return self._queries.handle(Asked.OWN, user, stanza, session)
        is_own_server = not to.local and to.domain in self._context.homes.domains
        if user.policy is not None and user.policy.blocks(to) and not is_own_server:
            return refuse("not-acceptable")
        return self._context.router.route(stanza, session)

    def is_in_line(self, stanza: Stanza) -> bool:
        """Tell whether a stanza is written to contact lists: such may follow each other at once."""
        if stanza.kind == "presence":
            return stanza.type in _SUBSCRIPTION_TYPES and stanza.to is not None
        return stanza.kind == "iq" and self._queries.is_in_line(stanza)

    def drained(self, session: Session) -> None:
        """A session has room again: go on with what waits."""
        user = self._context.actors.get(session.address_id)
        if user is not None:
            user.inbox.rejoin(session)

    def overrun(self, session: Session) -> None:
        """A client acknowledges nothing, or stays away while too much waits for it."""
        event("session_overrun", level="warning", session=session.jid.text)
        edge = session.edge
        self.end(session)
        if edge is not None:
            edge.close("resource-constraint", "Too much is waiting for this client's acknowledgement.")

    # -- actors --------------------------------------------------------------------------------

    async def load(self, person: Person, login: users.Login | None = None) -> User:
        """Return a person's actor, made of ``login`` if that row was read already.

        Raises StoreError, Fenced if another node serves them, or LookupError if they were deleted meanwhile.
        """
        user = self._context.actors.get(person.address_id)
        if user is not None:
            if person.address_id in self._idle:
                self._note_idle(user)
            return user
        if login is None:
            login = await self._context.database.read(users.load_login, person.address_id)
        if login is None:
            raise LookupError(f"user {person.user_id} is gone")
        origins: list[tuple[str, str]] = []
        if login.has_streams:
            origins = await self._recent_origins(person)
        outside = await self._outside(login) if self._context.outside is not None else {}
        if not self._context.homes.is_here(person):
            raise Fenced(f"user {person.user_id} is served by another node")
        user = self._context.actors.get(person.address_id)  # somebody else was faster
        return user if user is not None else self.adopt(person, login, origins, outside)

    async def _outside(self, login: users.Login) -> dict[int, Jid]:
        """Return the contacts of a person who have no home in this cluster, by the ids of their addresses."""
        strangers = self._context.homes.strangers(login.contacts)
        found = await self._context.database.read(addresses.texts, strangers) if strangers else {}
        return {address_id: parse(jid) for address_id, jid in found.items()}

    async def _recent_origins(self, person: Person) -> list[tuple[str, str]]:
        since = self._context.clock.now() - DAY
        found = await self._context.database.read(
            message_rows.recent_origin_ids, person.address_id, since, RECENT_ORIGINS
        )
        homes = self._context.homes
        peers = ((homes.user(user_id), origin) for user_id, origin in found if user_id is not None)
        return [(peer.jid.bare, origin) for peer, origin in peers if peer is not None]

    def adopt(
        self, person: Person, login: users.Login, origins: list[tuple[str, str]], outside: dict[int, Jid]
    ) -> User:
        """Make the actor of a person from what the database holds."""
        context = self._context
        pairs = list(zip(login.contacts, login.flags, strict=True))
        watched = array("q", [contact for contact, flags in pairs if flags & TO])
        watchers = array("q", [contact for contact, flags in pairs if flags & FROM])
        user = User(person, watched, watchers, self.policy_of(login))
        user.roster_version = login.roster_version
        user.has_requests = login.has_pending_in
        user.archive_prefs = login.archive_prefs
        user.left_at, user.left_with = login.last_seen or 0.0, farewell.tail_of(login.last_status)
        for recipient, origin in reversed(origins):  # the oldest first: it is forgotten first
            user.note_origin(recipient, origin, DELIVERED)
        user.inbox = Inbox(
            person.user_id,
            user.sessions,
            context.ledger,
            context.database,
            context.spawn,
            person.jid.domain,
            login.has_backlog,
            self._follow,
        )
        if outside:
            outside_presence.join(context, user, dict(pairs), outside)
        context.actors[person.address_id] = user
        self._note_idle(user)
        context.counters.roster_subscriptions += len(watched)
        context.counters.roster_watchers += len(watchers)
        self._deliver_waiting(person, user)  # before anything newer finds the actor
        return user

    def _note_idle(self, user: User) -> None:
        self._idle[user.person.address_id] = self._context.clock.monotonic()
        self._idle.move_to_end(user.person.address_id)

    def policy_of(self, login: users.Login) -> Policy | None:
        """Return the loaded policy, None where nobody is treated specially."""
        default = login.default_action or self._context.settings.get(DEFAULT_BLOCK)
        if default == "allow" and not login.rules:
            return None
        names: dict[str, list[str]] = {"allow": [], "block": []}
        for rule in login.rules:
            names[rule.action].append(rule.jid or rule.domain or "")
        return Policy(default == "allow", names["allow"], names["block"])

    def unload_idle(self) -> None:
        """Let go of actors that nobody needs, the longest idle first."""
        if self._context.ledger.trouble is not None:
            return  # whoever is loaded anew would not know of rows that are still to be written
        now = self._context.clock.monotonic()
        while len(self._idle) > IDLE_ACTORS:
            address_id, since = next(iter(self._idle.items()))
            if now - since < IDLE_SECONDS:
                return
            del self._idle[address_id]
            user = self._context.actors.get(address_id)
            if user is not None and not user.sessions and not user.inbox.inflight:
                self.forget(user)

    def forget(self, user: User) -> None:
        """Unload an actor."""
        if self._context.actors.pop(user.person.address_id, None) is not None:
            for address_id in list(user.temporary or ()):
                temporary.end(self._context, user, address_id)
            outside_presence.forgotten(self._context, user)
            self._context.counters.roster_subscriptions -= len(user.watched)
            self._context.counters.roster_watchers -= len(user.watchers)

    # -- sessions ------------------------------------------------------------------------------

    def bind(self, user: User, resource: str, edge: Edge) -> Session:
        """Open a session. An older one of the same resource gives way (RFC 6120 §7.7.2.2).

        Raises StanzaError: jid-malformed, resource-constraint, also for somebody who was unloaded meanwhile.
        """
        if self._context.actors.get(user.person.address_id) is not user:
            raise StanzaError("resource-constraint", "This account was just changed. Sign in again.")
        if user.person.set_id in self._context.homes.leaving:
            raise StanzaError("resource-constraint", "This account moves to another node. Sign in again.")
        try:
            jid = user.jid.with_resource(resource)
        except JidError as error:
            raise StanzaError("bad-request", error.reason) from None
        old = user.sessions.get(jid.resource)
        if old is not None:
            edge_of_old = old.edge
            self.end(old)
            if edge_of_old is not None:
                edge_of_old.close("conflict", "Another client signed in under the same resource.")
        elif len(user.sessions) >= self._context.settings.get(MAX_SESSIONS):
            raise StanzaError("resource-constraint", "This person is signed in with too many devices.")
        now = self._context.clock.now()
        session = Session(jid, user.person.address_id, self, edge, self._context.defer, now)
        counters = self._context.counters
        counters.sessions += 1
        counters.client_sessions += 1
        counters.online_users += not user.sessions
        user.sessions[jid.resource] = session
        self._logins[user.person.user_id] = now
        self._idle.pop(user.person.address_id, None)
        return session

    def enable(self, session: Session, smid: str, seconds: int) -> None:
        """Turn on stream management for a session (XEP-0198 §3)."""
        user = self._context.actors[session.address_id]
        session.enable(Smacks(smid, seconds, seconds > 0), user.person.user_id)

    def disconnect(self, session: Session) -> None:
        """The connection is gone without a word: keep the session if it can be resumed, else end it."""
        if session.ended:
            return
        smacks = session.smacks
        if smacks is None or not smacks.resumable:
            self.end(session)
            return
        session.detach()
        user = self._context.actors[session.address_id]
        self._context.ledger.save_stream(smacks.smid, user.person.user_id, smacks.h)
        self._detached[smacks.smid] = (session, self._context.clock.monotonic() + smacks.max_seconds)
        self._context.counters.suspended_sessions += 1

    def end(self, session: Session, *, clean: bool = False) -> None:
        """End a session for good; ``clean`` when the client closed its stream properly."""
        user = self._context.actors.get(session.address_id)
        if session.ended or user is None:
            return
        smacks = session.smacks
        if smacks is not None:
            self._forget_detached(smacks.smid)
            if clean:
                self._context.ledger.drop_stream(smacks.smid)
            else:
                self._context.ledger.save_stream(smacks.smid, user.person.user_id, smacks.h)
        if clean or smacks is None:  # else the client sends it again
            self._route_waiting(session)
        availability.leave(self._context, user, session)
        session.end()
        if user.sessions.get(session.jid.resource) is session:
            del user.sessions[session.jid.resource]
        if session.carbons:
            user.carbon_sessions -= 1
        counters = self._context.counters
        counters.client_sessions -= 1
        counters.inactive_sessions -= session.inactive
        if not user.sessions:
            counters.online_users -= 1
            self._context.sources.signed_out(user.person.user_id)
            self._note_idle(user)
            user.left_at = self._context.clock.now()
            self._seen[user.person.user_id] = user.left_at, user.left_with
            self.unload_idle()
        user.inbox.leave(session)

    def abandon(self, user: User) -> list[Edge]:
        """Unload a person whom another node serves: no word to the database or to others.

        Call ``inbox.abandon`` before. Returns the connections, which are to be closed.
        """
        counters = self._context.counters
        if self._context.neighbours is not None:
            self._context.neighbours.abandoned(user)
        sessions = list(user.sessions.values())
        edges = [session.edge for session in sessions if session.edge is not None]
        for session in sessions:
            if session.smacks is not None:
                self._forget_detached(session.smacks.smid)
            session.available = False
            session.end()
            counters.client_sessions -= 1
            counters.inactive_sessions -= session.inactive
        counters.online_users -= bool(sessions)
        user.sessions.clear()
        user.carbon_sessions = 0
        temporary.end_all(self._context, user)
        self._idle.pop(user.person.address_id, None)
        self._logins.pop(user.person.user_id, None)
        self._seen.pop(user.person.user_id, None)
        self.forget(user)
        return edges

    def is_waiting(self, is_one: Callable[[int], bool]) -> bool:
        """Tell whether something waits for people, by the id of their address, to be loaded."""
        return any(map(is_one, self._loading))

    def refuse_waiting(self, is_gone: Callable[[int], bool]) -> None:
        """Refuse what waits for people, by the id of their address, who will not be loaded here."""
        for address_id in [address_id for address_id in self._loading if is_gone(address_id)]:
            for deliver in self._loading.pop(address_id):
                self._queued -= 1
                deliver(None)

    def _route_waiting(self, session: Session) -> None:
        """Take the messages that a client sent just before it left, behind a query still being answered."""
        for stanza in session.take_waiting():
            if stanza.kind == "message":
                self.handle(stanza, session)

    async def note_seen(self) -> None:
        """Write down who came and who was here until when (XEP-0012), all of the last second at once."""
        logins, self._logins = self._logins, {}
        seen, self._seen = self._seen, {}
        if not logins and not seen:
            return
        try:
            left = {user_id: (at, farewell.words(tail)) for user_id, (at, tail) in seen.items()}
            await self._context.database.write(users.note_presence, logins, left)
        except StoreError as error:
            event("last_seen_not_written", level="warning", reason=str(error))
            self._logins = {**logins, **self._logins}
            self._seen = {**seen, **self._seen}

    def _forget_detached(self, smid: str) -> None:
        if self._detached.pop(smid, None) is not None:
            self._context.counters.suspended_sessions -= 1

    def expire(self) -> None:
        """End what has had its time: sessions to be resumed, temporary subscriptions. Once a second."""
        if self._seen or self._logins:
            self._context.spawn(self.note_seen())
        if self._context.looked_at:
            availability.expire_temporary(self._context)
        now = self._context.clock.monotonic()
        for session, deadline in list(self._detached.values()):
            if deadline <= now:
                self.end(session)

    async def resumable(self, user: User, smid: str) -> Session | None:
        """Return the session that a client may resume, its own only, once everything it sent is settled."""
        for session in user.sessions.values():
            if session.smacks is not None and session.smacks.smid == smid and session.smacks.resumable:
                if session.edge is not None:  # we have not noticed that the connection is dead
                    old = session.edge
                    self.disconnect(session)
                    old.close("conflict", "The session was resumed on another connection.")
                await self._settle(session.smacks)
                return None if session.ended or session.edge is not None else session
        return None

    async def _settle(self, smacks: Smacks) -> None:
        """Wait a moment for what a client sent: what is unsettled when it resumes comes again."""
        with contextlib.suppress(StoreError):
            await self._context.ledger.flush()
        for _ in range(SETTLE_LOOKS):
            if not smacks.unsettled:
                return
            await asyncio.sleep(SETTLE_SECONDS)

    def resume(self, session: Session, edge: Edge, h: int) -> list[bytes]:
        """Continue a session on a new connection; return what is to be sent again."""
        again = session.resume(edge, h)
        if session.smacks is not None:
            self._forget_detached(session.smacks.smid)
        self._context.counters.resumed_sessions += 1
        return again

    async def settled_before(self, user: User, smid: str) -> int | None:
        """Return how far an earlier stream of this person was settled, for ``<failed h='…'/>``."""
        found = await self._context.database.read(streams.find, smid)
        return found.h if found is not None and found.user_id == user.person.user_id else None
