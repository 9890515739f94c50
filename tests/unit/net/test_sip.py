"""Two SIP stacks that talk to each other over real sockets."""

import asyncio
import socket
import ssl
import time
from pathlib import Path

import pytest

from tests.sip.certificates import Authority, Identity
from tests.sip.stacks import HOST, NOWHERE, Echo, hop_to, request, running, settings
from ubiety.config import Listen
from ubiety.net.listener import ListenError
from ubiety.net.sip import Places
from ubiety.net.sip_dns import Resolver
from ubiety.sip.message import Request, make_response
from ubiety.sip.outputs import Cause, Hop, Peer

TCP_AND_UDP = Places(sip=[Listen(HOST, 0)])


@pytest.fixture
def firm(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "firm")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_request_is_answered(transport: str) -> None:
    async with running() as (server, _), running(NOWHERE) as (client, user):
        key = client.send(request(body=b"Gr\xc3\xbc\xc3\x9fe"), hop_to(server, transport))
        assert user.responses == {}, "the answer must not come before the key"
        assert await user.outcome(key) == 200
        assert user.responses[key][-1].body == "Grüße".encode()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_over_ipv6(transport: str) -> None:
    async with running(Places(sip=[Listen("::1", 0)])) as (server, echo), running(NOWHERE) as (client, user):
        key = client.send(request("OPTIONS"), hop_to(server, transport, host="::1"))
        assert await user.outcome(key) == 200
        received, peer = echo.requests[0]
        assert peer.address == "::1" and received.via.host == "[::1]"


async def test_one_port_for_both_families_and_both_transports() -> None:
    places = Places(sip=[Listen("0.0.0.0", 0), Listen("::", 0)])
    async with running(places) as (server, echo), running(NOWHERE) as (client, user):
        for transport in ("tcp", "udp"):
            for host in (HOST, "::1"):
                assert await user.outcome(client.send(request(), hop_to(server, transport, host=host))) == 200
        assert {(peer.transport, peer.address) for _, peer in echo.requests} == {
            (transport, host) for transport in ("tcp", "udp") for host in (HOST, "::1")
        }


async def test_requests_to_one_hop_share_a_connection_and_keep_their_order() -> None:
    async with running() as (server, echo), running(NOWHERE) as (client, user):
        hop = hop_to(server)
        keys = [client.send(request(body=str(number).encode()), hop) for number in range(50)]
        for key in keys:
            assert await user.outcome(key) == 200
        assert [one.body for one, _ in echo.requests] == [str(number).encode() for number in range(50)]
        assert len({peer.flow for _, peer in echo.requests}) == 1
        assert len(server.peers()) == len(client.peers()) == 1


async def test_hops_that_lead_to_the_same_place_share_a_connection_as_far_as_the_peer_proves_its_names(
    firm: Authority, tmp_path: Path
) -> None:
    (tmp_path / "hosts").write_text(f"{HOST} fe1.example.com fe2.example.com pool.example.com\n")
    resolver = Resolver(asyncio.get_running_loop(), hosts=tmp_path / "hosts")
    theirs = firm.issue("pool.example.com", "fe1.example.com").tls(firm.ca)
    ours = firm.issue("im.example.org").tls(firm.ca)
    places = Places(sip=[Listen(HOST, 0)], tls_peer=[Listen(HOST, 0)])
    async with (
        running(places, tls=theirs) as (server, _),
        running(NOWHERE, tls=ours, resolver=resolver, expects=lambda _hop, names: bool(names)) as (
            client,
            user,
        ),
    ):
        for name in ("fe1.example.com", "pool.example.com"):
            for transport in ("tls", "tcp"):
                hop = hop_to(server, transport, host=name, name=name if transport == "tls" else "")
                assert await user.outcome(client.send(request(), hop)) == 200
        assert await user.outcome(client.send(request(), hop_to(server, "tls"))) == 200
        assert sorted(one["transport"] for one in client.peers()) == ["tcp", "tls"]
        other = hop_to(server, "tls", host="fe2.example.com", name="fe2.example.com")
        assert await user.outcome(client.send(request(), other)) is Cause.TRANSPORT


async def test_the_answers_follow_the_connection_and_the_counts_return_to_zero() -> None:
    async with running() as (server, _), running(TCP_AND_UDP) as (client, user):
        key = client.send(request(), hop_to(server))
        await user.outcome(key)
        assert user.requests == [] and len(client.peers()) == 1
        assert user.responses[key][0].via.port == client.ports["sip"], "our Via names our listener"


