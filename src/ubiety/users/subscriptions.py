"""Presence subscription states of one roster item: RFC 6121 appendix A, as a table.

A state is what one side stores about a contact: ``subscription`` (none, to, from, both), ``ask``
(we asked and wait) and ``pending`` (the contact asked and waits for us). An event is a stanza of
type subscribe, subscribed, unsubscribe or unsubscribed, *out* from the person or *in* from the
contact. The table says the next state and whether the stanza goes on: out ones to the contact, in
ones to the person's clients.
"""

from dataclasses import dataclass, replace

NONE, TO, FROM, BOTH = 0, 1, 2, 3
NAMES = ("none", "to", "from", "both")
EVENTS = ("subscribe", "subscribed", "unsubscribe", "unsubscribed")


@dataclass(frozen=True, slots=True)
class State:
    """What one side stores of the relation."""

    subscription: int = NONE
    ask: bool = False
    pending: bool = False

    @property
    def sees(self) -> bool:
        """The person is subscribed to the contact's presence."""
        return bool(self.subscription & TO)

    @property
    def is_seen(self) -> bool:
        """The contact is subscribed to the person's presence."""
        return bool(self.subscription & FROM)

    def __str__(self) -> str:
        name = NAMES[self.subscription]
        return name + (" + pending out" if self.ask else "") + (" + pending in" if self.pending else "")


@dataclass(frozen=True, slots=True)
class Step:
    """What an event does: the state afterwards, and whether the stanza goes on."""

    state: State
    passes: bool


# The nine states of RFC 6121 appendix A.1, under the RFC's own names.
STATES: dict[str, State] = {
    "None": State(),
    "None + Pending Out": State(ask=True),
    "None + Pending In": State(pending=True),
    "None + Pending Out+In": State(ask=True, pending=True),
    "To": State(TO),
    "To + Pending In": State(TO, pending=True),
    "From": State(FROM),
    "From + Pending Out": State(FROM, ask=True),
    "Both": State(BOTH),
}

_OUT: dict[str, dict[str, tuple[bool, str | None]]] = {
    # A.2.1 "subscribe": always routed
    "subscribe": {
        "None": (True, "None + Pending Out"),
        "None + Pending Out": (True, None),
        "None + Pending In": (True, "None + Pending Out+In"),
        "None + Pending Out+In": (True, None),
        "To": (True, None),
        "To + Pending In": (True, None),
        "From": (True, "From + Pending Out"),
        "From + Pending Out": (True, None),
        "Both": (True, None),
    },
    # A.2.2 "unsubscribe": always routed
    "unsubscribe": {
        "None": (True, None),
        "None + Pending Out": (True, "None"),
        "None + Pending In": (True, None),
        "None + Pending Out+In": (True, "None + Pending In"),
        "To": (True, "None"),
        "To + Pending In": (True, "None + Pending In"),
        "From": (True, None),
        "From + Pending Out": (True, "From"),
        "Both": (True, "From"),
    },
    # A.2.3 "subscribed": routed only where somebody asked
    "subscribed": {
        "None": (False, None),
        "None + Pending Out": (False, None),
        "None + Pending In": (True, "From"),
        "None + Pending Out+In": (True, "From + Pending Out"),
        "To": (False, None),
        "To + Pending In": (True, "Both"),
        "From": (False, None),
        "From + Pending Out": (False, None),
        "Both": (False, None),
    },
    # A.2.4 "unsubscribed"
    "unsubscribed": {
        "None": (False, None),
        "None + Pending Out": (False, None),
        "None + Pending In": (True, "None"),
        "None + Pending Out+In": (True, "None + Pending Out"),
        "To": (False, None),
        "To + Pending In": (True, "To"),
        "From": (True, "None"),
        "From + Pending Out": (True, "None + Pending Out"),
        "Both": (True, "To"),
    },
}

_IN: dict[str, dict[str, tuple[bool, str | None]]] = {
    # A.3.1 "subscribe": delivered unless already granted or already waiting
    "subscribe": {
        "None": (True, "None + Pending In"),
        "None + Pending Out": (True, "None + Pending Out+In"),
        "None + Pending In": (False, None),
        "None + Pending Out+In": (False, None),
        "To": (True, "To + Pending In"),
        "To + Pending In": (False, None),
        "From": (False, None),
        "From + Pending Out": (False, None),
        "Both": (False, None),
    },
    # A.3.2 "unsubscribe"
    "unsubscribe": {
        "None": (False, None),
        "None + Pending Out": (False, None),
        "None + Pending In": (True, "None"),
        "None + Pending Out+In": (True, "None + Pending Out"),
        "To": (False, None),
        "To + Pending In": (True, "To"),
        "From": (True, "None"),
        "From + Pending Out": (True, "None + Pending Out"),
        "Both": (True, "To"),
    },
    # A.3.3 "subscribed": only who asked may be told
    "subscribed": {
        "None": (False, None),
        "None + Pending Out": (True, "To"),
        "None + Pending In": (False, None),
        "None + Pending Out+In": (True, "To + Pending In"),
        "To": (False, None),
        "To + Pending In": (False, None),
        "From": (False, None),
        "From + Pending Out": (True, "Both"),
        "Both": (False, None),
    },
    # A.3.4 "unsubscribed"
    "unsubscribed": {
        "None": (False, None),
        "None + Pending Out": (True, "None"),
        "None + Pending In": (False, None),
        "None + Pending Out+In": (True, "None + Pending In"),
        "To": (True, "None"),
        "To + Pending In": (True, "None + Pending In"),
        "From": (False, None),
        "From + Pending Out": (True, "From"),
        "Both": (True, "From"),
    },
}


def _compile(table: dict[str, dict[str, tuple[bool, str | None]]]) -> dict[tuple[str, State], Step]:
    return {
        (event, STATES[name]): Step(STATES[after or name], passes)
        for event, rows in table.items()
        for name, (passes, after) in rows.items()
    }


OUTBOUND = _compile(_OUT)
INBOUND = _compile(_IN)


def outbound(state: State, event: str) -> Step:
    """Return what happens when the person sends ``event`` to the contact (RFC 6121 A.2)."""
    return OUTBOUND[event, _normal(state)]


def inbound(state: State, event: str) -> Step:
    """Return what happens when ``event`` arrives from the contact (RFC 6121 A.3)."""
    return INBOUND[event, _normal(state)]


def _normal(state: State) -> State:
    """Drop flags that contradict the subscription, as an imported row may carry them."""
    if state.ask and state.sees:
        state = replace(state, ask=False)
    if state.pending and state.is_seen:
        state = replace(state, pending=False)
    return state
