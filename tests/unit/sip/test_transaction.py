"""The transaction tables, against a second transcription of RFC 3261 §17 and RFC 6026; their timers."""

import pytest

from ubiety.sip.transaction import (
    CLIENT,
    INVITE_CLIENT,
    INVITE_SERVER,
    LENGTHS,
    MACHINES,
    REPEATED,
    SERVER,
    Action,
    Event,
    Machine,
    Schedule,
    State,
    Timer,
    Timers,
    Transaction,
)

TRIGGERS = {
    "1xx": Event.PROVISIONAL,
    "2xx": Event.SUCCESS,
    "300-699": Event.FAILURE,
    "cancel": Event.CANCEL,
    "request": Event.REQUEST,
    "ACK": Event.ACK,
    "1xx-TU": Event.ANSWER_PROVISIONAL,
    "2xx-TU": Event.ANSWER_SUCCESS,
    "300-699-TU": Event.ANSWER_FAILURE,
    "transport": Event.TRANSPORT_ERROR,
} | {timer.value.replace(" ", "-"): timer for timer in Timer}

ACTIONS = {
    "pass": Action.PASS,
    "pass-ack": Action.PASS_ACK,
    "send": Action.SEND,
    "resend": Action.RESEND,
    "trying": Action.SEND_TRYING,
    "ack": Action.SEND_ACK,
    "cancel": Action.SEND_CANCEL,
    "extend": Action.EXTEND,
    "408": Action.GIVE_UP,
    "timeout": Action.FAIL_TIMEOUT,
    "error": Action.FAIL_TRANSPORT,
}

# state, what happens, next state, what is done: as the figures have it (5, 6, 8 of RFC 3261; RFC 6026 §7),
# and the rows of our own that transaction.py explains.
FIGURES = {
    INVITE_CLIENT: """
        calling       A          calling       resend
        calling       B          terminated    timeout
        calling       transport  terminated    error
        calling       1xx        proceeding    pass
        calling       2xx        accepted      pass
        calling       300-699    completed     ack pass
        proceeding    1xx        proceeding    extend pass
        proceeding    2xx        accepted      pass
        proceeding    300-699    completed     ack pass
        proceeding    C          cancelling    cancel
        proceeding    transport  terminated    error
        proceeding    cancel     cancelling    cancel
        cancelling    1xx        cancelling    pass
        cancelling    2xx        accepted      pass
        cancelling    300-699    completed     ack pass
        cancelling    cancelled  terminated    timeout
        cancelling    transport  terminated    error
        completed     300-699    completed     ack
        completed     D          terminated
        completed     transport  terminated
        accepted      2xx        accepted      pass
        accepted      M          terminated
    """,
    CLIENT: """
        trying        E          trying        resend
        trying        F          terminated    timeout
        trying        transport  terminated    error
        trying        1xx        proceeding    pass
        trying        2xx        completed     pass
        trying        300-699    completed     pass
        proceeding    E          proceeding    resend
        proceeding    F          terminated    timeout
        proceeding    transport  terminated    error
        proceeding    1xx        proceeding    pass
        proceeding    2xx        completed     pass
        proceeding    300-699    completed     pass
        completed     K          terminated
    """,
    INVITE_SERVER: """
        proceeding    trying      proceeding    trying
        proceeding    request     proceeding    resend
        proceeding    1xx-TU      proceeding    send
        proceeding    2xx-TU      accepted      send
        proceeding    300-699-TU  completed     send
        proceeding    unanswered  proceeding    408
        completed     request     completed     resend
        completed     G           completed     resend
        completed     ACK         confirmed
        completed     H           terminated
        confirmed     I           terminated
        accepted      accepted    accepted      resend
        accepted      ACK         acknowledged  pass-ack
        accepted      L           terminated    timeout
        acknowledged  L           terminated
    """,
    SERVER: """
        trying        late-trying  proceeding   trying
        trying        1xx-TU       proceeding   send
        trying        2xx-TU       completed    send
        trying        300-699-TU   completed    send
        trying        too-late     completed    timeout
        proceeding    request      proceeding   resend
        proceeding    1xx-TU       proceeding   send
        proceeding    2xx-TU       completed    send
        proceeding    300-699-TU   completed    send
        proceeding    too-late     completed    timeout
        completed     request      completed    resend
        completed     J            terminated
    """,
}

