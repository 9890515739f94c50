"""A session that another node holds, as the node sees it where its client is connected (design.md §1)."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from ubiety.jid import Jid, parse
from ubiety.net.home import Client, ClientHome
from ubiety.net.pause import Pause
from ubiety.routing.homes import Person
from ubiety.routing.links import Item, Kind, Links
from ubiety.routing.meter import Meter
from ubiety.routing.packing import pack_stanza
from ubiety.stanza import Stanza
from ubiety.xmpp.outputs import Output

BOUND = 8 * 1024 * 1024
"""Bytes on their way to one node at which its clients here are not read from."""
ANSWER_SECONDS = 10.0
"""Time that a home has to open a session."""
AGAIN_SECONDS = 0.3
"""Pause before a node is asked again that says it is not the home."""
STANZA_OVERHEAD = 200
"""What a stanza's head and names weigh on their way, about."""
MISSING = "The home node of this account does not answer. Try again in a moment."


class HomeMissing(Exception):
    """Nobody serves a person, and nobody has taken over in time."""


class HomeNode:
    """Another node that is home to clients which are connected here."""

    def __init__(self, node_id: int, links: Links) -> None:
        self.id = node_id
        self.sessions: dict[int, RemoteSession] = {}
        self.meter = Meter(BOUND)
        self.is_down = False
        self.is_busy = False  # its ledger is overloaded: it wants nothing from clients
        self._full: set[RemoteSession] = set()  # not read from, because too much is on its way
        self._links = links

    def send(self, item: Item) -> None:
        """Send an item."""
        self._links.send(self.id, item)

    def send_stanza(self, session: "RemoteSession", stanza: Stanza) -> None:
        """Send a client's stanza; stop reading from whoever sends while too much is on its way."""
        self.send((Kind.EDGE_STANZA, session.conn, pack_stanza(stanza)))
        if self.meter.add(len(stanza.payload) + STANZA_OVERHEAD):
            self.send((Kind.EDGE_SENT, self.meter.sent))
        if self.meter.is_over and session not in self._full:
            self._full.add(session)
            session.pause(Pause.ROOM, True)

    def note_room(self) -> None:
        """Read on from all."""
        full, self._full = self._full, set()
        for session in full:
            session.pause(Pause.ROOM, False)

    def forget(self, session: "RemoteSession") -> None:
        """A session is at this node no more."""
        self.sessions.pop(session.conn, None)
        self._full.discard(session)


class Registry(Protocol):
    """What a session needs of ``remote_homes.RemoteHomes``."""

    async def find(self, person: Person) -> int:
        """Return the node that serves a person. Raises HomeMissing when nobody does for too long."""

    async def local_home(self, person: Person) -> ClientHome | None:
        """Return this node as a person's home, None when it is not."""

    def open(self, node_id: int, session: "RemoteSession") -> HomeNode:
        """Give a session a number at a node."""

    @property
    def other_host(self) -> Callable[[int], str]:
        """Returns the address to send a client to instead, "" when it is served through this node."""


