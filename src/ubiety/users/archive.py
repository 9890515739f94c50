"""A person's message history (XEP-0313): what is kept. Written in the ledger's batches, once per message."""

from ubiety.routing.sessions import Session
from ubiety.stanza import Stanza
from ubiety.store.batch import IN, OUT
from ubiety.store.ledger import ArchiveRow
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.preferences import ARCHIVE_ENABLED


def keep(
    context: Context, user: User, stanza: Stanza, origin: Session | None, number: int, data: bytes
) -> None:
    """Put a delivered message into the history of the recipient, and of the sender if they are ours."""
    if not context.settings.get(ARCHIVE_ENABLED):
        return
    sender = stanza.from_
    assert sender is not None
    now = context.clock.now()
    theirs = context.actors.get(origin.address_id) if origin is not None else None
    sender_id = theirs.person.address_id if theirs is not None else None
    user_id = user.person.user_id
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
    if theirs is not None and theirs is not user:
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
