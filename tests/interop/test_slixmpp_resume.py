"""slixmpp loses its connection and takes its session up again (XEP-0198 §5)."""

from __future__ import annotations

from tests.interop.conftest import Clients


async def test_session_is_resumed_after_a_cut(slix: Clients) -> None:
    alice, bob = await slix.friends()
    await alice.saw("sm_enabled")
    bob.forget()
    full, number = alice.full, alice["xep_0198"].sm_id
    alice.cut()
    await alice.saw("disconnected")
    # Sent into the gap, by both sides.
    bob.send_message(alice.full, "while you were away", mtype="chat")
    await bob.settle()
    alice.again()
    await alice.saw("session_resumed")
    assert (alice.full, alice["xep_0198"].sm_id) == (full, number)
    await alice.saw_message("while you were away")
    alice.send_message(bob.full, "back again", mtype="chat")
    await bob.saw_message("back again")
    # Nobody was told that she had left, and nothing came twice.
    assert not bob.has("presence_unavailable")
    await alice.settle()
    assert not alice.has("message", lambda stanza: stanza["body"] == "while you were away")


async def test_unacknowledged_messages_are_sent_again(slix: Clients) -> None:
    alice, bob = await slix.friends()
    await alice.saw("sm_enabled")
    alice.cut()
    await alice.saw("disconnected")
    unsent = alice.make_message(bob.full, "written without a connection", mtype="chat")
    sm = alice["xep_0198"]
    sm.seq += 1
    sm.unacked_queue.append((sm.seq, unsent))
    alice.again()
    await alice.saw("session_resumed")
    await bob.saw_message("written without a connection")


async def test_failed_resumption_falls_back_to_a_new_session(slix: Clients) -> None:
    alice, bob = await slix.friends()
    await alice.saw("sm_enabled")
    alice.cut()
    await alice.saw("disconnected")
    alice["xep_0198"].sm_id = "made-up-by-nobody"
    alice.again()
    await alice.saw("sm_failed")
    await alice.saw("session_start")
    alice.send_presence()
    alice.send_message(bob.full, "a new session", mtype="chat")
    await bob.saw_message("a new session")
