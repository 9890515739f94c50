"""The simulated people's client against a scripted peer on a real socket."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from scramp import ScramException, ScramMechanism

from ubiety.demo.client import ConnectionLostError, LoginRefusedError, SampleClient

PASSWORD = "plum-otter-42"
HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' id='1' from='example.org' version='1.0' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)
FEATURES = "<stream:features/>"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BOUND = "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"

Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's side of one connection: says what the test tells it to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def say(self, text: str) -> None:
        self._writer.write(text.encode())

    async def hear(self, end: str) -> str:
        return (await self._reader.readuntil(end.encode())).decode()

    async def open_stream(self) -> None:
        await self.hear("xml:lang='en'>")
        self.say(HEADER + FEATURES)

    async def authenticate(self, password: str = PASSWORD) -> None:
        mechanism = ScramMechanism("SCRAM-SHA-256")
        keys = mechanism.make_auth_info(password, iteration_count=4096)
        server = mechanism.make_server(lambda _user: keys)
        server.set_client_first(_content(await self.hear("</auth>")))
        self.say(f"<challenge xmlns='{SASL}'>{_encode(server.get_server_first())}</challenge>")
        try:
            server.set_client_final(_content(await self.hear("</response>")))
        except ScramException:
            self.say(f"<failure xmlns='{SASL}'><not-authorized/></failure>")
            return
        self.say(f"<success xmlns='{SASL}'>{_encode(server.get_server_final())}</success>")


def _content(element: str) -> str:
    found = re.search(r">([^<]*)</\w+>$", element)
    assert found is not None
    return base64.b64decode(found[1]).decode()


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@asynccontextmanager
async def talking_to(script: Script) -> AsyncIterator[SampleClient]:
    """Give a client whose peer runs the script and then closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script(Peer(reader, writer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = SampleClient(*await asyncio.open_connection("127.0.0.1", port), "example.org")
    try:
        yield client
    finally:
        await client.close()
        server.close()


async def log_in(peer: Peer) -> None:
    await peer.open_stream()
    await peer.authenticate()
    await peer.open_stream()
    assert "<resource>" in await peer.hear("</iq>")
    peer.say(BOUND)


async def test_logs_in_and_receives_one_stanza_after_the_other() -> None:
    async def script(peer: Peer) -> None:
        await log_in(peer)
        assert await peer.hear("/>") == "<presence/>"
        peer.say("<message id='1'><body>a</body></message> <message id='2'/><mess")
        await asyncio.sleep(0.01)
        peer.say("age id='3'><body>c</body></message>")

    async with talking_to(script) as client:
        await client.login("anna.adler", PASSWORD)
        client.send("<presence/>")
        received = [await client.receive() for _ in range(3)]
        assert [stanza.get("id") for stanza in received] == ["1", "2", "3"]
        assert received[0].findtext("{jabber:client}body") == "a"
        assert received[2].findtext("{jabber:client}body") == "c"
        with pytest.raises(ConnectionLostError, match="closed"):
            await client.receive()


async def test_a_refused_password_is_told_apart() -> None:
    async def script(peer: Peer) -> None:
        await peer.open_stream()
        await peer.authenticate("another password")

    async with talking_to(script) as client:
        with pytest.raises(LoginRefusedError, match="not-authorized"):
            await client.login("anna.adler", PASSWORD)


async def test_a_server_that_does_not_know_the_password_is_not_trusted() -> None:
    async def script(peer: Peer) -> None:
        await peer.open_stream()
        await peer.hear("</auth>")
        peer.say(f"<success xmlns='{SASL}'>{_encode('v=AAAA')}</success>")

    async with talking_to(script) as client:
        with pytest.raises(ConnectionLostError, match="challenge"):
            await client.login("anna.adler", PASSWORD)


async def test_a_forged_challenge_ends_the_login() -> None:
    async def script(peer: Peer) -> None:
        await peer.open_stream()
        await peer.hear("</auth>")
        peer.say(f"<challenge xmlns='{SASL}'>{_encode('r=forged,s=AAAA,i=4096')}</challenge>")

    async with talking_to(script) as client:
        with pytest.raises(ConnectionLostError, match="nonce"):
            await client.login("anna.adler", PASSWORD)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "closed"),
        (HEADER + "<oops></stream:stream>", "well-formed"),
        (HEADER + "</stream:stream>", "ended"),
        (HEADER + "<presence/>", "features"),
    ],
)
async def test_a_stream_that_goes_wrong_is_noticed(said: str, reason: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear("xml:lang='en'>")
        peer.say(said)

    async with talking_to(script) as client:
        with pytest.raises(ConnectionLostError, match=reason):
            await client.login("anna.adler", PASSWORD)


async def test_a_refused_resource_is_noticed() -> None:
    async def script(peer: Peer) -> None:
        await peer.open_stream()
        await peer.authenticate()
        await peer.open_stream()
        await peer.hear("</iq>")
        peer.say("<iq type='error' id='bind'/>")

    async with talking_to(script) as client:
        with pytest.raises(ConnectionLostError, match="bind"):
            await client.login("anna.adler", PASSWORD)
