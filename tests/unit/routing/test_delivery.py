"""Who gets a message: RFC 6121 §8.5 row by row."""

from dataclasses import dataclass

import pytest

from ubiety.routing.delivery import NOBODY_THERE, NOT_CONNECTED, fork, is_durable, kind_of, takes_bare
from ubiety.stanza import Stanza
from ubiety.xmpp import ns

BODY = (ns.CLIENT, "body")


@dataclass
class Device:
    available: bool
    priority: int


@pytest.mark.parametrize(
    ("type_", "kind"),
    [(None, "normal"), ("normal", "normal"), ("chat", "chat"), ("odd", "normal"), ("", "normal")],
)
def test_unknown_types_are_normal(type_: str | None, kind: str) -> None:
    assert kind_of(Stanza("message", type=type_)) == kind  # RFC 6121 §5.2.2
    assert kind in NOBODY_THERE and kind in NOT_CONNECTED


@pytest.mark.parametrize(
    ("type_", "children", "durable"),
    [
        ("chat", [BODY], True),
        (None, [BODY], True),
        ("odd", [BODY], True),
        ("headline", [BODY], False),
        ("groupchat", [BODY], False),
        ("error", [BODY], False),
        ("chat", [(ns.CHAT_STATES, "active")], False),
        ("chat", [(ns.CHAT_STATES, "active"), (ns.HINTS, "store")], True),
        ("chat", [BODY, (ns.HINTS, "no-store")], False),
        ("chat", [BODY, (ns.HINTS, "no-permanent-store")], False),
        ("chat", [("urn:x", "body")], False),
    ],
)
def test_what_must_outlive_a_crash(type_: str | None, children: list[tuple[str, str]], durable: bool) -> None:
    assert is_durable(Stanza("message", type=type_, children=tuple(children))) is durable


def test_sessions_that_take_messages_to_the_bare_address() -> None:
    gone, low, usual, high = Device(False, 5), Device(True, -1), Device(True, 0), Device(True, 9)
    assert takes_bare([gone, low, usual, high]) == [usual, high]
    assert fork([gone, low, usual, high], None) == [usual, high]
    assert fork([gone, low, usual, high], high) == [high]
    assert fork([gone, low, usual, high], low) == [usual, high]