class Ringing(Echo):
    """Lets an INVITE ring, and takes it when told."""

    def answer(self, key: int, request: Request, peer: Peer) -> None:
        if request.method != "INVITE":
            super().answer(key, request, peer)
            return
        self.key, self.invite = key, request
        self.stack.respond(key, make_response(request, 180, to_tag="b1"))

    def cancelled(self, key: int) -> None:
        super().cancelled(key)
        self.stack.respond(key, make_response(self.invite, 487, to_tag="b1"))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_an_invite_that_is_cancelled(transport: str) -> None:
    async with running(handler=Ringing()) as (server, callee), running(NOWHERE) as (client, user):
        key = client.send(request("INVITE", contact="<sip:alice@127.0.0.1>"), hop_to(server, transport))
        await user.until(lambda: user.responses.get(key))
        client.cancel(key)
        assert await user.outcome(key) == 487
        assert callee.cancelled_keys == [callee.key]


async def test_an_invite_is_acknowledged() -> None:
    async with running(handler=Ringing()) as (server, callee), running(NOWHERE) as (client, user):
        hop = hop_to(server)
        invite = request("INVITE", contact="<sip:alice@127.0.0.1>")
        key = client.send(invite, hop)
        await user.until(lambda: user.responses.get(key))
        server.respond(callee.key, make_response(callee.invite, 200, to_tag="b1"))
        assert await user.outcome(key) == 200
        to = str(user.responses[key][-1].to)
        headers = invite.headers.with_("CSeq", "1 ACK").with_("To", to).without("content-type")
        client.ack(Request("ACK", invite.uri, headers), hop)
        assert await callee.until(lambda: callee.acks)


async def test_where_nobody_listens_the_request_fails_at_once_and_again() -> None:
    async with running() as (server, _), running(NOWHERE) as (client, user):
        hop = hop_to(server)
        await server.stop()
        for _ in range(3):
            key = client.send(request(), hop)
            assert await user.outcome(key, 2) is Cause.TRANSPORT
        await server.start()
        await asyncio.sleep(1.1)
        assert await user.outcome(client.send(request(), hop)) == 200, "the same port, tried again"


async def test_a_connection_that_breaks_ends_what_waits_on_it() -> None:
    class Silent(Echo):
        def answer(self, key: int, request: Request, peer: Peer) -> None:
            pass

    async with running(NOWHERE) as (client, user):
        async with running(handler=Silent()) as (server, silent):
            key = client.send(request(), hop_to(server))
            await silent.until(lambda: silent.requests)
        assert await user.outcome(key, 2) is Cause.TRANSPORT
        assert client.agent.counts.clients == 0


async def test_a_hop_that_takes_the_connection_and_says_nothing_times_out(firm: Authority) -> None:
    mute = await asyncio.start_server(lambda reader, writer: reader.read(), HOST, 0)
    hop = Hop("tls", HOST, mute.sockets[0].getsockname()[1], "im.example.org")
    tls = firm.issue("fe1.example.com").tls(firm.ca)
    async with running(NOWHERE, tls=tls, settings=settings(connect_seconds=1)) as (client, user):
        key = client.send(request(), hop)
        assert await user.outcome(key, 3) is Cause.TRANSPORT
    mute.close()


async def test_an_overdue_timer_does_no_harm() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind((HOST, 0))
        hop = Hop("udp", HOST, deaf.getsockname()[1])
        async with running() as (server, _), running(NOWHERE) as (client, user):
            for _ in range(3):
                client.send(request(), hop)
                time.sleep(0.6)  # the loop is held up for longer than the first repetition
                client.send(request(), hop)
            assert await user.outcome(client.send(request(), hop_to(server, "udp"))) == 200


async def test_a_stack_that_is_stopped_fails_what_it_is_given() -> None:
    async with running() as (server, _), running(NOWHERE) as (client, user):
        await client.stop()
        assert await user.outcome(client.send(request(), hop_to(server)), 2) is Cause.TRANSPORT


async def test_a_fault_of_the_handler_is_answered_500_and_does_no_harm() -> None:
    class Faulty(Echo):
        def answer(self, key: int, request: Request, peer: Peer) -> None:
            if request.body == b"fault":
                raise RuntimeError("a fault")
            super().answer(key, request, peer)

    async with running(handler=Faulty()) as (server, _), running(NOWHERE) as (client, user):
        hop = hop_to(server)
        assert await user.outcome(client.send(request(body=b"fault"), hop)) == 500
        assert await user.outcome(client.send(request(), hop)) == 200
        assert len(client.peers()) == 1


