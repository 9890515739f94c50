"""A person's message history (XEP-0313): what is kept. Written in the ledger's batches, once per message.

What clients ask of it is in ``archive_query``, what people want kept in ``archive_prefs``.
"""

from ubiety.routing.sessions import Session
from ubiety.stanza import Stanza
from ubiety.store.archive_prefs import Prefs
from ubiety.store.batch import IN, OUT
from ubiety.store.ledger import ArchiveRow
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.preferences import ARCHIVE_ENABLED


def keep(
    context: Context, user: User, stanza: Stanza, origin: Session | None, number: int, data: bytes
) -> None:
    """Put a delivered message into the history of the recipient, and of the sender if they are ours.

    Without the origin id: a repeat after a crash must not pass for delivered because of its history alone.
    """
    if not context.settings.get(ARCHIVE_ENABLED):
        return
    sender = stanza.from_
    assert sender is not None
    now = context.clock.now()
    theirs = context.actors.get(origin.address_id) if origin is not None else None
    sender_id = theirs.person.address_id if theirs is not None else None
    user_id = user.person.user_id
    prefs = user.archive_prefs
    if prefs is None or wants(prefs, user, sender_id, sender.bare):
        context.ledger.archive(
            ArchiveRow(
                user_id,
                number,
                number,
                IN,
                now,
                data,
                sender_id,
                sender.bare,
                sender.resource,
                sender_id,
                user_id,
            )
        )
    if theirs is None or theirs is user:
        return
    prefs = theirs.archive_prefs
    if prefs is None or wants(prefs, theirs, user.person.address_id, user.jid.bare):
        resource = stanza.to.resource if stanza.to is not None else ""
        context.ledger.archive(
            ArchiveRow(
                theirs.person.user_id,
                number,
                number,
                OUT,
                now,
                data,
                user.person.address_id,
                "",
                resource,
                sender_id,
                user_id,
            )
        )


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
