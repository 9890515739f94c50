"""Commands of the federation: cli/sip_routes.py, cli/trust.py, cli/federation.py."""

import asyncio
import json
from pathlib import Path

from tests.unit.admin.small_node import SmallNode, do
from tests.unit.cli.conftest import Run
from ubiety.config import Listen
from ubiety.jid import parse
from ubiety.net import sip_settings
from ubiety.net.sip import Places, SipStack
from ubiety.routing.homes import Person
from ubiety.settings import Settings
from ubiety.store import sip_subscriptions as rows
from ubiety.store import users
from ubiety.store.sip_subscriptions import Fresh
from ubiety.telemetry import Counters


async def test_routes(ubiety: Run) -> None:
    assert "There are no routes." in (await ubiety("route", "list")).err
    done = await ubiety("route", "add", ".org.example", "lync1.example.org", "--tls", "--description", "Lync")
    assert done.code == 0 and done.out.startswith("Added route 1.") and "5061" in done.out
    await ubiety("route", "add", "91*", "192.0.2.7", "--port", "5070", "--priority", "2", "--exact")
    listed = json.loads((await ubiety("route", "list", "--json")).out)
    assert [(one["id"], one["kind"], one["port"], one["transport"]) for one in listed] == [
        (1, "domain", 5061, "tls"),
        (2, "user", 5070, "tcp"),
    ]
    done = await ubiety("route", "set", "1", "--out-of-service", "--block")
    assert "Changed route 1." in done.out and "blocked, out of service" in done.out
    done = await ubiety("route", "set", "1", "--in-service", "--unblock", "--next-hop", "lync2.example.org")
    assert "lync2.example.org" in done.out and "in service" in done.out
    assert "Deleted route 2." in (await ubiety("route", "delete", "2")).out


async def test_refusals_name_cause_and_cure(ubiety: Run) -> None:
    done = await ubiety("route", "add", "example.org", "lync1.example.org", "--type", "domain")
    assert done.code == 1 and "does not begin with a dot" in done.err and ".org.example" in done.err
    done = await ubiety("route", "add", ".org.example", "x", "--tls", "--protocol", "udp")
    assert done.code == 2 and "contradict" in done.err
    assert (await ubiety("route", "delete", "9")).code == 1
    assert (await ubiety("acl", "add", "300.1.1.1")).code == 1


async def test_a_route_is_explained_step_by_step(node: SmallNode, ubiety: Run) -> None:
    node.homes.put(Person(1, 1, parse("anna@example.org")))
    await ubiety("federation", "enable")
    await ubiety("route", "add", ".org.example", "lync1.example.org", "--tls")
    done = await ubiety("route", "explain", "anna@example.org", "bob@example.org")
    lines = done.out.splitlines()
    assert lines[0] == " 1. anna@example.org, one of our people, asks for bob@example.org."
    assert lines[-1].endswith("It is sent to lync1.example.org port 5061 over TLS.")
    done = await ubiety("route", "explain", "anna@example.org", "bob@example.org", "--returned")
    assert "a loop" in done.out and "SIP 404" in done.out
    done = await ubiety("route", "explain", "bob@example.org", "anna@example.org", "--json")
    assert json.loads(done.out)["action"] == "local"


async def test_trust(ubiety: Run) -> None:
    assert "nobody is trusted" in (await ubiety("acl", "list")).err
    assert "Allow from 192.0.2.0/24" in (await ubiety("acl", "add", "192.0.2.0/24")).out
    done = await ubiety("acl", "add", "synergy.com", "--kind", "domain", "--description", "all of them")
    assert "Allow from domain synergy.com" in done.out
    assert "all of them" in (await ubiety("acl", "list")).out
    assert "Deleted entry 1" in (await ubiety("acl", "delete", "192.0.2.0/24")).out
    done = await ubiety("acl", "add", "sip.partner.example", "--for", "Partner.example, chat.example")
    assert (
        done.out
        == "Added entry 3: Allow from sip.partner.example, for people of partner.example, chat.example only\n"
    )
    listed = json.loads((await ubiety("acl", "list", "--json")).out)
    assert [one["domains"] for one in listed] == [[], ["partner.example", "chat.example"]]
    table = (await ubiety("acl", "list")).out
    assert "Speaks for" in table and "partner.example" in table and "all" in table
    done = await ubiety("acl", "add", "192.0.2.1", "--for", "@")
    assert done.code == 1 and "is no domain" in done.err
    assert json.loads((await ubiety("acl", "delete", "2", "--json")).out)["value"] == "synergy.com"
    assert "nobody connects" in (await ubiety("tls-peer", "list")).err
    await ubiety("tls-peer", "add", "Lync1.Synergy.com")
    assert json.loads((await ubiety("tls-peer", "list", "--json")).out)[0]["subject"] == "lync1.synergy.com"
    assert "Deleted lync1.synergy.com." in (await ubiety("tls-peer", "delete", "lync1.synergy.com")).out


