"""One table between XMPP's error conditions and SIP's final answers (RFC 7247 §7, RFC 7572 §7, RFC 8048 §8).

It goes both ways: `TO_SIP` is what a SIP peer is answered for a verdict of ours, `FROM_SIP` what our people
are told of a peer's answer.
"""

from typing import Final

from ubiety.conditions import STANZA_ERRORS, StanzaError

TO_SIP: Final[dict[str, int]] = {
    "bad-request": 400,
    "conflict": 400,
    "feature-not-implemented": 501,
    "forbidden": 403,
    "gone": 410,
    "internal-server-error": 500,
    "item-not-found": 404,
    "jid-malformed": 484,
    "not-acceptable": 406,
    "not-allowed": 403,
    "not-authorized": 403,  # 401 would ask for a login that there is none for
    "policy-violation": 403,
    "recipient-unavailable": 480,
    "redirect": 302,
    "registration-required": 407,
    "remote-server-not-found": 404,
    "remote-server-timeout": 408,
    "resource-constraint": 503,  # to be tried again: RFC 3261 §21.5.4
    "service-unavailable": 480,
    "subscription-required": 403,
    "undefined-condition": 500,
    "unexpected-request": 491,
}

FROM_SIP: Final[dict[int, str]] = {
    300: "redirect",
    301: "gone",
    302: "redirect",
    305: "redirect",
    380: "not-acceptable",
    400: "bad-request",
    401: "not-authorized",
    402: "not-acceptable",
    403: "forbidden",
    404: "item-not-found",
    405: "feature-not-implemented",
    406: "not-acceptable",
    407: "registration-required",
    408: "remote-server-timeout",
    410: "gone",
    413: "policy-violation",
    414: "policy-violation",
    415: "not-acceptable",
    416: "not-acceptable",
    420: "feature-not-implemented",
    421: "not-acceptable",
    423: "resource-constraint",
    430: "recipient-unavailable",
    439: "feature-not-implemented",
    440: "policy-violation",
    480: "recipient-unavailable",
    481: "item-not-found",
    482: "item-not-found",  # our request came back: in a shared domain that is somebody whom nobody has
    483: "not-acceptable",
    484: "item-not-found",
    485: "item-not-found",
    486: "recipient-unavailable",
    487: "recipient-unavailable",
    488: "not-acceptable",
    489: "feature-not-implemented",
    491: "unexpected-request",
    493: "bad-request",
    500: "internal-server-error",
    501: "feature-not-implemented",
    502: "remote-server-not-found",
    503: "resource-constraint",
    504: "remote-server-timeout",
    505: "not-acceptable",
    513: "policy-violation",
    600: "recipient-unavailable",
    603: "recipient-unavailable",
    604: "item-not-found",
    606: "not-acceptable",
}

CLASSES: Final[dict[int, str]] = {
    3: "redirect",
    4: "bad-request",
    5: "internal-server-error",
    6: "recipient-unavailable",
}
"""What an answer means that is not listed (RFC 3261 §8.1.3.2: as the x00 of its class)."""


SAID: Final[dict[int | None, str]] = {
    None: "the other side did not answer",
    403: "the other side does not allow it",
    404: "nobody has this address",
    408: "the other side did not answer",
    415: "the other side does not take this kind of content",
    480: "cannot be reached now",
    482: "nobody has this address",
    486: "is busy and takes no conversation",
    503: "the other side cannot take it now",
    600: "is busy and takes no conversation",
    603: "has declined the conversation",
    604: "nobody has this address",
}
"""What an answer means, for the people who read it in their client."""


def status_of(condition: str) -> int:
    """Return the SIP status for a condition; raises KeyError for one that does not exist."""
    return TO_SIP[condition]


def condition_of(status: int | None) -> str:
    """Return the condition for a final answer that is no success; `status` None: nobody answered."""
    if status is None:
        return "remote-server-timeout"
    return FROM_SIP.get(status) or CLASSES[status // 100]


def error_of(status: int | None, reason: str = "") -> StanzaError:
    """Return the error that the sender of a stanza is told; `reason` is the answer's phrase."""
    condition = condition_of(status)
    assert condition in STANZA_ERRORS
    said, answer = SAID.get(status, ""), "" if status is None else f"{status} {reason}".strip()
    return StanzaError(condition, f"{said} ({answer})" if said and answer else said or answer)
