"""The Microsoft side misbehaves, or our node is killed: nothing acknowledged is lost, nothing is left behind.

One node shares its domain with a simulated Lync pool, over mutual TLS.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.interop.slix import SlixClient
from tests.lab.two_pools import free_port
from tests.node import DOMAIN, HOST, Node
from tests.sip.certificates import Authority, Identity
from ubiety.cli.client import Client as Console
from ubiety.lab.client import Client
from ubiety.lab.faults import Faults
from ubiety.lab.journal import MessageSeen, PresenceSeen
from ubiety.lab.plan import make_plan
from ubiety.lab.pool import Pool

BOB = f"bob@{DOMAIN}"
PEER = "localhost"
FLOOD = 2000
MOST_SECONDS = 5.0
"""In which an XMPP client is served while INVITEs pour in, from this very process."""
SETTLE_SECONDS = 45.0
"""An INVITE is remembered for 32 seconds behind its answer (RFC 6026 §7.1)."""


class Shared:
    """The node, and how an administrator has wired it to the pool."""

    def __init__(self, directory: Path) -> None:
        self.firm = Authority(directory / "firm")
        self.own = self.firm.issue(PEER, DOMAIN)
        self.theirs = Authority(directory / "theirs", "other.example")
        self.peer: Identity = self.theirs.issue(PEER)
        authorities = directory / "authorities.pem"
        authorities.write_bytes(self.firm.ca.read_bytes() + self.theirs.ca.read_bytes())
        self.lync = free_port()
        self.node = Node(
            directory / "node",
            environment={
                "UBIETY_SIP_TLS_PEER_PORT": str(free_port()),
                "UBIETY_SIP_PORT": str(free_port()),
                "UBIETY_SIP_NAME": PEER,
                "UBIETY_SIP_CA": str(authorities),
                "UBIETY_CERTIFICATE": str(self.own.certificate),
                "UBIETY_PRIVATE_KEY": str(self.own.key),
            },
        )
        self.node.start()
        self.console = Console(self.node.data)
        self.console.post("federation.enable")
        self.console.post("acl.add", entry=HOST)
        self.console.post("tls_peer.add", subject=PEER)
        route = {"pattern": ".org.example", "next_hop": PEER, "port": self.lync, "transport": "tls"}
        self.console.post("route.add", **route, kind="domain")

    @property
    def plan(self) -> dict[str, Any]:
        """The pool."""
        tls = {"certificate": str(self.peer.certificate), "key": str(self.peer.key)}
        return {
            "domains": [DOMAIN],
            "trusted": [PEER, HOST],
            "front_ends": [{"name": PEER, "tls_port": self.lync}],
            "routes": {DOMAIN: {"host": PEER, "port": self.node.ports["sip_tls_peer"]}},
            "users": [{"uri": BOB, "name": "Bob", "signed_in": "available", "prompts": "accept"}],
            "tls": {**tls, "trusted": str(self.firm.ca)},
            "time_out": 8.0,
            "retry": 0.5,
        }

    def kept(self) -> dict[str, int]:
        """What the node keeps for the other side's people."""
        shown = self.console.get("federation.status")
        return {name: shown[name] for name in ("watched", "watching", "conversations", "outgoing")}

    def trouble(self) -> dict[str, int]:
        """The next hops that do not answer."""
        return {"hops": len(self.console.get("federation.status")["trouble"])}

    def connected(self) -> dict[str, int]:
        """The connections of SIP peers."""
        return {"connections": len(self.console.get("sip.status")["connections"])}

    def held(self) -> dict[str, int]:
        """The transactions."""
        return {"held": self.console.get("sip.status")["transactions"]["held"]}

    async def until(self, look: str, seconds: float, **wanted: int) -> None:
        """Wait until one of the above says so."""
        deadline = time.monotonic() + seconds
        while (seen := await asyncio.to_thread(getattr(self, look))) != wanted:
            assert time.monotonic() < deadline, f"wanted {wanted}, there is {seen}"
            await asyncio.sleep(0.2)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    made = Shared(tmp_path_factory.mktemp("sip-faults"))
    yield made
    made.node.stop()


def _shows(show: str, presence: Any) -> bool:
    return bool(presence["from"].bare == BOB and presence["show"] == show)


def _is_shown(word: str, seen: PresenceSeen) -> bool:
    return seen.shown.name == word


