"""Counts and keeps stanzas for XEP-0198 stream management: one `Smacks` per session, no I/O.

Inbound, a stanza is *acknowledged* to the client only when it is settled (refused, delivered, committed, or
not durable by its kind), and `h` is the length of the settled prefix, never a count of settled stanzas: the
client may forget everything up to `h`. Outbound, what was written is kept until the client acknowledges it.

Inside, sequence numbers grow without bound; only what travels is cut to 32 bits (XEP-0198 §4).
"""

from collections import deque
from collections.abc import Collection, Iterable

_MASK = 2**32 - 1

NS_SM = "urn:xmpp:sm:3"
REQUEST = b"<r xmlns='urn:xmpp:sm:3'/>"

Kept = tuple[bytes, object | None]
"""A stanza as it was written, and the token that is handed back when the client has it."""


class SmacksError(Exception):
    """The client acknowledges more than it was sent: the stream must end (XEP-0198 §4)."""

    condition = "undefined-condition"

    def __init__(self, h: int, send_count: int) -> None:
        super().__init__(f"You acknowledged {h} stanzas, but I only sent you {send_count} so far.")
        self.h = h
        self.send_count = send_count

    @property
    def text(self) -> str:
        """The sentence for the stream error's `<text/>`."""
        return str(self)

    @property
    def detail(self) -> bytes:
        """The application-specific element for the stream error (XEP-0198 §4)."""
        return (
            f"<handled-count-too-high xmlns='{NS_SM}' h='{self.h}' send-count='{self.send_count}'/>"
        ).encode()


