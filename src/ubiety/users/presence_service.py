"""The "Cisco Presence Engine" as a service: stopped, it shows nobody's changes; started, all that was missed.

While it does not run, people keep seeing what they saw last. Messages, contact lists and a person's own
devices are not its affair.
"""

import asyncio

from ubiety.telemetry import event
from ubiety.users import availability, outside_presence
from ubiety.users.context import Context
from ubiety.users.setting_effects import AT_ONCE


async def start(context: Context) -> None:
    """Distribute presence from now on. What changed meanwhile is shown beside the loop's other work."""
    if context.engine.runs:
        return
    context.engine.runs = True
    if context.neighbours is not None:
        context.neighbours.resync()
    context.spawn(_resync(context))


async def stop(context: Context) -> None:
    """Distribute no presence from now on."""
    context.engine.runs = False


async def _resync(context: Context) -> None:
    shown = 0
    for jid, (user, tail) in context.engine.take_missed().items():
        availability.broadcast(context, user, jid, tail)
        shown = await _breathe(shown)
    for user in list(context.actors.values()):
        if not context.engine.runs:
            return  # stopped again: whoever starts it shows everybody
        outside_presence.resume(context, user)
        for session in list(user.sessions.values()):
            if session.available:
                availability.broadcast(context, user, session.jid, session.presence_tail)
                shown = await _breathe(shown)
    event("presence_resynced", sessions=shown)


async def _breathe(shown: int) -> int:
    if shown % AT_ONCE == AT_ONCE - 1:
        await asyncio.sleep(0)  # the loop carries messages of others too
    return shown + 1
