"""The actor: one loaded person with their sessions and all live state (design.md §1, "Home node").

It holds only what routing needs; names, groups and everything else that is shown stays in the
database. Behaviour lives in the feature modules, which take the actor as an argument.
"""

from array import array
from collections import OrderedDict

from ubiety.jid import Jid
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Session
from ubiety.users.offline import Inbox
from ubiety.users.policy import Policy

RECENT_ORIGINS = 5000
"""Origin ids of a sender that are remembered, so that a repeat is not delivered again."""


class User:
    """One person, loaded on this node."""

    __slots__ = (
        "answered",
        "carbon_sessions",
        "has_requests",
        "inbox",
        "jid",
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
        self.roster_version = 0
        self.carbon_sessions = 0
        self.has_requests = False  # somebody waits for an answer to a subscription request
        self.answered: dict[str, Session] | None = None  # peer -> client that replied (forking)
        self.recent_origins: OrderedDict[tuple[str, str], None] | None = None
        self.temporary: dict[int, float] | None = None  # address id of a temporary watcher -> expiry
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

    def is_repeat(self, recipient: str, origin_id: str) -> bool:
        """Note an origin id of a message by this person; True when it was seen within 24 hours."""
        if self.recent_origins is None:
            self.recent_origins = OrderedDict()
        key = (recipient, origin_id)
        if key in self.recent_origins:
            return True
        self.recent_origins[key] = None
        if len(self.recent_origins) > RECENT_ORIGINS:
            self.recent_origins.popitem(last=False)
        return False

    def forget_origin(self, recipient: str, origin_id: str) -> None:
        """Let a message that was refused be sent again."""
        if self.recent_origins is not None:
            self.recent_origins.pop((recipient, origin_id), None)
