"""slixmpp keeps what belongs to a person on the server: card, notes, bookmarks, picture."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from slixmpp.exceptions import IqError

from tests.interop.conftest import Clients
from tests.interop.slix import SlixClient, befriend

PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c63000100000500010d0a2db40000000049454e44ae426082"
)


async def test_vcard_is_published_and_read_by_another(slix: Clients) -> None:
    alice, bob = await slix.online(2, "xep_0054")
    card = alice["xep_0054"].make_vcard()
    card["FN"] = "Alice of the First Floor"
    card["NICKNAME"] = "al"
    await alice["xep_0054"].publish_vcard(card, timeout=10)
    seen = await bob["xep_0054"].get_vcard(alice.bare, timeout=10)
    assert seen["vcard_temp"]["FN"] == "Alice of the First Floor"


async def test_private_storage_is_kept_across_sessions(slix: Clients) -> None:
    (user,) = slix.users(1)
    first = await slix.client(user, resource="one").start()
    await private(first, "set", "<note xmlns='urn:example:notes'>remember</note>").send(timeout=10)
    await first.disconnect()
    second = await slix.client(user, resource="two").start()
    answer = await private(second, "get", "<note xmlns='urn:example:notes'/>").send(timeout=10)
    assert answer.xml.findtext(".//{urn:example:notes}note") == "remember"


async def test_private_storage_of_another_is_forbidden(slix: Clients) -> None:
    alice, bob = await slix.online(2)
    with pytest.raises(IqError):
        await private(alice, "get", "<note xmlns='urn:example:notes'/>", bob.bare).send(timeout=10)


async def test_bookmarks_are_pushed_to_the_other_client(slix: Clients) -> None:
    (user,) = slix.users(1)
    desk = await slix.client(user, "xep_0402", "xep_0163", resource="desk").start()
    phone = slix.client(user, "xep_0402", "xep_0163", resource="phone")
    phone["xep_0163"].add_interest("urn:xmpp:bookmarks:1")
    await phone.start()
    room = phone["xep_0402"].stanza.Conference()
    room["name"] = "Lunch"
    room["autojoin"] = True
    await desk["xep_0163"].publish(
        room,
        node="urn:xmpp:bookmarks:1",
        id="lunch@rooms.example.org",
        options=bookmark_options(desk),
        timeout=10,
    )
    event = await phone.saw("pubsub_publish")
    item = event["pubsub_event"]["items"]["item"]
    assert item["id"] == "lunch@rooms.example.org"
    assert item.xml.find("{urn:xmpp:bookmarks:1}conference").get("name") == "Lunch"
    items = await phone["xep_0060"].get_items(phone.bare, "urn:xmpp:bookmarks:1", timeout=10)
    assert [entry["id"] for entry in items["pubsub"]["items"]] == ["lunch@rooms.example.org"]


async def test_bookmarks_are_nobody_elses_business(slix: Clients) -> None:
    alice, bob = await slix.friends("xep_0402", "xep_0163")
    room = alice["xep_0402"].stanza.Conference()
    await alice["xep_0163"].publish(
        room,
        node="urn:xmpp:bookmarks:1",
        id="secret@rooms.example.org",
        options=bookmark_options(alice),
        timeout=10,
    )
    with pytest.raises(IqError):
        await bob["xep_0060"].get_items(alice.bare, "urn:xmpp:bookmarks:1", timeout=10)


async def test_avatar_is_announced_to_a_friend(slix: Clients) -> None:
    user, friend = slix.users(2)
    alice = await slix.client(user, "xep_0084").start()
    bob = slix.client(friend, "xep_0084")
    bob["xep_0163"].add_interest("urn:xmpp:avatar:metadata")
    await bob.start()
    await befriend(alice, bob)
    number = alice["xep_0084"].generate_id(PICTURE)
    await alice["xep_0084"].publish_avatar(PICTURE, timeout=10)
    await alice["xep_0084"].publish_avatar_metadata(
        {"id": number, "type": "image/png", "bytes": len(PICTURE)}, timeout=10
    )
    event = await bob.saw(
        "pubsub_publish",
        lambda stanza: stanza["pubsub_event"]["items"]["node"] == "urn:xmpp:avatar:metadata",
    )
    assert event["pubsub_event"]["items"]["item"]["id"] == number
    data = await bob["xep_0084"].retrieve_avatar(alice.bare, number, timeout=10)
    assert data["pubsub"]["items"]["item"]["avatar_data"]["value"] == PICTURE


async def test_last_activity_of_an_absent_friend(slix: Clients) -> None:
    alice, bob = await slix.friends("xep_0012")
    bob.send_presence(ptype="unavailable", pstatus="gone home")
    await alice.saw_presence("unavailable", bob.bare)
    await bob.disconnect()
    last = await alice["xep_0012"].get_last_activity(bob.bare, timeout=10)
    assert 0 <= int(last["last_activity"]["seconds"]) < 60


async def test_last_activity_of_a_stranger_is_refused(slix: Clients) -> None:
    alice, bob = await slix.online(2, "xep_0012")
    with pytest.raises(IqError) as caught:
        await alice["xep_0012"].get_last_activity(bob.bare, timeout=10)
    assert caught.value.condition in ("forbidden", "service-unavailable", "subscription-required")


def private(client: SlixClient, kind: str, payload: str, to: str | None = None) -> Any:
    """Return a private storage request (XEP-0049) around one element."""
    iq = client.make_iq(itype=kind, ito=to)
    iq.set_payload(ElementTree.fromstring(f"<query xmlns='jabber:iq:private'>{payload}</query>"))
    return iq


def bookmark_options(client: SlixClient) -> object:
    """Return the publish options that XEP-0402 §3 asks for."""
    form = client["xep_0004"].make_form(ftype="submit")
    form.add_field("FORM_TYPE", ftype="hidden", value="http://jabber.org/protocol/pubsub#publish-options")
    for name, value in (
        ("pubsub#persist_items", "true"),
        ("pubsub#max_items", "max"),
        # XEP-0402 wants "never"; so the test would have to know when the server has learnt of the interest.
        ("pubsub#send_last_published_item", "on_sub_and_presence"),
        ("pubsub#access_model", "whitelist"),
    ):
        form.add_field(name, value=value)
    return form
