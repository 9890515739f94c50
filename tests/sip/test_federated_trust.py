"""Whose requests a node takes, and for whom: SIPp as a stranger, and over TLS with various certificates."""

import json
from pathlib import Path

import pytest

from tests.harness.client import Client
from tests.harness.tags import Tag
from tests.sip.certificates import Authority
from tests.sip.federated import OURS, PEER, Federated
from tests.sip.relay import into_tls, out_of_tls
from tests.sip.sipp import Report, answering, calling, run_sipp

STRANGER = "127.0.0.2"
LYNC = "UCCAPI/15.0"


async def test_a_stranger_is_refused_with_the_reason_in_the_log(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    before = federated.count("sip_untrusted")
    report = await _invite(federated, tmp_path, anna.user, source=STRANGER)
    assert report.refusal == 403, report
    report = await run_sipp(
        "subscribe_refused", federated.port, directory=tmp_path, source=STRANGER, transport="udp",
        keys={"ours": anna.user, "theirs": "mallory", "event": "presence", "accept": "*/*"},
    )  # fmt: skip
    assert report.refusal == 403, report
    assert federated.count("sip_untrusted") == before + 2
    found = [one for one in _log(federated, "sip_peer_refused") if STRANGER in one["peer"]]
    assert {one["method"] for one in found} == {"INVITE", "SUBSCRIBE"}
    assert all("access control list" in one["reason"] and STRANGER in one["cure"] for one in found), found
    assert not [tag for tag in anna.wire.inbox if isinstance(tag, Tag) and tag.name == "message"]


@pytest.mark.parametrize("method", ["subscribe", "im_in", "message"])
async def test_a_recipient_whom_nobody_knows(federated: Federated, tmp_path: Path, method: str) -> None:
    port = federated.route("unknown")
    async with answering("hop_unavailable", directory=tmp_path, port=port) as sipp:
        keys = {"ours": "unknown", "theirs": "bob", "user_agent": LYNC, "max_forwards": "69"}
        keys |= {"type": "text/plain", "domain": "example.org", "event": "presence", "accept": "*/*"}
        report = await run_sipp(f"{method}_refused", federated.port, directory=tmp_path, keys=keys)
        assert report.refusal == 404, report
        assert not (await sipp.stop()).messages, "it is never sent on, whatever the routes say"


async def test_senders_who_cannot_be_there(federated: Federated, tmp_path: Path) -> None:
    anna, berta = await federated.log_in(2)
    report = await _invite(federated, tmp_path, anna.user, theirs=berta.user)
    assert report.refusal == 403, report  # one of ours


async def test_a_request_that_may_go_no_further(federated: Federated, tmp_path: Path) -> None:
    """It may still arrive here (RFC 3261 §16.3 is for who passes it on), and goes nowhere else."""
    (anna,) = await federated.log_in()
    keys = {
        "theirs": "bob",
        "domain": "example.org",
        "type": "text/plain",
        "text": "hop",
        "max_forwards": "0",
    }
    report = await run_sipp("pager_in", federated.port, directory=tmp_path, keys={"ours": anna.user, **keys})
    assert report.successful == 1, report
    await anna.expect_message("hop")
    port = federated.route("too-far")
    async with answering("hop_unavailable", directory=tmp_path, port=port) as sipp:
        report = await _invite(federated, tmp_path, "too-far", max_forwards="0")
        assert report.refusal in (404, 483), report
        assert not (await sipp.stop()).messages


async def test_what_a_load_balancer_asks(federated: Federated, tmp_path: Path) -> None:
    for transport in ("tcp", "udp"):
        report = await run_sipp(
            "options_probe", federated.port, directory=tmp_path, transport=transport, calls=5, source=STRANGER
        )
        assert (report.successful, report.failed) == (5, 0), report


async def test_presence_over_tls_with_certificates_on_both_sides(
    federated: Federated, tmp_path: Path
) -> None:
    """The NOTIFYs come back over the connection of the Microsoft side (RFC 5923)."""
    (anna,) = await federated.log_in()
    port = federated.node.ports["sip_tls_peer"]
    keys = {"ours": anna.user, "theirs": "tls-watcher"}
    async with (
        into_tls(port, federated.peer, federated.firm.ca, OURS) as relay,
        calling("presence_watched_tls", relay.port, directory=tmp_path, keys=keys) as sipp,
    ):
        await sipp.until("<basic>open")
        anna.send("<presence><show>dnd</show></presence>")
        await sipp.until("activity>busy")
        status = federated.console.get("sip.status")
        report = await sipp.report()
    assert report.successful == 1, (report, relay.errors)
    assert relay.connections == 1
    assert [PEER] in [one["names"] for one in status["connections"]], status


async def test_a_conversation_over_tls(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    async with (
        answering("im_out_first", directory=tmp_path, calls=1, keys={"theirs": "bob-tls"}) as sipp,
        out_of_tls(sipp.port, federated.peer, federated.firm.ca) as relay,
    ):
        federated.route("bob-tls", relay.port, "tls")
        anna.send("<message type='chat' to='bob-tls@example.org'><body>first</body></message>")
        anna.send("<message type='chat' to='bob-tls@example.org'><body>second</body></message>")
        report = await sipp.report()
    assert report.successful == 1, (report, relay.errors)
    assert "transport=tls" in report.messages.lower()


async def test_the_microsoft_side_must_be_who_it_is(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    stranger = Authority(tmp_path / "stranger", "example.net").issue(PEER)
    wrong_name = federated.firm.issue("other.example.org")
    for number, identity in enumerate((stranger, wrong_name)):
        async with (
            answering("im_out_first", directory=tmp_path, keys={"theirs": "bob"}) as sipp,
            out_of_tls(sipp.port, identity, federated.firm.ca) as relay,
        ):
            federated.route(f"bob-false{number}", relay.port, "tls")
            to = f"bob-false{number}@example.org"
            anna.send(f"<message type='chat' to='{to}' id='x{number}'><body>secret</body></message>")
            error = await _answered(anna, f"x{number}")
            assert error.condition() in ("remote-server-timeout", "remote-server-not-found"), error
            assert not (await sipp.stop()).messages
    reasons = [one["reason"] for one in _log(federated, "sip_hop_unreachable")]
    assert any("certificate" in reason.lower() for reason in reasons), reasons


@pytest.mark.parametrize("kind", ["none", "of a stranger", "of no peer"])
async def test_certificates_that_do_not_do(federated: Federated, tmp_path: Path, kind: str) -> None:
    (anna,) = await federated.log_in()
    port = federated.node.ports["sip_tls_peer"]
    identity = {
        "none": None,
        "of a stranger": Authority(tmp_path / "stranger", "example.net").issue(PEER),
        "of no peer": federated.firm.issue("nopeer.example.org"),
    }[kind]
    async with into_tls(port, identity, federated.firm.ca, OURS) as relay:
        report = await _invite(federated, tmp_path, anna.user, port=relay.port, seconds=4)
    if kind == "of no peer":
        assert report.refusal == 403, (report, relay.errors)
        reasons = [one["reason"] for one in _log(federated, "sip_peer_refused")]
        assert any("nopeer.example.org" in reason and "no TLS peer" in reason for reason in reasons), reasons
    else:
        assert report.successful == 0 and not report.refusal
        alert = "certificate required" if kind == "none" else "unknown ca"
        assert any(alert in error.lower().replace("_", " ") for error in relay.errors), relay.errors


async def test_the_tls_port_without_client_certificates(federated: Federated, tmp_path: Path) -> None:
    (anna,) = await federated.log_in()
    port = federated.node.ports["sip_tls_server"]
    keys = {"ours": anna.user, "theirs": "bob-server", "first": "SGVsbG8="}
    async with into_tls(port, None, federated.firm.ca, OURS) as relay:
        report = await run_sipp("im_in_first", relay.port, directory=tmp_path, keys=keys)
    assert report.successful == 1, (report, relay.errors)
    await anna.expect_message("Hello")


async def _answered(client: Client, id: str) -> Tag:
    return await client.expect(lambda tag: tag.get("id") == id)


async def _invite(
    federated: Federated,
    directory: Path,
    ours: str,
    *,
    theirs: str = "mallory",
    max_forwards: str = "69",
    port: int = 0,
    source: str = "",
    seconds: float = 20.0,
) -> Report:
    keys = {"ours": ours, "theirs": theirs, "max_forwards": max_forwards, "user_agent": LYNC}
    return await run_sipp(
        "im_in_refused",
        port or federated.port,
        directory=directory,
        source=source,
        keys=keys,
        seconds=seconds,
    )


def _log(federated: Federated, name: str) -> list[dict[str, str]]:
    file = federated.node.data / "logs" / "ubiety.log"
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return [line for line in lines if line.get("event") == name]
