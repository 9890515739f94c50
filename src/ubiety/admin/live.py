"""The live side of a node as operations see it: sessions, policies and announcements."""

import asyncio
import json
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from ubiety.admin.context import SessionInfo
from ubiety.admin.forwarding import unreachable
from ubiety.admin.problems import Problem
from ubiety.cluster import asking
from ubiety.cluster.topology import TopologyCopy
from ubiety.element import escape_text
from ubiety.jid import Jid, parse
from ubiety.routing.homes import Person
from ubiety.routing.links import Links, NodeUnreachable
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


END, COUNT, ONLINE, TOTAL = "sessions.end", "sessions.count", "sessions.online", "sessions.total"
"""What nodes ask each other."""


class LiveSessions:
    """Lists and ends sessions, those of people whom another node serves by asking it."""

    def __init__(self, context: Context, users: Users, topology: TopologyCopy) -> None:
        self._context = context
        self._users = users
        self._topology = topology

    def join(self, links: Links) -> None:
        """Answer what the other nodes ask from now on."""

        async def end(_node_id: int, value: Any) -> int:
            return await self._end_here(*value)

        async def count(_node_id: int, value: Any) -> int:
            return self._count_here(value)

        async def online(_node_id: int, _value: Any) -> bytes:
            return json.dumps(self._online_here()).encode()

        async def total(_node_id: int, _value: Any) -> int:
            return self._total_here()

        links.answer(TOTAL, total)
        links.answer(END, end)
        links.answer(COUNT, count)
        asking.answer(links, ONLINE, online)

    def list(self) -> Sequence[SessionInfo]:
        """Return all sessions, by address."""
        found = [
            _describe(session) for user in self._context.actors.values() for session in user.sessions.values()
        ]
        return sorted(found, key=lambda info: info.address)

    async def count(self, address: str) -> int:
        """Return how many sessions a person has; 0 when their node does not answer."""
        try:
            found: int = await self._ask_home(address, COUNT, address)
        except Problem:
            return 0
        return found

    async def totals(self) -> Mapping[int, int]:
        """Return how many sessions each node has; nodes that do not answer are left out."""
        found = {self._context.homes.node_id: self._total_here()}
        for node_id, answer in await self._ask_all(lambda links, node_id: links.ask(node_id, TOTAL, None)):
            found[node_id] = answer
        return found

    async def online(self) -> Sequence[str]:
        """Return the bare addresses of everybody who has a session on a node that answers."""
        found = set(self._online_here())
        for _, answer in await self._ask_all(lambda links, node_id: asking.ask(links, node_id, ONLINE, None)):
            found.update(json.loads(answer))
        return sorted(found)

    async def end(self, address: str, reason: str) -> int:
        """End the session of a full address, or all of a bare one; return how many.

        Raises Problem when the node that has them does not answer.
        """
        ended: int = await self._ask_home(address, END, (address, reason))
        return ended

    async def _ask_all(
        self, ask: Callable[[Links, int], Coroutine[Any, Any, Any]]
    ) -> Sequence[tuple[int, Any]]:
        """Return node and answer of all other nodes that answer."""
        links = self._context.links
        if links is None:
            return []
        others = self._topology.value.others(self._context.homes.node_id)
        asked = [other for other in others if links.is_up(other)]
        answers = await asyncio.gather(*(ask(links, other) for other in asked), return_exceptions=True)
        return [
            (node_id, answer)
            for node_id, answer in zip(asked, answers, strict=True)
            if not isinstance(answer, BaseException)
        ]

    async def _ask_home(self, address: str, question: str, value: Any) -> Any:
        """Have a person's home answer: this node, or another one. Raises Problem."""
        person = self._context.homes.find(parse(address).bare)
        links = self._context.links
        home = self._context.homes.node_of(person) if person is not None else None
        if home is None or home == self._context.homes.node_id or links is None:
            return await self._end_here(*value) if question == END else self._count_here(address)
        if not links.is_up(home):
            raise unreachable(self._topology.value.name_of(home))
        try:
            return await links.ask(home, question, value)
        except (NodeUnreachable, ValueError):
            raise unreachable(self._topology.value.name_of(home)) from None

    def _total_here(self) -> int:
        return sum(len(user.sessions) for user in self._context.actors.values())

    def _online_here(self) -> Sequence[str]:
        return [user.jid.bare for user in self._context.actors.values() if user.sessions]

    def _count_here(self, address: str) -> int:
        person = self._context.homes.find(parse(address).bare)
        user = self._context.actors.get(person.address_id) if person is not None else None
        return len(user.sessions) if user is not None else 0

    async def _end_here(self, address: str, reason: str) -> int:
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
