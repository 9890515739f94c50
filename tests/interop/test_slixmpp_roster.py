"""slixmpp keeps a contact list and sees its contacts come, change and go (RFC 6121 §2-§4)."""

from __future__ import annotations

import pytest
from slixmpp.exceptions import IqError

from tests.interop.conftest import Clients
from tests.interop.slix import SlixClient, befriend


async def test_roster_item_is_kept_pushed_and_removed(slix: Clients) -> None:
    user, _ = slix.users(2)
    desk = await slix.client(user, resource="desk").start()
    phone = await slix.client(user, resource="phone").start()
    desk.update_roster("colleague@example.com", name="A Colleague", groups=["Work", "Near"])
    await phone.saw("roster_update", lambda iq: "colleague@example.com" in map(str, iq["roster"]["items"]))
    item = phone.client_roster["colleague@example.com"]
    assert item["name"] == "A Colleague"
    assert sorted(item["groups"]) == ["Near", "Work"]
    assert item["subscription"] == "none"
    assert await names_in_roster(desk) == {"colleague@example.com"}
    phone.del_roster_item("colleague@example.com")
    await desk.saw("roster_update", lambda iq: is_removed(iq, "colleague@example.com"))
    assert await names_in_roster(desk) == set()


async def test_roster_version_spares_an_unchanged_list(slix: Clients) -> None:
    (client,) = await slix.online(1)
    full = await client.fetch_roster()
    answer = await client.fetch_roster(full["roster"]["ver"])
    # RFC 6121 §2.6.3: an empty result says that the cached list is current.
    assert answer["type"] == "result"
    assert answer.xml.find("{jabber:iq:roster}query") is None


async def test_subscribe_approve_and_presence(slix: Clients) -> None:
    alice, bob = await slix.online(2)
    await befriend(alice, bob)
    await alice.settle()
    assert alice.client_roster[bob.bare]["subscription"] == "both"
    assert bob.client_roster[alice.bare]["subscription"] == "both"


async def test_subscribe_deny(slix: Clients) -> None:
    alice, bob = await slix.online(2)
    alice.send_presence_subscription(pto=bob.bare, ptype="subscribe")
    await bob.saw_presence("subscribe", alice.bare)
    bob.send_presence_subscription(pto=alice.bare, ptype="unsubscribed")
    await alice.saw_presence("unsubscribed", bob.bare)
    items = (await alice.fetch_roster())["roster"]["items"]
    assert items[bob.bare]["subscription"] == "none"
    assert not alice.has("presence_available", lambda stanza: stanza["from"].bare == bob.bare)


async def test_request_waits_for_an_absent_contact(slix: Clients) -> None:
    user, absent = slix.users(2)
    alice = await slix.client(user).start()
    alice.send_presence_subscription(pto=f"{absent}@example.org", ptype="subscribe")
    await alice.settle()
    bob = await slix.client(absent).start()
    await bob.saw_presence("subscribe", alice.bare)


async def test_presence_change_and_leaving(slix: Clients) -> None:
    alice, bob = await slix.friends()
    bob.send_presence(pshow="dnd", pstatus="in a meeting", ppriority=3)
    seen = await alice.saw("presence_available", lambda stanza: stanza["show"] == "dnd")
    assert (seen["from"], seen["status"], seen["priority"]) == (bob.full, "in a meeting", 3)
    await bob.disconnect()
    await alice.saw_presence("unavailable", bob.bare)


async def test_presence_of_friends_comes_at_login(slix: Clients) -> None:
    alice, bob = await slix.friends()
    bob.send_presence(pshow="away", pstatus="lunch")
    await alice.saw("presence_available", lambda stanza: stanza["show"] == "away")
    await alice.disconnect()
    again = await slix.client(alice.boundjid.user, resource="later").start()
    seen = await again.saw_presence("available", bob.bare)
    assert (seen["show"], seen["status"]) == ("away", "lunch")


async def test_cut_connection_shows_as_unavailable(slix: Clients) -> None:
    alice, bob = await slix.friends()
    # Without a stream to resume there is nothing to wait for.
    other = slix.client(bob.boundjid.user, resource="plain")
    other["xep_0198"].allow_resume = False
    await other.start()
    await alice.saw("presence_available", lambda stanza: stanza["from"] == other.full)
    other.cut()
    await alice.saw("presence_unavailable", lambda stanza: stanza["from"] == other.full)


async def test_unsubscribe_and_cancel(slix: Clients) -> None:
    alice, bob = await slix.friends()
    alice.send_presence_subscription(pto=bob.bare, ptype="unsubscribe")
    await bob.saw_presence("unsubscribe", alice.bare)
    await alice.saw_presence("unavailable", bob.bare)
    bob.send_presence_subscription(pto=alice.bare, ptype="unsubscribe")
    await alice.saw_presence("unsubscribe", bob.bare)
    items = (await alice.fetch_roster())["roster"]["items"]
    assert items[bob.bare]["subscription"] == "none"


async def test_directed_presence_reaches_a_stranger(slix: Clients) -> None:
    alice, bob = await slix.online(2)
    alice.send_presence(pto=bob.full, pstatus="for you")
    seen = await bob.saw_presence("available", alice.bare)
    assert seen["status"] == "for you"
    await alice.disconnect()
    await bob.saw_presence("unavailable", alice.bare)


async def test_iq_to_a_strangers_client_is_refused_or_answered_there(slix: Clients) -> None:
    alice, bob = await slix.online(2)
    with pytest.raises(IqError) as caught:
        await alice["xep_0030"].get_info(jid=f"{bob.bare}/no-such-client", timeout=10)
    assert caught.value.condition == "service-unavailable"


def is_removed(iq: object, bare: str) -> bool:
    """Tell whether a roster push removes this contact."""
    items = iq["roster"]["items"]  # type: ignore[index]
    return any(str(jid) == bare and item["subscription"] == "remove" for jid, item in items.items())


async def names_in_roster(client: SlixClient) -> set[str]:
    """Fetch the contact list and return the addresses in it."""
    return {str(jid) for jid in (await client.fetch_roster())["roster"]["items"]}
