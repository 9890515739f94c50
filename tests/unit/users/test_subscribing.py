"""Asking for, granting and ending subscriptions, between people there and away (RFC 6121 §3)."""

import pytest

from tests.unit.users.place import Client, Place, condition
from ubiety.element import Element
from ubiety.store import roster as rows
from ubiety.users import policy_changes
from ubiety.users.preferences import AUTO_AUTHORIZE, MAX_CONTACTS, MAX_WATCHERS
from ubiety.users.subscriptions import NAMES
from ubiety.xmpp import ns


@pytest.fixture(autouse=True)
def asking(place: Place) -> None:
    """People are asked, unless a test says otherwise."""
    place.set(AUTO_AUTHORIZE, False)


async def interested(place: Place, name: str) -> Client:
    """Sign somebody in who has asked for the contact list."""
    client = await place.sign_in(name)
    await client.ask("get", f"<query xmlns='{ns.ROSTER}'/>")
    client.edge.written.clear()
    return client


async def send(client: Client, kind: str, to: str) -> None:
    """Send a subscription stanza."""
    client.send(f"<presence type='{kind}' to='{to}'/>")
    await client.place.settle()


async def side(client: Client, other: str) -> str:
    """What one side stores of the other."""
    items = await client.place.database.read(rows.load_items, client.user.person.user_id)
    for item in items:
        if item.jid == other:
            ask = " ask" if item.flags & rows.ASK else ""
            pending = " pending" if item.flags & rows.PENDING_IN else ""
            approved = " approved" if item.flags & rows.APPROVED else ""
            hidden = "" if item.is_listed else " hidden"
            return NAMES[item.subscription] + ask + pending + approved + hidden
    return "nothing"


def pushed(stanzas: list[Element]) -> list[tuple[str | None, str | None, str | None]]:
    """The contacts in roster pushes."""
    items = [s.elements[0].elements[0] for s in stanzas if s.name == "iq" and s.get("type") == "set"]
    return [(item.get("jid"), item.get("subscription"), item.get("ask")) for item in items]


def kinds(stanzas: list[Element]) -> list[tuple[str | None, str | None]]:
    """Sender and type of presence."""
    return [(s.get("from"), s.get("type")) for s in stanzas if s.name == "presence"]


async def test_ask_and_grant(place: Place) -> None:
    alice, bob = await interested(place, "alice"), await interested(place, "bob")
    await send(alice, "subscribe", bob.full)
    got = await bob.take()
    assert kinds(got) == [(alice.bare, "subscribe")] and pushed(got) == []  # §3.1.3: no push for a request
    assert pushed(await alice.take()) == [(bob.bare, "none", "subscribe")]
    assert (await side(alice, bob.bare), await side(bob, alice.bare)) == ("none ask", "none pending hidden")
    await send(bob, "subscribed", alice.bare)
    got = await alice.take()
    assert pushed(got) == [(bob.bare, "to", None)]
    assert kinds(got) == [(bob.bare, "subscribed"), (bob.full, None)]
    assert pushed(await bob.take()) == [(alice.bare, "from", None)]
    assert (await side(alice, bob.bare), await side(bob, alice.bare)) == ("to", "from")


async def test_ask_and_deny(place: Place) -> None:
    alice, bob = await interested(place, "alice"), await interested(place, "bob")
    await send(alice, "subscribe", bob.bare)
    await send(bob, "unsubscribed", alice.bare)
    got = await alice.take()
    assert pushed(got) == [(bob.bare, "none", "subscribe"), (bob.bare, "none", None)]
    assert kinds(got) == [(bob.bare, "unsubscribed")]
    assert pushed(await bob.take()) == []
    assert (await side(alice, bob.bare), await side(bob, alice.bare)) == ("none", "nothing")


async def test_ask_and_take_back(place: Place) -> None:
    alice, bob = await interested(place, "alice"), await interested(place, "bob")
    await send(alice, "subscribe", bob.bare)
    await send(alice, "unsubscribe", bob.bare)
    assert kinds(await bob.take()) == [(alice.bare, "subscribe"), (alice.bare, "unsubscribe")]
    assert (await side(alice, bob.bare), await side(bob, alice.bare)) == ("none", "nothing")


