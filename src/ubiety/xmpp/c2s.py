"""One client's stream, from its first byte to its last (RFC 6120): bytes and time in, outputs out, no I/O.

`negotiation.Negotiation` brings it to a bound resource and is then dropped. From there `receive` is the
server's hot path: it stamps `from` and hands on what `XmlStream` found.
"""

from collections.abc import Callable, Iterable
from functools import partial

from ubiety.element import Element
from ubiety.jid import Jid, JidError, parse
from ubiety.stanza import Stanza
from ubiety.xmpp import features, ns
from ubiety.xmpp.authentication import Authentication
from ubiety.xmpp.features import C2sConfig
from ubiety.xmpp.negotiation import Negotiation, NegotiationFailed, Phase
from ubiety.xmpp.outputs import (
    ClientState,
    Close,
    Output,
    SessionEnded,
    SmAck,
    SmEnableRequested,
    SmRequest,
    StanzaAnswered,
    Write,
)
from ubiety.xmpp.sasl import ScramKeys
from ubiety.xmpp.smacks import parse_h
from ubiety.xmpp.xmlstream import BadStanza, StreamClosed, StreamFault, StreamItem, XmlStream

__all__ = ["C2sConfig", "C2sStream", "Phase"]

_OWN_IQ = frozenset({ns.SESSION, ns.BIND})  # iqs that the stream itself answers in a session
_SM_REQUEST = SmRequest()


