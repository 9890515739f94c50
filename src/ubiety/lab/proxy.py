"""Where a front end sends a request: to a person here, to itself, back along the static route, or nowhere.

MS-SIPRE describes the routing; the seeds describe its one rule that matters here: a request for somebody
unknown in a domain of ours goes along the one static route of that domain, wherever it came from.
"""

import asyncio
from collections.abc import Callable

from ubiety.lab.connection import PORTS, Connection, hop_of
from ubiety.lab.exchanges import NoAnswerError
from ubiety.lab.front_end import FrontEnd, Origin
from ubiety.lab.people import Person
from ubiety.lab.presence import PresenceServer
from ubiety.lab.real_client import RealClient
from ubiety.lab.registrar import Registrar
from ubiety.lab.site import Site, new_token
from ubiety.sip.message import Request, Response, make_response
from ubiety.sip.uri import NameAddr, SipUri

ALLOW = "INVITE, MESSAGE, INFO, SUBSCRIBE, OPTIONS, BYE, CANCEL, NOTIFY, ACK, REFER, BENOTIFY"
FORMS_DIALOG = frozenset({"INVITE", "SUBSCRIBE"})

Provisional = Callable[[Response], None]


class Proxy:
    """The routing of one front end."""

    def __init__(
        self, site: Site, front_end: FrontEnd, presence: PresenceServer, registrar: Registrar
    ) -> None:
        self.site = site
        self.front_end = front_end
        self.presence = presence
        self.registrar = registrar
        registrar.watch(front_end)
        front_end.route = self.route
        front_end.acknowledge = self.acknowledge

    async def route(self, request: Request, origin: Origin, provisional: Provisional) -> Response:
        """Answers a request, by others or ourselves. Raises NoAnswerError."""
        if origin is not None:
            if request.method == "REGISTER":
                return self.registrar.register(request, origin, self.front_end)
            refusal = self.registrar.screen(request, origin, self.front_end)
            if refusal is not None:
                return refusal
            client = self.registrar.clients.get(origin)
            if client is not None:
                answer = self._serve_client(request, client)
                if answer is not None:
                    return answer
                request = without_credentials(request)
        request = self.without_our_routes(request)
        uri = SipUri.parse(request.uri)
        if request.max_forwards == 0 and not self._is_us(uri):
            return refuse(request, 483)
        if self._has_been_here(request):
            return refuse(request, 482)
        if "Route" in request.headers:
            return await self._forward(request, self._next_route(request), provisional)
        if self._is_us(uri):
            return await self._serve(request)
        person = self.site.person(uri.aor)
        if person is not None:
            return await self._to_person(request, person, uri, provisional)
        if request.to.tag and not self.site.is_ours(uri.host):
            return await self._forward(request, uri, provisional)
        return await self._return(request, uri, provisional)

    def _serve_client(self, request: Request, client: RealClient) -> Response | None:
        """Answers what a signed-in client asks of its own server; None if it asks somebody else."""
        target = SipUri.parse(request.uri)
        is_own = target.aor == client.person.uri or self._is_us(target)
        if request.method == "SERVICE":
            return self.registrar.home.serve(request, client)
        if request.method == "SUBSCRIBE" and is_own:
            return self.registrar.home.subscribe(request, client)
        return None

    def acknowledge(self, request: Request) -> None:
        """Sends an ACK of a 2xx on its way, or gives it to the endpoint."""
        request = self.without_our_routes(request)
        uri = SipUri.parse(request.uri)
        person = None if "Route" in request.headers else self.site.person(uri.aor)
        if person is not None:
            endpoint = person.endpoint_for(request, uri.param("opaque") or "")
            if endpoint is not None:
                endpoint.acknowledged(request)
            return
        target = self._next_route(request) if "Route" in request.headers else uri
        if isinstance(target, SipUri) and not self._is_us(target):
            self.front_end.spawn(self._pass_ack(request, target))

    async def _pass_ack(self, request: Request, target: SipUri) -> None:
        try:
            connection = await self.front_end.connection_to(self.site.named(hop_of(target)))
        except NoAnswerError:
            return
        connection.send(self.front_end.with_via(one_hop_less(request)))

    def without_our_routes(self, request: Request) -> Request:
        """The request without the Route values on top that name us (RFC 3261 §16.4)."""
        routes = list(request.headers.values("Route"))
        count = len(routes)
        while routes and self._is_us(NameAddr.parse(routes[0]).uri):
            routes.pop(0)
        if len(routes) == count:
            return request
        headers = request.headers.without("Route")
        for route in reversed(routes):
            headers = headers.first("Route", route)
        return request.replace(headers=headers)

    def _next_route(self, request: Request) -> SipUri:
        return SipUri.parse(str(NameAddr.parse(request.headers.values("Route")[0]).uri))

    def _is_us(self, uri: object) -> bool:
        if not isinstance(uri, SipUri) or uri.user:
            return False
        front_end, plan = self.front_end, self.front_end.plan
        if f"{uri.host.lower()}:{uri.port}" == front_end.address.lower():
            return True
        names = {plan.name.lower(), plan.host.lower(), self.site.plan.pool_name.lower()}
        ports: set[int | None] = set(front_end.ports.values())
        if ports & set(PORTS.values()):
            ports.add(None)
        return uri.port in ports and (uri.host.lower() in names or uri.host == self.site.plan.address)

    def _has_been_here(self, request: Request) -> bool:
        """Whether the request came around to us with the same target (RFC 3261 §16.3)."""
        ours = self.front_end.address.lower()
        vias = [value.lower() for value in request.headers.values("Via")]
        return any(f" {ours};" in value for value in vias)

    async def _serve(self, request: Request) -> Response:
        """Answers what is meant for the server itself."""
        if request.method == "OPTIONS":
            return make_response(request, 200, to_tag=new_token(), headers=(("Allow", ALLOW),))
        if request.method == "SUBSCRIBE" and request.to.tag:
            return self.presence.refresh(request)
        return refuse(request, 481 if request.to.tag else 404)

    async def _to_person(
        self, request: Request, person: Person, uri: SipUri, provisional: Provisional
    ) -> Response:
        if request.method == "SUBSCRIBE":
            if request.to.tag:
                return self.presence.refresh(request)
            return self.presence.subscribe(request, person, self.front_end)
        if request.method == "OPTIONS":
            return make_response(request, 200, to_tag=new_token(), headers=(("Allow", ALLOW),))
        endpoint = person.endpoint_for(request, uri.param("opaque") or "")
        if endpoint is None:
            return refuse(request, 481 if request.to.tag else 480)
        if request.method == "INVITE" and not request.to.tag:
            request = self.recorded(request)
        return await endpoint.answer(request, provisional)

    async def _return(self, request: Request, uri: SipUri, provisional: Provisional) -> Response:
        """Sends a request for somebody unknown along the static route of the domain."""
        hop = self.site.static_route(uri.host) if self.site.is_ours(uri.host) else None
        if hop is None:
            return refuse(request, 404)
        self.site.returned.append(uri.aor)
        connection = await self.front_end.connection_to(hop)
        return await self._send(request, connection, provisional)

    async def _forward(self, request: Request, target: SipUri, provisional: Provisional) -> Response:
        if request.to.tag is None and request.method == "REGISTER":
            return refuse(request, 404)
        connection = await self.front_end.connection_to(self.site.named(hop_of(target)))
        return await self._send(request, connection, provisional)

    async def _send(self, request: Request, connection: Connection, provisional: Provisional) -> Response:
        if request.method in FORMS_DIALOG and not request.to.tag:
            request = self.recorded(request)
        try:
            return await self.front_end.send(one_hop_less(request), connection, provisional)
        except asyncio.CancelledError:
            raise
        except NoAnswerError as error:
            return refuse(request, error.status)

    def recorded(self, request: Request) -> Request:
        """The request with our Record-Route: what follows in its dialog comes through us."""
        value = f"<{self.front_end.contact};opaque=state:F:Ci.R{self.front_end.plan.name};lr>"
        return request.replace(headers=request.headers.first("Record-Route", value))


def refuse(request: Request, status: int, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """A final answer that is no success, with a tag where there was none."""
    return make_response(request, status, to_tag=new_token(), headers=headers)


def without_credentials(request: Request) -> Request:
    """The request without what a client proved itself to us with; nobody else is to see it."""
    return request.replace(headers=request.headers.without("Authorization").without("Proxy-Authorization"))


def one_hop_less(request: Request) -> Request:
    """The request with Max-Forwards counted down (RFC 3261 §16.6)."""
    left = 70 if request.max_forwards is None else request.max_forwards
    return request.replace(headers=request.headers.with_("Max-Forwards", str(max(0, left - 1))))
