"""Operations on sessions, and announcements."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from sqlalchemy import Connection

from ubiety import jid
from ubiety.admin.context import Node, SessionInfo
from ubiety.admin.naming import AnyDomain, OfPerson, name_of
from ubiety.admin.operation import Arguments, Line, Operation, Result
from ubiety.admin.problems import INVALID, NOT_FOUND, Problem
from ubiety.admin.rbac import Caller
from ubiety.directory.domains import prepare_domain
from ubiety.store import users

PAGE = 1000


class SessionView(Result):
    """A session of a person."""

    address: str
    node: str = Field(description="The node that serves it.")
    since: float
    remote: str
    transport: str
    state: str
    presence: str
    priority: int
    queued: int


class SessionViews(Result):
    """Sessions of all nodes."""

    sessions: list[SessionView]
    total: int = Field(description="How many there are, of which `limit` are shown.")
    missing: list[str] = Field([], description="Nodes that did not answer.")


class ListSessions(AnyDomain):
    """Which sessions to list."""

    userid: Line | None = Field(None, description="Only those of this person.")
    limit: Annotated[int, Field(ge=1, le=100_000)] = 1000


class KickSession(OfPerson):
    """Whose sessions to end."""

    resource: Line | None = Field(None, description="Only this one; without it all of them.")
    reason: Line = "An administrator ended this session."


class Kicked(Result):
    """How many sessions were ended."""

    address: str
    sessions_ended: int


class Announcement(Arguments):
    """A message of the server to many people."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]
    subject: Line = ""
    audience: Literal["all", "domain", "department", "online"] = "all"
    name: Line = Field("", description="The domain or the department.")

    def scope(self, served: Any) -> str | None:
        """The domain for an announcement to a domain, else the whole installation."""
        return prepare_domain(self.name) if self.audience == "domain" else None


class Announced(Result):
    """To how many people it was sent; those who are not online get it when they log in."""

    recipients: int


async def list_sessions(node: Node, caller: Caller, arguments: ListSessions) -> SessionViews:
    """Lists the sessions of this node."""
    found = list(node.sessions.list())
    if arguments.userid is not None:
        address = name_of(arguments.userid, arguments.domain, node.domains).address
        found = [one for one in found if _bare(one) == address]
    domain = arguments.scope(node.domains)
    if domain is not None:
        found = [one for one in found if jid.parse(one.address).domain == domain]
    found.sort(key=lambda one: one.address)
    shown = [_view(node, one) for one in found[: arguments.limit]]
    return SessionViews(sessions=shown, total=len(found), missing=[])


def merge(arguments: ListSessions, parts: Sequence[SessionViews], missing: Sequence[str]) -> SessionViews:
    """The sessions of all nodes as one list."""
    found = sorted((one for part in parts for one in part.sessions), key=lambda one: one.address)
    total = sum(part.total for part in parts)
    return SessionViews(sessions=found[: arguments.limit], total=total, missing=list(missing))


async def kick(node: Node, caller: Caller, arguments: KickSession) -> Kicked:
    """Ends a person's sessions. Their clients may log in again; see `user.disable`."""
    address = name_of(arguments.userid, arguments.domain, node.domains).address
    if arguments.resource is not None:
        address = jid.parse(address).with_resource(arguments.resource).text
    ended = await node.sessions.end(address, arguments.reason)
    if not ended:
        raise Problem(NOT_FOUND, f"{address} has no session.", "See: ubiety session list")
    return Kicked(address=address, sessions_ended=ended)


async def announce(node: Node, caller: Caller, arguments: Announcement) -> Announced:
    """Sends a message of the server to everybody, a domain, a department, or whoever is online."""
    if arguments.audience == "online":
        recipients = await node.sessions.online()
    else:
        recipients = await node.database.read(addresses_of, arguments.audience, _place(arguments))
    if not recipients:
        raise Problem(NOT_FOUND, "Nobody is in that audience; nothing was sent.", "See: ubiety user list")
    return Announced(recipients=await node.announce(recipients, arguments.subject, arguments.text))


def addresses_of(conn: Connection, audience: str, name: str) -> list[str]:
    """The addresses of all enabled people of an audience."""
    found: list[str] = []
    after = 0
    while rows := users.list_page(
        conn,
        after=after,
        limit=PAGE,
        domain=name if audience == "domain" else "",
        department=name if audience == "department" else "",
    ):
        found += [row.jid for row in rows if row.enabled]
        after = rows[-1].id
    return found


def _place(arguments: Announcement) -> str:
    if arguments.audience == "domain":
        return prepare_domain(arguments.name)
    if arguments.audience == "department" and not arguments.name:
        raise Problem(INVALID, "An announcement to a department needs its name.")
    return arguments.name


def _bare(session: SessionInfo) -> str:
    return session.address.partition("/")[0]


def _view(node: Node, session: SessionInfo) -> SessionView:
    return SessionView(node=node.config.node, **asdict(session))


OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation(
        "session.list",
        "Lists the sessions.",
        ListSessions,
        SessionViews,
        "sessions.read",
        False,
        list_sessions,
        place="all",
        merge=merge,
    ),
    Operation("session.kick", "Ends a person's sessions.", KickSession, Kicked, "sessions.end", True, kick),
    Operation(
        "announcement.send",
        "Sends a message of the server to many people.",
        Announcement,
        Announced,
        "messages.announce",
        True,
        announce,
    ),
)
