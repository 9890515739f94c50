"""The Microsoft side, reduced to what a load needs: it answers at once and keeps no transactions.

It speaks through the node's own parser, and prints by templates. Over TCP nothing is sent twice, so an answer
that is missing is a request that was lost; the counts say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from bench.people import DOMAIN
from ubiety.sip import sdp
from ubiety.sip.framing import PING_ANSWER, Ping, StreamFraming
from ubiety.sip.message import Request, Response, make_response

LINKS = 4
"""Connections to the node, as from a pool of so many front ends."""
_EXPIRES = 7200
_RECONNECT_SECONDS = 0.02
_PIDF = (
    "<?xml version='1.0' encoding='UTF-8'?><presence xmlns='urn:ietf:params:xml:ns:pidf' "
    "xmlns:ep='urn:ietf:params:xml:ns:pidf:status:rpid-status' entity='sip:{who}'><tuple id='0'>"
    "<status><basic>open</basic><ep:activities><ep:activity>{activity}</ep:activity></ep:activities></status>"
    "</tuple></presence>"
)


def outsider(number: int) -> str:
    """The address of somebody on the Microsoft side."""
    return f"lync{number:05d}@{DOMAIN}"


@dataclass(slots=True, eq=False)
class Watcher:
    """A subscription of somebody on this side to one of the node's people."""

    number: int
    is_accepted: bool = False
    notifies: int = 0
    shown: bytes = b""
    """The document of the last NOTIFY."""


@dataclass(slots=True, eq=False)
class Dialog:
    """A dialog that the node has opened: a subscription to somebody on this side, or a conversation."""

    ours: str
    theirs: str
    call_id: str
    target: str
    cseq: int = 0


@dataclass
class Counts:
    """Since the last reset."""

    notifies: int = 0
    subscribes: int = 0
    invites: int = 0
    messages: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    """Answers of the node that are no success, by method and status, since the beginning."""
    arrivals: list[float] = field(default_factory=list)
    """When each request came, on the monotonic clock."""


