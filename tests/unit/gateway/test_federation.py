"""What administrators have set down, as a node knows it."""

from pathlib import Path

import pytest

from tests.databases import open_in
from ubiety.clock import ManualClock
from ubiety.cluster.changes import ORDER, Changes
from ubiety.gateway.federation import MOST_STRANGERS, Federation, FederationCopy
from ubiety.gateway.peers import Trusted
from ubiety.gateway.settings import ADVANCED, MICROSOFT, ROUTING_MODE, SETTINGS, refuse_advanced
from ubiety.settings import SettingError, Settings
from ubiety.sip.outputs import Peer
from ubiety.store import (
    acl,
    changes,
    federated_domains,
    microsoft_addresses,
    static_routes,
    tls_peers,
)
from ubiety.store.database import Database
from ubiety.store.static_routes import Route

LYNC = Route(0, ".com.domaina", "domain", "Lync", "lync1.domaina.com", 5061, "tls", 1, 10, True, True, False)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """An empty database."""
    return open_in(tmp_path)


async def test_a_node_follows_the_tables(database: Database) -> None:
    copy = FederationCopy()
    seen: list[Federation] = []
    copy.watch(seen.append)
    await copy.refresh(database)
    assert seen == [], "nothing has changed"
    await database.write(static_routes.add, LYNC)
    await database.write(acl.add, "ip", "192.0.2.0/24", "")
    await database.write(tls_peers.add, "lync1.domaina.com", "")
    await database.write(federated_domains.add, "partner.example", "sip", "")
    await database.write(federated_domains.add, "chat.example", "xmpp", "")
    await copy.refresh(database)
    await copy.refresh(database)
    assert seen == [copy.value]
    (route,) = copy.value.routes
    assert copy.value.table.find("bob", "domaina.com", lambda: 0.0).routes == (route,)
    verdict = copy.value.trust.judge(
        Peer(1, "tls", "192.0.2.7", 1, "sip_tls_peer", ("lync1.domaina.com",)), None
    )
    assert isinstance(verdict, Trusted)
    assert copy.value.remote_domains == {"partner.example"}
    copy.hops.failed(route.hop, "no answer", 0.0)
    await database.write(static_routes.put, LYNC._replace(id=route.id, next_hop="lync2.domaina.com"))
    await copy.refresh(database)
    assert copy.hops.dead() == {}, "no route leads there any more"
    database.close()


async def test_rules_follow_the_settings(database: Database) -> None:
    copy, settings = FederationCopy(), Settings(SETTINGS)
    rules = copy.rules(settings, ["domaina.com"])
    assert (
        not rules.is_shared and rules.mode == "basic" and not rules.has_microsoft_address("bob@domaina.com")
    )
    addresses = [f"bob{number}@domaina.com" for number in range(12_001)]
    await database.write(microsoft_addresses.add_many, addresses)
    await copy.refresh_microsoft(database)
    settings.apply(MICROSOFT.name, True)
    settings.apply(ROUTING_MODE.name, ADVANCED)
    rules = copy.rules(settings, ["domaina.com"])
    assert rules.is_shared and rules.mode == ADVANCED
    assert all(map(rules.has_microsoft_address, addresses)) and not rules.has_microsoft_address(
        "x@domaina.com"
    )
    database.close()


async def test_a_row_that_cannot_be_used_keeps_no_other_out(database: Database) -> None:
    await database.write(static_routes.add, LYNC._replace(pattern="domaina.com"))
    await database.write(static_routes.add, LYNC)
    copy = FederationCopy()
    await copy.refresh(database)
    assert len(copy.value.routes) == 2 and len(copy.value.table.refused) == 1
    assert len(copy.value.table.find("bob", "domaina.com", lambda: 0.0).routes) == 1
    database.close()


def test_domains_that_are_named_in_vain_are_remembered() -> None:
    copy = FederationCopy()
    for number in range(MOST_STRANGERS + 5):
        copy.note_stranger(f"d{number}.example", "a asked b", float(number))
    copy.note_stranger("d50.example", "c asked d", 999.0)
    newest, *others = copy.strangers()
    assert (newest.domain, newest.requests, newest.last, newest.example) == (
        "d50.example",
        2,
        999.0,
        "c asked d",
    )
    assert len(others) == MOST_STRANGERS - 1 and "d0.example" not in {one.domain for one in others}
    copy.value = Federation(remote_domains=frozenset({"d50.example"}))
    assert copy.strangers() == others


def test_the_advanced_mode_is_refused_where_several_clusters_are_joined() -> None:
    settings = Settings(SETTINGS)
    clusters = 1
    settings.guard(ROUTING_MODE, refuse_advanced(lambda: clusters))
    assert settings.parse(ROUTING_MODE.name, "advanced") == ADVANCED
    clusters = 3
    with pytest.raises(SettingError, match="3 clusters are joined"):
        settings.parse(ROUTING_MODE.name, "advanced")
    assert settings.parse(ROUTING_MODE.name, "basic") == "basic"


async def test_other_nodes_take_over_what_one_has_written(postgres_url: str) -> None:
    one, other = Database(postgres_url), Database(postgres_url)
    copy = FederationCopy()
    take_over = dict.fromkeys(ORDER, _nothing) | {
        changes.FEDERATION: lambda _: copy.refresh(other),
        changes.MICROSOFT: lambda _: copy.refresh_microsoft(other),
    }
    reader = Changes(other, ManualClock(), other.read_now(changes.horizon), take_over, lambda: ())
    await one.write(static_routes.add, LYNC)
    await one.write(microsoft_addresses.add_many, ["bob@domaina.com"])
    await reader.look()
    assert [route.next_hop for route in copy.value.routes] == ["lync1.domaina.com"]
    assert copy.microsoft == {"bob@domaina.com"}
    await one.write(static_routes.delete, copy.value.routes[0].id)
    await reader.look()
    assert copy.value.routes == ()
    one.close()
    other.close()


async def _nothing(_: object) -> None:
    """Takes nothing over."""
