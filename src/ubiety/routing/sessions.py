"""A session: one bound client as its home node sees it (RFC 6120 §7, XEP-0198, XEP-0199, XEP-0352).

The *edge* is the connection; it comes and goes, the session and its unacknowledged stanzas stay.
``send`` never waits. Promises are kept with *tokens*: whoever sends a message that must arrive
hands in a token, and is told ``acknowledged`` or ``unheld``.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from ubiety.conditions import StanzaError
from ubiety.jid import Jid
from ubiety.routing.verdict import Pending, Refused, Settled, Verdict
from ubiety.stanza import Stanza, make_error
from ubiety.xmpp.smacks import Smacks

MAX_UNACKNOWLEDGED = 1000
"""Stanzas that may wait for a client's acknowledgement before it counts as congested."""
MAX_KEPT = 10_000
"""Stanzas kept for a client that acknowledges nothing before its session is ended."""
MAX_WAITING = 32
"""Stanzas that may queue behind one that is being answered before reading is paused."""
MAX_IN_LINE = 16
"""Stanzas of one client that may be written to the database together."""

NO_INTERESTS: frozenset[str] = frozenset()

_REQUEST = b"<r xmlns='urn:xmpp:sm:3'/>"


class Edge(Protocol):
    """The connection of a session: a socket here, or a flow to another node."""

    congested: bool

    @property
    def secured_by(self) -> str:
        """The TLS version, such as "TLSv1.3", or "plain"."""

    def write(self, data: bytes) -> None:
        """Queue bytes for the client. Never waits."""

    def close(self, condition: str | None = None, text: str = "") -> None:
        """End the stream, with a stream error when ``condition`` is given (RFC 6120 §4.9)."""

    def pause_reading(self) -> None:
        """Take no more from the client for now."""

    def resume_reading(self) -> None:
        """Read on."""


class Token(Protocol):
    """What a session holds for a message that somebody was promised will arrive."""

    def acknowledged(self) -> None:
        """The client has it."""

    def unheld(self) -> None:
        """This session's connection can no longer deliver it."""

    def suspended(self) -> None:
        """The connection was lost, but the session keeps it for a client that resumes."""

    def held(self) -> None:
        """A resumed session delivers it again."""

    def dropped(self) -> None:
        """A suspended session has ended and does not keep it any more."""

    @property
    def done(self) -> bool:
        """It reached somebody; there is nothing to send again."""


class Owner(Protocol):
    """Whose session it is: the actor that handles what the client sends."""

    def handle(self, stanza: Stanza, session: "Session") -> Verdict:
        """Handle one stanza from the client."""

    def is_in_line(self, stanza: Stanza) -> bool:
        """Tell whether all that a stanza does comes after what was asked of the database before it."""

    def drained(self, session: "Session") -> None:
        """The session has room again."""

    def overrun(self, session: "Session") -> None:
        """More waits for the client than a session may hold: end it."""


class StreamCursor:
    """How far a stream is settled, for the ledger to write with the stream's messages (promise 1)."""

    __slots__ = ("_smacks", "smid", "user_id")

    def __init__(self, smacks: Smacks, user_id: int) -> None:
        self._smacks = smacks
        self.smid = smacks.smid
        self.user_id = user_id

    def h_with(self, seqs: Iterable[int]) -> int:
        """Return the settled prefix as it will be once the stanzas ``seqs`` are settled too."""
        return self._smacks.h_with(seqs)


