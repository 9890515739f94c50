"""The "Cisco XCP Router" as a service: stopped, nobody has a session; messages are kept for later."""

import asyncio
from contextlib import suppress

from ubiety.store.errors import StoreError
from ubiety.users.context import Context
from ubiety.users.service import Users

TEXT = "The router of this server was stopped."
FLUSH_SECONDS = 5.0
AT_ONCE = 50


async def start(context: Context) -> None:
    """Route again."""
    context.router.open()


async def stop(context: Context, users: Users) -> None:
    """End all sessions, also suspended ones and those of clients at other nodes; then route nothing."""
    for number, user in enumerate(list(context.actors.values())):
        for session in list(user.sessions.values()):
            edge = session.edge
            users.end(session)
            if edge is not None:
                edge.close("system-shutdown", TEXT)
        if number % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0)
    context.router.close()
    with suppress(StoreError, TimeoutError):  # without a database it waits in the ledger, as ever
        await asyncio.wait_for(context.ledger.flush(), FLUSH_SECONDS)
