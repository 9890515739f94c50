"""One client's stream, from its first byte to its last (RFC 6120): bytes and time in, outputs out, no I/O.

Phases::

    OPENING --header--> LOGIN --starttls--> TLS --tls_ready--> OPENING
                          |--SASL: authorised--> OPENING --header--> BINDING --bound, resumed--> SESSION
    any --close, fault, time-out--> CLOSED

In SESSION `receive` is the server's hot path: it stamps `from` and hands on what `XmlStream` found.
"""

from collections.abc import Callable, Iterable
from enum import Enum

from ubiety.element import Element
from ubiety.jid import Jid, JidError, parse
from ubiety.stanza import Stanza
from ubiety.xmpp import features, ns
from ubiety.xmpp.authentication import Authentication
from ubiety.xmpp.features import C2sConfig
from ubiety.xmpp.outputs import (
    BindRequested,
    ClientState,
    Close,
    Output,
    RegistrationRequested,
    SessionEnded,
    SmAck,
    SmEnableRequested,
    SmRequest,
    SmResumeRequested,
    StanzaAnswered,
    StartTls,
    Write,
)
from ubiety.xmpp.sasl import ScramKeys
from ubiety.xmpp.smacks import parse_h
from ubiety.xmpp.xmlstream import BadStanza, StreamClosed, StreamFault, StreamItem, StreamOpened, XmlStream


class Phase(Enum):
    """Where a stream is in its life."""

    OPENING = "opening"
    LOGIN = "login"
    TLS = "tls"
    BINDING = "binding"
    SESSION = "session"
    CLOSED = "closed"


_OWN_IQ = frozenset({ns.SESSION, ns.BIND})  # iqs that the stream answers in SESSION

_SM_REQUEST = SmRequest()


