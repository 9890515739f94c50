"""Queries to a person's account or to the server: one table, one handler per question.

A feature hands over a list of ``Handler`` (who is asked, type, namespace, name, function); ``app.py``
puts the lists together. A handler returns the answer's payload, raises ``StanzaError``, or is a
coroutine function that does; then the client's later stanzas wait for it, so that order is kept.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from inspect import isawaitable

from ubiety.conditions import StanzaError
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Pending, Refused, Verdict, refuse
from ubiety.stanza import Stanza, make_result
from ubiety.store.errors import StoreError
from ubiety.telemetry import event
from ubiety.users.actor import User
from ubiety.users.context import Context


class Asked(Enum):
    """Who is asked."""

    OWN = "own account"  # by the person, with or without an address
    OTHER = "another person's account"
    HOST = "the server"


@dataclass(frozen=True, slots=True)
class Request:
    """One query. ``user`` is the asked account (None: the server), ``session`` the asking client if local."""

    context: Context
    user: User | None
    stanza: Stanza
    session: Session | None

    @property
    def account(self) -> User:
        """The asked account; only for handlers that are asked of accounts."""
        if self.user is None:
            raise StanzaError("service-unavailable")
        return self.user


Answer = bytes | None
"""The children of the result; None for an empty result."""
Function = Callable[[Request], Answer | Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Handler:
    """A question that is answered here."""

    asked: Asked
    type: str
    ns: str
    name: str
    function: Function
    in_line: bool = False
    """All that it does is a write, and what follows it."""


class Queries:
    """Finds and runs the handler of a query."""

    def __init__(self, context: Context, handlers: Iterable[Handler]) -> None:
        self._context = context
        self._handlers = {(h.asked, h.type, h.ns, h.name): h for h in handlers}

    def handle(self, asked: Asked, user: User | None, stanza: Stanza, session: Session | None) -> Verdict:
        """Answer a query; unknown ones are refused (RFC 6120 §8.4)."""
        if stanza.type not in ("get", "set"):
            return DELIVERED  # an answer that nobody waits for
        handler = self._find(asked, stanza)
        if handler is None:
            return refuse("service-unavailable")
        request = Request(self._context, user, stanza, session)
        try:
            answer = handler.function(request)
        except StanzaError as error:
            return Refused(error)
        if isawaitable(answer):
            pending = Pending()
            if session is not None:
                session.hold(pending, in_line=handler.in_line)
            self._context.spawn(self._await(request, answer, pending))
            return pending
        self._answer(request, answer)
        return DELIVERED

    def _find(self, asked: Asked, stanza: Stanza) -> Handler | None:
        if not stanza.children or stanza.type is None:
            return None
        ns, name = stanza.children[0]
        return self._handlers.get((asked, stanza.type, ns, name))

    def is_in_line(self, stanza: Stanza) -> bool:
        """Tell whether a query to the own account is answered by a write alone."""
        handler = self._find(Asked.OWN, stanza) if stanza.to is None else None
        return handler is not None and handler.in_line

    async def _await(self, request: Request, answer: Awaitable[Answer], pending: Pending) -> None:
        verdict: Verdict = DELIVERED
        try:
            self._answer(request, await answer)
        except StanzaError as error:
            verdict = Refused(error)
        except StoreError as error:
            event("query_failed", level="error", query=str(request.stanza.children[0]), reason=str(error))
            verdict = refuse("resource-constraint", "The database does not answer. Try again later.")
        except Exception:
            pending.settle(Refused(StanzaError("internal-server-error")))
            raise
        if not isinstance(verdict, Pending):
            pending.settle(verdict)

    def _answer(self, request: Request, payload: Answer) -> None:
        result = make_result(request.stanza, payload or b"")
        if request.session is not None:
            request.session.send(result.to_bytes())
        else:
            self._context.router.route(result)
