"""Two simulated pools that federate: presence, prompts, conversations, and what goes wrong."""

import asyncio

import pytest

from tests.lab.two_pools import DOMAIN, free_port, make_pool, two_pools
from ubiety.lab.connection import Hop
from ubiety.lab.journal import (
    AnswerSeen,
    ConversationSeen,
    MessageSeen,
    PresenceSeen,
    PromptSeen,
    SubscriptionSeen,
    TypingSeen,
)
from ubiety.sip.message import make_request

ANN, BOB = f"ann@{DOMAIN}", f"bob@{DOMAIN}"


async def test_presence_after_a_prompt() -> None:
    async with two_pools() as (left, right):
        bob, ann = await left.sign_in("bob"), await right.sign_in("ann", "busy")
        bob.add_contact(ANN)
        await ann.journal.wait(PromptSeen, lambda prompt: prompt.peer == BOB)
        await bob.journal.wait(SubscriptionSeen, lambda seen: seen.state == "pending")
        assert bob.sees(ANN) is None
        ann.accept(BOB)
        await bob.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "busy")
        ann.set_availability("brb", "back at ten")
        seen = await bob.journal.wait(PresenceSeen, lambda seen: seen.shown.note == "back at ten")
        assert seen.shown.name == "be-right-back"
        assert bob.subscriptions[ANN].state == "active"
        assert right.presence.watchers_of(right.site.people[ANN]) == [BOB]


async def test_every_availability_crosses() -> None:
    async with two_pools() as (left, right):
        bob, ann = await left.sign_in("bob"), await right.sign_in("ann", "offline")
        ann.accept(BOB)
        bob.add_contact(ANN)
        for number, name in (
            (3500, "available"),
            (6500, "busy"),
            (9500, "do-not-disturb"),
            (12500, "be-right-back"),
            (15500, "away"),
            (18500, "offline"),
        ):
            ann.set_availability(str(number))
            await bob.journal.wait(PresenceSeen, lambda seen, name=name: seen.shown.name == name)
            bob.journal.clear()


async def test_blocked_watcher_sees_offline() -> None:
    async with two_pools() as (left, right):
        bob, ann = await left.sign_in("bob"), await right.sign_in("ann")
        ann.deny(BOB)
        bob.add_contact(ANN)
        seen = await bob.journal.wait(PresenceSeen)
        assert seen.shown.name == "offline"
        assert bob.subscriptions[ANN].state == "active"
        assert not ann.journal.of(PromptSeen)


async def test_prompt_waits_for_sign_in() -> None:
    async with two_pools() as (left, right):
        bob = await left.sign_in("bob")
        bob.add_contact(ANN)
        await bob.journal.wait(SubscriptionSeen, lambda seen: seen.state == "pending")
        ann = await right.sign_in("ann")
        assert [prompt.peer for prompt in ann.journal.of(PromptSeen)] == [BOB]


async def test_refresh_and_end() -> None:
    async with two_pools(refresh=0.9) as (left, right):
        bob, ann = await left.sign_in("bob"), await right.sign_in("ann")
        ann.accept(BOB)
        bob.add_contact(ANN)
        await bob.journal.wait(PresenceSeen)
        bob.journal.clear()
        await asyncio.sleep(2.2)
        assert len(bob.journal.of(PresenceSeen)) >= 2  # every refresh has its NOTIFY
        assert not bob.journal.of(SubscriptionSeen)
        await bob.remove_contact(ANN)
        assert bob.journal.of(SubscriptionSeen)[-1].state == "terminated"
        async with asyncio.timeout(2):
            while right.presence.watches:
                await asyncio.sleep(0.01)


async def test_subscription_is_made_again_when_the_other_side_forgot_it() -> None:
    async with two_pools() as (left, right):
        bob, ann = await left.sign_in("bob"), await right.sign_in("ann")
        ann.accept(BOB)
        bob.add_contact(ANN)
        await bob.journal.wait(PresenceSeen)
        right.presence.forget_all()
        bob.journal.clear()
        bob.subscriptions[ANN].refresh_now()
        failed = await bob.journal.wait(SubscriptionSeen)
        assert (failed.state, failed.reason) == ("failed", "481")
        await bob.journal.wait(PresenceSeen)
        assert bob.subscriptions[ANN].state == "active"


