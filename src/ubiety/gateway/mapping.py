"""Whose presence is shown as what on the other side: tables 5 to 8 of seed 000, and their words in PIDF.

Pure, and data first: the functions below only look things up.
"""

from enum import Enum
from typing import Final

from ubiety.element import escape_text
from ubiety.presence.model import Composed, State
from ubiety.sip.pidf import SipPresence


class Microsoft(Enum):
    """A state of Lync or Office Communicator, by its name as its users read it."""

    AVAILABLE = "Available"
    AWAY = "Away"
    BE_RIGHT_BACK = "Be Right Back"
    BUSY = "Busy"
    DND = "Do Not Disturb"
    APPEAR_OFFLINE = "Appear Offline"
    OFFLINE = "Offline"


FROM_MICROSOFT: Final[dict[Microsoft, State]] = {
    Microsoft.AVAILABLE: State.AVAILABLE,
    Microsoft.AWAY: State.AWAY,
    Microsoft.BE_RIGHT_BACK: State.AWAY,
    Microsoft.BUSY: State.BUSY,
    Microsoft.DND: State.BUSY,
    Microsoft.APPEAR_OFFLINE: State.OFFLINE,
    Microsoft.OFFLINE: State.OFFLINE,
}
"""Table 5: one column, since all kinds of clients see the same."""

TO_MICROSOFT: Final[dict[State, Microsoft]] = {
    State.AVAILABLE: Microsoft.AVAILABLE,
    State.AWAY: Microsoft.AWAY,
    State.EXTENDED_AWAY: Microsoft.AWAY,
    State.BUSY: Microsoft.BUSY,
    State.DND: Microsoft.BUSY,
    State.ON_THE_PHONE: Microsoft.BUSY,
    State.MEETING: Microsoft.BUSY,
    State.OUT_OF_OFFICE: Microsoft.OFFLINE,
    State.OFFLINE: Microsoft.OFFLINE,
    State.OFFLINE_ON_THE_PHONE: Microsoft.OFFLINE,
    State.OFFLINE_MEETING: Microsoft.OFFLINE,
    State.OFFLINE_OUT_OF_OFFICE: Microsoft.OFFLINE,
}
"""Tables 6 (Unified Personal Communicator), 7 (Jabber) and 8 (third-party clients) in one: they agree."""

IN_PIDF: Final[dict[Microsoft, tuple[bool, frozenset[str]]]] = {
    Microsoft.AVAILABLE: (True, frozenset()),
    Microsoft.AWAY: (True, frozenset({"away"})),
    Microsoft.BE_RIGHT_BACK: (True, frozenset({"be-right-back"})),
    Microsoft.BUSY: (True, frozenset({"busy"})),
    Microsoft.DND: (True, frozenset({"do-not-disturb"})),
    Microsoft.APPEAR_OFFLINE: (False, frozenset()),
    Microsoft.OFFLINE: (False, frozenset()),
}
"""How a state of Microsoft's is said in PIDF: open or closed, and the activities (facts §5.4)."""

RICH: Final[dict[State, tuple[bool, frozenset[str]]]] = {
    State.AVAILABLE: (True, frozenset()),
    State.AWAY: (True, frozenset({"away"})),
    State.EXTENDED_AWAY: (True, frozenset({"away"})),
    State.BUSY: (True, frozenset({"busy"})),
    State.DND: (True, frozenset({"busy", "do-not-disturb"})),
    State.ON_THE_PHONE: (True, frozenset({"busy", "on-the-phone"})),
    State.MEETING: (True, frozenset({"busy", "meeting"})),
    State.OUT_OF_OFFICE: (True, frozenset({"away", "out-of-office"})),
    State.OFFLINE: (False, frozenset()),
    State.OFFLINE_ON_THE_PHONE: (False, frozenset({"on-the-phone"})),
    State.OFFLINE_MEETING: (False, frozenset({"meeting"})),
    State.OFFLINE_OUT_OF_OFFICE: (False, frozenset({"out-of-office"})),
}
"""The same for SIP peers that are not Microsoft's, who are told all there is (RFC 4480 §3.2, RFC 8048 §6)."""

