"""Static routes (pure): where requests for a domain or for users are sent, and in which order (facts §5.1).

The most specific pattern comes first; what is less specific is tried after it where all its routes allow
that. Of one pattern, routes are tried by priority, those of equal priority share by weight. What is out of
service is passed over; a blocked route ends the search behind the routes of its priority. A next hop that
does not answer is tried last.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from ubiety.gateway import patterns
from ubiety.gateway.patterns import DOMAIN, KINDS, MAX_LENGTH, Kind, Pattern, PatternError, Rank
from ubiety.sip.outputs import Hop

Transport = Literal["udp", "tcp", "tls"]
TRANSPORTS: tuple[Transport, ...] = ("udp", "tcp", "tls")
DEFAULT_PORT, TLS_PORT = 5060, 5061
BY_SRV = 0
"""A port that says: the next hop is a name for which the DNS has SRV records."""
MAX_SAME = 100
MAX_NUMBER = 65_535

_HOST = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_SERVICE = re.compile(r"^(_[a-z0-9-]+\.)+")

Draw = Callable[[], float]
"""A number from 0 to below 1, another at every call."""


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """One route; fields in the order of the table's columns. `check` says whether one can be used."""

    id: int
    pattern: str
    kind: Kind
    description: str
    next_hop: str
    port: int
    transport: Transport
    priority: int = 1
    weight: int = 10
    allow_less_specific: bool = True
    in_service: bool = True
    is_blocked: bool = False

    @property
    def hop(self) -> Hop:
        """The next hop. A TLS peer must prove its name; one given by its address, any trusted one."""
        is_name = self.transport == "tls" and not _is_address(self.next_hop)
        name = _SERVICE.sub("", self.next_hop) if is_name else ""
        return Hop(self.transport, self.next_hop, self.port, name)

    @property
    def words(self) -> str:
        """The next hop for what people read."""
        host = f"[{self.next_hop}]" if ":" in self.next_hop else self.next_hop
        port = "by SRV" if self.port == BY_SRV else f"port {self.port}"
        return f"{host} {port} over {self.transport.upper()}"


def check(route: StaticRoute) -> StaticRoute:
    """The route in the form in which it is stored. Raises PatternError with cause and cure."""
    if route.kind not in KINDS:
        raise PatternError(f"{route.kind!r} is no type of route.", "Give domain or user.")
    if route.transport not in TRANSPORTS:
        raise PatternError(f"{route.transport!r} is no protocol for SIP.", "Give tcp, tls or udp.")
    for name, low in (("port", 0), ("priority", 1), ("weight", 1)):
        number: int = getattr(route, name)
        if not low <= number <= MAX_NUMBER:
            raise PatternError(f"The {name} {number} is not from {low} to {MAX_NUMBER}.")
    if len(route.description) > MAX_LENGTH:
        raise PatternError(f"The description is longer than {MAX_LENGTH} characters.")
    hop = check_hop(route.next_hop, route.port)
    return replace(route, pattern=patterns.read(route.kind, route.pattern).text, next_hop=hop)


def check_hop(text: str, port: int) -> str:
    """The address of a next hop in the form in which it is stored. Raises PatternError."""
    given = text.strip().lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(given.removeprefix("[").removesuffix("]"))
    except ValueError:
        if _HOST.fullmatch(given) and not _is_address(given):
            return given
        raise PatternError(
            f"The next hop {text!r} is neither an IP address nor the name of a host.",
            "For instance 192.0.2.10, lync1.example.com, or with port 0 a name that has SRV records.",
        ) from None
    if port == BY_SRV:
        raise PatternError(
            f"The port 0 asks the DNS for SRV records, which the IP address {given} cannot have.",
            "Give the port (5061 for TLS), or a name as the next hop.",
        )
    return address.compressed


