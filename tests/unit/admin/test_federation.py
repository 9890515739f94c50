"""Operations on the federation: routes, trust, domains, addresses; and the checks of it."""

from typing import Any

import pytest

from tests.unit.admin.small_node import SmallNode, do, refused
from ubiety.admin.inspect_federation import inspect_federation
from ubiety.admin.rbac import Caller
from ubiety.cluster.services import Kind
from ubiety.gateway.settings import MICROSOFT, ROUTING_MODE
from ubiety.jid import parse
from ubiety.routing.homes import Person
from ubiety.store import sip_dialogs, sip_subscriptions
from ubiety.store.sip_subscriptions import IN, OUT, Fresh

ROUTE = {"pattern": ".com.synergy", "next_hop": "lync1.synergy.com", "transport": "tls"}


async def test_a_route_from_its_beginning_to_its_end(node: SmallNode) -> None:
    made = await do(node, "route.add", **ROUTE)
    assert (made.kind, made.port, made.priority, made.weight) == ("domain", 5061, 1, 10)
    assert made.allow_less_specific and made.in_service and not made.is_blocked and made.trouble == ""
    assert [route.id for route in node.federation.value.routes] == [made.id], "it is used at once"
    other = await do(node, "route.add", pattern="91*", next_hop="192.0.2.7", priority=3, weight=5)
    assert (other.kind, other.port, other.transport) == ("user", 5060, "tcp")
    changed = await do(node, "route.set", id=made.id, in_service=False, next_hop="[2001:DB8::7]")
    assert (changed.next_hop, changed.in_service, changed.pattern) == ("2001:db8::7", False, ".com.synergy")
    node.federation.hops.failed(node.federation.value.routes[0].hop, "It took no connection.", 0.0)
    listed = (await do(node, "route.list")).routes
    assert [(one.id, one.trouble) for one in listed] == [
        (made.id, "It took no connection."),
        (other.id, ""),
    ]
    assert (await do(node, "route.delete", id=made.id)).id == made.id
    assert [route.id for route in node.federation.value.routes] == [other.id]
    for name in ("route.delete", "route.set"):
        problem = await refused(node, name, id=made.id)
        assert problem.kind.status == 404 and problem.cure == "See: ubiety route list"


@pytest.mark.parametrize(
    ("fields", "cause", "cure"),
    [
        ({"pattern": "synergy.com", "kind": "domain"}, "begin with a dot", ".com.synergy"),
        ({"kind": "user"}, "pattern of a domain", "--type domain"),
        ({"pattern": "synergy.com"}, "looks like a domain", ".com.synergy. For users: --type user"),
        ({"pattern": "org.example"}, "looks like a domain", ": .org.example."),
        ({"next_hop": "not a host"}, "neither an IP address", "lync1.example.com"),
        ({"next_hop": "192.0.2.7", "port": 0}, "SRV", "Give the port"),
    ],
)
async def test_routes_that_are_refused(
    node: SmallNode, fields: dict[str, Any], cause: str, cure: str
) -> None:
    problem = await refused(node, "route.add", **ROUTE | fields)
    assert problem.kind.status == 422 and cause in problem.detail and cure in problem.cure
    assert (await do(node, "route.list")).routes == []


async def test_a_route_is_there_once_and_a_pattern_a_hundred_times(node: SmallNode) -> None:
    await do(node, "route.add", **ROUTE)
    problem = await refused(node, "route.add", **ROUTE | {"pattern": ".COM.synergy"})
    assert problem.kind.status == 409 and "lync1.synergy.com port 5061 over TLS" in problem.detail
    for number in range(2, 101):
        await do(node, "route.add", **ROUTE | {"next_hop": f"lync{number}.synergy.com"})
    problem = await refused(node, "route.add", **ROUTE | {"next_hop": "lync101.synergy.com"})
    assert problem.kind.status == 409 and "100 routes" in problem.detail
    await do(node, "route.add", **ROUTE | {"pattern": ".com.synergy.*"})


def _sign_up(node: SmallNode, address: str, user_id: int) -> None:
    node.homes.put(Person(user_id, user_id, parse(address)))