async def test_federation(node: SmallNode, ubiety: Run) -> None:
    done = await ubiety("federation", "enable", "--mode", "advanced")
    assert done.code == 0 and "advanced" in done.out and "example.org (no routes)" in done.out
    done = await ubiety("federation", "add", "partner.example")
    assert "Added partner.example." in done.out
    assert "ubiety route add .example.partner HOST --tls" in done.err
    await ubiety("route", "add", ".example.partner", "sip.partner.example", "--tls")
    node.federation.hops.failed(node.federation.value.routes[0].hop, "It took no connection.", 0.0)
    node.federation.note_stranger("synergy.online.com", "a asked b", 5.0)
    done = await ubiety("federation", "status")
    assert "partner.example (1 route) over SIP" in done.out
    assert "sip.partner.example port 5061 over TLS has not answered for" in done.err
    assert "synergy.online.com is unknown here" in done.err
    assert json.loads((await ubiety("federation", "disable", "--json")).out)["is_shared"] is False
    assert "Removed partner.example." in (await ubiety("federation", "remove", "partner.example")).out


async def test_addresses_of_the_microsoft_side(ubiety: Run, tmp_path: Path) -> None:
    file = tmp_path / "addresses.csv"
    people = [f"sip:bob{number}@example.org" for number in range(2_300)]
    file.write_text("msRTCSIP-PrimaryUserAddress,name\n" + "\n".join([*people, "@@", '"carl@example.org",C']))
    done = await ubiety("microsoft", "import", str(file))
    assert "Added 2301 of 2302 addresses." in done.out and "Refused: '@@' is no address" in done.err
    assert "2300 were known already." in (await ubiety("microsoft", "add", *people)).err
    listed = json.loads((await ubiety("microsoft", "list", "--json")).out)
    assert len(listed) == 2301 and listed == sorted(listed)
    assert "Deleted carl@example.org." in (await ubiety("microsoft", "delete", "carl@example.org")).out
    done = await ubiety("microsoft", "import", str(tmp_path / "none"))
    assert done.code == 1 and "cannot be read" in done.err
    assert (await ubiety("microsoft", "add", "nobody")).code == 1


async def test_subscriptions_with_people_outside(node: SmallNode, ubiety: Run) -> None:
    done = await ubiety("sip", "subscriptions")
    assert done.code == 0 and "There are no subscriptions." in done.err
    await do(node, "user.add", userid="ann", name="Ann")
    (user_id,) = await node.database.read(lambda conn: [one.user_id for one in users.all_people(conn)])
    fresh = [Fresh(user_id, "ysam@example.org", way, "granted", "call", {}, 5.0) for way in ("in", "out")]
    await node.database.write(rows.add_many, fresh)
    done = await ubiety("sip", "subscriptions", "--limit", "1")
    assert "ysam@example.org" in done.out and "There are more: --after 1" in done.err
    assert "1 in granted, 1 out granted" in done.err
    found = json.loads((await ubiety("sip", "subscriptions", "ann@example.org", "--json")).out)
    assert [one["direction"] for one in found["subscriptions"]] == ["in", "out"]


async def test_the_sip_stack(node: SmallNode, ubiety: Run) -> None:
    done = await ubiety("sip", "trace")
    assert done.code == 1 and "This node does not speak SIP." in done.err
    stack = SipStack(None, Places(sip=(Listen("127.0.0.1", 0),)), Settings(sip_settings.SETTINGS), Counters())
    await stack.start()
    node.sip = stack
    assert "No peer is connected." in (await ubiety("sip", "status")).err
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.ports["sip"])
    writer.write(b"OPTIONS sip:x SIP/2.0\r\nthis is no header\r\n\r\n")
    await asyncio.wait_for(reader.read(100), 5)
    done = await ubiety("sip", "trace", "127.0.0.1", "--limit", "5")
    assert "<-- TCP 127.0.0.1:" in done.err and "not a SIP message" in done.out
    assert "not a SIP message" in (await ubiety("sip", "trace", "--with-text")).out
    assert json.loads((await ubiety("sip", "status", "--json")).out)["is_listening"] is True
    writer.close()
    await stack.close()


async def test_presence_gateways(ubiety: Run) -> None:
    assert "There are none." in (await ubiety("gateway", "list")).err
    done = await ubiety("gateway", "add", "CUCM1.example.org", "--ask", "--description", "Phones")
    assert done.code == 0 and done.out == "Added cucm1.example.org.\n"
    await ubiety("gateway", "add", "192.0.2.9", "--protocol", "tls")
    listed = json.loads((await ubiety("gateway", "list", "--json")).out)
    assert [(one["address"], one["port"], one["is_asked"]) for one in listed] == [
        ("cucm1.example.org", 5060, True),
        ("192.0.2.9", 5061, False),
    ]
    assert "we ask it" in (await ubiety("gateway", "list")).out
    assert (await ubiety("gateway", "add", "192.0.2.9")).code == 1
    assert (await ubiety("gateway", "add", "192.0.2.10", "--port", "0")).code == 1
    assert (await ubiety("gateway", "delete", "192.0.2.9")).out == "Deleted 192.0.2.9.\n"
    assert (await ubiety("gateway", "delete", "192.0.2.9")).code == 1
