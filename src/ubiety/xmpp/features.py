"""What a client's stream offers and how it says so: configuration, stream header, features, small answers."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ubiety.conditions import SASL_FAILURES, error_bytes, stream_error_bytes
from ubiety.element import escape_attribute, escape_text
from ubiety.jid import Jid
from ubiety.xmpp import ns
from ubiety.xmpp.sasl import PLUS, SCRAM_MECHANISMS, TLS_SERVER_END_POINT
from ubiety.xmpp.xmlstream import Limits

STREAM_END = b"</stream:stream>"
_ERROR_END = b"</stream:error>"

PROCEED = f"<proceed xmlns='{ns.TLS}'/>".encode()


def _nothing(_domain: str) -> bytes:
    return b""


@dataclass(frozen=True, slots=True)
class C2sConfig:
    """What a client's stream needs to know."""

    domains: Callable[[str], bool]
    """Whether we serve this (prepared) domain."""
    default_domain: str
    """Stands in where the client names none."""
    secret: bytes = field(repr=False)
    """Random and kept: makes the salts of accounts that do not exist."""
    scram_iterations: int = 10_000
    """What real accounts have, for those that do not exist."""
    tls_available: bool = True
    """Offer STARTTLS on a connection without TLS."""
    tls_required: bool = True
    """Refuse authentication without TLS."""
    plus: bool = False
    """Offer SCRAM with channel binding (tls-server-end-point) where the certificate's hash is known."""
    registration: bool = False
    """Let in-band registration through before authentication (XEP-0077)."""
    extra_features: Callable[[str], bytes] = _nothing
    """More stream features after authentication for a domain, ready-made (entity capabilities ...)."""
    negotiation_timeout: float = 30.0
    """Seconds from the connection to the bound resource."""
    limits: Limits = field(default_factory=Limits)
    lang: str = "en"


def stream_header(domain: str, id: str, to: Jid | None = None, lang: str = "en") -> bytes:
    """Render the opening of our stream (RFC 6120 §4.7)."""
    answer_to = f" to='{to.bare_jid().xml}'" if to else ""
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}' "
        f"from='{escape_attribute(domain)}'{answer_to} id='{escape_attribute(id)}' "
        f"version='1.0' xml:lang='{lang}'>"
    ).encode()


def list_mechanisms(secure: bool, config: C2sConfig, endpoint_hash: bytes | None) -> list[str]:
    """List the SASL mechanisms for a connection, the best first; none where TLS must come first."""
    if not secure:
        return [] if config.tls_required else list(SCRAM_MECHANISMS)
    plus = [name + PLUS for name in SCRAM_MECHANISMS] if config.plus and endpoint_hash is not None else []
    return [*plus, *SCRAM_MECHANISMS, "PLAIN"]  # RFC 4616: PLAIN only under TLS


def login_features(secure: bool, config: C2sConfig, mechanisms: list[str]) -> bytes:
    """Render the features before authentication."""
    parts = []
    if not secure and config.tls_available:
        required = "<required/>" if config.tls_required else ""
        parts.append(f"<starttls xmlns='{ns.TLS}'>{required}</starttls>")
    if mechanisms:
        names = "".join(f"<mechanism>{name}</mechanism>" for name in mechanisms)
        parts.append(f"<mechanisms xmlns='{ns.SASL}'>{names}</mechanisms>")
        if mechanisms[0].endswith(PLUS):
            parts.append(_CHANNEL_BINDING)
        if config.registration:
            parts.append(f"<register xmlns='{ns.REGISTER_FEATURE}'/>")
    return f"<stream:features>{''.join(parts)}</stream:features>".encode()


# XEP-0440 §2
_CHANNEL_BINDING = (
    f"<sasl-channel-binding xmlns='{ns.SASL_CHANNEL_BINDING}'>"
    f"<channel-binding type='{TLS_SERVER_END_POINT}'/></sasl-channel-binding>"
)

_SESSION_FEATURES = (
    f"<stream:features><bind xmlns='{ns.BIND}'><required/></bind>"
    f"<session xmlns='{ns.SESSION}'><optional/></session>"
    f"<sm xmlns='{ns.SM}'/><csi xmlns='{ns.CSI}'/><ver xmlns='{ns.ROSTER_VERSIONING}'/>"
    f"<sub xmlns='{ns.PRE_APPROVAL}'/>"
).encode()


def session_features(domain: str, config: C2sConfig) -> bytes:
    """Render the features after authentication."""
    return _SESSION_FEATURES + config.extra_features(domain) + b"</stream:features>"


def stream_error(condition: str, text: str = "", extra: bytes = b"") -> bytes:
    """Render a stream error; `extra` is an application-specific condition (RFC 6120 §4.9.4)."""
    return stream_error_bytes(condition, text).removesuffix(_ERROR_END) + extra + _ERROR_END


def redirection(host: str) -> bytes:
    """Render the stream error that names another host to go to (RFC 6120 §4.9.3.19)."""
    where = f"<see-other-host xmlns='{ns.STREAM_ERRORS}'>{escape_text(host)}</see-other-host>"
    return f"<stream:error>{where}</stream:error>".encode()


def sasl_failure(condition: str, text: str = "") -> bytes:
    """Render `<failure/>` (RFC 6120 §6.4.5); raises KeyError for a condition that does not exist."""
    if condition not in SASL_FAILURES:
        raise KeyError(condition)
    reason = f"<text xml:lang='en'>{escape_text(text)}</text>" if text else ""
    return f"<failure xmlns='{ns.SASL}'><{condition}/>{reason}</failure>".encode()


def iq_result(id: str, payload: bytes = b"") -> bytes:
    """Render the result of an iq that the stream itself answers."""
    return f"<iq type='result' id='{escape_attribute(id)}'>".encode() + payload + b"</iq>"


def bind_result(id: str, jid: Jid) -> bytes:
    """Render the result of resource binding (RFC 6120 §7.6.1)."""
    return iq_result(id, f"<bind xmlns='{ns.BIND}'><jid>{escape_text(jid.text)}</jid></bind>".encode())


def stanza_refusal(kind: str, id: str | None, sender: str | None, condition: str, text: str = "") -> bytes:
    """Render the error for a stanza that never became one; `sender` is whom it was for, if anybody."""
    head = f"<{kind} type='error'"
    if id is not None:
        head += f" id='{escape_attribute(id)}'"
    if sender is not None:
        head += f" from='{escape_attribute(sender)}'"
    return f"{head}>".encode() + error_bytes(condition, text=text) + f"</{kind}>".encode()


def sm_enabled(smid: str, max_seconds: int | None, resume: bool) -> bytes:
    """Render `<enabled/>` (XEP-0198 §3)."""
    if not resume:
        return f"<enabled xmlns='{ns.SM}'/>".encode()
    limit = f" max='{max_seconds}'" if max_seconds is not None else ""
    return f"<enabled xmlns='{ns.SM}' id='{escape_attribute(smid)}' resume='true'{limit}/>".encode()


def sm_resumed(previd: str, h: int) -> bytes:
    """Render `<resumed/>` (XEP-0198 §5)."""
    return f"<resumed xmlns='{ns.SM}' previd='{escape_attribute(previd)}' h='{h}'/>".encode()


def sm_failed(condition: str, h: int | None = None) -> bytes:
    """Render `<failed/>`; with `h` the client knows what of its last session arrived (XEP-0198 §5)."""
    handled = f" h='{h}'" if h is not None else ""
    return f"<failed xmlns='{ns.SM}'{handled}><{condition} xmlns='{ns.STANZA_ERRORS}'/></failed>".encode()
