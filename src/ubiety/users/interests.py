"""Which personal events a client wants: the ``+notify`` features behind its entity capabilities.

XEP-0115 §6: a client names a hash of what it can do. An unknown hash is asked for once (disco#info),
checked, and remembered for all clients that have it; an answer that does not fit its hash counts for
the client that gave it alone.
"""

import itertools
import math
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from ubiety.element import Element, ElementError, escape_attribute, parse_element
from ubiety.routing.sessions import Session
from ubiety.stanza import Stanza
from ubiety.users import caps
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.xmpp import ns

KNOWN = 5000
"""Capabilities that are remembered."""
ASKED = 1000
"""Questions that may be open at a time; the oldest is given up."""
PATIENCE = 10.0
"""Seconds after which another client with the same capabilities is asked too."""
MAX_CAPS = 1024
"""Bytes of a <c/> that are looked at."""
MAX_NODES = 200
"""Nodes that one client may be notified of."""
NOTIFY = "+notify"

_CAPS = (ns.CAPS, "c")
_ELEMENT = re.compile(rb"<c\s[^>]*>")
_NOBODY: frozenset[str] = frozenset()

Learned = Callable[[User, Session, frozenset[str]], None]


@dataclass(slots=True)
class Question:
    """A question that a client was asked."""

    key: bytes
    session: Session
    hash_name: str
    ver: str


@dataclass(slots=True)
class Waiting:
    """The clients whose capabilities are being asked for."""

    sessions: list[Session] = field(default_factory=list)
    asked_at: float = -math.inf
    questions: int = 0


class Interests:
    """Learns what clients want; ``learned`` is called with what a client wants anew."""

    def __init__(self, context: Context, learned: Learned) -> None:
        self._context = context
        self._learned = learned
        self._known: OrderedDict[bytes, tuple[bytes, frozenset[str]]] = OrderedDict()
        self._open: OrderedDict[str, Question] = OrderedDict()
        self._waiting: dict[bytes, Waiting] = {}
        self._numbers = itertools.count(1)

    def available(self, user: User, session: Session, stanza: Stanza) -> None:
        """Look at the capabilities in a client's presence."""
        if _CAPS not in stanza.children:
            return
        found = _ELEMENT.search(stanza.payload)
        if found is None or len(found[0]) > MAX_CAPS or session.caps == found[0]:
            return
        session.caps = key = found[0]
        known = self._known.get(key)
        if known is None:
            element = stanza.child(*_CAPS)
            if element is not None and element.get("ver") and is_same(key, element):
                self._inquire(session, key, element)
            return
        self._known.move_to_end(key)
        session.caps = known[0]  # one copy for all that are alike
        self._take(user, session, known[1])

    def _take(self, user: User, session: Session, wants: frozenset[str]) -> None:
        new = wants - session.interests
        session.interests = wants
        if new and not session.ended:
            self._learned(user, session, new)

    # -- asking --------------------------------------------------------------------------------------

    def _inquire(self, session: Session, key: bytes, element: Element) -> None:
        now = self._context.clock.monotonic()
        waiting = self._waiting.setdefault(key, Waiting())
        if now - waiting.asked_at >= PATIENCE:
            waiting.sessions = [other for other in waiting.sessions if not other.ended]
            waiting.asked_at = now
            waiting.questions += 1
            self._ask(session, key, element)
        waiting.sessions.append(session)

    def _ask(self, session: Session, key: bytes, element: Element) -> None:
        number = f"caps-{next(self._numbers)}"
        ver, node = element.get("ver") or "", element.get("node") or ""
        self._open[number] = Question(key, session, element.get("hash") or "", ver)
        self._context.hooks.answers[number] = self._answered
        if len(self._open) > ASKED:
            self._close(next(iter(self._open)))
        session.send(
            f"<iq type='get' id='{number}' from='{session.jid.domain}' to='{session.jid.xml}'>"
            f"<query xmlns='{ns.DISCO_INFO}' node='{escape_attribute(f'{node}#{ver}')}'/></iq>".encode()
        )

    def _close(self, number: str) -> list[Session]:
        """Wait for this answer no longer; return who waited for it."""
        self._context.hooks.answers.pop(number, None)
        question = self._open.pop(number)
        waiting = self._waiting.get(question.key)
        if waiting is None:
            return []
        waiting.questions -= 1
        if waiting.questions <= 0:
            del self._waiting[question.key]
        return waiting.sessions

    def _answered(self, stanza: Stanza) -> None:
        question = self._open.get(stanza.id or "")
        if question is None or stanza.from_ != question.session.jid:
            return
        waiting = self._close(stanza.id or "")
        info = stanza.child(ns.DISCO_INFO, "query") if stanza.type == "result" else None
        wants = wanted(info) if info is not None else _NOBODY
        if info is not None and caps.verify(info, question.hash_name, question.ver):
            self._known[question.key] = (question.key, wants)
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)
        else:
            # Nobody else is judged by an answer that does not fit: they are asked with their next presence.
            for session in waiting:
                if session is not question.session and session.caps == question.key:
                    session.caps = None
            waiting = [question.session]
        for session in waiting:
            user = self._context.actors.get(session.address_id)
            if user is not None and not session.ended and session.caps == question.key:
                self._take(user, session, wants)


def is_same(tag: bytes, element: Element) -> bool:
    """Tell whether a start tag found in the bytes is that of ``element``, not one nested somewhere else.

    Else a client could have its own answer remembered under somebody else's capabilities.
    """
    try:
        found = parse_element(tag.removesuffix(b">").removesuffix(b"/") + b"/>")
    except ElementError:
        return False
    return found.ns == element.ns and found.attrs == element.attrs


def wanted(info: Element) -> frozenset[str]:
    """Return the nodes that a client wants to be notified of (XEP-0060 §9.2)."""
    nodes = [var.removesuffix(NOTIFY) for var in caps.features_of(info) if var.endswith(NOTIFY)]
    return frozenset(nodes[:MAX_NODES])
