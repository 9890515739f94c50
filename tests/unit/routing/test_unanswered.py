"""Clients that read but never answer the ping behind a message: they neither stall nor get all again."""

import pytest

from tests.unit.rig import Device, Rig
from tests.unit.users.place import DOMAIN
from ubiety.routing import sessions
from ubiety.store.errors import DatabaseBusy
from ubiety.users.preferences import ANSWER_SECONDS, PING_SECONDS
from ubiety.users.unanswered import SPARE_SECONDS

PATIENCE = PING_SECONDS.default + ANSWER_SECONDS + SPARE_SECONDS
LIMIT = 10


@pytest.fixture
async def pair(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> tuple[Device, Device]:
    """A sender with stream management, and a recipient without, of whom a few messages make a congestion."""
    monkeypatch.setattr(sessions, "MAX_UNACKNOWLEDGED", LIMIT)
    (ann,) = await rig.person("ann", "desk")
    (bob,) = await rig.person("bob", "desk", managed=False)
    await ann.sign_in()
    await bob.sign_in()
    return ann, bob


def bodies(device: Device) -> list[int]:
    """Read all and return the numbers of the messages, in the order in which they came."""
    assert device.wire is not None
    written = [data for data in device.wire.unread if data.startswith(b"<message")]
    device.read()
    return [int(data.partition(b"<body>")[2].partition(b"<")[0]) for data in written]


async def wait(rig: Rig, seconds: float) -> None:
    """Let time pass, in which the node looks after its sessions once at the beginning and once at the end."""
    rig.place.users.expire()
    rig.place.clock.advance(seconds)
    rig.place.users.expire()
    await rig.calm()


async def test_client_that_answers_no_pings_gets_everything_once(
    rig: Rig, pair: tuple[Device, Device]
) -> None:
    ann, bob = pair
    for _ in range(3 * LIMIT):
        ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    assert bodies(bob) == list(range(1, LIMIT + 1))  # the others wait as rows
    assert bob.session is not None and bob.session.congested
    await wait(rig, PATIENCE - 1)
    assert bodies(bob) == []
    await wait(rig, 2)
    assert bodies(bob) == list(range(LIMIT + 1, 3 * LIMIT + 1))
    assert not bob.session.congested
    for _ in range(2 * LIMIT):
        ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    assert bodies(bob) == list(range(3 * LIMIT + 1, 5 * LIMIT + 1))
    await bob.sign_in()  # nothing of that comes again
    await rig.calm()
    assert bodies(bob) == []
    assert await rig.finish() == 5 * LIMIT


async def test_client_that_goes_before_it_is_given_up_gets_its_messages_again(
    rig: Rig, pair: tuple[Device, Device]
) -> None:
    ann, bob = pair
    for _ in range(3):
        ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    assert bodies(bob) == [1, 2, 3]
    await wait(rig, PATIENCE - 1)
    bob.cut()
    await bob.sign_in()
    await rig.calm()
    assert bodies(bob) == [1, 2, 3]
    await rig.finish()


async def test_every_ping_has_its_own_time(rig: Rig, pair: tuple[Device, Device]) -> None:
    ann, bob = pair
    for _ in range(4):  # each is answered just in time
        ann.write_to(f"bob@{DOMAIN}")
        await wait(rig, PATIENCE - 1)
        bob.read()
        bob.acknowledge()
    assert bob.session is not None and bob.session.answers_pings
    await rig.finish()


async def test_a_late_answer_restores_the_trust_in_pings(rig: Rig, pair: tuple[Device, Device]) -> None:
    ann, bob = pair
    ann.write_to(f"bob@{DOMAIN}")
    await wait(rig, PATIENCE + 1)
    assert bob.session is not None and not bob.session.answers_pings
    bob.read()
    bob.acknowledge()
    assert bob.session.answers_pings
    ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    assert len(bob.session.tokens()) == 1  # it is asked again
    await rig.finish()


async def test_nobody_is_given_up_while_nothing_is_read_from_clients(
    rig: Rig, pair: tuple[Device, Device]
) -> None:
    ann, bob = pair
    ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    rig.place.users.expire()
    rig.place.ledger.trouble = DatabaseBusy("locked")
    rig.place.clock.advance(2 * PATIENCE)
    rig.place.users.expire()
    rig.place.ledger.trouble = None
    rig.place.users.expire()
    assert bob.session is not None and len(bob.session.tokens()) == 1
    await rig.finish()


async def test_a_slow_reader_is_not_given_up(rig: Rig, pair: tuple[Device, Device]) -> None:
    ann, bob = pair
    ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    bob.congest(True)
    await wait(rig, 2 * PATIENCE)
    assert bob.session is not None and len(bob.session.tokens()) == 1
    bob.congest(False)
    await wait(rig, PATIENCE - 1)
    assert len(bob.session.tokens()) == 1
    await rig.finish()
