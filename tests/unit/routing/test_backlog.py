"""Order and completeness while a person's rows are read back (design.md promises 1 to 3)."""

import asyncio
import itertools

import pytest

from tests.unit.rig import Device, Rig
from tests.unit.users.place import DOMAIN
from ubiety.routing import sessions
from ubiety.store import ledger
from ubiety.users import offline

ROWS = 250  # three pages


def bodies(device: Device) -> list[int]:
    """Read all and return the numbers of the messages in the order in which they came, repeats too."""
    assert device.wire is not None
    found = []
    for data in list(device.wire.unread):
        if data.startswith(b"<message"):
            found.append(int(data.partition(b"<body>")[2].partition(b"<")[0]))
    device.read()
    return found


async def pair(rig: Rig, managed: bool) -> tuple[Device, Device]:
    """A sender with stream management, and a recipient who is not signed in."""
    (ann,) = await rig.person("ann", "desk")
    (bob,) = await rig.person("bob", "desk", managed=managed)
    await ann.sign_in()
    return ann, bob


@pytest.fixture(params=[True, False], ids=["managed", "pinged"])
def managed(request: pytest.FixtureRequest) -> bool:
    """Whether the recipient's client uses stream management."""
    return bool(request.param)


async def drain(rig: Rig, device: Device) -> list[int]:
    """Have a client read and acknowledge until nothing more comes; returns what it got."""
    got = bodies(device)
    while True:
        device.acknowledge()
        await rig.calm()
        more = bodies(device)
        if not more:
            return got
        got += more


async def test_a_backlog_of_several_pages_comes_in_order_and_leaves_nothing(rig: Rig, managed: bool) -> None:
    ann, bob = await pair(rig, managed)
    for _ in range(ROWS):
        ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    await bob.sign_in()
    assert await drain(rig, bob) == list(range(1, ROWS + 1))
    assert await rig.finish() == ROWS


async def test_new_messages_queue_behind_a_backlog(rig: Rig, managed: bool) -> None:
    ann, bob = await pair(rig, managed)
    for _ in range(ROWS):
        ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    await bob.sign_in()
    for _ in range(40):  # while the rows are being read
        ann.write_to(f"bob@{DOMAIN}")
        await asyncio.sleep(0.001)
    assert await drain(rig, bob) == list(range(1, ROWS + 41))
    assert await rig.finish() == ROWS + 40


async def test_what_is_acknowledged_while_draining_does_not_come_again(rig: Rig, managed: bool) -> None:
    ann, bob = await pair(rig, managed)
    for _ in range(ROWS):
        ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    await bob.sign_in()
    got: list[int] = []
    for _ in range(200):
        got += bodies(bob)
        bob.acknowledge()
        if len(got) < ROWS + 20:
            ann.write_to(f"bob@{DOMAIN}")  # has the rows read from the first again
        await asyncio.sleep(0.001)
    got += await drain(rig, bob)
    assert got == list(range(1, len(got) + 1))


async def test_congestion_in_the_midst_of_a_drain(
    rig: Rig, managed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_UNACKNOWLEDGED", 30)
    ann, bob = await pair(rig, managed)
    for _ in range(ROWS):
        ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    await bob.sign_in()
    await rig.calm()
    first = bodies(bob)
    assert len(first) <= 30 and first == list(range(1, len(first) + 1))
    bob.congest(True)
    bob.acknowledge()
    await rig.calm()
    assert bodies(bob) == []
    bob.congest(False)
    assert first + await drain(rig, bob) == list(range(1, ROWS + 1))
    assert await rig.finish() == ROWS


async def test_a_session_that_replaces_another_during_a_drain_gets_all_from_the_start(
    rig: Rig, managed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "PAGE", 10)
    ann, bob = await pair(rig, managed)
    for _ in range(100):
        ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    for turns in range(1, 12):  # cut at different places
        await bob.sign_in()
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        bob.lose()
        await bob.sign_in()
        await rig.calm()
        assert bodies(bob) == list(range(1, 101))
    assert await rig.finish() == 100


async def test_a_backlog_is_read_once_the_database_is_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "RETRY_SECONDS", 0.01)
    ann, bob = await pair(rig, True)
    ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    with rig.locked():
        rig.place.ledger.forget(0, 0)  # something that cannot be written
        await bob.sign_in()
        await asyncio.sleep(0.1)
        assert bodies(bob) == []
    await rig.calm()
    assert bodies(bob) == [1]


async def test_a_message_that_came_while_a_connection_was_away_comes_with_the_resumption(rig: Rig) -> None:
    ann, bob = await pair(rig, True)
    await bob.sign_in()
    await rig.calm()
    ann.write_to(f"bob@{DOMAIN}")
    assert bodies(bob) == [1]
    bob.cut()
    ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    assert await bob.resume()
    await rig.calm()
    assert bodies(bob) == [2]
    assert await rig.finish() == 2