class Two:
    """Ann on Ubiety, bob on the Lync side: they see each other and talk."""

    def __init__(self, shared: Shared, pool: Pool, ann: SlixClient) -> None:
        self.shared, self.pool, self.ann = shared, pool, ann

    @property
    def bob(self) -> Client:
        """The Lync user."""
        return self.pool.clients[BOB]

    @property
    def faults(self) -> Faults:
        """What is wrong with the front end."""
        return self.pool.front_ends[0].faults

    def mend(self) -> None:
        """Nothing is wrong any more."""
        self.pool.front_ends[0].faults = Faults()

    @property
    def heard(self) -> list[str]:
        """What bob has been written."""
        return [seen.text for seen in self.bob.journal.of(MessageSeen)]

    @property
    def talks(self) -> list[str]:
        """Bob's dialogs with ann."""
        return [call for call, one in self.bob.conversations.items() if not one.is_over]

    def write(self, text: str) -> None:
        """Have ann write."""
        self.ann.send_message(BOB, text, mtype="chat")

    async def hears(self, text: str, seconds: float = 15.0) -> None:
        """Wait until bob has it."""
        await self.bob.journal.wait(MessageSeen, lambda seen: seen.text == text, seconds=seconds)

    async def chat(self, word: str) -> None:
        """Have each tell the other something."""
        self.write(f"{word} to bob")
        await self.hears(f"{word} to bob")
        assert await self.bob.send(self.ann.bare, f"{word} to ann") == 200
        await self.ann.saw_message(f"{word} to ann")

    async def see(self) -> None:
        """Have each see a change of the other's presence."""
        for word, show in (("away", "away"), ("busy", "dnd")):
            self.bob.journal.clear()
            self.bob.set_availability(word)
            await self.ann.saw("presence_available", partial(_shows, show))
            self.ann.send_presence(pshow=show)
            await self.bob.journal.wait(PresenceSeen, partial(_is_shown, word), seconds=10)

    async def acknowledged(self) -> None:
        """Wait until ann's server has acknowledged all that she has written (XEP-0198)."""
        management = self.ann.plugin["xep_0198"]
        deadline = time.monotonic() + 5
        while management.unacked_queue:
            assert time.monotonic() < deadline, "not acknowledged"
            management.request_ack()
            await asyncio.sleep(0.1)

    async def part(self) -> None:
        """End it all: then nothing is kept."""
        self.mend()
        await self.bob.end(self.ann.bare)
        await self.bob.remove_contact(self.ann.bare)
        self.ann.send_presence_subscription(pto=BOB, ptype="unsubscribe")
        await self.ann.disconnect()


@asynccontextmanager
async def two(shared: Shared) -> AsyncIterator[Two]:
    """Let ann and bob meet; afterwards nothing of it may be left."""
    [name] = await asyncio.to_thread(shared.node.take_users, 1)
    before = shared.kept()
    async with Pool(make_plan(shared.plan)) as pool:
        await shared.until("trouble", 15.0, hops=0)
        made = Two(shared, pool, await SlixClient(shared.node.place, name).start())
        made.ann.send_presence_subscription(pto=BOB, ptype="subscribe")
        await made.ann.saw_presence("available", BOB)
        made.bob.add_contact(made.ann.bare)
        await made.bob.journal.wait(PresenceSeen, lambda seen: seen.shown.name == "available")
        await made.chat("hello")
        more = {**{kind: count + 1 for kind, count in before.items()}, "outgoing": before["outgoing"]}
        await shared.until("kept", 10.0, **more)
        yield made
        await made.part()
        await shared.until("kept", 10.0, **before)


@pytest.mark.timeout(90)
async def test_our_node_is_killed(shared: Shared) -> None:
    async with two(shared) as both:
        talks = both.talks
        [absent] = await asyncio.to_thread(shared.node.take_users, 1)
        assert await both.bob.send(f"{absent}@{DOMAIN}", "for later") == 200
        both.faults.is_mute = True
        for number in range(5):
            both.write(f"stored {number}")
        await both.acknowledged()
        watch = both.bob.add_contact(f"{absent}@{DOMAIN}")
        while watch.dialog is None:
            await asyncio.sleep(0)
        shared.node.kill()  # the very moment that the subscription is granted
        dialog, call_id = watch.dialog, watch.call_id
        assert both.heard == ["hello to bob"]
        both.mend()
        await asyncio.to_thread(shared.node.restart)
        shared.console = Console(shared.node.data)
        await both.hears("stored 4", 30)
        assert list(dict.fromkeys(both.heard))[1:] == [f"stored {number}" for number in range(5)]
        both.ann = await SlixClient(shared.node.place, both.ann.boundjid.user).start()
        await both.chat("after the crash")
        await both.see()
        late = await SlixClient(shared.node.place, absent).start()
        await late.saw_message("for later")
        await both.bob.journal.wait(
            PresenceSeen, lambda seen: seen.peer == late.bare and seen.shown.name == "available", seconds=10
        )
        assert (watch.dialog, watch.call_id) == (dialog, call_id), "the subscription goes on in its dialog"
        await both.bob.remove_contact(late.bare)
        await late.disconnect()
        await both.bob.end(f"{absent}@{DOMAIN}")
        assert both.talks == talks, "the conversation goes on in its dialog"


