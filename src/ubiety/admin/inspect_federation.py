"""Checks of the federation over SIP: domains, routes, trust. Nothing is said where none of it is used."""

from collections.abc import Iterable, Iterator, Sequence

from ubiety.admin.context import Node
from ubiety.admin.finding import FAILED, PASSED, WARNING, Finding
from ubiety.cluster.services import SIP_FEDERATION, SIP_PROXY
from ubiety.gateway.federation import Federation, FederationCopy, Stranger
from ubiety.gateway.patterns import domain_of, reverse
from ubiety.gateway.peers import ALL
from ubiety.gateway.routing import explain_domain
from ubiety.gateway.settings import ADVANCED, MICROSOFT, ROUTING_MODE
from ubiety.gateway.static import StaticRoute
from ubiety.store import microsoft_addresses
from ubiety.store.errors import StoreError

SHOWN = 5
LISTENERS = ("sip", "sip_tls_peer", "sip_tls_server")


async def inspect_federation(node: Node) -> list[Finding]:
    """Whether both sides can reach each other, as far as can be seen from here."""
    federation, is_shared = node.federation, node.settings.get(MICROSOFT)
    value = federation.value
    if not is_shared and not value.remote_domains and not value.routes and not value.entries:
        return []
    found = [
        *inspect_services(node),
        *inspect_routes(value, node.domains, is_shared),
        *inspect_trust(value, node.ports),
        *inspect_claims(value, node.domains),
        *inspect_certificate(node, is_shared),
        *inspect_hops(federation),
        *inspect_strangers(federation.strangers(), node.domains),
    ]
    if is_shared:
        try:
            known = await node.database.read(microsoft_addresses.list_page)
        except StoreError:
            return found  # another check says so
        found += inspect_mode(node.settings.get(ROUTING_MODE), known, node.domains)
    return found


def inspect_services(node: Node) -> Iterator[Finding]:
    """Whether what carries requests runs on this node; a routing node needs only the proxy."""
    for name, what in (
        (SIP_PROXY, "nobody outside reaches us"),
        (SIP_FEDERATION, "nothing is sent or taken"),
    ):
        service = node.services.find(name)
        if service.decision.activated and not node.services.is_running(name):
            cure = f"Run: ubiety utils service start {service.declared.aliases[0]}"
            yield Finding("SIP services", FAILED, f"{name} does not run on this node: {what}.", cure)


def inspect_routes(value: Federation, domains: Sequence[str], is_shared: bool) -> Iterator[Finding]:
    """Whether a route leads to everybody who is not ours, and every route is for somebody."""
    check, missing = "routes", []
    for route, reason in value.table.refused:
        cure = f"Run: ubiety route set {route.id} ..., or ubiety route delete {route.id}"
        yield Finding(check, FAILED, f"Route {route.id} ({route.pattern}) is not used: {reason}", cure)
    wanted = [*(domains if is_shared else ()), *sorted(value.remote_domains)]
    for domain in wanted:
        found = value.table.find("", domain, lambda: 0.0)
        if found.routes:
            continue
        if found.is_blocked:
            yield Finding(check, WARNING, f"The route to {domain} is blocked.", "See: ubiety route list")
        elif found.steps:
            text = f"All routes to {domain} are out of service."
            yield Finding(check, WARNING, text, "See: ubiety route list")
        else:
            missing.append(domain)
    for domain in missing:
        yield Finding(
            check,
            FAILED,
            f"There is no route to {domain}: nobody there can be reached over SIP.",
            f"Run: ubiety route add {reverse(domain)} HOST --tls",
        )
    strays = list(_strays(value, domains))
    yield from strays
    if not missing and not strays and not value.table.refused and wanted:
        yield Finding(check, PASSED, f"Routes lead to {', '.join(wanted)}.")


def _strays(value: Federation, domains: Sequence[str]) -> Iterator[Finding]:
    """Routes for domains that nobody knows here (seed 000: the misconfigured domains)."""
    known = {*domains, *value.remote_domains}
    for route in value.routes:
        domain = domain_of(route.pattern) if route.kind == "domain" else ""
        if not domain or domain in known or _is_host(domain, value.routes) or _is_above(domain, known):
            continue
        forwards = ".".join(reversed(domain.split(".")))
        if forwards in known:
            cure = f"Domains are written backwards: ubiety route set {route.id} --pattern {reverse(forwards)}"
            text = f"Route {route.id} has the pattern {route.pattern}: {forwards} is meant, it seems."
            yield Finding("routes", WARNING, text, cure)
            continue
        why, cure = explain_domain(domain, domains)
        text = f"Route {route.id} leads to people of {domain} who cannot be reached: {why}."
        yield Finding("routes", WARNING, text, cure)


def _is_host(domain: str, routes: Iterable[StaticRoute]) -> bool:
    """Whether a pattern is for a server and not for people: facts §5.1, the route for the server's name."""
    return any(route.next_hop == domain for route in routes)


def _is_above(domain: str, known: Iterable[str]) -> bool:
    return any(one.endswith(f".{domain}") for one in known)


