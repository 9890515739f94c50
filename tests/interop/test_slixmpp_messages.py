"""slixmpp sends and gets messages: chat, copies for other clients, offline, archive."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.interop.conftest import Clients
from tests.interop.slix import SlixClient


async def test_chat_to_bare_and_full_address(slix: Clients) -> None:
    alice, bob = await slix.online(2)
    alice.send_message(bob.bare, "to the person", mtype="chat")
    first = await bob.saw_message("to the person")
    assert first["from"] == alice.full
    bob.send_message(alice.full, "to the client & <back>", mtype="chat")
    assert (await alice.saw_message("to the client & <back>"))["from"] == bob.full


async def test_messages_arrive_in_order(slix: Clients) -> None:
    alice, bob = await slix.online(2)
    numbers = [str(number) for number in range(200)]
    for number in numbers:
        alice.send_message(bob.bare, number, mtype="chat")
    await bob.saw("message", lambda stanza: stanza["body"] == numbers[-1])
    got = [data["body"] for name, data in bob.seen if name == "message" and data["body"]]
    assert [*got, numbers[-1]] == numbers


async def test_carbons_show_both_sides_on_another_client(slix: Clients) -> None:
    user, peer = slix.users(2)
    desk = await slix.client(user, resource="desk").start()
    phone = await slix.client(user, resource="phone").start()
    bob = await slix.client(peer).start()
    await desk["xep_0280"].enable()
    await phone["xep_0280"].enable()
    desk.send_message(bob.full, "sent from the desk", mtype="chat")
    copy = await phone.saw("carbon_sent")
    assert copy["carbon_sent"]["body"] == "sent from the desk"
    bob.send_message(desk.full, "answer to the desk", mtype="chat")
    await desk.saw_message("answer to the desk")
    copy = await phone.saw("carbon_received")
    assert copy["carbon_received"]["body"] == "answer to the desk"
    assert copy["carbon_received"]["from"] == bob.full
    assert not desk.has("carbon_received")


async def test_message_marked_private_is_not_copied(slix: Clients) -> None:
    user, peer = slix.users(2)
    desk = await slix.client(user, resource="desk").start()
    phone = await slix.client(user, resource="phone").start()
    bob = await slix.client(peer).start()
    await phone["xep_0280"].enable()
    private = bob.make_message(desk.full, "between us", mtype="chat")
    private.enable("carbon_private")
    private.send()
    bob.send_message(desk.full, "for all", mtype="chat")
    await desk.saw_message("for all")
    copy = await phone.saw("carbon_received")
    assert copy["carbon_received"]["body"] == "for all"


async def test_offline_messages_come_at_login_in_order_with_delay(slix: Clients) -> None:
    user, absent = slix.users(2)
    before = datetime.now(UTC) - timedelta(seconds=2)
    alice = await slix.client(user).start()
    for body in ("first", "second", "third"):
        alice.send_message(f"{absent}@example.org", body, mtype="chat")
    await alice.settle()
    bob = await slix.client(absent).start()
    await bob.saw("message", lambda stanza: stanza["body"] == "third")
    kept = [data for name, data in bob.seen if name == "message" and data["body"]]
    assert [stanza["body"] for stanza in kept] == ["first", "second"]
    for stanza in kept:
        assert before <= stanza["delay"]["stamp"] <= datetime.now(UTC) + timedelta(seconds=2)
        assert stanza["from"] == alice.full
    await bob.settle()  # its client has told that it has them
    await bob.disconnect()
    # Once delivered they are gone.
    again = await slix.client(absent, resource="later").start()
    await again.settle()
    assert not again.has("message", lambda stanza: stanza["body"] != "")


async def test_headline_is_not_kept_for_later(slix: Clients) -> None:
    user, absent = slix.users(2)
    alice = await slix.client(user).start()
    alice.send_message(f"{absent}@example.org", "news", mtype="headline")
    alice.send_message(f"{absent}@example.org", "kept", mtype="chat")
    await alice.settle()
    bob = await slix.client(absent).start()
    await bob.saw_message("kept")
    assert not bob.has("message", lambda stanza: stanza["body"] == "news")


async def test_message_to_nobody_comes_back(slix: Clients) -> None:
    (alice,) = await slix.online(1)
    alice.send_message("no.such.person@example.org", "hello?", mtype="chat")
    error = await alice.saw("message_error")
    assert error["error"]["condition"] == "service-unavailable"


async def test_extras_pass_through_untouched(slix: Clients) -> None:
    plugins = ("xep_0085", "xep_0184", "xep_0224", "xep_0308", "xep_0333")
    alice, bob = await slix.online(2, *plugins)
    message = alice.make_message(bob.full, "may I have a receipt?", mtype="chat")
    message["request_receipt"] = True
    message.send()
    got = await bob.saw_message("may I have a receipt?")
    receipt = await alice.saw("receipt_received")
    assert receipt["receipt"] == got["id"]

    alice["xep_0308"].correct_message(message, "I should like a receipt").send()
    correction = await bob.saw("message_correction")
    assert correction["replace"]["id"] == got["id"]

    bob["xep_0333"].send_marker(alice.full, got["id"], "displayed")
    assert (await alice.saw("marker_displayed"))["displayed"]["id"] == got["id"]

    state = bob.make_message(alice.full, mtype="chat")
    state["chat_state"] = "composing"
    state.send()
    await alice.saw("chatstate_composing")

    alice["xep_0224"].request_attention(bob.full, mbody="look here")
    await bob.saw("attention")


async def test_archive_is_asked_by_person_and_page(slix: Clients) -> None:
    alice, bob, carol = await slix.online(3, "xep_0313")
    await say(alice, bob, "one", "two", "three", "four", "five")
    await say(carol, bob, "from another")
    archive = bob["xep_0313"]
    every = await archive.retrieve(timeout=10)
    assert bodies(every) == ["one", "two", "three", "four", "five", "from another"]
    with_alice = await archive.retrieve(with_jid=alice.boundjid.bare, timeout=10)
    assert bodies(with_alice) == ["one", "two", "three", "four", "five"]
    paged = [
        result["mam_result"]["forwarded"]["stanza"]["body"]
        async for result in archive.iterate(rsm={"max": 2}, with_jid=alice.boundjid.bare)
    ]
    assert paged == ["one", "two", "three", "four", "five"]
    # The sender's own archive holds them too.
    own = await alice["xep_0313"].retrieve(with_jid=bob.boundjid.bare, timeout=10)
    assert bodies(own) == ["one", "two", "three", "four", "five"]


async def test_stanza_id_is_the_archive_id(slix: Clients) -> None:
    alice, bob = await slix.online(2, "xep_0313")
    alice.send_message(bob.full, "numbered", mtype="chat")
    got = await bob.saw_message("numbered")
    ids = {tag.get("id") for tag in got.xml.findall("{urn:xmpp:sid:0}stanza-id") if tag.get("by") == bob.bare}
    answer = await bob["xep_0313"].retrieve(timeout=10)
    assert ids == {answer["mam"]["results"][-1]["mam_result"]["id"]}


async def test_client_state_holds_nothing_back_for_ever(slix: Clients) -> None:
    alice, bob = await slix.friends("xep_0352")
    await alice.saw("csi_enabled")
    alice["xep_0352"].send_inactive()
    bob.send_presence(pshow="away")
    bob.send_message(alice.full, "important", mtype="chat")
    # Messages come through to an inactive client; presence may wait.
    await alice.saw_message("important")
    alice["xep_0352"].send_active()
    await alice.saw("presence_available", lambda stanza: stanza["show"] == "away")


async def say(sender: SlixClient, recipient: SlixClient, *lines: str) -> None:
    """Send some lines and wait until the other has them."""
    for line in lines:
        sender.send_message(recipient.full, line, mtype="chat")
    for line in lines:
        await recipient.saw_message(line)


def bodies(answer: object) -> list[str]:
    """Return the texts of an archive page, in its order."""
    results = answer["mam"]["results"]  # type: ignore[index]
    return [result["mam_result"]["forwarded"]["stanza"]["body"] for result in results]
