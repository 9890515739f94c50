"""Messages to people who are not there: kept, in order, with the time, once (XEP-0160, XEP-0203)."""

from tests.unit.users.place import NOW, Client, Place
from ubiety.store import messages
from ubiety.users.stamps import format_stamp
from ubiety.xmpp import ns


def say(sender: Client, to: str, *bodies: str) -> None:
    """Send messages."""
    for body in bodies:
        sender.send(f"<message type='chat' to='{to}'><body>{body}</body></message>")


async def waiting(place: Place, name: str) -> int:
    """How many messages are kept for somebody."""
    person = place.context.homes.find(f"{name}@example.org")
    assert person is not None
    await place.settle()
    return len(await place.database.read(messages.backlog, person.user_id, 0, 1000))


async def test_kept_in_order_with_the_time_and_delivered_once(place: Place) -> None:
    alice = await place.sign_in("alice")
    await place.people("bob")
    for body in "12345":
        say(alice, "bob@example.org", body)
        await place.settle()
        place.clock.advance(1)
    assert await waiting(place, "bob") == 5
    bob = await place.sign_in("bob", presence=None)
    assert await bob.take("message") == []  # not before it is available: XEP-0160 §3
    bob.send("<presence/>")
    got = await bob.take("message")
    bodies = [body.text for m in got if (body := m.find("body")) is not None]
    assert bodies == list("12345")
    delays = [delay for m in got if (delay := m.find("delay", ns.DELAY)) is not None]
    assert [d.get("stamp") for d in delays] == [format_stamp(NOW + n) for n in range(5)]
    assert {d.get("from") for d in delays} == {"example.org"}
    assert await waiting(place, "bob") == 0
    phone = await place.sign_in("bob", "phone", presence=None)
    phone.send("<presence/>")
    assert await phone.bodies() == []


async def test_many_are_read_in_pages(place: Place) -> None:
    alice = await place.sign_in("alice")
    await place.people("bob")
    bodies = [str(number) for number in range(250)]
    say(alice, "bob@example.org", *bodies)
    bob = await place.sign_in("bob", presence=None)
    bob.send("<presence/>")
    assert await bob.bodies() == bodies


async def test_newer_messages_queue_behind_older_ones(place: Place) -> None:
    alice = await place.sign_in("alice")
    await place.people("bob")
    say(alice, "bob@example.org", "1", "2")
    bob = await place.sign_in("bob", presence=None)
    bob.send("<presence/>")
    say(alice, "bob@example.org", "3")
    say(alice, bob.full, "4")
    assert await bob.bodies() == ["1", "2", "3", "4"]


async def test_negative_priority_leaves_them_waiting(place: Place) -> None:
    alice = await place.sign_in("alice")
    await place.people("bob")
    say(alice, "bob@example.org", "1")
    robot = await place.sign_in("bob", "robot", presence="<presence><priority>-1</priority></presence>")
    say(alice, "bob@example.org", "2")
    assert await robot.bodies() == [] and await waiting(place, "bob") == 2
    robot.send("<presence><priority>0</priority></presence>")
    assert await robot.bodies() == ["1", "2"]


async def test_client_that_acknowledges_nothing_gets_them_again(place: Place) -> None:
    alice = await place.sign_in("alice")
    await place.people("bob")
    say(alice, "bob@example.org", "1", "2")
    bob = await place.sign_in("bob", managed=True, presence=None)
    bob.send("<presence/>")
    assert await bob.bodies() == ["1", "2"]
    assert await waiting(place, "bob") == 2
    bob.leave()
    again = await place.sign_in("bob", "phone", managed=True, presence=None)
    again.send("<presence/>")
    assert await again.bodies() == ["1", "2"]
    assert again.session.smacks is not None
    again.session.acknowledge(len(again.session.smacks.unacked))
    assert await waiting(place, "bob") == 0


async def test_message_in_flight_becomes_a_row_when_its_client_goes(place: Place) -> None:
    alice = await place.sign_in("alice")
    bob = await place.sign_in("bob", managed=True)
    say(alice, bob.bare, "1", "2")
    assert await bob.bodies() == ["1", "2"] and await waiting(place, "bob") == 0
    bob.leave()
    assert await waiting(place, "bob") == 2
    phone = await place.sign_in("bob", "phone", presence=None)
    phone.send("<presence/>")
    assert await phone.bodies() == ["1", "2"]


async def test_slow_client_gets_the_rest_when_it_has_room(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    bob.edge.congested = True
    say(alice, bob.bare, "1", "2", "3")
    assert await bob.bodies() == [] and await waiting(place, "bob") == 3
    bob.edge.congested = False
    bob.session.room_again()
    assert await bob.bodies() == ["1", "2", "3"]


async def test_plain_client_online_costs_no_row(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    say(alice, bob.bare, "1")
    assert await bob.bodies() == ["1"] and await waiting(place, "bob") == 0
    assert place.ledger.written == 0
