"""The requests and answers of a conversation over SIP as they are written and read. Pure.

MS-SIP and MS-CONFIM: `ms-text-format` carries the first message of a conversation in its INVITE, and who has
taken it answers `Supported: ms-text-format`.
"""

from typing import Final

from ubiety.gateway.addresses import sip_of
from ubiety.gateway.stack import MARK
from ubiety.jid import Jid
from ubiety.sip import imtext, sdp
from ubiety.sip.imtext import Body
from ubiety.sip.message import Message, Request, Response, make_request, make_response
from ubiety.sip.uri import NameAddr, SipUri

ALLOWED: Final = "INVITE, ACK, CANCEL, BYE, MESSAGE, INFO, OPTIONS"
TEXT_FORMAT: Final = "ms-text-format"
MULTIPARTY: Final = "com.microsoft.rtc-multiparty"
MAX_ENDPOINTS: Final = 2
GROUP_WARNING: Final = '399 ubiety "Group chat with people of this side is not possible"'
OUR_HEADERS: Final = (("User-Agent", MARK),)


def where(contact: str) -> tuple[str, int]:
    """Return the host and port of our Contact, as a session description names them."""
    uri = NameAddr.parse(contact).uri
    assert isinstance(uri, SipUri)
    return uri.host, uri.port or 5060


def make_invite(ours: Jid, theirs: Jid, call_id: str, tag: str, contact: str, first: str) -> Request:
    """Return the INVITE that opens a conversation; `first` is the value of `ms-text-format` or ""."""
    host, port = where(contact)
    headers = [("Allow", ALLOWED), *OUR_HEADERS]
    if first:
        headers += [("Supported", TEXT_FORMAT), (TEXT_FORMAT, first)]
    to = sip_of(theirs)
    return make_request(
        "INVITE",
        to,
        f"<{sip_of(ours)}>;tag={tag}",
        f"<{to}>",
        call_id,
        1,
        contact=contact,
        headers=headers,
        content_type=sdp.CONTENT_TYPE,
        body=sdp.offer(host, port),
    )


def make_page(ours: Jid, theirs: Jid, call_id: str, tag: str, text: str) -> Request:
    """Return a MESSAGE outside of dialogs (RFC 3428 §4)."""
    content_type, body = imtext.write(text)
    to = sip_of(theirs)
    from_ = f"<{sip_of(ours)}>;tag={tag}"
    return make_request(
        "MESSAGE", to, from_, f"<{to}>", call_id, 1, headers=OUR_HEADERS, content_type=content_type, body=body
    )


def judge_invite(request: Request) -> sdp.Description | Response | None:
    """Return what an INVITE offers, None if it wants us to offer, or the answer that refuses it."""
    required = request.headers.values("require")
    if required:  # RFC 3261 §8.2.2.3: we know no extension that must be understood
        headers = [("Unsupported", name) for name in required]
        if MULTIPARTY in (name.lower() for name in required):
            headers.append(("Warning", GROUP_WARNING))
        return make_response(request, 420, headers=headers)
    endpoints = request.headers.get("endpoints")
    if endpoints is not None and endpoints.lower().count("sip:") > MAX_ENDPOINTS:
        return make_response(request, 488, headers=(("Warning", GROUP_WARNING),))
    if not request.body:
        return None
    if request.content_type != sdp.CONTENT_TYPE:
        return make_response(request, 415, headers=(("Accept", sdp.CONTENT_TYPE),))
    try:
        description = sdp.parse(request.body)
        sdp.answer(description, "", 0)
    except sdp.SdpError as error:
        return make_response(request, 488, headers=(("Warning", f'304 ubiety "{error}"'),))
    return description


def first_of(request: Request) -> str | None:
    """Return the message that an INVITE carries."""
    header = request.headers.get(TEXT_FORMAT)
    text = imtext.read_first(header) if header is not None else None
    return text.plain if text is not None else None


def has_taken_first(response: Response) -> bool:
    """Tell whether the other side says that it took the message in our INVITE."""
    return TEXT_FORMAT in (name.lower() for name in response.headers.values("supported"))


def accept(
    request: Request, tag: str, contact: str, offered: sdp.Description | None, took_first: bool
) -> Response:
    """Return the 200 to an INVITE, the first or a later one."""
    host, port = where(contact)
    headers = [("Contact", contact), ("Allow", ALLOWED), ("Server", MARK)]
    if took_first:
        headers.append(("Supported", TEXT_FORMAT))
    body = sdp.offer(host, port) if offered is None else sdp.answer(offered, host, port)
    return make_response(request, 200, to_tag=tag, headers=headers, content_type=sdp.CONTENT_TYPE, body=body)


def answer(request: Request, status: int, tag: str) -> Response:
    """Return any other answer."""
    headers = []
    if status == 415:
        headers.append(("Accept", ", ".join(imtext.ACCEPTED)))  # RFC 3261 §21.4.13
    elif status in (500, 503):
        headers.append(("Retry-After", "5"))  # RFC 3261 §14.2, §21.5.4
    elif status == 405:
        headers.append(("Allow", ALLOWED))
    return make_response(request, status, to_tag=tag, headers=headers)


def body_of(message: Message) -> Body:
    """Return what a MESSAGE or INFO says."""
    return imtext.read(message.content_type, message.content_params, message.body)