ACTIVITIES: Final[dict[str, Microsoft]] = {
    "do-not-disturb": Microsoft.DND,
    "urgent-interruptions-only": Microsoft.DND,
    "presenting": Microsoft.DND,
    "busy": Microsoft.BUSY,
    "on-the-phone": Microsoft.BUSY,
    "meeting": Microsoft.BUSY,
    "appointment": Microsoft.BUSY,
    "performance": Microsoft.BUSY,
    "presentation": Microsoft.BUSY,
    "steering": Microsoft.BUSY,
    "worship": Microsoft.BUSY,
    "be-right-back": Microsoft.BE_RIGHT_BACK,
    "away": Microsoft.AWAY,
    "breakfast": Microsoft.AWAY,
    "dinner": Microsoft.AWAY,
    "holiday": Microsoft.AWAY,
    "idle": Microsoft.AWAY,
    "in-transit": Microsoft.AWAY,
    "lunch": Microsoft.AWAY,
    "meal": Microsoft.AWAY,
    "off-work": Microsoft.AWAY,
    "out-of-office": Microsoft.AWAY,
    "permanent-absence": Microsoft.AWAY,
    "sleeping": Microsoft.AWAY,
    "travel": Microsoft.AWAY,
    "vacation": Microsoft.AWAY,
}
"""What each activity comes to; of several the first in this order counts. Without any: available."""

SHOWS: Final[dict[State, str]] = {
    State.AVAILABLE: "",
    State.AWAY: "away",
    State.EXTENDED_AWAY: "xa",
    State.BUSY: "dnd",
    State.DND: "dnd",
    State.ON_THE_PHONE: "dnd",
    State.MEETING: "dnd",
    State.OUT_OF_OFFICE: "xa",
}
"""The `<show/>` of a state (RFC 6121 §4.7.2.1, RFC 8048 §6): XMPP has no busy but dnd.
States that are not listed are offline."""

SAID_IN_WORDS: Final = frozenset({State.BUSY, State.ON_THE_PHONE, State.MEETING, State.OUT_OF_OFFICE})
"""States whose name is shown as the status text when there is no other, since their show does not say it."""


def to_sip(composed: Composed, is_microsoft: bool, display_name: str = "") -> SipPresence:
    """Return what SIP watchers are told of one of our people."""
    if is_microsoft:
        is_open, activities = IN_PIDF[TO_MICROSOFT[composed.state]]
    else:
        is_open, activities = RICH[composed.state]
    return SipPresence(is_open, activities, composed.note if is_open else "", display_name)


def microsoft_state(presence: SipPresence) -> Microsoft:
    """Return the state that a presence document says, by the name that it has at Microsoft's side."""
    if not presence.is_open:
        return Microsoft.OFFLINE
    found = (state for token, state in ACTIVITIES.items() if token in presence.activities)
    return next(found, Microsoft.AVAILABLE)


def to_composed(presence: SipPresence) -> Composed:
    """Return what our people are shown of somebody at the other side."""
    state = FROM_MICROSOFT[microsoft_state(presence)]
    return Composed(state, presence.note if not state.is_offline else "")


def phone_state(presence: SipPresence) -> State | None:
    """Return what a line says that is published by Unified CM; None when it is idle."""
    if "on-the-phone" in presence.activities:
        return State.ON_THE_PHONE
    if "do-not-disturb" in presence.activities:
        return State.DND
    return None


def presence_payload(composed: Composed) -> bytes:
    """Return the children of an available presence stanza that shows this state."""
    show = SHOWS[composed.state]
    note = composed.note or (composed.state.value if composed.state in SAID_IN_WORDS else "")
    parts = [f"<show>{show}</show>" if show else "", f"<status>{escape_text(note)}</status>" if note else ""]
    return "".join(parts).encode()
