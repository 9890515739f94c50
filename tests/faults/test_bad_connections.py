"""Connections that do not behave: slow, many, half dead, or claiming to be somebody's old one."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from tests.harness.client import SM, TLS, Client, Ledger, SaslFailedError, log_in
from tests.harness.wire import STREAMS, ConnectionGoneError, Wire
from tests.node import Node, NodeFactory

HEADER = f"<stream:stream xmlns='jabber:client' xmlns:stream='{STREAMS}' to='example.org' version='1.0'>"


async def trickle(client: Client, data: str) -> None:
    """Send a byte now and then until the connection ends."""
    for byte in data:
        client.wire.write(byte)
        await asyncio.sleep(0.05)
        if client.wire.is_lost:
            return


async def test_slow_logins_are_ended(start_node: NodeFactory) -> None:
    """Whoever does not get on with logging in is shut out, however busy he looks (slowloris)."""
    node = start_node()
    node.add_users("alice", "slow")
    node.set_setting("c2s.negotiation_seconds", "2")
    (alice,) = await log_in(node.place, "alice")
    started = time.monotonic()
    clients = [Client(node.place, "slow") for _ in range(48)]
    work = []
    for number, client in enumerate(clients):
        stage = number % 6
        if stage < 2:
            client._wire = await Wire.open(node.place.host, node.place.port)
        elif stage == 2:
            client._wire = await Wire.open(node.place.host, node.place.tls_port)  # and no TLS comes
        else:
            await client.connect("none" if stage == 5 else "starttls")
        if stage == 5:
            client.wire.write(f"<starttls xmlns='{TLS}'/>")  # and no TLS comes either
        if stage == 4:
            await client.authenticate()
        if stage in (1, 3, 4):
            text = HEADER + " " * 500 if stage == 1 else "<iq type='set'>" + " " * 500
            work.append(asyncio.create_task(trickle(client, text)))
    assert await alice.is_served(1.0)
    await eventually(lambda: all(client.wire.is_lost for client in clients))
    assert 1.0 < time.monotonic() - started < 9
    await asyncio.gather(*work)
    assert await alice.is_served()
    await alice.close()


async def test_connection_flood_from_one_address(start_node: NodeFactory) -> None:
    node = start_node()
    node.add_users("alice", "bob")
    node.set_setting("c2s.negotiating_per_address", "20")
    node.set_setting("c2s.connections_per_address", "150")
    flood = [await Wire.open(node.place.host, node.place.port, source="127.0.3.1") for _ in range(200)]
    await eventually(lambda: sum(not wire.is_lost for wire in flood) <= 150)
    assert sum(not wire.is_lost for wire in flood) == 150
    for wire in flood:
        wire.write(HEADER)
    await eventually(lambda: sum(wire.heard > 0 for wire in flood) >= 20)
    (alice,) = await log_in(node.place, "alice")
    assert await alice.is_served(1.0)
    assert sum(wire.heard > 0 for wire in flood) == 20
    late = Client(node.place, "bob")
    late.source = "127.0.3.1"
    with pytest.raises((ConnectionGoneError, OSError)):
        await late.login()
    for wire in flood:
        wire.abort()
    await eventually_logs_in(late)
    await late.close()
    await alice.close()


async def test_flood_of_many_addresses_holds_nobody_up(shared_node: Node, witness: Client) -> None:
    async def knock(number: int) -> None:
        source = f"127.0.10.{number % 250 + 1}"
        wire = await Wire.open(shared_node.place.host, shared_node.place.port, source=source)
        wire.write(HEADER)
        await wire.expect_tag("features")
        wire.abort()

    knocks = [asyncio.create_task(knock(number)) for number in range(500)]
    started = time.monotonic()
    assert await witness.is_served()
    assert time.monotonic() - started < 3
    await asyncio.gather(*knocks)


@pytest.mark.parametrize("logged_in", [False, True])
async def test_half_closed_socket_is_closed(shared_node: Node, witness: Client, logged_in: bool) -> None:
    (user,) = shared_node.take_users(1)
    client = Client(shared_node.place, user)
    if logged_in:
        await client.login()
    else:
        await client.connect("none")
    transport = client.wire.transport
    assert transport is not None
    transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
    await client.wire.lost(5)


async def test_half_closed_client_is_seen_as_gone(shared_node: Node) -> None:
    users = shared_node.take_users(2)
    watcher, leaver = await log_in(shared_node.place, *users)
    await watcher.expect(lambda tag: tag.name == "presence" and tag.get("from") == watcher.jid)
    leaver.send(f"<presence to='{watcher.jid}'/>")
    await watcher.expect(lambda tag: tag.name == "presence" and tag.get("from") == leaver.jid)
    transport = leaver.wire.transport
    assert transport is not None
    transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
    gone = await watcher.expect(lambda tag: tag.get("from") == leaver.jid, 5)
    assert gone.get("type") == "unavailable"
    await watcher.close()


async def test_stream_of_another_is_not_resumed(shared_node: Node, witness: Client) -> None:
    await witness.enable()
    (user,) = shared_node.take_users(1)
    thief = await authenticated(shared_node, user)
    failed = await thief.resume(Ledger(id=witness.ledger.id))
    assert (failed.name, failed.condition(), failed.get("h")) == ("failed", "item-not-found", None)
    # The thief may go on as himself, and the owner has noticed nothing.
    await thief.bind()
    assert await thief.is_served()
    assert await witness.is_served()
    thief.abort()
    witness.abort()
    owner = await authenticated(shared_node, witness.user)
    assert (await owner.resume(witness.ledger)).name == "resumed"
    witness._wire = owner.wire  # the fixture goes on with the resumed stream
    witness.wire.on_tag = witness._received


async def test_ended_stream_is_not_resumed(shared_node: Node, witness: Client) -> None:
    (client,) = await log_in(shared_node.place, *shared_node.take_users(1))
    await client.enable()
    assert await client.is_served()
    await client.close()
    again = await authenticated(shared_node, client.user)
    failed = await again.resume(client.ledger)
    assert (failed.name, failed.condition()) == ("failed", "item-not-found")
    again.abort()


async def test_replayed_resumption_leaves_one_stream(shared_node: Node, witness: Client) -> None:
    (client,) = await log_in(shared_node.place, *shared_node.take_users(1))
    await client.enable()
    client.abort()
    first = await authenticated(shared_node, client.user)
    assert (await first.resume(client.ledger)).name == "resumed"
    second = await authenticated(shared_node, client.user)
    answer = await second.resume(Ledger(id=client.ledger.id, received=client.ledger.received))
    # Its owner may take the stream to another connection; never do two of them carry it.
    if answer.name == "resumed":
        await first.wire.lost()
        witness.send(f"<message to='{client.jid}' type='chat'><body>whose?</body></message>")
        await second.expect_message("whose?")
    else:
        assert await first.is_served()
    first.abort()
    second.abort()


async def test_resumption_before_login_is_refused(shared_node: Node, witness: Client) -> None:
    client = Client(shared_node.place, "nobody")
    await client.connect()
    client.wire.write(f"<resume xmlns='{SM}' previd='x' h='0'/>")
    answer = await client.wire.expect_tag("error", "failed")
    assert answer.condition() in ("not-authorized", "unexpected-request")
    client.abort()


async def test_resumption_inside_a_session_is_refused(culprit: Client, witness: Client) -> None:
    culprit.wire.write(f"<resume xmlns='{SM}' previd='{witness.ledger.id}' h='0'/>")
    answer = await culprit.wire.expect_tag("failed")
    assert answer.condition() == "unexpected-request"
    assert await culprit.is_served()


@pytest.mark.parametrize("h", ["999", "4294967295"])
async def test_acknowledging_what_was_never_sent(culprit: Client, witness: Client, h: str) -> None:
    await culprit.enable()
    culprit.wire.write(f"<a xmlns='{SM}' h='{h}'/>")
    error = await culprit.wire.expect_tag("error")
    # XEP-0198 §4
    assert error.condition() == "undefined-condition"
    assert error.child("handled-count-too-high", SM) is not None
    await culprit.wire.lost()


@pytest.mark.parametrize("h", ["banana", "-1", ""])
async def test_acknowledging_nonsense(culprit: Client, witness: Client, h: str) -> None:
    await culprit.enable()
    culprit.wire.write(f"<a xmlns='{SM}' h='{h}'/>")
    error = await culprit.wire.expect_tag("error")
    assert error.condition() in ("bad-format", "undefined-condition", "invalid-xml", "policy-violation")
    await culprit.wire.lost()


async def test_slow_reader_loses_nothing_and_stops_nobody(shared_node: Node, witness: Client) -> None:
    """What a client does not read is kept for it, in order, and not in the node's memory without end."""
    count, size = 1500, 8000
    talker, sleeper = await log_in(shared_node.place, *shared_node.take_users(2))
    await talker.enable()
    await sleeper.enable()
    got: list[int] = []
    sleeper.on_stanza = lambda tag: got.append(int((tag.body() or "-1").split()[0]))
    transport = sleeper.wire.transport
    assert transport is not None
    transport.pause_reading()
    padding = "x" * size
    for number in range(count):
        talker.send(f"<message to='{sleeper.bare}' type='chat'><body>{number} {padding}</body></message>")
        if number % 50 == 0:
            talker.request()
            await talker.wire.drain()
            await asyncio.sleep(0)
    talker.request()
    # Everything is taken over while nobody reads, and everybody else is served meanwhile.
    await eventually(lambda: not talker.ledger.unacked, 30)
    started = time.monotonic()
    assert await witness.is_served()
    assert time.monotonic() - started < 2
    assert not sleeper.wire.is_lost, "the slow reader was cut off"
    transport.resume_reading()
    await eventually(lambda: len(got) >= count, 30)
    assert got == list(range(count))
    talker.abort()
    sleeper.abort()


async def authenticated(node: Node, user: str) -> Client:
    """Return a client that has logged in and neither bound nor resumed yet."""
    client = Client(node.place, user)
    await client.connect()
    await client.authenticate()
    return client


async def eventually(is_so: object, seconds: float = 10.0) -> None:
    """Wait until something is so."""
    assert callable(is_so)
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        await asyncio.sleep(0.02)


async def eventually_logs_in(client: Client, seconds: float = 10.0) -> None:
    """Log in as soon as the node lets it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            await client.login()
            return
        except (ConnectionGoneError, SaslFailedError, OSError):
            assert time.monotonic() < deadline, "still shut out"
            await asyncio.sleep(0.1)
