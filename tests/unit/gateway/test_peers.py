"""Whose requests are taken without a password: the access control list and TLS peers."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.gateway.patterns import PatternError
from ubiety.gateway.peers import (
    AclEntry,
    NamesNeeded,
    NotTrusted,
    Trust,
    Trusted,
    read_domain,
    read_entry,
    read_name,
)
from ubiety.sip.outputs import Peer


def peer(address: str = "192.0.2.7", *names: str, listener: str = "sip") -> Peer:
    return Peer(1, "tcp", address, 49152, listener, names)


@dataclass(frozen=True)
class Case:
    """Who asks, and whether an entry lets it in."""

    entry: str
    address: str
    names: tuple[str, ...] = ()
    reverse: tuple[str, ...] = ()
    is_trusted: bool = True


CASES = [
    Case("Allow from all", "203.0.113.9"),
    Case("192.0.2.7", "192.0.2.7"),
    Case("Allow from 192.0.2.7", "192.0.2.7"),
    Case("192.0.2.7", "192.0.2.8", is_trusted=False),
    Case("192.0.2.7", "::ffff:192.0.2.7"),
    Case("::ffff:192.0.2.7", "192.0.2.7"),
    Case("192.0.2.0/24", "192.0.2.200"),
    Case("192.0.2.0/24", "192.0.3.1", is_trusted=False),
    Case("192.0.2.9/24", "192.0.2.200"),
    Case("2001:db8::7", "2001:DB8:0:0::7"),
    Case("[2001:db8::7]", "2001:db8::7"),
    Case("2001:db8::/64", "2001:db8::abcd"),
    Case("2001:db8::/64", "2001:db8:1::1", is_trusted=False),
    Case("fe80::/10", "fe80::1%eth0"),
    Case("2001:db8::/64", "192.0.2.1", is_trusted=False),
    Case("lync1.domaina.com", "192.0.2.7", reverse=("lync1.domaina.com",)),
    Case("lync1.domaina.com", "192.0.2.7", reverse=("LYNC1.DomainA.com.",)),
    Case("lync1.domaina.com", "192.0.2.7", names=("lync1.domaina.com",)),
    Case("Lync1.DomainA.COM", "192.0.2.7", reverse=("other.example", "lync1.domaina.com")),
    Case("lync1.domaina.com", "192.0.2.7", reverse=("lync2.domaina.com",), is_trusted=False),
    Case("lync1.domaina.com", "192.0.2.7", reverse=("a.lync1.domaina.com",), is_trusted=False),
    Case(".domaina.com", "192.0.2.7", reverse=("a.b.domaina.com",)),
    Case("*.domaina.com", "192.0.2.7", names=("domaina.com",)),
    Case(".domaina.com", "192.0.2.7", reverse=("xdomaina.com",), is_trusted=False),
    Case(".domaina.com", "192.0.2.7", reverse=("domaina.com.evil.example",), is_trusted=False),
    Case("192.0.2.7", "not an address", is_trusted=False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.entry} {case.address} {case.reverse}")
def test_entries(case: Case) -> None:
    entry = read_entry(case.entry)
    verdict = Trust([entry]).judge(peer(case.address, *case.names), case.reverse)
    if case.is_trusted:
        assert verdict == Trusted(entry)
    else:
        assert isinstance(verdict, NotTrusted) and "is not trusted" in verdict.reason


def test_names_are_looked_up_only_when_they_matter() -> None:
    by_address, by_name = read_entry("192.0.2.0/24"), read_entry("lync1.domaina.com")
    trust = Trust([by_address, by_name])
    assert trust.judge(peer("192.0.2.7"), None) == Trusted(by_address)
    assert trust.judge(peer("203.0.113.9", "lync1.domaina.com"), None) == Trusted(by_name)
    assert trust.judge(peer("203.0.113.9"), None) == NamesNeeded()
    assert trust.judge(peer("203.0.113.9"), ["lync1.domaina.com"]) == Trusted(by_name)
    assert isinstance(Trust([by_address]).judge(peer("203.0.113.9"), None), NotTrusted)


def test_reasons_in_words() -> None:
    empty = Trust().judge(peer(), None)
    assert empty == NotTrusted(
        "192.0.2.7 is not trusted: the access control list is empty.",
        "If it is to be trusted: ubiety acl add 192.0.2.7",
    )
    named = Trust([read_entry("lync1.domaina.com")])
    unknown = named.judge(peer(), ())
    assert isinstance(unknown, NotTrusted) and unknown.reason.endswith("and no name is known.")
    other = named.judge(peer(), ["lync2.domaina.com"])
    assert other == NotTrusted(
        "192.0.2.7 (lync2.domaina.com) is not trusted: no entry of the access control list has it.",
        "If it is to be trusted: ubiety acl add lync2.domaina.com",
    )


def test_mutual_tls_takes_listed_subjects_only() -> None:
    entry = read_entry("192.0.2.7")
    trust = Trust([entry], ["Pool.DomainA.com"])
    listed = peer("192.0.2.7", "lync1.domaina.com", "POOL.domaina.com", listener="sip_tls_peer")
    assert trust.judge(listed, None) == Trusted(entry)
    other = trust.judge(peer("192.0.2.7", "lync9.domaina.com", listener="sip_tls_peer"), None)
    assert other == NotTrusted(
        "192.0.2.7 has the certificate of lync9.domaina.com, which is no TLS peer.",
        "If it is to be trusted: ubiety tls-peer add lync9.domaina.com",
    )
    bare = trust.judge(peer("192.0.2.7", listener="sip_tls_peer"), None)
    assert isinstance(bare, NotTrusted) and "no certificate" in bare.reason
    assert trust.judge(peer("192.0.2.7", "lync9.domaina.com", listener="sip_tls_server"), None) == Trusted(
        entry
    )
    elsewhere = Trust([read_entry("203.0.113.1")], ["pool.domaina.com"]).judge(listed, None)
    assert isinstance(elsewhere, NotTrusted), "a listed certificate alone is not enough"


@pytest.mark.parametrize(
    ("text", "kind", "entry"),
    [
        ("all", "", ("all", "all")),
        ("ALLOW FROM ALL", "", ("all", "all")),
        ("", "all", ("all", "all")),
        ("192.0.2.7/32", "", ("ip", "192.0.2.7")),
        ("10.0.0.0/8", "ip", ("ip", "10.0.0.0/8")),
        ("2001:DB8::/32", "", ("ip", "2001:db8::/32")),
        ("domaina.com", "domain", ("domain", "domaina.com")),
        ("*.DomainA.com", "", ("domain", "domaina.com")),
        ("bücher.example", "", ("fqdn", "xn--bcher-kva.example")),
    ],
)
def test_what_is_typed_is_stored_in_one_form(text: str, kind: str, entry: tuple[str, str]) -> None:
    read = read_entry(text, kind, "why")
    assert (read.kind, read.value, read.description) == (*entry, "why")
    assert read_entry(read.value, read.kind, "why") == read


@pytest.mark.parametrize(
    ("text", "kind", "cause", "cure"),
    [
        ("", "", "neither an IP address", "192.0.2.10"),
        ("192.0.2.256", "", "neither an IP address nor a network", "192.0.2.0/24"),
        ("0.0.0.0/0", "", "everybody", "ubiety acl add all"),
        ("::/0", "", "everybody", "ubiety acl add all"),
        ("lync1", "ip", "neither an IP address", "192.0.2.10"),
        ("192.0.2.1", "fqdn", "is an IP address", "lync1.example.com"),
        ("some host", "", "no name of a host", ""),
        ("lync1.domaina.com", "all", "does not go with", "all"),
        ("lync1.domaina.com", "host", "no kind of entry", "fqdn"),
    ],
)
def test_what_is_wrong_is_refused_with_cause_and_cure(text: str, kind: str, cause: str, cure: str) -> None:
    with pytest.raises(PatternError) as caught:
        read_entry(text, kind)
    assert cause in str(caught.value) and cure in caught.value.cure


def test_subjects_are_names() -> None:
    assert read_name(" Lync1.DomainA.com ") == "lync1.domaina.com"
    with pytest.raises(PatternError):
        read_name("192.0.2.1")


@given(st.ip_addresses(), st.integers(1, 128))
def test_a_network_holds_its_addresses(address: object, bits: int) -> None:
    text = str(address)
    prefix = min(bits, 32 if ":" not in text else 128)
    entry = read_entry(f"{text}/{prefix}")
    assert isinstance(entry, AclEntry)
    assert Trust([entry]).judge(peer(text), None) == Trusted(entry)


@dataclass(frozen=True)
class Claim:
    """What peers of some entries may claim; the entry is "WHAT --for DOMAINS", as it is typed."""

    entries: tuple[str, ...]
    allowed: tuple[str | None, ...] = (None,)
    refused: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    reverse: tuple[str, ...] = ()


PARTNER, OTHER, SHARED = "partner.example", "other.example", "domaina.com"
CLAIMS = [
    Claim(("192.0.2.7",), (None, PARTNER, OTHER, SHARED)),
    Claim(("192.0.2.7 --for partner.example",), (None, PARTNER), (OTHER, SHARED, "a.partner.example")),
    Claim(("192.0.2.7 --for partner.example,domaina.com",), (PARTNER, SHARED), (OTHER,)),
    Claim(("all --for partner.example",), (PARTNER,), (OTHER,)),
    Claim(("all --for partner.example", "192.0.2.7"), (PARTNER, OTHER)),
    Claim(
        ("192.0.2.0/24 --for partner.example", "192.0.2.7 --for other.example"), (PARTNER, OTHER), (SHARED,)
    ),
    Claim(("192.0.2.7 --for partner.example", "sip.a.example"), (PARTNER, OTHER), reverse=("sip.a.example",)),
    Claim(("192.0.2.7 --for partner.example", "sip.a.example"), (PARTNER,), (OTHER,)),
    Claim(
        ("192.0.2.7 --for partner.example", "*.a.example --for other.example"),
        (PARTNER, OTHER),
        (SHARED,),
        names=("sip.a.example",),
    ),
    Claim(("*.a.example --for other.example", "sip.a.example"), (OTHER, SHARED), names=("sip.a.example",)),
]


def entries_of(texts: tuple[str, ...]) -> list[AclEntry]:
    """Read entries as they are typed."""
    found = []
    for number, text in enumerate(texts, 1):
        what, _, domains = text.partition(" --for ")
        given = tuple(read_domain(one) for one in domains.split(",")) if domains else ()
        found.append(replace(read_entry(what), id=number, domains=given))
    return found


@pytest.mark.parametrize("case", CLAIMS, ids=lambda case: " + ".join(case.entries))
def test_whom_a_peer_may_name_as_sender(case: Claim) -> None:
    trust = Trust(entries_of(case.entries))
    for domain in case.allowed:
        assert isinstance(trust.judge(peer("192.0.2.7", *case.names), case.reverse, domain), Trusted)
    for domain in case.refused:
        verdict = trust.judge(peer("192.0.2.7", *case.names), case.reverse, domain)
        assert isinstance(verdict, NotTrusted) and not verdict.is_stranger
        assert verdict.reason.endswith(f" only, not of {domain}.") and verdict.told.endswith(f" of {domain}.")


def test_a_refused_claim_names_its_cure() -> None:
    trust = Trust(entries_of(("*.a.example --for partner.example",)))
    assert trust.judge(peer("192.0.2.7", "sip.a.example"), None, OTHER) == NamesNeeded()
    assert trust.judge(peer("192.0.2.7", "sip.a.example"), (), OTHER) == NotTrusted(
        "192.0.2.7 is trusted for people of partner.example only, not of other.example.",
        "If it may speak for them: ubiety acl delete 1, and ubiety acl add *.a.example "
        "--for partner.example,other.example",
        "This peer may not speak for people of other.example.",
        is_stranger=False,
    )


def test_names_are_looked_up_only_when_they_may_allow_more() -> None:
    trust = Trust(entries_of(("192.0.2.7 --for partner.example", "sip.a.example")))
    assert isinstance(trust.judge(peer(), None, PARTNER), Trusted)
    assert isinstance(trust.judge(peer(), None), Trusted), "in a dialog nothing is claimed"
    assert trust.judge(peer(), None, OTHER) == NamesNeeded()


@pytest.mark.parametrize(
    ("gateways", "names", "reverse", "verdict"),
    [
        (("192.0.2.7",), (), None, Trusted),
        (("192.0.2.9", "192.0.2.7"), (), None, Trusted),
        (("192.0.2.9",), (), None, NotTrusted),
        (("cucm1.a.example",), (), None, NamesNeeded),
        (("cucm1.a.example",), (), ("CUCM1.a.example",), Trusted),
        (("cucm1.a.example",), ("cucm1.a.example",), None, Trusted),
        (("cucm1.a.example",), (), ("cucm2.a.example",), NotTrusted),
        (("2001:db8::7",), (), None, NotTrusted),
        ((), (), None, NotTrusted),
    ],
)
def test_who_may_publish(
    gateways: tuple[str, ...], names: tuple[str, ...], reverse: tuple[str, ...] | None, verdict: type
) -> None:
    trust = Trust([read_entry("192.0.2.7")], gateways=gateways)
    found = trust.judge_publisher(peer("192.0.2.7", *names), reverse)
    assert isinstance(found, verdict)
    if isinstance(found, NotTrusted):
        assert "no presence gateway" in found.reason and "ubiety gateway add" in found.cure


def test_a_listed_gateway_must_be_trusted_too() -> None:
    found = Trust([read_entry("192.0.2.9")], gateways=["192.0.2.7"]).judge_publisher(peer(), None)
    assert isinstance(found, NotTrusted) and found.is_stranger


@pytest.mark.parametrize("text", ["", "a b", "a,b", "@"])
def test_domains_that_are_none(text: str) -> None:
    with pytest.raises(PatternError, match="is no domain"):
        read_domain(text)
