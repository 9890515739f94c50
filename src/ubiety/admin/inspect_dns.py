"""Checks of the DNS: do clients find the node by the domain in their address? (RFC 6120 §3.2, XEP-0368)"""

import asyncio
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver

from ubiety.admin.finding import FAILED, PASSED, WARNING, Finding

TIMEOUT = 2.0
SERVICES = {"_xmpp-client._tcp": "c2s", "_xmpps-client._tcp": "c2s_tls"}
_LOCAL = ("localhost", "local", "test", "invalid")


@dataclass(frozen=True, slots=True)
class Target:
    """One SRV record."""

    host: str
    port: int


class NoAnswer(Exception):
    """The DNS could not be asked; the text says why."""


async def inspect_dns(
    domains: Sequence[str],
    ports: Mapping[str, int],
    hostnames: Sequence[str],
    resolver: dns.asyncresolver.Resolver | None = None,
) -> list[Finding]:
    """Looks up the SRV records of every domain, all at once; ends within a few seconds without a network."""
    try:
        asked = resolver or dns.asyncresolver.Resolver()
    except dns.exception.DNSException as error:
        return [
            Finding(
                f"DNS of {name}",
                WARNING,
                f"No DNS server is configured: {error}.",
                *_lines(name, ports, hostnames),
            )
            for name in domains
        ]
    return await asyncio.gather(*(_inspect(asked, name, ports, hostnames) for name in domains))


async def _inspect(
    resolver: dns.asyncresolver.Resolver, domain: str, ports: Mapping[str, int], hostnames: Sequence[str]
) -> Finding:
    check = f"DNS of {domain}"
    if not _is_public(domain):
        return Finding(check, PASSED, f"{domain} is no public domain: clients must be told where to connect.")
    try:
        found = dict(
            zip(
                SERVICES,
                await asyncio.gather(*(_look_up(resolver, s, domain) for s in SERVICES)),
                strict=True,
            )
        )
    except NoAnswer as error:
        return Finding(
            check, WARNING, f"The DNS gives no answer: {error}.", *_lines(domain, ports, hostnames)
        )
    missing = [service for service, targets in found.items() if not targets]
    if missing:
        text = f"There is no SRV record {' and no '.join(missing)} for {domain}."
        return Finding(check, WARNING, text, *_lines(domain, ports, hostnames, missing))
    return _judge(check, domain, found, ports)


def _judge(check: str, domain: str, found: Mapping[str, list[Target]], ports: Mapping[str, int]) -> Finding:
    for service, targets in found.items():
        # RFC 2782: a single target "." says that the service is decidedly not there.
        if any(target.host in ("", ".") for target in targets):
            cure = f"Remove the record {service}.{domain} with the target '.'."
            return Finding(check, FAILED, f"The DNS says that {domain} has no such service.", cure)
        port = ports.get(SERVICES[service])
        if port and all(target.port != port for target in targets):
            others = ", ".join(str(target.port) for target in targets)
            cure = f"Set port {port} in {service}.{domain}, unless a firewall forwards {others} to {port}."
            return Finding(check, WARNING, f"{service} leads clients to port {others}, not {port}.", cure)
    hosts = sorted({target.host for targets in found.values() for target in targets})
    return Finding(check, PASSED, f"Clients of {domain} are led to {', '.join(hosts)}.")


async def _look_up(resolver: dns.asyncresolver.Resolver, service: str, domain: str) -> list[Target]:
    try:
        name = dns.name.from_unicode(f"{service}.{domain}.")
        async with asyncio.timeout(TIMEOUT):
            answer = await resolver.resolve(name, "SRV", lifetime=TIMEOUT, raise_on_no_answer=False)
    except dns.resolver.NXDOMAIN:
        return []
    except TimeoutError:
        raise NoAnswer(f"nothing within {TIMEOUT:g} seconds") from None
    except (dns.exception.DNSException, OSError, UnicodeError) as error:
        raise NoAnswer(str(error).split(":")[0] or type(error).__name__) from error
    return [Target(row.target.to_text(omit_final_dot=True), row.port) for row in answer]


def _lines(
    domain: str, ports: Mapping[str, int], hostnames: Sequence[str], services: Sequence[str] = tuple(SERVICES)
) -> tuple[str, tuple[str, ...]]:
    return "Add to the zone (with the public name of this machine):", zone_lines(
        domain, ports, hostnames, services
    )


def zone_lines(
    domain: str, ports: Mapping[str, int], hostnames: Sequence[str], services: Sequence[str] = tuple(SERVICES)
) -> tuple[str, ...]:
    """The lines that lead clients of `domain` to this node, as a zone file has them."""
    host = next((name for name in hostnames if _is_public(name)), None) or _own_name() or f"im.{domain}"
    return tuple(
        f"{service}.{_ascii(domain)}. 3600 IN SRV 0 5 {ports[SERVICES[service]]} {_ascii(host)}."
        for service in services
        if ports.get(SERVICES[service])
    )


def _own_name() -> str | None:
    name = socket.gethostname().lower()
    return name if "." in name and _is_public(name) else None


def _ascii(name: str) -> str:
    return dns.name.from_unicode(name).to_text(omit_final_dot=True)


def _is_public(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return "." in name and name.rpartition(".")[2] not in _LOCAL
    return False
