"""The subscriber: refreshes in time, new dialogs, retry classes, and nothing left after the end."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ubiety.sip.subscriber import GONE, MAX_EXPIRES, RETRIES, Retry
from ubiety.sip.subscription import Granted, Lost, Over, Subscribe, Subscriber, SubscriberOutput, Waiting

EXPIRES = 7446


def started(share: float = 0.0) -> Subscriber:
    """A subscriber whose first SUBSCRIBE is on its way."""
    subscriber = Subscriber(EXPIRES, share)
    assert subscriber.start(0.0) == [Subscribe(EXPIRES, True)]
    return subscriber


def granted(share: float = 0.0) -> Subscriber:
    """A subscriber who sees the other side's state."""
    subscriber = started(share)
    assert subscriber.answered(200, EXPIRES, None, 0.0) == []
    assert subscriber.notified(f"active;expires={EXPIRES}", 0.0) == [Granted()]
    return subscriber


def test_it_waits_and_is_granted() -> None:
    subscriber = started()
    assert subscriber.answered(202, 3600, None, 1.0) == []
    assert subscriber.notified("pending;expires=3600", 1.0) == [Waiting()]
    assert subscriber.notified("pending;expires=3500", 100.0) == []
    assert subscriber.notified("active;expires=3400", 200.0) == [Granted()]
    assert subscriber.notified("active;expires=3300", 300.0) == []


def test_a_notify_may_come_before_the_answer() -> None:
    subscriber = started()
    assert subscriber.notified("active;expires=7446", 0.5) == [Granted()]
    assert subscriber.deadline() is None
    assert subscriber.answered(200, 7446, None, 1.0) == []
    assert subscriber.is_established


@pytest.mark.parametrize(("share", "at"), [(0.0, 0.80), (0.5, 0.875), (1.0, 0.95)])
def test_refreshes_are_spread(share: float, at: float) -> None:
    subscriber = granted(share)
    assert subscriber.deadline() == pytest.approx(EXPIRES * at)
    assert subscriber.tick(EXPIRES * at - 1) == []
    assert subscriber.tick(EXPIRES * at) == [Subscribe(EXPIRES, False)]
    assert subscriber.deadline() is None


def test_the_other_side_may_grant_less() -> None:
    subscriber = started()
    subscriber.answered(200, 600, None, 0.0)
    subscriber.notified("active;expires=600", 0.0)
    assert subscriber.deadline() == pytest.approx(480.0)
    subscriber.notified("active;expires=100", 10.0)
    assert subscriber.deadline() == pytest.approx(90.0)
    subscriber.notified("active;expires=500", 20.0)  # a NOTIFY never lengthens it
    assert subscriber.deadline() == pytest.approx(90.0)


def test_notifies_do_not_move_the_refresh() -> None:
    subscriber = granted()
    for now in (1000.0, 3000.0, 5000.0):
        subscriber.notified(f"active;expires={EXPIRES - round(now)}", now)
    assert subscriber.deadline() == pytest.approx(EXPIRES * 0.8)


def test_too_brief() -> None:
    subscriber = started()
    assert subscriber.answered(423, 9000, None, 0.0) == [Subscribe(9000, True)]
    assert subscriber.answered(200, 9000, None, 0.0) == []
    subscriber.notified("pending", 0.0)
    assert subscriber.tick(9000 * 0.8) == [Subscribe(9000, False)]


@pytest.mark.parametrize("wanted", [None, 10, EXPIRES, MAX_EXPIRES + 1])
def test_too_brief_without_sense(wanted: int | None) -> None:
    assert started().answered(423, wanted, None, 0.0) == [Lost("423", 60.0)]


def test_a_lost_dialog_is_opened_anew() -> None:
    subscriber = granted()
    subscriber.tick(EXPIRES * 0.8)
    assert subscriber.answered(481, None, None, 6000.0) == [Subscribe(EXPIRES, True)]
    assert subscriber.answered(200, EXPIRES, None, 6001.0) == []
    assert subscriber.notified("active", 6001.0) == []  # nothing has changed for the user


@pytest.mark.parametrize("status", sorted((GONE - {481}) | {0}))
def test_a_refresh_that_ends_the_dialog(status: int) -> None:
    subscriber = granted()
    subscriber.tick(6000.0)
    assert subscriber.answered(status or None, None, None, 6000.0) == []
    assert subscriber.deadline() == 6015.0
    assert subscriber.tick(6015.0) == [Subscribe(EXPIRES, True)]
    (lost,) = subscriber.answered(503, None, None, 6016.0)
    assert lost == Lost("503", 6046.0)


