"""Verdicts: settled once, told to everybody who asked."""

from ubiety.routing.verdict import DELIVERED, Pending, Refused, Settled, refuse


def test_callbacks_get_the_first_verdict_in_order() -> None:
    pending = Pending()
    told: list[tuple[str, Settled]] = []
    pending.then(lambda verdict: told.append(("a", verdict)))
    pending.then(lambda verdict: told.append(("b", verdict)))
    assert pending.verdict is None
    pending.settle(DELIVERED)
    pending.settle(refuse("gone"))
    pending.then(lambda verdict: told.append(("late", verdict)))
    assert told == [("a", DELIVERED), ("b", DELIVERED), ("late", DELIVERED)]


def test_callback_may_ask_and_settle_again() -> None:
    pending = Pending()
    told: list[Settled] = []

    def callback(verdict: Settled) -> None:
        pending.settle(refuse("conflict"))
        pending.then(told.append)
        told.append(verdict)

    pending.then(callback)
    pending.settle(DELIVERED)
    assert told == [DELIVERED, DELIVERED]


def test_refusal_carries_the_error() -> None:
    verdict = refuse("not-acceptable", "No.")
    assert isinstance(verdict, Refused)
    assert (verdict.error.condition, verdict.error.type, verdict.error.text) == (
        "not-acceptable",
        "modify",
        "No.",
    )