async def test_unsubscribe_and_cancel(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    await send(alice, "unsubscribe", bob.bare)
    assert kinds(await alice.take()) == [(bob.full, "unavailable")]
    assert (await side(alice, bob.bare), await side(bob, alice.bare)) == ("from", "to")
    alice.send("<presence><show>away</show></presence>")
    bob.send("<presence><show>dnd</show></presence>")
    assert kinds(await alice.take()) == [(alice.full, None)]
    assert (alice.full, None) in kinds(await bob.take())
    await send(alice, "unsubscribed", bob.bare)
    assert kinds(await bob.take()) == [(alice.bare, "unsubscribed"), (alice.full, "unavailable")]
    assert (await side(alice, bob.bare), await side(bob, alice.bare)) == ("none", "none")


async def test_request_waits_for_the_absent_and_is_shown_at_each_login_until_answered(place: Place) -> None:
    alice = await place.sign_in("alice")
    await place.people("bob")
    alice.send("<presence type='subscribe' to='bob@example.org'><status>It is me</status></presence>")
    await place.settle()
    for resource in ("desk", "phone"):
        bob = await place.sign_in("bob", resource, presence=None)
        bob.send("<presence/>")
        (request,) = [p for p in await bob.take("presence") if p.get("type") == "subscribe"]
        status = request.find("status")
        assert request.get("from") == alice.bare and status is not None and status.text == "It is me"
    await send(bob, "subscribed", alice.bare)
    tablet = await place.sign_in("bob", "tablet", presence=None)
    tablet.send("<presence/>")
    assert (alice.bare, "subscribe") not in kinds(await tablet.take())
    assert await side(alice, bob.bare) == "to"


async def test_request_that_was_granted_before_is_answered_at_once(place: Place) -> None:
    alice, bob = await interested(place, "alice"), await interested(place, "bob")
    await send(bob, "subscribed", alice.bare)  # §3.4: approved before being asked
    assert kinds(await alice.take()) == []
    await send(alice, "subscribe", bob.bare)
    assert kinds(await bob.take()) == []
    assert (bob.bare, "subscribed") in kinds(await alice.take())
    assert await side(alice, bob.bare) == "to"


async def test_repeated_request_is_answered_for_who_may_see_already(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    await send(alice, "subscribe", bob.bare)
    assert kinds(await bob.take()) == []
    assert (await side(alice, bob.bare), await side(bob, alice.bare)) == ("both", "both")


async def test_nobody_is_asked_where_the_administrator_says_so(place: Place) -> None:
    place.set(AUTO_AUTHORIZE, True)
    alice, bob = await interested(place, "alice"), await interested(place, "bob")
    await send(alice, "subscribe", bob.bare)
    assert kinds(await alice.take()) == [(bob.bare, "subscribed"), (bob.full, None)] or (
        await side(alice, bob.bare) == "to"
    )
    assert (alice.bare, "subscribe") not in kinds(await bob.take())
    assert (await side(alice, bob.bare), await side(bob, alice.bare)) == ("to", "from")


async def test_blocked_watcher_waits_for_ever_and_sees_nobody(place: Place) -> None:
    place.set(AUTO_AUTHORIZE, True)
    alice, bob = await interested(place, "alice"), await interested(place, "bob")
    await policy_changes.put(place.context, bob.user.person, policy_changes.BLOCK, [alice.user.jid])
    await send(alice, "subscribe", bob.bare)
    assert kinds(await bob.take()) == [] and kinds(await alice.take()) == []
    assert (await side(alice, bob.bare), await side(bob, alice.bare)) == ("none ask", "nothing")


async def test_ending_a_subscription_reaches_a_side_that_blocks(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    await policy_changes.put(place.context, bob.user.person, policy_changes.BLOCK, [alice.user.jid])
    await send(alice, "unsubscribe", bob.bare)
    await send(alice, "unsubscribed", bob.bare)
    assert (await side(alice, bob.bare), await side(bob, alice.bare)) == ("none", "none")


@pytest.mark.parametrize(("to", "refusal"), [("alice", "not-allowed"), ("nobody", "item-not-found")])
async def test_bad_requests(place: Place, to: str, refusal: str) -> None:
    alice = await place.sign_in("alice")
    await send(alice, "subscribe", f"{to}@example.org")
    (error,) = await alice.take("presence")
    assert condition(error) == refusal


async def test_full_lists_take_nobody_more(place: Place) -> None:
    place.set(MAX_CONTACTS, 1)
    alice = await place.sign_in("alice")
    await place.people("bob", "carol")
    await send(alice, "subscribe", "bob@example.org")
    await send(alice, "subscribe", "carol@example.org")
    (error,) = [p for p in await alice.take("presence") if p.get("type") == "error"]
    assert condition(error) == "not-allowed"
    assert await side(alice, "carol@example.org") == "nothing"


async def test_people_are_watched_by_as_many_as_is_allowed(place: Place) -> None:
    place.set(AUTO_AUTHORIZE, True)
    place.set(MAX_WATCHERS, 1)
    alice, bob, carol = [await place.sign_in(name) for name in ("alice", "bob", "carol")]
    await send(bob, "subscribe", alice.bare)
    await send(carol, "subscribe", alice.bare)
    (error,) = [p for p in await carol.take("presence") if p.get("type") == "error"]
    assert condition(error) == "resource-constraint"
    # facts §4.1: who is at the limit cannot be added, and nothing of it remains
    assert (await side(bob, alice.bare), await side(carol, alice.bare)) == ("to", "nothing")


async def test_removing_a_contact_ends_both_directions(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    for client in (alice, bob):
        await client.ask("get", f"<query xmlns='{ns.ROSTER}'/>")
        await client.take()
    item = f"<query xmlns='{ns.ROSTER}'><item jid='{bob.bare}' subscription='remove'/></query>"
    assert (await alice.ask("set", item)).get("type") == "result"
    got = await alice.take()
    assert pushed(got) == [(bob.bare, "remove", None)]
    assert (bob.full, "unavailable") in kinds(got)
    got = await bob.take()
    assert kinds(got) == [
        (alice.bare, "unsubscribe"),
        (alice.bare, "unsubscribed"),
        (alice.full, "unavailable"),
    ]
    assert pushed(got)[-1] == (alice.bare, "none", None)
    assert (await side(alice, bob.bare), await side(bob, alice.bare)) == ("nothing", "none")
    assert condition(await alice.ask("set", item)) == "item-not-found"


def versions(stanzas: list[Element]) -> list[int]:
    """The versions in roster pushes."""
    queries = [s.elements[0] for s in stanzas if s.name == "iq" and s.get("type") == "set"]
    return [int(query.get("ver") or "") for query in queries]


async def test_watcher_who_goes_leaves_the_list_that_only_they_put_themselves_into(place: Place) -> None:
    place.set(AUTO_AUTHORIZE, True)
    alice, bob = await interested(place, "alice"), await interested(place, "bob")
    before = bob.user.roster_version
    await send(alice, "subscribe", bob.bare)
    assert await side(bob, alice.bare) == "from"
    await send(alice, "unsubscribe", bob.bare)
    got = await bob.take()
    # RFC 6121 §3.3.3 wants the "none"; that the row goes is ours, so it is said in a version of its own
    assert pushed(got) == [
        (alice.bare, "from", None),
        (alice.bare, "none", None),
        (alice.bare, "remove", None),
    ]
    assert versions(got) == [before + 1, before + 2, before + 3] and bob.user.roster_version == before + 3
    assert (await side(alice, bob.bare), await side(bob, alice.bare)) == ("none", "nothing")
    answer = await bob.ask("get", f"<query xmlns='{ns.ROSTER}' ver='{before + 1}'/>")
    assert answer.elements[0].get("ver") == str(before + 3) and answer.elements[0].elements == []


async def test_watcher_who_goes_stays_in_the_list_if_the_person_put_them_there(place: Place) -> None:
    place.set(AUTO_AUTHORIZE, True)
    alice, bob = await interested(place, "alice"), await interested(place, "bob")
    carol = await interested(place, "carol")
    await send(alice, "subscribe", bob.bare)
    await send(carol, "subscribe", bob.bare)
    await send(bob, "subscribe", carol.bare)
    await send(bob, "unsubscribe", carol.bare)
    item = f"<query xmlns='{ns.ROSTER}'><item jid='{alice.bare}'/></query>"
    assert (await bob.ask("set", item)).get("type") == "result"
    for client in (alice, carol):
        await send(client, "unsubscribe", bob.bare)
        assert await side(bob, client.bare) == "none"


async def test_what_clients_never_saw_is_not_pushed(place: Place) -> None:
    alice, bob = await interested(place, "alice"), await interested(place, "bob")
    before = bob.user.roster_version
    await send(bob, "subscribed", alice.bare)  # approved in advance
    assert await side(bob, alice.bare) == "none approved hidden"
    await send(bob, "unsubscribed", alice.bare)
    assert await side(bob, alice.bare) == "nothing"
    assert pushed(await bob.take()) == [] and bob.user.roster_version == before


async def test_what_a_client_sends_at_once_is_done_and_answered_in_order(place: Place) -> None:
    alice, bob = await interested(place, "alice"), await interested(place, "bob")
    item = f"<query xmlns='{ns.ROSTER}'><item jid='{bob.bare}' name='Bob'/></query>"
    alice.send(f"<iq type='set' id='add'>{item}</iq>")
    alice.send(f"<presence type='subscribe' to='{bob.bare}'/>")
    alice.send(f"<presence type='unsubscribe' to='{bob.bare}'/>")
    alice.send(f"<iq type='get' id='list'><query xmlns='{ns.ROSTER}'/></iq>")
    alice.send(f"<presence type='subscribe' to='{bob.bare}'/>")
    got = await alice.take()
    assert pushed(got) == [
        (bob.bare, "none", None),
        (bob.bare, "none", "subscribe"),
        (bob.bare, "none", None),
        (bob.bare, "none", "subscribe"),
    ]
    answers = [s.get("id") for s in got if s.name == "iq" and s.get("type") == "result"]
    assert answers == ["add", "list"]
    assert kinds(await bob.take()) == [
        (alice.bare, "subscribe"),
        (alice.bare, "unsubscribe"),
        (alice.bare, "subscribe"),
    ]
    assert (await side(alice, bob.bare), await side(bob, alice.bare)) == ("none ask", "none pending hidden")
