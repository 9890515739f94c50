"""A SIP phone of the tests: signs in at a registrar, publishes, watches, and writes in pager mode.

It shares no code with our own SIP, so that a message that both would misread in the same way is seen.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

SECONDS = 10.0
PIDF = "application/pidf+xml"
_numbers = itertools.count(1)

DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
  xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:{address}">
<tuple id="desk"><status><basic>{basic}</basic></status></tuple>
<dm:person id="self"><rpid:activities>{activity}</rpid:activities><dm:note>{note}</dm:note></dm:person>
</presence>"""


@dataclass(frozen=True)
class Message:
    """A request or an answer as it came, header names in small letters."""

    first: str
    headers: tuple[tuple[str, str], ...]
    body: str

    def all(self, name: str) -> list[str]:
        """The values of a header, one for each line."""
        return [value for one, value in self.headers if one == name]

    def get(self, name: str) -> str:
        """The first value of a header; "" without it."""
        return next(iter(self.all(name)), "")

    @property
    def method(self) -> str:
        """What a request asks for; "" of an answer."""
        return "" if self.first.startswith("SIP/2.0 ") else self.first.split()[0]

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.first.split()[1])

    def tag(self, name: str) -> str:
        """The tag of From or To."""
        return self.get(name).partition(";tag=")[2].partition(";")[0]


@dataclass
class Watch:
    """A subscription of the phone to somebody."""

    address: str
    call_id: str
    tag: str
    package: str
    cseq: int = 1
    answer: Message | None = None
    notices: list[Message] = field(default_factory=list)

    @property
    def state(self) -> str:
        """What the last NOTIFY says of the subscription."""
        return self.notices[-1].get("subscription-state").partition(";")[0] if self.notices else ""


