"""Where hops are and what addresses are called, asked of a real DNS server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.sip.names import NameServer, name_server
from tests.sip.stacks import HOST, NOWHERE, hop_to, request, running
from ubiety.net import sip_dns
from ubiety.net.sip_dns import NotResolved, Resolver
from ubiety.sip.outputs import Cause, Hop

FRONT_END = Hop("tcp", "fe1.example.com", 5065)
POOL = Hop("tls", "pool.example.com", 0)


@pytest.fixture
async def names() -> AsyncIterator[NameServer]:
    async with name_server() as server:
        yield server


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def resolver(names: NameServer, clock: Clock, tmp_path: Path) -> AsyncIterator[Resolver]:
    made = make(names, tmp_path, clock)
    yield made
    await made.close()


def make(
    names: NameServer, path: Path, clock: Callable[[], float] | None = None, draw: float = 0.0
) -> Resolver:
    loop = asyncio.get_running_loop()
    return Resolver(loop, names.resolver, path / "hosts", lambda: draw, clock)


async def test_an_address_needs_no_look_up(resolver: Resolver, names: NameServer) -> None:
    assert await resolver.resolve(Hop("tcp", "192.0.2.7", 5065)) == [("192.0.2.7", 5065)]
    assert resolver.known(Hop("tls", "[2001:DB8::7]", 0)) == [("2001:db8::7", 5061)]
    assert not names.asked


async def test_a_name_is_asked_for_once(resolver: Resolver, names: NameServer) -> None:
    names.records = {
        ("fe1.example.com", "A"): ["192.0.2.1", "192.0.2.2"],
        ("fe1.example.com", "AAAA"): ["2001:db8::1"],
    }
    assert resolver.known(FRONT_END) is None
    found = await asyncio.gather(*(resolver.resolve(FRONT_END) for _ in range(5)))
    assert set(found[0]) == {("192.0.2.1", 5065), ("192.0.2.2", 5065), ("2001:db8::1", 5065)}
    assert all(one == found[0] for one in found)
    assert resolver.known(FRONT_END) == found[0]
    assert names.asked == {("fe1.example.com", "A"): 1, ("fe1.example.com", "AAAA"): 1}


async def test_port_0_asks_for_the_service(names: NameServer, tmp_path: Path, clock: Clock) -> None:
    names.records = {
        ("_sips._tcp.pool.example.com", "SRV"): [
            "20 0 5063 fe3.example.com.",
            "10 5 5061 fe1.example.com.",
            "10 5 5062 fe2.example.com.",
            "10 5 5064 gone.example.com.",
        ],
        **{(f"fe{n}.example.com", "A"): [f"192.0.2.{n}"] for n in (1, 2, 3)},
    }
    heavy = await make(names, tmp_path, clock, draw=0.9).resolve(POOL)
    assert heavy[-1] == ("192.0.2.3", 5063), "the second priority is last"
    assert set(heavy[:2]) == {("192.0.2.1", 5061), ("192.0.2.2", 5062)} and len(heavy) == 3
    orders = {(await make(names, tmp_path, clock, draw=draw / 10).resolve(POOL))[0] for draw in (1, 5, 9)}
    assert orders == {("192.0.2.1", 5061), ("192.0.2.2", 5062)}, "either may be first"


async def test_without_a_service_the_host_itself(resolver: Resolver, names: NameServer) -> None:
    names.records = {("pool.example.com", "A"): ["192.0.2.5"]}
    assert await resolver.resolve(POOL) == [("192.0.2.5", 5061)]
    with pytest.raises(NotResolved, match=r"no SRV record _sip\._tcp\.example\.net"):
        await resolver.resolve(Hop("tcp", "_sip._tcp.example.net", 0))


async def test_what_is_not_there_is_remembered_for_a_while(
    resolver: Resolver, names: NameServer, clock: Clock
) -> None:
    for _ in range(3):
        with pytest.raises(NotResolved, match=r"fe1\.example\.com has no address"):
            await resolver.resolve(FRONT_END)
    assert names.asked["fe1.example.com", "A"] == 1
    names.records = {("fe1.example.com", "A"): ["192.0.2.1"]}
    clock.now += sip_dns.MISSING_SECONDS + 1
    assert await resolver.resolve(FRONT_END) == [("192.0.2.1", 5065)]


async def test_while_the_dns_is_silent_the_last_answer_serves(
    resolver: Resolver, names: NameServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sip_dns, "LOOKUP_SECONDS", 0.5)
    names.records = {("fe1.example.com", "A"): ["192.0.2.1"]}
    await resolver.resolve(FRONT_END)
    clock.now += names.ttl + 1
    names.is_mute = True
    assert await resolver.resolve(FRONT_END) == [("192.0.2.1", 5065)]
    with pytest.raises(NotResolved):
        await resolver.resolve(Hop("tcp", "other.example.com", 5060))


async def test_the_hosts_file_comes_first(resolver: Resolver, names: NameServer, tmp_path: Path) -> None:
    names.records = {("fe1.example.com", "A"): ["192.0.2.1"]}
    (tmp_path / "hosts").write_text("# mine\n192.0.2.99  FE1.example.com fe1 # here\nbad line\n::1\n")
    assert await resolver.resolve(FRONT_END) == [("192.0.2.99", 5065)]
    assert await resolver.find_names("192.0.2.99") == ("fe1.example.com", "fe1")
    assert not names.asked


async def test_the_name_of_an_address_counts_if_it_leads_back(resolver: Resolver, names: NameServer) -> None:
    names.records = {
        ("1.2.0.192.in-addr.arpa", "PTR"): ["fe1.example.com.", "trusted.example.org."],
        ("fe1.example.com", "A"): ["192.0.2.1"],
        ("trusted.example.org", "A"): ["192.0.2.200"],
    }
    assert resolver.names("192.0.2.1") is None, "not known yet, and nobody waits"
    assert await resolver.find_names("192.0.2.1") == ("fe1.example.com",)
    assert resolver.names("192.0.2.1") == ("fe1.example.com",)
    assert await resolver.find_names("192.0.2.2") == ()
    assert names.asked["1.2.0.192.in-addr.arpa", "PTR"] == 1


async def test_a_name_that_is_old_serves_while_it_is_asked_for_again(
    resolver: Resolver, names: NameServer, clock: Clock
) -> None:
    v6 = "8.b.d.0.1.0.0.2.ip6.arpa"
    pointer = ".".join("1" + "0" * 23) + "." + v6
    names.records = {(pointer, "PTR"): ["fe1.example.com."], ("fe1.example.com", "AAAA"): ["2001:db8::1"]}
    assert await resolver.find_names("2001:db8::1") == ("fe1.example.com",)
    names.records[pointer, "PTR"] = ["fe2.example.com."]
    names.records["fe2.example.com", "AAAA"] = ["2001:db8::1"]
    clock.now += names.ttl + 1
    assert resolver.names("2001:db8::1") == ("fe1.example.com",)
    assert await resolver.find_names("2001:db8::1") == ("fe2.example.com",)


async def test_a_hop_by_its_service_with_a_dead_target(names: NameServer, tmp_path: Path) -> None:
    async with running() as (server, _), running(NOWHERE, resolver=make(names, tmp_path)) as (client, user):
        port = server.ports["sip"]
        names.records = {
            ("_sip._tcp.example.com", "SRV"): ["1 0 1 dead.example.com.", f"2 0 {port} fe1.example.com."],
            ("dead.example.com", "A"): [HOST],
            ("fe1.example.com", "A"): [HOST],
        }
        assert await user.outcome(client.send(request(), Hop("tcp", "example.com", 0))) == 200
        by_name = hop_to(server, "udp", host="fe1.example.com")
        assert await user.outcome(client.send(request(), by_name)) == 200
        nowhere = Hop("udp", "gone.example.com", 5060)
        assert await user.outcome(client.send(request(), nowhere)) is Cause.TRANSPORT
