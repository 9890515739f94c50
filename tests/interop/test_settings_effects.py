"""What the settings of instant messaging and presence do to people who are signed in (facts: settings).

Each test changes a setting of a running node by its command and looks at it through plain clients.
"""

from __future__ import annotations

import pytest

from tests.harness.client import Client
from tests.harness.tags import Tag
from tests.interop.own_node import Clients, all_settled, bodies, received, refusal, saw, settled, write

ROSTER = "jabber:iq:roster"
CARBONS = "urn:xmpp:carbons:2"
MAM = "urn:xmpp:mam:2"


async def of(client: Client, sender: Client) -> list[str | None]:
    """Take the presence that came from somebody's devices: its types."""
    found = await received(client)
    return [tag.get("type") for tag in found if (tag.get("from") or "").startswith(sender.bare)]


# -- instant messaging -------------------------------------------------------------------------------------


async def test_messages_are_refused_while_messaging_is_off(clients: Clients) -> None:
    anna, ben = await clients.friends()
    clients.set("im.enabled", "off")
    write(anna, ben.bare, "refused")
    assert await refusal(anna, "refused") == "service-unavailable"
    anna.send("<presence><show>away</show></presence>")
    assert (await saw(ben, anna, None)).need("show").text == "away"
    assert await bodies(ben) == []
    clients.set("im.enabled", "on")
    write(anna, ben.bare, "allowed")
    await ben.expect_message("allowed")


async def test_messages_to_the_absent_are_refused_while_they_are_not_kept(clients: Clients) -> None:
    anna, ben = await clients.online(2)
    await ben.close()
    clients.set("im.offline_suppressed", "on")
    write(anna, ben.bare, "refused")
    assert await refusal(anna, "refused") == "service-unavailable"
    clients.set("im.offline_suppressed", "off")
    write(anna, ben.bare, "kept")
    await settled(anna)
    again = await clients.client(ben.user)
    assert (await again.expect_message("kept")).need("delay", "urn:xmpp:delay").get("stamp")
    assert await bodies(again) == []


async def test_forking_goes_to_all_devices_until_one_replies(clients: Clients) -> None:
    clients.set("im.multi_device", "off")
    anna, ben = await clients.online(2)
    phone = await clients.client(ben.user, "phone")
    refused = await phone.iq("set", f"<enable xmlns='{CARBONS}'/>")
    assert refused.condition() == "not-allowed"
    write(anna, ben.bare, "to-all")
    await ben.expect_message("to-all")
    await phone.expect_message("to-all")
    write(phone, anna.bare, "the-reply")
    await anna.expect_message("the-reply")
    write(anna, ben.bare, "to-the-phone")
    await phone.expect_message("to-the-phone")
    assert await bodies(ben) == []
    # Another person's conversation is another one.
    (carl,) = await clients.online(1)
    write(carl, ben.bare, "from-carl")
    await ben.expect_message("from-carl")
    await phone.expect_message("from-carl")
    # When that device leaves, all get it again.
    await phone.close()
    tablet = await clients.client(ben.user, "tablet")
    write(anna, ben.bare, "to-all-again")
    await ben.expect_message("to-all-again")
    await tablet.expect_message("to-all-again")


async def test_devices_get_copies_where_there_are_many(clients: Clients) -> None:
    anna, ben = await clients.online(2)
    phone = await clients.client(ben.user, "phone")
    for device in (ben, phone):
        await device.iq("set", f"<enable xmlns='{CARBONS}'/>")
    write(ben, anna.bare, "from-the-desk")
    copied = await phone.expect(lambda tag: tag.find("sent", CARBONS) is not None)
    assert copied.need("body").text == "from-the-desk"
    write(anna, phone.jid, "for-the-phone")
    await phone.expect_message("for-the-phone")
    assert (await ben.expect(lambda tag: tag.find("received", CARBONS) is not None)).need("forwarded")
    clients.set("im.multi_device", "off")
    write(anna, phone.jid, "for-the-phone-only")
    await phone.expect_message("for-the-phone-only")
    assert await received(ben, "message") == []


