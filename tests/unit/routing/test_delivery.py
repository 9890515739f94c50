"""Who gets a message: RFC 6121 §8.5 and the hints of XEP-0334 as tables."""

from dataclasses import dataclass

import pytest

from ubiety.routing import delivery
from ubiety.routing.delivery import Otherwise
from ubiety.stanza import Stanza
from ubiety.xmpp import ns

BODY, STORE = (ns.CLIENT, "body"), (ns.HINTS, "store")
NO_STORE, NO_PERMANENT = (ns.HINTS, "no-store"), (ns.HINTS, "no-permanent-store")
COMPOSING, SUBJECT = (ns.CHAT_STATES, "composing"), (ns.CLIENT, "subject")


@dataclass(eq=False)
class Client:
    """A session as delivery sees it."""

    name: str
    available: bool = True
    priority: int = 0


@pytest.mark.parametrize(
    ("type_", "children", "expected"),
    [
        ("chat", (BODY,), True),
        ("normal", (BODY,), True),
        (None, (BODY,), True),
        (None, (SUBJECT, BODY), True),
        ("headline", (BODY,), False),
        ("groupchat", (BODY,), False),
        ("error", (BODY,), False),
        ("invented", (BODY,), False),
        ("chat", (), False),
        ("chat", (COMPOSING,), False),
        ("chat", (SUBJECT,), False),
        ("chat", (STORE, COMPOSING), True),
        ("chat", (BODY, NO_STORE), False),
        ("chat", (BODY, NO_PERMANENT), False),
        ("chat", (BODY, STORE, NO_STORE), False),
        ("chat", (("urn:other", "body"),), False),
    ],
)
def test_durable_kinds(type_: str | None, children: tuple[tuple[str, str], ...], expected: bool) -> None:
    assert delivery.is_durable(Stanza("message", type=type_, children=children)) is expected


def test_bare_address_reaches_all_available_sessions_that_are_not_negative() -> None:
    desk, phone = Client("desk", priority=5), Client("phone", priority=0)
    others = [Client("robot", priority=-1), Client("mute", available=False, priority=9)]
    assert delivery.takes_bare([desk, *others, phone]) == [desk, phone]
    assert delivery.takes_bare(others) == []


def test_forking_goes_to_all_until_one_answers() -> None:
    desk, phone = Client("desk"), Client("phone", priority=10)
    assert delivery.fork([desk, phone], None) == [desk, phone]
    assert delivery.fork([desk, phone], desk) == [desk]
    desk.available = False
    assert delivery.fork([desk, phone], desk) == [phone]
    desk.available, desk.priority = True, -1
    assert delivery.fork([desk, phone], desk) == [phone]


def test_nobody_there() -> None:
    # RFC 6121 §8.5.2.2.1 and §8.5.3.2.1
    expected = {
        "normal": Otherwise.STORE,
        "chat": Otherwise.STORE,
        "headline": Otherwise.DROP,
        "groupchat": Otherwise.REFUSE,
        "error": Otherwise.DROP,
    }
    assert expected == delivery.NOBODY_THERE == delivery.NOT_CONNECTED