async def test_explaining_goes_through_the_whole_decision(node: SmallNode) -> None:
    _sign_up(node, "anna@example.org", 1)
    explained = await do(node, "route.explain", sender="anna@example.org", recipient="sip:bob@example.org")
    assert (explained.action, explained.status) == ("refused", 404)
    assert "ubiety federation enable" in " ".join(explained.steps)
    await do(node, "federation.enable")
    made = await do(node, "route.add", **ROUTE | {"pattern": ".org.example"})
    explained = await do(node, "route.explain", sender="anna@example.org", recipient="bob@example.org")
    assert explained.action == "microsoft" and [one.id for one in explained.routes] == [made.id]
    explained = await do(node, "route.explain", sender="bob@example.org", recipient="Anna@Example.org/desk")
    assert explained.action == "local"
    explained = await do(
        node, "route.explain", sender="anna@example.org", recipient="bob@example.org", is_returned=True
    )
    assert (explained.action, explained.status, explained.condition) == ("refused", 404, "item-not-found")
    assert "a loop" in " ".join(explained.steps)
    node.homes.put(Person(2, 2, parse("gone@example.org"), enabled=False))
    explained = await do(node, "route.explain", sender="bob@example.org", recipient="gone@example.org")
    assert explained.status == 404 and "ubiety user enable gone@example.org" in explained.steps[-1]
    explained = await do(node, "route.explain", sender="anna@example.org", recipient="gone@example.org")
    assert explained.action == "local" and "disabled" in explained.steps[-1]
    problem = await refused(node, "route.explain", sender="anna@example.org", recipient="@@")
    assert problem.kind.status == 422


async def test_entries_of_the_access_control_list(node: SmallNode) -> None:
    one = await do(node, "acl.add", entry="Allow from 192.0.2.0/24", description="front ends")
    assert (one.kind, one.value, one.pattern) == ("ip", "192.0.2.0/24", "Allow from 192.0.2.0/24")
    await do(node, "acl.add", entry="*.synergy.com")
    await do(node, "acl.add", entry="synergy.com")
    assert len(node.federation.value.trust.entries) == 3
    problem = await refused(node, "acl.add", entry="192.0.2.1/24")
    assert problem.kind.status == 409
    assert (await refused(node, "acl.add", entry="300.1.1.1")).kind.status == 422
    assert (await do(node, "acl.delete", entry="synergy.com")).kind == "fqdn"
    assert (await do(node, "acl.delete", entry=str(one.id))).value == "192.0.2.0/24"
    assert (await do(node, "acl.delete", entry="synergy.com", kind="domain")).kind == "domain"
    assert (await do(node, "acl.list")).entries == []
    for entry in ("synergy.com", "77"):
        assert (await refused(node, "acl.delete", entry=entry)).kind.status == 404


async def test_tls_peers(node: SmallNode) -> None:
    made = await do(node, "tls_peer.add", subject="Lync1.Synergy.com", description="front end")
    assert made.subject == "lync1.synergy.com"
    assert node.federation.value.trust.subjects == {"lync1.synergy.com"}
    assert (await refused(node, "tls_peer.add", subject="lync1.synergy.com")).kind.status == 409
    assert (await refused(node, "tls_peer.add", subject="192.0.2.1")).kind.status == 422
    assert [one.subject for one in (await do(node, "tls_peer.list")).peers] == ["lync1.synergy.com"]
    assert (await do(node, "tls_peer.delete", subject="LYNC1.synergy.com")).name == "lync1.synergy.com"
    assert (await refused(node, "tls_peer.delete", subject="lync1.synergy.com")).kind.status == 404


async def test_federation_is_turned_on_and_off(node: SmallNode) -> None:
    shown = await do(node, "federation.enable", mode="advanced")
    assert (shown.is_shared, shown.mode) == (True, "advanced")
    assert node.settings.get(MICROSOFT) and node.settings.get(ROUTING_MODE) == "advanced"
    shown = await do(node, "federation.disable")
    assert (shown.is_shared, shown.mode) == (False, "advanced")
    await do(node, "federation.enable", mode="basic")
    node.clusters = 2
    for name, arguments in (
        ("federation.enable", {"mode": "advanced"}),
        ("setting.set", {"name": "federation.routing_mode", "value": "advanced"}),
    ):
        problem = await refused(node, name, **arguments)
        assert problem.kind.status == 422 and "2 clusters" in problem.detail
    assert node.settings.get(ROUTING_MODE) == "basic"


async def test_domains_of_others_are_federated_once(node: SmallNode) -> None:
    made = await do(node, "federation.add", domain="Partner.example", description="partner")
    assert (made.name, made.protocol, made.routes) == ("partner.example", "sip", 0)
    assert node.federation.value.remote_domains == {"partner.example"}
    problem = await refused(node, "federation.add", domain="partner.example")
    assert problem.kind.status == 409 and "already over SIP" in problem.detail
    problem = await refused(node, "federation.add", domain="example.org")
    assert problem.kind.status == 409 and "one of our own domains" in problem.detail
    problem = await refused(node, "domain.add", name="partner.example")
    assert problem.kind.status == 409 and "ubiety federation remove partner.example" in problem.cure
    assert (await refused(node, "federation.add", domain="a b")).kind.status == 422
    await do(node, "federation.remove", domain="partner.example")
    assert (await refused(node, "federation.remove", domain="partner.example")).kind.status == 404
    await do(node, "domain.add", name="partner.example")


