"""The XML stream of one connection: bytes in, stanzas out.

One expat parser per stream finds where stanzas begin and end; their children are cut out of the
input as raw bytes. A stanza that a namespace-aware parser might read differently is parsed as a tree
and written anew. Nothing that could break the stream of whoever receives it is passed on.
This module minds the bytes (what is parsed, what is kept, how much); `scanner.py` the elements.
"""

from pyexpat import ErrorString, ExpatError
from typing import Final

from ubiety.stanza import ASSERTED, ChildName
from ubiety.xmpp.items import BadStanza, Limits, StreamClosed, StreamFault, StreamItem, StreamOpened
from ubiety.xmpp.scanner import SPACE, TEXT_BETWEEN, Finished, Scanner
from ubiety.xmpp.scope import Refused

__all__ = ["BadStanza", "Limits", "StreamClosed", "StreamFault", "StreamItem", "StreamOpened", "XmlStream"]

RENEW_AFTER: Final = 1 << 20  # bytes; expat never frees the names that it has seen
PATIENCE: Final = 256  # times the limit: bytes that expat may look at again and again in one element
_LESS_THAN, _GREATER_THAN = b"<>"


class XmlStream:
    """Parses one direction of a stream; never raises on input, never reads a clock.

    `asserted` are the first-level children that are written anew so that they can be judged;
    `force_slow` takes the slow path for every stanza (tests compare the two).
    """

    __slots__ = ("_fed", "_finished", "_limit", "_limits", "_patience", "_pending", "_scanner")

    def __init__(
        self,
        limits: Limits | None = None,
        default_lang: str = "en",
        asserted: frozenset[ChildName] = ASSERTED,
        force_slow: bool = False,
    ) -> None:
        self._limits = limits or Limits()
        self._limit = self._limits.stanza_bytes_before_auth
        self._scanner = Scanner(self._limits, default_lang, asserted, force_slow)
        self.reset()

    def reset(self) -> None:
        """Expect a new stream header; bytes of the old stream that were not parsed yet are forgotten.

        RFC 6120 §5.4.3.3: what came in plain text behind `<starttls/>` must not be believed.
        """
        self._scanner.reset()
        self._finished = False
        self._pending: bytearray | None = None  # what is kept because an element is not complete
        self._fed = 0  # how much of it expat has seen
        self._patience = 0

    def authenticated(self) -> None:
        """Raise the limit on the size of stanzas: the peer is known now."""
        self._limit = self._limits.stanza_bytes

    def close(self) -> None:
        """Let go of everything; what is fed from now on is ignored."""
        self._finished = True
        self._pending = None
        self._scanner.depth = 0
        self._scanner.release()

    @property
    def idle_bytes(self) -> int:
        """How many bytes are kept because an element is not complete."""
        return len(self._pending) if self._pending else 0

    def release(self) -> bool:
        """Drop the parser (some 10 kB) if the stream is between two stanzas; return whether it is gone.

        The next `feed` makes a new one. Not while bytes are pending: expat holds partial tokens.
        """
        if self._pending is None and self._scanner.depth == 1:
            self._scanner.release()
        return self._scanner.parser is None

    def feed(self, data: bytes, now: float = 0.0) -> list[StreamItem]:
        """Return what these bytes complete, in order. Nothing here depends on `now`."""
        scanner = self._scanner
        if self._pending is None and scanner.depth == 1 and 0 < len(data) <= self._limit:
            self._consume(data)
        elif not self._finished:
            self._consume_bounded(data)
        items = scanner.items
        scanner.items = []
        return items

    def _consume_bounded(self, data: bytes) -> None:
        """Consume no more than may belong to one element, then look whether it ended."""
        if self._scanner.depth == 0 and not self._is_header(data := self._before_header(data)):
            return
        at = 0
        while at < len(data) and not self._finished:
            room = self._limit - self.idle_bytes
            if room <= 0:
                self._fail("policy-violation", f"an element is larger than {self._limit} bytes")
                return
            self._consume(data[at : at + room])
            at += room

    def _before_header(self, data: bytes) -> bytes:
        """Skip white space before a stream header: a keep-alive of the stream before."""
        return data.lstrip(SPACE) if self._pending is None else data

    def _is_header(self, data: bytes) -> bool:
        """Whether a stream may begin like this; expat recognises UTF-16 whatever encoding it is told."""
        begin = bytes(self._pending or b"") + data[:2]
        if begin and begin[0] != _LESS_THAN:  # RFC 6120 §11.6: nor is a byte order mark allowed
            self._fail("not-well-formed", "this is not an XML stream")
        elif begin[1:2] == b"\0":
            self._fail("unsupported-encoding", "a stream is in UTF-8")
        return not self._finished

    def _consume(self, data: bytes) -> None:
        """Parse up to the last ">": nothing is complete without one, and white space wakes no parser."""
        scanner = self._scanner
        pending = self._pending
        if pending is None:
            scanner.buffer = data
            fed = len(data) if data[-1] == _GREATER_THAN else data.rfind(b">") + 1
            if fed:
                self._parse(data[:fed])
                self._fed = fed
        else:
            scanner.buffer = pending
            pending += data
            fed = pending.rfind(b">", self._fed) + 1
            if fed:
                count = scanner.count
                self._parse(bytes(pending[self._fed : fed]))
                self._fed = fed
                if count == scanner.count:
                    self._patience -= fed
        if not self._finished:
            self._trim()
        scanner.buffer = b""

    def _parse(self, data: bytes) -> None:
        scanner = self._scanner
        try:
            scanner.parse(data)
        except Finished:
            scanner.items.append(StreamClosed())
            self.close()
        except Refused as refused:
            self._fail(refused.condition, refused.text)
        except ExpatError as error:
            self._fail("not-well-formed", ErrorString(error.code) or "")

    def _trim(self) -> None:
        """Keep of the buffer only what belongs to an element that is not complete."""
        scanner = self._scanner
        buffer = scanner.buffer
        size = len(buffer)
        depth = scanner.depth
        keep = (scanner.start if depth > 1 else scanner.end) - scanner.base
        if depth == 1 and keep < size and buffer[keep] != _LESS_THAN:
            rest = buffer[keep:].lstrip(SPACE)
            if rest and rest[0] != _LESS_THAN:
                self._fail("bad-format", TEXT_BETWEEN)
                return
            keep = size - len(rest)
        # White space that expat was not given does not count in its byte index.
        dropped = min(keep, self._fed)
        self._fed -= dropped
        scanner.base += dropped
        if depth == 1:
            scanner.end = scanner.base
        if keep < size:
            self._keep(buffer, keep)
        else:
            self._pending = None
        if scanner.base > RENEW_AFTER:
            self._renew()

    def _renew(self) -> None:
        """Have a new parser read what is kept: somebody who never pauses between stanzas needs one too."""
        scanner = self._scanner
        scanner.release()
        scanner.base = scanner.end = self._fed = 0
        scanner.depth = min(scanner.depth, 1)

    def _keep(self, buffer: bytes | bytearray, keep: int) -> None:
        """Keep the buffer from here on; expat's work on the pieces of one element is bounded."""
        if self._pending is None:
            self._pending = bytearray(buffer[keep:])
            self._patience = PATIENCE * self._limit
        elif keep:
            del self._pending[:keep]
            self._patience = PATIENCE * self._limit
        elif self._patience < 0:
            self._fail("policy-violation", "an element arrives in too many pieces")

    def _fail(self, condition: str, text: str) -> None:
        scanner = self._scanner
        since = scanner.end - scanner.base  # negative: what came before the present element is gone already
        between = scanner.buffer[since:].lstrip(SPACE) if scanner.depth == 1 and since >= 0 else b""
        if between and between[0] != _LESS_THAN:
            # Text that came before: had it come alone, it would have been the fault.
            condition, text = "bad-format", TEXT_BETWEEN
        scanner.items.append(StreamFault(condition, text))
        self.close()
