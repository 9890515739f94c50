"""Clients whose home is another node than the one that they are connected to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.client import SM, Client, Ledger, SaslFailedError
from tests.harness.wire import ConnectionGoneError
from tests.unit.net.cluster import BACKUP, EDGE, HOME, Cluster, Node, eventually, running
from ubiety.net import remote_homes
from ubiety.net.c2s import ClientConnection
from ubiety.net.drain import Drain, HandOverError
from ubiety.net.farewell import CLOSE_RATE
from ubiety.net.listeners import Listeners
from ubiety.net.service import ANSWER_SECONDS, SEE_OTHER_HOST
from ubiety.users import remote_edge
from ubiety.users.preferences import PING_SECONDS

PEOPLE = ("ann", "bob")


@pytest.fixture
async def cluster(postgres_url: str, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Two nodes; everybody's home is the first."""
    async with running(postgres_url, tmp_path, *PEOPLE) as cluster:
        yield cluster


@pytest.fixture
def home(cluster: Cluster) -> Node:
    """The home of everybody."""
    return cluster.nodes[HOME]


@pytest.fixture
def edge(cluster: Cluster) -> Node:
    """The node that is only an edge."""
    return cluster.nodes[EDGE]


def message(to: str, body: str) -> str:
    return f"<message to='{to}' type='chat' id='{body}'><body>{body}</body></message>"


async def test_login_roster_and_messages_both_ways(home: Node, edge: Node) -> None:
    ann = await edge.sign_in("ann")
    bob = await home.sign_in("bob")

    assert ann.jid == "ann@example.org/desk"
    assert home.session(ann.jid).remote_address == "127.0.0.1"
    assert not edge.place.context.actors
    roster = await ann.iq("get", "<query xmlns='jabber:iq:roster'/>")
    assert roster.get("type") == "result"
    await ann.iq("set", "<query xmlns='jabber:iq:roster'><item jid='bob@example.org' name='Bob'/></query>")
    roster = await ann.iq("get", "<query xmlns='jabber:iq:roster'/>")
    assert "bob@example.org" in str(roster)

    ann.send(message(bob.jid, "there"))
    received = await bob.expect_message("there")
    assert received.get("from") == ann.jid
    bob.send(message(ann.jid, "back"))
    assert (await ann.expect_message("back")).get("from") == bob.jid
    assert home.place.context.counters.client_sessions == 2
    assert edge.place.context.counters.client_sessions == 0


async def test_forged_sender_ends_the_stream(home: Node, edge: Node) -> None:
    ann = await edge.sign_in("ann")
    ann.send("<message from='bob@example.org/desk' to='bob@example.org'><body>x</body></message>")
    error = await ann.wire.expect_tag("error")
    assert error.condition() == "invalid-from"


async def test_closed_stream_ends_the_session(home: Node, edge: Node) -> None:
    ann = await edge.sign_in("ann", managed=True)
    await ann.close()
    user = next(iter(home.place.context.actors.values()))
    await eventually(lambda: not user.sessions, "the session to end")
    assert home.place.context.counters.suspended_sessions == 0


async def test_wrong_password_is_refused_at_the_edge(edge: Node, home: Node) -> None:
    ann = edge.client("ann")
    ann.password = "wrong"
    with pytest.raises(SaslFailedError, match="not-authorized"):
        await ann.login("none")
    assert not home.place.context.actors


async def test_one_resource_at_two_edges(home: Node, edge: Node) -> None:
    first = await edge.sign_in("ann")
    second = await home.sign_in("ann")
    assert (await first.wire.expect_tag("error")).condition() == "conflict"
    third = await edge.sign_in("ann")
    assert (await second.wire.expect_tag("error")).condition() == "conflict"
    assert await third.is_served()


async def test_acknowledgements_count_exactly(home: Node, edge: Node) -> None:
    ann = await edge.sign_in("ann", managed=True)
    bob = await home.sign_in("bob", managed=True)
    for number in range(50):
        ann.send(message(bob.jid, f"a{number}"))
        bob.send(message(ann.jid, f"b{number}"))
    for number in range(50):
        await bob.expect_message(f"a{number}")
        await ann.expect_message(f"b{number}")
    ann.request()
    await eventually(lambda: not ann.ledger.unacked, "all to be acknowledged")
    smacks = home.session(ann.jid).smacks
    assert smacks is not None
    await eventually(lambda: not smacks.unacked, "Ann's acknowledgement")
    ann.wire.write(f"<a xmlns='{SM}' h='{ann.ledger.received + 1}'/>")
    error = await ann.wire.expect_tag("error")
    assert "handled-count-too-high" in str(error)


