"""SIPp, an independent SIP implementation, speaks with our stack: UDP, TCP, and TLS through a relay."""

from pathlib import Path

import pytest

from tests.sip.certificates import Authority
from tests.sip.relay import into_tls, out_of_tls
from tests.sip.sipp import answering, run_sipp
from tests.sip.stacks import HOST, NOWHERE, request, running
from ubiety.config import Listen
from ubiety.net.sip import Places
from ubiety.sip.outputs import Cause, Hop

TLS = Places(tls_peer=[Listen(HOST, 0)], tls_server=[Listen(HOST, 0)])
NAME = "im.example.org"


@pytest.fixture
def firm(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "firm")


@pytest.mark.parametrize("transport", ["udp", "tcp", "tcp-each"])
async def test_a_probe_is_answered(tmp_path: Path, transport: str) -> None:
    async with running() as (stack, echo):
        report = await run_sipp(
            "options_probe", stack.ports["sip"], directory=tmp_path, transport=transport, calls=50, rate=200
        )
        assert (report.successful, report.failed, report.exit_code) == (50, 0, 0), report
        assert len(echo.requests) == 50, "a request is shown once, however often it came"


async def test_a_probe_learns_that_the_node_is_not_alive(tmp_path: Path) -> None:
    async with running() as (stack, echo):
        echo.is_alive = False
        report = await run_sipp("options_probe", stack.ports["sip"], directory=tmp_path)
        assert (report.failed, report.exit_code) == (1, 1)
        assert "SIP/2.0 503 Service Unavailable" in report.errors


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_messages_come_back_as_they_were(tmp_path: Path, transport: str) -> None:
    async with running() as (stack, echo):
        report = await run_sipp(
            "message_echo",
            stack.ports["sip"],
            directory=tmp_path,
            transport=transport,
            calls=100,
            rate=200,
            keys={"text": "Grüße"},
        )
        assert (report.successful, report.failed) == (100, 0), report
        assert echo.requests[0][0].body.startswith("Grüße ".encode())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_refused_invite_is_acknowledged_and_ends(tmp_path: Path, transport: str) -> None:
    async with running() as (stack, echo):
        report = await run_sipp(
            "invite_refused", stack.ports["sip"], directory=tmp_path, transport=transport, calls=20
        )
        assert (report.successful, report.failed, report.retransmissions) == (20, 0, 0), report
        assert len(echo.requests) == 20 and echo.acks == []


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_sipp_takes_our_messages(tmp_path: Path, transport: str) -> None:
    async with (
        answering("message_taken", directory=tmp_path, transport=transport, calls=30) as sipp,
        running(NOWHERE) as (stack, user),
    ):
        hop = Hop(transport, HOST, sipp.port)
        for key in [stack.send(request(), hop) for _ in range(30)]:
            assert await user.outcome(key) == 200
        report = await sipp.report()
        assert (report.successful, report.failed) == (30, 0), report


async def test_a_server_that_refuses_and_one_that_is_gone(tmp_path: Path) -> None:
    async with running(NOWHERE) as (stack, user):
        async with answering("message_unavailable", directory=tmp_path) as sipp:
            hop = Hop("tcp", HOST, sipp.port)
            assert await user.outcome(stack.send(request(), hop)) == 503
        assert await user.outcome(stack.send(request(), hop)) is Cause.TRANSPORT


async def test_tls_with_certificates_on_both_sides(tmp_path: Path, firm: Authority) -> None:
    ours, theirs = firm.issue(NAME).tls(firm.ca), firm.issue("fe1.example.com")
    async with (
        running(TLS, tls=ours) as (stack, echo),
        into_tls(stack.ports["sip_tls_peer"], theirs, firm.ca, NAME) as relay,
    ):
        report = await run_sipp("options_probe", relay.port, directory=tmp_path, calls=20)
        assert (report.successful, report.failed) == (20, 0), (report, relay.errors)
        assert {peer.names for _, peer in echo.requests} == {("fe1.example.com",)}


@pytest.mark.parametrize("kind", ["no certificate", "of a stranger"])
async def test_tls_refuses_who_shows_no_certificate_that_we_trust(
    tmp_path: Path, firm: Authority, kind: str
) -> None:
    stranger = Authority(tmp_path / "stranger", "example.net").issue("fe1.example.com")
    async with (
        running(TLS, tls=firm.issue(NAME).tls(firm.ca)) as (stack, echo),
        into_tls(
            stack.ports["sip_tls_peer"], stranger if kind == "of a stranger" else None, firm.ca, NAME
        ) as relay,
    ):
        report = await run_sipp("options_probe", relay.port, directory=tmp_path, seconds=5)
        assert report.successful == 0 and report.exit_code != 0
        assert echo.requests == [] and relay.connections > 0
        alert = "unknown ca" if kind == "of a stranger" else "certificate required"
        assert any(alert in error.lower().replace("_", " ") for error in relay.errors), relay.errors


async def test_tls_without_a_certificate_where_none_is_asked_for(tmp_path: Path, firm: Authority) -> None:
    async with (
        running(TLS, tls=firm.issue(NAME).tls(firm.ca)) as (stack, echo),
        into_tls(stack.ports["sip_tls_server"], None, firm.ca, NAME) as relay,
    ):
        report = await run_sipp("options_probe", relay.port, directory=tmp_path)
        assert report.successful == 1, (report, relay.errors)
        assert echo.requests[0][1].names == ()


async def test_our_requests_over_tls_show_our_certificate(tmp_path: Path, firm: Authority) -> None:
    async with (
        answering("message_taken", directory=tmp_path, calls=5) as sipp,
        out_of_tls(sipp.port, firm.issue("fe1.example.com"), firm.ca) as relay,
        running(NOWHERE, tls=firm.issue(NAME).tls(firm.ca)) as (stack, user),
    ):
        hop = Hop("tls", HOST, relay.port, "fe1.example.com")
        for key in [stack.send(request(), hop) for _ in range(5)]:
            assert await user.outcome(key) == 200, relay.errors
        assert (await sipp.report()).successful == 5 and relay.connections == 1
