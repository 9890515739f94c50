"""Clients of our people whose connection is at another node: the home's side (design.md §1, "Home node").

The session, its counters and what is unacknowledged are here; the other node has socket, TLS and parser.
Its side is ``net/remote_homes.py``; what travels is declared in ``routing/links.py``.
"""

import asyncio
from collections.abc import Callable, Sequence

from ubiety.conditions import StanzaError
from ubiety.routing.homes import Person
from ubiety.routing.links import Item, Kind, LinkEvent, Links
from ubiety.routing.meter import Meter, keep_marks
from ubiety.routing.packing import unpack_stanza
from ubiety.routing.router import STOPPED
from ubiety.routing.sessions import Session
from ubiety.store.errors import StoreError
from ubiety.telemetry import event
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.service import Users
from ubiety.xmpp import features
from ubiety.xmpp.smacks import SmacksError

BOUND = 16 * 1024 * 1024
"""Bytes on their way to one node at which all clients there count as congested."""
LOST_SECONDS = 15.0
"""A node of which nothing is heard for so long has lost its clients: they may resume elsewhere."""
MOVED = "Your home is another node now. Sign in again."
STOPPING = "The server is shutting down."

ALL_CONNECTIONS = 0


class RemoteEdge:
    """The connection of a session at another node (``routing.sessions.Edge``)."""

    __slots__ = (
        "_node",
        "_unsent",
        "congested",
        "conn",
        "is_closed",
        "is_gone",
        "is_slow",
        "remote_address",
        "secured_by",
        "session",
    )  # fmt: skip

    def __init__(self, node: "EdgeNode", conn: int, remote_address: str, secured_by: str) -> None:
        self._node = node
        self.conn = conn
        self.remote_address = remote_address
        self.secured_by = secured_by
        self.session: Session | None = None
        self.is_slow = False  # its node says that the client reads slowly
        self.congested = node.is_choked
        self.is_closed = False  # we have ended it
        self.is_gone = False  # it has ended
        self._unsent: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Queue bytes for the client; those of one turn of the loop travel as one item."""
        if self.is_closed:
            return
        if not self._unsent:
            self._node.flush_later(self)
        self._unsent.append(data)

    def flush(self) -> None:
        """Send what was written in this turn."""
        if self._unsent:
            data = self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent)
            self._unsent.clear()
            self._node.send_data(self.conn, data)

    def close(self, condition: str | None = None, text: str = "", detail: bytes = b"") -> None:
        """End the stream, with a stream error when ``condition`` is given."""
        if not self.is_closed and not self.is_gone:
            self.flush()
            self.is_closed = True
            self._node.send((Kind.HOME_CLOSE, self.conn, condition, text, detail))

    def pause_reading(self) -> None:
        """Take no more from the client for now."""
        self._node.send((Kind.HOME_READING, self.conn, False))

    def resume_reading(self) -> None:
        """Read on."""
        self._node.send((Kind.HOME_READING, self.conn, True))


class EdgeNode:
    """Another node, as far as clients of our people are connected there."""

    def __init__(self, node_id: int, links: Links, defer: Callable[[Callable[[], None]], object]) -> None:
        self.id = node_id
        self.edges: dict[int, RemoteEdge] = {}
        self.meter = Meter(BOUND)
        self.is_down = False
        self.loss: asyncio.TimerHandle | None = None
        self._links = links
        self._defer = defer
        self._unflushed: list[RemoteEdge] = []

    @property
    def is_choked(self) -> bool:
        """Whether nothing more should be sent there than must be."""
        return self.is_down or self.meter.is_over

    def send(self, item: Item) -> None:
        """Send an item."""
        self._links.send(self.id, item)

    def send_data(self, conn: int, data: bytes) -> None:
        """Send bytes for a client."""
        was_over = self.meter.is_over
        self.send((Kind.HOME_WRITE, conn, data))
        if self.meter.add(len(data)):
            self.send((Kind.HOME_SENT, self.meter.sent))
        if self.meter.is_over is not was_over:
            self.note_room()

    def flush_later(self, edge: RemoteEdge) -> None:
        """Flush an edge when this turn of the loop is over."""
        if not self._unflushed:
            self._defer(self._flush)
        self._unflushed.append(edge)

    def _flush(self) -> None:
        edges, self._unflushed = self._unflushed, []
        for edge in edges:
            edge.flush()

    def note_room(self) -> None:
        """Tell the sessions whether there is room for them, now that it has changed."""
        is_choked = self.is_choked
        for edge in list(self.edges.values()):
            was_congested, edge.congested = edge.congested, edge.is_slow or is_choked
            if was_congested and not edge.congested:
                _note_room(edge)


def _note_room(edge: RemoteEdge) -> None:
    session = edge.session
    if session is not None and session.edge is edge:
        session.room_again()


class RemoteEdges:
    """All clients of our people that are connected at other nodes. One per node of a cluster."""

    def __init__(self, context: Context, users: Users, links: Links) -> None:
        self._context = context
        self._users = users
        self._links = links
        self._nodes: dict[int, EdgeNode] = {}
        self._is_overloaded = False
        for kind, receive in _OPENING.items():
            links.handle(kind, self._guarded(getattr(self, receive)))
        for kind, take in _TAKE.items():
            links.handle(kind, self._taker(take))
        keep_marks(links, Kind.EDGE_SENT, Kind.HOME_TOOK, Kind.EDGE_TOOK, self._node)
        links.watch(self._link_changed)
        links.watch_lost(self._items_lost)

    def __len__(self) -> int:
        return sum(len(node.edges) for node in self._nodes.values())

    def _node(self, node_id: int) -> EdgeNode:
        node = self._nodes.get(node_id)
        if node is None:
            node = self._nodes[node_id] = EdgeNode(node_id, self._links, self._context.defer)
        return node

    def _guarded(self, receive: Callable[[EdgeNode, Item], None]) -> Callable[[int, Item], None]:
        return lambda node_id, item: receive(self._node(node_id), item)

    def _taker(self, take: Callable[["RemoteEdges", RemoteEdge, Item], None]) -> Callable[[int, Item], None]:
        """Return the receiver of an item that belongs to a connection which we know."""

        def receive(node_id: int, item: Item) -> None:
            node = self._node(node_id)
            edge = node.edges.get(item[1])
            if edge is None:
                if item[0] != Kind.EDGE_LOST:
                    node.send((Kind.HOME_CLOSE, item[1], "reset", MOVED, b""))
                return
            try:
                take(self, edge, item)
            except Exception as error:  # noqa: BLE001  one mistaken client must not silence its whole node
                event("connection_failed", level="error", address=edge.remote_address, reason=repr(error))
                edge.close("internal-server-error")

        return receive

    # -- a client comes --------------------------------------------------------------------------

    def _open(self, node: EdgeNode, conn: int, remote_address: str, secured_by: str) -> RemoteEdge:
        edge = node.edges[conn] = RemoteEdge(node, conn, remote_address, secured_by)
        if self._is_overloaded:
            node.send((Kind.HOME_READING, ALL_CONNECTIONS, False))
        return edge

    def _person(self, address_id: int) -> Person | None:
        homes = self._context.homes
        person = homes.at(address_id)
        if person is None or not person.enabled or not homes.is_here(person):
            return None
        return None if person.set_id in homes.leaving else person

    def _bind_requested(self, node: EdgeNode, item: Item) -> None:
        _, conn, address_id, resource, remote_address, secured_by = item
        edge = self._open(node, conn, remote_address, secured_by)
        user = self._context.actors.get(address_id)
        if user is not None and self._person(address_id) is not None:
            self._bind(node, edge, user, resource)
        else:
            self._context.spawn(self._load_and_bind(node, edge, address_id, resource))

    async def _load_and_bind(self, node: EdgeNode, edge: RemoteEdge, address_id: int, resource: str) -> None:
        user = await self._load(address_id)
        if user is None:
            self._drop(node, edge)
            node.send((Kind.HOME_BOUND, edge.conn, "", "not-home", ""))
        elif not edge.is_gone:
            self._bind(node, edge, user, resource)

    async def _load(self, address_id: int) -> User | None:
        """Return a person's actor, None when this node does not serve them."""
        person = self._person(address_id)
        if person is None:
            return None
        try:
            user = await self._users.load(person)
        except (StoreError, LookupError) as error:
            event("person_not_loaded", level="error", user_id=person.user_id, reason=str(error))
            return None
        return user if self._person(address_id) is not None else None

    def _bind(self, node: EdgeNode, edge: RemoteEdge, user: User, resource: str) -> None:
        try:
            if self._context.router.is_closed:
                raise StanzaError("resource-constraint", STOPPED)
            session = self._users.bind(user, resource, edge)
        except StanzaError as error:
            self._drop(node, edge)
            node.send((Kind.HOME_BOUND, edge.conn, "", error.condition, error.text))
            return
        session.remote_address = edge.remote_address
        edge.session = session
        node.send((Kind.HOME_BOUND, edge.conn, session.jid.text, "", ""))

    def _drop(self, node: EdgeNode, edge: RemoteEdge) -> None:
        edge.is_gone = edge.is_closed = True
        node.edges.pop(edge.conn, None)

    def _resume_requested(self, node: EdgeNode, item: Item) -> None:
        _, conn, address_id, smid, h, remote_address, secured_by = item
        edge = self._open(node, conn, remote_address, secured_by)
        self._context.spawn(self._resume(node, edge, address_id, smid, h))

    async def _resume(self, node: EdgeNode, edge: RemoteEdge, address_id: int, smid: str, h: int) -> None:
        user = await self._load(address_id)
        if user is None:
            self._drop(node, edge)
            node.send((Kind.HOME_RESUMED, edge.conn, "", None, "not-home"))
            return
        session = await self._users.resumable(user, smid)
        if edge.is_gone:
            return
        if session is None or session.smacks is None:
            settled = await self._settled_before(user, smid)
            self._drop(node, edge)
            node.send((Kind.HOME_RESUMED, edge.conn, "", settled, ""))
            return
        try:
            again = self._users.resume(session, edge, h)
        except SmacksError as error:
            edge.close(error.condition, error.text, error.detail)
            return
        session.remote_address = edge.remote_address
        edge.session = session
        node.send((Kind.HOME_RESUMED, edge.conn, session.jid.text, session.smacks.h, ""))
        for data in again:
            edge.write(data)
        session.resumed()

    async def _settled_before(self, user: User, smid: str) -> int | None:
        try:
            return await self._users.settled_before(user, smid)
        except StoreError as error:
            event("stream_not_found", level="error", session=user.jid.text, reason=str(error))
            return None

    # -- what it sends ---------------------------------------------------------------------------

    def _receive(self, edge: RemoteEdge, item: Item) -> None:
        session = edge.session
        if session is None or session.edge is not edge or edge.is_closed:
            return  # it was told to close, and this was under way
        stanza = unpack_stanza(item[2])
        stanza.from_ = session.jid  # RFC 6120 §8.1.2.1
        session.receive(stanza)

    def _acknowledge(self, edge: RemoteEdge, item: Item) -> None:
        session = edge.session
        if session is not None and session.edge is edge:
            try:
                session.acknowledge(item[2])
            except SmacksError as error:
                edge.close(error.condition, error.text, error.detail)

    def _request(self, edge: RemoteEdge, _item: Item) -> None:
        if edge.session is not None and edge.session.edge is edge:
            edge.session.acknowledgement_requested()

    def _answered(self, edge: RemoteEdge, item: Item) -> None:
        if edge.session is not None and edge.session.edge is edge:
            edge.session.answered(item[2])

    def _set_inactive(self, edge: RemoteEdge, item: Item) -> None:
        session = edge.session
        if session is not None and session.edge is edge:
            self._context.counters.inactive_sessions += item[2] - session.inactive
            session.set_inactive(item[2])

    def _enable(self, edge: RemoteEdge, item: Item) -> None:
        _, _, smid, seconds = item
        session = edge.session
        if session is not None and session.edge is edge:
            # <enabled/> is written here and not at the edge: all that was written before it, and may still
            # be on its way, stands before it at the client too. Both sides count from there.
            edge.write(features.sm_enabled(smid, seconds, seconds > 0))
            self._users.enable(session, smid, seconds)

    def _set_congested(self, edge: RemoteEdge, item: Item) -> None:
        edge.is_slow = item[2]
        was_congested, edge.congested = edge.congested, edge.is_slow or edge._node.is_choked
        if was_congested and not edge.congested:
            _note_room(edge)

    def _lost(self, edge: RemoteEdge, _item: Item) -> None:
        self._lose(edge)

    def _lose(self, edge: RemoteEdge) -> None:
        self._drop(edge._node, edge)
        session = edge.session
        if session is not None and session.edge is edge:
            self._users.disconnect(session)

    def _ended(self, edge: RemoteEdge, _item: Item) -> None:
        self._drop(edge._node, edge)
        session = edge.session
        if session is not None and session.edge is edge:
            self._users.end(session, clean=True)

    # -- nodes -----------------------------------------------------------------------------------

    def _link_changed(self, node_id: int, change: LinkEvent) -> None:
        node = self._node(node_id)
        if change is LinkEvent.RESTARTED:
            node.meter.reset()
            self.lose_all(node_id)
        if change is LinkEvent.DOWN:
            self._set_down(node, True)
        elif change in (LinkEvent.UP, LinkEvent.RESTARTED):
            self._set_down(node, False)

    def _items_lost(self, node_id: int, items: Sequence[Item]) -> None:
        """Something for a client will never arrive: its stream is broken."""
        node = self._node(node_id)
        for item in items:
            edge = node.edges.get(item[1]) if item[0] in _FOR_CLIENTS else None
            if edge is not None:
                edge.close("reset", MOVED)
                self._lose(edge)

    def _set_down(self, node: EdgeNode, is_down: bool) -> None:
        node.is_down = is_down
        if node.loss is not None:
            node.loss.cancel()
            node.loss = None
        if is_down:
            loop = asyncio.get_running_loop()
            node.loss = loop.call_later(LOST_SECONDS, self._give_up, node)
        node.note_room()

    def _give_up(self, node: EdgeNode) -> None:
        """Nothing was heard of a node for long: if it comes back, it closes these clients' streams."""
        for edge in list(node.edges.values()):
            edge.close("reset", MOVED)
        self.lose_all(node.id)

    def lose_all(self, node_id: int) -> None:
        """The connections of a node are gone: it ended, or somebody else serves its people now."""
        node = self._node(node_id)
        if node.edges:
            event("edge_lost", level="warning", node=node_id, connections=len(node.edges))
        for edge in list(node.edges.values()):
            self._lose(edge)

    def ledger_overloaded(self, is_overloaded: bool) -> None:
        """Stop reading from clients while more waits for the disk than may, and read on afterwards."""
        self._is_overloaded = is_overloaded
        for node in self._nodes.values():
            node.send((Kind.HOME_READING, ALL_CONNECTIONS, not is_overloaded))

    def stop(self) -> None:
        """Close all: this node stops."""
        for node in self._nodes.values():
            for edge in list(node.edges.values()):
                edge.close("system-shutdown", STOPPING)
                self._lose(edge)


_FOR_CLIENTS = {Kind.HOME_BOUND, Kind.HOME_WRITE, Kind.HOME_CLOSE, Kind.HOME_READING, Kind.HOME_RESUMED}
_OPENING = {Kind.EDGE_BIND: "_bind_requested", Kind.EDGE_RESUME: "_resume_requested"}
_TAKE: dict[Kind, Callable[[RemoteEdges, RemoteEdge, Item], None]] = {
    Kind.EDGE_STANZA: RemoteEdges._receive,
    Kind.EDGE_ACK: RemoteEdges._acknowledge,
    Kind.EDGE_REQUEST: RemoteEdges._request,
    Kind.EDGE_ANSWERED: RemoteEdges._answered,
    Kind.EDGE_STATE: RemoteEdges._set_inactive,
    Kind.EDGE_ENABLE: RemoteEdges._enable,
    Kind.EDGE_CONGESTED: RemoteEdges._set_congested,
    Kind.EDGE_LOST: RemoteEdges._lost,
    Kind.EDGE_ENDED: RemoteEdges._ended,
}
"""What is done with an item of a connection that we know. Of others the edge is told that they are closed."""
