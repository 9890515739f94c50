"""Messages between nodes: nothing acknowledged is lost, order holds, each comes once (design.md §2)."""

import asyncio
from dataclasses import replace

from tests.postgres import Postgres
from tests.unit.rig import Device
from tests.unit.routing.nodes import Nodes
from tests.unit.users.place import DOMAIN
from ubiety.jid import parse
from ubiety.routing.links import Kind
from ubiety.routing.packing import pack_stanza
from ubiety.routing.remote_home import FIRST, PROMISED
from ubiety.stanza import Stanza
from ubiety.store import messages
from ubiety.xmpp import ns

ANN, BOB = f"ann@{DOMAIN}", f"bob@{DOMAIN}"


class NotServed:
    """The fence of a node that may write for nobody."""

    def held(self) -> list[tuple[int, int]]:
        """Nothing is held."""
        return []

    def covers(self, _user_id: int) -> bool:
        """Nobody is served."""
        return False


async def two(nodes: Nodes, present: bool = True) -> tuple[Device, Device]:
    """Ann at node 1, signed in, and Bob at node 2."""
    (ann,) = await nodes.person("ann", 1, "desk")
    (bob,) = await nodes.person("bob", 2, "desk")
    await ann.sign_in()
    if present:
        await bob.sign_in()
    return ann, bob


def shown(nodes: Nodes, bare: str) -> list[int]:
    """The numbers of the messages that somebody was shown, in order."""
    return [int(name.rpartition("-")[2]) for name in nodes._shown[bare]]