async def test_a_client_without_presence_gets_messages_after_a_resumption(rig: Rig) -> None:
    ann, bob = await pair(rig, True)
    await bob.sign_in(presence=None)
    ann.write_to(f"bob@{DOMAIN}/desk")
    bob.cut()
    await rig.calm()
    assert await bob.resume()
    await rig.calm()
    assert await drain(rig, bob) == [1]
    ann.write_to(f"bob@{DOMAIN}/desk")
    assert await drain(rig, bob) == [2]


async def test_what_was_sent_before_stream_management_is_not_lost_with_the_connection(rig: Rig) -> None:
    ann, bob = await pair(rig, True)
    bob.managed = False
    await bob.sign_in()
    ann.write_to(f"bob@{DOMAIN}")
    assert bob.session is not None and len(bob.session.tokens()) == 1
    bob.managed = True
    rig.place.users.enable(bob.session, "late", 300)
    bob.lose()
    rig.place.users.disconnect(bob.session)
    await bob.sign_in()
    assert await drain(rig, bob) == [1]


async def test_tokens_of_sessions_that_are_never_resumed_are_let_go(rig: Rig) -> None:
    ann, bob = await pair(rig, True)
    await bob.sign_in()
    for _ in range(20):
        ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    bob.cut()
    inbox = next(user.inbox for user in rig.users() if user.jid.local == "bob")
    assert len(inbox.released) == 20 and not inbox.inflight
    await rig.calm()
    rig.expire(1000)
    assert not inbox.released
    assert await rig.finish() == 20


async def test_what_one_device_acknowledged_is_not_sent_again_to_one_that_resumes(rig: Rig) -> None:
    ann, bob = await pair(rig, True)
    (phone,) = await rig.person("bob", "phone")
    await bob.sign_in()
    for _ in range(3):
        ann.write_to(f"bob@{DOMAIN}")
    bob.cut()
    await phone.sign_in()
    assert await drain(rig, phone) == [1, 2, 3]
    assert await bob.resume()
    await rig.calm()
    assert bodies(bob) == []
    await rig.finish()


@pytest.mark.parametrize("count", [1, 3])
async def test_stanzas_that_wait_for_an_actor_keep_their_order_and_all_get_a_verdict(
    rig: Rig, count: int
) -> None:
    ann, _ = await pair(rig, True)
    names = itertools.count(1)
    for turns in range(12):
        name = f"zoe{next(names)}"
        (zoe,) = await rig.person(name, "desk")
        for _ in range(count):
            ann.write_to(f"{name}@{DOMAIN}")
        login = asyncio.ensure_future(zoe.sign_in())  # loads the actor too
        for _ in range(turns):
            await asyncio.sleep(0)
            ann.write_to(f"{name}@{DOMAIN}")
        await login
        for _ in range(3):
            ann.write_to(f"{name}@{DOMAIN}")
    await rig.finish()  # checks the order


async def test_all_stanzas_that_wait_for_an_actor_are_refused_when_it_cannot_be_loaded(rig: Rig) -> None:
    ann, _ = await pair(rig, True)
    person = rig.place.context.homes.find(f"bob@{DOMAIN}")
    assert person is not None
    await rig.place.database.write(
        lambda conn: conn.exec_driver_sql("DELETE FROM users WHERE id = ?", (person.user_id,))
    )
    names = [ann.write_to(f"bob@{DOMAIN}") for _ in range(3)]
    await rig.calm()
    ann.request()
    ann.read()
    assert all(name in rig.refused for name in names)
    assert not ann.outbox


async def test_a_message_is_stored_at_last_when_the_database_was_locked(rig: Rig) -> None:
    ann, bob = await pair(rig, True)
    await bob.sign_in()
    await rig.calm()
    with rig.locked():
        ann.write_to(f"bob@{DOMAIN}")
        await asyncio.sleep(0.1)
        ann.request()
        ann.read()
        assert ann.outbox  # bob has not acknowledged it and it is not written
    await rig.calm()
    ann.request()
    ann.read()
    assert not ann.outbox
    await rig.crash()
    await bob.sign_in()
    assert await drain(rig, bob) == [1]


async def test_a_second_device_gets_what_the_first_may_never_deliver_before_anything_newer(rig: Rig) -> None:
    ann, phone = await pair(rig, True)
    (laptop,) = await rig.person("bob", "laptop")
    await phone.sign_in()
    phone.lose()  # and nobody has noticed yet
    for _ in range(3):
        ann.write_to(f"bob@{DOMAIN}")
    await laptop.sign_in()
    ann.write_to(f"bob@{DOMAIN}")
    assert await drain(rig, laptop) == [1, 2, 3, 4]
    phone.cut()
    assert await drain(rig, laptop) == []
    assert await phone.resume()
    await rig.calm()
    assert bodies(phone) == []  # the laptop has them
    await rig.finish()