async def test_nothing_is_kept_while_the_archive_is_off(clients: Clients) -> None:
    anna, ben = await clients.online(2)

    async def history() -> list[str]:
        await anna.iq("set", f"<query xmlns='{MAM}' queryid='h'/>")
        return [tag.need("body").text for tag in await received(anna, "message") if tag.child("result")]

    write(anna, ben.bare, "kept")
    await ben.expect_message("kept")
    assert await history() == ["kept"]
    clients.set("archive.enabled", "off")
    assert (await anna.iq("set", f"<query xmlns='{MAM}'/>")).get("type") == "error"
    info = await anna.iq("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", anna.bare)
    assert MAM not in {feature.get("var") for feature in info.need("query").all("feature")}
    write(anna, ben.bare, "not-kept")
    await ben.expect_message("not-kept")
    clients.set("archive.enabled", "on")
    assert await history() == ["kept"]


# -- availability ------------------------------------------------------------------------------------------


async def test_people_see_only_themselves_while_sharing_is_off(clients: Clients) -> None:
    anna, ben = await clients.friends()
    clients.set("presence.sharing", "off")
    await saw(ben, anna, "unavailable")
    await saw(anna, ben, "unavailable")
    phone = await clients.client(anna.user, "phone", "<presence><show>dnd</show></presence>")
    await saw(anna, phone, None)
    await saw(phone, anna, None)
    for asked in (anna.bare, anna.jid, "nobody@example.org"):
        ben.send(f"<presence to='{asked}' type='probe'/>")
    anna.send(f"<presence to='{ben.jid}'/>")
    await all_settled(anna)
    assert await of(ben, anna) == []
    assert await of(phone, ben) == []
    write(ben, anna.bare, "still-there")
    await anna.expect_message("still-there")
    clients.set("presence.sharing", "on")
    await saw(ben, anna, None)
    await saw(ben, phone, None)
    await saw(phone, ben, None)


async def test_people_are_not_asked_while_everybody_is_authorised(clients: Clients) -> None:
    anna, ben = await clients.online(2)
    anna.send(f"<presence to='{ben.bare}' type='subscribe'/>")
    answer = await anna.expect(lambda tag: tag.name == "presence" and tag.get("type") == "subscribed")
    assert answer.get("from") == ben.bare
    await saw(anna, ben, None)
    assert [tag.get("type") for tag in await received(ben) if tag.get("from") == anna.bare] == []


async def test_people_are_asked_where_nobody_is_authorised(clients: Clients) -> None:
    clients.set("presence.auto_authorize", "off")
    anna, ben, carl = await clients.online(3)
    for asked in (ben, carl):
        anna.send(f"<presence to='{asked.bare}' type='subscribe'/>")
        request = await asked.expect(lambda tag: tag.get("type") == "subscribe")
        assert request.get("from") == anna.bare
    assert await of(anna, ben) == []
    ben.send(f"<presence to='{anna.bare}' type='subscribed'/>")
    await saw(anna, ben, None)
    carl.send(f"<presence to='{anna.bare}' type='unsubscribed'/>")
    await all_settled(carl)
    assert "unsubscribed" in await of(anna, carl)
    assert await contacts(anna) == {ben.bare: "to", carl.bare: "none"}


async def test_somebody_blocked_is_not_authorised_by_the_server(clients: Clients) -> None:
    anna, ben = await clients.online(2)
    clients.ask("policy", "block", ben.user, anna.bare)
    anna.send(f"<presence to='{ben.bare}' type='subscribe'/>")
    await all_settled(anna, ben)
    assert (await contacts(anna), await contacts(ben)) == ({ben.bare: "none"}, {})


# -- limits ------------------------------------------------------------------------------------------------


async def contacts(client: Client) -> dict[str | None, str | None]:
    """The contact list: subscriptions by address."""
    answer = await client.iq("get", f"<query xmlns='{ROSTER}'/>")
    return {item.get("jid"): item.get("subscription") for item in answer.need("query").children}


async def add(client: Client, address: str) -> Tag:
    """Put somebody on the contact list."""
    return await client.iq("set", f"<query xmlns='{ROSTER}'><item jid='{address}'/></query>")