async def test_a_long_request_goes_over_tcp_instead_of_udp() -> None:
    async with running() as (server, echo), running(NOWHERE) as (client, user):
        key = client.send(request(body=b"x" * 5000), hop_to(server, "udp"))
        assert await user.outcome(key) == 200
        assert echo.requests[0][1].transport == "tcp"


async def test_a_port_that_is_taken_is_named() -> None:
    async with running() as (server, _):
        with pytest.raises(ListenError, match="UBIETY_SIP_PORT"):
            async with running(Places(sip=[Listen(HOST, server.ports["sip"])])):
                pass


async def test_a_probe_is_told_the_truth() -> None:
    async with running() as (server, echo), running(NOWHERE) as (client, user):
        assert await user.outcome(client.send(request("OPTIONS"), hop_to(server))) == 200
        echo.is_alive = False
        assert await user.outcome(client.send(request("OPTIONS"), hop_to(server))) == 503


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "stranger", "example.net")


def client_context(firm: Authority, identity: Identity) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(firm.ca))
    context.load_cert_chain(identity.certificate, identity.key)
    return context


def with_via(asked: Request, via: str) -> bytes:
    return asked.replace(headers=asked.headers.first("Via", via)).to_bytes()


PEER = Places(tls_peer=[Listen(HOST, 0)], tls_server=[Listen(HOST, 0)], name="im.example.org")


async def test_both_sides_prove_their_names(firm: Authority) -> None:
    ours = firm.issue("im.example.org", "example.org").tls(firm.ca)
    theirs = firm.issue("pool.example.com", "fe1.example.com").tls(firm.ca)
    async with running(PEER, tls=ours) as (server, echo), running(NOWHERE, tls=theirs) as (client, user):
        hop = hop_to(server, "tls", name="im.example.org")
        assert await user.outcome(client.send(request(), hop)) == 200
        _, peer = echo.requests[0]
        assert peer.listener == "sip_tls_peer"
        assert peer.names == ("pool.example.com", "fe1.example.com")
        shown = client.peers()[0]
        assert shown["names"] == ["im.example.org", "example.org"] and shown["secured_by"] == "TLSv1.3"


async def test_a_server_with_another_name_is_not_spoken_to(firm: Authority) -> None:
    ours, theirs = firm.issue("im.example.org").tls(firm.ca), firm.issue("fe1.example.com").tls(firm.ca)
    async with running(PEER, tls=ours) as (server, echo), running(NOWHERE, tls=theirs) as (client, user):
        key = client.send(request(), hop_to(server, "tls", name="other.example.org"))
        assert await user.outcome(key) is Cause.TRANSPORT
        assert "ostname mismatch" in client.why_unreachable(hop_to(server, "tls", name="other.example.org"))
        key = client.send(request(), hop_to(server, "tls"))  # by its address, which is not in the certificate
        assert await user.outcome(key) is Cause.TRANSPORT
        assert echo.requests == []


async def test_a_hop_that_is_an_address_may_be_judged_by_its_names(firm: Authority) -> None:
    ours, theirs = firm.issue("im.example.org").tls(firm.ca), firm.issue("fe1.example.com").tls(firm.ca)
    for subjects, outcome in ((("im.example.org",), 200), (("else.example.org",), Cause.TRANSPORT)):
        expects = lambda _hop, names, subjects=subjects: any(name in subjects for name in names)  # noqa: E731
        async with (
            running(PEER, tls=ours) as (server, _),
            running(NOWHERE, tls=theirs, expects=expects) as (client, user),
        ):
            assert await user.outcome(client.send(request(), hop_to(server, "tls"))) == outcome


async def test_an_untrusted_client_certificate_is_refused(firm: Authority, stranger: Authority) -> None:
    ours = firm.issue("im.example.org").tls(firm.ca)
    theirs = stranger.issue("fe1.example.com").tls(firm.ca)  # trusts us, is not trusted
    async with running(PEER, tls=ours) as (server, echo), running(NOWHERE, tls=theirs) as (client, user):
        key = client.send(request(), hop_to(server, "tls", name="im.example.org"))
        assert await user.outcome(key) is Cause.TRANSPORT
        assert echo.requests == []
        # Where no certificate is asked for, nobody is known, and the handler decides.
        hop = hop_to(server, "tls", "sip_tls_server", name="im.example.org")
        assert await user.outcome(client.send(request(), hop)) == 200
        assert echo.requests[0][1].names == ()