class Phone:
    """One person's phone at one proxy, over UDP or TCP."""

    def __init__(self, address: str, proxy: tuple[str, int], transport: str) -> None:
        self.address = address
        self.domain = address.partition("@")[2]
        self.transport = transport
        self.messages: list[Message] = []
        """All MESSAGEs that came in."""
        self.answer_with = "200 OK"
        """What a MESSAGE is answered."""
        self._proxy = proxy
        self._etag = ""
        self._watches: dict[str, Watch] = {}
        self._answers: dict[str, asyncio.Future[Message]] = {}
        self._news = asyncio.Event()
        self._buffer = b""
        self._write: Callable[[bytes], None]
        self._close: Callable[[], None]
        self._place = ""

    # -- what people do ----------------------------------------------------------------------------

    async def start(self) -> Phone:
        """Connect and register."""
        loop = asyncio.get_running_loop()
        if self.transport == "udp":
            wire, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), remote_addr=self._proxy)
            self._write, self._close = wire.sendto, wire.close
            host, port = wire.get_extra_info("sockname")[:2]
        else:
            stream, _ = await loop.create_connection(lambda: _Stream(self), *self._proxy)
            self._write, self._close = stream.write, stream.close
            host, port = stream.get_extra_info("sockname")[:2]
        self._place = f"{host}:{port}"
        found = await self.ask("REGISTER", f"sip:{self.domain}", self.address, expires=600)
        assert found.status == 200, found
        return self

    def stop(self) -> None:
        """Break the connection off."""
        self._close()

    async def publish(self, basic: str, activity: str = "", note: str = "") -> None:
        """Tell one's presence, the first time or changed (RFC 3903)."""
        inner = f"<rpid:{activity}/>" if activity else ""
        body = DOCUMENT.format(address=self.address, basic=basic, activity=inner, note=note)
        extra = ["Event: presence", *([f"SIP-If-Match: {self._etag}"] if self._etag else [])]
        found = await self.ask(
            "PUBLISH", f"sip:{self.address}", self.address, *extra, expires=600, kind=PIDF, body=body
        )
        assert found.status == 200, found
        self._etag = found.get("sip-etag")

    async def write(self, to: str, text: str, kind: str = "text/plain; charset=UTF-8") -> Message:
        """Write somebody a message; return the final answer."""
        return await self.ask("MESSAGE", f"sip:{to}", to, kind=kind, body=text)

    async def watch(self, address: str, package: str = "presence", expires: int = 600) -> Watch:
        """Subscribe to somebody."""
        watch = Watch(address, self._call_id(), f"w{next(_numbers)}", package)
        self._watches[watch.call_id] = watch
        watch.answer = await self._subscribe(watch, f"sip:{address}", f"<sip:{address}>", (), expires)
        return watch

    async def refresh(self, watch: Watch, expires: int = 600) -> Message:
        """Go on watching, or with 0 end it."""
        assert watch.answer is not None
        watch.cseq += 1
        target = watch.answer.get("contact").strip().lstrip("<").partition(">")[0]
        routes = [f"Route: {route}" for route in reversed(_split(watch.answer.all("record-route")))]
        return await self._subscribe(watch, target, watch.answer.get("to"), routes, expires)

    async def shown(self, watch: Watch, *parts: str, state: str = "active") -> Message:
        """Wait for a NOTIFY with that state of the subscription and these parts; those before are dropped."""

        def found() -> int:
            return next((n for n, one in enumerate(watch.notices, 1) if _is_like(one, state, parts)), 0)

        await self._until(found, lambda: f"{state} with {parts} in {watch.notices}")
        number = found()
        notice = watch.notices[number - 1]
        del watch.notices[: number - 1]
        return notice

    async def told(self, text: str) -> Message:
        """Wait for a message with that text."""

        def found() -> Message | None:
            return next((one for one in self.messages if one.body == text), None)

        await self._until(lambda: found() is not None, lambda: f"{text!r} among {self.messages}")
        message = found()
        assert message is not None
        return message

    # -- requests ----------------------------------------------------------------------------------

    async def ask(
        self,
        method: str,
        uri: str,
        to: str,
        *extra: str,
        expires: int | None = None,
        kind: str = "",
        body: str = "",
    ) -> Message:
        """Send a request outside of dialogs; return the final answer."""
        tag = f"t{next(_numbers)}"
        return await self._send(
            method, uri, f"<sip:{to}>", tag, self._call_id(), 1, extra, expires, kind, body
        )

    async def _subscribe(
        self, watch: Watch, uri: str, to: str, routes: Iterable[str], expires: int
    ) -> Message:
        accept = PIDF if watch.package == "presence" else "application/watcherinfo+xml"
        extra = [*routes, f"Event: {watch.package}", f"Accept: {accept}"]
        return await self._send("SUBSCRIBE", uri, to, watch.tag, watch.call_id, watch.cseq, extra, expires)

    async def _send(
        self,
        method: str,
        uri: str,
        to: str,
        tag: str,
        call_id: str,
        cseq: int,
        extra: Iterable[str],
        expires: int | None,
        kind: str = "",
        body: str = "",
    ) -> Message:
        branch = f"z9hG4bK-phone-{next(_numbers)}"
        content = body.encode()
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/{self.transport.upper()} {self._place};branch={branch}",
            "Max-Forwards: 70",
            f"From: <sip:{self.address}>;tag={tag}",
            f"To: {to}",
            f"Call-ID: {call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:{self.address.partition('@')[0]}@{self._place};transport={self.transport}>",
            *extra,
            *([f"Expires: {expires}"] if expires is not None else []),
            *([f"Content-Type: {kind}"] if kind else []),
            f"Content-Length: {len(content)}",
        ]
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._answers[branch] = answer
        self._write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
        try:
            async with asyncio.timeout(SECONDS):
                return await answer
        except TimeoutError:
            raise AssertionError(f"no answer to {method} {uri}") from None
        finally:
            del self._answers[branch]

    def _call_id(self) -> str:
        return f"call{next(_numbers)}@{self._place}"

    # -- what comes in -----------------------------------------------------------------------------

    def datagram(self, data: bytes) -> None:
        """Take one message."""
        message, _ = _read(data)
        if message is not None:
            self._take(message)

    def stream(self, data: bytes) -> None:
        """Take a piece of a stream."""
        self._buffer += data
        while True:
            message, self._buffer = _read(self._buffer.lstrip(b"\r\n"))
            if message is None:
                return
            self._take(message)

    def _take(self, message: Message) -> None:
        if not message.method:
            branch = message.get("via").partition(";branch=")[2].partition(";")[0]
            waiting = self._answers.get(branch)
            if message.status >= 200 and waiting is not None and not waiting.done():
                waiting.set_result(message)
            return
        watch = self._watches.get(message.get("call-id"))
        if message.method == "MESSAGE":
            self.messages.append(message)
            self._answer(message, self.answer_with)
        elif message.method == "NOTIFY" and watch is not None and message.tag("to") == watch.tag:
            watch.notices.append(message)
            self._answer(message, "200 OK")
        else:
            self._answer(message, "481 Call/Transaction Does Not Exist")
        self._news.set()

    def _answer(self, request: Message, status: str) -> None:
        lines = [f"SIP/2.0 {status}"]
        for name in ("via", "record-route", "from", "to", "call-id", "cseq"):
            mark = f";tag=p{next(_numbers)}" if name == "to" and not request.tag("to") else ""
            lines += [f"{name}: {value}{mark}" for value in request.all(name)]
        self._write("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())

    async def _until(self, is_so: Callable[[], object], words: Callable[[], str]) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                while not is_so():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{self.address} waits for {words()}") from None


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, phone: Phone) -> None:
        self._phone = phone

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._phone.datagram(data)


class _Stream(asyncio.Protocol):
    def __init__(self, phone: Phone) -> None:
        self._phone = phone

    def data_received(self, data: bytes) -> None:
        self._phone.stream(data)


def _read(data: bytes) -> tuple[Message | None, bytes]:
    """Return the first message and what follows it, None while it is not complete."""
    head, gap, rest = data.partition(b"\r\n\r\n")
    if not gap:
        return None, data
    first, *lines = head.decode().split("\r\n")
    pairs = tuple(
        (name.strip().lower(), value.strip()) for name, _, value in (one.partition(":") for one in lines)
    )
    length = int(next((value for name, value in pairs if name in ("content-length", "l")), "0"))
    if len(rest) < length:
        return None, data
    return Message(first, pairs, rest[:length].decode()), rest[length:]


def _split(values: list[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",")]


def _is_like(notice: Message, state: str, parts: tuple[str, ...]) -> bool:
    is_state = notice.get("subscription-state").partition(";")[0] == state
    return is_state and all(part in notice.body for part in parts)
