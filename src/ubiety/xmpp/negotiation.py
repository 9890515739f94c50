"""A client's stream until a resource is bound (RFC 6120 §4 to §7): header, STARTTLS, SASL, bind or resume.

Owned by `c2s.C2sStream`, and dropped when the session begins. Phases::

    OPENING --header--> LOGIN --starttls--> TLS --tls_ready--> OPENING
                          |--SASL, authorised--> OPENING --header--> BINDING --bound, resumed--> (session)
"""

from collections.abc import Callable
from enum import Enum
from typing import NoReturn

from ubiety.element import Element
from ubiety.jid import JidError, parse
from ubiety.stanza import Stanza
from ubiety.xmpp import features, ns
from ubiety.xmpp.authentication import Authentication, Question
from ubiety.xmpp.features import C2sConfig
from ubiety.xmpp.outputs import (
    BindRequested,
    Output,
    RegistrationRequested,
    SmResumeRequested,
    StartTls,
    Write,
)
from ubiety.xmpp.smacks import parse_h
from ubiety.xmpp.xmlstream import BadStanza, StreamFault, StreamItem, StreamOpened, XmlStream


class Phase(Enum):
    """Where a stream is in its life."""

    OPENING = "opening"
    LOGIN = "login"
    TLS = "tls"
    BINDING = "binding"
    SESSION = "session"
    CLOSED = "closed"


class NegotiationFailed(Exception):
    """The stream must end: with this stream error (None: in order), after these outputs."""

    def __init__(self, condition: str | None, text: str = "", outputs: list[Output] | None = None) -> None:
        super().__init__(condition, text)
        self.condition = condition
        self.text = text
        self.outputs = outputs or []


