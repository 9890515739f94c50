"""The server itself as an address: queries to a bare domain (RFC 6120 §10.3.1, §10.5.2)."""

from ubiety.jid import Jid
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Verdict, refuse
from ubiety.stanza import Stanza
from ubiety.users.context import Context
from ubiety.users.iq import Asked, Queries


class Host:
    """The route to our own domains."""

    def __init__(self, context: Context, queries: Queries) -> None:
        self._context = context
        self._queries = queries

    def claims(self, address: Jid) -> bool:
        """A domain of ours without a person."""
        return not address.local and address.domain in self._context.homes.domains

    def route(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Answer a query, take messages that a feature is there for; the server takes no presence."""
        if stanza.kind == "iq":
            if stanza.type in ("result", "error"):
                self._context.hooks.answered(stanza)
                return DELIVERED
            return self._queries.handle(Asked.HOST, None, stanza, origin)
        if stanza.kind == "presence":
            return DELIVERED
        hook = self._context.hooks.message(stanza)
        return hook(stanza, origin) if hook is not None else refuse("service-unavailable")
