"""Phones' presence, published by Unified CM for lines of our people (RFC 3903; facts §4.4).

What a line says becomes one of the sources of its person's presence. After a restart the first refresh is
answered 412, and the line is published anew (RFC 3903 §4.1): nothing has to be kept.
"""

from collections.abc import Callable

from ubiety.gateway.deadlines import CallLater, Deadlines
from ubiety.gateway.mapping import phone_state
from ubiety.gateway.stack import MARK, Stack
from ubiety.gateway.subscribe import PACKAGE
from ubiety.presence.model import State, Statement
from ubiety.routing.homes import Person
from ubiety.sip import pidf
from ubiety.sip.message import Request, Response, make_response
from ubiety.sip.pidf import CPIM_PIDF, PIDF, PidfError, SipPresence
from ubiety.sip.publication import Publications, Refused, Removed
from ubiety.sip.syntax import SipSyntaxError
from ubiety.users.context import Context

MAX_EXPIRES = 86_400
TICK_SECONDS = 5.0
"""How exactly the end of a publication is noticed, so that many that end together are one look."""


class Publishing:
    """All publications for the people of this node."""

    def __init__(
        self, context: Context, stack: Stack, call_later: CallLater, token: Callable[[], str]
    ) -> None:
        self._context = context
        self._stack = stack
        self._token = token
        self._now = context.clock.monotonic
        self._publications: Publications[int] = Publications(token, max_expires=MAX_EXPIRES)
        self._said: dict[int, tuple[int, State]] = {}
        """Whose line a publication is of, and what it says, unless it is idle."""
        self._looks: Deadlines[None] = Deadlines(self._now, call_later, self._look)
        self._look_at: float | None = None

    def __len__(self) -> int:
        return len(self._publications)

    def received(self, key: int, request: Request, person: Person) -> None:
        """Take a PUBLISH of a presence gateway for one of the people of this node, and answer it."""
        self._stack.respond(key, self._take(request, person))

    def release(self, is_gone: Callable[[int], bool]) -> None:
        """Forget the lines of people, by user id, whom another node serves from now on; nobody is told."""
        self._publications.forget(lambda user_id, _: is_gone(user_id))
        self._said = {id: one for id, one in self._said.items() if not is_gone(one[0])}

    def _take(self, request: Request, person: Person) -> Response:
        try:
            found, presence = request.event, self._read(request)
        except SipSyntaxError as error:
            return self._answer(request, error.status)
        except PidfError:
            return self._answer(request, 400)
        if found is None or found.package != PACKAGE:
            return self._answer(request, 489, ("Allow-Events", PACKAGE))
        if request.body and presence is None:
            return self._answer(request, 415, ("Accept", PIDF))
        if_match = request.headers.get("sip-if-match")
        user_id, now = person.user_id, self._now()
        outcome = self._publications.publish(user_id, if_match, request.expires, presence is not None, now)
        if isinstance(outcome, Refused):
            extra = [("Min-Expires", str(outcome.min_expires))] if outcome.min_expires else []
            return self._answer(request, outcome.status, *extra)
        if isinstance(outcome, Removed):
            self._put(user_id, outcome.id, None)
            return self._answer(request, 200, ("SIP-ETag", outcome.etag), ("Expires", "0"))
        if presence is not None:
            self._put(user_id, outcome.id, phone_state(presence))
        self._look_by(now + outcome.expires + TICK_SECONDS)
        return self._answer(request, 200, ("SIP-ETag", outcome.etag), ("Expires", str(outcome.expires)))

    def _read(self, request: Request) -> SipPresence | None:
        """Return what the body says; None if there is none or it is of another type."""
        if not request.body or request.content_type not in (PIDF, CPIM_PIDF):
            return None
        return pidf.read(request.body, request.content_type, request.content_params.get("charset", ""))

    def _answer(self, request: Request, status: int, *headers: tuple[str, str]) -> Response:
        return make_response(request, status, to_tag=self._token(), headers=(("Server", MARK), *headers))

    def _put(self, user_id: int, id: int, state: State | None) -> None:
        before = self._said.get(id)
        if (before[1] if before is not None else None) is state:
            return
        if state is None:
            del self._said[id]
        else:
            self._said[id] = (user_id, state)
        said = Statement(state, since=self._context.clock.now()) if state is not None else None
        self._context.sources.put_phone(user_id, f"publication {id}", said)

    def _look_by(self, at: float) -> None:
        if self._look_at is None or at < self._look_at:
            self._look_at = at
            self._looks.set(None, at)

    def _look(self, _: None) -> None:
        self._look_at = None
        for user_id, id in self._publications.expire(self._now()):
            self._put(user_id, id, None)
        deadline = self._publications.deadline()
        if deadline is not None:
            self._look_by(deadline + TICK_SECONDS)
