"""Microsoft's offer and answer for an IM session (RFC 4566, RFC 3264; the media type is Microsoft's own).

There is no media: ``m=message 5060 sip null`` says that messages travel in the SIP dialog itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ubiety.sip.imtext import ACCEPTED

CONTENT_TYPE: Final = "application/sdp"
MESSAGE_MEDIA: Final = frozenset({"message", "x-ms-message"})  # the latter: Live Communications Server 2005
MAX_MEDIA: Final = 16


class SdpError(ValueError):
    """A description cannot be understood, or offers no instant messages: 488 (RFC 3261 §13.3.1.3)."""


@dataclass(frozen=True, slots=True)
class Media:
    """One ``m=`` line. ``port`` 0: it is refused. ``accepts``: the content types of ``a=accept-types``."""

    kind: str
    port: int
    protocol: str
    formats: str
    accepts: tuple[str, ...] = ()

    @property
    def is_message(self) -> bool:
        """Whether it is an IM session that can be had."""
        return self.kind in MESSAGE_MEDIA and self.port > 0


@dataclass(frozen=True, slots=True)
class Description:
    """What a description says that matters here."""

    media: tuple[Media, ...]

    @property
    def message(self) -> Media | None:
        """The IM session, if it has one."""
        return next((media for media in self.media if media.is_message), None)


def parse(body: bytes) -> Description:
    """Read a description. Raises SdpError."""
    lines = body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    if not lines[0].startswith("v=0"):
        raise SdpError("a session description begins with v=0")
    media: list[Media] = []
    for line in lines:
        if line.startswith("m="):
            if len(media) == MAX_MEDIA:
                raise SdpError("too many media")
            media.append(_parse_media(line[2:]))
        elif line.startswith("a=accept-types:") and media:
            last = media[-1]
            accepts = tuple(line[len("a=accept-types:") :].lower().split())
            media[-1] = Media(last.kind, last.port, last.protocol, last.formats, accepts)
    return Description(tuple(media))


def _parse_media(value: str) -> Media:
    fields = value.split(None, 3)
    port = fields[1].partition("/")[0] if len(fields) > 2 else ""
    if not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise SdpError(f"m={value[:60]} is not a medium")
    return Media(fields[0].lower(), int(port), fields[2], fields[3] if len(fields) > 3 else "")


def offer(host: str, port: int, user: str = "") -> bytes:
    """Return our offer of an IM session: the address of our listener, and our person if OPTIONS asks."""
    formats = f"sip sip:{user}" if user else "sip null"
    return _write(host, (f"m=message {port} {formats}",))


def answer(offered: Description, host: str, port: int) -> bytes:
    """Return the answer to an offer: the first IM session is taken, every other medium refused.

    Raises SdpError when there is no IM session in it. RFC 3264 §6: as many ``m=`` lines as the offer has.
    """
    taken = offered.message
    if taken is None:
        raise SdpError("no instant messages are offered")
    lines = []
    for media in offered.media:
        if media is taken:
            lines.append(f"m={media.kind} {port} {media.protocol} {media.formats or 'null'}")
        else:
            lines.append(f"m={media.kind} 0 {media.protocol} {media.formats}".rstrip())
    return _write(host, lines)


def _write(host: str, media: Sequence[str]) -> bytes:
    version = "IP6" if ":" in host else "IP4"
    address = f"IN {version} {host.strip('[]')}"
    lines = ["v=0", f"o=- 0 0 {address}", "s=session", f"c={address}", "t=0 0"]
    for line in media:
        lines.append(line)
        if line.split()[1] != "0":
            lines.append(f"a=accept-types:{' '.join(ACCEPTED)}")
    return "".join(f"{line}\r\n" for line in lines).encode()