class Negotiation:
    """Takes what `XmlStream` finds before the session, one by one. Raises NegotiationFailed."""

    __slots__ = (
        "_authenticated", "_config", "_endpoint_hash", "_ids", "_login", "_xml", "backlog", "bind_id",
        "deadline", "domain", "header_sent", "held", "is_binding", "now", "phase", "secure", "username",
    )  # fmt: skip

    def __init__(
        self,
        config: C2sConfig,
        ids: Callable[[], str],
        xml: XmlStream,
        now: float,
        secure: bool,
        endpoint_hash: bytes | None,
    ) -> None:
        self._config = config
        self._ids = ids
        self._xml = xml
        self._endpoint_hash = endpoint_hash
        self._login = Authentication(config, ids)
        self._authenticated = False
        self.now = now
        self.deadline = now + config.negotiation_timeout
        self.phase = Phase.OPENING
        self.secure = secure
        self.domain = config.default_domain
        self.username = ""
        self.header_sent = False
        self.is_binding = False
        """Whether the driver owes `bound` or `resumed`."""
        self.bind_id = ""
        self.backlog: list[StreamItem] = []
        """Parsed, and held while we wait for the driver."""
        self.held = b""
        """Not parsed yet, likewise."""

    @property
    def is_waiting(self) -> bool:
        """Whether input is held until the driver has answered."""
        return self.is_binding or self._login.asked is not None

    def hold(self, data: bytes) -> None:
        """Keep bytes for later, up to the size of a stanza."""
        self.held += data
        limits = self._config.limits
        if len(self.held) > (limits.stanza_bytes if self._authenticated else limits.stanza_bytes_before_auth):
            raise NegotiationFailed("policy-violation", "Too much was sent ahead of an answer.")

    def take(self, item: StreamItem) -> list[Output]:
        """Take one item."""
        if isinstance(item, Stanza):
            return self._take_stanza(item)
        if isinstance(item, Element):
            handle = _ELEMENTS.get((self.phase, item.ns, item.name))
            return handle(self, item) if handle else _refuse()
        if isinstance(item, StreamOpened):
            return self._open(item)
        if isinstance(item, BadStanza):
            if self.phase is Phase.BINDING and item.kind == "iq" and item.type not in ("result", "error"):
                return [Write(features.stanza_refusal("iq", item.id, None, item.condition, item.text))]
            return _refuse()
        if isinstance(item, StreamFault):
            raise NegotiationFailed(item.condition, item.text)
        raise NegotiationFailed(None)  # StreamClosed

    # The header.

    def _open(self, item: StreamOpened) -> list[Output]:
        if not _is_version_known(item.version):
            raise NegotiationFailed("unsupported-version", "XMPP 1.0 is spoken here.")
        try:
            domain = parse(item.to).text if item.to else self.domain
        except JidError:
            raise NegotiationFailed("improper-addressing", "Your stream is to nobody.") from None
        if not self._config.domains(domain) or (self._authenticated and domain != self.domain):
            raise NegotiationFailed("host-unknown", "This stream cannot be to that domain.")
        self.domain = domain
        self.header_sent = True
        return [Write(self.render_header(item.from_) + self._begin_phase())]

    def _begin_phase(self) -> bytes:
        """Enter the phase that follows a header; return its features."""
        if self._authenticated:
            self.phase = Phase.BINDING
            return features.session_features(self.domain, self._config)
        self.phase = Phase.LOGIN
        self._login.open(self.domain, self.secure, self._endpoint_hash)
        return features.login_features(self.secure, self._config, self._login.mechanisms)

    def render_header(self, client: str | None = None) -> bytes:
        """Render our stream header; `client` is whom the client says it is."""
        try:
            to = parse(client) if client else None
        except JidError:
            to = None
        return features.stream_header(self.domain, self._ids(), to, self._config.lang)

    def _restart(self) -> None:
        self._xml.reset()
        self.header_sent = False
        self.phase = Phase.OPENING

    # TLS.

    def _start_tls(self, _element: Element) -> list[Output]:
        if self.secure or not self._config.tls_available:
            # RFC 6120 §5.4.2.2: a failure, and the end of the stream.
            raise NegotiationFailed(None, outputs=[Write(f"<failure xmlns='{ns.TLS}'/>".encode())])
        self.phase = Phase.TLS
        return [Write(features.PROCEED), StartTls()]

    def tls_ready(self, endpoint_hash: bytes | None) -> None:
        """Begin anew under TLS."""
        self.secure = True
        self._endpoint_hash = endpoint_hash
        self._restart()

    # SASL.

    def _authenticate(self, element: Element) -> list[Output]:
        return self._check_failures(self._login.take(element))

    def answer_login(self, answer: Callable[[Authentication], list[Output]]) -> list[Output]:
        """Hand the driver's answer to the exchange."""
        return self._check_failures(answer(self._login))

    def _check_failures(self, outputs: list[Output]) -> list[Output]:
        if self._login.is_exhausted:
            raise NegotiationFailed("policy-violation", "Too many failed attempts.", outputs)
        return outputs

    def authorise(self, login: Authentication) -> list[Output]:
        """Let the client in."""
        if login.asked is not Question.AUTHORISATION:
            return []
        self.username = login.username
        success = login.succeed()
        self._authenticated = True
        self.backlog = []  # what came before <success/> belongs to no stream any more
        self._restart()
        self._xml.authenticated()
        return [Write(success)]

    # Binding.

    def _take_stanza(self, stanza: Stanza) -> list[Output]:
        if self.phase is Phase.LOGIN and self._is_registration(stanza):
            return [RegistrationRequested(stanza, self.domain)]
        if self.phase is Phase.BINDING and stanza.type == "set":
            bind = stanza.child(ns.BIND, "bind")
            if bind is not None:
                return self._request_bind(stanza, bind)
        return _refuse()

    def _is_registration(self, stanza: Stanza) -> bool:
        protected = self.secure or not self._config.tls_required
        return self._config.registration and protected and stanza.has(ns.REGISTER, "query")

    def _request_bind(self, stanza: Stanza, bind: Element) -> list[Output]:
        self.is_binding = True
        self.bind_id = stanza.id or ""
        wanted = bind.find("resource")
        return [BindRequested((wanted.text or None) if wanted is not None else None)]

    def _request_resume(self, element: Element) -> list[Output]:
        previd, h = element.get("previd"), parse_h(element.get("h"))
        if not previd or h is None:
            return [Write(features.sm_failed("bad-request"))]
        self.is_binding = True
        return [SmResumeRequested(previd, h)]

    def _refuse_enable(self, _element: Element) -> list[Output]:
        return [Write(features.sm_failed("unexpected-request"))]  # XEP-0198 §3: not before binding


def _is_version_known(version: str | None) -> bool:
    # RFC 6120 §4.7.5: none means 0.9, which is refused; a later one is answered with 1.0.
    major, dot, minor = (version or "0.9").partition(".")
    digits = major + minor
    return bool(dot and major and minor) and digits.isascii() and digits.isdigit() and major.strip("0") != ""


def _refuse() -> NoReturn:
    raise NegotiationFailed("not-authorized", "Authenticate and bind a resource first.")  # §4.9.3.12


_ELEMENTS: dict[tuple[Phase, str, str], Callable[[Negotiation, Element], list[Output]]] = {
    (Phase.LOGIN, ns.TLS, "starttls"): Negotiation._start_tls,
    (Phase.LOGIN, ns.SASL, "auth"): Negotiation._authenticate,
    (Phase.LOGIN, ns.SASL, "response"): Negotiation._authenticate,
    (Phase.LOGIN, ns.SASL, "abort"): Negotiation._authenticate,
    (Phase.BINDING, ns.SM, "resume"): Negotiation._request_resume,
    (Phase.BINDING, ns.SM, "enable"): Negotiation._refuse_enable,
}
"""Which first-level element is taken in which phase. Any other ends the stream."""
