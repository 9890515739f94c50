"""Clients that are there but never answer the ping behind a message (RFC 6120 §8.2.3 says that they must).

Without stream management a message counts as delivered when the ping behind it is answered. Of a client that
answers none, the messages would wait for ever, and come again at every sign-in. But one that says anything is
not cut off (``net.service``), so one that was not cut off for long enough has spoken since it was asked. Then
it has read what came before, and what it is sent counts as read from then on, as with any server that has
nothing but TCP to go by. A late answer takes that back.
"""

from ubiety.routing.sessions import Session
from ubiety.telemetry import event

SPARE_SECONDS = 30.0
"""Time by which a client must have outlived the ping, so that what it said came after it had read that."""


class Unanswered:
    """The sessions that were asked by a ping. Looked through once a second."""

    def __init__(self) -> None:
        self._asked: dict[Session, tuple[int, float]] = {}  # -> which ping, since when; 0: not looked at yet

    def note(self, session: Session) -> None:
        """A ping was sent."""
        self._asked.setdefault(session, (0, 0.0))

    def look(self, now: float, patience: float) -> None:
        """Give up on those whose ping was not answered for ``patience`` seconds."""
        for session, (ping, since) in list(self._asked.items()):
            if not session.waits_for_ping:
                del self._asked[session]
            elif session.pings != ping or session.is_read_slowly:
                self._asked[session] = (session.pings, now)
            elif now - since > patience:
                del self._asked[session]
                event("client_answers_no_pings", session=session.jid.text)
                session.trust()

    def start_over(self, now: float) -> None:
        """Nothing is read from clients for now: none of them can answer."""
        for session, (ping, _) in self._asked.items():
            self._asked[session] = (ping, now)
