"""The people of a set as something that has a home node: served from now on, handed over, dropped.

``load`` has nothing to read: an actor is loaded at its first event, from the rows that the node before has
committed. ``hand_over`` is the slow way: clients are closed at a pace, everything is written. ``release`` is
the fast way: the set may be another node's already, so nothing is written, and what was not settled is never
acknowledged (design.md §1).
"""

import asyncio
from collections.abc import Callable

from ubiety.routing.sessions import Edge, Session
from ubiety.settings import Setting
from ubiety.store.errors import StoreError
from ubiety.telemetry import event
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.service import Users

CLOSE_RATE = Setting(
    "cluster.hand_over_rate",
    int,
    2000,
    "clients per second",
    "Clients closed per second when the people of a node are handed over to another node.",
    minimum=1,
    maximum=100_000,
)
SETTINGS = (CLOSE_RATE,)

STEP_SECONDS = 0.05
RETRY_SECONDS = 0.2
FLUSH_SECONDS = 5.0
LOADED_SECONDS = 1.0
CONDITION = "reset"
"""RFC 6120 §4.9.3.16: the stream is to be set up anew."""
TEXT = "This account is served by another node now. Sign in again."
LOST_TEXT = "This node may not serve this account any more. Sign in again."


class HomedPeople:
    """Implements ``routing.homes.Homed`` for people."""

    def __init__(self, context: Context, users: Users) -> None:
        self._context = context
        self._users = users

    async def load(self, set_id: int) -> None:
        """Begin to serve the people of a set; whatever is left of them in memory is old."""
        self._drop(set_id)

    async def hand_over(self, set_id: int) -> None:
        """Sign everybody out at a pace and write everything; nobody is left in memory."""
        homes = self._context.homes
        homes.leaving.add(set_id)
        try:
            closed = await self._close_clients(set_id)
            is_in = self._is_in(set_id)
            await self._until(lambda: not self._users.is_waiting(is_in))
            homes.here.discard(set_id)
            self._users.refuse_waiting(is_in)
            await self._users.note_seen()
            await self._flush(set_id)
        finally:
            homes.leaving.discard(set_id)
        for user in self._actors(set_id):
            self._users.forget(user)
        self._forget_sources(set_id)
        event("people_handed_over", set_id=set_id, clients=closed)

    def release(self, set_id: int) -> None:
        """Drop everybody at once. Nothing is written, nobody is told but the clients."""
        closed = self._drop(set_id)
        if closed:
            event("people_dropped", level="warning", set_id=set_id, clients=closed)

    # -- the slow way ----------------------------------------------------------------------------------------

    async def _close_clients(self, set_id: int) -> int:
        closed = 0
        while sessions := self._sessions(set_id):
            step = max(1, int(self._context.settings.get(CLOSE_RATE) * STEP_SECONDS))
            for session in sessions[:step]:
                edge = session.edge
                self._users.end(session)
                if edge is not None:
                    edge.close(CONDITION, TEXT)
                    closed += 1
            await asyncio.sleep(STEP_SECONDS)
        return closed

    async def _flush(self, set_id: int) -> None:
        """Have everything written that is queued. Raises StoreError when the database stays away."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FLUSH_SECONDS
        while True:
            try:
                await self._context.ledger.flush()
                return
            except StoreError as error:
                # Dropped meanwhile; or a node that is to stop must stop: nothing of it was acknowledged.
                if not self._actors(set_id) or loop.time() > deadline:
                    raise
                event("hand_over_waits", level="warning", set_id=set_id, reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LOADED_SECONDS
        while not is_so() and loop.time() < deadline:
            await asyncio.sleep(0.01)

    # -- the fast way ----------------------------------------------------------------------------------------

    def _drop(self, set_id: int) -> int:
        actors = self._actors(set_id)
        astray = [one for user in actors for one in user.inbox.abandon()]
        edges: list[Edge] = []
        for user in actors:
            edges += self._users.abandon(user)
        for edge in edges:
            edge.close(CONDITION, LOST_TEXT)
        # Last, so that no client that was just closed hears of it: it sends again what was not settled.
        for one in astray:
            self._users.follow(one)
        self._users.refuse_waiting(self._is_in(set_id))
        self._forget_sources(set_id)
        return len(edges)

    # -- who -------------------------------------------------------------------------------------------------

    def _is_in(self, set_id: int) -> Callable[[int], bool]:
        def is_in(address_id: int) -> bool:
            person = self._context.homes.at(address_id)
            return person is not None and person.set_id == set_id

        return is_in

    def _forget_sources(self, set_id: int) -> None:
        sources, homes = self._context.sources, self._context.homes
        people = [person for user_id in sources if (person := homes.user(user_id)) is not None]
        sources.forget(person.user_id for person in people if person.set_id == set_id)

    def _actors(self, set_id: int) -> list[User]:
        return [user for user in self._context.actors.values() if user.person.set_id == set_id]

    def _sessions(self, set_id: int) -> list[Session]:
        return [session for user in self._actors(set_id) for session in user.sessions.values()]