async def test_counting_begins_at_enabled_in_the_midst_of_a_stream_of_messages(
    home: Node, edge: Node
) -> None:
    """What the home wrote before is not counted by either side, whenever <enable/> comes."""
    ann = await edge.sign_in("ann")
    bob = await home.sign_in("bob")
    bob.send("".join(message(ann.jid, f"m{number}") for number in range(300)))
    await ann.expect_message("m10")
    await ann.enable()
    await ann.expect_message("m299")
    counted = ann.ledger.received
    assert await ann.is_served()
    smacks = home.session(ann.jid).smacks
    assert smacks is not None
    ann.wire.write(f"<a xmlns='{SM}' h='{ann.ledger.received}'/>")
    await eventually(lambda: not smacks.unacked, "everything to be acknowledged")
    assert not ann.wire.is_lost
    assert counted <= 300


async def test_resume_through_another_edge(home: Node, edge: Node) -> None:
    ann = await edge.sign_in("ann", managed=True)
    bob = await home.sign_in("bob", managed=True)
    ann.abort()
    await eventually(lambda: home.session(ann.jid).edge is None, "the home to notice")
    bob.send(message(ann.bare, "while away"))

    ann = await resume(ann, home)
    await ann.expect_message("while away")
    for node in (edge, edge, home, edge):
        ann.abort()
        ann = await resume(ann, node)
        ann.send(message(bob.jid, f"at {node.id}"))
        await bob.expect_message(f"at {node.id}")
        bob.send(message(ann.jid, f"to {node.id}"))
        await ann.expect_message(f"to {node.id}")


async def resume(client: Client, node: Node) -> Client:
    """Take a client's session up through a node."""
    again = node.client(client.user)
    again.jid = client.jid
    await again.connect("none")
    await again.authenticate()
    assert (await again.resume(client.ledger)).name == "resumed"
    return again


async def test_resume_takes_over_from_an_edge_that_has_not_noticed(home: Node, edge: Node) -> None:
    ann = await edge.sign_in("ann", managed=True)
    bob = await edge.sign_in("bob", managed=True)
    again = await resume(ann, edge)
    assert (await ann.wire.expect_tag("error")).condition() == "conflict"
    bob.send(message(again.bare, "to the new one"))
    await again.expect_message("to the new one")


async def test_resume_of_an_unknown_stream_fails_and_binding_goes_on(home: Node, edge: Node) -> None:
    ann = edge.client("ann")
    await ann.connect("none")
    await ann.authenticate()
    assert (await ann.resume(Ledger(id="nobody's", is_on=True))).name == "failed"
    await ann.bind()
    assert await ann.is_served()


async def test_resume_at_a_new_home_tells_how_far_it_got(cluster: Cluster, home: Node, edge: Node) -> None:
    """The home has changed: <failed h=…/> comes from the table of streams."""
    ann = await edge.sign_in("ann", managed=True)
    ann.send(message("bob@example.org", "stored"))
    ann.request()
    await eventually(lambda: not ann.ledger.unacked, "the message to be stored")
    ann.abort()
    await eventually(lambda: home.session(ann.jid).edge is None, "the home to notice")
    await home.place.ledger.flush()
    backup = await cluster.start(BACKUP)
    await home.kill()
    cluster.serve(BACKUP)
    await eventually(lambda: edge.links.is_up(BACKUP) and backup.links.is_up(EDGE), "the nodes to meet")
    again = edge.client("ann")
    await again.connect("none")
    await again.authenticate()
    failed = await again.resume(ann.ledger)
    assert failed.name == "failed"
    assert failed.get("h") == str(ann.ledger.acked)
    await again.bind()
    assert backup.session(again.jid) is not None


async def test_lost_edge_leaves_sessions_to_resume(cluster: Cluster, home: Node, edge: Node) -> None:
    ann = await edge.sign_in("ann", managed=True)
    bob = await home.sign_in("bob", managed=True)
    session = home.session(ann.jid)
    await edge.kill()
    edge = await cluster.start(EDGE, boot=2)
    await eventually(lambda: session.edge is None, "the home to notice the new process")
    bob.send(message(ann.bare, "kept"))
    again = await resume(ann, home)
    await again.expect_message("kept")


