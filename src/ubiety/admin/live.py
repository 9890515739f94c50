"""The live side of a node as operations see it: sessions, policies and announcements."""

import asyncio
import secrets
from collections.abc import Sequence

from ubiety.admin.context import SessionInfo
from ubiety.element import escape_text
from ubiety.jid import Jid, parse
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import Delivered, Pending, Settled, Verdict
from ubiety.stanza import Stanza
from ubiety.store import users as rows
from ubiety.users import policy_changes
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.preferences import DEFAULT_BLOCK
from ubiety.users.service import Users
from ubiety.xmpp import ns

ANNOUNCE_AT_ONCE = 200
"""People of an announcement whose copies are on their way at the same time."""


class LiveSessions:
    """Lists and ends sessions."""

    def __init__(self, context: Context, users: Users) -> None:
        self._context = context
        self._users = users

    def list(self) -> Sequence[SessionInfo]:
        """Return all sessions, by address."""
        found = [
            _describe(session) for user in self._context.actors.values() for session in user.sessions.values()
        ]
        return sorted(found, key=lambda info: info.address)

    async def end(self, address: str, reason: str) -> int:
        """End the session of a full address, or all of a bare one; return how many."""
        jid = parse(address)
        person = self._context.homes.find(jid.bare)
        user = self._context.actors.get(person.address_id) if person is not None else None
        if user is None:
            return 0
        chosen = [s for s in list(user.sessions.values()) if jid.resource in ("", s.jid.resource)]
        for session in chosen:
            edge = session.edge
            self._users.end(session)
            if edge is not None:
                edge.close("policy-violation", reason)
        return len(chosen)

    async def end_user(self, user: User, condition: str, reason: str) -> None:
        """End all sessions of a person: disabled, deleted, renamed."""
        for session in list(user.sessions.values()):
            edge = session.edge
            self._users.end(session)
            if edge is not None:
                edge.close(condition, reason)


class LivePolicies:
    """Changes policies; signed-in people see the effects at once."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def default(self) -> str:
        """Return what holds for people who have not chosen: allow or block."""
        return self._context.settings.get(DEFAULT_BLOCK)

    async def set_default(self, user: rows.User, action: str | None) -> None:
        """Set what holds for those on neither list; None: what the setting says."""
        await policy_changes.set_default(self._context, self._person(user), action)

    async def put(self, user: rows.User, action: str, target: Jid) -> None:
        """Allow or block a person or a domain. Raises StanzaError."""
        await policy_changes.put(self._context, self._person(user), action, [target])

    async def remove(self, user: rows.User, target: Jid) -> None:
        """Take a person or a domain off both lists."""
        await policy_changes.remove(self._context, self._person(user), [target])

    def _person(self, user: rows.User) -> Person:
        known = self._context.homes.at(user.address_id)
        return known or Person(user.id, user.address_id, parse(user.jid), user.enabled, user.set_id)


def _describe(session: Session) -> SessionInfo:
    edge = session.edge
    state = "suspended" if edge is None else "inactive" if session.inactive else "online"
    return SessionInfo(
        address=session.jid.text,
        since=session.connected_at,
        remote=session.remote_address if edge is not None else "",
        transport=edge.secured_by if edge is not None else "",
        state=state,
        presence=_shown(session),
        priority=session.priority,
        queued=len(session.tokens()),
    )


def _shown(session: Session) -> str:
    if not session.available:
        return "unavailable"
    for show in ("away", "chat", "dnd", "xa"):
        if f"<show>{show}</show>".encode() in session.presence_tail:
            return show
    return "available"


async def announce(context: Context, recipients: Sequence[str], subject: str, text: str) -> int:
    """Send a message of the server to people; who is signed out gets it later. Return to how many."""
    sender = Jid("", context.domain, "")
    head = f"<subject>{escape_text(subject)}</subject>" if subject else ""
    payload = f"{head}<body>{escape_text(text)}</body>".encode()
    children: tuple[tuple[str, str], ...] = ((ns.CLIENT, "body"),)
    if subject:
        children = ((ns.CLIENT, "subject"), *children)
    sent = 0
    for start in range(0, len(recipients), ANNOUNCE_AT_ONCE):
        verdicts = [
            context.router.route(
                Stanza("message", parse(to), sender, secrets.token_hex(8), "normal", None, children, payload)
            )
            for to in recipients[start : start + ANNOUNCE_AT_ONCE]
        ]
        settled = [await _settled(verdict) for verdict in verdicts]
        sent += sum(isinstance(verdict, Delivered) for verdict in settled)
        await asyncio.sleep(0)  # the loop carries messages of others too
    return sent


async def _settled(verdict: Verdict) -> Settled:
    if not isinstance(verdict, Pending):
        return verdict
    future: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
    verdict.then(future.set_result)
    return await future
