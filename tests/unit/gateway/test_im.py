"""Instant messages between two gateways: rows, dialogs, verdicts, crashes."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.gateway.im_rig import ANN, BOB, ImRig, assert_nothing_left, chat
from tests.unit.users.place import DOMAIN, Client, condition
from ubiety.gateway.im_settings import FIRST_IN_INVITE
from ubiety.store import sip_dialogs
from ubiety.users.preferences import IM_ENABLED
from ubiety.xmpp import ns


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[ImRig]:
    made = ImRig(tmp_path)
    yield made
    await made.close()


def h_of(client: Client) -> int:
    """What a client is told of its stanzas."""
    smacks = client.session.smacks
    assert smacks is not None
    return smacks.h


# -- the whole way -------------------------------------------------------------------------------------------


async def test_a_message_and_its_answer(rig: ImRig) -> None:
    ann, bob = await rig.people()
    ann.send(chat(BOB, "Grüße \U0001f600 &lt;b&gt; :-)"))
    await rig.settle()
    (message,) = await bob.take("message")
    assert (message.get("from"), message.get("to"), message.get("type")) == (ANN, BOB, "chat")
    body = message.find("body")
    assert body is not None and body.text == "Grüße \U0001f600 <b> :-)"
    assert message.find("active", ns.CHAT_STATES) is not None
    bob.send(chat(ANN, "Hello"))
    await rig.settle()
    assert await ann.bodies() == ["Hello"]
    assert rig.theirs.methods() == ["INVITE"] and rig.ours.methods() == ["MESSAGE"]
    assert h_of(ann) == h_of(bob) == 2
    for gate in rig.gates:
        counters = gate.place.context.counters
        assert (counters.sip_messages_in, counters.sip_messages_out, counters.sip_messages_failed) == (
            1,
            1,
            0,
        )
        assert counters.sip_conversations == 1
    await assert_nothing_left(rig)
    assert rig.ours.place.context.counters.sip_conversations == 0


async def test_many_messages_keep_their_order(rig: ImRig) -> None:
    ann, bob = await rig.people()
    rig.delay_of = lambda _gate, _message: 0.1
    for number in range(20):
        ann.send(chat(BOB, f"a{number}", f"m{number}"))
        bob.send(chat(ANN, f"b{number}", f"m{number}"))
        await rig.advance(0.05)
    await rig.advance(20)
    assert await bob.bodies() == [f"a{number}" for number in range(20)]
    assert await ann.bodies() == [f"b{number}" for number in range(20)]
    await assert_nothing_left(rig)


async def test_both_write_at_once(rig: ImRig) -> None:
    ann, bob = await rig.people()
    rig.delay_of = lambda _gate, _message: 0.5
    ann.send(chat(BOB, "from ann"))
    bob.send(chat(ANN, "from bob"))
    await rig.advance(10)
    assert await bob.bodies() == ["from ann"] and await ann.bodies() == ["from bob"]
    assert rig.ours.methods().count("INVITE") == rig.theirs.methods().count("INVITE") == 1
    assert [one.dialogs for gate in rig.gates for one in gate.conversations.list_all()] == [1, 1]
    await assert_nothing_left(rig)


async def test_the_dialog_is_used_again_until_it_is_idle(rig: ImRig) -> None:
    ann, bob = await rig.people()
    for number in range(3):
        ann.send(chat(BOB, f"{number}"))
        await rig.advance(300)
    assert rig.theirs.methods() == ["INVITE", "MESSAGE", "MESSAGE"]
    await rig.advance(400)
    assert "BYE" in rig.theirs.methods() + rig.ours.methods()
    ann.send(chat(BOB, "again"))
    await rig.settle()
    assert "INVITE" in rig.theirs.methods()
    assert await bob.bodies() == ["0", "1", "2", "again"]


async def test_without_the_first_message_in_the_invite(rig: ImRig) -> None:
    ann, bob = await rig.people()
    rig.ours.place.set(FIRST_IN_INVITE, False)
    ann.send(chat(BOB, "one"))
    await rig.settle()
    assert rig.theirs.methods() == ["INVITE", "MESSAGE"] and await bob.bodies() == ["one"]


async def test_messages_wait_for_somebody_who_is_signed_out(rig: ImRig) -> None:
    ann, bob = await rig.people()
    bob.leave()
    ann.send(chat(BOB, "one"))
    ann.send(chat(BOB, "two"))
    await rig.settle()
    assert h_of(ann) == 3
    bob = await rig.theirs.place.sign_in("bob", "phone", presence=None)
    bob.send("<presence/>")
    assert await bob.bodies() == ["one", "two"]


async def test_the_invite_is_what_microsoft_expects(rig: ImRig) -> None:
    ann, _ = await rig.people()
    ann.send(chat(BOB, "one"))
    await rig.settle()
    (invite,) = rig.theirs.requests
    assert invite.uri == f"sip:{BOB}"
    assert invite.headers.get("ms-text-format") == "text/plain; charset=UTF-8;ms-body=b25l"
    assert invite.headers.get("contact") == "<sip:ours.example.org:5060;transport=tcp>"
    assert invite.content_type == "application/sdp"
    assert b"m=message 5060 sip null\r\n" in invite.body
    assert invite.headers.get("user-agent") == "Ubiety-Partitioned"


# -- typing, receipts, carbons, history ----------------------------------------------------------------------


async def test_typing_goes_both_ways(rig: ImRig) -> None:
    ann, bob = await rig.people()
    ann.send(f"<message type='chat' to='{BOB}'><composing xmlns='{ns.CHAT_STATES}'/></message>")
    await rig.settle()
    assert not rig.theirs.methods(), "nobody is called for that"
    ann.send(chat(BOB, "one"))
    await rig.settle()
    await bob.take()
    for state, shown in (("composing", "composing"), ("paused", "paused")):
        ann.send(f"<message type='chat' to='{BOB}'><{state} xmlns='{ns.CHAT_STATES}'/></message>")
        await rig.settle()
        (message,) = await bob.take("message")
        assert message.find(shown, ns.CHAT_STATES) is not None and message.find("body") is None
    assert rig.theirs.methods() == ["INVITE", "INFO", "INFO"]
    await assert_nothing_left(rig)


async def test_a_receipt_comes_when_the_other_side_has_it(rig: ImRig) -> None:
    ann, _ = await rig.people()
    request = f"<request xmlns='{ns.DELIVERY_RECEIPTS}'/>"
    rig.delay_of = lambda _gate, _message: 1.0
    ann.send(chat(BOB, "one", "m7", request))
    await rig.advance(1.5)
    assert await ann.take("message") == []
    await rig.advance(1)
    (receipt,) = await ann.take("message")
    received = receipt.find("received", ns.DELIVERY_RECEIPTS)
    assert received is not None and received.get("id") == "m7"
    assert (receipt.get("from"), receipt.get("to")) == (BOB, ann.full)


async def test_other_devices_get_copies(rig: ImRig) -> None:
    ann, bob = await rig.people()
    phone = await rig.ours.place.sign_in(
        "ann", "phone", presence="<presence><priority>-1</priority></presence>"
    )
    await phone.ask("set", f"<enable xmlns='{ns.CARBONS}'/>")
    ann.send(chat(BOB, "one"))
    await rig.settle()
    bob.send(chat(ANN, "two"))
    await rig.settle()
    copies = await phone.take("message")
    assert [child.name for copy in copies for child in copy.elements] == ["sent", "received"]


async def test_both_histories_have_it(rig: ImRig) -> None:
    ann, bob = await rig.people()
    ann.send(chat(BOB, "one"))
    await rig.settle()
    bob.send(chat(ANN, "two"))
    await rig.settle()
    for client in (ann, bob):
        answer = await client.ask("set", "<query xmlns='urn:xmpp:mam:2'/>")
        assert answer.get("type") == "result"
        results = [m for m in await client.take("message") if m.find("result", "urn:xmpp:mam:2") is not None]
        assert [b"one" in m.to_bytes() or b"two" in m.to_bytes() for m in results] == [True, True]


# -- verdicts ------------------------------------------------------------------------------------------------


async def test_the_commit_settles_and_the_row_goes_when_they_have_it(rig: ImRig) -> None:
    ann, bob = await rig.people()
    rig.theirs.is_deaf = True
    ann.send(chat(BOB, "one"))
    assert h_of(ann) == 1
    await rig.settle()
    assert h_of(ann) == 2, "committed"
    assert await rig.ours.outgoing() == [BOB]
    rig.theirs.is_deaf = False
    rig.loses = lambda _gate, _message: False
    await rig.advance(40)  # nobody repeats over TCP: it ends in a time-out
    (error,) = [m for m in await ann.take("message") if m.get("type") == "error"]
    assert condition(error) == "remote-server-timeout" and error.get("id") == "m1"
    assert await bob.bodies() == [] and await rig.ours.outgoing() == []
    await assert_nothing_left(rig)


async def test_taken_at_once_it_is_never_a_row(rig: ImRig) -> None:
    ann, _ = await rig.people()
    written = rig.ours.place.ledger.written
    ann.send(chat(BOB, "one", more="<no-permanent-store xmlns='urn:xmpp:hints'/>"))
    rig.rush()
    await rig.settle()
    ann.send(chat(BOB, "two"))
    rig.rush()
    await rig.settle()
    assert rig.ours.place.ledger.written in (written, written + 1)
    assert await rig.ours.outgoing() == []


@pytest.mark.parametrize("is_settled_before", [False, True])
async def test_a_refusal_reaches_the_sender(rig: ImRig, is_settled_before: bool) -> None:
    ann, _ = await rig.people()
    rig.delay_of = lambda _gate, _message: 1.0 if is_settled_before else 0.0
    nobody = f"nobody@{DOMAIN}"
    ann.send(chat(nobody, "one", "m9"))
    await rig.advance(5)
    (error,) = await ann.take("message")
    assert condition(error) == "item-not-found"
    assert (error.get("id"), error.get("from")) == ("m9", nobody)
    assert "404" in error.to_bytes().decode()
    assert h_of(ann) == 2
    await assert_nothing_left(rig)


async def test_without_a_route_it_is_refused_at_once(rig: ImRig) -> None:
    ann, _ = await rig.people()
    rig.ours.roads.routes = []
    ann.send(chat(BOB, "one"))
    (error,) = await ann.take("message")
    assert condition(error) == "remote-server-not-found"
    await assert_nothing_left(rig)


async def test_a_next_hop_that_is_down_is_passed_over(rig: ImRig) -> None:
    ann, bob = await rig.people()
    rig.theirs.is_down = True
    ann.send(chat(BOB, "one"))
    await rig.settle()
    (error,) = await ann.take("message")
    assert condition(error) == "remote-server-timeout"
    rig.theirs.is_down = False
    ann.send(chat(BOB, "two"))
    await rig.settle()
    assert await bob.bodies() == ["two"]


async def test_200_only_when_the_message_is_on_disk(rig: ImRig) -> None:
    ann, bob = await rig.people()
    rig.theirs.place.ledger.window = 3600.0
    ann.send(chat(BOB, "one", more=f"<request xmlns='{ns.DELIVERY_RECEIPTS}'/>"))
    rig.rush()
    assert len(rig.theirs.conversations._desk.asked) == 1, "the INVITE has no answer yet"
    assert len(rig.ours.sender) == 1
    await rig.settle()  # commits
    assert not rig.theirs.conversations._desk.asked
    assert await bob.bodies() == ["one"]


async def test_a_message_that_is_not_settled_in_time_is_503(rig: ImRig) -> None:
    ann, _ = await rig.people()
    rig.theirs.place.ledger.window = 3600.0
    ann.send(chat(BOB, "one"))
    rig.rush()
    for _ in range(6):
        rig.clock.advance(1.0)
        rig.rush()
    assert not rig.theirs.conversations._desk.asked, "answered"
    await rig.settle()
    (error,) = await ann.take("message")
    assert condition(error) == "resource-constraint"


async def test_who_is_blocked_gets_an_error(rig: ImRig) -> None:
    ann, bob = await rig.people()
    await bob.ask("set", f"<block xmlns='{ns.BLOCKING}'><item jid='{ANN}'/></block>")
    ann.send(chat(BOB, "one"))
    await rig.settle()
    (error,) = await ann.take("message")
    assert condition(error) == "recipient-unavailable"
    assert await bob.bodies() == []


async def test_with_messages_turned_off_nobody_is_reached(rig: ImRig) -> None:
    ann, bob = await rig.people()
    rig.theirs.place.set(IM_ENABLED, False)
    ann.send(chat(BOB, "one"))
    await rig.settle()
    (error,) = await ann.take("message")
    assert condition(error) == "forbidden" and await bob.bodies() == []


async def test_what_cannot_be_sent_outside_is_refused_with_a_reason(rig: ImRig) -> None:
    ann, _ = await rig.people()
    invitation = f"<x xmlns='{ns.MUC_USER}'><invite to='{BOB}'/></x>"
    for xml in (
        f"<message type='groupchat' to='{BOB}'><body>x</body></message>",
        f"<message to='{BOB}'><x xmlns='jabber:x:conference' jid='room@{DOMAIN}'/></message>",
        f"<message to='{BOB}'>{invitation}</message>",
    ):
        ann.send(xml)
        (error,) = await ann.take("message")
        assert condition(error) == "not-acceptable" and b"Group chat" in error.to_bytes()
    ann.send(f"<message type='error' to='{BOB}'><body>x</body></message>")
    ann.send(f"<message to='{BOB}'/>")
    assert await ann.take("message") == []
    await assert_nothing_left(rig)


# -- crashes -------------------------------------------------------------------------------------------------


async def test_after_a_crash_of_ours_what_was_acknowledged_is_sent(rig: ImRig) -> None:
    ann, bob = await rig.people()
    rig.theirs.is_deaf = True
    for number in range(5):
        ann.send(chat(BOB, f"{number}", f"m{number}", f"<origin-id xmlns='urn:xmpp:sid:0' id='o{number}'/>"))
    await rig.settle()
    assert h_of(ann) == 6
    await rig.kill(rig.ours)
    rig.theirs.is_deaf = False
    await rig.revive(rig.ours)
    assert await bob.bodies() == [f"{number}" for number in range(5)]
    ann = await rig.ours.place.sign_in("ann", managed=True)
    ann.send(chat(BOB, "3", "m3", "<origin-id xmlns='urn:xmpp:sid:0' id='o3'/>"))
    ann.send(chat(BOB, "5", "m5", "<origin-id xmlns='urn:xmpp:sid:0' id='o5'/>"))
    await rig.settle()
    assert await bob.bodies() == ["5"], "what the client repeats is not sent twice"
    await assert_nothing_left(rig)


async def test_after_a_crash_of_ours_the_conversation_goes_on(rig: ImRig) -> None:
    ann, bob = await rig.people()
    ann.send(chat(BOB, "one"))
    await rig.settle()
    assert await rig.ours.dialog_rows() == 1
    await rig.kill(rig.ours)
    await rig.revive(rig.ours)
    ann = await rig.ours.place.sign_in("ann", managed=True)
    rig.theirs.methods()
    ann.send(chat(BOB, "two"))
    await rig.settle()
    bob.send(chat(ANN, "three"))
    await rig.settle()
    assert await bob.bodies() == ["one", "two"] and await ann.bodies() == ["three"]
    assert rig.theirs.methods() == ["MESSAGE"] and rig.ours.methods() == ["INVITE", "MESSAGE"][1:]
    await assert_nothing_left(rig)


async def test_a_conversation_goes_on_after_every_crash(rig: ImRig) -> None:
    """Each life leaps over the numbers of the one before, also where no message was sent in between."""
    ann, bob = await rig.people()
    ann.send(chat(BOB, "0"))
    await rig.settle()
    for life in range(1, 5):
        await rig.kill(rig.ours)
        await rig.revive(rig.ours)
        ann = await rig.ours.place.sign_in("ann", managed=True)
        for number in range(life - 1):
            ann.send(chat(BOB, f"{life}.{number}"))
        await rig.settle()
        assert await ann.take("message") == []
    assert await bob.bodies() == ["0", "2.0", "3.0", "3.1", "4.0", "4.1", "4.2"]
    assert rig.theirs.methods().count("INVITE") == 1
    await assert_nothing_left(rig)


async def test_a_dialog_that_has_counted_on_is_replaced(rig: ImRig) -> None:
    ann, bob = await rig.people()
    ann.send(chat(BOB, "one"))
    await rig.settle()
    await rig.kill(rig.ours)
    ((conversation, line),) = rig.theirs.conversations._desk.dialogs.values()
    wire = conversation._wires[line]
    assert wire.dialog is not None
    wire.dialog = replace(wire.dialog, remote_cseq=5000)
    await rig.revive(rig.ours)
    ann = await rig.ours.place.sign_in("ann", managed=True)
    ann.send(chat(BOB, "two"))
    await rig.settle()
    assert await bob.bodies() == ["one", "two"]
    assert rig.theirs.methods() == ["INVITE", "MESSAGE", "INVITE"]
    await assert_nothing_left(rig)


async def test_long_conversations_keep_their_rows_within_reach(rig: ImRig) -> None:
    ann, _ = await rig.people()
    ann.send(chat(BOB, "one"))
    await rig.settle()
    ((conversation, line),) = rig.ours.conversations._desk.dialogs.values()
    wire = conversation._wires[line]
    assert wire.dialog is not None and wire.row is not None
    wire.dialog = replace(wire.dialog, local_cseq=700)
    ann.send(chat(BOB, "two"))
    await rig.settle()
    (row,) = await rig.ours.place.database.read(sip_dialogs.list_of_set, 1)
    assert row.record["local_cseq"] == 701


async def test_whose_connection_is_lost_finds_a_notice(rig: ImRig) -> None:
    ann, _ = await rig.people()
    rig.theirs.is_deaf = True
    ann.send(chat(BOB, "one"))
    await rig.settle()
    rig.ours.place.users.disconnect(ann.session)  # to be resumed, or not
    await rig.advance(40)
    phone = await rig.ours.place.sign_in("ann", "phone", presence=None)
    phone.send("<presence/>")
    (notice,) = await phone.bodies()
    assert notice.endswith("> one")


async def test_who_is_away_finds_a_notice(rig: ImRig) -> None:
    ann, _ = await rig.people()
    rig.theirs.is_deaf = True
    ann.send(chat(BOB, "one"))
    await rig.settle()
    ann.leave()
    await rig.advance(40)
    assert await rig.ours.outgoing() == []
    ann = await rig.ours.place.sign_in("ann", "phone", presence=None)
    ann.send("<presence/>")
    (notice,) = await ann.bodies()
    assert notice == f"This message was not delivered to {BOB} (the other side did not answer):\n> one"


async def test_a_side_that_has_forgotten_the_dialog_is_called_anew(rig: ImRig) -> None:
    ann, bob = await rig.people()
    ann.send(chat(BOB, "one"))
    await rig.settle()
    await bob.take()
    rig.theirs.conversations._drop(lambda _person: True)
    ann.send(chat(BOB, "two"))
    ann.send(chat(BOB, "three"))
    await rig.settle()
    assert rig.theirs.methods() == ["INVITE", "MESSAGE", "INVITE", "MESSAGE"]
    assert await bob.bodies() == ["two", "three"]


async def test_new_messages_queue_behind_stored_ones(rig: ImRig) -> None:
    ann, bob = await rig.people()
    rig.theirs.is_deaf = True
    ann.send(chat(BOB, "one"))
    await rig.settle()
    await rig.kill(rig.ours)
    rig.theirs.is_deaf = False
    rig.ours.start(rig.ours.place)
    rig.ours.is_down = False
    ann = await rig.ours.place.sign_in("ann", managed=True)
    ann.send(chat(BOB, "two"))
    await rig.settle()
    assert await bob.bodies() == [] and rig.ours.conversations.waiting == 1
    ann.send(chat(BOB, "three"))  # not on disk yet
    await rig.ours.conversations.load(1)
    await rig.settle()
    assert await bob.bodies() == ["one", "two", "three"]
    assert await ann.take("message") == []
    await assert_nothing_left(rig)


async def test_a_set_that_is_handed_over_leaves_everything_to_the_next_node(rig: ImRig) -> None:
    ann, bob = await rig.people()
    ann.send(chat(BOB, "one"))
    await rig.settle()
    await rig.ours.conversations.hand_over(1)
    assert not rig.ours.leftovers() or rig.ours.leftovers().keys() == {"transactions"}
    assert await rig.ours.dialog_rows() == 1 and await rig.ours.outgoing() == []
    await rig.ours.conversations.load(1)
    ann.send(chat(BOB, "two"))
    await rig.settle()
    assert await bob.bodies() == ["one", "two"]
    assert rig.theirs.methods() == ["INVITE", "MESSAGE"]
    await assert_nothing_left(rig)


async def test_what_is_dropped_with_a_set_was_promised_to_nobody(rig: ImRig) -> None:
    ann, _ = await rig.people()
    rig.theirs.is_deaf = True
    ann.send(chat(BOB, "one"))
    rig.ours.conversations.release(1)
    (error,) = await ann.take("message")
    assert condition(error) == "resource-constraint"
    assert await rig.ours.outgoing() == []


async def test_when_somebody_is_deleted_their_conversations_end(rig: ImRig) -> None:
    ann, _ = await rig.people()
    ann.send(chat(BOB, "one"))
    await rig.settle()
    rig.ours.conversations.deleted(ann.user.person)
    await rig.settle()
    assert len(rig.ours.conversations) == 0 and len(rig.theirs.conversations) == 0
    assert "BYE" in rig.theirs.methods()


async def test_a_stop_hangs_up(rig: ImRig) -> None:
    ann, _ = await rig.people()
    ann.send(chat(BOB, "one"))
    await rig.settle()
    await rig.ours.conversations.stop()
    await rig.settle()
    assert not rig.ours.leftovers() or rig.ours.leftovers().keys() == {"transactions"}
    assert len(rig.theirs.conversations) == 0


# -- pager mode ----------------------------------------------------------------------------------------------


async def test_pager_mode(rig: ImRig) -> None:
    ann, bob = await rig.people()
    rig.ours.roads.uses_sessions = rig.theirs.roads.uses_sessions = False
    ann.send(chat(BOB, "one"))
    ann.send(chat(BOB, "two"))
    bob.send(chat(ANN, "three"))
    await rig.settle()
    assert await bob.bodies() == ["one", "two"] and await ann.bodies() == ["three"]
    assert rig.theirs.methods() == ["MESSAGE", "MESSAGE"] and rig.ours.methods() == ["MESSAGE"]
    assert h_of(ann) == 3
    await assert_nothing_left(rig)


async def test_pager_mode_refused(rig: ImRig) -> None:
    ann, _ = await rig.people()
    rig.ours.roads.uses_sessions = False
    ann.send(chat(f"nobody@{DOMAIN}", "one"))
    await rig.settle()
    (error,) = await ann.take("message")
    assert condition(error) == "item-not-found"
    await assert_nothing_left(rig)