def test_a_refresh_that_fails_leaves_the_subscription() -> None:
    subscriber = granted()
    subscriber.tick(6000.0)
    assert subscriber.answered(503, None, None, 6000.0) == []
    assert subscriber.tick(6015.0) == [Subscribe(EXPIRES, False)]
    assert subscriber.answered(503, None, 3000.0, 6020.0) == []
    assert subscriber.deadline() == EXPIRES
    assert subscriber.tick(EXPIRES) == [Lost("expired", EXPIRES + 60.0)]
    assert subscriber.tick(EXPIRES + 60.0) == [Subscribe(EXPIRES, True)]


def test_481_at_once_after_481_is_no_loop() -> None:
    subscriber = started()
    assert subscriber.answered(481, None, None, 0.0) == [Lost("481", 60.0)]
    subscriber.tick(60.0)
    subscriber.answered(200, 100, None, 60.0)
    subscriber.notified("active", 60.0)
    subscriber.tick(100.0 + 60.0 * 0.8)
    assert subscriber.answered(481, None, None, 110.0) == []
    assert subscriber.deadline() == 125.0


@pytest.mark.parametrize("status", [*sorted(RETRIES), 401, 407, 480, 486, 600, None])
def test_retry_classes(status: int | None) -> None:
    subscriber = started(share=0.5)
    kind = Retry.SOON if status is None else RETRIES.get(status, Retry.LATER)
    (lost,) = subscriber.answered(status, None, None, 100.0)
    assert isinstance(lost, Lost)
    if kind is Retry.NEVER:
        assert lost.retry_at is None
        assert subscriber.is_over
        assert subscriber.deadline() is None
        return
    assert lost.retry_at == 100.0 + kind.first * 1.5
    assert subscriber.tick(lost.retry_at) == [Subscribe(EXPIRES, True)]


def test_retries_become_rarer_and_honour_retry_after() -> None:
    subscriber = started()
    waits = []
    now = 0.0
    for _ in range(9):
        (lost,) = subscriber.answered(503, None, None, now)
        assert isinstance(lost, Lost)
        assert lost.retry_at is not None
        waits.append(lost.retry_at - now)
        now = lost.retry_at
        subscriber.tick(now)
    assert waits == [15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 900.0, 900.0, 900.0]
    assert subscriber.answered(503, None, 5000.0, now) == [Lost("503", now + 5000.0)]


@pytest.mark.parametrize(
    ("state", "outputs"),
    [
        ("terminated;reason=deactivated", [Subscribe(EXPIRES, True)]),
        ("terminated;reason=timeout", [Subscribe(EXPIRES, True)]),
        ("terminated;reason=probation;retry-after=120", [Lost("probation", 1120.0)]),
        ("terminated;reason=giveup", [Lost("giveup", 1060.0)]),
        ("terminated", [Lost("terminated", 1060.0)]),
        ("terminated;reason=unheard-of", [Lost("unheard-of", 1060.0)]),
        ("terminated;reason=rejected", [Lost("rejected", None)]),
        ("terminated;reason=noresource", [Lost("noresource", None)]),
        ("terminated;reason=invariant", [Lost("invariant", None)]),
    ],
)
def test_reasons_of_termination(state: str, outputs: list[SubscriberOutput]) -> None:
    subscriber = granted()
    assert subscriber.notified(state, 1000.0) == outputs
    assert (subscriber.deadline() is None) == (
        outputs[0] in (Subscribe(EXPIRES, True), Lost(state[18:], None))
    )


def test_one_that_is_ended_at_once_is_not_asked_at_once() -> None:
    assert granted().notified("terminated;reason=deactivated", 1.0) == [Lost("deactivated", 61.0)]


def test_a_grant_without_notify_is_asked_about() -> None:
    subscriber = started()
    subscriber.answered(200, EXPIRES, None, 0.0)
    assert subscriber.deadline() == 32.0
    assert subscriber.tick(32.0) == []
    assert subscriber.tick(332.0) == [Subscribe(EXPIRES, False)]


def test_stopping() -> None:
    subscriber = granted()
    assert subscriber.stop(10.0) == [Subscribe(0, False)]
    assert subscriber.stop(10.0) == []
    assert subscriber.answered(200, 0, None, 11.0) == []
    assert subscriber.notified("active;expires=3000", 11.5) == []  # it was on its way
    assert subscriber.deadline() == 43.0
    assert subscriber.notified("terminated;reason=timeout", 12.0) == [Over()]
    assert subscriber.deadline() is None


