"""Conversations with peers that do not answer, that flood, and that send what they should not."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.gateway.im_rig import ANN, BOB, ImRig, assert_nothing_left, chat
from tests.unit.users.place import condition
from ubiety.gateway import im_requests
from ubiety.jid import parse
from ubiety.sip.imsession import MAX_LINES
from ubiety.sip.message import Request, Response
from ubiety.sip.outputs import Hop


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[ImRig]:
    made = ImRig(tmp_path)
    yield made
    await made.close()


async def test_a_hop_that_does_not_answer_may_have_taken_the_message(rig: ImRig) -> None:
    """The copy that goes to the next hop is answered 481 or 500: that says nothing of the first one."""
    ann, bob = await rig.people()
    ann.send(chat(BOB, "one"))
    await rig.settle()
    rig.ours.roads.routes = [*rig.ours.roads.routes, Hop("tcp", "fe2.example.org", 5060)]
    rig.loses = lambda gate, message: gate is rig.theirs
    ann.send(chat(BOB, "two", "m2"))
    await rig.advance(10)
    rig.loses = lambda _gate, _message: False
    await rig.advance(60)
    assert await bob.bodies() == ["one", "two"], "not twice"
    (error,) = [m for m in await ann.take("message") if m.get("type") == "error"]
    assert (condition(error), error.get("id")) == ("remote-server-timeout", "m2")
    await assert_nothing_left(rig)


# -- what peers should not send ------------------------------------------------------------------------------


def call(rig: ImRig, *headers: tuple[str, str], body: bytes | None = None, content_type: str = "") -> Request:
    """An INVITE of Ann's side for Bob, changed."""
    contact = rig.ours.roads.contact("tcp")
    invite = im_requests.make_invite(parse(ANN), parse(BOB), "call", "tag", contact, "")
    made = invite.headers
    for name, value in headers:
        made = made.with_(name, value)
    if content_type:
        made = made.with_("Content-Type", content_type)
    return invite.replace(headers=made, body=invite.body if body is None else body)


async def answer_to(rig: ImRig, request: Request) -> Response:
    """Send a request from Ann's side; return its final answer."""
    answers: list[Response | None] = []
    rig.ours.sender.send(request, rig.ours.roads.routes, answers.append)
    await rig.settle()
    (answer,) = answers
    assert answer is not None
    return answer


async def test_a_group_call_is_refused_politely(rig: ImRig) -> None:
    await rig.people()
    answer = await answer_to(rig, call(rig, ("Require", "com.microsoft.rtc-multiparty")))
    assert answer.status == 420 and answer.headers.get("unsupported") == "com.microsoft.rtc-multiparty"
    assert "Group chat" in (answer.headers.get("warning") or "")
    endpoints = "<sip:a@example.org>, <sip:b@example.org>, <sip:c@example.org>"
    answer = await answer_to(
        rig, call(rig, ("Roster-Manager", "<sip:a@example.org>"), ("EndPoints", endpoints))
    )
    assert answer.status == 488 and "Group chat" in (answer.headers.get("warning") or "")
    await assert_nothing_left(rig)


async def test_two_endpoints_are_no_group(rig: ImRig) -> None:
    await rig.people()
    endpoints = f"<sip:{ANN}>, <sip:{BOB}>"
    answer = await answer_to(rig, call(rig, ("EndPoints", endpoints)))
    assert answer.status == 200 and b"m=message 5060 sip null" in answer.body


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"v=0\r\nm=audio 5000 RTP/AVP 0\r\n", "application/sdp", 488),
        (b"nonsense", "application/sdp", 488),
        (b"x", "text/plain", 415),
        (b"", "application/sdp", 200),
    ],
)
async def test_what_a_call_may_offer(rig: ImRig, body: bytes, content_type: str, status: int) -> None:
    await rig.people()
    answer = await answer_to(rig, call(rig, body=body, content_type=content_type))
    assert answer.status == status
    if status == 200:
        assert b"m=message 5060 sip null" in answer.body, "our offer"
    await rig.advance(100)
    assert len(rig.theirs.conversations) == 0