async def test_an_untrusted_server_certificate_is_refused(firm: Authority, stranger: Authority) -> None:
    ours = stranger.issue("im.example.org").tls(firm.ca)
    theirs = firm.issue("fe1.example.com").tls(firm.ca)
    async with running(PEER, tls=ours) as (server, echo), running(NOWHERE, tls=theirs) as (client, user):
        key = client.send(request(), hop_to(server, "tls", name="im.example.org"))
        assert await user.outcome(key) is Cause.TRANSPORT
        assert echo.requests == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_1])
async def test_tls_1_2_is_the_oldest(firm: Authority, version: ssl.TLSVersion) -> None:
    ours = firm.issue("im.example.org").tls(firm.ca)
    theirs = firm.issue("fe1.example.com")
    context = client_context(firm, theirs)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    async with running(PEER, tls=ours) as (server, _):
        connecting = asyncio.open_connection(
            HOST, server.ports["sip_tls_peer"], ssl=context, server_hostname="im.example.org"
        )
        if version == ssl.TLSVersion.TLSv1_2:
            _, writer = await connecting
            assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
            writer.close()
        else:
            with pytest.raises((ssl.SSLError, OSError)):
                await connecting


@pytest.mark.parametrize(
    ("via", "name", "connections"),
    [
        ("SIP/2.0/TLS fe1.example.com;branch=z9hG4bK1;alias", "fe1.example.com", 1),
        ("SIP/2.0/TLS fe1.example.com;branch=z9hG4bK1", "fe1.example.com", 2),
        ("SIP/2.0/TLS fe1.example.com;branch=z9hG4bK1;alias", "pool.example.com", 2),
    ],
)
async def test_a_peers_connection_is_used_for_our_requests_if_it_asks_for_that_and_proves_the_name(
    firm: Authority, via: str, name: str, connections: int
) -> None:
    ours = firm.issue("im.example.org").tls(firm.ca)
    theirs = firm.issue("fe1.example.com")
    listening = firm.issue(name)
    async with (
        running(PEER, tls=ours) as (we, user),
        running(PEER, tls=listening.tls(firm.ca)) as (they, _),
    ):
        reader, writer = await asyncio.open_connection(
            HOST,
            we.ports["sip_tls_peer"],
            ssl=client_context(firm, theirs),
            server_hostname="im.example.org",
        )
        writer.write(with_via(request("OPTIONS"), via))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"SIP/2.0 200")
        key = we.send(request("OPTIONS"), Hop("tls", HOST, they.ports["sip_tls_peer"], name))
        if connections == 1:
            asked = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert asked.startswith(b"OPTIONS")
        else:
            assert await user.outcome(key) == 200
        assert len(we.peers()) == connections
        writer.close()


async def test_a_new_certificate_is_shown_to_new_connections(firm: Authority) -> None:
    before, after = firm.issue("im.example.org"), firm.issue("new.example.org", "im.example.org")
    theirs = firm.issue("fe1.example.com").tls(firm.ca)
    async with running(PEER, tls=before.tls(firm.ca)) as (server, _):
        async with running(NOWHERE, tls=theirs) as (client, user):
            hop = hop_to(server, "tls", name="im.example.org")
            await user.outcome(client.send(request(), hop))
            assert client.peers()[0]["names"] == ["im.example.org"]
            before.certificate.write_bytes(after.certificate.read_bytes())
            before.key.write_bytes(after.key.read_bytes())
            assert await user.outcome(client.send(request(), hop)) == 200
        async with running(NOWHERE, tls=theirs) as (client, user):
            assert await user.outcome(client.send(request(), hop)) == 200
            assert client.peers()[0]["names"] == ["new.example.org", "im.example.org"]


async def test_the_time_is_looked_at_before_anything_is_taken() -> None:
    looked: list[int] = []
    async with running() as (ours, echo), running(NOWHERE) as (theirs, caller):
        ours.before_input = lambda: looked.append(len(echo.requests))
        assert await caller.outcome(theirs.send(request(), hop_to(ours))) == 200
    assert looked[0] == 0
