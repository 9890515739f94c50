"""Operations on the SIP stack: admin/sip.py, against a stack that listens."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.unit.admin.small_node import SmallNode, do, refused
from ubiety.admin.rbac import Caller
from ubiety.config import Listen
from ubiety.net import sip_settings
from ubiety.net.sip import Places, SipStack
from ubiety.settings import Settings
from ubiety.store import sip_subscriptions as rows
from ubiety.store import users
from ubiety.store.sip_subscriptions import Fresh
from ubiety.telemetry import Counters

OPTIONS = """OPTIONS sip:example.org SIP/2.0
Via: SIP/2.0/TCP 127.0.0.1:5999;branch=z9hG4bK{number}
From: <sip:probe@example.com>;tag=1
To: <sip:example.org>
Call-ID: {number}@probe
CSeq: 1 OPTIONS
Max-Forwards: 70
Authorization: Digest username="secret-name"
Content-Type: text/plain
Content-Length: 14

what was typed"""


@pytest.fixture
async def sip(node: SmallNode) -> AsyncIterator[SipStack]:
    """A stack on loopback."""
    stack = SipStack(None, Places(sip=(Listen("127.0.0.1", 0),)), Settings(sip_settings.SETTINGS), Counters())
    await stack.start()
    node.sip = stack
    yield stack
    await stack.close()


async def _ask(stack: SipStack, number: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.ports["sip"])
    writer.write(OPTIONS.format(number=number).replace("\n", "\r\n").encode())
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    writer.close()
    return answer.decode()


async def test_without_a_stack_the_cure_is_told(node: SmallNode) -> None:
    for name in ("sip.status", "sip.trace"):
        problem = await refused(node, name)
        assert problem.kind.status == 503 and "sip_port" in problem.cure


async def test_what_went_over_the_wire(node: SmallNode, sip: SipStack) -> None:
    assert (await _ask(sip, 1)).startswith("SIP/2.0 503")
    seen = await do(node, "sip.trace")
    assert [one.direction for one in seen.messages] == ["received", "sent"]
    asked, answered = seen.messages
    assert asked.text.startswith("OPTIONS sip:example.org") and answered.text.startswith("SIP/2.0 503")
    assert asked.transport == "tcp" and asked.peer.startswith("127.0.0.1:")
    assert "secret-name" not in asked.text and "what was typed" not in asked.text
    await _ask(sip, 2)
    fresh = await do(node, "sip.trace", after=seen.last, text="2@PROBE")
    assert [one.number for one in fresh.messages] == [3, 4] and fresh.last == 4
    assert [one.number for one in (await do(node, "sip.trace", limit=1)).messages] == [4]
    opened = await do(node, "sip.trace_text", limit=2)
    assert "what was typed" in opened.messages[0].text and "secret-name" not in opened.messages[0].text


async def test_what_the_stack_does(node: SmallNode, sip: SipStack) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", sip.ports["sip"])
    writer.write(OPTIONS.format(number=1).replace("\n", "\r\n").encode())
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    shown = await do(node, "sip.status")
    assert shown.is_listening and shown.ports == {"sip": sip.ports["sip"]}
    (connection,) = shown.connections
    assert (connection.transport, connection.listener) == ("tcp", "sip") and connection.received > 0
    writer.close()


async def test_what_people_write_is_seen_with_a_permission_of_its_own(node: SmallNode, sip: SipStack) -> None:
    auditor = Caller("token:auditor", frozenset({"federation.read"}))
    await do(node, "sip.status", auditor)
    await do(node, "sip.trace", auditor)
    assert (await refused(node, "sip.trace_text", auditor)).kind.status == 403
    newest = (await do(node, "audit.list")).entries[0]
    assert (newest.operation, newest.actor) == ("sip.trace_text", "token:auditor")


async def test_who_watches_whom(node: SmallNode) -> None:
    await do(node, "user.add", userid="ann", name="Ann")
    (user_id,) = await node.database.read(lambda conn: [one.user_id for one in users.all_people(conn)])
    fresh = [
        Fresh(user_id, "ysam@example.org", direction, state, "call", {}, 5.0)
        for direction, state in (("in", "granted"), ("out", "asked"), ("in", "pending"))
    ]
    await node.database.write(rows.add_many, fresh)
    shown = await do(node, "sip.subscriptions", limit=2)
    first, second = shown.subscriptions
    assert (first.person, first.peer) == ("ann@example.org", "ysam@example.org")
    assert [(one.direction, one.state) for one in (first, second)] == [("in", "granted"), ("out", "asked")]
    assert shown.counts == {"in granted": 1, "in pending": 1, "out asked": 1}
    rest = await do(node, "sip.subscriptions", limit=2, after=shown.next)
    assert [one.state for one in rest.subscriptions] == ["pending"] and rest.next is None
    for address in ("ann@example.org", "sip:Ysam@example.org"):
        assert len((await do(node, "sip.subscriptions", address=address)).subscriptions) == 3
    assert (await do(node, "sip.subscriptions", address="bob@example.org")).subscriptions == []
