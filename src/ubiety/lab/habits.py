"""Simulated people who answer by themselves, so that a rehearsal has somebody to talk to."""

import asyncio

from ubiety.lab.client import Client
from ubiety.lab.journal import Entry, MessageSeen

THINKS, TYPES = 0.5, 1.5
"""Seconds before somebody begins to type, and until the answer is written."""


def answers(client: Client, entry: Entry) -> None:
    """Has a person who answers IMs begin with it."""
    if client.person.plan.answers and isinstance(entry, MessageSeen):
        client.home.spawn(_answer(client, entry))


async def _answer(client: Client, message: MessageSeen) -> None:
    await asyncio.sleep(THINKS)
    await client.typing(message.peer)
    await asyncio.sleep(TYPES)
    await client.typing(message.peer, False)
    await client.send(message.peer, f"{client.person.name} here. You wrote: {message.text}")