async def test_silent_edge_is_given_up(
    cluster: Cluster, home: Node, edge: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_edge, "LOST_SECONDS", 0.5)
    ann = await edge.sign_in("ann", managed=True)
    session = home.session(ann.jid)
    cluster.bus.unplugged.add(EDGE)
    await eventually(lambda: session.congested, "the home to hold messages back")
    assert session.edge is not None
    await eventually(lambda: session.edge is None, "the home to give the edge up")
    cluster.bus.unplugged.clear()
    error = await ann.wire.expect_tag("error")
    assert error.condition() == "reset"


async def test_short_cut_is_survived(cluster: Cluster, home: Node, edge: Node) -> None:
    """Nobody is sent away, nothing is lost, and order is kept."""
    ann = await edge.sign_in("ann", managed=True)
    bob = await home.sign_in("bob", managed=True)
    cluster.bus.unplugged.add(EDGE)
    for number in range(20):
        ann.send(message(bob.jid, f"a{number}"))
        bob.send(message(ann.bare, f"b{number}"))
    await eventually(lambda: not edge.links.is_up(HOME), "the cut to be noticed")
    for number in range(20, 40):
        ann.send(message(bob.jid, f"a{number}"))
        bob.send(message(ann.bare, f"b{number}"))
    await asyncio.sleep(0.3)
    cluster.bus.unplugged.clear()
    assert await bodies(bob, 40) == [f"a{number}" for number in range(40)]
    assert await bodies(ann, 40) == [f"b{number}" for number in range(40)]
    ann.request()
    await eventually(lambda: not ann.ledger.unacked, "all to be acknowledged")


async def bodies(client: Client, count: int) -> list[str | None]:
    found = []
    for _ in range(count):
        found.append((await client.expect(lambda tag: tag.name == "message")).body())
    return found


async def test_restarted_home_sends_its_clients_away(cluster: Cluster, home: Node, edge: Node) -> None:
    ann = await edge.sign_in("ann")
    await home.kill()
    home = await cluster.start(HOME, boot=2)
    assert (await ann.wire.expect_tag("error")).condition() == "reset"
    await ann.wire.lost()
    again = await edge.sign_in("ann")
    assert home.session(again.jid) is not None


async def test_clients_of_a_set_that_moved_are_sent_away(cluster: Cluster, home: Node, edge: Node) -> None:
    clients = [await edge.sign_in("ann", f"r{number}") for number in range(5)]
    await cluster.start(BACKUP)
    cluster.serve(BACKUP)
    for client in clients:
        assert (await client.wire.expect_tag("error")).condition() == "reset"
    backup = cluster.nodes[BACKUP]
    await eventually(lambda: edge.links.is_up(BACKUP), "the nodes to meet")
    again = await edge.sign_in("ann")
    assert backup.session(again.jid) is not None
    assert not edge.service.remote_homes or len(edge.service.remote_homes) == 1


async def test_login_waits_for_the_take_over(cluster: Cluster, home: Node, edge: Node) -> None:
    await cluster.start(BACKUP)
    await home.kill()
    edge.place.context.homes.serving.clear()
    login = asyncio.create_task(edge.sign_in("ann"))
    await asyncio.sleep(0.5)
    assert not login.done()
    cluster.serve(BACKUP)
    ann = await login
    assert cluster.nodes[BACKUP].session(ann.jid) is not None


async def test_login_waits_for_this_node_to_take_over(cluster: Cluster, home: Node, edge: Node) -> None:
    """Also when the dead home was asked for the session already."""
    cluster.bus.unplugged.add(HOME)
    login = asyncio.create_task(edge.sign_in("ann"))
    await asyncio.sleep(0.5)
    await home.kill()
    cluster.serve(EDGE)
    ann = await login
    assert edge.session(ann.jid).edge is not None
    assert await ann.is_served()


async def test_login_is_refused_when_nobody_takes_over(
    cluster: Cluster, edge: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_homes, "TAKE_OVER_SECONDS", 0.4)
    edge.place.context.homes.serving.clear()
    ann = edge.client("ann")
    with pytest.raises(SaslFailedError, match="temporary-auth-failure"):
        await ann.login("none")


