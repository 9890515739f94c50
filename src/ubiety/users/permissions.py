"""Who may ask an account for what: one place for all features."""

from ubiety.conditions import StanzaError
from ubiety.jid import Jid
from ubiety.routing.homes import Person
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.iq import Request


def asker(request: Request) -> Jid:
    """Return who asks: every query that reaches an account has a sender."""
    sender = request.stanza.from_
    if sender is None:
        raise StanzaError("bad-request", "The query has no sender.")
    return sender


def is_welcome(user: User, sender: Jid) -> bool:
    """Tell whether ``user``'s policy lets ``sender`` reach them (XEP-0191 §3.2)."""
    return sender.bare == user.jid.bare or user.policy is None or user.policy.allows(sender)


def is_watcher(context: Context, user: User, sender: Jid) -> bool:
    """Tell whether ``sender`` may see the presence of ``user``: subscribed, and not blocked."""
    if sender.bare == user.jid.bare:
        return True
    person = context.homes.find(sender.bare)
    return person is not None and is_subscribed(user, person) and is_welcome(user, sender)


def is_subscribed(user: User, person: Person) -> bool:
    """Tell whether ``person`` is subscribed to the presence of ``user``."""
    return person.address_id in user.watchers


def require_welcome(request: Request) -> User:
    """Return the asked account. Raises service-unavailable for whom its owner has blocked."""
    if not is_welcome(request.account, asker(request)):
        raise StanzaError("service-unavailable")  # XEP-0191 §3.2: as if nobody were there
    return request.account


def require_watcher(request: Request, condition: str = "forbidden") -> User:
    """Return the asked account. Raises ``condition`` for whom may not see its owner's presence."""
    user = require_welcome(request)
    if not is_watcher(request.context, user, asker(request)):
        raise StanzaError(condition)
    return user
