"""pjsua2, an independent SIP client, signs in to a real node: it publishes, watches and chats."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.interop.slix import SlixClient
from tests.node import DOMAIN, HOST, PASSWORD, Node
from tests.sip.pjsua import Agent, agent

BUSY = 2  # PJRPID_ACTIVITY_BUSY
LISTENERS = {"tcp": "sip", "udp": "sip", "tls": "sip_tls_server"}


@pytest.fixture(scope="module")
def sip_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that lets SIP clients in."""
    environment = {"UBIETY_SIP_PORT": "0", "UBIETY_SIP_TLS_SERVER_PORT": "0"}
    node = Node(tmp_path_factory.mktemp("pjsua") / "node", environment=environment)
    node.start()
    node.set_setting("sip.clients", "true")
    yield node
    node.stop()


@asynccontextmanager
async def signed_in(node: Node, user: str, transport: str = "tcp") -> AsyncIterator[Agent]:
    """A user agent that has registered."""
    async with agent() as made:
        sign_in(made, node, user, transport)
        registered = await made.saw("registered")
        assert registered["status"] == 200, registered
        yield made


def sign_in(made: Agent, node: Node, user: str, transport: str = "tcp", password: str = PASSWORD) -> None:
    port = node.ports[LISTENERS[transport]]
    made.order(
        "start", user=user, password=password, domain=DOMAIN, host=HOST, port=port, transport=transport
    )


def sip(user: str) -> str:
    return f"sip:{user}@{DOMAIN}"


@asynccontextmanager
async def slix(node: Node, user: str) -> AsyncIterator[SlixClient]:
    """An XMPP client, signed in and available."""
    client = SlixClient(node.place, user, "xep_0085")
    await client.start()
    try:
        yield client
    finally:
        await client.disconnect()


@pytest.mark.parametrize("transport", ["tcp", "tls", "udp"])
async def test_it_chats_with_an_xmpp_client(sip_node: Node, transport: str) -> None:
    ann, bob = sip_node.take_users(2)
    async with slix(sip_node, bob) as other, signed_in(sip_node, ann, transport) as phone:
        phone.order("write", uri=sip(bob), text="hello \U0001f600 <Bob> & all")
        assert (await phone.saw("sent"))["status"] == 200
        message = await other.saw("message")
        assert message["body"] == "hello \U0001f600 <Bob> & all"
        other.send_message(message["from"], "hello Ann\nß", mtype="chat")
        heard = await phone.saw("message")
        assert heard["text"].replace("\r\n", "\n") == "hello Ann\nß"
        assert sip(bob) in heard["sender"]
        phone.order("type", uri=sip(bob), is_typing=True)
        await other.saw("chatstate_composing")


async def test_it_publishes_and_is_seen_by_an_xmpp_client(sip_node: Node) -> None:
    ann, bob = sip_node.take_users(2)
    async with slix(sip_node, bob) as other, agent() as phone:
        other.send_presence_subscription(pto=f"{ann}@{DOMAIN}", ptype="subscribe")
        await other.saw_presence("subscribed", f"{ann}@{DOMAIN}")
        sign_in(phone, sip_node, ann)
        await other.saw_presence("available", f"{ann}@{DOMAIN}")
        phone.order("show", is_online=True, activity=BUSY, note="in the workshop")
        shown = await other.saw("presence_available", lambda one: one["status"] == "in the workshop")
        assert shown["show"] == "dnd"
        phone.order("show", is_online=False)
        await other.saw_presence("unavailable", f"{ann}@{DOMAIN}")
        other.forget()
        phone.order("show", is_online=True)
        await other.saw_presence("available", f"{ann}@{DOMAIN}")
        await phone.kill()
        await other.saw_presence("unavailable", f"{ann}@{DOMAIN}")