def test_stopping_with_somebody_who_says_nothing_of_the_end() -> None:
    subscriber = granted()
    subscriber.stop(10.0)
    subscriber.answered(200, 0, None, 11.0)
    assert subscriber.tick(43.0) == [Over()]
    assert subscriber.deadline() is None


def test_stopping_while_it_is_asked_for() -> None:
    subscriber = started()
    assert subscriber.stop(1.0) == []
    assert subscriber.answered(200, EXPIRES, None, 2.0) == [Subscribe(0, False)]
    assert subscriber.notified("terminated;reason=timeout", 3.0) == [Over()]


@pytest.mark.parametrize(
    ("status", "outputs"),
    [(200, [Subscribe(0, False)]), (503, [Subscribe(0, False)]), (481, [Over()]), (None, [Over()])],
)
def test_stopping_while_it_is_refreshed(status: int | None, outputs: list[SubscriberOutput]) -> None:
    subscriber = granted()
    subscriber.tick(6000.0)
    assert subscriber.stop(6001.0) == []
    assert subscriber.answered(status, None, None, 6002.0) == outputs


def test_stopping_what_is_lost() -> None:
    subscriber = started()
    subscriber.answered(503, None, None, 0.0)
    assert subscriber.stop(1.0) == [Over()]
    assert subscriber.deadline() is None


def test_restoring() -> None:
    subscriber = Subscriber(EXPIRES, 0.0)
    subscriber.restore(expires_at=5000.0, refresh_at=12.0, is_granted=True)
    assert subscriber.deadline() == 12.0
    assert subscriber.tick(12.0) == [Subscribe(EXPIRES, False)]
    assert subscriber.answered(481, None, None, 13.0) == [Subscribe(EXPIRES, True)]
    again = Subscriber(EXPIRES, 0.0)
    again.retry(3.0)
    assert again.tick(3.0) == [Subscribe(EXPIRES, True)]


STATES = [
    "active;expires=500",
    "pending",
    "terminated;reason=timeout",
    "terminated;reason=rejected",
    "terminated",
]


class Watching(RuleBasedStateMachine):
    """Whatever the other side does, there is one SUBSCRIBE at a time and an end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.subscriber = Subscriber(3600, 0.3)
        self.outstanding: Subscribe | None = None
        self.is_stopped = False
        self.is_granted = False
        self.is_over = False
        self.perform(self.subscriber.start(0.0))

    def perform(self, outputs: list[SubscriberOutput]) -> None:
        for output in outputs:
            assert not self.is_over
            match output:
                case Subscribe():
                    assert self.outstanding is None
                    assert (output.expires == 0) == self.is_stopped
                    self.outstanding = output
                case Granted():
                    assert not self.is_granted
                    self.is_granted = True
                case Waiting():
                    self.is_granted = False
                case Lost(_, retry_at):
                    self.is_granted = False
                    self.is_over = retry_at is None
                case Over():
                    assert self.is_stopped
                    self.is_over = True

    @rule(
        status=st.sampled_from([200, 200, 202, 403, 408, 423, 481, 503, None]),
        expires=st.sampled_from([None, 60, 600, 3600, 5000]),
    )
    @precondition(lambda self: self.outstanding is not None)
    def answer(self, status: int | None, expires: int | None) -> None:
        self.outstanding = None
        self.perform(self.subscriber.answered(status, expires, None, self.now))

    @rule(state=st.sampled_from(STATES))
    def notify(self, state: str) -> None:
        if state.startswith("terminated"):
            self.outstanding = None  # the caller forgets it: what it is answered says nothing any more
        self.perform(self.subscriber.notified(state, self.now))

    @rule(seconds=st.floats(0.0, 5000.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.perform(self.subscriber.tick(self.now))

    @rule()
    def stop(self) -> None:
        self.is_stopped = True
        self.perform(self.subscriber.stop(self.now))

    @invariant()
    def has_something_to_wait_for(self) -> None:
        """It waits for an answer or has a timer, or else it is over and has none."""
        assert self.subscriber.is_over == self.is_over
        deadline = self.subscriber.deadline()
        if self.is_over:
            assert deadline is None
        else:
            assert (self.outstanding is None) == (deadline is not None)

    def teardown(self) -> None:
        self.stop()
        if self.outstanding is not None:
            self.answer(408, None)
        if self.outstanding is not None:
            self.answer(408, None)
        self.wait(32.0)
        assert self.is_over
        assert self.subscriber.deadline() is None


TestWatching = Watching.TestCase