class C2sStream:
    """Negotiates and then guards one client's stream. `secure` is True for direct TLS.

    `ids` gives random printable ASCII without commas, at least 128 bits: stream ids and SASL nonces.
    `endpoint_hash` is the tls-server-end-point of the connection (RFC 5929 §4), if it is known.
    """

    __slots__ = ("_closed", "_negotiation", "_own", "_sm", "_xml", "jid", "secure")

    def __init__(
        self,
        config: C2sConfig,
        ids: Callable[[], str],
        now: float,
        secure: bool = False,
        endpoint_hash: bytes | None = None,
    ) -> None:
        self._xml = XmlStream(config.limits, config.lang)
        self._negotiation: Negotiation | None = Negotiation(
            config, ids, self._xml, now, secure, endpoint_hash
        )
        self._own: Jid | None = None  # set in a session only: what every stanza is from
        self._sm = False
        self._closed = False
        self.secure = secure
        self.jid: Jid | None = None
        """The full address, once bound."""

    @property
    def phase(self) -> Phase:
        """Where the stream is in its life."""
        if self._closed:
            return Phase.CLOSED
        return self._negotiation.phase if self._negotiation is not None else Phase.SESSION

    @property
    def domain(self) -> str:
        """The domain that the client opened its stream to, or the default."""
        return self._negotiation.domain if self._negotiation is not None else self._bound.domain

    @property
    def username(self) -> str:
        """Local part of the account, "" until authenticated."""
        return self._negotiation.username if self._negotiation is not None else self._bound.local

    @property
    def _bound(self) -> Jid:
        assert self.jid is not None, "no negotiation means bound"
        return self.jid

    # Bytes and time.

    def receive(self, data: bytes, now: float) -> list[Output]:
        """Take bytes from the client."""
        own = self._own
        if own is None:
            return self._negotiate(data, now)
        items = self._xml.feed(data, now)
        for item in items:
            if type(item) is not Stanza or (item.from_ is not None and item.from_ != own):
                return self._sort(items)
            item.from_ = own  # RFC 6120 §8.1.2.1
            if item.kind == "iq" and item.children and item.children[0][0] in _OWN_IQ:
                return self._sort(items)
        return items  # type: ignore[return-value]  # all of them were seen to be Stanzas

    def _negotiate(self, data: bytes, now: float) -> list[Output]:
        negotiation = self._negotiation
        if self._closed or negotiation is None or negotiation.phase is Phase.TLS:
            return []
        negotiation.now = now
        if not negotiation.is_waiting:
            return self._sort(self._xml.feed(data, now))
        try:
            negotiation.hold(data)
        except NegotiationFailed as failed:
            return self.close(failed.condition, failed.text)
        return []

    def tick(self, now: float) -> list[Output]:
        """Act on the time when `deadline` has passed."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return []
        return self.close("connection-timeout", "The stream was not negotiated in time.")

    def postpone(self, seconds: float) -> None:
        """Give the negotiation more time: the client had to wait for us."""
        if self._negotiation is not None:
            self._negotiation.deadline += seconds

    def deadline(self) -> float | None:
        """When `tick` wants to be called: a bound on the whole negotiation."""
        return None if self._closed or self._negotiation is None else self._negotiation.deadline

    def close(self, condition: str | None = None, text: str = "", extra: bytes = b"") -> list[Output]:
        """End the stream, with a stream error if a condition is given (RFC 6120 §4.9)."""
        return self._end(features.stream_error(condition, text, extra) if condition is not None else b"")

    def _end(self, error: bytes) -> list[Output]:
        if self._closed:
            return []
        negotiation = self._negotiation
        self._closed = True
        self._own = None
        self._xml.close()
        if negotiation is not None and negotiation.phase is Phase.TLS:
            return [Close()]  # in the midst of a handshake nothing can be said
        data = negotiation.render_header() if negotiation is not None and not negotiation.header_sent else b""
        return [Write(data + error + features.STREAM_END), Close()]

    def redirect(self, host: str) -> list[Output]:
        """End the stream and name the host to go to: a domain or address, perhaps with a port.

        Only after authentication: nobody else may send our clients away (RFC 6120 §4.9.3.19).
        """
        return self._end(features.redirection(host))

    def release(self) -> bool:
        """Let the parser go while the stream is idle, to save memory. Return whether it is gone."""
        return self._xml.release()

    # What was parsed.

    def _sort(self, items: list[StreamItem]) -> list[Output]:
        """Take items one by one, until something changes what the rest would mean."""
        outputs: list[Output] = []
        for place, item in enumerate(items):
            negotiation = self._negotiation
            if negotiation is None:
                outputs += self._take(item)
            elif negotiation.is_waiting:
                negotiation.backlog = items[place:]
                break
            else:
                outputs += self._guard(partial(negotiation.take, item))
            # Whatever stands behind <starttls/> in the clear was put there by somebody else.
            if self._closed or (negotiation is not None and negotiation.phase is Phase.TLS):
                break
        return outputs

    def _guard(self, act: Callable[[], list[Output]]) -> list[Output]:
        """Let the negotiation act, and end the stream if it fails."""
        try:
            return act()
        except NegotiationFailed as failed:
            return failed.outputs + self.close(failed.condition, failed.text)

    def _go_on(self, negotiation: Negotiation) -> list[Output]:
        """Take what was held while we waited for the driver."""
        if self._closed:
            return []
        items, negotiation.backlog = negotiation.backlog, []
        outputs = self._sort(items)
        if negotiation.held and (self._own is not None or not negotiation.is_waiting):
            data, negotiation.held = negotiation.held, b""
            outputs += self.receive(data, negotiation.now)
        return outputs

    # The driver's answers: exactly one to each question. What was not asked is void.

    def tls_ready(self, endpoint_hash: bytes | None, now: float) -> list[Output]:
        """Begin anew under TLS; `endpoint_hash` as for the constructor."""
        negotiation = self._negotiation
        if negotiation is not None and negotiation.phase is Phase.TLS and not self._closed:
            negotiation.now = now
            negotiation.tls_ready(endpoint_hash)
            self.secure = True
        return []

    def credentials(self, found: ScramKeys | None, now: float) -> list[Output]:
        """Answer CredentialsNeeded; None for an account that does not exist."""
        return self._answer(lambda login: login.credentials(found))

    def password_checked(self, ok: bool, now: float) -> list[Output]:
        """Answer PasswordNeeded."""
        return self._answer(lambda login: login.password_checked(ok))

    def refused(self, condition: str, text: str = "") -> list[Output]:
        """Refuse a login at any of its questions, with a SASL condition (RFC 6120 §6.5)."""
        return self._answer(lambda login: login.refused(condition, text))

    def authorised(self) -> list[Output]:
        """Answer Authenticated: the client is in."""
        negotiation = self._negotiation
        return self._answer(negotiation.authorise) if negotiation is not None else []

    def _answer(self, answer: Callable[[Authentication], list[Output]]) -> list[Output]:
        negotiation = self._negotiation
        if negotiation is None or self._closed:
            return []
        return self._guard(partial(negotiation.answer_login, answer)) + self._go_on(negotiation)

    def bound(self, jid: Jid) -> list[Output]:
        """Answer BindRequested: this is the client's full address."""
        negotiation = self._end_binding()
        if negotiation is None:
            return []
        self._begin(jid)
        return [Write(features.bind_result(negotiation.bind_id, jid)), *self._go_on(negotiation)]

    def bind_failed(self, condition: str, text: str = "") -> list[Output]:
        """Answer BindRequested with a stanza error (RFC 6120 §7.7.2); the client may try again."""
        negotiation = self._end_binding()
        if negotiation is None:
            return []
        refusal = features.stanza_refusal("iq", negotiation.bind_id, None, condition, text)
        return [Write(refusal), *self._go_on(negotiation)]

    def resumed(self, jid: Jid, previd: str, h: int, again: Iterable[bytes] = ()) -> list[Output]:
        """Answer SmResumeRequested: the session goes on here; `again` are the stanzas to send once more."""
        negotiation = self._end_binding()
        if negotiation is None:
            return []
        self._begin(jid)
        self._sm = True
        return [Write(features.sm_resumed(previd, h) + b"".join(again)), *self._go_on(negotiation)]

    def resume_failed(self, condition: str = "item-not-found", h: int | None = None) -> list[Output]:
        """Answer SmResumeRequested: the client may bind. `h`: what of its session arrived, if known."""
        negotiation = self._end_binding()
        if negotiation is None:
            return []
        return [Write(features.sm_failed(condition, h)), *self._go_on(negotiation)]

    def _end_binding(self) -> Negotiation | None:
        negotiation = self._negotiation
        if negotiation is None or self._closed or not negotiation.is_binding:
            return None
        negotiation.is_binding = False
        return negotiation

    def _begin(self, jid: Jid) -> None:
        self.jid = self._own = jid
        self._negotiation = None

    def enabled(self, smid: str = "", max_seconds: int | None = None, resume: bool = False) -> list[Output]:
        """Answer SmEnableRequested; both sides count from here."""
        return [Write(features.sm_enabled(smid, max_seconds, resume))]

    def enable_failed(self, condition: str) -> list[Output]:
        """Answer SmEnableRequested with a stanza error condition."""
        self._sm = False
        return [Write(features.sm_failed(condition))]

    # The session.

    def _take(self, item: StreamItem) -> list[Output]:
        if isinstance(item, Stanza):
            return self._take_stanza(item)
        if isinstance(item, Element):
            handle = _ELEMENTS.get((item.ns, item.name))
            return handle(self, item) if handle else self.close("unsupported-stanza-type")
        if isinstance(item, BadStanza):
            return self._take_bad(item)
        if isinstance(item, StreamClosed):
            return [SessionEnded(), *self.close()]
        assert isinstance(item, StreamFault)  # a second header cannot be
        return self.close(item.condition, item.text)

    def _take_stanza(self, stanza: Stanza) -> list[Output]:
        own = self._bound
        if stanza.from_ is not None and stanza.from_.text not in (own.text, own.bare):
            return self.close("invalid-from", "That is not your address.")  # RFC 6120 §8.1.2.1
        stanza.from_ = own
        if stanza.kind == "iq" and stanza.type == "set":
            if stanza.has(ns.SESSION, "session"):  # RFC 3921 §3
                return [StanzaAnswered(features.iq_result(stanza.id or ""))]
            if stanza.has(ns.BIND, "bind"):  # one resource per stream
                return [StanzaAnswered(features.stanza_refusal("iq", stanza.id, None, "not-allowed"))]
        return [stanza]

    def _take_bad(self, bad: BadStanza) -> list[Output]:
        own = self._bound
        if bad.from_text not in (None, own.text, own.bare):
            return self.close("invalid-from", "That is not your address.")
        if bad.type == "error" or (bad.kind == "iq" and bad.type == "result"):
            return [StanzaAnswered(b"")]  # RFC 6120 §8.3.1: an error is never answered with one
        try:
            sender = parse(bad.to_text).text if bad.to_text else None
        except JidError:
            sender = None
        return [StanzaAnswered(features.stanza_refusal(bad.kind, bad.id, sender, bad.condition, bad.text))]

    def _request_enable(self, element: Element) -> list[Output]:
        if self._sm:
            return self._refuse_management(element)
        self._sm = True  # at once: an <r/> may stand in the same piece
        wanted = parse_h(element.get("max"))
        return [SmEnableRequested(element.get("resume") in ("true", "1"), wanted)]

    def _refuse_management(self, _element: Element) -> list[Output]:
        return [Write(features.sm_failed("unexpected-request"))]

    def _take_request(self, element: Element) -> list[Output]:
        return [_SM_REQUEST] if self._sm else self._refuse_management(element)

    def _take_ack(self, element: Element) -> list[Output]:
        if not self._sm:
            return self._refuse_management(element)
        h = parse_h(element.get("h"))
        return [SmAck(h)] if h is not None else self.close("bad-format", "That is no h.")

    def _take_state(self, element: Element) -> list[Output]:
        return [ClientState(element.name == "active")]


_ELEMENTS: dict[tuple[str, str], Callable[[C2sStream, Element], list[Output]]] = {
    (ns.SM, "enable"): C2sStream._request_enable,
    (ns.SM, "resume"): C2sStream._refuse_management,
    (ns.SM, "r"): C2sStream._take_request,
    (ns.SM, "a"): C2sStream._take_ack,
    (ns.CSI, "active"): C2sStream._take_state,
    (ns.CSI, "inactive"): C2sStream._take_state,
}
"""Which first-level element is taken in a session. Any other ends the stream (RFC 6120 §4.9.3.24)."""
