"""Temporary subscriptions: when they begin, and all the ways in which they end."""

from tests.unit.users.place import Client, Place
from ubiety.users import temporary
from ubiety.users.preferences import AUTO_AUTHORIZE, TEMPORARY_SECONDS


def look(watcher: Client, seen: Client) -> None:
    watcher.send(f"<presence type='probe' to='{seen.bare}'/>")


def held(place: Place) -> tuple[int, int, int]:
    """Active, begun and ended ones."""
    counters = place.context.counters
    return counters.temporary_subscriptions, counters.temporary_added, counters.temporary_removed


async def test_looking_again_makes_it_last_longer(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    look(bob, alice)
    place.clock.advance(place.settings.get(TEMPORARY_SECONDS) - 1)
    look(bob, alice)
    place.clock.advance(2)
    place.users.expire()
    assert held(place) == (1, 1, 0)
    place.clock.advance(place.settings.get(TEMPORARY_SECONDS))
    place.users.expire()
    assert held(place) == (0, 1, 1)
    assert place.context.looked_at == {}
    assert (await bob.presences())[-1] == (alice.full, "unavailable")


async def test_it_ends_when_the_last_device_of_who_looks_leaves(place: Place) -> None:
    alice, desk = await place.sign_in("alice"), await place.sign_in("bob")
    phone = await place.sign_in("bob", "phone")
    look(desk, alice)
    desk.leave()
    assert held(place) == (1, 1, 0)
    phone.send("<presence type='unavailable'/>")
    assert held(place) == (0, 1, 1)
    assert not alice.user.temporary and not phone.user.looks_at


async def test_it_outlives_the_absence_of_who_is_looked_at(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    look(bob, alice)
    alice.leave()
    assert (await bob.presences())[-1] == (alice.full, "unavailable")
    again = await place.sign_in("alice", "again")
    assert await bob.presences() == [(again.full, None)]


async def test_it_ends_with_the_actor_of_who_is_looked_at(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    look(bob, alice)
    user = alice.user
    alice.leave()
    place.users.forget(user)
    assert held(place) == (0, 1, 1)
    assert place.context.looked_at == {} and not bob.user.looks_at


async def test_who_became_a_watcher_is_told_once_and_stays_one(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    look(bob, alice)
    bob.send(f"<presence type='subscribe' to='{alice.bare}'/>")
    await bob.presences()
    alice.send("<presence><show>away</show></presence>")
    assert await bob.presences() == [(alice.full, None)]
    place.clock.advance(place.settings.get(TEMPORARY_SECONDS))
    place.users.expire()
    assert held(place) == (0, 1, 1)
    assert await bob.presences() == []


async def test_who_is_signed_out_or_asked_first_begins_none(place: Place) -> None:
    alice, silent = await place.sign_in("alice"), await place.sign_in("bob", presence=None)
    look(silent, alice)
    assert held(place) == (0, 0, 0)
    place.set(AUTO_AUTHORIZE, False)
    silent.send("<presence/>")
    look(silent, alice)
    assert held(place) == (0, 0, 0)
    assert not temporary.are_on(place.context)
