"""The bodies of a conversation as Microsoft clients write and read them: SDP, texts, keyboard activity."""

import base64
import binascii

from ubiety.lab.connection import PORTS

SDP = "application/sdp"
KEYBOARD = "application/xml"
PLAIN = "text/plain"
UNDERSTOOD = frozenset({PLAIN, "text/html", "text/rtf", "multipart/alternative", "multipart/related"})
"""Types of MESSAGE that a client shows; what else comes is answered 415."""
ACCEPTED = (
    "text/plain text/html image/gif multipart/alternative application/im-iscomposing+xml"
    " application/ms-imdn+xml text/x-msmsgsinvite"
)
_FORMAT = "X-MMS-IM-Format: FN=MS%20Sans%20Serif; EF=; CO=0; CS=0; PF=0\r\n\r\n"


def write_sdp(host: str, port: int = 0) -> bytes:
    """The session description of an IM conversation: no media, only `m=message`."""
    family = "IP6" if ":" in host else "IP4"
    lines = (
        "v=0",
        f"o=- 0 0 IN {family} {host}",
        "s=session",
        f"c=IN {family} {host}",
        "t=0 0",
        f"m=message {port or PORTS['tcp']} sip null",
        f"a=accept-types:{ACCEPTED}",
        "",
    )
    return "\r\n".join(lines).encode()


def offers_messages(body: bytes) -> bool:
    """Whether an offer has a message line that is not refused by port 0."""
    for line in body.decode("utf-8", "replace").splitlines():
        kind, _, rest = line.strip().partition("=")
        media = rest.split()
        if kind == "m" and media and media[0] in ("message", "x-ms-message"):
            return len(media) < 2 or media[1] != "0"
    return False


def format_parameter() -> str:
    """The font that Microsoft clients send with a text, as the `msgr` parameter."""
    packed = base64.b64encode(_FORMAT.encode("utf-16-le")).decode().rstrip("=")
    return f"msgr={packed}"


def text_type() -> str:
    """The Content-Type of a text."""
    return f"{PLAIN}; charset=UTF-8;{format_parameter()}"


def first_message(text: str) -> str:
    """The `ms-text-format` header: the first message within the INVITE."""
    return f"{text_type()};ms-body={base64.b64encode(text.encode()).decode()}"


def read_first_message(value: str) -> str | None:
    """The text in an `ms-text-format` header; None if it has none that can be read."""
    packed = next(
        (part.strip()[8:] for part in value.split(";") if part.strip().lower().startswith("ms-body=")), ""
    )
    try:
        return base64.b64decode(packed, validate=True).decode() if packed else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def write_keyboard(is_typing: bool) -> bytes:
    """The body of the INFO that tells whether somebody types."""
    status = "type" if is_typing else "idle"
    return f'<?xml version="1.0"?><KeyboardActivity> <status status="{status}" /></KeyboardActivity>'.encode()


def read_keyboard(body: bytes) -> bool | None:
    """Whether the other side types; None if the body is something else."""
    text = body.decode("utf-8", "replace")
    if "KeyboardActivity" not in text:
        return None
    if 'status="type"' in text or "status='type'" in text:
        return True
    return False if 'status="idle"' in text or "status='idle'" in text else None
