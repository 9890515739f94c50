"""slixmpp asks the server for what else it can do: broadcast, wishes about the history, keys, accounts."""

from __future__ import annotations

import time
from typing import Any
from xml.etree import ElementTree

import pytest
from slixmpp import JID
from slixmpp.exceptions import IqError

from tests.interop.conftest import Clients
from tests.interop.slix import SlixClient, befriend
from tests.node import Node
from ubiety.users.stamps import parse_stamp

OMEMO = "eu.siacs.conversations.axolotl.devicelist"


async def test_version_and_time_of_the_server(slix: Clients) -> None:
    (client,) = await slix.online(1, "xep_0092", "xep_0202")
    version = await client["xep_0092"].get_version("example.org", timeout=10)
    assert version["software_version"]["name"] == "Ubiety"
    assert version["software_version"]["version"]
    answer = await client["xep_0202"].get_entity_time("example.org", timeout=10)
    # slixmpp cannot parse the examples of XEP-0202 §3: it appends a "Z" of its own, for one.
    utc = answer.xml.findtext(".//{urn:xmpp:time}utc")
    assert abs(parse_stamp(utc) - time.time()) < 60
    assert answer.xml.findtext(".//{urn:xmpp:time}tzo") == "+00:00"


async def test_capabilities_of_the_server_are_in_the_stream(slix: Clients) -> None:
    (user,) = slix.users(1)
    client = slix.client(user, "xep_0115")
    seen: list[Any] = []
    client.add_event_handler("entity_caps", seen.append)
    await client.start()
    info = await client["xep_0030"].get_info(jid="example.org", timeout=10)
    caps = client["xep_0115"]
    ver = caps.generate_verstring(info["disco_info"], "sha-1")
    offered = [
        presence["caps"]["ver"] for presence in seen if presence["caps"]["node"] == "urn:ubiety:server"
    ]
    assert offered == [ver]


async def test_one_message_to_many(slix: Clients) -> None:
    alice, bob, carol = await slix.online(3, "xep_0033")
    (dave,) = slix.users(1)
    message = alice.make_message(JID("example.org"), "to all of you", mtype="normal")
    message["addresses"].add_address(atype="to", jid=JID(bob.bare))
    message["addresses"].add_address(atype="cc", jid=JID(f"{dave}@example.org"))
    message["addresses"].add_address(atype="bcc", jid=JID(carol.bare))
    message.send()
    for client in (bob, carol):
        got = await client.saw_message("to all of you")
        assert got["from"] == alice.full
        named = {(a["type"], str(a["jid"])) for a in got["addresses"]}
        assert named == {("to", bob.bare), ("cc", f"{dave}@example.org")}
    late = await slix.client(dave).start()
    await late.saw_message("to all of you")


async def test_ends_and_fields_of_the_history(slix: Clients) -> None:
    alice, bob = await slix.online(2, "xep_0313")
    for line in ("first", "last"):
        bob.send_message(alice.full, line, mtype="chat")
        await alice.saw_message(line)
    ids = [m["mam_result"]["id"] for m in (await alice["xep_0313"].retrieve(timeout=10))["mam"]["results"]]
    metadata = (await alice["xep_0313"].get_archive_metadata(timeout=10))["mam_metadata"]
    assert [metadata["start"]["id"], metadata["end"]["id"]] == ids
    fields = await alice["xep_0313"].get_fields(timeout=10)
    assert {"with", "start", "end"} <= set(fields.get_fields())