class RemoteSession:
    """One client whose home is another node: its session and its home at once."""

    __slots__ = ("_answer", "_client", "_node", "_previd", "_registry", "conn", "jid", "person", "smacks")

    def __init__(self, registry: Registry, person: Person) -> None:
        self._registry = registry
        self._client: Client | None = None
        self._node: HomeNode | None = None
        self._answer: asyncio.Future[bool] | None = None  # True: answered; False: ask anew
        self._previd = ""
        self.person = person
        self.conn = 0
        self.jid: Jid = person.jid
        self.smacks: object | None = None

    @property
    def is_bound(self) -> bool:
        """Whether the home has opened the session."""
        return bool(self.jid.resource)

    # -- the session, from the client ------------------------------------------------------------

    def receive(self, stanza: Stanza) -> None:
        """Hand a stanza to the home."""
        node = self._node
        if node is not None:
            stanza.from_ = None  # the home knows, and stamps it again
            node.send_stanza(self, stanza)

    def answered(self, data: bytes) -> None:
        """The home counts what the stream answered, and sends the answer in its order."""
        self._tell(Kind.EDGE_ANSWERED, data)

    def acknowledge(self, h: int) -> None:
        """The home keeps what is unacknowledged."""
        self._tell(Kind.EDGE_ACK, h)

    def acknowledgement_requested(self) -> None:
        """The home knows what is settled."""
        self._tell(Kind.EDGE_REQUEST)

    def _tell(self, kind: Kind, *fields: object) -> None:
        if self._node is not None:
            self._node.send((kind, self.conn, *fields))

    # -- the home, from the client ---------------------------------------------------------------

    def bind(self, client: Client, resource: str) -> None:
        """Ask the home for a session."""
        security = client.secured_by

        def ask(node: HomeNode) -> Item:
            return (Kind.EDGE_BIND, self.conn, self.person.address_id, resource, client.address, security)

        self._client = client
        client.run(self._open(client, ask, lambda home: home.bind(client, resource)))

    def resume(self, client: Client, previd: str, h: int) -> None:
        """Ask the home to go on with an earlier session."""
        security, self._previd = client.secured_by, previd

        def ask(node: HomeNode) -> Item:
            person = self.person.address_id
            return (Kind.EDGE_RESUME, self.conn, person, previd, h, client.address, security)

        self._client = client
        client.run(self._open(client, ask, lambda home: home.resume(client, previd, h)))

    async def _open(
        self, client: Client, ask: Callable[[HomeNode], Item], ask_here: Callable[[ClientHome], None]
    ) -> list[Output]:
        """Ask whoever is the home until one answers: it may be taken over in these seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ANSWER_SECONDS
        while loop.time() < deadline:
            try:
                node_id = await self._registry.find(self.person)
            except HomeMissing:
                break
            home = await self._registry.local_home(self.person)
            if home is not None:
                client.move(home)
                ask_here(home)
                return []
            if host := self._registry.other_host(node_id):
                return client.core.redirect(host)
            self._node = self._registry.open(node_id, self)
            self._answer = loop.create_future()
            self._node.send(ask(self._node))
            if await self._wait(deadline - loop.time()):
                return []
            self._leave()
            await asyncio.sleep(AGAIN_SECONDS)
        return client.core.close("remote-connection-failed", MISSING)  # RFC 6120 §4.9.3.15

    async def _wait(self, seconds: float) -> bool:
        assert self._answer is not None
        try:
            return await asyncio.wait_for(self._answer, seconds)
        except TimeoutError:
            return False
        finally:
            self._answer = None

    def ask_again(self) -> None:
        """The node that was asked is not the home, or no more."""
        self._settle(False)

    def _settle(self, is_answered: bool) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(is_answered)

    def enable(self, client: Client, smid: str, seconds: int) -> None:
        """The home writes ``<enabled/>``: it must stand where the home begins to count."""
        self.smacks = True
        self._tell(Kind.EDGE_ENABLE, smid, seconds)

    def set_inactive(self, is_inactive: bool) -> None:
        """The home holds presence back."""
        self._tell(Kind.EDGE_STATE, is_inactive)

    def note_slow(self, is_slow: bool) -> None:
        """The home keeps messages as rows meanwhile."""
        self._tell(Kind.EDGE_CONGESTED, is_slow)

    def end(self) -> None:
        """The client has closed its stream properly."""
        self._tell(Kind.EDGE_ENDED)
        self._forget()

    def lose(self, client: Client) -> None:
        """The connection is gone."""
        self._client = None
        self._leave()

    def _leave(self) -> None:
        self._tell(Kind.EDGE_LOST)
        self._forget()

    def _forget(self) -> None:
        node, self._node = self._node, None
        if node is None:
            return
        node.forget(self)
        for reason in (Pause.HOME, Pause.BUSY, Pause.ROOM, Pause.ORDER):  # that was that node's affair
            self.pause(reason, False)

    # -- from the home ---------------------------------------------------------------------------

    def bound(self, item: Item) -> None:
        """The home has opened the session, or refused to."""
        _, _, address, condition, text = item
        client = self._client
        if client is None or condition == "not-home":
            self.ask_again()
            return
        self._settle(True)
        if not address:
            self._forget()
            client.perform(client.core.bind_failed(condition, text))
            return
        self._begin(client, address)
        client.perform(client.core.bound(self.jid))

    def resumed(self, item: Item) -> None:
        """The home goes on with the earlier session, or cannot."""
        _, _, address, h, condition = item
        client = self._client
        if client is None or condition == "not-home":
            self.ask_again()
            return
        self._settle(True)
        if not address:
            self._forget()
            client.perform(client.core.resume_failed("item-not-found", h))
            return
        self.smacks = True
        self._begin(client, address)
        client.perform(client.core.resumed(self.jid, self._previd, h))

    def _begin(self, client: Client, address: str) -> None:
        assert self._node is not None
        self.jid = parse(address)
        client.begin(self)
        if self._node.is_busy:
            client.pause_reading(Pause.BUSY)

    def write(self, data: bytes) -> None:
        """Write what the home sends."""
        if self._client is not None:
            self._client.write(data)

    def close(self, condition: str | None, text: str, detail: bytes) -> None:
        """The home ends the stream."""
        client = self._client
        if client is None:
            return
        self._settle(True)
        if condition == "reset":
            client.dismiss(condition, text)
        else:
            client.perform(client.core.close(condition, text, detail))

    def dismiss(self, text: str) -> None:
        """The home is no more: the client is to sign in anew, when it is its turn."""
        if self._answer is not None:
            self.ask_again()
        elif self._client is not None:
            self._client.dismiss("reset", text)

    def pause(self, reason: Pause, is_on: bool) -> None:
        """Read from the client or do not."""
        client = self._client
        if client is None:
            return
        if is_on:
            client.pause_reading(reason)
        else:
            client.resume_reading(reason)
