"""Settings that show at once to people who are signed in."""

from tests.unit.users.place import Place
from ubiety.jid import parse
from ubiety.users import policy_changes
from ubiety.users.preferences import DEFAULT_BLOCK, SHARING_ENABLED
from ubiety.users.setting_effects import AT_ONCE


async def test_everybody_disappears_and_comes_back_with_sharing(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    stranger = await place.sign_in("stranger")
    alice.send(f"<presence to='{stranger.full}'/>")
    assert await stranger.presences() == [(alice.full, None)]
    place.set(SHARING_ENABLED, False)
    assert await bob.presences() == [(alice.full, "unavailable")]
    assert await alice.presences() == [(bob.full, "unavailable")]
    assert await stranger.presences() == [(alice.full, "unavailable")]
    place.set(SHARING_ENABLED, True)
    assert await bob.presences() == [(alice.full, None)]
    assert await stranger.presences() == []


async def test_who_is_blocked_hears_nothing_of_it(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    await policy_changes.put(place.context, alice.user.person, policy_changes.BLOCK, [parse(bob.bare)])
    await bob.presences()
    for shared in (False, True):
        place.set(SHARING_ENABLED, shared)
        assert await bob.presences() == []


async def test_two_changes_in_a_row_end_in_the_last_one(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    for name in range(AT_ONCE * 2):
        await place.sign_in(f"person{name}")
    place.set(SHARING_ENABLED, False)
    place.set(SHARING_ENABLED, True)
    assert (await bob.presences())[-1:] in ([], [(alice.full, None)])
    bob.send(f"<presence type='probe' to='{alice.bare}'/>")
    assert await bob.presences() == [(alice.full, None)]


async def test_the_default_policy_holds_for_who_has_not_chosen(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    await policy_changes.set_default(place.context, bob.user.person, policy_changes.ALLOW)
    place.set(DEFAULT_BLOCK, "block")
    assert await bob.presences() == [(alice.full, "unavailable")]
    assert alice.user.policy is not None and not alice.user.policy.allows(parse(bob.bare))
    assert bob.user.policy is None
    place.set(DEFAULT_BLOCK, "allow")
    assert await bob.presences() == [(alice.full, None)]
    assert alice.user.policy is None
