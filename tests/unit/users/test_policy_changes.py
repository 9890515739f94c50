"""Changing policies: whoever is loaded follows, at whatever moment that happens."""

import pytest

from tests.unit.users.place import Place
from ubiety.conditions import StanzaError
from ubiety.jid import parse
from ubiety.store import policy as rows
from ubiety.store import users
from ubiety.users import policy_changes
from ubiety.users.policy_changes import ALLOW, BLOCK, MAX_ENTRIES

PEST = parse("pest@example.net")


async def test_somebody_who_is_just_being_loaded_follows_too(place: Place) -> None:
    (alice,) = await place.people("alice")
    read_before = await place.database.read(users.load_login, alice.address_id)
    await policy_changes.put(place.context, alice, BLOCK, [PEST])
    user = await place.users.load(alice, read_before)
    assert user.policy is not None and not user.policy.allows(PEST)


async def test_an_entry_moves_between_the_lists_and_goes(place: Place) -> None:
    (alice,) = await place.people("alice")
    stranger = parse("example.net")
    for action in (ALLOW, BLOCK):
        await policy_changes.put(place.context, alice, action, [PEST, stranger])
        stored = await policy_changes.load(place.context, alice)
        assert {(e.action, e.jid or e.domain) for e in stored.entries} == {
            (action, PEST.bare),
            (action, "example.net"),
        }
    await policy_changes.remove(place.context, alice, [PEST], ALLOW)  # it is on the other list
    await policy_changes.remove(place.context, alice, [stranger])
    stored = await policy_changes.load(place.context, alice)
    assert [(e.action, e.jid) for e in stored.entries] == [(BLOCK, PEST.bare)]


async def test_a_full_list_takes_nothing_of_a_batch(place: Place) -> None:
    (alice,) = await place.people("alice")
    place.set(MAX_ENTRIES, 2)
    await policy_changes.put(place.context, alice, BLOCK, [PEST])
    with pytest.raises(StanzaError, match="at most 2 entries"):
        await policy_changes.put(place.context, alice, BLOCK, [parse("a.example"), parse("b.example")])
    stored = await place.database.read(rows.load, alice.user_id)
    assert [entry.jid for entry in stored.entries] == [PEST.bare]
