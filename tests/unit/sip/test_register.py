"""The queue of transactions: no timer is missed, none fires early, and the queue stays small."""

from hypothesis import given
from hypothesis import strategies as st

from ubiety.sip.register import Register
from ubiety.sip.transaction import CLIENT, INVITE_CLIENT, MACHINES, Event, Schedule, Timers, Transaction

SCHEDULE = Schedule(Timers())


def earliest(live: list[Transaction]) -> float | None:
    return min((due for one in live if (due := one.deadline()) is not None), default=None)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("new"), st.sampled_from(MACHINES), st.booleans()),
            st.tuples(st.just("step"), st.integers(0, 9), st.sampled_from(list(Event))),
            st.tuples(st.just("wait"), st.floats(0, 40), st.none()),
        ),
        max_size=60,
    )
)
def test_every_timer_fires_when_it_should(steps: list[tuple[str, object, object]]):
    register = Register()
    live: list[Transaction] = []
    now = 0.0
    for what, first, second in steps:
        if what == "new":
            made = Transaction(first, SCHEDULE, bool(second), now)  # type: ignore[arg-type]
            register.add(made)
            live.append(made)
        elif what == "step" and live:
            one = live[int(first) % len(live)]  # type: ignore[call-overload]
            one.step(second, now)  # type: ignore[arg-type]
            register.settle(one)
        elif what == "wait":
            now += first  # type: ignore[operator]
            before = list(live)
            for one in register.due(now):
                due = one.deadline()
                assert due is not None
                assert due <= now
                one.fire(now)
                register.settle(one)
            assert all((due := one.deadline()) is None or due > now for one in before)
        live = [one for one in live if not one.is_over]
        assert len(register) == len(live)
        assert register.deadline() == earliest(live)
        assert all(register.get(one.key) is one for one in live)
        assert len({one.key for one in live}) == len(live)
    assert register.queue_length <= len(live) + 60


def test_the_queue_does_not_grow_with_what_is_over():
    register = Register()
    for _ in range(20_000):
        one = Transaction(CLIENT, SCHEDULE, True, 0.0)
        register.add(one)
        one.step(Event.SUCCESS, 0.0)
        register.settle(one)
    assert register.queue_length < 2000
    assert register.deadline() is None
    assert register.queue_length == 0


def test_a_transaction_stands_in_the_queue_once():
    register = Register()
    one = Transaction(INVITE_CLIENT, SCHEDULE, True, 0.0)
    register.add(one)
    one.step(Event.PROVISIONAL, 0.0)  # timer C is later than B was
    for now in range(1000):
        one.step(Event.PROVISIONAL, float(now))
        register.settle(one)
        register.deadline()
    assert register.queue_length == 1
