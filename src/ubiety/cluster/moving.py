"""Moves people from one node to another (design.md §1: a move).

Their home quiesces: nothing reaches them there any more, their streams are closed, what the ledger still
has of them is written. Then ``users.set_id`` is changed, in a transaction that is refused when the set is not
this node's any more, with a row for the other nodes; the new home loads them when something comes for them.
Whoever was signed in is off for that moment; messages of that moment wait at the senders' homes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection

from ubiety.cluster.directory import MOVED, MOVED_TEXT, EndSessions, People
from ubiety.cluster.topology import TopologyCopy
from ubiety.routing.homes import Movable, Person
from ubiety.routing.links import Links, NodeUnreachable
from ubiety.settings import Setting
from ubiety.store import epochs, users
from ubiety.store.errors import StoreError
from ubiety.telemetry import event
from ubiety.users.context import Context
from ubiety.users.service import Users

RATE = Setting(
    "cluster.moves_per_second",
    int,
    100,
    "people",
    "People who are moved to another node in a second when many are; each who is on signs in anew.",
    minimum=1,
    maximum=10_000,
)
SETTINGS = (RATE,)
STEP_SECONDS = 0.5
"""Many are moved in steps of that length."""
ASK_SECONDS = 30.0
LOADED_SECONDS = 5.0
QUESTION = "people.move"


class Move(NamedTuple):
    """One person who is to belong to another set."""

    user_id: int
    from_set: int
    to_set: int


@dataclass(slots=True)
class Progress:
    """How far the moves are that this node has begun."""

    total: int = 0
    moved: int = 0
    failed: int = 0

    @property
    def left(self) -> int:
        """How many are still to be moved."""
        return self.total - self.moved - self.failed


class Moving:
    """Moves people of this node away, and has the other nodes do so with theirs."""

    def __init__(
        self,
        context: Context,
        users: Users,
        people: People,
        end_sessions: EndSessions,
        topology: TopologyCopy,
        movables: Sequence[Movable] = (),
    ) -> None:
        """``movables``: what goes with people besides their actors."""
        self._context = context
        self._movables = movables
        self._people = people
        self._users = users
        self._end_sessions = end_sessions
        self._topology = topology
        self._lock = asyncio.Lock()
        self._running = False
        self.progress = Progress()

    def join(self, links: Links) -> None:
        """Move people when another node asks for it."""

        async def move(_node_id: int, value: Any) -> int:
            return await self._move_here([Move(*one) for one in value])

        links.answer(QUESTION, move)

    async def move(self, moves: Sequence[Move]) -> int:
        """Have people moved by their homes; return how many were.

        Those who belong to another set by now stay. Raises NodeUnreachable when nobody serves a set or its
        node does not answer, and StoreError.
        """
        moved = 0
        for home, chosen in groupby(sorted(moves, key=self._home), key=self._home):
            part = list(chosen)
            if home == self._context.homes.node_id:
                moved += await self._move_here(part)
            elif home == 0 or self._context.links is None:
                raise NodeUnreachable(
                    f"Nobody serves the people of {self._topology.value.name_of(part[0].from_set)} now."
                )
            else:
                asked = [tuple(one) for one in part]
                moved += await self._ask(home, asked)
        return moved

    def start(self, moves: Sequence[Move]) -> bool:
        """Begin to move many, paced, beside the node's other work; False while others are being moved."""
        if self._running:
            return False
        self._running = True
        self.progress = Progress(len(moves))
        self._context.spawn(self._run(list(moves)))
        return True

    async def take_over(self, moves: Sequence[Move]) -> None:
        """Read people again whose sets were changed without their home. Raises StoreError."""
        known = [self._context.homes.user(move.user_id) for move in moves]
        await self._people.refresh([person.address_id for person in known if person is not None])

    async def _run(self, moves: Sequence[Move]) -> None:
        clock, progress, start = self._context.clock, self.progress, 0
        try:
            while start < len(moves):
                begun = clock.monotonic()
                step = moves[start : start + max(1, int(self._context.settings.get(RATE) * STEP_SECONDS))]
                start += len(step)
                done = await self._try(step)
                progress.moved += done
                progress.failed += len(step) - done
                if start < len(moves):
                    await asyncio.sleep(max(0.0, begun + STEP_SECONDS - clock.monotonic()))
        finally:
            self._running = False
        event("people_moved", people=progress.moved, failed=progress.failed)

    async def _try(self, moves: Sequence[Move]) -> int:
        done = 0
        for _, chosen in groupby(sorted(moves, key=self._home), key=self._home):
            try:
                done += await self.move(list(chosen))
            except (NodeUnreachable, StoreError, ValueError) as error:
                event("people_not_moved", level="warning", reason=str(error))
        return done

    async def _ask(self, home: int, moves: Sequence[tuple[int, ...]]) -> int:
        links = self._context.links
        assert links is not None
        if not links.is_up(home):
            raise NodeUnreachable(f"The node {self._topology.value.name_of(home)} does not answer.")
        moved: int = await links.ask(home, QUESTION, moves, ASK_SECONDS)
        return moved

    def _home(self, move: Move) -> int:
        """Return the node that moves somebody: who serves them; for who has no node any; 0: there is none."""
        homes = self._context.homes
        if move.from_set in homes.here or self._topology.value.node(move.from_set) is None:
            return homes.node_id
        return homes.serving.get(move.from_set, 0)

    # -- at the home -------------------------------------------------------------------------------

    async def _move_here(self, moves: Sequence[Move]) -> int:
        homes = self._context.homes
        async with self._lock:
            # Nobody is signed out while the database is away, or when somebody else has taken the set.
            await self._context.database.write(epochs.take_number)
            people = await self._quiesce(moves)
            try:
                for person in people:
                    await self._close(person)
                await self._hand_over(people)
                await self._context.ledger.flush()
                async with self._people.changing:
                    moved = await self._context.database.write(_assign, moves)
                    for person in people:
                        homes.put(replace(person, set_id=moved.get(person.user_id, person.set_id)))
            finally:
                homes.moving.difference_update(person.user_id for person in people)
                self._keep_on(people)
            gone = [person for person in people if not homes.is_here(person)]
            self._context.sources.forget(person.user_id for person in gone)
            for person in gone:
                user = self._context.actors.get(person.address_id)
                if user is not None:
                    self._users.forget(user)
        known = [homes.user(user_id) for user_id in moved]
        # Those who were assigned to nobody, and come to this node.
        await self._people.refresh([person.address_id for person in known if person is not None])
        return len(moved)

    async def _quiesce(self, moves: Sequence[Move]) -> list[Person]:
        """Have nothing reach these people any more; return those who are served here."""
        homes = self._context.homes
        chosen: list[Person] = []
        for move in moves:
            person = homes.user(move.user_id)
            if person is None or person.set_id != move.from_set or not homes.is_here(person):
                continue
            await self._loaded(person)
            homes.moving.add(person.user_id)
            chosen.append(person)
        return chosen

    async def _loaded(self, person: Person) -> None:
        """Wait a moment for somebody who is being loaded: stanzas wait for that."""
        deadline = asyncio.get_running_loop().time() + LOADED_SECONDS
        while self._users.is_loading(person) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)

    async def _hand_over(self, people: Sequence[Person]) -> None:
        """Make everything durable that goes with these people. Raises StoreError."""
        for movable in self._movables:
            await asyncio.gather(*[movable.hand_over_person(person) for person in people])

    def _keep_on(self, people: Sequence[Person]) -> None:
        """Go on with those who stay after all: they were not moved, or to a set that this node serves too."""
        for person in people:
            if self._context.homes.is_here(person):
                for movable in self._movables:
                    movable.arrived(person)

    async def _close(self, person: Person) -> None:
        user = self._context.actors.get(person.address_id)
        if user is not None:
            await self._end_sessions(user, MOVED, MOVED_TEXT)


def _assign(conn: Connection, moves: Sequence[Move]) -> dict[int, int]:
    """Write the new sets; return user id -> set of those who still belonged to the old one."""
    return {move.user_id: move.to_set for move in moves if users.assign(conn, *move)}
