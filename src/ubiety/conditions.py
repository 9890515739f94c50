"""The failures that a peer can be told, in one table: what XMPP calls them and what it should do.

RFC 6120 §8.3.3 (stanza errors), §4.9.3 (stream errors), §6.5 (SASL failures). The answers of other
protocols to the same verdicts belong in this table too.
"""

from enum import Enum
from typing import Final

from ubiety.element import escape_text

NS_STANZA_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
NS_STREAM_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-streams"


class Condition(Enum):
    """A stanza error condition: its name on the wire and the type that it has by default."""

    BAD_REQUEST = ("bad-request", "modify")
    CONFLICT = ("conflict", "cancel")
    FEATURE_NOT_IMPLEMENTED = ("feature-not-implemented", "cancel")
    FORBIDDEN = ("forbidden", "auth")
    GONE = ("gone", "cancel")
    INTERNAL_SERVER_ERROR = ("internal-server-error", "cancel")
    ITEM_NOT_FOUND = ("item-not-found", "cancel")
    JID_MALFORMED = ("jid-malformed", "modify")
    NOT_ACCEPTABLE = ("not-acceptable", "modify")
    NOT_ALLOWED = ("not-allowed", "cancel")
    NOT_AUTHORIZED = ("not-authorized", "auth")
    POLICY_VIOLATION = ("policy-violation", "modify")
    RECIPIENT_UNAVAILABLE = ("recipient-unavailable", "wait")
    REDIRECT = ("redirect", "modify")
    REGISTRATION_REQUIRED = ("registration-required", "auth")
    REMOTE_SERVER_NOT_FOUND = ("remote-server-not-found", "cancel")
    REMOTE_SERVER_TIMEOUT = ("remote-server-timeout", "wait")
    RESOURCE_CONSTRAINT = ("resource-constraint", "wait")
    SERVICE_UNAVAILABLE = ("service-unavailable", "cancel")
    SUBSCRIPTION_REQUIRED = ("subscription-required", "auth")
    UNDEFINED_CONDITION = ("undefined-condition", "cancel")
    UNEXPECTED_REQUEST = ("unexpected-request", "wait")

    def __init__(self, wire_name: str, default_type: str) -> None:
        self.wire_name = wire_name
        self.default_type = default_type


STANZA_ERRORS: Final = {condition.wire_name: condition.default_type for condition in Condition}
ERROR_TYPES: Final = frozenset({"auth", "cancel", "continue", "modify", "wait"})

STREAM_ERRORS: Final = frozenset(
    {
        "bad-format",
        "bad-namespace-prefix",
        "conflict",
        "connection-timeout",
        "host-gone",
        "host-unknown",
        "improper-addressing",
        "internal-server-error",
        "invalid-from",
        "invalid-namespace",
        "invalid-xml",
        "not-authorized",
        "not-well-formed",
        "policy-violation",
        "remote-connection-failed",
        "reset",
        "resource-constraint",
        "restricted-xml",
        "see-other-host",
        "system-shutdown",
        "undefined-condition",
        "unsupported-encoding",
        "unsupported-feature",
        "unsupported-stanza-type",
        "unsupported-version",
    }
)

SASL_FAILURES: Final = frozenset(
    {
        "aborted",
        "account-disabled",
        "credentials-expired",
        "encryption-required",
        "incorrect-encoding",
        "invalid-authzid",
        "invalid-mechanism",
        "malformed-request",
        "mechanism-too-weak",
        "not-authorized",
        "temporary-auth-failure",
    }
)


class StanzaError(Exception):
    """A stanza is refused: the sender is told this condition, type and text (RFC 6120 §8.3).

    `extra` is an application-specific condition, ready-made XML.
    """

    def __init__(self, condition: str, text: str = "", type: str | None = None, extra: bytes = b"") -> None:
        super().__init__(f"{condition}: {text}" if text else condition)
        self.condition = condition
        self.type = type or STANZA_ERRORS[condition]
        self.text = text
        self.extra = extra


def error_bytes(condition: str, type: str | None = None, text: str = "", extra: bytes = b"") -> bytes:
    """Return `<error/>` for a stanza of the namespace jabber:client (RFC 6120 §8.3.2).

    Raises KeyError for a condition that is not in the table.
    """
    default_type = STANZA_ERRORS[condition]
    head = f"<error type='{type or default_type}'><{condition} xmlns='{NS_STANZA_ERRORS}'/>"
    return (head + _text(text, NS_STANZA_ERRORS)).encode() + extra + b"</error>"


def stream_error_bytes(condition: str, text: str = "") -> bytes:
    """Return `<stream:error/>` (RFC 6120 §4.9.2); raises KeyError for a condition that does not exist."""
    if condition not in STREAM_ERRORS:
        raise KeyError(condition)
    inner = f"<{condition} xmlns='{NS_STREAM_ERRORS}'/>{_text(text, NS_STREAM_ERRORS)}"
    return f"<stream:error>{inner}</stream:error>".encode()


def _text(text: str, ns: str) -> str:
    return f"<text xmlns='{ns}' xml:lang='en'>{escape_text(text)}</text>" if text else ""
