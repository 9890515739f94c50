"""A person's phone as XMPP watchers see it: over the presence of each of their clients (``presence.cover``).

Only while the phone decides what the person is (``presence.compose``): whoever has chosen do not disturb, on
any device, is not shown to be on the phone. People without a phone that says anything pay one look into a
dictionary.
"""

from collections.abc import Callable

from ubiety.jid import Jid
from ubiety.presence import devices
from ubiety.presence.compose import phone_of
from ubiety.presence.cover import cover
from ubiety.presence.model import Device
from ubiety.routing.sessions import Session
from ubiety.users.actor import User
from ubiety.users.context import Context

Broadcast = Callable[[Context, User, Jid, bytes], None]


def own_tail(session: Session) -> bytes:
    """Return what a client has said itself."""
    return session.covered if session.covered is not None else session.presence_tail


def devices_of(user: User | None) -> tuple[Device, ...]:
    """Return what a person's clients have said themselves."""
    if user is None or not user.sessions:
        return ()
    return tuple(
        devices.read(own_tail(session), session.priority, session.connected_at)
        for session in user.sessions.values()
        if session.available
    )


def begin(context: Context, user: User, session: Session) -> None:
    """Cover what a client has just said, before anybody is shown it."""
    said = phone_of(context.sources.situation(user.person.user_id, devices_of(user)))
    if said is not None:
        session.covered = session.presence_tail
        session.presence_tail = cover(session.covered, said)


def follow(context: Context, user: User, broadcast: Broadcast) -> None:
    """Cover or uncover the presence of a person's clients, and show which have changed."""
    said = phone_of(context.sources.situation(user.person.user_id, devices_of(user)))
    for session in user.available_sessions:
        own = own_tail(session)
        tail = cover(own, said) if said is not None else own
        session.covered = own if said is not None else None
        if tail != session.presence_tail:
            session.presence_tail = tail
            broadcast(context, user, session.jid, tail)