@pytest.mark.timeout(60)
async def test_it_stops_in_mid_dialog(shared: Shared) -> None:
    async with two(shared) as both:
        await both.pool.front_ends[0].stop()
        both.write("is there anybody?")
        error = await both.ann.saw("message_error")
        assert error["error"]["condition"] == "remote-server-timeout"
        await both.pool.front_ends[0].start()
        await shared.until("trouble", 10.0, hops=0)  # a probe has found it
        await both.chat("again")
        assert "is there anybody?" not in both.heard


@pytest.mark.timeout(60)
async def test_it_answers_late(shared: Shared) -> None:
    async with two(shared) as both:
        both.faults.delay = 1.5
        for number in range(3):
            both.write(f"message {number}")
        await both.acknowledged()
        assert len(both.heard) < 3, "acknowledged when it was stored, not when it was taken"
        await both.hears("message 2")
        assert both.heard == ["hello to bob", "message 0", "message 1", "message 2"]
        both.mend()
        await both.see()


@pytest.mark.timeout(60)
async def test_it_answers_twice(shared: Shared) -> None:
    async with two(shared) as both:
        both.faults.answers_twice = True
        await both.chat("one")
        await both.bob.end(both.ann.bare)
        await both.chat("two")  # by an INVITE of ours whose answer comes twice
        await both.see()
        assert both.bob.journal.of(MessageSeen) == []  # `see` has cleared it, and nothing was repeated


@pytest.mark.timeout(60)
async def test_it_refuses(shared: Shared) -> None:
    async with two(shared) as both:
        both.faults.refusals = {"MESSAGE": 503, "INVITE": 503}
        both.write("not now")
        error = await both.ann.saw("message_error")
        assert error["error"]["condition"] == "resource-constraint"
        both.mend()
        await both.chat("again")
        assert "not now" not in both.heard

        both.faults.refusals = {"MESSAGE": 503}  # then there is still the INVITE to carry the first message
        both.write("now or never")
        await both.hears("now or never")


@pytest.mark.timeout(60)
async def test_it_drops_tls_and_sends_garbage(shared: Shared) -> None:
    async with two(shared) as both:
        talks = both.talks
        for number in range(3):
            both.pool.front_ends[0].drop_connections()
            await shared.until("connected", 5.0, connections=0)
            await both.chat(f"dropped {number}")
            both.pool.front_ends[0].send_garbage()
            await shared.until("connected", 5.0, connections=0)
            await both.chat(f"garbage {number}")
        await both.see()
        assert both.talks == talks

        # Dropped while a message is on its way, it may have been taken: then its sender is told.
        both.faults.is_mute = True
        both.write("perhaps")
        await both.acknowledged()
        both.pool.front_ends[0].drop_connections()
        both.mend()
        heard = asyncio.create_task(both.hears("perhaps"))
        told = asyncio.create_task(both.ann.saw("message_error", seconds=15))
        done, open_ = await asyncio.wait((heard, told), return_when=asyncio.FIRST_COMPLETED)
        assert [one.exception() for one in done] == [None]
        for one in open_:
            one.cancel()
        await both.chat("once more")


@pytest.mark.timeout(90)
async def test_it_floods_invites(shared: Shared) -> None:
    async with two(shared) as both:
        flood = asyncio.create_task(both.bob.flood(both.ann.bare, FLOOD))
        slowest = 0.0
        while not flood.done():
            begun = time.monotonic()
            await both.ann.settle()
            slowest = max(slowest, time.monotonic() - begun)
            await asyncio.sleep(0.05)
        statuses = flood.result()
        print(f"{dict(statuses)}, the slowest answer to ann took {slowest:.2f} s")
        assert set(statuses) <= {200, 486, 503}
        assert sum(statuses.values()) == FLOOD
        assert statuses[200] < 100
        assert slowest < MOST_SECONDS
        await both.chat("after the flood")
        await both.see()


@pytest.mark.timeout(90)
async def test_no_transaction_is_left(shared: Shared) -> None:
    """Of all the tests before."""
    await shared.until("held", SETTLE_SECONDS, held=0)