async def test_addresses_of_the_microsoft_side(node: SmallNode) -> None:
    done = await do(
        node,
        "microsoft.add",
        addresses=["sip:Bob@Example.org", "carl@example.org", "@@", "example.org", "carl@example.org"],
    )
    assert done.added == 2 and len(done.refused) == 2
    assert node.federation.microsoft == {"bob@example.org", "carl@example.org"}
    page = await do(node, "microsoft.list", limit=1)
    assert (page.addresses, page.next) == (["bob@example.org"], "bob@example.org")
    assert (await do(node, "microsoft.list", after=page.next)).addresses == ["carl@example.org"]
    assert (await do(node, "microsoft.delete", address="sip:bob@example.org")).name == "bob@example.org"
    assert (await refused(node, "microsoft.delete", address="bob@example.org")).kind.status == 404
    assert (await refused(node, "microsoft.delete", address="bob")).kind.status == 422
    assert node.federation.microsoft == {"carl@example.org"}


async def test_the_status_counts_what_there_is(node: SmallNode) -> None:
    await do(node, "user.add", userid="anna")
    user_id = node.database.read_now(lambda conn: conn.exec_driver_sql("SELECT id FROM users").scalar_one())
    many = [
        Fresh(user_id, f"b{number}@example.org", IN, state, f"{number}@x", {}, 1.0)
        for number, state in enumerate(["active", "active", "pending"])
    ]
    many.append(Fresh(user_id, "carl@example.org", OUT, "active", "o@x", {}, 1.0))
    await node.database.write(sip_subscriptions.add_many, many)
    dialog = sip_dialogs.Fresh(user_id, "carl@example.org", "d@x", {}, 1.0)
    await node.database.write(sip_dialogs.add_many, [dialog])
    await do(node, "route.add", **ROUTE | {"pattern": ".org.example"})
    node.federation.hops.failed(node.federation.value.routes[0].hop, "no answer", node.clock.monotonic() - 9)
    node.federation.note_stranger("synergy.online.com", "a asked b", 5.0)
    shown = await do(node, "federation.status")
    assert (shown.watched, shown.watching, shown.conversations, shown.outgoing) == (3, 1, 1, 0)
    assert [(one.name, one.routes) for one in shown.domains] == [("example.org", 1)]
    assert shown.trouble[0].hop == "lync1.synergy.com port 5061 over TLS" and shown.trouble[0].since > 8
    assert shown.strangers[0].domain == "synergy.online.com"


async def test_reading_and_writing_are_permissions_of_their_own(node: SmallNode) -> None:
    reader = Caller("token:reader", frozenset({"federation.read"}))
    await do(node, "federation.status", reader)
    await do(node, "acl.list", reader)
    for name, arguments in (
        ("acl.add", {"entry": "all"}),
        ("federation.enable", {}),
        ("route.delete", {"id": 1}),
    ):
        assert (await refused(node, name, reader, **arguments)).kind.status == 403


async def _found(node: SmallNode) -> dict[str, list[tuple[str, str, str]]]:
    found: dict[str, list[tuple[str, str, str]]] = {}
    for one in await inspect_federation(node):
        found.setdefault(one.check, []).append((one.outcome, one.text, one.cure))
    return found


async def test_nothing_is_checked_where_there_is_no_federation(node: SmallNode) -> None:
    assert await _found(node) == {}


async def test_a_federation_that_is_right_passes(node: SmallNode) -> None:
    node.ports = {"sip": 5060, "sip_tls_peer": 5061}
    await do(node, "federation.enable")
    await do(node, "route.add", **ROUTE | {"pattern": ".org.example"})
    await do(node, "route.add", **ROUTE | {"pattern": ".com.synergy.lync1"})
    await do(node, "acl.add", entry="lync1.synergy.com")
    await do(node, "tls_peer.add", subject="lync1.synergy.com")
    found = await _found(node)
    ((outcome, text, cure),) = found.pop("SIP certificate")
    assert outcome == "warning" and "from the local authority" in text and "RSA" in cure
    assert [(row[0], row[2]) for row in found["SIP services"]] == [
        ("failed", "Run: ubiety utils service start sip-proxy"),
        ("failed", "Run: ubiety utils service start sip-federation"),
    ]
    await node.services.open(1)
    for kind in (Kind.NETWORK, Kind.FEATURE):
        await node.services.start_wanted(kind)
    found = await _found(node)
    ((outcome, text, cure),) = found.pop("SIP certificate")
    assert outcome == "warning" and "from the local authority" in text and "RSA" in cure
    assert {outcome for rows in found.values() for outcome, _, _ in rows} == {"passed"}, found
    assert sorted(found) == ["next hops", "routes", "trusted peers"]


