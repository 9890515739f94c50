"""pidgin-sipe, a Lync client that others made, against the simulated front end and through it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.lab.finch import AVAILABLE, AWAY, Finch
from tests.lab.two_pools import DOMAIN, free_port, make_pool
from ubiety.lab.journal import MessageSeen, PresenceSeen
from ubiety.lab.pool import Pool

ANN, BOB, CARL = f"ann@{DOMAIN}", f"bob@{DOMAIN}", f"carl@{DOMAIN}"
PASSWORD = "Pass & word <1>"


@asynccontextmanager
async def signed_in(home: Path, password: str = PASSWORD) -> AsyncIterator[tuple[Pool, Pool, Finch]]:
    """Bob at his Finch and Carl on the left; Ann behind the static route on the right."""
    left_port, right_port = free_port(), free_port()
    bob = {"uri": BOB, "name": "Bob Builder", "password": PASSWORD, "contacts": [ANN, CARL]}
    carl = {"uri": CARL, "name": "Carl Clerk", "signed_in": "busy"}
    ann = {"uri": ANN, "name": "Ann Archer", "signed_in": "available", "prompts": "accept"}
    left = make_pool("left", left_port, right_port, [bob, carl], trusted=["127.0.0.1"])
    right = make_pool("right", right_port, left_port, [ann])
    finch = Finch(home, BOB, password, f"127.0.0.1:{left_port}")
    async with left, right:
        try:
            await finch.start()
            yield left, right, finch
        finally:
            finch.stop()


async def test_presence_and_chat_both_ways(tmp_path: Path) -> None:
    async with signed_in(tmp_path) as (left, right, finch):
        ann = right.clients[ANN]
        await finch.until("Carl Clerk", AWAY)  # of its own pool: a batch of categories
        await finch.until("Ann Archer", AVAILABLE)  # of the other: a subscription of its own, PIDF
        ann.set_availability("busy")
        await finch.until("Ann Archer", AWAY)
        left.clients[CARL].set_availability("available")
        await finch.until("Carl Clerk", AVAILABLE)

        ann.add_contact(BOB)
        await ann.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "available")
        await finch.press("Tab", "Down", "Down", "Enter")  # the list of states, in the buddy list
        await ann.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "away", seconds=20)

        assert await ann.send(BOB, "Hello from the other side") == 200
        await finch.press("M-n")
        await finch.until("Ann Archer:", "Hello from the other side")
        await finch.say("I can hear you & <you>")
        assert (await ann.journal.wait(MessageSeen)).text == "I can hear you & <you>"
        assert len(ann.conversations) == 1  # the answer came in the same dialog


async def test_signing_out(tmp_path: Path) -> None:
    async with signed_in(tmp_path) as (left, right, finch):
        ann = right.clients[ANN]
        await finch.until("Ann Archer", AVAILABLE)
        ann.add_contact(BOB)
        await ann.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "available")
        finch.stop()
        await ann.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "offline", seconds=15)
        assert not left.registrar.clients
        assert await ann.send(BOB, "gone?") == 480


async def test_wrong_password(tmp_path: Path) -> None:
    async with signed_in(tmp_path, "wrong") as (left, _, finch):
        await finch.until("password is wrong")
        assert not left.registrar.clients


async def test_prompt_of_a_stranger(tmp_path: Path) -> None:
    async with signed_in(tmp_path) as (left, _, finch):
        await finch.until("Ann Archer", AVAILABLE)
        bob = left.site.people[BOB]
        assert bob.judge(f"eve@{DOMAIN}", False) == "asked"
        await finch.until("his or her buddy")  # the pop-up lies below the list
        await finch.press("M-n")
        await finch.until(f"eve@{DOMAIN}")
        async with asyncio.timeout(10):
            while f"eve@{DOMAIN}" not in bob.allowed:  # this client lets people see it, and asks to add them
                await asyncio.sleep(0.1)
