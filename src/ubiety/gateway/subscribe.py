"""What a SUBSCRIBE for presence must be like before anybody is asked (RFC 6665 §4.2.1, RFC 3856 §6). Pure."""

from dataclasses import dataclass
from typing import Final

from ubiety.sip.message import Request, Response, make_response
from ubiety.sip.pidf import CPIM_PIDF, PIDF
from ubiety.sip.syntax import SipSyntaxError

PACKAGE: Final = "presence"
DEFAULT_EXPIRES: Final = 3600  # RFC 3856 §6.4
MIN_EXPIRES: Final = 60
MAX_EXPIRES: Final = 86_400


@dataclass(frozen=True, slots=True)
class Terms:
    """What a SUBSCRIBE that is accepted asks for."""

    expires: int
    """Seconds, 0 to end or only to look; not more than is granted."""
    event: str
    content_type: str


def judge(request: Request) -> Terms | Response:
    """Return what a SUBSCRIBE asks for, or the answer with which it is refused."""
    try:
        found = request.event
        expires = request.expires
        contact = request.contact
    except SipSyntaxError as error:
        return make_response(request, error.status)
    if found is None or found.package != PACKAGE:
        return make_response(request, 489, headers=(("Allow-Events", PACKAGE),))  # RFC 6665 §4.2.1.1
    content_type = acceptable(request)
    if content_type is None:
        return make_response(request, 406, headers=(("Accept", PIDF),))
    if contact is None:
        return make_response(request, 400, "Missing Contact")  # RFC 3261 §12.1.1
    expires = DEFAULT_EXPIRES if expires is None else min(expires, MAX_EXPIRES)
    if 0 < expires < MIN_EXPIRES:
        return make_response(request, 423, headers=(("Min-Expires", str(MIN_EXPIRES)),))
    id = found.params.get("id")
    return Terms(expires, f"{PACKAGE};id={id}" if id else PACKAGE, content_type)


def acceptable(request: Request) -> str | None:
    """Return the type of presence document to send, None if the watcher understands none of ours.

    Without an Accept header it is PIDF (RFC 3856 §6.7).
    """
    ranges = [value.partition(";")[0].strip().lower() for value in request.headers.values("accept")]
    if not ranges or not {PIDF, "*/*", "application/*"}.isdisjoint(ranges):
        return PIDF
    return CPIM_PIDF if CPIM_PIDF in ranges else None
