"""What all front ends of a pool share: people, routes, whom they trust, and how names are looked up."""

import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from ubiety.lab.connection import Connection, Hop, Traced
from ubiety.lab.people import Person
from ubiety.lab.plan import Plan, bare


def new_token() -> str:
    """A random word for tags, branches and Call-IDs."""
    return secrets.token_hex(8)


@dataclass(slots=True)
class Site:
    """The shared state of one pool."""

    plan: Plan
    people: dict[str, Person] = field(default_factory=dict)
    on_trace: Callable[[Traced], None] = lambda _traced: None
    returned: list[str] = field(default_factory=list)
    """Addresses of unknown people whose requests were sent to the other side, in order."""
    server_tls: ssl.SSLContext | None = None
    client_tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self.people.update({user.uri: Person.of(user) for user in self.plan.users})
        tls = self.plan.tls
        if tls.certificate:
            self.server_tls = make_context(ssl.PROTOCOL_TLS_SERVER, tls.certificate, tls.key, tls.trusted)
            self.client_tls = make_context(ssl.PROTOCOL_TLS_CLIENT, tls.certificate, tls.key, tls.trusted)

    def person(self, address: str) -> Person | None:
        """The person of an address, None if unknown here."""
        return self.people.get(address.lower())

    def find(self, word: str) -> Person:
        """The person an administrator means by an address or by its part before the @. Raises LookupError."""
        wanted = bare(word)
        if wanted in self.people:
            return self.people[wanted]
        found = [person for uri, person in self.people.items() if uri.partition("@")[0] == wanted]
        if len(found) != 1:
            raise LookupError(f"{word} is {'no user' if not found else 'several users'} of this pool.")
        return found[0]

    def is_ours(self, domain: str) -> bool:
        """Whether the pool manages a domain."""
        return domain.lower() in self.plan.domains

    def static_route(self, domain: str) -> Hop | None:
        """Where requests for unknown people of a domain go."""
        route = self.plan.routes.get(domain.lower())
        return Hop(route.transport, route.host, route.port, route.name) if route else None

    def named(self, hop: Hop) -> Hop:
        """The hop with the certificate name that a route to the same place has."""
        if hop.name:
            return hop
        names = [r.name for r in self.plan.routes.values() if (r.host, r.port) == (hop.host, hop.port)]
        return Hop(hop.transport, hop.host, hop.port, next(iter(names), ""))

    def resolve(self, hop: Hop) -> tuple[str, int]:
        """The address to connect to: the plan's own table first, the system's resolver after that."""
        entry = self.plan.hosts.get(hop.host.lower())
        if entry is None:
            return hop.host, hop.port
        host, _, port = entry.rpartition(":")
        return (host, int(port)) if host and port.isdecimal() else (entry, hop.port)

    def is_trusted(self, connection: Connection) -> bool:
        """Whether requests over a connection need no authentication: by address or certificate."""
        trusted = self.plan.trusted
        addresses = {self.plan.hosts.get(name, name).partition(":")[0] for name in trusted}
        return connection.host in addresses or any(name in trusted for name in connection.names)


def make_context(
    protocol: ssl._SSLMethod,
    certificate: str,
    key: str,
    trusted: str,
) -> ssl.SSLContext:
    """TLS as a front end does it: servers show each other certificates, clients need none."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key or None)
    if trusted:
        context.load_verify_locations(trusted)
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.verify_mode = ssl.CERT_OPTIONAL if trusted else ssl.CERT_NONE
    elif not trusted:
        context.load_default_certs()
    return context
