"""Whose SIP requests are taken without a password (pure; facts §5.1: incoming ACL, TLS peer subjects).

An entry of the access control list names all, an IP address or network, a host, or a domain with all its
hosts. Names are those that the certificate of a TLS peer proves, and those that the DNS gives for its
address; these must lead back to the address, or anybody could take them (the look-up sees to that). On the
listener for mutual TLS the certificate must besides be one of those listed as TLS peers.
"""

import ipaddress
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ubiety import jid
from ubiety.gateway.patterns import PatternError
from ubiety.jid import JidError

Kind = Literal["all", "ip", "fqdn", "domain"]
ALL: Kind = "all"
IP: Kind = "ip"
FQDN: Kind = "fqdn"
DOMAIN: Kind = "domain"
KINDS: tuple[Kind, ...] = (ALL, IP, FQDN, DOMAIN)
PEER_LISTENER = "sip_tls_peer"
"""The listener on which certificates are demanded."""

_PREFIX = "allow from "
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Peer(Protocol):
    """Who has sent a request (see `sip.agent.Peer`)."""

    @property
    def address(self) -> str:
        """Its IP address."""

    @property
    def listener(self) -> str:
        """Name of the listener that took the connection."""

    @property
    def names(self) -> Sequence[str]:
        """Names that its certificate proves; none without one."""


@dataclass(frozen=True, slots=True)
class AclEntry:
    """One entry; fields in the order of the table's columns. `read_entry` makes one of what is typed."""

    id: int
    kind: Kind
    value: str
    description: str = ""

    @property
    def words(self) -> str:
        """The entry as it is documented."""
        return f"Allow from {self.value}" if self.kind != DOMAIN else f"Allow from domain {self.value}"


@dataclass(frozen=True, slots=True)
class Trusted:
    """The peer may send requests."""

    entry: AclEntry


@dataclass(frozen=True, slots=True)
class NotTrusted:
    """The peer may not, unless it proves with a password who it is."""

    reason: str
    cure: str


@dataclass(frozen=True, slots=True)
class NamesNeeded:
    """It depends on the names that the DNS has for the peer's address: look them up and ask again."""


Verdict = Trusted | NotTrusted | NamesNeeded


def read_entry(text: str, kind: str = "", description: str = "") -> AclEntry:
    """Reads an entry as an administrator types it, `Allow from 192.0.2.1` included. Raises PatternError.

    Without a kind: an address or network is `ip`, `*.example.com` or `.example.com` a domain, another name a
    host.
    """
    given = text.strip()
    if given.lower().startswith(_PREFIX):
        given = given[len(_PREFIX) :].strip()
    if kind and kind not in KINDS:
        raise PatternError(f"{kind!r} is no kind of entry.", "Give all, ip, fqdn or domain.")
    found = kind or _guess(given)
    if found == ALL:
        if given.lower() not in ("", "all"):
            raise PatternError(f"{given!r} does not go with the kind all.", "Give just: all")
        return AclEntry(0, ALL, "all", description)
    if found == IP:
        return AclEntry(0, IP, _read_network(given), description)
    name = given.removeprefix("*").removeprefix(".") if found == DOMAIN else given
    return AclEntry(0, DOMAIN if found == DOMAIN else FQDN, read_name(name), description)


def _guess(text: str) -> str:
    if text.lower() == "all":
        return ALL
    if text.startswith((".", "*.")):
        return DOMAIN
    looks_like_address = ":" in text or not text.strip("0123456789./")
    return IP if looks_like_address else FQDN


def _read_network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        raise PatternError(
            f"{text!r} is neither an IP address nor a network.",
            "For instance 192.0.2.10, 192.0.2.0/24 or 2001:db8::/64.",
        ) from None
    if network.prefixlen == 0:
        raise PatternError(f"{text} is everybody.", "If that is meant: ubiety acl add all")
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def read_name(text: str) -> str:
    """Reads the name of a host, as in a certificate: in lower case, ASCII. Raises PatternError."""
    cure = "For instance lync1.example.com."
    try:
        name = jid.make("", text.strip()).domain
        ascii_name = name.encode("idna").decode() if not name.isascii() else name
    except (JidError, UnicodeError) as error:
        raise PatternError(f"{text!r} is no name of a host: {error}.", cure) from None
    if "[" in name or not text.strip("0123456789. "):
        raise PatternError(f"{text!r} is an IP address and no name of a host.", cure)
    return ascii_name


