"""The users file of a simulated pool: who is there, who is trusted, where unknown people are looked for.

TOML or JSON, one shape:

    domains = ["example.org"]
    trusted = ["127.0.0.1", "im.example.org"]       # hosts that are not asked to authenticate

    [[front_ends]]
    name = "fe1.example.org"
    tls_port = 5061                                  # or tcp_port; 0 takes any free one

    [routes."example.org"]                           # one, and only one, for each domain
    host = "im.example.org"
    port = 5061
    transport = "tls"

    [[users]]
    uri = "bob@example.org"
    name = "Bob Builder"
    password = "secret"
    contacts = ["ann@example.org"]
    allowed = ["ann@example.org"]
    prompts = "ask"                                  # ask, accept or deny
    signed_in = "available"
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ubiety.lab.availability import AvailabilityError, parse_availability

REFRESH = 6300.0
"""A Microsoft server refreshes a subscription about every hour and three quarters."""
PROMPTS = ("ask", "accept", "deny")
TRANSPORTS = ("tls", "tcp")
DEFAULT_ACCEPT = "application/pidf+xml"


class PlanError(ValueError):
    """A users file that cannot be used. The text names the place and the cure."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where requests for unknown people of a domain go: back to the other server."""

    host: str
    port: int = 5061
    transport: str = "tls"
    name: str = ""
    """The name that the certificate there must bear; empty for the host itself."""


@dataclass(frozen=True, slots=True)
class FrontEndPlan:
    """One server of the pool and where it listens; a port of None is not opened, 0 takes any free one."""

    name: str
    tcp_port: int | None = None
    tls_port: int | None = None
    host: str = ""
    """The name or address that others reach it by; `name` when empty."""


@dataclass(frozen=True, slots=True)
class UserPlan:
    """One person of the Microsoft side."""

    uri: str
    name: str = ""
    password: str = ""
    contacts: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    prompts: str = "ask"
    """What happens when a stranger wants to see this person: ask, accept or deny."""
    signed_in: str = ""
    """The availability to start with as a simulated client; empty: not signed in."""
    answers: bool = False
    """Whether the simulated client answers IMs by itself."""
    refresh: float = 0.0
    """Seconds between refreshes of this person's subscriptions; 0 for the pool's."""


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """Certificate files; without them TLS ports cannot be opened."""

    certificate: str = ""
    key: str = ""
    trusted: str = ""
    """Authorities that certify the other side; a peer without a certificate of theirs is refused."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole pool."""

    domains: tuple[str, ...]
    front_ends: tuple[FrontEndPlan, ...]
    users: tuple[UserPlan, ...] = ()
    routes: Mapping[str, Route] = field(default_factory=dict)
    trusted: tuple[str, ...] = ()
    pool: str = ""
    """The name of the pool; the first front end's when empty."""
    address: str = "127.0.0.1"
    """The address that all front ends listen on."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Names that are not asked of the DNS: name to "address" or "address:port"."""
    tls: TlsPlan = TlsPlan()
    refresh: float = REFRESH
    grant: float = 28800.0
    """The longest subscription that the pool grants, in seconds."""
    retry: float = 60.0
    """Seconds until a subscription that could not be made is tried again."""
    accept: str = DEFAULT_ACCEPT
    """The Accept header of outgoing subscriptions."""
    first_message_in_invite: bool = False
    """Whether clients put the first message into the INVITE, as those of 2005 do."""
    time_out: float = 32.0
    """Seconds after which a request without an answer has failed."""

    @property
    def pool_name(self) -> str:
        """The name by which the whole pool is known."""
        return self.pool or self.front_ends[0].name


def load_plan(path: Path) -> Plan:
    """Reads a users file, TOML or JSON by its suffix. Raises PlanError."""
    try:
        text = path.read_text("utf-8")
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise PlanError(f"{path} is not well formed: {error}.") from error
    try:
        return make_plan(table)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error


def make_plan(table: Mapping[str, Any]) -> Plan:
    """Makes a plan of the tables of a users file. Raises PlanError."""
    rows = dict(table)
    users = tuple(_user(row) for row in rows.pop("users", ()))
    front_ends = tuple(_build(FrontEndPlan, row, "front_ends") for row in rows.pop("front_ends", ()))
    routes = {domain.lower(): _route(row) for domain, row in rows.pop("routes", {}).items()}
    tls = _build(TlsPlan, rows.pop("tls", {}), "tls")
    rows["domains"] = tuple(str(domain).lower() for domain in rows.get("domains", ()))
    rows["trusted"] = tuple(str(host).lower() for host in rows.get("trusted", ()))
    built = {"users": users, "front_ends": front_ends, "routes": routes, "tls": tls}
    plan: Plan = _build(Plan, {**rows, **built}, "the file")
    _check(plan)
    return plan


def _build(kind: Any, row: Mapping[str, Any], place: str) -> Any:
    known = {one.name for one in fields(kind)}
    for name in row:
        if name not in known:
            raise PlanError(f"{place} has an unknown key {name!r}. Known: {', '.join(sorted(known))}.")
    try:
        return kind(**row)
    except TypeError as error:
        raise PlanError(f"{place}: {str(error).partition(') ')[2] or error}.") from error


def _route(row: Mapping[str, Any]) -> Route:
    route: Route = _build(Route, row, "routes")
    if route.transport not in TRANSPORTS:
        raise PlanError(f"routes: transport {route.transport!r} is not one of {', '.join(TRANSPORTS)}.")
    return route


def _user(row: Mapping[str, Any]) -> UserPlan:
    lists = {
        name: tuple(bare(one) for one in row.get(name, ())) for name in ("contacts", "allowed", "blocked")
    }
    user: UserPlan = _build(UserPlan, {**row, **lists, "uri": bare(str(row.get("uri", "")))}, "users")
    if "@" not in user.uri:
        raise PlanError(f"users: {user.uri!r} is no address. Write name@domain.")
    if user.prompts not in PROMPTS:
        raise PlanError(f"users: prompts = {user.prompts!r} is not one of {', '.join(PROMPTS)}.")
    if user.signed_in:
        try:
            parse_availability(user.signed_in)
        except AvailabilityError as error:
            raise PlanError(f"users: {user.uri}: {error}") from error
    return user


def _check(plan: Plan) -> None:
    if not plan.domains:
        raise PlanError('names no domains. Write domains = ["example.org"].')
    if not plan.front_ends:
        raise PlanError("has no [[front_ends]].")
    for front_end in plan.front_ends:
        if front_end.tcp_port is None and front_end.tls_port is None:
            raise PlanError(f"front end {front_end.name} has neither tcp_port nor tls_port.")
        if front_end.tls_port is not None and not plan.tls.certificate:
            raise PlanError(f"front end {front_end.name} has a tls_port, but [tls] names no certificate.")
    for user in plan.users:
        if user.uri.partition("@")[2] not in plan.domains:
            raise PlanError(f"{user.uri} is in none of the domains {', '.join(plan.domains)}.")


def bare(address: str) -> str:
    """An address without scheme and parameters, in small letters: how people are told apart here."""
    text = address.strip().strip("<>")
    text = text.removeprefix("sips:").removeprefix("sip:")
    return text.partition(";")[0].partition("?")[0].lower()
