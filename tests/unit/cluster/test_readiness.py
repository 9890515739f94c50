"""What the data monitor decides: who waits, for how long, and what is told."""

from ubiety.cluster.readiness import (
    HOLD,
    QUIET_SECONDS,
    Condition,
    Delayed,
    Readiness,
    Recovered,
    Released,
    Troubled,
)

CONDITIONS = [Condition("database"), Condition("replication", is_essential=False)]
TIMEOUT = 60.0


def make(*, is_publisher: bool, database: str = "", replication: str = "", now: float = 100.0) -> Readiness:
    readiness = Readiness(CONDITIONS, is_publisher=is_publisher, timeout=TIMEOUT)
    readiness.seen("database", database, now)
    readiness.seen("replication", replication, now)
    return readiness


def test_a_node_whose_conditions_hold_starts_at_once() -> None:
    readiness = make(is_publisher=False)
    assert readiness.step(100.0) == [Released("")]
    assert readiness.is_released
    assert readiness.waiting_for == ""


def test_nothing_is_decided_before_everything_was_looked_at() -> None:
    readiness = Readiness(CONDITIONS, is_publisher=True, timeout=TIMEOUT)
    readiness.seen("database", "", 0.0)
    assert readiness.step(0.0) == []
    assert "replication: not looked at yet" in readiness.waiting_for


def test_a_subscriber_waits_for_as_long_as_it_takes() -> None:
    readiness = make(is_publisher=False, replication="the replica is away")
    assert readiness.step(100.0) == []
    assert readiness.step(100.0 + QUIET_SECONDS) == [Delayed("replication: the replica is away")]
    assert readiness.step(101.0 + QUIET_SECONDS) == [], "an alarm is raised once"
    assert readiness.step(100.0 + 100 * TIMEOUT) == []
    assert not readiness.is_released
    readiness.seen("replication", "", 7000.0)
    assert readiness.step(7000.0) == [Released(""), Recovered(HOLD)]


def test_the_publisher_goes_on_when_its_time_is_over() -> None:
    readiness = make(is_publisher=True, replication="the replica is away")
    assert readiness.step(100.0) == []
    readiness.step(100.0 + QUIET_SECONDS)
    assert readiness.step(99.9 + TIMEOUT) == []
    assert readiness.step(100.0 + TIMEOUT) == [
        Released("replication: the replica is away"),
        Recovered(HOLD),
        Troubled("replication", "the replica is away"),
    ]


def test_without_a_database_the_publisher_waits_too() -> None:
    readiness = make(is_publisher=True, database="it does not answer")
    readiness.step(100.0)
    readiness.step(110.0)
    assert readiness.step(100.0 + 10 * TIMEOUT) == []
    assert not readiness.is_released


def test_what_breaks_later_is_told_and_holds_nothing_back() -> None:
    readiness = make(is_publisher=False)
    readiness.step(100.0)
    readiness.seen("database", "it does not answer", 200.0)
    assert readiness.step(200.0) == []
    readiness.seen("database", "", 201.0)
    assert readiness.step(201.0) == [], "a moment is not worth an alarm"
    readiness.seen("database", "it does not answer", 210.0)
    readiness.seen("database", "it still does not", 212.0)
    assert readiness.step(210.0 + QUIET_SECONDS) == [Troubled("database", "it still does not")]
    assert readiness.step(220.0) == []
    assert readiness.is_released
    readiness.seen("database", "", 230.0)
    assert readiness.step(230.0) == [Recovered("database")]


def test_what_cannot_be_known_is_not_told() -> None:
    conditions = [Condition("database"), Condition("schema", needs="database")]
    readiness = Readiness(conditions, is_publisher=False, timeout=TIMEOUT)
    for name in ("database", "schema"):
        readiness.seen(name, "no answer", 100.0)
    assert readiness.step(100.0) == []
    assert readiness.step(110.0) == [Delayed("database: no answer")]
    readiness.seen("database", "", 111.0)
    assert readiness.waiting_for == "schema: no answer"


def test_a_delay_whose_cause_changes_is_told_again() -> None:
    readiness = make(is_publisher=False, database="no answer")
    readiness.step(100.0)
    assert readiness.step(106.0) == [Delayed("database: no answer")]
    readiness.seen("database", "refused", 107.0)
    assert readiness.step(107.0) == [], "the same is missing"
    readiness.seen("database", "", 108.0)
    readiness.seen("replication", "90 s behind", 108.0)
    assert readiness.step(108.0) == [Delayed("replication: 90 s behind")]


def test_what_could_not_be_known_has_its_time_when_it_can() -> None:
    conditions = [Condition("database"), Condition("directory", needs="database")]
    readiness = Readiness(conditions, is_publisher=False, timeout=TIMEOUT)
    for name in ("database", "directory"):
        readiness.seen(name, "", 100.0)
    assert readiness.step(100.0) == [Released("")]
    for now in (200.0, 230.0):
        readiness.seen("database", "no answer", now)
        readiness.seen("directory", "late", now)
        outputs = readiness.step(now)
    assert outputs == [Troubled("database", "no answer")]
    readiness.seen("database", "", 231.0)
    assert readiness.step(231.0) == [Recovered("database")], "it was late because of the database"
    assert readiness.step(230.0 + QUIET_SECONDS) == [Troubled("directory", "late")]