async def test_what_is_missing_is_named_with_its_cure(node: SmallNode) -> None:
    await do(node, "federation.enable", mode="advanced")
    found = await _found(node)
    ((outcome, text, cure),) = found["routes"]
    assert outcome == "failed" and "no route to example.org" in text
    assert cure == "Run: ubiety route add .org.example HOST --tls"
    assert [row[1] for row in found["trusted peers"]] == [
        "This node does not listen for SIP: nobody outside reaches us.",
        "The access control list is empty: all requests from outside are refused.",
    ]
    assert "no address of the Microsoft side is known" in found["routing mode"][0][1]
    await do(node, "route.add", **ROUTE | {"pattern": ".org.example", "in_service": False})
    await do(node, "acl.add", entry="all")
    found = await _found(node)
    assert "out of service" in found["routes"][0][1]
    assert any("in anybody's name" in text for _, text, _ in found["trusted peers"])
    assert any("no TLS peer is named" in text for _, text, _ in found["trusted peers"])


async def test_trusted_peers_that_may_speak_for_everybody(node: SmallNode) -> None:
    node.ports = {"sip": 5060}
    await do(node, "acl.add", entry="*.synergy.com")
    assert len((await _found(node))["trusted peers"]) == 1, "only Microsoft servers are there"
    await do(node, "federation.add", domain="partner.example")
    await do(node, "acl.add", entry="192.0.2.20", domains=["Partner.example", "online.synergy.com"])
    _, (outcome, text, cure), unknown = (await _found(node))["trusted peers"]
    assert outcome == "warning" and "people of every domain: *.synergy.com." in text
    assert cure == "Limit each: ubiety acl delete 1, and ubiety acl add *.synergy.com --for DOMAIN"
    assert unknown[0] == "warning" and "online.synergy.com is unknown" in unknown[1]
    await do(node, "acl.delete", entry="*.synergy.com")
    found = (await _found(node))["trusted peers"]
    assert not any("every domain" in text for _, text, _ in found)


async def test_the_misconfigured_domains_of_the_seed(node: SmallNode) -> None:
    """A domain that only the Microsoft side has, and somebody in a sub-domain (seed 000)."""
    node.ports = {"sip": 5060}
    await do(node, "federation.enable")
    for pattern in (".org.example", ".com.online.synergy", ".org.example.abc", ".example.org"):
        await do(node, "route.add", **ROUTE | {"pattern": pattern, "kind": "domain"})
    await do(node, "microsoft.add", addresses=["user1@abc.example.org", "dora@synergy.online.com"])
    node.federation.note_stranger("synergy.online.com", "dora@synergy.online.com asked anna@example.org", 1.0)
    found = await _found(node)
    routes = {text: cure for _, text, cure in found["routes"]}
    assert any("synergy.online.com is not among our domains" in text for text in routes)
    assert any("abc.example.org is not among our domains; example.org is" in text for text in routes)
    assert any("example.org is meant" in text for text in routes)
    assert any("--pattern .org.example" in cure for cure in routes.values())
    domains = " ".join(f"{text} {cure}" for _, text, cure in found["domains"])
    assert "One request was refused (dora@synergy.online.com asked anna@example.org)" in domains
    assert "People of abc.example.org are known on the Microsoft side" in domains
    assert (
        "Or move its people to example.org." in domains and "ubiety domain add synergy.online.com" in domains
    )
    report = await do(node, "node.check")
    assert {"routes", "domains"} <= {one.check for one in report.findings}


async def test_a_dead_next_hop_and_a_row_that_cannot_be_used(node: SmallNode) -> None:
    await do(node, "federation.enable")
    made = await do(node, "route.add", **ROUTE | {"pattern": ".org.example"})
    node.federation.hops.failed(node.federation.value.routes[0].hop, "It took no connection.", 0.0)
    await node.database.write(
        lambda conn: conn.exec_driver_sql(
            "INSERT INTO static_routes (pattern, kind, next_hop) VALUES ('example.com', 'domain', 'x')"
        )
    )
    await node.federation.refresh(node.database)
    found = await _found(node)
    assert found["next hops"][0][1].startswith("lync1.synergy.com port 5061 over TLS does not answer")
    assert f"Route {made.id + 1} (example.com) is not used" in found["routes"][0][1]