def _is_address(host: str) -> bool:
    return ":" in host or not host.strip("0123456789.")


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave: the routes in the order in which they are to be tried, and how it came to that."""

    routes: tuple[StaticRoute, ...]
    is_blocked: bool
    """A blocked route ended the search."""
    steps: tuple[str, ...]


class RouteTable:
    """All static routes, ready to be searched. Routes that cannot be used are left out: see `refused`."""

    def __init__(self, routes: Iterable[StaticRoute] = ()) -> None:
        self.routes = tuple(routes)
        self.refused: list[tuple[StaticRoute, str]] = []
        self._known: list[tuple[Pattern, StaticRoute]] = []
        for route in self.routes:
            try:
                checked = check(route)
                self._known.append((patterns.read(checked.kind, checked.pattern), checked))
            except PatternError as error:
                self.refused.append((route, str(error)))

    def levels(self, user: str, domain: str) -> list[list[StaticRoute]]:
        """Routes that match, the most specific first, those of equal rank together by priority."""
        matches: list[tuple[Rank, StaticRoute]] = []
        for pattern, route in self._known:
            rank = pattern.rank(user, domain, route.allow_less_specific)
            if rank is not None:
                matches.append((rank, route))
        matches.sort(key=lambda match: (tuple(-part for part in match[0]), match[1].priority, match[1].id))
        return [[route for _, route in level] for _, level in groupby(matches, lambda match: match[0])]

    def find(
        self, user: str, domain: str, draw: Draw, is_dead: Callable[[Hop], bool] = lambda hop: False
    ) -> Found:
        """Search the routes for a user at a domain (prepared, in lower case)."""
        search = _Search(draw)
        for level in self.levels(user, domain):
            if not search.take(level):
                break
        alive = [route for route in search.routes if not is_dead(route.hop)]
        dead = [route for route in search.routes if is_dead(route.hop)]
        for route in dead:
            search.steps.append(f"{route.words} does not answer: it is tried last.")
        return Found((*alive, *dead), search.is_blocked, tuple(search.steps))


class _Search:
    """One search, level by level."""

    def __init__(self, draw: Draw) -> None:
        self.routes: list[StaticRoute] = []
        self.steps: list[str] = []
        self.is_blocked = False
        self._draw = draw

    def take(self, level: Sequence[StaticRoute]) -> bool:
        """Take over the routes of one level; False: nothing less specific is tried."""
        serving = [route for route in level if route.in_service]
        for route in level:
            self.steps.append(_describe(route))
        for _, group in groupby(serving, lambda route: route.priority):
            routes = list(group)
            self.routes += weighted([route for route in routes if not route.is_blocked], self._draw)
            blocked = next((route for route in routes if route.is_blocked), None)
            if blocked is not None:
                self.steps.append(f"Route {blocked.id} is blocked: nothing behind it is tried.")
                self.is_blocked = True
                return False
        strict = next((route for route in serving if not route.allow_less_specific), None)
        if strict is not None:
            self.steps.append(f"Route {strict.id} allows no less specific ones: the search ends with it.")
        return strict is None


def _describe(route: StaticRoute) -> str:
    what = "the domain pattern" if route.kind == DOMAIN else "the user pattern"
    text = f"Route {route.id} matches by {what} {route.pattern}: {route.words}"
    if not route.in_service:
        return f"{text}, not in service: passed over."
    return f"{text}, priority {route.priority}, weight {route.weight}."


def weighted(routes: Sequence[StaticRoute], draw: Draw) -> list[StaticRoute]:
    """Routes of equal priority in a random order in which each is first as often as its weight says."""
    left, order = list(routes), []
    while len(left) > 1:
        mark = draw() * sum(route.weight for route in left)
        for route in left:
            mark -= route.weight
            if mark < 0:
                break
        order.append(route)
        left.remove(route)
    return order + left


def candidates(
    routes: Iterable[StaticRoute],
    user: str,
    domain: str,
    draw: Draw,
    is_dead: Callable[[Hop], bool] = lambda hop: False,
) -> list[StaticRoute]:
    """The routes to be tried one after the other, best first; empty where none is left or all is blocked."""
    return list(RouteTable(routes).find(user, domain, draw, is_dead).routes)