Drawn = tuple[State, Event | Timer, State, tuple[Action, ...]]


def read(figure: str) -> list[Drawn]:
    lines = [line.split() for line in figure.strip().splitlines()]
    return [
        (State(state), TRIGGERS[trigger], State(after), tuple(ACTIONS[name] for name in actions))
        for state, trigger, after, *actions in lines
    ]


def name(value: object) -> str:
    return value.name if isinstance(value, Machine | State | Event | Timer) else ""


DRAWN = [(machine, *row) for machine, figure in FIGURES.items() for row in read(figure)]
MISSING = [
    (machine, state, trigger)
    for machine in MACHINES
    for state in machine.timers
    for trigger in (*Event, *Timer)
    if (state, trigger) not in {row[:2] for row in read(FIGURES[machine])}
]


def standing_in(machine: Machine, state: State, is_reliable: bool = False) -> Transaction:
    """Return a transaction in this state, its timers just started."""
    begun = Machine(machine.name, state, machine.rows, machine.timers)
    return Transaction(begun, Schedule(Timers()), is_reliable, 0.0)


@pytest.mark.parametrize("machine, state, trigger, after, actions", DRAWN, ids=name)
def test_row(
    machine: Machine, state: State, trigger: Event | Timer, after: State, actions: tuple[Action, ...]
):
    transaction = standing_in(machine, state)
    assert transaction.step(trigger, 1.0) == actions
    assert transaction.state is after
    expected = set() if after is State.TERMINATED else set(machine.timers[after])
    if after is not state:
        assert set(transaction.running) == {timer for timer in expected if LENGTHS[timer][0] is not None}


def test_every_row_of_the_tables_is_drawn():
    for machine in MACHINES:
        assert {row[:2] for row in read(FIGURES[machine])} == set(machine.rows)


def test_what_is_not_in_the_tables_changes_nothing():
    assert len(MISSING) > 300
    for machine, state, trigger in MISSING:
        transaction = standing_in(machine, state)
        running = transaction.running
        assert transaction.step(trigger, 1.0) == ()
        assert transaction.state is state
        assert transaction.running == running


def test_every_state_is_reached_and_is_left_by_a_timer_alone():
    for machine in MACHINES:
        reached = {machine.first} | {after for after, _ in machine.rows.values()}
        assert reached == set(machine.timers) | {State.TERMINATED}
        for state in machine.timers:
            for is_reliable in (False, True):
                assert ends_by_itself(machine, state, is_reliable), (machine.name, state, is_reliable)


def ends_by_itself(machine: Machine, state: State, is_reliable: bool) -> bool:
    """Whether a timer that runs in this state leads out of it, and on to the end; the agent answers a 408."""
    if state is State.TERMINATED:
        return True
    for timer in machine.timers[state]:
        if LENGTHS[timer][is_reliable] is None:
            continue
        after, actions = machine.rows[state, timer]
        if Action.GIVE_UP in actions:
            after, _ = machine.rows[state, Event.ANSWER_FAILURE]
        if after is not state and ends_by_itself(machine, after, is_reliable):
            return True
    return False


def test_every_timer_that_runs_does_something():
    for machine in MACHINES:
        for state, timers in machine.timers.items():
            for timer in timers:
                assert (state, timer) in machine.rows
    for state, timer in REPEATED:
        assert any(timer in machine.timers.get(state, ()) for machine in MACHINES)


# RFC 3261 table 4 and RFC 6026 §7.3 with the default T1, T2, T4: over UDP, over TCP
TABLE_4 = {
    Timer.A: (0.5, None),
    Timer.B: (32, 32),
    Timer.D: (32, 0),
    Timer.E: (0.5, None),
    Timer.F: (32, 32),
    Timer.G: (0.5, None),
    Timer.H: (32, 32),
    Timer.I: (5, 0),
    Timer.J: (32, 0),
    Timer.K: (5, 0),
    Timer.L: (32, 32),
    Timer.M: (32, 32),
}


def test_lengths_are_those_of_the_rfc():
    first = Schedule(Timers()).first
    for timer, (unreliable, reliable) in TABLE_4.items():
        assert (first[timer, False], first[timer, True]) == (unreliable, reliable)
    assert first[Timer.C, False] > 180  # RFC 3261 §16.6: over three minutes
    assert first[Timer.TRYING, True] == 0.2
    assert first[Timer.LATE_TRYING, False] == 3.5  # RFC 4320 §4.1: 0.5 + 1 + 2