async def test_messages_reach_people_of_another_node_and_are_settled(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    for _ in range(3):
        ann.write_to(BOB)
    assert ann.h == 0
    await nodes.pause()
    bob.read()
    assert shown(nodes, BOB) == [1, 2, 3]
    bob.acknowledge()
    await nodes.pause()
    ann.request()
    ann.read()
    assert ann.h == 4, "presence and three messages"
    bob.write_to(ANN)
    await nodes.pause()
    ann.read()
    assert shown(nodes, ANN) == [1]
    assert await nodes.finish() == 4


async def test_messages_to_somebody_who_is_away_wait_there(nodes: Nodes) -> None:
    ann, bob = await two(nodes, present=False)
    for _ in range(3):
        ann.write_to(BOB)
    await nodes.calm()
    ann.request()
    ann.read()
    assert ann.h == 4
    await bob.sign_in()
    assert await nodes.finish() == 3
    assert shown(nodes, BOB) == [1, 2, 3]


async def test_what_gets_no_verdict_is_written_and_comes_in_order(nodes: Nodes) -> None:
    ann, _bob = await two(nodes)
    nodes.cut.add(frozenset((1, 2)))
    ann.write_to(BOB)
    await nodes.advance(1)
    ann.write_to(BOB)
    await nodes.advance(1)
    ann.request()
    ann.read()
    assert ann.h == 1
    await nodes.advance(2)
    ann.request()
    ann.read()
    assert ann.h == 3, "both are written"
    assert nodes.nodes[1].place.context.counters.unanswered_messages == 2
    ann.write_to(BOB)
    nodes.cut.clear()
    await nodes.advance(3)
    ann.write_to(BOB)
    assert await nodes.finish() == 4
    assert shown(nodes, BOB) == [1, 2, 3, 4]
    assert nodes.repeats == 0


async def test_a_lost_verdict_makes_nothing_come_twice(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    nodes.nodes[1].links.dropped.add(Kind.VERDICT)
    ann.write_to(BOB)
    await nodes.pause()
    bob.read()
    bob.acknowledge()
    await nodes.advance(3.5)
    ann.request()
    ann.read()
    assert ann.h == 2
    nodes.nodes[1].links.dropped.clear()
    await nodes.advance(4)
    ann.write_to(BOB)
    assert await nodes.finish() == 2
    assert nodes.repeats == 0


async def test_a_node_that_is_started_again_gets_what_waits(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    ann.write_to(BOB)
    await nodes.kill(2)
    for _ in range(3):
        ann.write_to(BOB)
    nodes.start(2)
    nodes.take_over(2, 2)
    await nodes.advance(0.5)
    ann.write_to(BOB)
    await bob.sign_in()
    assert await nodes.finish() == 5
    assert shown(nodes, BOB) == [1, 2, 3, 4, 5]


async def test_what_waits_for_a_dead_node_goes_to_the_one_that_takes_over(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    await nodes.kill(2)
    for _ in range(3):
        ann.write_to(BOB)
    await nodes.advance(2.6)
    nodes.take_over(2, 1)
    await bob.sign_in()
    ann.write_to(BOB)
    await nodes.advance(0.1)
    bob.read()
    assert shown(nodes, BOB) == [1, 2, 3, 4], "before anything is written"
    assert nodes.nodes[1].place.context.counters.unanswered_messages == 0
    nodes.start(2)
    assert await nodes.finish() == 4
    assert shown(nodes, BOB) == [1, 2, 3, 4]


async def test_people_whom_nobody_serves_find_their_messages_later(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    await nodes.kill(2)
    for _ in range(3):
        ann.write_to(BOB)
    await nodes.advance(4)
    ann.request()
    ann.read()
    assert ann.h == 4
    ann.write_to(BOB)
    nodes.start(2)
    nodes.take_over(2, 2)
    await bob.sign_in()
    assert await nodes.finish() == 4
    assert shown(nodes, BOB) == [1, 2, 3, 4]


async def test_a_node_that_is_not_the_home_turns_everything_away(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    homes = nodes.nodes[2].place.context.homes
    homes.here.clear()
    ann.write_to(BOB)
    ann.write_to(BOB)
    await nodes.pause()
    bob.read()
    assert shown(nodes, BOB) == []
    homes.here.add(2)
    ann.write_to(BOB)
    await nodes.advance(0.5)
    bob.read()
    assert shown(nodes, BOB) == [1, 2, 3]
    assert await nodes.finish() == 3


async def test_what_was_written_is_found_although_its_writer_died_before_telling(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    nodes.cut.add(frozenset((1, 2)))
    ann.write_to(BOB)
    await nodes.advance(3.3)
    ann.request()
    ann.read()
    assert ann.h == 2
    await nodes.kill(1)
    await nodes.advance(1.5)
    bob.read()
    assert shown(nodes, BOB) == [1]
    nodes.start(1)
    nodes.take_over(1, 1)
    assert await nodes.finish() == 1


async def test_a_message_that_arrives_after_its_row_is_not_delivered_again(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    nodes.cut.add(frozenset((1, 2)))
    ann.write_to(BOB)
    ann.give(f"<message type='chat' to='{BOB}' id='ann/desk-2'><body>2</body></message>")
    await nodes.advance(6)
    assert bob.wire is not None
    written = [data for data in bob.wire.unread if data.startswith(b"<message")]
    assert len(written) == 2, "the rows were read before the link was there again"
    nodes.cut.clear()
    await nodes.advance(4)
    assert [data for data in bob.wire.unread if data.startswith(b"<message")] == written
    assert await nodes.finish() == 1
    assert nodes.repeats == 0


async def test_without_a_database_messages_wait_and_are_written_later(own_postgres: Postgres) -> None:
    nodes = Nodes(own_postgres.make_database())
    await nodes.advance(1)
    ann, _bob = await two(nodes)
    nodes.cut.add(frozenset((1, 2)))
    ann.write_to(BOB)
    await asyncio.to_thread(own_postgres.stop, "immediate")
    await nodes.run(6)
    ann.write_to(BOB)
    ann.request()
    ann.read()
    assert ann.h == 1, "nothing is acknowledged"
    await asyncio.to_thread(own_postgres.start)
    for _ in range(100):
        await nodes.run(0.5)
        ann.request()
        ann.read()
        if ann.h == 3:
            break
    assert ann.h == 3, "both are written"
    assert nodes.nodes[1].elsewhere.nodes.waiting_bytes == 0
    assert await nodes.finish() == 2
    assert shown(nodes, BOB) == [1, 2]
    await nodes.close()


async def test_without_a_database_messages_go_on_between_nodes(own_postgres: Postgres) -> None:
    nodes = Nodes(own_postgres.make_database())
    await nodes.advance(1)
    ann, bob = await two(nodes)
    await asyncio.to_thread(own_postgres.stop, "immediate")
    ann.write_to(BOB)
    await nodes.run(0.2)
    bob.read()
    bob.acknowledge()
    await nodes.run(0.2)
    ann.request()
    ann.read()
    assert ann.h == 2, "settled by the recipient's own acknowledgement"
    await asyncio.to_thread(own_postgres.start)
    assert await nodes.finish() == 1
    await nodes.close()


async def test_what_follows_a_message_that_was_turned_away_is_turned_away_too(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    assert ann.session is not None
    verdicts: list[tuple[int, str]] = []
    nodes.nodes[1].links.handle(Kind.VERDICT, lambda _, item: verdicts.append(item[1:3]))
    homes = nodes.nodes[2].place.context.homes
    message = Stanza("message", parse(BOB), ann.session.jid, type="chat", children=((ns.CLIENT, "body"),))

    def send(token: int, flags: int) -> None:
        packed = pack_stanza(message.replace(payload=b"<body>%d</body>" % token))
        nodes.nodes[1].links.send(2, (Kind.STANZA, token, flags, 0, packed))

    homes.here.clear()
    send(1, PROMISED | FIRST)
    await nodes.pause()
    homes.here.add(2)
    send(2, PROMISED)
    await nodes.pause()
    assert verdicts == [(1, "not-home"), (2, "not-home")]
    send(1, PROMISED | FIRST)
    send(2, PROMISED)
    await nodes.pause()
    bob.acknowledge()
    assert bob.wire is not None
    found = [data for data in bob.wire.unread if data.startswith(b"<message")]
    assert [data.partition(b"<body>")[2][:1] for data in found] == [b"1", b"2"]


async def test_messages_follow_somebody_who_moves(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    await bob.rig.calm()
    bob.sign_out()
    nodes.cut.add(frozenset((1, 2)))
    ann.write_to(BOB)
    await nodes.pause()
    for node in nodes.nodes.values():
        person = node.place.context.homes.find(BOB)
        assert person is not None
        node.place.context.homes.put(replace(person, set_id=1))
    bob.rig.set_id = 1
    ann.write_to(BOB)
    await nodes.advance(4)
    ann.write_to(BOB)
    await bob.sign_in()
    assert await nodes.finish() == 3
    assert shown(nodes, BOB) == [1, 2, 3]


async def test_what_comes_while_somebody_is_moved_waits_and_is_not_refused(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    (cid,) = await nodes.person("cid", 2, "desk")
    await cid.sign_in()
    homes = nodes.nodes[2].place.context.homes
    person = homes.find(BOB)
    assert person is not None
    homes.moving.add(person.user_id)
    bob.sign_out()
    ann.write_to(BOB)  # from another node
    cid.write_to(BOB)  # from his own
    await nodes.pause()
    assert not nodes.nodes[2].place.database.read_now(messages.backlog, person.user_id, 0, 10)
    for node in nodes.nodes.values():
        node.place.context.homes.put(replace(person, set_id=1))
    homes.moving.clear()
    bob.rig.set_id = 1
    await nodes.advance(1)
    for sender in (ann, cid):
        sender.request()
        sender.read()
        assert sender.h == 2
    await bob.sign_in()
    assert await nodes.finish() == 2


async def test_what_can_no_longer_be_written_for_somebody_who_moved_follows_them(nodes: Nodes) -> None:
    ann, _bob = await two(nodes, present=False)
    place = nodes.nodes[2].place
    person = place.context.homes.find(BOB)
    assert person is not None
    place.ledger.fence = NotServed()
    ann.write_to(BOB)
    await nodes.pause()
    ann.request()
    ann.read()
    assert ann.h == 1, "neither stored nor refused"
    place.ledger.fence = None
    await nodes.advance(1)
    ann.request()
    ann.read()
    assert ann.h == 2
    assert len(place.database.read_now(messages.backlog, person.user_id, 0, 10)) == 1


async def test_a_node_that_stops_writes_what_waits(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    nodes.cut.add(frozenset((1, 2)))
    ann.write_to(BOB)
    ann.write_to(BOB)
    await nodes.nodes[1].elsewhere.nodes.drain()
    ann.request()
    ann.read()
    assert ann.h == 3
    await nodes.kill(1)
    await nodes.advance(1.5)
    bob.read()
    assert shown(nodes, BOB) == [1, 2]