async def test_slow_reader_counts_as_congested_at_home(home: Node, edge: Node) -> None:
    ann = await edge.sign_in("ann", managed=True)
    bob = await home.sign_in("bob", managed=True)
    session = home.session(ann.jid)
    assert ann.wire.transport is not None
    ann.wire.transport.pause_reading()
    big = "x" * 50_000
    sent = 0
    while not session.congested:
        assert sent < 900, "the home was never told"
        bob.send(f"<message to='{ann.jid}' type='chat'><body>{sent}:{big}</body></message>")
        sent += 1
        await asyncio.sleep(0.005)
    assert session.edge is not None
    assert session.edge.congested
    ann.wire.transport.resume_reading()
    for number in range(sent):
        received = await ann.expect(lambda tag: tag.name == "message")
        assert (received.body() or "").startswith(f"{number}:")
    await eventually(lambda: not session.congested, "room")


async def test_big_bursts_arrive_in_order(home: Node, edge: Node) -> None:
    """More than the bound of what may be on its way, both ways at once."""
    homes, edges = edge.service.remote_homes, home.service.remote_edges
    assert homes is not None
    assert edges is not None
    to_home, to_edge = homes._nodes[HOME].meter, edges._nodes[EDGE].meter
    to_home.bound = to_edge.bound = 600_000
    was_over = [0, 0]
    ann = await edge.sign_in("ann", managed=True)
    bob = await edge.sign_in("bob", managed=True)
    filler = "y" * 20_000

    async def watch() -> None:
        while True:
            was_over[0] += to_home.is_over
            was_over[1] += to_edge.is_over
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    for number in range(120):
        ann.send(f"<message to='{bob.jid}' type='chat'><body>{number}:{filler}</body></message>")
        bob.send(f"<message to='{ann.jid}' type='chat'><body>{number}:{filler}</body></message>")
    for client in (ann, bob):
        for number in range(120):
            received = await client.expect(lambda tag: tag.name == "message", 30)
            assert (received.body() or "").startswith(f"{number}:")
    ann.request()
    await eventually(lambda: not ann.ledger.unacked, "all to be acknowledged")
    watching.cancel()
    assert all(was_over), "the bounds were never reached"
    assert not to_home.is_over
    assert not to_edge.is_over


async def test_inactive_client_gets_presence_later(home: Node, edge: Node) -> None:
    ann = await edge.sign_in("ann")
    ann.wire.write("<inactive xmlns='urn:xmpp:csi:0'/>")
    await eventually(lambda: home.session(ann.jid).inactive, "the home to know")
    assert home.place.context.counters.inactive_sessions == 1
    ann.wire.write("<active xmlns='urn:xmpp:csi:0'/>")
    await eventually(lambda: not home.session(ann.jid).inactive, "the home to know")
    assert home.place.context.counters.inactive_sessions == 0


async def test_bad_stanza_is_answered_in_order_and_counted(home: Node, edge: Node) -> None:
    ann = await edge.sign_in("ann", managed=True)
    ann.send("<iq type='get' id='odd' to='@@'><ping xmlns='urn:xmpp:ping'/></iq>")
    answer = await ann.expect(lambda tag: tag.get("id") == "odd")
    assert answer.get("type") == "error"
    ann.request()
    await eventually(lambda: not ann.ledger.unacked, "it to be counted")


async def test_overloaded_ledger_stops_reading_from_edges(home: Node, edge: Node) -> None:
    ann = await edge.sign_in("ann")
    home.service.ledger_overloaded(True)
    await eventually(lambda: any(c.paused for c in edge.service._connections), "the edge to pause")
    home.service.ledger_overloaded(False)
    assert await ann.is_served()


@pytest.mark.parametrize("managed", [False, True])
async def test_silent_client_is_asked_by_its_edge_and_cut_off_when_dead(
    home: Node, edge: Node, managed: bool
) -> None:
    ann = await edge.sign_in("ann", managed=managed)
    bob = await home.sign_in("bob", managed=True)
    if managed:
        bob.send(message(ann.jid, "unacknowledged"))
        await ann.expect_message("unacknowledged")
    (connection,) = edge.service._connections
    assert isinstance(connection, ClientConnection)
    connection.last_input -= PING_SECONDS.default + 1
    if managed:
        smacks = home.session(ann.jid).smacks
        assert smacks is not None
        await eventually(lambda: not smacks.unacked, "the answer to the edge's <r/>")
    else:
        await ann.expect(lambda tag: tag.get("id") == "alive")
    ann.wire.on_tag = lambda _tag: True  # it answers no more
    connection.last_input -= PING_SECONDS.default + ANSWER_SECONDS + 1
    await ann.wire.lost()
    if managed:
        await eventually(lambda: home.session(ann.jid).edge is None, "the session to wait")


