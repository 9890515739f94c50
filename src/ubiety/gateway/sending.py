"""Requests of the gateway on their way: tried at one next hop after the other, and their answers handed back.

A hop that takes no connection, does not answer in time or answers 503 is told to whoever keeps the health of
hops, and the next one is tried, as a new transaction (RFC 3263 §4.3).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from ubiety.conditions import StanzaError
from ubiety.gateway.stack import Stack, Ways
from ubiety.jid import Jid
from ubiety.sip.dialog import Dialog
from ubiety.sip.message import Request, Response
from ubiety.sip.outputs import Cause, Hop, hop_to
from ubiety.sip.syntax import SipSyntaxError
from ubiety.sip.uri import SipUri, parse_uri

UNAVAILABLE = 503
TLS_PORT = 5061
MOST_KNOWN = 2048
"""Contacts of peers whose hops are remembered."""
MAX_HOPS = 8
"""So many are tried for one request at most."""

Done = Callable[[Response | None], None]
"""Told of the end of a request: its final answer, None if nobody answered."""


@dataclass(slots=True, eq=False)
class Sending:
    """One request that was sent. `key` and `hop` are those of the last try."""

    request: Request
    hop: Hop
    key: int
    left: Iterator[Hop]
    done: Done
    provisional: Callable[[Response], None] | None
    last: Response | None = None
    is_cancelled: bool = False
    is_uncertain: bool = False
    """A hop before did not answer in time: it may have taken the request all the same."""


class Sender:
    """Sends for all parts of the gateway. Whoever receives from the stack hands on answers and failures."""

    def __init__(self, stack: Stack, ways: Ways) -> None:
        self._stack = stack
        self._ways = ways
        self._sent: dict[int, Sending] = {}

    def __len__(self) -> int:
        return len(self._sent)

    def send(
        self,
        request: Request,
        hops: Iterable[Hop],
        done: Done,
        provisional: Callable[[Response], None] | None = None,
    ) -> Sending:
        """Send a request to the first of these hops that serves; `done` is told once, later.

        `hops` has at least one, or raises StanzaError, as this does then.
        """
        left = islice(iter(hops), MAX_HOPS)
        sending = Sending(request, next(left), 0, left, done, provisional)
        self._start(sending)
        return sending

    def cancel(self, sending: Sending) -> None:
        """Cancel an INVITE: no further hop is tried, and `done` is told what becomes of it."""
        sending.is_cancelled = True
        sending.left = iter(())
        self._stack.cancel(sending.key)

    def forget(self, sending: Sending) -> None:
        """Let nobody be told of its end."""
        self._sent.pop(sending.key, None)

    def response_received(self, key: int, response: Response) -> bool:
        """Take an answer; False if the request is not one of these."""
        sending = self._sent.get(key)
        if sending is None:
            return False
        if response.status < 200:
            if sending.provisional is not None:
                sending.provisional(response)
            return True
        del self._sent[key]
        self._ways.answered(sending.hop, response.status, retry_after_of(response))
        if response.status == UNAVAILABLE:
            sending.last = response
            self._try_next(sending)
        else:
            sending.done(response)
        return True

    def failed(self, key: int, cause: Cause) -> bool:
        """Take note that there will be no answer; False if the request is not one of these."""
        sending = self._sent.pop(key, None)
        if sending is None:
            return False
        if cause is Cause.OVERLOAD:
            sending.done(sending.last)
            return True
        sending.is_uncertain |= cause is Cause.TIMEOUT
        self._ways.failed(sending.hop, cause.value)
        self._try_next(sending)
        return True

    def _try_next(self, sending: Sending) -> None:
        try:
            hop = next(sending.left, None)
        except StanzaError:
            hop = None
        if hop is None:
            sending.done(sending.last)
            return
        sending.hop = hop
        self._start(sending)

    def _start(self, sending: Sending) -> None:
        sending.key = self._stack.send(sending.request, sending.hop)
        self._sent[sending.key] = sending


def retry_after_of(response: Response) -> float | None:
    """Return the seconds of Retry-After, None if there is none that can be read (RFC 3261 §20.33)."""
    text = (response.headers.get("retry-after") or "").partition(";")[0].partition("(")[0].strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def hops_of(dialog: Dialog, ways: Ways, ours: Jid, theirs: Jid) -> Iterator[Hop]:
    """Yield where a request in a dialog goes: where the dialog leads, then by the static routes.

    The routes are looked up only when they are needed; then this may raise StanzaError.
    """
    target = next_hop(dialog, theirs.domain)
    if target is not None:
        yield target
    for hop in ways.hops(ours, theirs):
        if hop != target:
            yield hop


def next_hop(dialog: Dialog, domain: str) -> Hop | None:
    """Return the hop that a dialog leads to; None if its contact names no machine.

    A URI that names no transport is reached over that of the dialog: a proxy's Record-Route for UDP names
    none (RFC 3261 §19.1.1), and what was secret stays so.
    COMPAT: Microsoft's GRUUs name the person's domain.
    """
    return _hop_of(dialog.next_uri, dialog.transport, domain)


@lru_cache(MOST_KNOWN)
def _hop_of(text: str, transport: str, domain: str) -> Hop | None:
    try:
        uri = parse_uri(text)
    except SipSyntaxError:
        return None
    if not isinstance(uri, SipUri) or uri.has("gruu") or uri.host.lower() == domain:
        return None
    return hop_to(uri, "tls" if uri.port == TLS_PORT else transport)
