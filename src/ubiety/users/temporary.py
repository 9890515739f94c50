"""Temporary subscriptions: looking at somebody who is not a contact, for a while (facts §4.1, §4.2).

Kept in memory only. Who is looked at holds the watchers with their expiry; who looks holds whom, so
that all of it goes when they sign out.
"""

from collections.abc import Iterator

from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.preferences import AUTO_AUTHORIZE, TEMPORARY_ENABLED, TEMPORARY_MAX, TEMPORARY_SECONDS


def are_on(context: Context) -> bool:
    """Tell whether people may look at others at all: not where everybody is to be asked first."""
    return context.settings.get(TEMPORARY_ENABLED) and context.settings.get(AUTO_AUTHORIZE)


def begin(context: Context, user: User, address_id: int) -> bool:
    """Let somebody look at ``user``, or for longer; False when that is turned off or too many do."""
    if not are_on(context):
        return False
    counters = context.counters
    watchers = user.temporary if user.temporary is not None else {}
    if address_id not in watchers:
        limit = context.settings.get(TEMPORARY_MAX)
        if limit and counters.temporary_subscriptions >= limit:
            return False
        counters.temporary_subscriptions += 1
        counters.temporary_added += 1
    watchers[address_id] = context.clock.monotonic() + context.settings.get(TEMPORARY_SECONDS)
    user.temporary = watchers
    watcher = context.actors.get(address_id)
    if watcher is not None:
        if watcher.looks_at is None:
            watcher.looks_at = set()
        watcher.looks_at.add(user.person.address_id)
    context.looked_at[user.person.address_id] = user
    return True


def end(context: Context, user: User, address_id: int) -> None:
    """End one, if there is one."""
    if not user.temporary or user.temporary.pop(address_id, None) is None:
        return
    context.counters.temporary_subscriptions -= 1
    context.counters.temporary_removed += 1
    watcher = context.actors.get(address_id)
    if watcher is not None and watcher.looks_at is not None:
        watcher.looks_at.discard(user.person.address_id)
    if not user.temporary:
        context.looked_at.pop(user.person.address_id, None)


def end_all(context: Context, user: User) -> None:
    """End all looks of ``user``, who has signed out."""
    for address_id in list(user.looks_at or ()):
        seen = context.looked_at.get(address_id)
        if seen is not None:
            end(context, seen, user.person.address_id)
    if user.looks_at and context.neighbours is not None:
        context.neighbours.end_looks(user, user.looks_at)


def expired(context: Context) -> Iterator[tuple[User, int]]:
    """Yield whom somebody looked at until now, with the address id of who did, and end that."""
    now, is_off = context.clock.monotonic(), not are_on(context)
    for user in list(context.looked_at.values()):
        for address_id, expiry in list((user.temporary or {}).items()):
            if expiry <= now or is_off:
                end(context, user, address_id)
                yield user, address_id
