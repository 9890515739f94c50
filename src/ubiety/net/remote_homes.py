"""Clients connected here whose home is another node: the edge's side (design.md §1, "Home node").

The home's side is ``users/remote_edge.py``; what travels is declared in ``routing/links.py``. While a node
cannot be reached, nothing is read from its clients; when somebody else serves its people, or the process is a
new one, their streams are closed at a pace and they sign in anew.
"""

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable, Sequence

from ubiety.net.home import ClientHome
from ubiety.net.pause import Pause
from ubiety.net.remote_session import HomeMissing, HomeNode, RemoteSession
from ubiety.routing.homes import NOBODY, Homes, Person
from ubiety.routing.links import Item, Kind, LinkEvent, Links
from ubiety.routing.meter import keep_marks
from ubiety.telemetry import event

TAKE_OVER_SECONDS = 3.5
"""Time that somebody who signs in waits for a set that nobody serves to be taken over."""
LOOK_SECONDS = 0.1
"""How often is looked, while somebody waits for it, whether a set is served."""
MOVED = "Your home is another node now. Sign in again."
BROKEN = "The way to your home node was broken. Sign in again."
RESTARTED = "Your home node has been restarted. Sign in again."


class RemoteHomes:
    """One per node of a cluster.

    ``open_here`` makes this node somebody's home, ``turn`` waits at the pace of logins, ``other_host``
    returns the address of a node where its clients are to be sent, "" when they are served through this one.
    """

    def __init__(
        self,
        homes: Homes,
        links: Links,
        open_here: Callable[[Person], Awaitable[ClientHome]],
        turn: Callable[[], Awaitable[bool]],
        other_host: Callable[[int], str],
    ) -> None:
        self.other_host = other_host
        self._homes = homes
        self._links = links
        self._open_here = open_here
        self._turn = turn
        self._loop = asyncio.get_running_loop()
        self._nodes: dict[int, HomeNode] = {}
        # Not from 1: another process may still speak of the connections that this node had before.
        self._numbers = itertools.count(secrets.randbits(31) << 32 | 1)
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}  # set -> logins until it is served
        self._looker: asyncio.TimerHandle | None = None
        for kind, take in _TAKE.items():
            links.handle(kind, self._taker(take))
        links.handle(Kind.HOME_READING, self._set_reading)
        keep_marks(links, Kind.HOME_SENT, Kind.EDGE_TOOK, Kind.HOME_TOOK, self._node)
        links.watch(self._link_changed)
        links.watch_lost(self._items_lost)

    def __len__(self) -> int:
        return sum(len(node.sessions) for node in self._nodes.values())

    def _node(self, node_id: int) -> HomeNode:
        node = self._nodes.get(node_id)
        if node is None:
            node = self._nodes[node_id] = HomeNode(node_id, self._links)
            node.is_down = not self._links.is_up(node_id)
        return node

    # -- for those who sign in -------------------------------------------------------------------

    def session(self, person: Person) -> RemoteSession:
        """Return the session, to be opened, of somebody whose home is another node."""
        return RemoteSession(self, person)

    async def find(self, person: Person) -> int:
        """Return the node that serves a person, after waiting for a take-over. Raises HomeMissing."""
        if person.set_id == NOBODY:
            raise HomeMissing
        deadline = self._loop.time() + TAKE_OVER_SECONDS
        has_waited = False
        while person.user_id in self._homes.moving or (node_id := self._reachable(person.set_id)) is None:
            has_waited = True
            if person.set_id in self._homes.leaving:
                deadline = self._loop.time() + TAKE_OVER_SECONDS  # from when it has left
            left = deadline - self._loop.time()
            if left <= 0:
                raise HomeMissing
            await self._wait_for(person.set_id, left)
        if has_waited:
            await self._turn()  # all of them wake at once
        return node_id

    def _server_of(self, set_id: int) -> int | None:
        homes = self._homes
        if set_id in homes.here:
            return None if set_id in homes.leaving else homes.node_id
        return homes.serving.get(set_id)

    def _reachable(self, set_id: int) -> int | None:
        node_id = self._server_of(set_id)
        if node_id is None or node_id == self._homes.node_id or self._links.is_up(node_id):
            return node_id
        return None

    async def _wait_for(self, set_id: int, seconds: float) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiting.setdefault(set_id, []).append(waiter)
        self._look_soon()
        try:
            await asyncio.wait_for(waiter, seconds)
        except TimeoutError:
            return

    def _look_soon(self) -> None:
        if self._looker is None:
            self._looker = self._loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """Wake those whose set is served now; find new homes for the clients of a node that is down."""
        self._looker = None
        for set_id in list(self._waiting):
            if self._reachable(set_id) is not None:
                for waiter in self._waiting.pop(set_id):
                    if not waiter.done():
                        waiter.set_result(None)
            elif all(waiter.done() for waiter in self._waiting[set_id]):
                del self._waiting[set_id]
        lost = [node for node in self._nodes.values() if node.is_down and node.sessions]
        for node in lost:
            self._send_away(node)
        if lost or self._waiting:
            self._look_soon()

    async def local_home(self, person: Person) -> ClientHome | None:
        """Return this node as a person's home, None when it is not."""
        is_here = self._homes.is_here(person) and person.set_id not in self._homes.leaving
        return await self._open_here(person) if is_here else None

    def open(self, node_id: int, session: RemoteSession) -> HomeNode:
        """Give a session a number at a node."""
        node = self._node(node_id)
        session.conn = next(self._numbers)
        node.sessions[session.conn] = session
        return node

    # -- from homes ------------------------------------------------------------------------------

    def _taker(self, take: Callable[[RemoteSession, Item], None]) -> Callable[[int, Item], None]:
        """Return the receiver of an item that belongs to a connection."""

        def receive(node_id: int, item: Item) -> None:
            session = self._node(node_id).sessions.get(item[1])
            if session is None:
                return  # gone meanwhile; its home was told
            try:
                take(session, item)
            except Exception as error:  # noqa: BLE001  one mistaken client must not silence the others
                event("connection_failed", level="error", session=session.jid.text, reason=repr(error))
                session.close("internal-server-error", "", b"")

        return receive

    def _set_reading(self, node_id: int, item: Item) -> None:
        _, conn, is_on = item
        node = self._node(node_id)
        if conn:
            session = node.sessions.get(conn)
            if session is not None:
                session.pause(Pause.ORDER, not is_on)
            return
        node.is_busy = not is_on
        for session in node.sessions.values():
            session.pause(Pause.BUSY, node.is_busy)

    # -- homes come and go -----------------------------------------------------------------------

    def _link_changed(self, node_id: int, change: LinkEvent) -> None:
        node = self._node(node_id)
        if change is LinkEvent.RESTARTED:
            self._begin_anew(node)
        if change is LinkEvent.GAP:
            return
        node.is_down = change is LinkEvent.DOWN
        if node.is_down and node.sessions:
            self._look_soon()
        for session in node.sessions.values():
            session.pause(Pause.HOME, node.is_down)

    def _items_lost(self, node_id: int, items: Sequence[Item]) -> None:
        """Something of a client will never arrive: its stream is broken."""
        node = self._node(node_id)
        conns = {item[1] for item in items if Kind.EDGE_BIND <= item[0] < Kind.EDGE_LOST}
        self._dismiss(node, [node.sessions[conn] for conn in conns if conn in node.sessions], BROKEN)

    def _begin_anew(self, node: HomeNode) -> None:
        node.meter.reset()
        node.note_room()
        node.is_busy = False
        self._dismiss(node, list(node.sessions.values()), RESTARTED)

    def _dismiss(self, node: HomeNode, sessions: list[RemoteSession], text: str) -> None:
        if sessions:
            event("home_lost", level="warning", node=node.id, connections=len(sessions), reason=text)
        for session in sessions:
            session.dismiss(text)

    def look_after(self) -> None:
        """Close the streams of people whom another node serves now. Once a second."""
        for node in self._nodes.values():
            self._send_away(node)

    def _send_away(self, node: HomeNode) -> None:
        sets = {session.person.set_id for session in node.sessions.values()}
        moved = {set_id for set_id in sets if self._server_of(set_id) not in (None, node.id)}
        if moved:
            self._dismiss(node, [s for s in node.sessions.values() if s.person.set_id in moved], MOVED)


_TAKE: dict[Kind, Callable[[RemoteSession, Item], None]] = {
    Kind.HOME_BOUND: RemoteSession.bound,
    Kind.HOME_RESUMED: RemoteSession.resumed,
    Kind.HOME_WRITE: lambda session, item: session.write(item[2]),
    Kind.HOME_CLOSE: lambda session, item: session.close(item[2], item[3], item[4]),
}
"""What is done with an item of a connection that we know."""