async def test_device_lists_and_bundles(slix: Clients) -> None:
    user, friend = slix.users(2)
    alice = await slix.client(user, "xep_0060", "xep_0163").start()
    bob = slix.client(friend, "xep_0060", "xep_0163")
    bob["xep_0163"].add_interest(OMEMO)
    await bob.start()
    await befriend(alice, bob)
    devices = ElementTree.fromstring(
        f"<list xmlns='eu.siacs.conversations.axolotl'><device id='{31415}'/></list>"
    )
    await alice["xep_0060"].publish(None, OMEMO, id="current", payload=devices, timeout=10)
    event = await bob.saw("pubsub_publish", lambda stanza: stanza["pubsub_event"]["items"]["node"] == OMEMO)
    assert event["from"] == alice.bare
    bundle = "eu.siacs.conversations.axolotl.bundles:31415"
    options = open_options(alice)
    keys = ElementTree.fromstring(
        "<bundle xmlns='eu.siacs.conversations.axolotl'><identityKey>x</identityKey></bundle>"
    )
    await alice["xep_0060"].publish(None, bundle, id="current", payload=keys, options=options, timeout=10)
    got = await bob["xep_0060"].get_items(alice.bare, bundle, timeout=10)
    (item,) = got["pubsub"]["items"]
    assert item["payload"].tag == "{eu.siacs.conversations.axolotl}bundle"


async def test_nodes_are_listed_configured_and_deleted(slix: Clients) -> None:
    (client,) = await slix.online(1, "xep_0060")
    pubsub = client["xep_0060"]
    await pubsub.create_node(None, "urn:example:node", timeout=10)
    form = (await pubsub.get_node_config(client.bare, "urn:example:node", timeout=10))["pubsub_owner"]
    assert form["configure"]["form"].get_values()["pubsub#access_model"] == "presence"
    nodes = await pubsub.get_nodes(client.bare, timeout=10)
    assert "urn:example:node" in {node for _, node, _ in nodes["disco_items"]["items"]}
    await pubsub.delete_node(None, "urn:example:node", timeout=10)
    with pytest.raises(IqError) as caught:
        await pubsub.get_items(client.bare, "urn:example:node", timeout=10)
    assert caught.value.condition == "item-not-found"


async def test_picture_of_a_vcard_reaches_modern_clients(slix: Clients) -> None:
    user, friend = slix.users(2)
    alice = await slix.client(user, "xep_0054").start()
    bob = slix.client(friend, "xep_0084")
    bob["xep_0163"].add_interest("urn:xmpp:avatar:metadata")
    await bob.start()
    await befriend(alice, bob)
    card = alice["xep_0054"].make_vcard()
    card["PHOTO"]["TYPE"] = "image/png"
    card["PHOTO"]["BINVAL"] = b"a picture"
    await alice["xep_0054"].publish_vcard(card, timeout=10)
    event = await bob.saw(
        "pubsub_publish",
        lambda stanza: stanza["pubsub_event"]["items"]["node"] == "urn:xmpp:avatar:metadata",
    )
    number = event["pubsub_event"]["items"]["item"]["id"]
    data = await bob["xep_0084"].retrieve_avatar(alice.bare, number, timeout=10)
    assert data["pubsub"]["items"]["item"]["avatar_data"]["value"] == b"a picture"


async def test_account_is_made_by_a_client(slix: Clients, shared_node: Node) -> None:
    refused = await register(slix, "stranger1")
    assert refused is None
    shared_node.set_setting("c2s.registration", "on")
    try:
        made = await register(slix, "stranger2")
        assert made is not None and made.bare == "stranger2@example.org"
    finally:
        shared_node.set_setting("c2s.registration", "off")


async def register(slix: Clients, name: str) -> SlixClient | None:
    """Make an account before login; return the client that then logged in, None when it could not."""
    client = slix.client(name, "xep_0077")
    client["xep_0077"].force_registration = True
    failed: list[Any] = []

    async def fill_in(_form: Any) -> None:
        iq = client.make_iq_set()
        iq["register"]["username"] = name
        iq["register"]["password"] = client.password
        await iq.send(timeout=10)

    client.add_event_handler("register", fill_in)
    client.add_event_handler("failed_auth", failed.append)
    try:
        return await client.start()
    except AssertionError:
        assert failed
        return None


def open_options(client: SlixClient) -> object:
    """Return publish options for a node that everybody may read."""
    form = client["xep_0004"].make_form(ftype="submit")
    form.add_field("FORM_TYPE", ftype="hidden", value="http://jabber.org/protocol/pubsub#publish-options")
    form.add_field("pubsub#access_model", value="open")
    return form