class Session:
    """One resource of one person. Created when a resource is bound, ended when it goes for good."""

    __slots__ = (
        "_after_ping",
        "_behind_ping",
        "_defer",
        "_held_presence",
        "_holds",
        "_in_line",
        "_is_paused",
        "_owing",
        "_ping_id",
        "_pings",
        "_waiting",
        "address_id",
        "answers_pings",
        "available",
        "caps",
        "carbons",
        "connected_at",
        "covered",
        "cursor",
        "directed",
        "edge",
        "ended",
        "inactive",
        "inbound",
        "interested",
        "interests",
        "jid",
        "owner",
        "presence_tail",
        "priority",
        "remote_address",
        "smacks",
        "wants_blocklist",
    )

    def __init__(
        self,
        jid: Jid,
        address_id: int,
        owner: Owner,
        edge: Edge,
        defer: Callable[[Callable[[], None]], object],
        now: float,
    ) -> None:
        self.jid = jid
        self.address_id = address_id
        self.owner = owner
        self.edge: Edge | None = edge
        self.available = False
        self.priority = 0
        self.presence_tail = b""  # what follows the addresses in this session's last presence
        self.covered: bytes | None = None  # what the client said, while its person's phone is shown over it
        self.carbons = False
        self.interested = False  # has asked for the roster: gets roster pushes (RFC 6121 §2.1.6)
        self.wants_blocklist = False  # has asked for the block list: gets its pushes (XEP-0191 §3.2)
        self.interests = NO_INTERESTS  # nodes of personal events that it wants (XEP-0163 §4.3.1)
        self.caps: bytes | None = None  # the <c/> of its last presence (XEP-0115)
        self.inactive = False
        self.directed: set[Jid] | None = None
        self.smacks: Smacks | None = None
        self.cursor: StreamCursor | None = None
        self.inbound = 0  # number of the stanza being handled, when stream management counts them
        self.ended = False
        self.connected_at = now
        self.remote_address = ""
        self.answers_pings = True
        self._defer = defer
        self._owing = False
        self._waiting: deque[Stanza] | None = None
        self._holds = 0  # answers that the stanzas in _waiting wait for
        self._in_line = 0  # those of them that wait for the database's writer, which keeps order itself
        self._is_paused = False  # reading, because too many wait
        self._held_presence: dict[str, bytes] | None = None
        self._pings = 0
        self._ping_id: str | None = None
        self._behind_ping: list[Token] = []
        self._after_ping: list[Token] = []

    # -- from the client ---------------------------------------------------------------------

    def receive(self, stanza: Stanza) -> None:
        """Handle a stanza from the client, or queue it behind one that is still being answered."""
        if self._waiting is not None and not self._may_go_on(stanza):
            self._waiting.append(stanza)
            if len(self._waiting) >= MAX_WAITING:
                self._pause()
            return
        smacks = self.smacks
        if smacks is None:
            verdict = self.owner.handle(stanza, self)
            if type(verdict) is Refused:
                self._refuse(stanza, verdict.error)
            elif type(verdict) is Pending:
                verdict.then(lambda settled: self._answer_refusal(stanza, settled))
            return
        self.inbound = seq = smacks.receive()
        verdict = self.owner.handle(stanza, self)
        if type(verdict) is Pending:
            verdict.then(lambda settled: self._settle(seq, stanza, settled))
            return
        if type(verdict) is Refused:
            self._refuse(stanza, verdict.error)
        smacks.settle(seq)

    def enable(self, smacks: Smacks, user_id: int) -> None:
        """Count stanzas from here on (XEP-0198 §3)."""
        self.smacks = smacks
        self.cursor = StreamCursor(smacks, user_id)

    def hold(self, pending: Pending, *, in_line: bool = False) -> None:
        """Keep later stanzas of this client back until ``pending`` is settled: order is a promise.

        ``in_line``: it waits for a write; others that are written too may go on behind it.
        """
        if self._waiting is None:
            self._waiting = deque()
        self._holds += 1
        self._in_line += in_line
        pending.then(lambda _: self._release(in_line))

    def _may_go_on(self, stanza: Stanza) -> bool:
        """Tell whether nothing but writes is ahead of a stanza that is written as well."""
        return (
            not self._waiting and self._holds == self._in_line < MAX_IN_LINE and self.owner.is_in_line(stanza)
        )

    def _release(self, in_line: bool) -> None:
        self._holds -= 1
        self._in_line -= in_line
        if self._holds:
            return
        waiting, self._waiting = self._waiting, None
        while waiting and not self.ended:
            self.receive(waiting.popleft())
        if self._is_paused and len(self._waiting or ()) < MAX_WAITING:
            self._is_paused = False
            if self.edge is not None:
                self.edge.resume_reading()

    def _pause(self) -> None:
        if not self._is_paused and self.edge is not None:
            self._is_paused = True
            self.edge.pause_reading()

    def take_waiting(self) -> list[Stanza]:
        """Return what waits for another's answer and was never counted, and forget it."""
        waiting = list(self._waiting or ())
        if self._waiting:
            self._waiting.clear()
        return waiting

    def _settle(self, seq: int, stanza: Stanza, settled: Settled) -> None:
        self._answer_refusal(stanza, settled)
        smacks = self.smacks
        if smacks is None:
            return
        smacks.settle(seq)
        if not self._owing:
            self._owing = True
            self._defer(self._send_owed)

    def _send_owed(self) -> None:
        """Send ``<a/>`` unasked: more has settled since the client last asked (promise 1)."""
        self._owing = False
        if self.smacks is None or self.edge is None:
            return
        h = self.smacks.owed()
        if h is not None:
            self.edge.write(b"<a xmlns='urn:xmpp:sm:3' h='%d'/>" % h)

    def _answer_refusal(self, stanza: Stanza, settled: Settled) -> None:
        if type(settled) is Refused:
            self._refuse(stanza, settled.error)

    def _refuse(self, stanza: Stanza, error: StanzaError) -> None:
        # RFC 6120 §8.3.1: an error is never answered with an error; RFC 6121: nor is a presence
        # other than a subscription's.
        if stanza.type == "error" or (stanza.kind == "iq" and stanza.type == "result"):
            return
        if stanza.kind == "presence" and stanza.type in (None, "unavailable", "probe"):
            return
        self.send(make_error(stanza, error).to_bytes())

    def answered(self, data: bytes) -> None:
        """Count a stanza that the stream answered by itself, and send the answer if there is one."""
        if self.smacks is not None:
            self.smacks.settle(self.smacks.receive())
        if data:
            self.send(data)

    def acknowledgement_requested(self) -> None:
        """Answer ``<r/>`` at once with what is settled (XEP-0198 §4)."""
        if self.smacks is not None and self.edge is not None:
            h = self.smacks.request(behind=len(self._waiting or ()))
            self.edge.write(b"<a xmlns='urn:xmpp:sm:3' h='%d'/>" % h)

    def acknowledge(self, h: int) -> None:
        """Take the client's ``<a h=…/>``. Raises SmacksError when it counts more than was sent."""
        smacks = self.smacks
        if smacks is None:
            return
        was_congested = len(smacks.unacked) >= MAX_UNACKNOWLEDGED
        for token in smacks.acked(h):
            token.acknowledged()  # type: ignore[attr-defined]
        if was_congested and not self.congested:
            self.room_again()
        if smacks.wants_request() and self.edge is not None:
            smacks.requested()
            self.edge.write(_REQUEST)

    # -- to the client -----------------------------------------------------------------------

    @property
    def congested(self) -> bool:
        """True when durable messages should stay ledger rows for now (promise 3)."""
        if self.smacks is not None and len(self.smacks.unacked) >= MAX_UNACKNOWLEDGED:
            return True
        if len(self._behind_ping) + len(self._after_ping) >= MAX_UNACKNOWLEDGED:
            return True
        return self.edge is not None and self.edge.congested

    def send(self, data: bytes, token: Token | None = None) -> None:
        """Send one stanza; ``token`` is told when the client has it, or cannot get it here."""
        if self._held_presence:
            self._flush_presence()
        smacks = self.smacks
        edge = self.edge
        if smacks is None:
            if edge is not None:
                edge.write(data)
                if token is not None:
                    self._await_ping(token)
            elif token is not None:
                token.unheld()
            return
        smacks.sent(data, token)
        if len(smacks.unacked) > MAX_KEPT:
            self._defer(lambda: self.owner.overrun(self))
        if edge is None:
            return
        edge.write(data)
        if smacks.wants_request():
            smacks.requested()
            edge.write(_REQUEST)

    def send_presence(self, sender: str, data: bytes) -> None:
        """Send presence of ``sender`` (full address). Only the newest is kept for a busy client.

        XEP-0352: presence waits for an inactive client's next message. Promise 3: presence is shed
        before messages when the client reads slowly.
        """
        edge = self.edge
        smacks = self.smacks
        if edge is None or self.inactive or edge.congested:
            self._hold_presence(sender, data)
        elif smacks is None:
            edge.write(data)
        elif len(smacks.unacked) >= MAX_UNACKNOWLEDGED:
            self._hold_presence(sender, data)
        else:
            self.send(data)

    def _hold_presence(self, sender: str, data: bytes) -> None:
        if self._held_presence is None:
            self._held_presence = {}
        self._held_presence[sender] = data

    def _flush_presence(self) -> None:
        held, self._held_presence = self._held_presence, None
        for data in (held or {}).values():
            self.send(data)

    def set_inactive(self, inactive: bool) -> None:
        """Follow the client's ``<inactive/>`` and ``<active/>`` (XEP-0352)."""
        self.inactive = inactive
        if not inactive:
            self._flush_presence()

    def room_again(self) -> None:
        """The client has caught up: send what was held back."""
        if not self.inactive:
            self._flush_presence()
        self.owner.drained(self)

    # -- delivery to clients without stream management: a ping behind the message -----------------

    def _await_ping(self, token: Token) -> None:
        if not self.answers_pings:
            token.acknowledged()
            return
        self._after_ping.append(token)
        if self._ping_id is None:
            self._send_ping()

    def _send_ping(self) -> None:
        self._behind_ping, self._after_ping = self._after_ping, []
        self._pings += 1
        self._ping_id = f"ubiety-ping-{self._pings}"
        if self.edge is not None:
            self.edge.write(
                b"<iq type='get' id='%s' from='%s' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>"
                % (self._ping_id.encode(), self.jid.domain.encode(), self.jid.xml.encode())
            )

    def ping_answered(self, stanza_id: str | None) -> bool:
        """Take an iq answer; True when it was the answer (result or error) to our ping."""
        if stanza_id is None or stanza_id != self._ping_id:
            return False
        self._ping_id = None
        was_congested = self.congested
        tokens, self._behind_ping = self._behind_ping, []
        for token in tokens:
            token.acknowledged()
        if self._after_ping:
            self._send_ping()
        if was_congested and not self.congested:
            self.owner.drained(self)
        return True

    # -- the connection goes and comes ---------------------------------------------------------

    def tokens(self) -> list[Token]:
        """Return what this session holds and nobody has acknowledged, oldest first."""
        return [*self._behind_ping, *self._after_ping, *self._kept()]

    def _kept(self) -> list[Token]:
        if self.smacks is None:
            return []
        return [token for _, token in self.smacks.unacked if token is not None]  # type: ignore[misc]

    def detach(self) -> None:
        """The connection was lost; the session waits to be resumed (XEP-0198 §5)."""
        self.edge = None
        self._is_paused = False
        self._let_go_of_pinged()
        for token in self._kept():
            token.suspended()

    def _let_go_of_pinged(self) -> None:
        """What was sent before stream management was turned on is not sent again by resuming."""
        tokens = [*self._behind_ping, *self._after_ping]
        self._behind_ping, self._after_ping, self._ping_id = [], [], None
        for token in tokens:
            token.unheld()

    def resume(self, edge: Edge, h: int) -> list[bytes]:
        """Continue on a new connection; return what must be sent again (XEP-0198 §5)."""
        smacks = self.smacks
        if smacks is None:
            raise ValueError("this session has no stream management")
        for token in smacks.acked(h):
            token.acknowledged()  # type: ignore[attr-defined]
        for _, token in list(smacks.unacked):
            if token is not None and token.done:  # type: ignore[attr-defined]
                smacks.drop(token)
        again = [data for data, _ in smacks.resume(h)]
        self.take_waiting()  # not counted: the client sends it again
        self.edge = edge
        for token in self._kept():
            token.held()
        return again

    def resumed(self) -> None:
        """The re-sent stanzas are written: ask for their acknowledgement, send what was held back."""
        if not self.inactive:
            self._flush_presence()
        if self.smacks is not None and self.edge is not None and self.smacks.unacked:
            self.smacks.requested()
            self.edge.write(_REQUEST)
        self.owner.drained(self)  # what came while the connection was away is a row by now

    def end(self) -> None:
        """The session is over for good: everything unacknowledged goes back to its owner."""
        if self.ended:
            return
        self.ended = True
        was_attached = self.edge is not None
        self.edge = None
        self._let_go_of_pinged()
        for token in self._kept():
            if was_attached:
                token.unheld()
            else:
                token.dropped()
        self._waiting = None
