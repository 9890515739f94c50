"""Every condition has a status, every status a condition, and there and back nothing is turned round."""

import pytest

from ubiety.conditions import STANZA_ERRORS, Condition
from ubiety.gateway.statuses import FROM_SIP, SAID, TO_SIP, condition_of, error_of, status_of

# What a condition may become on its way through SIP and back: as near as SIP has it.
THERE_AND_BACK = {
    "conflict": "bad-request",
    "jid-malformed": "item-not-found",
    "not-allowed": "forbidden",
    "not-authorized": "forbidden",
    "policy-violation": "forbidden",
    "remote-server-not-found": "item-not-found",
    "service-unavailable": "recipient-unavailable",
    "subscription-required": "forbidden",
    "undefined-condition": "internal-server-error",
}


@pytest.mark.parametrize("condition", STANZA_ERRORS)
def test_every_condition(condition: str) -> None:
    status = status_of(condition)
    assert 300 <= status < 700
    assert condition_of(status) == THERE_AND_BACK.get(condition, condition)


def test_the_table_is_whole() -> None:
    assert set(TO_SIP) == {condition.wire_name for condition in Condition}
    assert set(FROM_SIP.values()) <= set(STANZA_ERRORS)


@pytest.mark.parametrize("status", range(300, 700))
def test_every_status_is_an_error(status: int) -> None:
    error = error_of(status, "Because")
    assert error.condition in STANZA_ERRORS
    said = SAID.get(status)
    assert error.text == (f"{said} ({status} Because)" if said else f"{status} Because")


@pytest.mark.parametrize(
    ("status", "condition", "type"),
    [
        (404, "item-not-found", "cancel"),
        (408, "remote-server-timeout", "wait"),
        (480, "recipient-unavailable", "wait"),
        (503, "resource-constraint", "wait"),
        (603, "recipient-unavailable", "wait"),
        (None, "remote-server-timeout", "wait"),
        (499, "bad-request", "modify"),
        (599, "internal-server-error", "cancel"),
        (699, "recipient-unavailable", "wait"),
    ],
)
def test_what_senders_are_told(status: int | None, condition: str, type: str) -> None:
    error = error_of(status)
    assert (error.condition, error.type) == (condition, type)
    assert error.text, "a client shows it"
