"""The notifier: one NOTIFY in flight, the newest body only, every change finally shown, no timer left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ubiety.sip.notifier import ENDS_SUBSCRIPTION, MAX_TIMEOUTS, RETRY_SECONDS
from ubiety.sip.subscription import Ended, Notifier, NotifierOutput, Notify, State, parse_state

PIDF = "application/pidf+xml"


def body_of(outputs: list[NotifierOutput]) -> bytes | None:
    (output,) = outputs
    assert isinstance(output, Notify)
    return output.body


def active(now: float = 0.0, expires: float = 3600.0, pause: float = 0.0) -> Notifier:
    """An active subscription that was told b"one"."""
    notifier = Notifier(now, expires, is_active=True, pause=pause)
    assert notifier.show(b"one", PIDF, now) == [Notify(b"one", PIDF, f"active;expires={round(expires)}")]
    assert notifier.notified(200, None, now) == []
    return notifier


def test_the_first_notify_of_a_pending_subscription_tells_nothing() -> None:
    notifier = Notifier(0.0, 3600.0, is_active=False)
    assert notifier.begin(0.0) == [Notify(None, "", "pending;expires=3600")]
    assert notifier.show(b"secret", PIDF, 1.0) == []
    assert notifier.notified(200, None, 2.0) == []
    assert notifier.show(b"more", PIDF, 3.0) == []
    assert notifier.deadline() == 3600.0


def test_before_the_begin_nothing_is_told_and_then_all_at_once() -> None:
    notifier = Notifier(0.0, 3600.0, is_active=False, is_held=True)
    assert notifier.show(b"old", PIDF, 1.0) == notifier.approve(2.0) == notifier.show(b"new", PIDF, 3.0) == []
    assert notifier.tick(5.0) == [] and notifier.deadline() is None
    assert notifier.begin(10.0) == [Notify(b"new", PIDF, "active;expires=3590")]


def test_what_ends_before_the_begin_is_told_so() -> None:
    notifier = Notifier(0.0, 3600.0, is_active=True, is_held=True)
    assert notifier.end("noresource", 1.0) == []
    assert notifier.begin(2.0) == [Notify(None, "", "terminated;reason=noresource"), Ended("noresource")]


def test_approval_shows_what_was_held_back() -> None:
    notifier = Notifier(0.0, 3600.0, is_active=False)
    notifier.begin(0.0)
    notifier.notified(200, None, 0.0)
    notifier.show(b"here", PIDF, 5.0)
    assert notifier.approve(10.0) == [Notify(b"here", PIDF, "active;expires=3590")]
    assert notifier.approve(11.0) == []


def test_only_the_newest_waits_behind_the_one_in_flight() -> None:
    notifier = active()
    assert body_of(notifier.show(b"two", PIDF, 1.0)) == b"two"
    assert notifier.show(b"three", PIDF, 1.0) == []
    assert notifier.show(b"four", PIDF, 1.0) == []
    assert body_of(notifier.notified(200, None, 2.0)) == b"four"
    assert notifier.notified(200, None, 3.0) == []


def test_nothing_new_is_not_told_again() -> None:
    notifier = active()
    assert notifier.show(b"one", PIDF, 1.0) == []
    notifier.show(b"two", PIDF, 1.0)
    assert notifier.show(b"one", PIDF, 1.0) == []
    assert body_of(notifier.notified(200, None, 2.0)) == b"one"  # two was told meanwhile


def test_changes_keep_a_pause_and_a_refresh_does_not() -> None:
    notifier = active(pause=5.0)
    assert notifier.show(b"two", PIDF, 1.0) == []
    assert notifier.deadline() == 5.0
    assert notifier.tick(4.9) == []
    assert body_of(notifier.tick(5.0)) == b"two"
    notifier.notified(200, None, 5.1)
    assert notifier.refresh(7200.0, 6.0) == [Notify(b"two", PIDF, "active;expires=7200")]


def test_it_expires() -> None:
    notifier = active(expires=60.0)
    assert notifier.tick(59.0) == []
    assert notifier.tick(60.0) == [Notify(b"one", PIDF, "terminated;reason=timeout"), Ended("timeout")]
    assert notifier.deadline() is None
    assert notifier.notified(481, None, 61.0) == []
    assert notifier.show(b"two", PIDF, 62.0) == []


def test_unsubscribing_brings_the_last_state() -> None:
    notifier = active()
    assert notifier.refresh(0.0, 5.0) == [Notify(b"one", PIDF, "terminated;reason=timeout"), Ended("timeout")]


def test_a_fetch_is_one_notify() -> None:
    notifier = Notifier(0.0, 0.0, is_active=True)
    assert notifier.show(b"one", PIDF, 0.0) == [
        Notify(b"one", PIDF, "terminated;reason=timeout"),
        Ended("timeout"),
    ]


def test_an_end_waits_for_the_notify_in_flight() -> None:
    notifier = active()
    notifier.show(b"two", PIDF, 1.0)
    assert notifier.end("deactivated", 2.0) == []
    assert notifier.deadline() is None
    assert notifier.notified(200, None, 3.0) == [
        Notify(b"two", PIDF, "terminated;reason=deactivated"),
        Ended("deactivated"),
    ]


def test_a_pending_watcher_who_is_dropped_learns_nothing() -> None:
    notifier = Notifier(0.0, 3600.0, is_active=False)
    notifier.begin(0.0)
    notifier.notified(200, None, 0.0)
    notifier.show(b"secret", PIDF, 1.0)
    assert notifier.end("giveup", 2.0, retry_after=60) == [
        Notify(None, "", "terminated;reason=giveup;retry-after=60"),
        Ended("giveup"),
    ]


@pytest.mark.parametrize("status", sorted(ENDS_SUBSCRIPTION))
def test_answers_that_end_it(status: int) -> None:
    notifier = active()
    notifier.show(b"two", PIDF, 1.0)
    assert notifier.notified(status, None, 2.0) == [Ended(str(status))]
    assert notifier.deadline() is None


def test_481_ends_it_whatever_it_promises() -> None:
    notifier = active()
    notifier.show(b"two", PIDF, 1.0)
    assert notifier.notified(481, 30.0, 2.0) == [Ended("481")]


@pytest.mark.parametrize(
    ("status", "retry_after", "wait"),
    [
        (503, 120.0, 120.0),
        (503, None, RETRY_SECONDS),
        (500, None, RETRY_SECONDS),
        (480, 7.0, 7.0),
        (None, None, 30.0),
    ],
)
def test_a_failure_is_made_good(status: int | None, retry_after: float | None, wait: float) -> None:
    notifier = active()
    notifier.show(b"two", PIDF, 1.0)
    assert notifier.notified(status, retry_after, 2.0) == []
    assert notifier.show(b"three", PIDF, 3.0) == []
    assert notifier.deadline() == 2.0 + wait
    assert body_of(notifier.tick(2.0 + wait)) == b"three"


def test_silence_is_borne_for_a_while() -> None:
    notifier = active(expires=100_000.0)
    notifier.show(b"two", PIDF, 1.0)
    for _ in range(MAX_TIMEOUTS - 1):
        now = notifier.notified(None, None, 2.0) or notifier.deadline()
        assert isinstance(now, float)
        assert body_of(notifier.tick(now)) == b"two"
    assert notifier.notified(None, None, 5.0) == [Ended("no answer")]


class Watched(RuleBasedStateMachine):
    """Anything may happen to a subscription in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.notifier = Notifier(0.0, 1000.0, is_active=False, pause=2.0)
        self.in_flight: Notify | None = None
        self.newest: bytes | None = None
        self.told: bytes | None = None
        self.is_approved = False
        self.ended = 0
        self.perform(self.notifier.begin(0.0))

    def perform(self, outputs: list[NotifierOutput]) -> None:
        for output in outputs:
            if isinstance(output, Ended):
                self.ended += 1
                continue
            assert self.in_flight is None, "two NOTIFYs in flight"
            assert self.ended == 0, "something after the end"
            assert output.body in (None, self.newest), "an old body"
            assert self.is_approved or output.body is None, "told before it was approved"
            self.in_flight = output

    @rule(number=st.integers(0, 3))
    def show(self, number: int) -> None:
        body = b"state %d" % number
        if not self.notifier.is_over:
            self.newest = body
        self.perform(self.notifier.show(body, PIDF, self.now))

    @rule()
    def approve(self) -> None:
        self.is_approved = True
        self.perform(self.notifier.approve(self.now))

    @rule(expires=st.sampled_from([0.0, 30.0, 5000.0]))
    def refresh(self, expires: float) -> None:
        self.perform(self.notifier.refresh(expires, self.now))

    @rule(status=st.sampled_from([200, 200, 200, 202, 500, 503, None, 481]))
    @precondition(lambda self: self.in_flight is not None)
    def answer(self, status: int | None) -> None:
        assert self.in_flight is not None
        if status is not None and status < 300:
            self.told = self.in_flight.body
        self.in_flight = None
        self.perform(self.notifier.notified(status, None, self.now))

    @rule(seconds=st.floats(0.0, 400.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.perform(self.notifier.tick(self.now))

    @invariant()
    def is_quiet_after_the_end(self) -> None:
        assert self.ended == (1 if self.notifier.is_over else 0)
        if self.notifier.is_over:
            assert self.notifier.deadline() is None

    def teardown(self) -> None:
        """Whoever answers from now on has everything shown in the end."""
        if self.notifier.is_over:
            return
        self.perform(self.notifier.refresh(1e9, self.now))
        for _ in range(20):
            if self.in_flight is not None:
                self.answer(200)
            deadline = self.notifier.deadline()
            if self.in_flight is None and (deadline is None or deadline > 1e8):
                break
            self.now = max(self.now, deadline or 0.0)
            self.perform(self.notifier.tick(self.now))
        if self.is_approved and not self.notifier.is_over:
            assert self.told == self.newest
            assert self.notifier.state is State.ACTIVE


TestWatched = Watched.TestCase


@given(st.text(max_size=60))
def test_any_subscription_state_can_be_read(text: str) -> None:
    value = parse_state(text)
    assert parse_state(str(value)).state is value.state


@pytest.mark.parametrize(
    ("text", "state", "reason", "expires", "retry_after"),
    [
        ("active;expires=7200", State.ACTIVE, "", 7200, None),
        ("Pending ; Expires = 10", State.PENDING, "", 10, None),
        ("terminated;reason=Rejected", State.TERMINATED, "rejected", None, None),
        ('terminated;reason="probation";retry-after=60', State.TERMINATED, "probation", None, 60),
        ("hibernating;expires=-1", State.ACTIVE, "", None, None),
        ("active;expires=99999999999999999999", State.ACTIVE, "", None, None),
    ],
)
def test_subscription_states(
    text: str, state: State, reason: str, expires: int | None, retry_after: int | None
) -> None:
    value = parse_state(text)
    assert (value.state, value.reason, value.expires, value.retry_after) == (
        state,
        reason,
        expires,
        retry_after,
    )