class Smacks:
    """The two counters of one session, and what the client has not acknowledged yet."""

    __slots__ = (
        "_acked",
        "_ahead",
        "_answered",
        "_asked",
        "_received",
        "_requested",
        "_settled",
        "_skipped",
        "_unacked",
        "max_seconds",
        "resumable",
        "smid",
        "unacked_bytes",
    )

    def __init__(self, smid: str = "", max_seconds: int = 0, resumable: bool = False) -> None:
        self.smid = smid
        self.max_seconds = max_seconds
        self.resumable = resumable
        self.unacked_bytes = 0
        """Size of what is kept for the client, for whoever bounds it."""
        self._received = 0
        self._settled = 0
        self._skipped = 0  # numbers given out before a resumption for stanzas that came again after it
        self._ahead: set[int] | None = None  # settled beyond the prefix; made only when something overtakes
        self._asked = 0  # how many we had received when the client last asked
        self._answered = 0  # the last count that we told it
        self._acked = 0
        self._unacked: deque[Kept] | None = None  # an empty deque is 600 bytes: an idle session has none
        self._requested = False

    # Inbound: what the client sent.

    def receive(self) -> int:
        """Count one stanza and return its sequence number, 1 for the first."""
        self._received += 1
        return self._received

    def settle(self, seq: int) -> None:
        """Note that stanza `seq` needs no more care; any order, and once is enough.

        A number that was not received (or no more, see `resume`) is ignored: that stanza comes again.
        """
        if seq == self._settled + 1 <= self._received:
            self._settled = seq
            if self._ahead:
                self._advance(self._ahead)
        elif self._settled < seq <= self._received:
            if self._ahead is None:
                self._ahead = set()
            self._ahead.add(seq)

    def _advance(self, ahead: set[int]) -> None:
        while self._settled + 1 in ahead:
            self._settled += 1
            ahead.remove(self._settled)
        if not ahead:
            self._ahead = None

    @property
    def h(self) -> int:
        """How many stanzas from the start are settled, mod 2**32."""
        return (self._settled - self._skipped) & _MASK

    @property
    def unsettled(self) -> int:
        """How many received stanzas the prefix does not cover yet."""
        return self._received - self._settled

    def h_with(self, seqs: Iterable[int]) -> int:
        """What `h` would be if `seqs` were settled too: written in the transaction that commits them."""
        settled = self._settled
        done = set(seqs)
        if self._ahead:
            done |= self._ahead
        while settled + 1 in done:
            settled += 1
        return (min(settled, self._received) - self._skipped) & _MASK

    def request(self, behind: int = 0) -> int:
        """Take an `<r/>` and return the `h` to answer at once.

        `behind`: stanzas that came before it and are not counted yet, because they wait for another's answer.
        """
        self._asked = self._received + behind
        self._answered = self._settled
        return self.h

    def owed(self) -> int | None:
        """Return the `h` to send unasked, or None.

        It is owed while the last `<r/>` was not answered for everything that had come before it, and more has
        settled since. Returning it counts as sending it.
        """
        if self._answered >= self._asked or self._settled == self._answered:
            return None
        self._answered = self._settled
        return self.h

    # Outbound: what the client was sent.

    @property
    def unacked(self) -> Collection[Kept]:
        """What the client has not acknowledged, oldest first."""
        return self._unacked if self._unacked is not None else ()

    def sent(self, data: bytes, token: object | None = None) -> None:
        """Keep a stanza that is being written; `token` comes back from `acked`."""
        if self._unacked is None:
            self._unacked = deque()
        self._unacked.append((data, token))
        self.unacked_bytes += len(data)

    def acked(self, h: int) -> list[object]:
        """Take the client's `h` and return the tokens of what it newly acknowledges, oldest first.

        Raises SmacksError when the client was never sent that many (a lower `h` than before means the same).
        """
        self._requested = False
        count = (h - self._acked) & _MASK
        if not count:
            return []
        if count > len(self.unacked):
            raise SmacksError(h, (self._acked + len(self.unacked)) & _MASK)
        return self._forget(count)

    def _forget(self, count: int) -> list[object]:
        tokens = []
        assert self._unacked is not None  # the caller found `count` of them
        for _ in range(count):
            data, token = self._unacked.popleft()
            self.unacked_bytes -= len(data)
            if token is not None:
                tokens.append(token)
        self._acked += count
        if not self._unacked:
            self._unacked = None
        return tokens

    def drop(self, token: object) -> bool:
        """Forget the stanza with `token`: it is neither reported nor sent again. Return whether it was kept.

        Its place still counts, for the client may have it.
        """
        for place, (data, kept) in enumerate(self.unacked):
            if kept is not None and kept == token:
                assert self._unacked is not None  # there was a place
                self._unacked[place] = (b"", None)
                self.unacked_bytes -= len(data)
                return True
        return False

    def wants_request(self) -> bool:
        """Say whether an `<r/>` should follow: something is unacknowledged and none is outstanding."""
        return self._unacked is not None and not self._requested

    def requested(self) -> None:
        """Note that an `<r/>` was written."""
        self._requested = True

    def resume(self, h: int) -> list[Kept]:
        """Start over on a new connection, after `acked(h)`: return what must be written again.

        What was received and is not settled is forgotten, because `<resumed h=''/>` makes the client send it
        again and count it once. To spare repeats, answer a `<resume/>` only when `unsettled` is 0, or the
        ledger's window has passed.
        Raises ValueError when `acked(h)` was not called.
        """
        if h & _MASK != self._acked & _MASK:
            raise ValueError("resume before acked")
        # Their numbers are not given out again: a late verdict must not settle what came in their place.
        self._skipped += self._received - self._settled
        self._settled = self._asked = self._answered = self._received
        self._ahead = None
        self._requested = False
        # What was dropped is not sent again, so the client will not count it: close the gap.
        left = [kept for kept in self.unacked if kept[0]]
        self._unacked = deque(left) if left else None
        return left


def answer(h: int) -> bytes:
    """Render the `<a/>` that acknowledges `h` stanzas."""
    return b"<a xmlns='urn:xmpp:sm:3' h='%d'/>" % h


def parse_h(text: str | None) -> int | None:
    """Read an `h` attribute: a number below 2**32, else None."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 10:
        return None
    value = int(text)
    return value if value <= _MASK else None
