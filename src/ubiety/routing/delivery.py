"""Which of a person's sessions get a stanza: RFC 6121 §8.5 as pure functions.

Nothing here knows sockets or queues; a session is whatever has a priority and is available.
"""

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Protocol, TypeVar

from ubiety.stanza import Stanza
from ubiety.xmpp import ns


class Endpoint(Protocol):
    """What delivery needs to know of a session."""

    @property
    def available(self) -> bool:
        """Has sent available presence."""

    @property
    def priority(self) -> int:
        """-128 to 127, from its last presence."""


class Otherwise(Enum):
    """What to do when no session takes a message."""

    STORE = "store"  # offline messages, RFC 6121 §8.5.2.2.1
    DROP = "drop"
    REFUSE = "refuse"


EndpointT = TypeVar("EndpointT", bound=Endpoint)

# Message types of RFC 6121 §5.2.2 sent to an address without a session that takes them (§8.5.2.2.1).
NOBODY_THERE: dict[str, Otherwise] = {
    "normal": Otherwise.STORE,
    "chat": Otherwise.STORE,
    "headline": Otherwise.DROP,
    "groupchat": Otherwise.REFUSE,
    "error": Otherwise.DROP,
}
# To a full address that is not connected: chat as to the bare address (§8.5.3.2.1). The RFC lets a
# "normal" message be refused; nothing is lost and nobody confused if it goes the way of chat.
NOT_CONNECTED: dict[str, Otherwise] = {
    "normal": Otherwise.STORE,
    "chat": Otherwise.STORE,
    "headline": Otherwise.DROP,
    "groupchat": Otherwise.REFUSE,
    "error": Otherwise.DROP,
}

_CHILDREN_KEPT = (ns.CLIENT, "body"), (ns.HINTS, "store")
_FLEETING = frozenset({"headline", "groupchat", "error"})
_NO_STORE = (ns.HINTS, "no-store"), (ns.HINTS, "no-permanent-store")


def kind_of(stanza: Stanza) -> str:
    """Return the type of a message; no type and unknown ones are "normal" (RFC 6121 §5.2.2)."""
    return stanza.type if stanza.type in NOBODY_THERE else "normal"


def is_durable(stanza: Stanza) -> bool:
    """Tell whether a message must outlive a crash (design.md promise 1; XEP-0160 §3, XEP-0334)."""
    if stanza.type in _FLEETING:
        return False
    children = stanza.children
    if not any(child in _CHILDREN_KEPT for child in children):
        return False
    return not any(child in _NO_STORE for child in children)


def takes_bare(sessions: Iterable[EndpointT]) -> list[EndpointT]:
    """Return the sessions that get a message to the bare address: available, priority not negative.

    RFC 6121 §8.5.2.1.1 leaves the choice between the most available and all; all is what a person
    with several devices expects.
    """
    return [s for s in sessions if s.available and s.priority >= 0]


def fork(sessions: Sequence[EndpointT], answered: EndpointT | None) -> list[EndpointT]:
    """Return the targets of IM forking: every client until one has replied, then that one.

    Seed "IM Forking"; used where multi-device messaging is turned off.
    """
    targets = takes_bare(sessions)
    if answered is not None and answered in targets:
        return [answered]
    return targets
