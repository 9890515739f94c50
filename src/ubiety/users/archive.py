"""A person's message history (XEP-0313): what is kept. Written in the ledger's batches, once per message.

What clients ask of it is in ``archive_query``, what people want kept in ``archive_prefs``.
"""

from ubiety.routing.homes import Person
from ubiety.routing.remote_home import RemoteOrigin
from ubiety.routing.sessions import Session
from ubiety.stanza import Stanza
from ubiety.store import archive as rows
from ubiety.store.archive_prefs import Prefs
from ubiety.store.batch import IN, OUT
from ubiety.store.ledger import ArchiveRow
from ubiety.telemetry import event
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.preferences import ARCHIVE_DAYS, ARCHIVE_ENABLED

DAY = 86_400.0


def keep(
    context: Context,
    user: User,
    stanza: Stanza,
    origin: Session | RemoteOrigin | None,
    number: int,
    data: bytes,
) -> None:
    """Put a delivered message into the history of the recipient, and of the sender if their client is ours.

    Without the origin id: a repeat after a crash must not pass for delivered because of its history alone.
    """
    if not context.settings.get(ARCHIVE_ENABLED):
        return
    now = context.clock.now()
    sender_id = origin.address_id or None if origin is not None else None
    keep_received(context, user, stanza, sender_id, number, data, now)
    theirs = context.actors.get(origin.address_id) if isinstance(origin, Session) else None
    if theirs is not None and theirs is not user:
        _keep_sent(context, theirs, user.person, stanza, number, data, now)


def keep_received(
    context: Context,
    user: User,
    stanza: Stanza,
    sender_id: int | None,
    number: int,
    data: bytes,
    stamp: float,
) -> None:
    """Put a message into the history of its recipient."""
    sender = stanza.from_
    assert sender is not None
    prefs = user.archive_prefs
    if prefs is not None and not wants(prefs, user, sender_id, sender.bare):
        return
    user_id = user.person.user_id
    context.ledger.archive(
        ArchiveRow(
            user_id,
            number,
            number,
            IN,
            stamp,
            data,
            sender_id,
            sender.bare,
            sender.resource,
            sender_id,
            user_id,
        )
    )


def keep_sent(
    context: Context, sender: User, recipient: Person, stanza: Stanza, number: int, stamp: float
) -> None:
    """Put a message to somebody whom another node serves into the history of its sender."""
    if context.settings.get(ARCHIVE_ENABLED):
        _keep_sent(context, sender, recipient, stanza, number, stanza.to_bytes(), stamp)


def keep_sent_outside(
    context: Context, sender: User, stanza: Stanza, number: int, data: bytes, stamp: float
) -> None:
    """Put a message to somebody outside into the history of its sender."""
    to, prefs = stanza.to, sender.archive_prefs
    assert to is not None
    if not context.settings.get(ARCHIVE_ENABLED):
        return
    if prefs is not None and not wants(prefs, sender, None, to.bare):
        return
    user_id, sender_id = sender.person.user_id, sender.person.address_id
    context.ledger.archive(
        ArchiveRow(user_id, number, number, OUT, stamp, data, None, to.bare, to.resource, sender_id)
    )


def _keep_sent(
    context: Context,
    sender: User,
    recipient: Person,
    stanza: Stanza,
    number: int,
    data: bytes,
    stamp: float,
) -> None:
    prefs = sender.archive_prefs
    if prefs is not None and not wants(prefs, sender, recipient.address_id, recipient.jid.bare):
        return
    context.ledger.archive(
        ArchiveRow(
            sender.person.user_id,
            number,
            number,
            OUT,
            stamp,
            data,
            recipient.address_id,
            "",
            stanza.to.resource if stanza.to is not None else "",
            sender.person.address_id,
            recipient.user_id,
        )
    )


async def expire(context: Context) -> int:
    """Drop from all histories what is older than histories are kept; returns how much. Raises StoreError.

    In small steps, each a write of its own. What still waits to be delivered is delivered all the same.
    """
    days = context.settings.get(ARCHIVE_DAYS)
    before, removed = context.clock.now() - days * DAY, 0
    after: int | None = 0 if days else None
    while after is not None:
        step = await context.database.write(rows.expire, before, after)
        removed, after = removed + step.removed, step.after
    if removed:
        event("history_expired", messages=removed, days=days)
    return removed


def wants(prefs: Prefs, owner: User, peer_id: int | None, peer: str) -> bool:
    """Tell whether a message with ``peer`` is to be kept for somebody who has wishes (XEP-0313 §5)."""
    if peer_id in prefs.never or (peer_id is None and peer in prefs.never.values()):
        return False
    if peer_id in prefs.always or (peer_id is None and peer in prefs.always.values()):
        return True
    if prefs.default_action == "roster":
        # In memory an actor has only whom it watches and who watches it; that is what counts here.
        return peer_id is not None and (peer_id in owner.watched or peer_id in owner.watchers)
    return prefs.default_action == "always"
