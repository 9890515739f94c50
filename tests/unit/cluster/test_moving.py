"""People who move from one node to another: off for a moment, and nothing is lost."""

import asyncio

import pytest
from sqlalchemy import text

from tests.unit.cluster.nodes import ClusterNode, add, cluster, until
from tests.unit.users.place import DOMAIN, Client
from ubiety.cluster.moving import RATE, Move
from ubiety.routing.homes import NOBODY, Person
from ubiety.routing.links import NodeUnreachable
from ubiety.routing.verdict import DELIVERED
from ubiety.stanza import Stanza, parse_stanza
from ubiety.store import epochs, messages, nodes, streams, users
from ubiety.store.errors import DatabaseUnavailable, Fenced


async def _sign_in(node: ClusterNode, name: str, *, managed: bool = False) -> Client:
    await until(lambda: node.set_of(name) == node.id)
    return await node.place.sign_in(name, managed=managed)


def _message(to: str, body: str) -> Stanza:
    head = f"<message type='chat' to='{to}@{DOMAIN}' from='alan@elsewhere.example/desk' id='{body}'>"
    return parse_stanza(f"{head}<body>{body}</body></message>".encode())


async def test_what_was_not_acknowledged_waits_at_the_new_home(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        ada = await add(alpha, "ada", alpha.id)
        client = await _sign_in(alpha, "ada", managed=True)
        verdicts = [alpha.place.users.route(_message("ada", f"m{number}"), None) for number in range(3)]
        assert sum(b"<body>" in data for data in client.edge.written) == 3  # sent, not acknowledged
        assert await beta.moving.move([Move(ada.id, alpha.id, beta.id)]) == 1  # asked at another node
        assert client.edge.closed == "reset"
        assert all(v is DELIVERED for v in verdicts)  # the sender was promised nothing
        assert not alpha.place.context.actors
        assert alpha.set_of("ada") == beta.id
        await until(lambda: beta.set_of("ada") == beta.id)
        again = await beta.place.sign_in("ada", presence=None)
        again.send("<presence/>")
        await until(lambda: sum(b"<body>" in data for data in again.edge.written) == 3)
        bodies = [data for data in again.edge.written if b"<body>" in data]
        assert [f">m{n}<".encode() in data for n, data in enumerate(bodies)] == [True] * 3


async def test_a_stream_that_is_to_be_resumed_learns_what_was_settled(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        ada = await add(alpha, "ada", alpha.id)
        client = await _sign_in(alpha, "ada", managed=True)
        client.send("<message type='chat' to='ada@example.org'><body>to myself</body></message>")
        await alpha.place.settle()
        alpha.place.users.disconnect(client.session)
        await alpha.moving.move([Move(ada.id, alpha.id, beta.id)])
        found = await beta.database.read(streams.find, "ada-desk")
        assert found is not None
        assert found.h == 2  # presence and the message


async def test_numbers_at_the_new_home_are_greater(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        ada = await add(alpha, "ada", beta.id)
        await until(lambda: beta.set_of("ada") == beta.id)
        beta.place.users.route(_message("ada", "first"), None)
        await beta.place.settle()
        await alpha.moving.move([Move(ada.id, beta.id, alpha.id)])
        await until(lambda: alpha.set_of("ada") == alpha.id)
        alpha.place.users.route(_message("ada", "second"), None)
        await alpha.place.settle()
        rows = await alpha.database.read(messages.backlog, ada.id, 0, 10)
        assert [b">second<" in row.stanza for row in rows] == [False, True]


async def test_who_belongs_to_another_set_by_now_stays(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        ada = await add(alpha, "ada", alpha.id)
        client = await _sign_in(alpha, "ada")
        assert await alpha.moving.move([Move(ada.id, 7, beta.id)]) == 0
        assert client.edge.closed is None
        assert alpha.set_of("ada") == alpha.id


async def test_somebody_of_nobody_gets_a_node(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        ada = await add(alpha, "ada", beta.id)
        await until(lambda: alpha.set_of("ada") == beta.id)
        last = beta.place.context.next_number()
        await alpha.moving.move([Move(ada.id, beta.id, NOBODY)])
        await until(lambda: alpha.set_of("ada") == NOBODY)
        await alpha.moving.move([Move(ada.id, NOBODY, alpha.id)])
        assert alpha.set_of("ada") == alpha.id
        assert alpha.place.context.next_number() > last
        await until(lambda: beta.set_of("ada") == alpha.id)


async def test_nobody_is_moved_while_the_database_refuses(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        ada = await add(alpha, "ada", alpha.id)
        await _sign_in(alpha, "ada")
        await beta.database.write(lambda conn: conn.execute(text("ALTER TABLE users RENAME TO people")))
        with pytest.raises(Exception, match="users"):
            await alpha.moving.move([Move(ada.id, alpha.id, beta.id)])
        await beta.database.write(lambda conn: conn.execute(text("ALTER TABLE people RENAME TO users")))
        assert not alpha.place.context.homes.moving
        person = alpha.place.context.homes.user(ada.id)
        assert person is not None
        assert alpha.place.context.homes.is_here(person)
        await _sign_in(alpha, "ada")


async def test_nobody_is_signed_out_when_the_set_is_not_ours_any_more(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        ada = await add(alpha, "ada", alpha.id)
        client = await _sign_in(alpha, "ada")
        found = await beta.database.read(epochs.find, alpha.id)
        assert found is not None
        alpha.database.fence = lambda: [(alpha.id, found[1])]
        assert await alpha.moving.move([Move(ada.id, 7, beta.id)]) == 0  # the fence lets it pass
        await beta.database.write(epochs.next_epoch, alpha.id, "beta")
        with pytest.raises(Fenced):
            await alpha.moving.move([Move(ada.id, alpha.id, beta.id)])
        alpha.database.fence = None
        assert client.edge.closed is None
        assert alpha.set_of("ada") == alpha.id


async def test_a_home_that_does_not_answer(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        ada = await add(alpha, "ada", beta.id)
        alpha.place.context.homes.serving = {}
        with pytest.raises(NodeUnreachable, match="beta"):
            await alpha.moving.move([Move(ada.id, beta.id, alpha.id)])


async def test_while_somebody_moves_they_are_served_nowhere(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        ada = await add(alpha, "ada", alpha.id)
        await _sign_in(alpha, "ada")
        homes = alpha.place.context.homes
        person = homes.user(ada.id)
        assert person is not None
        moving = asyncio.create_task(alpha.moving.move([Move(ada.id, alpha.id, beta.id)]))
        while not homes.moving:
            await asyncio.sleep(0)
        assert not homes.is_here(person)
        assert homes.node_of(person) is None
        await alpha.people.refresh([ada.address_id])  # somebody changes them at that moment
        assert await moving == 1
        assert homes.node_of(person) == beta.id
        assert not alpha.place.context.actors


async def test_rows_that_were_read_before_a_move_do_not_undo_it(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta", follows=False) as (alpha, beta):
        ada = await add(alpha, "ada", alpha.id)
        await alpha.people.refresh([ada.address_id])
        for _ in range(10):
            moving = asyncio.create_task(alpha.moving.move([Move(ada.id, alpha.id, beta.id)]))
            while not moving.done():
                await asyncio.gather(*(alpha.people.refresh([ada.address_id]) for _ in range(3)))
            assert alpha.set_of("ada") == beta.id
            await alpha.database.write(users.assign, ada.id, beta.id, alpha.id)
            await alpha.people.refresh([ada.address_id])
            assert alpha.set_of("ada") == alpha.id


async def test_many_are_moved_at_a_pace(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta", "gamma") as (alpha, beta, gamma):
        moves = []
        for number in range(30):
            made = await add(alpha, f"person{number}", (alpha.id, beta.id)[number % 2])
            moves.append(Move(made.id, made.set_id, gamma.id))
        await until(lambda: len(beta.place.context.homes) == len(gamma.place.context.homes) == 30)
        alpha.place.settings.apply(RATE.name, 20)
        assert alpha.moving.start(moves)
        assert not alpha.moving.start(moves)
        await until(lambda: alpha.moving.progress.moved == 10)
        assert alpha.moving.progress.left == 20
        alpha.place.clock.advance(1.0)  # the clock stands still: the pause is as long as it can be
        await until(lambda: alpha.moving.progress.moved == 30)
        assert await alpha.database.read(nodes.count_assigned) == {gamma.id: 30}
        await until(lambda: all(gamma.set_of(f"person{n}") == gamma.id for n in range(30)))
        assert alpha.moving.progress.failed == 0
        failing = [Move(moves[0].user_id, 9, alpha.id)]
        alpha.moving.start(failing)
        await until(lambda: alpha.moving.progress.failed == 1)


class Luggage:
    """Notes what becomes of what goes with people."""

    def __init__(self, node: ClusterNode, *, is_stuck: bool = False) -> None:
        self.seen: list[tuple[str, str, bool]] = []
        """What, of whom, and whether the person was served here then."""
        self._homes = node.place.context.homes
        self._is_stuck = is_stuck
        node.luggage.append(self)

    def _note(self, what: str, person: Person) -> None:
        self.seen.append((what, person.jid.local, self._homes.is_here(person)))

    def arrived(self, person: Person) -> None:
        """This node serves somebody from now on."""
        self._note("arrived", person)

    async def hand_over_person(self, person: Person) -> None:
        """Make everything durable."""
        self._note("hand over", person)
        if self._is_stuck:
            raise DatabaseUnavailable("no connection")

    def left(self, person: Person) -> None:
        """Another node serves somebody."""
        self._note("left", person)

    def deleted(self, person: Person) -> None:
        """Somebody is gone."""
        self._note("deleted", person)


async def test_luggage_is_handed_over_before_and_taken_up_behind_the_move(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        ours, theirs = Luggage(alpha), Luggage(beta)
        ada = await add(alpha, "ada", alpha.id)
        await until(lambda: alpha.set_of("ada") == beta.set_of("ada") == alpha.id)
        await beta.moving.move([Move(ada.id, alpha.id, beta.id)])
        await until(lambda: theirs.seen)
        assert theirs.seen == [("arrived", "ada", True)]
        assert ours.seen[0] == ("hand over", "ada", False)  # nobody is served while being moved
        assert {what for what, *_ in ours.seen[1:]} <= {"left"}


async def test_luggage_of_who_stays_after_all_is_taken_up_again(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        luggage = Luggage(alpha, is_stuck=True)
        ada = await add(alpha, "ada", alpha.id)
        await until(lambda: alpha.set_of("ada") == alpha.id)
        with pytest.raises(DatabaseUnavailable):
            await alpha.moving.move([Move(ada.id, alpha.id, beta.id)])
        assert luggage.seen == [("hand over", "ada", False), ("arrived", "ada", True)]
        assert alpha.set_of("ada") == alpha.id


async def test_luggage_of_who_is_deleted(postgres_url: str) -> None:
    async with cluster(postgres_url, "alpha", "beta") as (alpha, beta):
        ours, theirs = Luggage(alpha), Luggage(beta)
        ada = await add(alpha, "ada", alpha.id)
        await until(lambda: beta.set_of("ada") == alpha.id)
        await alpha.database.write(users.delete, ada.id)
        for node in (alpha, beta):
            await node.people.refresh([ada.address_id])
        assert [what for what, *_ in ours.seen] == ["deleted"]
        assert theirs.seen == []
