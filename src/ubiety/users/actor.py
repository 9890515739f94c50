"""The actor: one loaded person with their sessions and all live state (design.md §1, "Home node").

It holds only what routing needs; names, groups and everything else that is shown stays in the
database. Behaviour lives in the feature modules, which take the actor as an argument.
"""

from array import array
from collections import OrderedDict

from ubiety.jid import Jid
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Delivered, Pending, Refused, Settled
from ubiety.store.archive_prefs import Prefs
from ubiety.users.offline import Inbox
from ubiety.users.outside_contacts import OutsideContacts
from ubiety.users.policy import Policy

RECENT_ORIGINS = 5000
"""Origin ids of a sender that are remembered, so that a repeat is not delivered again."""


class User:
    """One person, loaded on this node."""

    __slots__ = (
        "answered",
        "archive_prefs",
        "carbon_sessions",
        "has_requests",
        "inbox",
        "jid",
        "left_at",
        "left_with",
        "looks_at",
        "outside",
        "person",
        "policy",
        "recent_origins",
        "roster_version",
        "sessions",
        "stanza_id_head",
        "temporary",
        "watched",
        "watchers",
    )

    def __init__(
        self, person: Person, watched: "array[int]", watchers: "array[int]", policy: Policy | None
    ) -> None:
        self.person = person
        self.jid: Jid = person.jid
        self.sessions: dict[str, Session] = {}
        self.watched = watched  # address ids whose presence this person gets (to, both)
        self.watchers = watchers  # address ids that get this person's presence (from, both)
        self.policy = policy  # None: nobody is treated specially
        self.archive_prefs: Prefs | None = None  # None: everything is kept in the history
        self.roster_version = 0
        self.carbon_sessions = 0
        self.has_requests = False  # somebody waits for an answer to a subscription request
        self.answered: dict[str, Session] | None = None  # peer -> client that replied (forking)
        self.recent_origins: OrderedDict[tuple[str, str], Delivered | Pending] | None = None
        self.temporary: dict[int, float] | None = None  # address id of a temporary watcher -> expiry
        self.looks_at: set[int] | None = None  # address ids of those whom this person watches temporarily
        self.outside: OutsideContacts | None = None  # None: all contacts are people of this cluster
        self.left_at = 0.0  # when they were last there: seconds since 1970, 0.0 when nobody knows
        self.left_with = b""  # the tail of their last unavailable presence, if it had words (farewell)
        self.inbox: Inbox
        self.stanza_id_head = (
            f"<stanza-id xmlns='urn:xmpp:sid:0' by='{person.jid.bare_jid().xml}' id='".encode()
        )

    @property
    def available_sessions(self) -> list[Session]:
        """Sessions that sent available presence."""
        return [session for session in self.sessions.values() if session.available]

    def is_online(self) -> bool:
        """At least one session is available."""
        return any(session.available for session in self.sessions.values())

    def first_verdict(self, recipient: str, origin_id: str) -> Delivered | Pending | None:
        """Return what a message by this person with that origin id came to; None if it is new."""
        return self.recent_origins.get((recipient, origin_id)) if self.recent_origins is not None else None

    def note_origin(self, recipient: str, origin_id: str, verdict: Delivered | Pending) -> None:
        """Remember a message; while its verdict is pending a repeat waits for the same one."""
        if self.recent_origins is None:
            self.recent_origins = OrderedDict()
        key = (recipient, origin_id)
        self.recent_origins[key] = verdict
        if len(self.recent_origins) > RECENT_ORIGINS:
            self.recent_origins.popitem(last=False)
        if type(verdict) is Pending:
            verdict.then(lambda settled: self._settle_origin(key, settled))

    def _settle_origin(self, key: tuple[str, str], settled: Settled) -> None:
        origins = self.recent_origins
        if origins is None or key not in origins:
            return
        if type(settled) is Refused:
            del origins[key]  # it may be sent again
        else:
            origins[key] = DELIVERED