async def test_it_watches_an_xmpp_client(sip_node: Node) -> None:
    ann, bob = sip_node.take_users(2)
    async with signed_in(sip_node, ann) as phone:
        phone.order("watch", uri=sip(bob))
        await phone.saw("buddy", lambda one: one["state"] == "ACTIVE" and not one["is_online"])
        async with slix(sip_node, bob) as other:
            await phone.saw("buddy", lambda one: bool(one["is_online"]))
            other.send_presence(pshow="dnd", pstatus="do not ring")
            shown = await phone.saw("buddy", lambda one: one["note"] == "do not ring")
            assert shown["activity"] == BUSY
        await phone.saw("buddy", lambda one: not one["is_online"])


async def test_two_of_them_see_each_other_and_chat(sip_node: Node) -> None:
    ann, bob = sip_node.take_users(2)
    async with AsyncExitStack() as stack:
        phones = [await stack.enter_async_context(signed_in(sip_node, user)) for user in (ann, bob)]
        for phone, other in zip(phones, (bob, ann), strict=True):
            phone.order("watch", uri=sip(other))
        for phone in phones:
            await phone.saw("buddy", lambda one: bool(one["is_online"]))
        phones[0].order("show", is_online=True, activity=BUSY, note="away from it all")
        await phones[1].saw("buddy", lambda one: one["note"] == "away from it all")
        for number in range(10):
            phones[0].order("write", uri=sip(bob), text=f"line {number}")
            assert (await phones[0].saw("sent"))["status"] == 200
        assert [(await phones[1].saw("message"))["text"] for _ in range(10)] == [
            f"line {number}" for number in range(10)
        ]


async def test_what_was_written_while_it_was_away_comes_when_it_signs_in(sip_node: Node) -> None:
    ann, bob = sip_node.take_users(2)
    async with slix(sip_node, bob) as other:
        for number in range(3):
            other.send_message(f"{ann}@{DOMAIN}", f"for later {number}", mtype="chat")
        await asyncio.sleep(0.5)
        async with signed_in(sip_node, ann) as phone:
            texts = [(await phone.saw("message"))["text"] for _ in range(3)]
        assert texts == [f"for later {number}" for number in range(3)]
        async with signed_in(sip_node, ann) as phone:
            await asyncio.sleep(1)
            assert not [one for one in phone.events if one["event"] == "message"]


async def test_a_wrong_password_is_refused(sip_node: Node) -> None:
    (ann,) = sip_node.take_users(1)
    async with agent() as phone:
        sign_in(phone, sip_node, ann, password="wrong")
        assert (await phone.saw("registered"))["status"] in (401, 403)


async def test_nothing_is_left_of_it(sip_node: Node) -> None:
    (ann,) = sip_node.take_users(1)
    async with signed_in(sip_node, ann):
        assert f"{ann}@{DOMAIN}/sip-" in sip_node.command("session", "list")
    await asyncio.sleep(0.5)
    assert f"{ann}@{DOMAIN}/sip-" not in sip_node.command("session", "list")


async def test_it_signs_in_to_a_node_that_was_killed(start_node_with_sip: Node, tmp_path: Path) -> None:
    node = start_node_with_sip
    ann, bob = node.take_users(2)
    async with slix(node, bob) as other, signed_in(node, ann):
        other.send_message(f"{ann}@{DOMAIN}", "before", mtype="chat")
    node.kill()
    node.restart()
    async with slix(node, bob) as other, signed_in(node, ann) as phone:
        phone.order("write", uri=sip(bob), text="still there")
        assert (await phone.saw("sent"))["status"] == 200
        assert (await other.saw("message"))["body"] == "still there"


@pytest.fixture
def start_node_with_sip(tmp_path: Path) -> Iterator[Node]:
    """A node of the test's own that lets SIP clients in."""
    node = Node(tmp_path / "node", environment={"UBIETY_SIP_PORT": "0"})
    node.start()
    node.set_setting("sip.clients", "true")
    yield node
    node.stop()
