"""slixmpp blocks people and lets them in again (XEP-0191)."""

from __future__ import annotations

from slixmpp import JID

from tests.interop.conftest import Clients


async def test_block_list_is_kept_and_pushed(slix: Clients) -> None:
    (user,) = slix.users(1)
    desk = await slix.client(user, "xep_0191", resource="desk").start()
    phone = await slix.client(user, "xep_0191", resource="phone").start()
    await phone["xep_0191"].get_blocked(timeout=10)
    await desk["xep_0191"].block(JID("pest@example.com"), timeout=10)
    await phone.saw("blocked")
    assert await desk["xep_0191"].get_blocked_jids(timeout=10) == {JID("pest@example.com")}
    await desk["xep_0191"].unblock(JID("pest@example.com"), timeout=10)
    await phone.saw("unblocked")
    assert await desk["xep_0191"].get_blocked_jids(timeout=10) == set()


async def test_blocked_person_sees_offline_and_reaches_nobody(slix: Clients) -> None:
    alice, bob = await slix.friends("xep_0191")
    await alice["xep_0191"].block(JID(bob.bare), timeout=10)
    await bob.saw_presence("unavailable", alice.bare)
    bob.send_message(alice.bare, "are you there?", mtype="chat")
    error = await bob.saw("message_error")
    assert error["error"]["condition"] == "service-unavailable"
    alice.send_presence(pshow="chat")
    await alice.settle()
    await bob.settle()
    assert not bob.has("presence_available", lambda stanza: stanza["show"] == "chat")
    await alice["xep_0191"].unblock(JID(bob.bare), timeout=10)
    await bob.saw_presence("available", alice.bare)
    bob.send_message(alice.bare, "again?", mtype="chat")
    await alice.saw_message("again?")
    assert not alice.has("message", lambda stanza: stanza["body"] == "are you there?")


async def test_own_message_to_a_blocked_person_is_refused(slix: Clients) -> None:
    alice, bob = await slix.online(2, "xep_0191")
    await alice["xep_0191"].block(JID(bob.bare), timeout=10)
    alice.send_message(bob.bare, "not even from me", mtype="chat")
    error = await alice.saw("message_error")
    # XEP-0191 §3.4
    assert error["error"]["condition"] == "not-acceptable"
    await bob.settle()
    assert not bob.has("message")