class C2sStream:
    """Negotiates and then guards one client's stream. `secure` is True for direct TLS.

    `ids` gives random printable ASCII without commas, at least 128 bits: stream ids and SASL nonces.
    """

    def __init__(
        self,
        config: C2sConfig,
        ids: Callable[[], str],
        now: float,
        secure: bool = False,
        endpoint_hash: bytes | None = None,
    ) -> None:
        self._config = config
        self._ids = ids
        self._xml = XmlStream(config.limits, config.lang)
        self._deadline = now + config.negotiation_timeout
        self._now = now
        self._endpoint_hash = endpoint_hash
        self._login: Authentication | None = Authentication(config, ids)
        self._header_sent = False
        self._authenticated = False
        self._waiting = False  # for the driver's answer to BindRequested or SmResumeRequested
        self._bind_id = ""
        self._backlog: list[StreamItem] = []  # parsed, and held while we wait
        self._held = b""  # not parsed, likewise
        self._own: Jid | None = None  # set in SESSION only: what every stanza is from
        self._sm = False
        self.secure = secure
        self.phase = Phase.OPENING
        self.domain = config.default_domain
        """The domain that the client opened its stream to."""
        self.username = ""
        """Local part of the account, once authenticated."""
        self.jid: Jid | None = None
        """The full address, once bound."""

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

    def tick(self, now: float) -> list[Output]:
        """Act on the time when `deadline` has passed."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return []
        return self.close("connection-timeout", "The stream was not negotiated in time.")

    def deadline(self) -> float | None:
        """When `tick` wants to be called: a bound on the whole negotiation."""
        return None if self.phase in (Phase.SESSION, Phase.CLOSED) else self._deadline

    def close(self, condition: str | None = None, text: str = "", extra: bytes = b"") -> list[Output]:
        """End the stream, with a stream error if a condition is given (RFC 6120 §4.9)."""
        if self.phase is Phase.CLOSED:
            return []
        data = b"" if self._header_sent else self._render_header(None)
        if condition is not None:
            data += features.stream_error(condition, text, extra)
        in_handshake = self.phase is Phase.TLS
        self._own = None
        self.phase = Phase.CLOSED
        self._backlog, self._held = [], b""
        self._xml.close()
        # In the midst of a handshake nothing can be said.
        return [Close()] if in_handshake else [Write(data + features.STREAM_END), Close()]

    def release(self) -> bool:
        """Let the parser go while the stream is idle, to save memory. Return whether it could."""
        return self._xml.release()

    # What is parsed.

    def _negotiate(self, data: bytes, now: float) -> list[Output]:
        self._now = now
        if self.phase in (Phase.CLOSED, Phase.TLS):
            return []
        if not self.is_waiting:
            return self._sort(self._xml.feed(data, now))
        self._held += data
        limits = self._config.limits
        if len(self._held) > (
            limits.stanza_bytes if self._authenticated else limits.stanza_bytes_before_auth
        ):
            return self.close("policy-violation", "Too much was sent ahead of an answer.")
        return []

    @property
    def is_waiting(self) -> bool:
        """Whether input is held until the driver has answered."""
        return self._waiting or (self._login is not None and self._login.is_waiting)

    def _sort(self, items: list[StreamItem]) -> list[Output]:
        """Take items one by one, until something changes what the rest would mean."""
        outputs: list[Output] = []
        for place, item in enumerate(items):
            if self.is_waiting:
                self._backlog = items[place:]
                break
            outputs += self._take(item)
            # Whatever stands behind <starttls/> in the clear was put there by somebody else.
            if self.phase in (Phase.TLS, Phase.CLOSED):
                break
        return outputs

    def _go_on(self) -> list[Output]:
        """Take what was held while we waited."""
        items, self._backlog = self._backlog, []
        outputs = self._sort(items)
        if self._held and not self.is_waiting and self.phase is not Phase.CLOSED:
            data, self._held = self._held, b""
            outputs += self.receive(data, self._now)
        return outputs

    def _take(self, item: StreamItem) -> list[Output]:
        if isinstance(item, Stanza):
            return self._take_stanza(item)
        if isinstance(item, Element):
            handle = _ELEMENTS.get((self.phase, item.ns, item.name))
            return handle(self, item) if handle else self._refuse_element()
        if isinstance(item, BadStanza):
            return self._take_bad(item)
        if isinstance(item, StreamOpened):
            return self._open(item)
        if isinstance(item, StreamClosed):
            ended: list[Output] = [SessionEnded()] if self.phase is Phase.SESSION else []
            return ended + self.close()
        assert isinstance(item, StreamFault)
        return self.close(item.condition, item.text)

    def _refuse_element(self) -> list[Output]:
        if self.phase is Phase.SESSION:
            return self.close("unsupported-stanza-type")  # RFC 6120 §4.9.3.24
        return self.close("not-authorized", "Authenticate and bind a resource first.")  # §4.9.3.12

    # The header.

    def _open(self, item: StreamOpened) -> list[Output]:
        major, _, minor = (item.version or "0.9").partition(".")
        if not (major.isascii() and major.isdigit() and minor.isdigit() and int(major[:9]) >= 1):
            return self.close("unsupported-version", "XMPP 1.0 is spoken here.")  # RFC 6120 §4.7.5
        try:
            domain = parse(item.to).text if item.to else self.domain
        except JidError:
            return self.close("improper-addressing")
        if not self._config.domains(domain) or (self._authenticated and domain != self.domain):
            return self.close("host-unknown")
        self.domain = domain
        self._header_sent = True
        header = self._render_header(item.from_)
        if self._login is None:
            self.phase = Phase.BINDING
            return [Write(header + features.session_features(domain, self._config))]
        self.phase = Phase.LOGIN
        self._login.open(domain, self.secure, self._endpoint_hash)
        return [Write(header + features.login_features(self.secure, self._config, self._login.mechanisms))]

    def _render_header(self, client: str | None) -> bytes:
        try:
            to = parse(client) if client else None
        except JidError:
            to = None
        return features.stream_header(self.domain, self._ids(), to, self._config.lang)

    def _restart(self) -> None:
        self._xml.reset()
        self._header_sent = False
        self.phase = Phase.OPENING

    # TLS.

    def _start_tls(self, _element: Element) -> list[Output]:
        if self.secure or not self._config.tls_available:
            failure = f"<failure xmlns='{ns.TLS}'/>".encode()  # RFC 6120 §5.4.2.2
            return [Write(failure + features.STREAM_END), *self.close()[1:]]
        self.phase = Phase.TLS
        return [Write(features.PROCEED), StartTls()]

    def tls_ready(self, endpoint_hash: bytes | None, now: float) -> list[Output]:
        """Begin anew under TLS; `endpoint_hash` is its tls-server-end-point (RFC 5929 §4), if known."""
        if self.phase is Phase.TLS:
            self._now = now
            self.secure = True
            self._endpoint_hash = endpoint_hash
            self._restart()
        return []

    # SASL.

    def _authenticate(self, element: Element) -> list[Output]:
        assert self._login is not None  # in LOGIN
        return self._check_failures(self._login.take(element))

    def _check_failures(self, outputs: list[Output]) -> list[Output]:
        if self._login is not None and self._login.is_exhausted:
            outputs += self.close("policy-violation", "Too many failed attempts.")
        return outputs

    def _answer_login(self, answer: Callable[[Authentication], list[Output]]) -> list[Output]:
        """Hand the driver's answer to the exchange; too late an answer is void."""
        if self.phase is not Phase.LOGIN or self._login is None or not self._login.is_waiting:
            return []
        outputs = self._check_failures(answer(self._login))
        return outputs + self._go_on()

    def credentials(self, found: ScramKeys | None, now: float) -> list[Output]:
        """Answer CredentialsNeeded; None for an account that does not exist."""
        self._now = now
        return self._answer_login(lambda login: login.credentials(found))

    def password_checked(self, ok: bool, now: float) -> list[Output]:
        """Answer PasswordNeeded."""
        self._now = now
        return self._answer_login(lambda login: login.password_checked(ok))

    def refused(self, condition: str, text: str = "") -> list[Output]:
        """Refuse a login at any of its questions, with a SASL condition (RFC 6120 §6.5)."""
        return self._answer_login(lambda login: login.refused(condition, text))

    def authorised(self) -> list[Output]:
        """Answer Authenticated: the client is in."""
        return self._answer_login(self._let_in)

    def _let_in(self, login: Authentication) -> list[Output]:
        self.username = login.username
        self._authenticated = True
        self._login = None
        self._backlog = []  # what came before <success/> belongs to no stream any more
        self._restart()
        self._xml.authenticated()
        return [Write(login.success())]

    # Binding.

    def _take_stanza(self, stanza: Stanza) -> list[Output]:
        if self._own is not None:
            return self._take_from_session(stanza)
        if self.phase is Phase.LOGIN and self._is_registration(stanza):
            return [RegistrationRequested(stanza, self.domain)]
        if self.phase is Phase.BINDING and stanza.type == "set":
            bind = stanza.child(ns.BIND, "bind")
            if bind is not None:
                return self._request_bind(stanza, bind)
        return self._refuse_element()

    def _is_registration(self, stanza: Stanza) -> bool:
        protected = self.secure or not self._config.tls_required
        return self._config.registration and protected and stanza.has(ns.REGISTER, "query")

    def _request_bind(self, stanza: Stanza, bind: Element) -> list[Output]:
        self._waiting = True
        self._bind_id = stanza.id or ""
        wanted = bind.find("resource")
        return [BindRequested((wanted.text or None) if wanted is not None else None)]

    def bound(self, jid: Jid) -> list[Output]:
        """Answer BindRequested: this is the client's full address."""
        if not self._waiting:
            return []
        self._begin(jid)
        return [Write(features.bind_result(self._bind_id, jid)), *self._go_on()]

    def bind_failed(self, condition: str, text: str = "") -> list[Output]:
        """Answer BindRequested with a stanza error (RFC 6120 §7.7.2); the client may try again."""
        if not self._waiting:
            return []
        self._waiting = False
        refusal = features.stanza_refusal("iq", self._bind_id, None, condition, text)
        return [Write(refusal), *self._go_on()]

    def _begin(self, jid: Jid) -> None:
        self._waiting = False
        self.phase = Phase.SESSION
        self.jid = self._own = jid

    # The session.

    def _take_from_session(self, stanza: Stanza) -> list[Output]:
        from_ = stanza.from_
        own = self._own
        assert own is not None
        if from_ is not None and from_.text not in (own.text, own.bare):
            return self.close("invalid-from", "That is not your address.")  # RFC 6120 §8.1.2.1
        stanza.from_ = own
        if stanza.kind == "iq" and stanza.type == "set":
            if stanza.has(ns.SESSION, "session"):  # RFC 3921 §3
                return [StanzaAnswered(features.iq_result(stanza.id or ""))]
            if stanza.has(ns.BIND, "bind"):  # one resource per stream
                return [StanzaAnswered(features.stanza_refusal("iq", stanza.id, None, "not-allowed"))]
        return [stanza]

    def _take_bad(self, bad: BadStanza) -> list[Output]:
        own = self._own
        if own is None and not (self.phase is Phase.BINDING and bad.kind == "iq"):
            return self._refuse_element()
        if own is not None and bad.from_text not in (None, own.text, own.bare):
            return self.close("invalid-from", "That is not your address.")
        # RFC 6120 §8.3.1: an error is never answered with one.
        is_final = bad.type == "error" or (bad.kind == "iq" and bad.type == "result")
        refusal = b"" if is_final else self._render_refusal(bad)
        return [StanzaAnswered(refusal) if own is not None else Write(refusal)]

    @staticmethod
    def _render_refusal(bad: BadStanza) -> bytes:
        try:
            sender = parse(bad.to_text).text if bad.to_text else None
        except JidError:
            sender = None
        return features.stanza_refusal(bad.kind, bad.id, sender, bad.condition, bad.text)

    # Stream management (XEP-0198) and client state (XEP-0352).

    def _request_enable(self, element: Element) -> list[Output]:
        if self._sm:
            return self.enable_failed("unexpected-request")
        wanted = parse_h(element.get("max"))
        return [SmEnableRequested(element.get("resume") in ("true", "1"), wanted)]

    def enabled(self, smid: str = "", max_seconds: int | None = None, resume: bool = False) -> list[Output]:
        """Answer SmEnableRequested; both sides count from here."""
        self._sm = True
        return [Write(features.sm_enabled(smid, max_seconds, resume))]

    def enable_failed(self, condition: str) -> list[Output]:
        """Answer SmEnableRequested with a stanza error condition."""
        return [Write(features.sm_failed(condition))]

    def _request_resume(self, element: Element) -> list[Output]:
        previd, h = element.get("previd"), parse_h(element.get("h"))
        if not previd or h is None:
            return [Write(features.sm_failed("bad-request"))]
        self._waiting = True
        return [SmResumeRequested(previd, h)]

    def resumed(self, jid: Jid, previd: str, h: int, again: Iterable[bytes] = ()) -> list[Output]:
        """Answer SmResumeRequested: the session goes on here; `again` are the stanzas to send once more."""
        if not self._waiting:
            return []
        self._begin(jid)
        self._sm = True
        return [Write(features.sm_resumed(previd, h) + b"".join(again)), *self._go_on()]

    def resume_failed(self, condition: str = "item-not-found", h: int | None = None) -> list[Output]:
        """Answer SmResumeRequested: the client may bind instead; `h`: what of its session arrived, if known."""
        if not self._waiting:
            return []
        self._waiting = False
        return [Write(features.sm_failed(condition, h)), *self._go_on()]

    def _refuse_management(self, _element: Element) -> list[Output]:
        return [Write(features.sm_failed("unexpected-request"))]

    def _take_request(self, element: Element) -> list[Output]:
        return [_SM_REQUEST] if self._sm else self._refuse_management(element)

    def _take_ack(self, element: Element) -> list[Output]:
        if not self._sm:
            return self._refuse_management(element)
        h = parse_h(element.get("h"))
        return [SmAck(h)] if h is not None else self.close("bad-format", "That is no h.")

    def _take_active(self, _element: Element) -> list[Output]:
        return [ClientState(True)]

    def _take_inactive(self, _element: Element) -> list[Output]:
        return [ClientState(False)]


_ELEMENTS: dict[tuple[Phase, str, str], Callable[[C2sStream, Element], list[Output]]] = {
    (Phase.LOGIN, ns.TLS, "starttls"): C2sStream._start_tls,
    (Phase.LOGIN, ns.SASL, "auth"): C2sStream._authenticate,
    (Phase.LOGIN, ns.SASL, "response"): C2sStream._authenticate,
    (Phase.LOGIN, ns.SASL, "abort"): C2sStream._authenticate,
    (Phase.BINDING, ns.SM, "resume"): C2sStream._request_resume,
    (Phase.BINDING, ns.SM, "enable"): C2sStream._refuse_management,
    (Phase.SESSION, ns.SM, "enable"): C2sStream._request_enable,
    (Phase.SESSION, ns.SM, "resume"): C2sStream._refuse_management,
    (Phase.SESSION, ns.SM, "r"): C2sStream._take_request,
    (Phase.SESSION, ns.SM, "a"): C2sStream._take_ack,
    (Phase.SESSION, ns.CSI, "active"): C2sStream._take_active,
    (Phase.SESSION, ns.CSI, "inactive"): C2sStream._take_inactive,
}
"""Which first-level element is taken in which phase, and by whom. Any other ends the stream."""
