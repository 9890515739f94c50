"""Whose SIP requests are taken without a password (pure; facts §5.1: incoming ACL, TLS peer subjects).

An entry of the access control list names all, an IP address or network, a host, or a domain with all its
hosts. Names are those that the certificate of a TLS peer proves, and those that the DNS gives for its
address; these must lead back to the address, or anybody could take them (the look-up sees to that). On the
listener for mutual TLS the certificate must besides be one of those listed as TLS peers.

An entry may be limited to peers' own people: such a peer names senders of the given domains only. What the
phones of our people do is taken from listed presence gateways alone.
"""

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Sequence
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
    domains: tuple[str, ...] = ()
    """For whose people the peer may speak; a domain that we share: the Microsoft side's. Empty: all."""

    def allows(self, claimed: str | None) -> bool:
        """Whether the peer may name somebody of this domain as the sender; None: it names nobody."""
        return claimed is None or not self.domains or claimed in self.domains

    @property
    def words(self) -> str:
        """The entry as it is documented."""
        return f"Allow from {self.value}" if self.kind != DOMAIN else f"Allow from domain {self.value}"

    @property
    def typed(self) -> str:
        """The entry as an administrator types it."""
        return self.value if self.kind != DOMAIN else f"*.{self.value}"


@dataclass(frozen=True, slots=True)
class Trusted:
    """The peer may send requests."""

    entry: AclEntry


@dataclass(frozen=True, slots=True)
class NotTrusted:
    """The peer may not, unless it proves with a password who it is."""

    reason: str
    cure: str
    told: str = "The access control list does not have this peer."
    """What the peer is told."""
    is_stranger: bool = True
    """False for a peer that may send other requests."""


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


def read_domain(text: str) -> str:
    """Reads a domain for whose people a peer may speak, as it stands in addresses. Raises PatternError."""
    try:
        return jid.make("", text.strip()).domain
    except JidError as error:
        raise PatternError(f"{text!r} is no domain: {error}.", "For instance example.com.") from None


class _Index:
    """Entries by what they match."""

    def __init__(self, entries: Iterable[AclEntry]) -> None:
        entries = tuple(entries)
        self._all = [one for one in entries if one.kind == ALL]
        found = [(ipaddress.ip_network(one.value), one) for one in entries if one.kind == IP]
        self._addresses: dict[_Address, AclEntry] = {
            network.network_address: one for network, one in found if network.num_addresses == 1
        }
        self._networks: list[tuple[_Network, AclEntry]] = [
            (network, one) for network, one in found if network.num_addresses > 1
        ]
        self._hosts = {one.value: one for one in entries if one.kind == FQDN}
        self._domains = {one.value: one for one in entries if one.kind == DOMAIN}

    @property
    def needs_names(self) -> bool:
        """Whether some entries are names."""
        return bool(self._hosts or self._domains)

    def matching(self, peer: Peer, reverse_names: Iterable[str]) -> Iterator[AclEntry]:
        """All entries that match a peer, some of them perhaps more than once."""
        yield from self._all
        for address in _spellings(peer.address):
            if entry := self._addresses.get(address):
                yield entry
            for network, entry in self._networks:
                if network.version == address.version and address in network:
                    yield entry
        for name in (*peer.names, *reverse_names):
            place = name.lower().removesuffix(".")
            if entry := self._hosts.get(place):
                yield entry
            while place:
                if entry := self._domains.get(place):
                    yield entry
                place = place.partition(".")[2]


class Trust:
    """The access control list, the TLS peers and the presence gateways, ready to be asked."""

    def __init__(
        self, entries: Iterable[AclEntry] = (), subjects: Iterable[str] = (), gateways: Iterable[str] = ()
    ) -> None:
        """`gateways`: addresses or names of those that may publish what people's phones do."""
        self.entries = tuple(entries)
        self.subjects = frozenset(subject.lower() for subject in subjects)
        self._index = _Index(self.entries)
        self._gateways = _Index(_host_entry(gateway) for gateway in gateways)

    @property
    def needs_names(self) -> bool:
        """Whether some entries are names."""
        return self._index.needs_names

    def accepts(self, names: Iterable[str]) -> bool:
        """Whether a certificate with these names is that of a TLS peer."""
        return not self.subjects.isdisjoint(name.lower() for name in names)

    def judge(self, peer: Peer, reverse_names: Collection[str] | None, claimed: str | None = None) -> Verdict:
        """Tells whether a peer is trusted; what any of the entries that match it allows is allowed.

        `reverse_names`: those that the DNS has for its address and that lead back to it; None: not known yet.
        `claimed`: the domain of the person whom it names as the sender; None: its dialog tells who that is.
        """
        refusal = self._judge_certificate(peer)
        if refusal is not None:
            return refusal
        found = list(self._index.matching(peer, reverse_names or ()))
        entry = next((one for one in found if one.allows(claimed)), None)
        if entry is not None:
            return Trusted(entry)
        if self._index.needs_names and reverse_names is None:
            return NamesNeeded()
        if found:
            return _refuse_claim(peer, found, claimed or "")
        return self._refuse(peer, reverse_names or ())

    def judge_publisher(self, peer: Peer, reverse_names: Collection[str] | None) -> Verdict:
        """Tells whether a peer may say what our people's phones do: it must be a presence gateway too."""
        verdict = self.judge(peer, reverse_names)
        if not isinstance(verdict, Trusted) or any(self._gateways.matching(peer, reverse_names or ())):
            return verdict
        if self._gateways.needs_names and reverse_names is None:
            return NamesNeeded()
        names = (*peer.names, *(reverse_names or ()), peer.address)
        return NotTrusted(
            f"{peer.address} is trusted, but no presence gateway: it may not say who is on the phone.",
            f"If it is a phone system: ubiety gateway add {names[0]}",
            "This peer is not listed as a presence gateway.",
            is_stranger=False,
        )

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


def _host_entry(host: str) -> AclEntry:
    """An entry for an IP address or a name, as a next hop is written."""
    is_address = bool(_spellings(host))
    return AclEntry(0, IP if is_address else FQDN, host)


def _refuse_claim(peer: Peer, found: Iterable[AclEntry], claimed: str) -> NotTrusted:
    entries = list(dict.fromkeys(found))
    domains = dict.fromkeys(domain for one in entries for domain in one.domains)
    wanted = ",".join((*entries[0].domains, claimed))
    return NotTrusted(
        f"{peer.address} is trusted for people of {', '.join(domains)} only, not of {claimed}.",
        f"If it may speak for them: ubiety acl delete {entries[0].id}, and ubiety acl add "
        f"{entries[0].typed} --for {wanted}",
        f"This peer may not speak for people of {claimed}.",
        is_stranger=False,
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
