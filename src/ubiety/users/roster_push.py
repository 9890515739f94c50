"""Contacts as clients are shown them: rendered items and roster pushes (RFC 6121 §2.1)."""

from collections.abc import Iterable

from ubiety.element import escape_attribute, escape_text
from ubiety.store import roster as rows
from ubiety.users.actor import User
from ubiety.users.subscriptions import NAMES
from ubiety.xmpp import ns


def render(item: rows.Item) -> str:
    """Return ``<item/>`` (RFC 6121 §2.1.2)."""
    attributes = f" jid='{escape_attribute(item.jid)}'"
    if item.name:
        attributes += f" name='{escape_attribute(item.name)}'"
    attributes += f" subscription='{NAMES[item.subscription]}'"
    if item.flags & rows.ASK:
        attributes += " ask='subscribe'"
    if item.flags & rows.APPROVED:
        attributes += " approved='true'"
    groups = "".join(f"<group>{escape_text(name)}</group>" for name in item.groups)
    return f"<item{attributes}>{groups}</item>" if groups else f"<item{attributes}/>"


def removed(jid: str) -> str:
    """Return the ``<item/>`` of a contact that is gone (RFC 6121 §2.5.2)."""
    return f"<item jid='{escape_attribute(jid)}' subscription='remove'/>"


def push(user: User, items: Iterable[str]) -> None:
    """Send a roster push to every client that asked for the roster (RFC 6121 §2.1.6)."""
    for item in items:
        query = f"<query xmlns='{ns.ROSTER}' ver='{user.roster_version}'>{item}</query></iq>"
        for session in user.sessions.values():
            if session.interested:
                head = f"<iq type='set' id='push-{user.roster_version}' to='{session.jid.xml}'>"
                session.send((head + query).encode())