async def test_subscription_ended_by_the_server_is_made_again() -> None:
    async with two_pools() as (left, right):
        bob, ann = await left.sign_in("bob"), await right.sign_in("ann")
        ann.accept(BOB)
        bob.add_contact(ANN)
        await bob.journal.wait(PresenceSeen)
        bob.journal.clear()
        right.presence.end_all()
        await bob.journal.wait(SubscriptionSeen, lambda seen: seen.reason == "deactivated")
        await bob.journal.wait(PresenceSeen)


@pytest.mark.parametrize("joined", [False, True])
async def test_conversation(joined: bool) -> None:
    async with two_pools(first_message_in_invite=joined) as (left, right):
        bob, ann = await left.sign_in("bob"), await right.sign_in("ann")
        text = "Grüße aus 東京 \U0001f600 :-) & <b>"
        assert await bob.send(ANN, text) == 200
        assert (await ann.journal.wait(MessageSeen)).text == text
        assert len(ann.journal.of(MessageSeen)) == 1
        assert bool(bob.journal.of(AnswerSeen)) is not joined  # no MESSAGE where the INVITE carried it
        assert await ann.typing(BOB) == 200
        assert (await bob.journal.wait(TypingSeen)).is_typing
        assert await ann.typing(BOB, False) == 200
        assert await ann.send(BOB, "two\nlines") == 200
        assert (await bob.journal.wait(MessageSeen)).text == "two\nlines"
        assert len(ann.conversations) == len(bob.conversations) == 1
        assert ann.conversation(BOB).is_acknowledged  # type: ignore[union-attr]
        await bob.end(ANN)
        await ann.journal.wait(ConversationSeen, lambda seen: seen.state == "ended")
        assert not ann.conversations
        assert not bob.conversations


async def test_messages_stay_in_order() -> None:
    async with two_pools() as (left, right):
        bob, ann = await left.sign_in("bob"), await right.sign_in("ann")
        await bob.invite(ANN)
        await asyncio.gather(*(bob.send(ANN, str(number)) for number in range(40)))
        assert [seen.text for seen in ann.journal.of(MessageSeen)] == [str(n) for n in range(40)]


async def test_glare_opens_two_conversations() -> None:
    async with two_pools() as (left, right):
        bob, ann = await left.sign_in("bob"), await right.sign_in("ann")
        assert await asyncio.gather(bob.send(ANN, "one"), ann.send(BOB, "two")) == [200, 200]
        assert (await ann.journal.wait(MessageSeen)).text == "one"
        assert (await bob.journal.wait(MessageSeen)).text == "two"


async def test_unknown_type_and_unknown_dialog() -> None:
    async with two_pools() as (left, right):
        bob, ann = await left.sign_in("bob"), await right.sign_in("ann")
        await bob.invite(ANN)
        assert await bob.send(ANN, "{}", "application/json") == 415
        ann.conversations.clear()
        assert await bob.send(ANN, "anybody there?") == 481
        assert await bob.send(ANN, "again") == 200  # 481 opens a new one


async def test_who_cannot_be_reached() -> None:
    async with two_pools() as (left, right):
        bob, ann = await left.sign_in("bob"), await right.sign_in("ann")
        await right.sign_out("ann")
        assert await bob.send(ANN, "gone?") == 480
        ann = await right.sign_in("ann")
        ann.invite_answer = 486
        assert await bob.send(ANN, "busy?") == 486
        ann.invite_answer = 0
        assert await bob.send(ANN, "ringing?") == 408
        await right.stop()
        assert await bob.send(ANN, "down?") == 503


