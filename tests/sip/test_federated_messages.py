"""Conversations between a node and SIPp as the Microsoft side, both ways, with real XMPP clients."""

import base64
from pathlib import Path

import pytest

from tests.harness.client import Client
from tests.harness.tags import Tag
from tests.sip.federated import FEDERATED, Federated
from tests.sip.sipp import answering, calling, run_sipp

STATES = "http://jabber.org/protocol/chatstates"
GREETING = "Grüße — 日本語 😀 <b> :-)"


async def test_a_lync_user_writes_and_is_answered(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    bob = "bob-in@example.org"
    keys = {"ours": anna.user, "theirs": "bob-in"}
    async with calling("im_in", federated.port, directory=tmp_path, keys=keys) as sipp:
        await _state(anna, bob, "composing")
        first = await _message(anna, bob, GREETING)
        assert first.get("type") == "chat"
        await sipp.until("SIP/2.0 200 OK.*CSeq: 3 MESSAGE")
        anna.send(f"<message type='chat' to='{bob}'><composing xmlns='{STATES}'/></message>")
        await sipp.until("INFO sip:.*KeyboardActivity", 2)
        anna.send(f"<message type='chat' to='{bob}' id='a1'><body>Hallo — 😀 zurück</body></message>")
        await _state(anna, bob, "composing")
        await _state(anna, bob, "paused")
        await _message(anna, bob, "In HTML & more")
        await _message(anna, bob, "As text")
        await _message(anna, bob, "after the refusal")
        report = await sipp.report()
    assert report.successful == 1, report
    assert "415 Unsupported Media Type" in report.messages
    assert f"From: <sip:{anna.bare}>;tag=" in report.messages
    assert not [tag for tag in anna.wire.inbox if isinstance(tag, Tag) and tag.body()], anna.wire.inbox


async def test_the_first_message_in_the_invite(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    first = base64.b64encode(GREETING.encode()).decode()
    keys = {"ours": anna.user, "theirs": "bob-first", "first": first}
    report = await run_sipp("im_in_first", federated.port, directory=tmp_path, keys=keys)
    assert report.successful == 1, report
    await _message(anna, "bob-first@example.org", GREETING)


async def test_a_trace_does_not_show_what_people_write(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    secret = base64.b64encode(b"a secret").decode()
    keys = {"ours": anna.user, "theirs": "bob-secret", "first": secret}
    report = await run_sipp("im_in_first", federated.port, directory=tmp_path, keys=keys)
    assert report.successful == 1, report
    page = {"domain": "example.org", "max_forwards": "70", "type": "text/plain", "text": "a secret too"}
    report = await run_sipp("pager_in", federated.port, directory=tmp_path, keys={**keys, **page})
    assert report.successful == 1, report
    about = {"text": "bob-secret@example.org", "limit": 100}
    shown = "".join(one["text"] for one in federated.console.get("sip.trace", **about)["messages"])
    assert "INVITE sip:" in shown and "MESSAGE sip:" in shown
    assert secret not in shown and "a secret too" not in shown
    shown = "".join(one["text"] for one in federated.console.post("sip.trace_text", **about)["messages"])
    assert secret in shown and "a secret too" in shown


async def test_what_is_written_to_somebody_offline_is_kept(federated: Federated, tmp_path: Path) -> None:
    (name,) = federated.node.take_users(1)
    first = base64.b64encode(b"for later").decode()
    keys = {"ours": name, "theirs": "bob-later", "first": first}
    report = await run_sipp("im_in_first", federated.port, directory=tmp_path, keys=keys)
    assert report.successful == 1, report
    client = await Client(federated.node.place, name).login()
    client.send("<presence/>")
    await _message(client, "bob-later@example.org", "for later")


async def test_one_of_our_people_writes_and_is_answered(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    port = federated.route("bob-out")
    bob = "bob-out@example.org"
    async with answering(
        "im_out", directory=tmp_path, port=port, calls=1, keys={"theirs": "bob-out"}
    ) as sipp:
        await anna.enable(resume=False)
        anna.send(f"<message type='chat' to='{bob}' id='m1'><body>Hello 😀</body></message>")
        await _state(anna, bob, "composing")
        await _message(anna, bob, "Hello yourself")
        anna.request()
        await anna.is_served()
        assert not [one for one in anna.ledger.unacked if "m1" in one], "who takes it acknowledges it"
        anna.send(f"<message type='chat' to='{bob}'><composing xmlns='{STATES}'/></message>")
        anna.send(f"<message type='chat' to='{bob}'><paused xmlns='{STATES}'/></message>")
        await sipp.until('status="idle"')
        anna.send(f"<message type='chat' to='{bob}' id='m2'><body>How are you?</body></message>")
        report = await sipp.report()
    assert report.successful == 1, report
    assert report.messages.count("Hello 😀") == 1


@pytest.mark.parametrize("call_id", ["00-%u-%p@%s", "zz-%u-%p@%s"])
async def test_both_call_at_once(federated: Federated, tmp_path: Path, call_id: str) -> None:
    """Each message arrives once, in the dialog that stays: the one with the lower Call-ID."""
    (anna,) = await federated.log_in()
    name = f"bob-{call_id[:2]}"
    port, bob = federated.route(name), f"{name}@example.org"
    keys = {"ours": anna.user, "theirs": name}
    options = ["-cid_str", call_id]
    async with answering("im_crossing_out", directory=tmp_path, port=port, calls=1, keys=keys) as called:
        anna.send(f"<message type='chat' to='{bob}'><body>from anna</body></message>")
        await called.until("INVITE sip:")
        async with calling(
            "im_crossing_in", federated.port, directory=tmp_path, keys=keys, options=options
        ) as caller:
            await _message(anna, bob, "from the other side")
            anna.send(f"<message type='chat' to='{bob}'><body>anna again</body></message>")
            theirs_stays = call_id < "1"
            await (caller if theirs_stays else called).until("\nanna again")
            if theirs_stays:  # the caller of the other one hangs up at once
                await called.until("200 OK.*BYE")
            messages = "".join([(await one.stop()).messages for one in (called, caller)])
    assert (messages.count("\nfrom anna"), messages.count("\nanna again")) == (1, 1), messages
    assert not [tag for tag in anna.wire.inbox if isinstance(tag, Tag) and tag.get("type") == "error"]


async def test_a_client_that_takes_the_first_message_from_the_invite(
    federated: Federated, tmp_path: Path
) -> None:
    (anna,) = await federated.log_in()
    port = federated.route("bob-takes")
    async with answering(
        "im_out_first", directory=tmp_path, port=port, calls=1, keys={"theirs": "bob-takes"}
    ) as sipp:
        anna.send("<message type='chat' to='bob-takes@example.org'><body>first</body></message>")
        anna.send("<message type='chat' to='bob-takes@example.org'><body>second</body></message>")
        report = await sipp.report()
    assert report.successful == 1, report


async def test_a_group_chat_is_refused_politely(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    keys = {"ours": anna.user, "theirs": "bob-group"}
    report = await run_sipp("im_in_group", federated.port, directory=tmp_path, keys=keys)
    assert report.successful == 1, report


@pytest.mark.parametrize(
    ("answer", "condition"),
    [
        ("404 Not Found", "item-not-found"),
        ("480 Temporarily Unavailable", "recipient-unavailable"),
        ("488 Not Acceptable Here", "not-acceptable"),
        ("603 Decline", "recipient-unavailable"),
    ],
)
async def test_a_lync_user_who_does_not_take_it(
    federated: Federated, tmp_path: Path, answer: str, condition: str
) -> None:
    (anna,) = await federated.log_in()
    name = f"bob-{answer[:3]}"
    port = federated.route(name)
    keys = {"answer": f"SIP/2.0 {answer}"}
    async with answering("im_out_refused", directory=tmp_path, port=port, calls=1, keys=keys) as sipp:
        anna.send(f"<message type='chat' to='{name}@example.org' id='x'><body>Hello?</body></message>")
        error = await anna.expect(lambda tag: tag.get("id") == "x" and tag.get("type") == "error")
        report = await sipp.report()
    assert report.successful == 1, report
    assert error.condition() == condition


@pytest.mark.parametrize(("scenario", "status"), [("im_out_returned", 482), ("im_out_returned_anew", 404)])
async def test_somebody_whom_nobody_has_is_not_looked_for_forever(
    federated: Federated, tmp_path: Path, scenario: str, status: int
) -> None:
    """Microsoft's server sends the request back: it ends here and is not sent on again."""
    (anna,) = await federated.log_in()
    name = f"nobody{status}"
    port = federated.route(name)
    async with answering(scenario, directory=tmp_path, port=port, calls=1, keys={"theirs": name}) as sipp:
        anna.send(f"<message type='chat' to='{name}@example.org' id='x'><body>Hello?</body></message>")
        error = await anna.expect(lambda tag: tag.get("id") == "x" and tag.get("type") == "error")
        report = await sipp.report()
    assert report.successful == 1, report
    assert f"SIP/2.0 {status} " in report.messages
    assert error.condition() == "item-not-found"
    found = federated.console.get("sip.trace", text=f"{name}@example.org", limit=100)["messages"]
    invites = [one["direction"] for one in found if one["text"].startswith("INVITE ")]
    assert invites == ["sent", "received"]
    said = federated.node.command("route", "explain", anna.bare, f"{name}@example.org", "--returned")
    assert "404" in said and "loop" in said


async def test_pager_mode(federated: Federated, tmp_path: Path) -> None:
    """Peers of other organisations: each message is a MESSAGE of its own."""
    (anna,) = await federated.log_in()
    federated.console.post("federation.add", domain=FEDERATED)
    port = federated.route(".example.partner", transport="udp")
    keys = {"ours": anna.user, "theirs": "carl", "domain": FEDERATED, "max_forwards": "70"}
    report = await run_sipp(
        "pager_in", federated.port, directory=tmp_path, transport="udp",
        keys={**keys, "type": "text/plain;charset=UTF-8", "text": GREETING},
    )  # fmt: skip
    assert report.successful == 1, report
    await _message(anna, f"carl@{FEDERATED}", GREETING)
    async with answering("pager_out", directory=tmp_path, port=port, transport="udp", calls=1) as sipp:
        anna.send(f"<message type='chat' to='carl@{FEDERATED}'><body>Grüße 😀</body></message>")
        report = await sipp.report()
    assert report.successful == 1, report
    assert f"From: <sip:{anna.bare}>" in report.messages
    report = await run_sipp(
        "message_refused",
        federated.port,
        directory=tmp_path,
        keys={**keys, "type": "application/octet-stream"},
    )
    assert report.successful == 1 and report.refusal == 415, report


async def _message(client: Client, sender: str, body: str) -> Tag:
    found = await client.expect_message(body)
    assert (found.get("from") or "").partition("/")[0] == sender
    return found


async def _state(client: Client, sender: str, name: str) -> None:
    found = await client.expect(lambda tag: tag.name == "message" and tag.child(name, STATES) is not None)
    assert (found.get("from") or "").partition("/")[0] == sender
    assert found.body() is None
