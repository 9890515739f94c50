"""The newest SIP messages of a node, kept in memory for `ubiety sip trace`; bounded in number and bytes."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ubiety.net.sip_wire import shown_peer
from ubiety.sip.message import Request, Response
from ubiety.sip.outputs import Peer

RECEIVED = "received"
SENT = "sent"
MOST_BYTES = 8 * 1024 * 1024
SHOWN_BYTES = 65_536
"""Of a longer message only so much is shown."""

_SECRETS = (b"authorization", b"proxy-authorization", b"authentication-info")
_TEXTS = (b"ms-text-format", b"subject")
"""Headers that hold what somebody wrote (MS-SIP's first message in an INVITE)."""
_SHOWN_TYPES = (b"application/sdp", b"application/pidf+xml")


@dataclass(frozen=True, slots=True)
class Traced:
    """One message that went over the wire, as it was."""

    number: int
    """Counts up by one from the start of the stack."""
    at: float
    """Seconds since 1970."""
    direction: str
    """RECEIVED or SENT."""
    peer: Peer
    """With whom; its names are what its certificate says."""
    message: Request | Response | bytes

    @property
    def data(self) -> bytes:
        """The message's bytes."""
        return self.message if isinstance(self.message, bytes) else self.message.to_bytes()

    def has(self, text: str, with_text: bool = False) -> bool:
        """Whether `text` stands in the peer, its names or what is shown, whatever the letters' size.

        Who may not read what people wrote may not guess at it either.
        """
        wanted = text.lower()
        if wanted in shown_peer(self.peer) or any(wanted in name for name in self.peer.names):
            return True
        return wanted in shown(self.data, with_text=with_text).lower()

    def to_record(self, with_text: bool = False) -> dict[str, Any]:
        """Shows it as JSON; people's messages only `with_text`, secrets never."""
        return {
            "number": self.number,
            "at": self.at,
            "direction": self.direction,
            "transport": self.peer.transport,
            "peer": shown_peer(self.peer),
            "names": list(self.peer.names),
            "text": shown(self.data, with_text=with_text),
        }


class Trace:
    """A ring of messages. `listeners` see each one as it comes; they must be quick and not raise."""

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self.listeners: list[Callable[[Traced], None]] = []
        self._ring: deque[Traced] = deque()
        self._size = size
        self._bytes = 0
        self._number = 0
        self._clock = clock

    @property
    def last(self) -> int:
        """The number of the newest message; 0 before the first."""
        return self._number

    def resize(self, size: int) -> None:
        """Keep so many messages from now on."""
        self._size = size
        self._shrink()

    def add(self, direction: str, peer: Peer, message: Request | Response | bytes) -> None:
        """Keep a message."""
        if not self._size and not self.listeners:
            return
        self._number += 1
        traced = Traced(self._number, self._clock(), direction, peer, message)
        self._ring.append(traced)
        self._bytes += _length(message)
        if len(self._ring) > self._size or self._bytes > MOST_BYTES:
            self._shrink()
        for listener in self.listeners:
            listener(traced)

    def _shrink(self) -> None:
        while self._ring and (len(self._ring) > self._size or self._bytes > MOST_BYTES):
            self._bytes -= _length(self._ring.popleft().message)

    def after(
        self, number: int = 0, text: str = "", most: int = 1000, with_text: bool = False
    ) -> list[Traced]:
        """The newest `most` messages after `number` that have `text` in them, oldest first."""
        found: deque[Traced] = deque(maxlen=most)
        newer = (one for one in self._ring if one.number > number)
        found.extend(one for one in newer if not text or one.has(text, with_text))
        return list(found)

    def records(
        self, number: int = 0, text: str = "", most: int = 1000, with_text: bool = False
    ) -> list[dict[str, Any]]:
        """What `after` finds, as JSON: for the administration."""
        return [one.to_record(with_text) for one in self.after(number, text, most, with_text)]


def shown(data: bytes, *, with_text: bool = False) -> str:
    """A message for an administrator's eyes: without credentials, and without what people wrote."""
    head, gap, body = data[:SHOWN_BYTES].partition(b"\r\n\r\n")
    lines = list(_without(head.split(b"\r\n"), _SECRETS if with_text else _SECRETS + _TEXTS))
    if body and not with_text and _is_conversation(lines):
        body = f"[{len(data) - len(head) - len(gap)} bytes of text not shown]".encode()
    return (b"\r\n".join(lines) + gap + body).decode(errors="replace").replace("\r\n", "\n")


def _without(lines: list[bytes], secrets: tuple[bytes, ...]) -> Iterator[bytes]:
    hides = False
    for line in lines:
        if hides and line[:1] in (b" ", b"\t"):
            continue  # the folded rest of a hidden header
        name, colon, value = line.partition(b":")
        hides = bool(colon) and name.strip().lower() in secrets
        scheme = value.split(None, 1)[:1] if name.strip().lower() in _SECRETS else []
        yield b" ".join([name + b":", *scheme, b"[hidden]"]) if hides else line


def _is_conversation(lines: list[bytes]) -> bool:
    """Whether the body may be what somebody wrote: all but descriptions of sessions and of presence."""
    for line in lines:
        name, _, value = line.partition(b":")
        if name.strip().lower() in (b"content-type", b"c"):
            return value.split(b";")[0].strip().lower() not in _SHOWN_TYPES
    return True


def _length(message: Request | Response | bytes) -> int:
    return len(message) if isinstance(message, bytes) else 1000 + len(message.body)