async def test_request_for_nobody_is_returned_and_ends() -> None:
    """Both pools send what they do not know to the other; loop detection has to end it."""
    async with two_pools() as (left, right):
        bob = await left.sign_in("bob")
        status = await bob.send(f"nobody@{DOMAIN}", "hello?")
        assert status == 482
        assert right.site.returned == [f"nobody@{DOMAIN}"]
        assert await bob.send("eve@elsewhere.example", "hello?") == 404


async def test_a_front_end_that_refuses() -> None:
    async with two_pools() as (left, right):
        bob = await left.sign_in("bob")
        right.front_ends[0].faults.refusals["*"] = 503
        assert await bob.send(ANN, "x") == 503
        bob.add_contact(ANN)
        failed = await bob.journal.wait(SubscriptionSeen)
        assert (failed.state, failed.reason) == ("failed", "503")


async def test_options_is_answered() -> None:
    async with two_pools() as (left, right):
        address = right.front_ends[0].address
        probe = make_request("OPTIONS", f"sip:{address}", f"<sip:{BOB}>;tag=1", f"<sip:{address}>", "c1", 1)
        hop = Hop("tcp", "127.0.0.1", right.front_ends[0].ports["tcp"])
        front_end = left.front_ends[0]
        answer = await front_end.send(probe, await front_end.connection_to(hop))
        assert answer.status == 200
        assert "INVITE" in (answer.headers.get("Allow") or "")


async def test_late_and_doubled_answers() -> None:
    async with two_pools() as (left, right):
        bob, ann = await left.sign_in("bob"), await right.sign_in("ann")
        right.front_ends[0].faults.answers_twice = True
        right.front_ends[0].faults.delay = 0.2
        assert await bob.send(ANN, "x") == 200
        assert len(ann.journal.of(MessageSeen)) == 1
        right.front_ends[0].drop_connections()
        async with asyncio.timeout(2):
            while left.front_ends[0].connections:
                await asyncio.sleep(0.01)
        assert await bob.send(ANN, "y") == 200


async def test_strangers_are_refused() -> None:
    async with two_pools(trusted=["192.0.2.1"]) as (left, _):
        bob = await left.sign_in("bob")
        assert await bob.send(ANN, "let me in") == 401


async def test_a_front_end_of_the_pool_stops() -> None:
    """Who was served by it is served by another one; contacts are seen as before."""
    ports = [free_port() for _ in range(3)]
    front_ends = [{"name": f"fe{n}", "host": "127.0.0.1", "tcp_port": ports[n]} for n in range(2)]
    users = [{"uri": BOB}, {"uri": f"carl@{DOMAIN}"}]
    left = make_pool("left", ports[0], ports[2], users, front_ends=front_ends, refresh=0.7)
    right = make_pool("right", ports[2], ports[1], [{"uri": ANN, "prompts": "accept"}])
    async with left, right:
        bob, carl, ann = await left.sign_in("bob"), await left.sign_in("carl"), await right.sign_in("ann")
        assert {left.home_of(one.uri).plan.name for one in (bob, carl)} == {"fe0", "fe1"}
        for one in (bob, carl):
            one.add_contact(ANN)
            await one.journal.wait(PresenceSeen)
        assert await ann.send(BOB, "through the second one") == 200
        await left.front_end("fe0").stop()
        assert left.home_of(BOB).plan.name == "fe1"
        bob.journal.clear()
        ann.set_availability("away")
        await bob.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "away", seconds=8)
        assert await bob.send(ANN, "still there") == 200
        await left.front_end("fe0").start()
        assert left.home_of(BOB).plan.name == "fe0"


async def test_group_chat_and_floods() -> None:
    async with two_pools() as (left, right):
        bob, ann = await left.sign_in("bob"), await right.sign_in("ann")
        assert await bob.invite_to_group(ANN, f"carl@{DOMAIN}") == 420
        assert not ann.conversations
        assert await bob.flood(ANN, 50) == {200: 50}
        assert len(ann.conversations) == 50
        await bob.end(ANN)
        await right.sign_out("ann")
        assert await bob.flood(ANN, 5) == {480: 5}
        assert not bob.conversations
