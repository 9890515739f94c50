"""Accounts made and passwords changed by clients (XEP-0077); making is off by default."""

from collections.abc import Awaitable, Callable, Sequence

from ubiety.conditions import StanzaError
from ubiety.stanza import Stanza, make_error
from ubiety.users.context import Context


class Registration:
    """Answers registration queries before login."""

    def __init__(self, context: Context, changed: Callable[[Sequence[int]], Awaitable[None]]) -> None:
        self._context = context
        self._changed = changed

    async def register(self, address: str, stanza: Stanza, domain: str) -> bytes:
        """Answer a registration query that came before login."""
        return make_error(stanza, StanzaError("not-allowed")).to_bytes()
