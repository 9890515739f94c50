"""How somebody left: when, and with which words (RFC 6121 §4.3.2, XEP-0012).

An actor keeps the tail of the last unavailable presence as it came; it is read when somebody asks, or when it
is written down, never while presence is passed on.
"""

from ubiety.element import escape_attribute, escape_text
from ubiety.jid import Jid
from ubiety.presence import devices, fanout
from ubiety.stanza import ChildName, Stanza
from ubiety.users.actor import User
from ubiety.users.stamps import format_stamp
from ubiety.xmpp import ns

MAX_TAIL = 8192
"""Bytes of an unavailable presence that are kept; the words of a longer one are forgotten."""


def note(user: User, at: float, tail: bytes) -> None:
    """The last client of ``user`` is not available any more."""
    user.left_at = at
    user.left_with = tail if b"<status" in tail and len(tail) <= MAX_TAIL else b""


def words(tail: bytes) -> str:
    """Return the status text of an unavailable presence."""
    return devices.read(tail, 0, 0.0).note if tail else ""


def tail_of(text: str) -> bytes:
    """Return the tail of an unavailable presence with this status text, for ``words``."""
    if not text:
        return b""
    status = Stanza("presence", type="unavailable", payload=_status(text))
    return fanout.tail(status)


def answer(user: User, to: Jid) -> Stanza:
    """Return what somebody who may see ``user`` is told while none of their clients is available."""
    payload = b""
    children: list[ChildName] = []
    text = words(user.left_with)
    if text:
        payload += _status(text)
        children.append((ns.CLIENT, "status"))
    if user.left_at:
        sender = escape_attribute(user.jid.bare)
        stamp = format_stamp(user.left_at)
        payload += f"<delay xmlns='{ns.DELAY}' from='{sender}' stamp='{stamp}'/>".encode()
        children.append((ns.DELAY, "delay"))
    return Stanza(
        "presence", to=to, from_=user.jid, type="unavailable", payload=payload, children=tuple(children)
    )


def _status(text: str) -> bytes:
    return f"<status>{escape_text(text)}</status>".encode()
