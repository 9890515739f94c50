"""Operations on static routes: where SIP requests are sent, and why one goes where it goes (facts §5.1)."""

import random
import re
from collections.abc import Collection
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import Connection

from ubiety.admin.context import Node
from ubiety.admin.operation import Arguments, Line, Nothing, Operation, Result
from ubiety.admin.problems import CONFLICT, INVALID, NOT_FOUND, Problem
from ubiety.admin.rbac import Caller
from ubiety.gateway import patterns
from ubiety.gateway.patterns import PatternError
from ubiety.gateway.routing import Question, decide
from ubiety.gateway.static import DEFAULT_PORT, MAX_SAME, TLS_PORT, StaticRoute, check
from ubiety.jid import Jid, JidError, parse
from ubiety.store import static_routes
from ubiety.store.errors import Conflict
from ubiety.store.static_routes import Route

_HOST = re.compile(r"[a-z][\w-]*(\.[\w-]+)*\.[a-z][\w-]*")
"""What nobody means as a pattern of users."""

Number = Annotated[int, Field(ge=1, le=65_535)]
Port = Annotated[int, Field(ge=0, le=65_535, description="0: the next hop is a name with SRV records.")]
Kind = Literal["domain", "user"]
Transport = Literal["tcp", "tls", "udp"]


class RouteView(Result):
    """A static route."""

    id: int
    pattern: str
    kind: Kind
    description: str
    next_hop: str
    port: int
    transport: Transport
    priority: int
    weight: int
    allow_less_specific: bool
    in_service: bool
    is_blocked: bool
    trouble: str = Field(description="Why the next hop is not used now; empty: it is not known to fail.")


class RouteViews(Result):
    """All static routes."""

    routes: list[RouteView]


class AddRoute(Arguments):
    """A static route."""

    pattern: Line = Field(description="A domain backwards (.com.example), or a pattern of users (91*).")
    next_hop: Line = Field(description="IP address or name of the server.")
    port: Port | None = Field(None, description="Without it 5060, for TLS 5061; 0 asks for SRV records.")
    transport: Transport = "tcp"
    kind: Kind | None = Field(None, description="Type of the route; without it what the pattern looks like.")
    priority: Number = 1
    weight: Number = 10
    description: Line = ""
    allow_less_specific: bool = True
    in_service: bool = True
    is_blocked: bool = False


class NamedRoute(Arguments):
    """Names a static route."""

    id: int = Field(ge=1, description="Number of the route.")


class SetRoute(NamedRoute):
    """What to change of a static route."""

    pattern: Line | None = None
    next_hop: Line | None = None
    port: Port | None = None
    transport: Transport | None = None
    kind: Kind | None = None
    priority: Number | None = None
    weight: Number | None = None
    description: Line | None = None
    allow_less_specific: bool | None = None
    in_service: bool | None = None
    is_blocked: bool | None = None


class Explain(Arguments):
    """A request from somebody to somebody."""

    sender: Line = Field(description="An address, with or without sip: before it.")
    recipient: Line = Field(description="An address, with or without sip: before it.")
    is_returned: bool = Field(False, description="The other side has sent it back: it went out from here.")


class Explanation(Result):
    """Who gets a request, and why."""

    action: str = Field(description="local, microsoft, remote or refused.")
    routes: list[RouteView] = Field(description="In the order in which they are tried.")
    status: int = Field(description="Of a refusal: the SIP answer.")
    condition: str = Field(description="Of a refusal: the stanza error.")
    reason: str
    home: str = Field(description="The node that serves the recipient, if it is one of our people.")
    steps: list[str]


async def list_routes(node: Node, caller: Caller, arguments: Nothing) -> RouteViews:
    """Lists the static routes."""
    rows = await node.database.read(static_routes.list_all)
    return RouteViews(routes=[_view(node, _route(row)) for row in rows])


async def add(node: Node, caller: Caller, arguments: AddRoute) -> RouteView:
    """Adds a static route; it is used at once."""
    fields = arguments.model_dump()
    fields["kind"] = arguments.kind or _kind(arguments.pattern, node.domains)
    if arguments.port is None:
        fields["port"] = TLS_PORT if arguments.transport == "tls" else DEFAULT_PORT
    route = _checked(StaticRoute(id=0, **fields))
    made = await _write(node, route, _add)
    return _view(node, replace(route, id=made))


async def change(node: Node, caller: Caller, arguments: SetRoute) -> RouteView:
    """Changes a static route."""
    row = await node.database.read(static_routes.find, arguments.id)
    if row is None:
        raise _missing(arguments.id)
    given = arguments.model_dump(exclude_none=True, exclude={"id"})
    route = _checked(replace(_route(row), **given))
    await _write(node, route, _put)
    return _view(node, route)