async def test_within_a_dialog(rig: ImRig) -> None:
    ann, bob = await rig.people()
    ann.send(chat(BOB, "one"))
    await rig.settle()
    (conversation,) = rig.ours.conversations.list_all()
    (wire,) = conversation._wires.values()
    assert wire.dialog is not None
    statuses = {}
    for method, content_type, body in (
        ("MESSAGE", "text/x-msmsgsinvite", b"Invitation-Command: INVITE"),
        ("MESSAGE", "text/html", b"<p>Hi <script>x</script><b>you</b></p>"),
        ("INFO", "application/x-ms-mim", b"<action/>"),
        ("REFER", "", b""),
        ("OPTIONS", "", b""),
    ):
        request, wire.dialog = wire.dialog.request(method, content_type=content_type, body=body)
        statuses[f"{method} {content_type}"] = await answer_to(rig, request)
    assert [answer.status for answer in statuses.values()] == [415, 200, 415, 405, 200]
    assert "text/plain" in (statuses["MESSAGE text/x-msmsgsinvite"].headers.get("accept") or "")
    assert await bob.bodies() == ["one", "Hi you"]
    again, wire.dialog = wire.dialog.request(
        "INVITE",
        content_type="application/sdp",
        body=rig.theirs.requests[0].body,
        contact=rig.ours.roads.contact("tcp"),
    )
    answer = await answer_to(rig, again)
    assert answer.status == 200 and b"m=message" in answer.body
    rig.ours.ack(wire.dialog.ack(again), rig.ours.roads.routes[0])
    await rig.settle()
    old = wire.dialog.request("MESSAGE", content_type="text/plain", body=b"x")[0]
    stale = old.replace(headers=old.headers.with_("CSeq", "1 MESSAGE"))
    assert (await answer_to(rig, stale)).status == 500
    await assert_nothing_left(rig)


async def test_a_call_that_is_cancelled(rig: ImRig) -> None:
    await rig.people()
    rig.theirs.place.ledger.window = 3600.0
    invite = call(rig, ("ms-text-format", "text/plain; charset=UTF-8;ms-body=b25l"))
    answers: list[Response | None] = []
    sending = rig.ours.sender.send(invite, rig.ours.roads.routes, answers.append)
    rig.rush()
    rig.clock.advance(0.3)  # the agent says 100 Trying
    rig.rush()
    rig.ours.sender.cancel(sending)
    rig.rush()
    assert [answer.status for answer in answers if answer is not None] == [487]
    await rig.settle()
    await rig.advance(100)
    assert len(rig.theirs.conversations) == 0


async def test_a_flood_of_calls_is_turned_away(rig: ImRig) -> None:
    await rig.people()
    statuses: list[int] = []
    for number in range(200):
        invite = call(rig, ("Call-ID", f"call{number}"), ("From", f"<sip:{ANN}>;tag=t{number}"))
        rig.ours.sender.send(
            invite,
            rig.ours.roads.routes,
            lambda response: statuses.append(response.status if response else 0),
        )
    await rig.settle()
    assert statuses.count(200) == MAX_LINES and statuses.count(486) == 200 - MAX_LINES
    await rig.advance(200)
    assert len(rig.theirs.conversations) == 0, "calls that are never acknowledged end by themselves"


async def test_a_peer_that_stops_in_the_middle(rig: ImRig) -> None:
    ann, _ = await rig.people()
    ann.send(chat(BOB, "one"))
    await rig.settle()
    await rig.kill(rig.theirs)
    ann.send(chat(BOB, "two", "m2"))
    await rig.advance(1)
    (error,) = [m for m in await ann.take("message") if m.get("type") == "error"]
    assert error.get("id") == "m2"
    await rig.advance(2000)
    assert not rig.ours.leftovers() and await rig.ours.outgoing() == [] and await rig.ours.dialog_rows() == 0