async def test_of_a_batch_the_surplus_is_refused(clients: Clients) -> None:
    anna, ben, carl = await clients.online(3)
    clients.set("roster.max_contacts", "5")
    for number in range(4):
        assert (await add(anna, f"c{number}@example.net")).get("type") == "result"
    batch = [await add(anna, f"d{number}@example.net") for number in range(3)]
    assert [answer.condition() for answer in batch] == [None, "not-allowed", "not-allowed"]
    kept = {*(f"c{number}@example.net" for number in range(4)), "d0@example.net"}
    assert set(await contacts(anna)) == kept
    # At the limit nobody can be added by a subscription either, and nobody adds this person.
    anna.send(f"<presence to='{ben.bare}' type='subscribe' id='more'/>")
    error = await anna.expect(lambda tag: tag.get("type") == "error" and tag.get("id") == "more")
    assert error.condition() == "not-allowed"
    ben.send(f"<presence to='{anna.bare}' type='subscribe' id='me'/>")
    error = await ben.expect(lambda tag: tag.get("type") == "error" and tag.get("id") == "me")
    assert error.condition() == "resource-constraint"
    assert (set(await contacts(anna)), await contacts(ben)) == (kept, {})
    # What is there can be changed and removed, and then there is room again.
    renamed = await anna.iq("set", f"<query xmlns='{ROSTER}'><item jid='c0@example.net' name='C'/></query>")
    assert renamed.get("type") == "result"
    await anna.iq(
        "set", f"<query xmlns='{ROSTER}'><item jid='c1@example.net' subscription='remove'/></query>"
    )
    assert (await add(anna, carl.bare)).get("type") == "result"


async def test_who_only_watches_takes_no_room_on_the_contact_list(clients: Clients) -> None:
    anna, ben, carl, dora = await clients.online(4)
    clients.set("roster.max_contacts", "2")
    for watcher in (ben, carl):
        watcher.send(f"<presence to='{anna.bare}' type='subscribe'/>")
        await saw(watcher, anna, None)
    for added in (dora.bare, "elsewhere@example.net"):
        assert (await add(anna, added)).get("type") == "result"
    assert (await add(anna, "surplus@example.net")).condition() == "not-allowed"


async def test_no_more_than_so_many_watch_a_person(clients: Clients) -> None:
    anna, ben, carl = await clients.online(3)
    clients.set("roster.max_watchers", "1")
    ben.send(f"<presence to='{anna.bare}' type='subscribe'/>")
    await saw(ben, anna, None)
    carl.send(f"<presence to='{anna.bare}' type='subscribe' id='one-more'/>")
    error = await carl.expect(lambda tag: tag.get("type") == "error" and tag.get("id") == "one-more")
    assert error.condition() == "resource-constraint"
    assert await contacts(carl) == {}
    anna.send("<presence><show>xa</show></presence>")
    assert (await saw(ben, anna, None)).need("show").text == "xa"
    assert await of(carl, anna) == []
    clients.set("roster.max_watchers", "0")
    carl.send(f"<presence to='{anna.bare}' type='subscribe'/>")
    await saw(carl, anna, None)


# -- temporary subscriptions -------------------------------------------------------------------------------


def temporary(clients: Clients) -> int:
    """The gauge of temporary subscriptions."""
    return int(clients.ask("status")["counters"]["temporary_subscriptions"])


async def test_a_stranger_may_look_and_then_watches_for_a_while(clients: Clients) -> None:
    anna, ben = await clients.online(2)
    ben.send(f"<presence to='{anna.bare}' type='probe'/>")
    await saw(ben, anna, None)
    anna.send("<presence><show>away</show></presence>")
    assert (await saw(ben, anna, None)).need("show").text == "away"
    assert temporary(clients) == 1
    await ben.close()
    assert temporary(clients) == 0
    assert await contacts(anna) == {}


async def test_looking_is_bounded_and_follows_the_policy(clients: Clients) -> None:
    anna, ben, carl = await clients.online(3)
    clients.set("presence.temporary_max", "1")
    for looking in (ben, carl):
        looking.send(f"<presence to='{anna.bare}' type='probe'/>")
        await settled(looking)
    assert (await of(ben, anna), await of(carl, anna)) == ([None], [])
    clients.ask("policy", "block", anna.user, ben.bare)
    await saw(ben, anna, "unavailable")
    ben.send(f"<presence to='{anna.bare}' type='probe'/>")
    carl.send(f"<presence to='{anna.bare}' type='probe'/>")
    await saw(carl, anna, None)
    assert await of(ben, anna) == []


@pytest.mark.parametrize("setting", ["presence.temporary_subscriptions", "presence.auto_authorize"])
async def test_looking_can_be_turned_off(clients: Clients, setting: str) -> None:
    anna, ben, carl = await clients.online(3)
    ben.send(f"<presence to='{anna.bare}' type='probe'/>")
    await saw(ben, anna, None)
    clients.set(setting, "off")
    await saw(ben, anna, "unavailable")
    carl.send(f"<presence to='{anna.bare}' type='probe'/>")
    assert await of(carl, anna) == []