async def delete(node: Node, caller: Caller, arguments: NamedRoute) -> RouteView:
    """Deletes a static route."""
    row = await node.database.read(static_routes.find, arguments.id)
    if row is None or not await node.database.write(static_routes.delete, arguments.id):
        raise _missing(arguments.id)
    view = _view(node, _route(row))
    await node.federation.refresh(node.database)
    return view


async def explain(node: Node, caller: Caller, arguments: Explain) -> Explanation:
    """Says who gets a request, step by step. It comes from outside when its sender is not ours."""
    sender, recipient = _address(arguments.sender), _address(arguments.recipient)
    person = node.homes.find(recipient.bare)
    is_sender_ours = node.homes.find(sender.bare) is not None
    is_inbound = arguments.is_returned or not is_sender_ours
    question = Question(
        sender=sender.bare,
        user=recipient.local,
        domain=recipient.domain,
        is_ours=person is not None and (person.enabled or not is_inbound),
        is_inbound=is_inbound,
        is_sender_ours=is_sender_ours,
        is_returned=arguments.is_returned,
    )
    rules = node.federation.rules(node.settings, node.domains)
    decision = decide(question, rules, random.random, node.federation.hops.is_dead)
    home = node.homes.node_of(person) if person is not None else None
    steps = list(decision.steps)
    if person is not None and not person.enabled:
        steps.append(f"The account is disabled. To change that: ubiety user enable {recipient.bare}")
    return Explanation(
        action=decision.action.value,
        routes=[_view(node, route) for route in decision.routes],
        status=decision.status,
        condition=decision.condition,
        reason=decision.reason,
        home=node.topology.value.name_of(home) if home is not None else "",
        steps=steps,
    )


def _kind(pattern: str, domains: Collection[str]) -> patterns.Kind:
    """The kind that a pattern looks like. Raises Problem for a domain that is not written as one."""
    kind = patterns.guess_kind(pattern)
    text = pattern.strip().lower()
    if kind == patterns.USER and _HOST.fullmatch(text):
        forwards = ".".join(reversed(text.split(".")))
        meant = f".{text}" if forwards in domains else patterns.reverse(text)
        raise Problem(
            INVALID,
            f"{text!r} looks like a domain, and would be a pattern of users.",
            f"A domain is written backwards with a dot before it: {meant}. For users: --type user",
        )
    return kind


def _address(text: str) -> Jid:
    scheme, colon, rest = text.partition(":")
    given = rest if colon and scheme.lower() in ("sip", "sips", "im", "pres", "xmpp") else text
    try:
        return parse(given.partition(";")[0])
    except JidError as error:
        cure = "For instance anna@example.org."
        raise Problem(INVALID, f"{text!r} is no address: {error}.", cure) from error


def _checked(route: StaticRoute) -> StaticRoute:
    try:
        return check(route)
    except PatternError as error:
        raise Problem(INVALID, str(error), error.cure) from error


async def _write(node: Node, route: StaticRoute, write: Any) -> int:
    try:
        made: int = await node.database.write(write, route)
    except Conflict as error:
        raise Problem(
            CONFLICT,
            f"There is a route for {route.pattern} to {route.words} already.",
            "See: ubiety route list. Change it: ubiety route set NUMBER ...",
        ) from error
    await node.federation.refresh(node.database)
    return made


def _add(conn: Connection, route: StaticRoute) -> int:
    if static_routes.count_same(conn, route.kind, route.pattern) >= MAX_SAME:
        raise Problem(
            CONFLICT,
            f"There are {MAX_SAME} routes for {route.pattern} already.",
            "Delete some of them: ubiety route delete NUMBER",
        )
    return static_routes.add(conn, _row(route))


def _put(conn: Connection, route: StaticRoute) -> int:
    if not static_routes.put(conn, _row(route)):
        raise _missing(route.id)
    return route.id


def _missing(number: int) -> Problem:
    return Problem(NOT_FOUND, f"There is no route {number}.", "See: ubiety route list")


def _row(route: StaticRoute) -> Route:
    return Route(**{name: getattr(route, name) for name in Route._fields})


def _route(row: Route) -> StaticRoute:
    return StaticRoute(**row._asdict())


def _view(node: Node, route: StaticRoute) -> RouteView:
    health = node.federation.hops.dead().get(route.hop)
    return RouteView(**_row(route)._asdict(), trouble=health.reason if health is not None else "")


READ, WRITE = "federation.read", "federation.write"
OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation("route.list", "Lists the static routes.", Nothing, RouteViews, READ, False, list_routes),
    Operation("route.add", "Adds a static route.", AddRoute, RouteView, WRITE, True, add),
    Operation("route.set", "Changes a static route.", SetRoute, RouteView, WRITE, True, change),
    Operation("route.delete", "Deletes a static route.", NamedRoute, RouteView, WRITE, True, delete),
    Operation(
        "route.explain",
        "Says who gets a request, and why, step by step.",
        Explain,
        Explanation,
        READ,
        False,
        explain,
    ),
)
