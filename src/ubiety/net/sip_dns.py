"""Where a SIP next hop is (RFC 3263), and what an address is called; both remembered, never waited for twice.

Answers are kept for as long as the DNS says, within bounds; while it does not answer, the last answer is
used. `/etc/hosts` comes first, as for every other program on the machine.
"""

import asyncio
import ipaddress
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.resolver
import dns.reversename

from ubiety.sip.outputs import DEFAULT_PORTS, Hop
from ubiety.telemetry import event

Address = tuple[str, int]
"""An IP address and a port."""

LOOKUP_SECONDS = 4.0
LEAST_SECONDS = 5.0
MOST_SECONDS = 3600.0
MISSING_SECONDS = 15.0
"""What was not found is asked for again after this time."""
STALE_SECONDS = 6 * 3600.0
"""An answer serves so long beyond its time while the DNS gives none."""
MOST_ENTRIES = 10_000
MOST_LOOKUPS = 100
"""Look-ups of names of strangers at a time; more are not begun."""
HOSTS = Path("/etc/hosts")


SERVICES = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}


class NotResolved(Exception):
    """A host has no address that can be found; the text names it."""


@dataclass(slots=True)
class _Entry:
    value: tuple[Any, ...]
    ends: float


class Resolver:
    """One per node. Every answer comes from memory while it is fresh."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        resolver: dns.asyncresolver.Resolver | None = None,
        hosts: Path = HOSTS,
        draw: Callable[[], float] = random.random,
        now: Callable[[], float] | None = None,
    ) -> None:
        """`resolver`: whom to ask, else whom the machine asks."""
        self._loop = loop
        self._resolver = resolver
        self._hosts = _HostsFile(hosts)
        self._draw = draw
        self._now = now or loop.time
        self._known: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._asked: dict[tuple[str, str], asyncio.Task[tuple[Any, ...]]] = {}

    # -- towards a hop -----------------------------------------------------------------------------

    def known(self, hop: Hop) -> Sequence[Address] | None:
        """Where a hop is, in the order to be tried, if that needs no look-up."""
        if _is_address(hop.host):
            return [(_bare(hop.host), hop.port or DEFAULT_PORTS[hop.transport])]
        if hop.port:
            found = self._fresh("address", hop.host)
            return [(address, hop.port) for address in found] if found else None
        return self._fresh("service", _service(hop)) or None

    async def resolve(self, hop: Hop) -> Sequence[Address]:
        """Where a hop is, in the order to be tried. Port 0 asks for its service. Raises NotResolved."""
        at_once = self.known(hop)
        if at_once:
            return at_once
        if hop.port:
            return [(address, hop.port) for address in await self._addresses(hop.host)]
        found: tuple[Address, ...] = await self._ask("service", _service(hop), self._find_service)
        if found:
            return found
        if hop.host.startswith("_"):
            raise NotResolved(f"There is no SRV record {hop.host}.")
        # RFC 3263 §4.2: without a service, the host itself at the usual port.
        return [(address, DEFAULT_PORTS[hop.transport]) for address in await self._addresses(hop.host)]

    async def _addresses(self, host: str) -> tuple[str, ...]:
        if _is_address(host):
            return (_bare(host),)
        found = await self._ask("address", host.lower().rstrip("."), self._find_addresses)
        if not found:
            raise NotResolved(f"{host} has no address.")
        return found

    async def _find_addresses(self, host: str) -> tuple[tuple[str, ...], float]:
        local = self._hosts.addresses(host)
        if local:
            return local, LEAST_SECONDS
        answers = await asyncio.gather(self._query(host, "A"), self._query(host, "AAAA"))
        found = [(str(record.address), answer.rrset.ttl) for answer in answers if answer for record in answer]
        return tuple(address for address, _ in found), min((ttl for _, ttl in found), default=MISSING_SECONDS)

    async def _find_service(self, name: str) -> tuple[tuple[Address, ...], float]:
        answer = await self._query(name, "SRV")
        if not answer:
            return (), MISSING_SECONDS
        found: list[Address] = []
        for record in self._ordered(answer):
            host = str(record.target).rstrip(".")
            try:
                found += [(address, record.port) for address in await self._addresses(host)]
            except NotResolved as error:
                event("sip_target_not_resolved", "warning", service=name, reason=str(error))
        return tuple(found), answer.rrset.ttl

    def _ordered(self, records: Any) -> list[Any]:
        """RFC 2782: by priority, and by chance within it, the heavier the sooner."""
        real = (record for record in records if str(record.target) != ".")
        left = sorted(real, key=lambda record: (record.priority, str(record.target), record.port))
        ordered: list[Any] = []
        while left:
            equals = [record for record in left if record.priority == left[0].priority]
            mark = self._draw() * sum(record.weight for record in equals)
            for record in equals:
                mark -= record.weight
                if mark < 0:
                    break
            ordered.append(record)
            left.remove(record)
        return ordered

    # -- from an address ---------------------------------------------------------------------------

    def names(self, address: str) -> tuple[str, ...] | None:
        """The confirmed names of an address; None: not known yet, the look-up has begun.

        A name counts only if it leads back to the address: whoever owns an address chooses its name.
        """
        key = ("name", _bare(address))
        entry = self._known.get(key)
        if (entry is None or entry.ends < self._now()) and len(self._asked) < MOST_LOOKUPS:
            self._begin(key, self._find_names)
        return None if entry is None else entry.value

    async def find_names(self, address: str) -> tuple[str, ...]:
        """The confirmed names of an address, waited for (at most twice `LOOKUP_SECONDS`)."""
        return await self._ask("name", _bare(address), self._find_names)

    async def _find_names(self, address: str) -> tuple[tuple[str, ...], float]:
        local = self._hosts.names(address)
        if local:
            return local, LEAST_SECONDS
        try:
            pointer = dns.reversename.from_address(address)
        except dns.exception.DNSException:
            return (), MISSING_SECONDS
        answer = await self._query(str(pointer), "PTR")
        if not answer:
            return (), MISSING_SECONDS
        claimed = [str(record.target).rstrip(".").lower() for record in answer][:10]
        own = ipaddress.ip_address(address)
        confirmed = [name for name in claimed if own in await self._addresses_or_none(name)]
        if len(confirmed) < len(claimed):
            event("reverse_name_not_confirmed", "warning", address=address, names=claimed)
        return tuple(confirmed), answer.rrset.ttl

    async def _addresses_or_none(self, host: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        try:
            return {ipaddress.ip_address(address) for address in await self._addresses(host)}
        except NotResolved:
            return set()

    # -- what is remembered ------------------------------------------------------------------------

    def _fresh(self, kind: str, name: str) -> tuple[Any, ...]:
        entry = self._known.get((kind, name.lower().rstrip(".")))
        return entry.value if entry is not None and self._now() < entry.ends else ()

    async def _ask(
        self, kind: str, name: str, find: Callable[[str], Awaitable[tuple[tuple[Any, ...], float]]]
    ) -> tuple[Any, ...]:
        entry = self._known.get((kind, name))
        if entry is not None and self._now() < entry.ends:
            return entry.value
        # Several may wait for one look-up, and who gives up must not end it for the others.
        return await asyncio.shield(self._begin((kind, name), find))

    def _begin(
        self, key: tuple[str, str], find: Callable[[str], Awaitable[tuple[tuple[Any, ...], float]]]
    ) -> asyncio.Task[tuple[Any, ...]]:
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = self._loop.create_task(self._look_up(key, find(key[1])))
            task.add_done_callback(lambda _task: self._asked.pop(key, None))
        return task

    async def _look_up(
        self, key: tuple[str, str], finding: Awaitable[tuple[tuple[Any, ...], float]]
    ) -> tuple[Any, ...]:
        before = self._known.get(key)
        try:
            value, ttl = await finding
        except (dns.exception.DNSException, OSError) as error:
            if before is not None and self._now() < before.ends + STALE_SECONDS:
                self._keep(key, before.value, LEAST_SECONDS)
                return before.value
            event("dns_failed", "warning", asked=key[1], reason=str(error) or type(error).__name__)
            value, ttl = (), MISSING_SECONDS
        self._keep(key, value, min(max(ttl, LEAST_SECONDS), MOST_SECONDS))
        return value

    def _keep(self, key: tuple[str, str], value: tuple[Any, ...], seconds: float) -> None:
        self._known[key] = _Entry(value, self._now() + seconds)
        self._known.move_to_end(key)
        if len(self._known) > MOST_ENTRIES:
            self._known.popitem(last=False)

    async def _query(self, name: str, kind: str) -> Any:
        """An answer, or None when there is no such record. Raises DNSException when nobody answers."""
        if self._resolver is None:
            self._resolver = dns.asyncresolver.Resolver()
        try:
            return await self._resolver.resolve(name, kind, lifetime=LOOKUP_SECONDS, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return None

    async def close(self) -> None:
        """Give up what is being looked up."""
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _HostsFile:
    """`/etc/hosts`, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = 0
        self._lines: list[tuple[str, list[str]]] = []

    def addresses(self, host: str) -> tuple[str, ...]:
        return tuple(address for address, names in self._read() if host.lower() in names)

    def names(self, address: str) -> tuple[str, ...]:
        found = [name for own, names in self._read() if own == address for name in names]
        return tuple(dict.fromkeys(found))

    def _read(self) -> list[tuple[str, list[str]]]:
        try:
            stamp = self._path.stat().st_mtime_ns
            if stamp != self._stamp:
                text = self._path.read_text(encoding="utf-8", errors="replace")
                self._lines, self._stamp = list(_hosts(text)), stamp
        except OSError:
            self._lines = []
        return self._lines


def _hosts(text: str) -> Iterator[tuple[str, list[str]]]:
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if _is_address(address) and names:
            yield _bare(address), [name.lower().rstrip(".") for name in names]


def _service(hop: Hop) -> str:
    host = hop.host.lower().rstrip(".")
    return host if host.startswith("_") else f"{SERVICES[hop.transport]}.{host}"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(_bare(text))
    except ValueError:
        return False
    return True


def _bare(address: str) -> str:
    return address.strip("[]").lower()