class Trust:
    """The access control list and the TLS peers, ready to be asked."""

    def __init__(self, entries: Iterable[AclEntry] = (), subjects: Iterable[str] = ()) -> None:
        self.entries = tuple(entries)
        self.subjects = frozenset(subject.lower() for subject in subjects)
        self._all = next((one for one in self.entries if one.kind == ALL), None)
        found = [(ipaddress.ip_network(one.value), one) for one in self.entries if one.kind == IP]
        self._addresses: dict[_Address, AclEntry] = {
            network.network_address: one for network, one in found if network.num_addresses == 1
        }
        self._networks: list[tuple[_Network, AclEntry]] = [
            (network, one) for network, one in found if network.num_addresses > 1
        ]
        self._hosts = {one.value: one for one in self.entries if one.kind == FQDN}
        self._domains = {one.value: one for one in self.entries if one.kind == DOMAIN}

    @property
    def needs_names(self) -> bool:
        """Whether some entries are names."""
        return bool(self._hosts or self._domains)

    def accepts(self, names: Iterable[str]) -> bool:
        """Whether a certificate with these names is that of a TLS peer."""
        return not self.subjects.isdisjoint(name.lower() for name in names)

    def judge(self, peer: Peer, reverse_names: Collection[str] | None) -> Verdict:
        """Tells whether a peer is trusted.

        `reverse_names`: those that the DNS has for its address and that lead back to it; None: not known yet.
        """
        refusal = self._judge_certificate(peer)
        if refusal is not None:
            return refusal
        entry = self._all or self._by_address(peer.address) or self._by_names(peer.names)
        if entry is None and self.needs_names:
            if reverse_names is None:
                return NamesNeeded()
            entry = self._by_names(reverse_names)
        return Trusted(entry) if entry is not None else self._refuse(peer, reverse_names or ())

    def _judge_certificate(self, peer: Peer) -> NotTrusted | None:
        if peer.listener != PEER_LISTENER:
            return None
        if not peer.names:
            return NotTrusted(
                f"{peer.address} has shown no certificate with a name in it.",
                "Give the peer a certificate for client authentication, with its name as subject.",
            )
        names = [name.lower() for name in peer.names]
        if not self.accepts(names):
            return NotTrusted(
                f"{peer.address} has the certificate of {', '.join(names)}, which is no TLS peer.",
                f"If it is to be trusted: ubiety tls-peer add {names[0]}",
            )
        return None

    def _by_address(self, text: str) -> AclEntry | None:
        for address in _spellings(text):
            if entry := self._addresses.get(address):
                return entry
            for network, entry in self._networks:
                if network.version == address.version and address in network:
                    return entry
        return None

    def _by_names(self, names: Iterable[str]) -> AclEntry | None:
        for name in names:
            lowered = name.lower().removesuffix(".")
            if entry := self._hosts.get(lowered):
                return entry
            place = lowered
            while place:
                if entry := self._domains.get(place):
                    return entry
                place = place.partition(".")[2]
        return None

    def _refuse(self, peer: Peer, reverse_names: Collection[str]) -> NotTrusted:
        names = list(dict.fromkeys((*peer.names, *reverse_names)))
        known = f"{peer.address} ({', '.join(names)})" if names else peer.address
        if not self.entries:
            reason = f"{known} is not trusted: the access control list is empty."
        elif self.needs_names and not names:
            reason = (
                f"{known} is not trusted: no entry of the access control list has it, and no name is known."
            )
        else:
            reason = f"{known} is not trusted: no entry of the access control list has it."
        return NotTrusted(
            reason, f"If it is to be trusted: ubiety acl add {names[0] if names else peer.address}"
        )


def _spellings(text: str) -> list[_Address]:
    """An address, and what it is in the other family: IPv4 arrives as ::ffff:192.0.2.1 on some sockets."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return []
    if isinstance(address, ipaddress.IPv4Address):
        return [address, ipaddress.IPv6Address(f"::ffff:{address}")]
    return [address] if address.ipv4_mapped is None else [address.ipv4_mapped, address]