class Peer:
    """One process's share of the Microsoft side: all of it."""

    def __init__(self, port: int, node_port: int) -> None:
        self.port = port
        self.counts = Counts()
        self.watchers: dict[str, Watcher] = {}
        self.watched: dict[tuple[str, str], Dialog] = {}
        """Subscriptions of the node's people, by who watches whom."""
        self.talks: dict[str, Dialog] = {}
        """Conversations, by the one of the node's people."""
        self.on_watcher: Callable[[Watcher], None] = lambda watcher: None
        """Told of each NOTIFY, and of the answer to the SUBSCRIBE."""
        self.on_watched: Callable[[tuple[str, str]], None] = lambda pair: None
        """Told when a NOTIFY of ours was answered."""
        self.on_message: Callable[[str], None] = lambda sender: None
        """Told of a message from one of the node's people."""
        self.on_taken: Callable[[str], None] = lambda recipient: None
        """Told when a message to one of the node's people was answered."""
        self._node_port = node_port
        self._links: list[Link] = []
        self._next = 0
        self._branch = 0
        self._contact = f"<sip:127.0.0.1:{port};transport=tcp>"
        self._via = f"Via: SIP/2.0/TCP 127.0.0.1:{port};branch=z9hG4bK"
        self._offer = sdp.offer("127.0.0.1", port)
        self._tasks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, and connect to the node, again whenever a connection ends."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Link(self, None), "127.0.0.1", self.port)
        self._tasks = [loop.create_task(self._stay_connected()) for _ in range(LINKS)]
        while len(self._links) < LINKS:
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            make = partial(Link, self, loop.create_future())
            with contextlib.suppress(OSError):
                _, link = await loop.create_connection(make, "127.0.0.1", self._node_port)
                self._links.append(link)
                await link.ended()
                self._links.remove(link)
            await asyncio.sleep(_RECONNECT_SECONDS)

    def stop(self) -> None:
        """Close everything."""
        for task in self._tasks:
            task.cancel()
        if self._server is not None:
            self._server.close()

    def reset(self) -> None:
        """Count from zero, but for what was refused."""
        self.counts = Counts(refused=self.counts.refused)

    # -- what this side asks ---------------------------------------------------------------------------

    def subscribe(self, number: int, who: str, person: str) -> None:
        """Have somebody here watch one of the node's people."""
        call_id = f"in{number}"
        self.watchers[call_id] = Watcher(number)
        self._send(
            f"SUBSCRIBE sip:{person} SIP/2.0\r\n",
            f"From: <sip:{who}>;tag=w{number}\r\nTo: <sip:{person}>\r\nCall-ID: {call_id}\r\n"
            f"CSeq: 1 SUBSCRIBE\r\nEvent: presence\r\nAccept: application/pidf+xml\r\n"
            f"Expires: {_EXPIRES}\r\n",
        )

    def say(self, person: str, text: bytes) -> None:
        """Send a message in the conversation with one of the node's people."""
        talk = self.talks[person]
        self._send_in(talk, "MESSAGE", "Content-Type: text/plain; charset=UTF-8\r\n", text)

    def _tell(self, dialog: Dialog, activity: str) -> None:
        who = dialog.ours[dialog.ours.index("<sip:") + 5 : dialog.ours.index(">")]
        head = (
            f"Event: presence\r\nSubscription-State: active;expires={_EXPIRES}\r\n"
            "Content-Type: application/pidf+xml\r\n"
        )
        self._send_in(dialog, "NOTIFY", head, _PIDF.format(who=who, activity=activity).encode())

    def _send_in(self, dialog: Dialog, method: str, head: str, body: bytes) -> None:
        dialog.cseq += 1
        self._send(
            f"{method} {dialog.target} SIP/2.0\r\n",
            f"From: {dialog.ours}\r\nTo: {dialog.theirs}\r\nCall-ID: {dialog.call_id}\r\n"
            f"CSeq: {dialog.cseq} {method}\r\n{head}",
            body,
        )

    def _send(self, start: str, head: str, body: bytes = b"") -> None:
        self._branch += 1
        self._next = (self._next + 1) % len(self._links)
        text = (
            f"{start}{self._via}{self._branch}\r\nMax-Forwards: 70\r\n{head}Contact: {self._contact}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._links[self._next].write(text.encode() + body)

    # -- what comes ------------------------------------------------------------------------------------

    def answered(self, response: Response) -> None:
        """Take an answer of the node."""
        if response.status < 200:
            return
        method = (response.headers.get("cseq") or "").partition(" ")[2]
        if response.status >= 300:
            key = f"{method} {response.status}"
            self.counts.refused[key] = self.counts.refused.get(key, 0) + 1
        call_id = response.headers.get("call-id") or ""
        if method == "SUBSCRIBE":
            watcher = self.watchers[call_id]
            watcher.is_accepted = response.status < 300
            self.on_watcher(watcher)
        elif method == "NOTIFY":
            # Of a NOTIFY of ours: From is the one here, To the one there.
            self.on_watched((_address(response, "to"), _address(response, "from")))
        elif method == "MESSAGE":
            self.on_taken(_address(response, "to"))

    def asked(self, link: Link, request: Request) -> None:
        """Take a request of the node and answer it."""
        if request.method == "ACK":
            return
        self.counts.arrivals.append(time.monotonic())
        method = request.method
        if method == "NOTIFY":
            link.write(make_response(request, 200).to_bytes())
            self._notified(request)
        elif method == "MESSAGE":
            self.counts.messages += 1
            link.write(make_response(request, 200).to_bytes())
            self.on_message(_address(request, "from"))
        elif method == "SUBSCRIBE":
            self._subscribed(link, request)
        elif method == "INVITE":
            self._invited(link, request)
        else:
            link.write(make_response(request, 200, to_tag="lync").to_bytes())

    def _notified(self, request: Request) -> None:
        self.counts.notifies += 1
        watcher = self.watchers[request.call_id]
        watcher.notifies += 1
        watcher.shown = request.body
        self.on_watcher(watcher)

    def _subscribed(self, link: Link, request: Request) -> None:
        self.counts.subscribes += 1
        headers = (("Contact", self._contact), ("Expires", request.headers.get("expires") or "0"))
        link.write(make_response(request, 200, to_tag="lync", headers=headers).to_bytes())
        pair = (_address(request, "from"), _address(request, "to"))
        dialog = self.watched.get(pair)
        if dialog is None or dialog.call_id != request.call_id:
            dialog = self.watched[pair] = _dialog_of(request)
        self._tell(dialog, "busy")

    def _invited(self, link: Link, request: Request) -> None:
        self.counts.invites += 1
        headers = (("Contact", self._contact),)
        answer = make_response(request, 200, None, "lync", headers, "application/sdp", self._offer)
        self.talks[_address(request, "from")] = _dialog_of(request)
        link.write(answer.to_bytes())


class Link(asyncio.Protocol):
    """One connection with the node, made by either."""

    def __init__(self, peer: Peer, ended: asyncio.Future[None] | None) -> None:
        self._peer = peer
        self._ended = ended
        self._framing = StreamFraming()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports have the interface but not the base class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Hand on each message."""
        for item in self._framing.receive(data):
            if isinstance(item, Request):
                self._peer.asked(self, item)
            elif isinstance(item, Response):
                self._peer.answered(item)
            elif isinstance(item, Ping):
                self.write(PING_ANSWER)

    def connection_lost(self, exc: Exception | None) -> None:
        """Have it made again."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    async def ended(self) -> None:
        """Wait for its end."""
        if self._ended is not None:
            await self._ended

    def write(self, data: bytes) -> None:
        """Send, if it still stands."""
        if not self._transport.is_closing():
            self._transport.write(data)


def _address(message: Request | Response, name: str) -> str:
    text = message.headers.get(name) or ""
    begin = text.index("sip:") + 4
    return text[begin : text.index(">", begin)]


def _dialog_of(request: Request) -> Dialog:
    contact = request.contact
    assert contact is not None
    ours, theirs = request.headers.get("to") or "", request.headers.get("from") or ""
    if ";tag=" not in ours:
        ours += ";tag=lync"
    return Dialog(ours, theirs, request.call_id, str(contact.uri))