def fired(transaction: Transaction, until: float) -> list[tuple[float, tuple[Action, ...]]]:
    """Let time pass; return when something had to be done, and what."""
    done = []
    while (due := transaction.deadline()) is not None and due <= until:
        done.append((due, transaction.fire(due)))
    return done


def test_an_invite_is_repeated_ever_more_slowly_for_32_seconds():
    transaction = standing_in(INVITE_CLIENT, State.CALLING)
    done = fired(transaction, 100)
    assert [time for time, actions in done if actions == (Action.RESEND,)] == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert done[-1] == (32, (Action.FAIL_TIMEOUT,))
    assert transaction.is_over


def test_another_request_is_repeated_at_most_every_four_seconds():
    transaction = standing_in(CLIENT, State.TRYING)
    done = fired(transaction, 100)
    resent = [time for time, actions in done if actions == (Action.RESEND,)]
    assert resent == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert done[-1] == (32, (Action.FAIL_TIMEOUT,))


def test_a_provisional_answer_slows_the_repetition_down_and_keeps_the_end():
    transaction = standing_in(CLIENT, State.TRYING)
    transaction.step(Event.PROVISIONAL, 0.1)
    done = fired(transaction, 100)
    assert [time for time, _ in done] == [0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5, 32]


def test_nothing_is_repeated_over_a_reliable_transport():
    for machine in (INVITE_CLIENT, CLIENT):
        transaction = Transaction(machine, Schedule(Timers()), True, 0.0)
        assert fired(transaction, 100) == [(32, (Action.FAIL_TIMEOUT,))]


def test_a_refusal_of_an_invite_is_repeated_until_the_ack():
    transaction = standing_in(INVITE_SERVER, State.PROCEEDING)
    transaction.step(Event.ANSWER_FAILURE, 0.0)
    assert [time for time, _ in fired(transaction, 8)] == [0.5, 1.5, 3.5, 7.5]
    transaction.step(Event.ACK, 8.0)
    assert fired(transaction, 100) == [(13, ())]
    assert transaction.is_over


@pytest.mark.parametrize("is_reliable", [False, True])
def test_a_2xx_of_an_invite_is_repeated_until_the_ack_over_any_transport(is_reliable: bool):
    transaction = Transaction(INVITE_SERVER, Schedule(Timers()), is_reliable, 0.0)
    transaction.step(Event.ANSWER_SUCCESS, 0.0)
    assert [time for time, _ in fired(transaction, 12)] == [0.5, 1.5, 3.5, 7.5, 11.5]
    assert transaction.step(Event.ACK, 12.0) == (Action.PASS_ACK,)
    assert transaction.step(Event.ACK, 12.1) == ()
    assert fired(transaction, 100) == [(32, ())]


def test_over_a_reliable_transport_the_last_states_are_left_at_once():
    ended = []
    for machine, event in (
        (INVITE_CLIENT, Event.FAILURE),
        (CLIENT, Event.SUCCESS),
        (SERVER, Event.ANSWER_SUCCESS),
    ):
        transaction = Transaction(machine, Schedule(Timers()), True, 0.0)
        transaction.step(event, 1.0)
        ended.append(transaction.is_over)
    refused = Transaction(INVITE_SERVER, Schedule(Timers()), True, 0.0)
    refused.step(Event.ANSWER_FAILURE, 1.0)
    ended.append(refused.is_over)
    refused.step(Event.ACK, 2.0)
    ended.append(refused.is_over)
    assert ended == [True, True, True, False, True]


def test_shorter_times_scale_everything():
    transaction = Transaction(CLIENT, Schedule(Timers(t1=0.05, t2=0.4)), False, 0.0)
    done = fired(transaction, 100)
    assert done[0][0] == pytest.approx(0.05)
    assert done[-1][0] == pytest.approx(3.2)
    assert done[-1][1] == (Action.FAIL_TIMEOUT,)


def test_a_timer_that_is_late_fires_once():
    transaction = standing_in(INVITE_CLIENT, State.CALLING)
    assert transaction.fire(20.0) == (Action.RESEND,)
    assert transaction.deadline() == 21.0
    assert transaction.fire(1000.0) == (Action.RESEND, Action.FAIL_TIMEOUT)
