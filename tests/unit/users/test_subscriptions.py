"""Subscription states against RFC 6121 appendix A, row by row, and two sides that play by it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.users.subscriptions import (
    BOTH,
    EVENTS,
    FROM,
    INBOUND,
    OUTBOUND,
    STATES,
    TO,
    State,
    inbound,
    outbound,
)

# The tables of appendix A as they stand there: existing state | routed or delivered? | new state.
NAMES = {
    "N": "None",
    "NO": "None + Pending Out",
    "NI": "None + Pending In",
    "NOI": "None + Pending Out+In",
    "T": "To",
    "TI": "To + Pending In",
    "F": "From",
    "FO": "From + Pending Out",
    "B": "Both",
}
OUT = {
    "subscribe": "N+NO NO+NO NI+NOI NOI+NOI T+T TI+TI F+FO FO+FO B+B",
    "unsubscribe": "N+N NO+N NI+NI NOI+NI T+N TI+NI F+F FO+F B+F",
    "subscribed": "N-N NO-NO NI+F NOI+FO T-T TI+B F-F FO-FO B-B",
    "unsubscribed": "N-N NO-NO NI+N NOI+NO T-T TI+T F+N FO+NO B+T",
}
IN = {
    "subscribe": "N+NI NO+NOI NI-NI NOI-NOI T+TI TI-TI F-F FO-FO B-B",
    "unsubscribe": "N-N NO-NO NI+N NOI+NO T-T TI+T F+N FO+NO B+T",
    "subscribed": "N-N NO+T NI-NI NOI+TI T-T TI-TI F-F FO+B B-B",
    "unsubscribed": "N-N NO+N NI-NI NOI+NI T+N TI+NI F-F FO+F B+F",
}


def rows(table: dict[str, str]) -> list[tuple[str, str, bool, str]]:
    """The rows of a table: event, state, passes, new state."""
    found = []
    for event, text in table.items():
        for row in text.split():
            sign = "+" if "+" in row else "-"
            before, after = row.split(sign)
            found.append((event, NAMES[before], sign == "+", NAMES[after]))
    return found


@pytest.mark.parametrize(("event", "before", "passes", "after"), rows(OUT))
def test_outbound(event: str, before: str, passes: bool, after: str) -> None:
    step = outbound(STATES[before], event)
    assert (step.passes, step.state) == (passes, STATES[after])


@pytest.mark.parametrize(("event", "before", "passes", "after"), rows(IN))
def test_inbound(event: str, before: str, passes: bool, after: str) -> None:
    step = inbound(STATES[before], event)
    assert (step.passes, step.state) == (passes, STATES[after])


def test_tables_are_whole() -> None:
    every = {(event, state) for event in EVENTS for state in STATES.values()}
    assert set(OUTBOUND) == set(INBOUND) == every
    assert len(rows(OUT)) == len(rows(IN)) == len(every)


def test_what_a_state_means() -> None:
    assert [state for state in STATES.values() if state.sees] == [
        STATES["To"],
        STATES["To + Pending In"],
        STATES["Both"],
    ]
    assert [state for state in STATES.values() if state.is_seen] == [
        STATES["From"],
        STATES["From + Pending Out"],
        STATES["Both"],
    ]
    assert str(State(TO, pending=True)) == "to + pending in"


@pytest.mark.parametrize("event", EVENTS)
def test_contradictory_rows_count_as_what_holds(event: str) -> None:
    for state, normal in (
        (State(TO, ask=True), State(TO)),
        (State(FROM, pending=True), State(FROM)),
        (State(BOTH, ask=True, pending=True), State(BOTH)),
    ):
        assert outbound(state, event) == outbound(normal, event)
        assert inbound(state, event) == inbound(normal, event)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(EVENTS)), max_size=40))
def test_two_sides_never_contradict_each_other(events: list[tuple[bool, str]]) -> None:
    """Whatever two people send, what one believes of the other is true when nothing is under way."""
    sides = [State(), State()]
    for is_second, event in events:
        sender, receiver = int(is_second), int(not is_second)
        step = outbound(sides[sender], event)
        sides[sender] = step.state
        if step.passes:
            sides[receiver] = inbound(sides[receiver], event).state
            if event == "subscribe" and sides[receiver].is_seen and not sides[sender].sees:
                sides[sender] = inbound(sides[sender], "subscribed").state  # §3.1.3: granted already
        one, other = sides
        assert (one.sees, one.is_seen) == (other.is_seen, other.sees)
        assert (one.ask, one.pending) == (other.pending, other.ask)
