"""Sessions as clients see them: what ``h`` counts, what waits for an answer, what survives the connection."""

import asyncio

import pytest

from tests.unit.rig import Device, Rig
from tests.unit.users.place import DOMAIN
from ubiety.routing import sessions
from ubiety.routing.verdict import DELIVERED, Pending, Refused, refuse

ROSTER = "<iq type='get' id='r{}'><query xmlns='jabber:iq:roster'/></iq>"  # answered after a read


async def online(rig: Rig, name: str, resource: str = "desk", *, managed: bool = True) -> Device:
    """Somebody who has signed in."""
    (device,) = await rig.person(name, resource, managed=managed)
    await device.sign_in()
    await rig.calm()
    return device


def results(device: Device) -> list[str]:
    """Read all and return the ids of the answers."""
    assert device.wire is not None
    found = [
        data.partition(b" id='")[2].partition(b"'")[0].decode()
        for data in device.wire.unread
        if data.startswith(b"<iq") and (b"type='result'" in data or b"type='error'" in data)
    ]
    device.read()
    return found


async def test_a_repeat_is_not_acknowledged_before_the_first_is_stored(rig: Rig) -> None:
    rig.place.ledger.window = 0.2
    ann = await online(rig, "ann")
    await rig.person("bob", "desk")
    await rig.place.users.load(rig.place.context.homes.find(f"bob@{DOMAIN}"))  # type: ignore[arg-type]
    ann.write_to(f"bob@{DOMAIN}")
    ann.cut()
    await ann.sign_in()  # sends it again
    ann.request()
    ann.read()
    assert ann.outbox, "acknowledged while the first is in memory only"
    await rig.calm()
    ann.read()
    assert not ann.outbox
    await rig.finish()


async def test_a_repeat_of_a_message_that_is_refused_later_is_refused_too(rig: Rig) -> None:
    ann = await online(rig, "ann")
    await rig.person("bob", "desk")
    with rig.locked():
        name = ann.write_to(f"bob@{DOMAIN}")
        ann.cut()
        await ann.sign_in()
        for _ in range(100):
            await asyncio.sleep(0.01)
            if name in rig.refused:
                break
        ann.request()
        ann.read()
        assert name in rig.refused and not ann.outbox
    ann.give(
        f"<message type='chat' to='bob@{DOMAIN}' id='again'><body>1</body>"
        f"<origin-id xmlns='urn:xmpp:sid:0' id='{name}'/></message>"
    )
    await rig.calm()
    bob = rig.devices["bob/desk"]
    await bob.sign_in()
    await rig.calm()
    assert bob.wire is not None and any(b"id='again'" in data for data in bob.wire.unread)


async def test_what_waits_behind_a_query_is_acknowledged_unasked(rig: Rig) -> None:
    ann = await online(rig, "ann")
    await rig.person("bob", "desk")
    ann.give(ROSTER.format(1))
    ann.write_to(f"bob@{DOMAIN}")
    ann.request()  # once, and never again
    await rig.calm()
    ann.read()
    assert not ann.outbox


async def test_what_waits_behind_a_query_is_counted_once_when_it_is_sent_again(rig: Rig) -> None:
    ann = await online(rig, "ann")
    bob = await online(rig, "bob")
    held = Pending()
    assert ann.session is not None
    ann.session.hold(held)
    for _ in range(3):
        ann.write_to(f"bob@{DOMAIN}")
    ann.cut()
    assert await ann.resume()  # sends all three again: nothing was counted
    held.settle(DELIVERED)
    await rig.calm()
    ann.request()
    ann.read()  # checks that h is not above what was sent
    assert not ann.outbox
    bob.read()
    assert rig.repeats == 0


@pytest.mark.parametrize("verdict", [DELIVERED, refuse("resource-constraint")])
async def test_a_late_verdict_does_not_settle_what_came_after_a_resumption(
    rig: Rig, verdict: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ubiety.users.service.SETTLE_SECONDS", 0.001)
    ann = await online(rig, "ann")
    pendings = [Pending(), Pending()]
    session = ann.session
    assert session is not None

    class Owner:
        def handle(self, *_: object) -> Pending:
            return pendings.pop(0)

        drained = overrun = handle

    owner, session.owner = session.owner, Owner()  # type: ignore[assignment]
    first, second = pendings
    ann.give("<message to='bob@example.org'><body>x</body></message>")
    ann.cut()
    session.owner, restored = owner, session.owner
    assert await ann.resume()
    session.owner = restored
    before = session.smacks.h  # type: ignore[union-attr]
    ann.give("<message to='zoe@example.org'><body>y</body></message>")
    first.settle(verdict)
    assert session.smacks.h == before  # type: ignore[union-attr]
    second.settle(DELIVERED)
    assert session.smacks.h == before + 1  # type: ignore[union-attr]
    session.owner = owner


async def test_reading_stops_while_much_waits_and_goes_on_after(rig: Rig) -> None:
    ann = await online(rig, "ann")
    assert ann.wire is not None
    for number in range(3 * sessions.MAX_WAITING):
        ann.give(ROSTER.format(number))
        assert ann.wire.reading is (number <= sessions.MAX_WAITING - 1)
    await asyncio.sleep(0.005)
    while not ann.wire.reading:
        waiting = ann.session._waiting  # type: ignore[union-attr]
        assert waiting is not None and len(waiting) >= sessions.MAX_WAITING, "it is read on too late"
        await asyncio.sleep(0)
    for number in range(200, 200 + 2 * sessions.MAX_WAITING):
        ann.give(ROSTER.format(number))
    assert not ann.wire.reading, "it is read on without a bound"
    await rig.calm()
    assert ann.wire.reading
    assert results(ann) == [
        *(f"r{n}" for n in range(3 * sessions.MAX_WAITING)),
        *(f"r{n}" for n in range(200, 200 + 2 * sessions.MAX_WAITING)),
    ]


async def test_two_answers_that_hold_a_client_back_are_both_awaited(rig: Rig) -> None:
    ann = await online(rig, "ann")
    assert ann.session is not None
    first, second = Pending(), Pending()
    ann.session.hold(first)
    ann.session.hold(second)
    ann.give("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
    first.settle(DELIVERED)
    assert results(ann) == []
    second.settle(DELIVERED)
    assert results(ann) == ["p"]


@pytest.mark.parametrize("managed", [True, False])
async def test_a_message_sent_just_before_signing_out_is_not_dropped(rig: Rig, managed: bool) -> None:
    ann = await online(rig, "ann", managed=managed)
    bob = await online(rig, "bob")
    ann.give(ROSTER.format(1))
    ann.write_to(f"bob@{DOMAIN}")
    ann.sign_out()
    await rig.calm()
    assert bob.wire is not None and any(b"<body>1</body>" in data for data in bob.wire.unread)


async def test_presence_is_shed_first_when_a_client_does_not_acknowledge(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_UNACKNOWLEDGED", 20)
    ann = await online(rig, "ann")
    phone = await online(rig, "ann", "phone")
    phone.read()
    for number in range(100):
        ann.give(f"<presence><status>{number}</status></presence>")
    assert phone.wire is not None
    assert len(phone.wire.unread) <= 25, "presence is kept without a bound"
    phone.read()
    phone.acknowledge()
    assert b"<status>99</status>" in b"".join(phone.wire.unread), "the newest never came"