def inspect_trust(value: Federation, ports: Iterable[str]) -> Iterator[Finding]:
    """Whether the other side may send anything, and nobody else."""
    check = "trusted peers"
    listening = [name for name in LISTENERS if name in ports]
    if not listening:
        cure = "Set sip_port and sip_tls_peer_port under [listen] in ubiety.toml, and restart the node."
        yield Finding(check, FAILED, "This node does not listen for SIP: nobody outside reaches us.", cure)
    if not value.entries:
        cure = "Trust each server and pool by address and by name: ubiety acl add HOST"
        yield Finding(
            check, FAILED, "The access control list is empty: all requests from outside are refused.", cure
        )
    elif any(one.kind == ALL and not one.domains for one in value.entries):
        cure = "Trust single servers instead: ubiety acl add HOST, then ubiety acl delete all"
        text = "Whoever reaches the SIP port may write to our people in anybody's name."
        yield Finding(check, WARNING, text, cure)
    over_tls = sorted({route.next_hop for route in value.routes if route.transport == "tls"})
    if over_tls and not value.subjects:
        cure = f"Name the servers in it: ubiety tls-peer add {over_tls[0]}"
        text = "Routes use TLS, and no TLS peer is named: servers that connect to us over TLS are refused."
        yield Finding(check, FAILED, text, cure)
    elif listening and value.entries and not any(one.kind == ALL for one in value.entries):
        words = "One entry says" if len(value.entries) == 1 else f"{len(value.entries)} entries say"
        yield Finding(check, PASSED, f"{words} whose requests are taken.")


def inspect_claims(value: Federation, domains: Sequence[str]) -> Iterator[Finding]:
    """Whether trusted peers may speak for those people only whose servers they are."""
    check, known = "trusted peers", {*domains, *value.remote_domains}
    loose = [one for one in value.entries if not one.domains and one.kind != ALL]
    if value.remote_domains and loose:
        words = ", ".join(one.typed for one in loose[:SHOWN]) + (" ..." if len(loose) > SHOWN else "")
        text = f"Who may speak for people of every domain: {words}. There are domains of other organisations."
        first = loose[0]
        cure = f"Limit each: ubiety acl delete {first.id}, and ubiety acl add {first.typed} --for DOMAIN"
        yield Finding(check, WARNING, text, cure)
    for one in value.entries:
        for domain in sorted(set(one.domains) - known):
            text = f"{one.words} is for people of {domain}, of whom nothing is taken: {domain} is unknown."
            yield Finding(check, WARNING, text, f"Run: ubiety federation add {domain}")


def inspect_certificate(node: Node, is_shared: bool) -> Iterator[Finding]:
    """Whether Microsoft servers can be expected to take the certificate that this node shows them."""
    over_tls = any(route.transport == "tls" for route in node.federation.value.routes)
    if is_shared and over_tls and node.certificates.current.is_local:
        text = "Routes use TLS, and the certificate is from the local authority, with an elliptic-curve key."
        cure = (
            "Microsoft servers expect an RSA key of 2048 bits and an authority that they trust: have theirs "
            "sign one for this node, and name it under [tls] in ubiety.toml."
        )
        yield Finding("SIP certificate", WARNING, text, cure)


def inspect_hops(federation: FederationCopy) -> Iterator[Finding]:
    """Whether the next hops answer this node."""
    dead = federation.hops.dead()
    for hop, health in dead.items():
        text = f"{hop.host} port {hop.port} over {hop.transport.upper()} does not answer: {health.reason}"
        cure = "It is asked again at intervals and taken back when it answers. See: ubiety route list"
        yield Finding("next hops", WARNING, text, cure)
    if not dead and federation.value.routes:
        yield Finding("next hops", PASSED, "No next hop is known to fail.")


def inspect_strangers(strangers: Sequence[Stranger], domains: Sequence[str]) -> Iterator[Finding]:
    """Domains that requests have named and nobody knows here (seed 000: the misconfigured domains)."""
    for one in strangers[:SHOWN]:
        why, cure = explain_domain(one.domain, domains)
        many = "One request was" if one.requests == 1 else f"{one.requests} requests were"
        text = f"{many} refused ({one.example}): {why}."
        yield Finding("domains", WARNING, text, cure)


def inspect_mode(mode: str, known: Sequence[str], domains: Sequence[str]) -> Iterator[Finding]:
    """Whether the routing mode has what it needs; `known`: some addresses of the Microsoft side."""
    if mode == ADVANCED and not known:
        yield Finding(
            "routing mode",
            FAILED,
            "The routing mode is advanced, and no address of the Microsoft side is known: nobody is reached.",
            "Import them: ubiety microsoft import FILE. Or: ubiety federation enable --mode basic",
        )
    foreign = sorted({one.rpartition("@")[2] for one in known} - set(domains))
    for domain in foreign[:SHOWN]:
        why, cure = explain_domain(domain, domains)
        text = f"People of {domain} are known on the Microsoft side and cannot be reached: {why}."
        yield Finding("domains", WARNING, text, cure)
