"""Settings that show at once to people who are signed in (facts §4.1).

Most settings are read when a stanza comes. These change what clients have been shown already; everybody
is gone through beside the loop's other work, a few at a time.
"""

import asyncio
from collections.abc import AsyncIterator

from ubiety.presence import fanout
from ubiety.stanza import Stanza
from ubiety.store.errors import StoreError
from ubiety.telemetry import event
from ubiety.users import availability, outside_presence, policy_changes
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.preferences import DEFAULT_BLOCK, SHARING_ENABLED

AT_ONCE = 20
"""People who are gone through between two turns of the loop."""


def watch(context: Context) -> None:
    """Have changes of these settings take effect from now on."""
    settings = context.settings

    def changed_sharing(_: object) -> None:
        context.spawn(share(context))

    def changed_default(_: object) -> None:
        context.spawn(apply_default(context))

    settings.watch(SHARING_ENABLED, changed_sharing)
    settings.watch(DEFAULT_BLOCK, changed_default)


async def share(context: Context) -> None:
    """Show everybody to those who may see them, or to nobody but themselves."""
    is_shared = context.settings.get(SHARING_ENABLED)
    async for user in _signed_in(context):
        if context.settings.get(SHARING_ENABLED) != is_shared:
            return  # changed again: whoever did that goes through everybody too
        for address_id in {*user.watchers, *(user.temporary or ())}:
            watcher = context.actors.get(address_id)
            if watcher is not None and watcher is not user and availability.may_see(user, watcher):
                availability.show_to(context, user, watcher, available=is_shared)
        if context.neighbours is not None:
            for session in user.available_sessions:
                tail = session.presence_tail if is_shared else fanout.UNAVAILABLE
                context.neighbours.show(user, session.jid, is_shared, tail)
        outside_presence.share(context, user)
        if not is_shared:
            _take_back_directed(context, user)


def _take_back_directed(context: Context, user: User) -> None:
    for session in user.sessions.values():
        directed, session.directed = session.directed, None
        for to in directed or ():
            context.router.route(Stanza("presence", to=to, from_=session.jid, type="unavailable"))


async def apply_default(context: Context) -> None:
    """Have the default policy hold for whoever has not chosen one."""
    try:
        async for user in _signed_in(context):
            stored = await policy_changes.load(context, user.person)
            policy_changes.take_over(context, user.person, stored)
    except StoreError as error:
        event("default_policy_not_applied", level="error", reason=str(error))


async def _signed_in(context: Context) -> AsyncIterator[User]:
    """Yield everybody who is loaded, giving way to others now and then."""
    for number, user in enumerate(list(context.actors.values())):
        if number % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0)
        yield user
