"""slixmpp logs in and asks the server who it is."""

from __future__ import annotations

import re

import pytest

from tests.interop.conftest import Clients


@pytest.mark.parametrize("direct", [False, True], ids=["starttls", "direct-tls"])
async def test_login_with_scram(slix: Clients, direct: bool) -> None:
    (user,) = slix.users(1)
    client = await slix.client(user, direct=direct).start()
    assert client.full == f"{user}@example.org/slix"
    assert client["feature_mechanisms"].mech.name.startswith("SCRAM-SHA-256")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "PLAIN"])
async def test_login_with_other_mechanisms(slix: Clients, mechanism: str) -> None:
    (user,) = slix.users(1)
    client = slix.client(user)
    client["feature_mechanisms"].use_mech = mechanism
    await client.start()
    assert client["feature_mechanisms"].mech.name == mechanism


async def test_wrong_password_is_refused(slix: Clients) -> None:
    (user,) = slix.users(1)
    client = slix.client(user, password="not the password")
    client.connect(*client._address)
    failure = await client.saw("failed_auth")
    assert failure["condition"] == "not-authorized"


async def test_server_makes_a_resource_when_none_is_wanted(slix: Clients) -> None:
    (user,) = slix.users(1)
    client = slix.client(user, resource="")
    client.connect(*client._address)
    await client.saw("session_start")
    assert client.boundjid.resource


async def test_ping_version_and_time_of_the_server(slix: Clients) -> None:
    (client,) = await slix.online(1, "xep_0092", "xep_0202")
    assert await client["xep_0199"].ping("example.org", timeout=10) < 10
    version = await client["xep_0092"].get_version("example.org", timeout=10)
    assert version["query"] == "jabber:iq:version"
    assert version.xml.findtext(".//{jabber:iq:version}name")
    time = await client["xep_0202"].get_entity_time("example.org", timeout=10)
    # The stanza class of slixmpp appends a second "Z" when it reads <utc/>: look at the text itself.
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", time.xml.findtext(".//{urn:xmpp:time}utc"))


async def test_disco_names_what_the_server_can(slix: Clients) -> None:
    (client,) = await slix.online(1)
    info = await client["xep_0030"].get_info(jid="example.org", timeout=10)
    features = info["disco_info"]["features"]
    identities = {(category, kind) for category, kind, *_ in info["disco_info"]["identities"]}
    assert ("server", "im") in identities
    wanted = {
        "http://jabber.org/protocol/disco#info",
        "http://jabber.org/protocol/disco#items",
        "urn:xmpp:ping",
        "urn:xmpp:carbons:2",
        "urn:xmpp:blocking",
        "vcard-temp",
        "jabber:iq:version",
        "jabber:iq:private",
        "jabber:iq:last",
    }
    assert wanted <= set(features)
    items = await client["xep_0030"].get_items(jid="example.org", timeout=10)
    assert items["type"] == "result"


async def test_disco_of_the_own_account(slix: Clients) -> None:
    (client,) = await slix.online(1)
    info = await client["xep_0030"].get_info(jid=client.bare, timeout=10)
    identities = {(category, kind) for category, kind, *_ in info["disco_info"]["identities"]}
    assert {("account", "registered"), ("pubsub", "pep")} <= identities
    assert {"urn:xmpp:mam:2", "http://jabber.org/protocol/pubsub#publish"} <= set(
        info["disco_info"]["features"]
    )


async def test_server_uptime(slix: Clients) -> None:
    (client,) = await slix.online(1, "xep_0012")
    last = await client["xep_0012"].get_last_activity("example.org", timeout=10)
    assert int(last["last_activity"]["seconds"]) >= 0


async def test_password_change(slix: Clients) -> None:
    (user,) = slix.users(1)
    client = await slix.client(user, "xep_0077").start()
    answer = await client["xep_0077"].change_password("another one", jid="example.org", timeout=20)
    assert answer["type"] == "result"
    again = await slix.client(user, password="another one", resource="two").start()
    assert again.full == f"{user}@example.org/two"