@pytest.mark.parametrize("way", ["congestion", "cut", "priority"])
async def test_a_device_that_could_not_take_messages_gets_those_still_held_before_newer_ones(
    rig: Rig, way: str
) -> None:
    ann, desk = await pair(rig, True)
    (laptop,) = await rig.person("bob", "laptop")
    await desk.sign_in()
    await laptop.sign_in()
    ann.write_to(f"bob@{DOMAIN}")
    if way == "congestion":
        laptop.congest(True)
    elif way == "cut":
        laptop.read()
        laptop.cut()
    else:
        laptop.give("<presence><priority>-5</priority></presence>")
    for _ in range(3):
        ann.write_to(f"bob@{DOMAIN}")  # the desk does not acknowledge them
    if way == "congestion":
        laptop.congest(False)
    elif way == "cut":
        assert await laptop.resume()
    else:
        laptop.give("<presence/>")
    ann.write_to(f"bob@{DOMAIN}")
    expected = [2, 3, 4, 5] if way == "cut" else [1, 2, 3, 4, 5]
    assert await drain(rig, laptop) == expected
    assert await drain(rig, desk) == [1, 2, 3, 4, 5]
    await rig.finish()


async def test_a_refused_message_is_in_nobodys_history(rig: Rig) -> None:
    ann, _ = await pair(rig, True)
    with rig.locked():
        refused = [ann.write_to(f"bob@{DOMAIN}") for _ in range(3)]
        while not rig.refused.issuperset(refused):
            await asyncio.sleep(0.01)
    ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    kept = await rig.place.database.read(
        lambda conn: (
            conn.exec_driver_sql(
                "SELECT DISTINCT m.origin_id FROM archive a, messages m WHERE m.id = a.message_id"
            )
            .scalars()
            .all()
        )
    )
    assert kept == ["ann/desk-4"]
    assert rig.place.ledger.queued_bytes == 0


async def test_what_is_in_a_history_alone_is_delivered_when_it_is_sent_again_after_a_crash(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await pair(rig, True)
    ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    monkeypatch.setattr(ledger, "BATCH_ITEMS", 2)  # two rows of history; the message goes with the next batch
    ann.write_to(f"bob@{DOMAIN}")
    count = "SELECT COUNT(*) FROM archive"
    while rig.place.database.read_now(lambda conn: conn.exec_driver_sql(count).scalar()) < 4:
        await asyncio.sleep(0)
    rig.lock()  # so that it does not go at once
    await rig.crash()
    await ann.sign_in()
    await bob.sign_in()
    assert await drain(rig, bob) == [1, 2]
    assert await rig.finish() == 2


async def test_a_device_that_takes_no_backlog_is_reached_by_its_full_address(rig: Rig, managed: bool) -> None:
    ann, bob = await pair(rig, managed)
    ann.write_to(f"bob@{DOMAIN}")
    await rig.calm()
    await bob.sign_in("<presence><priority>-1</priority></presence>")
    ann.write_to(f"bob@{DOMAIN}/desk")
    assert await drain(rig, bob) == [2]
    bob.give("<presence/>")
    assert await drain(rig, bob) == [1]
    await rig.finish()


async def test_a_resumption_does_not_take_messages_from_a_device_that_was_about_to_get_them(rig: Rig) -> None:
    ann, desk = await pair(rig, True)
    (laptop,) = await rig.person("bob", "laptop")
    await desk.sign_in()
    for _ in range(3):
        ann.write_to(f"bob@{DOMAIN}")
    desk.cut()
    await rig.calm()
    await laptop.sign_in()  # begins to read the rows back
    assert await desk.resume()
    ann.write_to(f"bob@{DOMAIN}")
    assert await drain(rig, laptop) == [1, 2, 3, 4]
    assert (await drain(rig, desk))[-1] == 4
    await rig.finish()


async def test_nobody_is_unloaded_while_the_database_fails(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ubiety.users.service.IDLE_ACTORS", 0)
    ann, _ = await pair(rig, True)
    with rig.locked():
        ann.write_to(f"bob@{DOMAIN}")
        while rig.place.ledger.trouble is None:
            await asyncio.sleep(0.001)
        rig.expire(1000)
        rig.place.users.unload_idle()
        assert {user.jid.local for user in rig.users()} == {"ann", "bob"}
    await rig.calm()
    rig.place.ledger.forget(0, 0)
    await rig.calm()
    rig.place.users.unload_idle()
    assert {user.jid.local for user in rig.users()} == {"ann"}


async def test_messages_that_could_not_be_stored_at_first_are_stored_in_order(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "BATCH_ITEMS", 3)  # one message and its two rows of history
    ann, bob = await pair(rig, True)
    await bob.sign_in()
    await rig.calm()
    with rig.locked():
        ann.write_to(f"bob@{DOMAIN}")
        while rig.place.ledger.trouble is None:
            await asyncio.sleep(0.001)
        for _ in range(10):
            ann.write_to(f"bob@{DOMAIN}")
    stored: list[str] = []
    query = "SELECT m.origin_id FROM deliveries d JOIN messages m ON m.id = d.message_id ORDER BY m.id"
    while len(stored) < 11:
        stored = rig.place.database.read_now(lambda conn: conn.exec_driver_sql(query).scalars().all())
        assert stored == [f"ann/desk-{number}" for number in range(1, len(stored) + 1)]
        await asyncio.sleep(0)
    assert await drain(rig, bob) == list(range(1, 12))
    await rig.finish()