async def test_many_clients_are_sent_away_at_a_pace(cluster: Cluster, home: Node, edge: Node) -> None:
    edge.place.set(CLOSE_RATE, 20)
    clients = [await edge.sign_in("ann", f"r{number}") for number in range(16)]
    loop = asyncio.get_running_loop()
    times: list[float] = []
    for client in clients:
        client.wire.on_lost = lambda: times.append(loop.time())
    await cluster.start(BACKUP)
    cluster.serve(BACKUP)
    await eventually(lambda: len(times) == len(clients), "all to be sent away")
    assert max(times) - min(times) > 0.5
    assert not any(user.sessions for user in home.place.context.actors.values())


async def test_stopping_home_tells_its_clients(cluster: Cluster, home: Node, edge: Node) -> None:
    ann = await edge.sign_in("ann", managed=True)
    await home.stop()
    assert (await ann.wire.expect_tag("error")).condition() == "system-shutdown"


async def test_client_is_sent_to_its_home_only_after_it_has_logged_in(home: Node, edge: Node) -> None:
    """RFC 6120 §4.9.3.19, where the setting says so and the address is known."""
    edge.service.address_of = {HOME: "node1.example.org:5222"}.get  # type: ignore[assignment]
    ann = await edge.sign_in("ann")
    await ann.close()
    edge.place.set(SEE_OTHER_HOST, True)
    stranger = edge.client("ann")
    stranger.password = "wrong"
    with pytest.raises(SaslFailedError, match="not-authorized"):
        await stranger.login("none")
    again = edge.client("ann")
    await again.connect("none")
    await again.authenticate()
    with pytest.raises(ConnectionGoneError):
        await again.bind()
    error = await again.wire.expect_tag("error")
    assert error.condition() == "see-other-host"
    assert (
        error.need("see-other-host", "urn:ietf:params:xml:ns:xmpp-streams").text == "node1.example.org:5222"
    )
    bob = await home.sign_in("bob")
    assert await bob.is_served()


async def test_drain_hands_over_then_closes_clients_at_a_pace(
    cluster: Cluster, home: Node, edge: Node
) -> None:
    clients = [await edge.sign_in("ann", f"r{number}") for number in range(12)]
    order: list[str] = []

    async def hand_over() -> None:
        order.append(f"handed over with {len(edge.service)} clients")

    drain = Drain(edge.service, Listeners(), hand_over, edge.place.spawn)
    drain.start(20)
    await eventually(lambda: drain.is_over, "the drain to end")
    assert order == ["handed over with 12 clients"]
    assert drain.step == "drained"
    assert drain.clients == 0
    for client in clients:
        assert (await client.wire.expect_tag("error")).condition() == "system-shutdown"
    with pytest.raises((ConnectionGoneError, OSError)):
        await edge.sign_in("ann")
    await drain.cancel()
    ann = await edge.sign_in("ann")
    assert await ann.is_served()


async def test_drain_takes_its_time_and_can_be_cancelled(cluster: Cluster, home: Node, edge: Node) -> None:
    for number in range(10):
        await edge.sign_in("ann", f"r{number}")

    async def hand_over() -> None:
        return None

    drain = Drain(edge.service, Listeners(), hand_over, edge.place.spawn)
    began = asyncio.get_running_loop().time()
    drain.start(10)
    await eventually(lambda: drain.clients == 7, "three clients to be closed")
    assert 0.25 < asyncio.get_running_loop().time() - began < 3
    await drain.cancel()
    assert drain.step == "serving"
    left = drain.clients
    await asyncio.sleep(0.3)
    assert drain.clients == left > 4


async def test_drain_fails_when_nobody_takes_the_people(cluster: Cluster, home: Node, edge: Node) -> None:
    ann = await home.sign_in("ann")

    async def hand_over() -> None:
        raise HandOverError("The other node does not answer.")

    drain = Drain(home.service, Listeners(), hand_over, home.place.spawn)
    drain.start()
    await eventually(lambda: drain.is_over, "the drain to end")
    assert (drain.step, drain.problem) == ("failed", "The other node does not answer.")
    assert await ann.is_served()
