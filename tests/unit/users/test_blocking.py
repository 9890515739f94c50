"""Blocking (XEP-0191) and changes of policy: what is written, shown, refused."""

import pytest

from tests.unit.users.place import Client, Place, condition
from ubiety.conditions import StanzaError
from ubiety.element import Element
from ubiety.jid import parse
from ubiety.store import policy as rows
from ubiety.users import policy_changes
from ubiety.users.policy_changes import ALLOW, BLOCK, MAX_ENTRIES
from ubiety.users.preferences import AUTO_AUTHORIZE, DEFAULT_BLOCK
from ubiety.xmpp import ns

LIST = f"<blocklist xmlns='{ns.BLOCKING}'/>"


def change(name: str, *jids: str) -> str:
    """A block or unblock command."""
    items = "".join(f"<item jid='{jid}'/>" for jid in jids)
    return f"<{name} xmlns='{ns.BLOCKING}'>{items}</{name}>"


def listed(answer: Element) -> list[str | None]:
    """Whom an answer or a push names."""
    return [item.get("jid") for item in answer.elements[0].elements]


async def block(client: Client, *jids: str) -> None:
    """Block somebody and see it accepted."""
    assert (await client.ask("set", change("block", *jids))).get("type") == "result"


async def unblock(client: Client, *jids: str) -> None:
    """Unblock somebody and see it accepted."""
    assert (await client.ask("set", change("unblock", *jids))).get("type") == "result"


async def test_list_block_unblock(place: Place) -> None:
    alice = await place.sign_in("alice")
    assert listed(await alice.ask("get", LIST)) == []
    await block(alice, "pest@example.com", "spam.example")
    assert listed(await alice.ask("get", LIST)) == ["pest@example.com", "spam.example"]
    await unblock(alice, "spam.example")
    assert listed(await alice.ask("get", LIST)) == ["pest@example.com"]
    await block(alice, "a@example.com")
    await unblock(alice)
    assert listed(await alice.ask("get", LIST)) == []
    assert alice.user.policy is None


async def test_pushes_go_to_clients_that_show_the_list(place: Place) -> None:
    desk, phone = await place.sign_in("alice", "desk"), await place.sign_in("alice", "phone")
    await phone.ask("get", LIST)
    await block(desk, "pest@example.com")
    pushed = await phone.take("iq")
    assert [(p.get("type"), p.elements[0].name, listed(p)) for p in pushed] == [
        ("set", "block", ["pest@example.com"])
    ]
    await block(desk, "pest@example.com")
    assert await phone.take("iq") == []
    await unblock(desk)
    (pushed_one,) = await phone.take("iq")
    assert (pushed_one.elements[0].name, listed(pushed_one)) == ("unblock", ["pest@example.com"])
    assert await desk.take("iq") == []


async def test_blocked_person_sees_offline_at_once_and_online_again(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    await block(alice, bob.bare)
    assert await bob.presences() == [(alice.full, "unavailable")]
    assert await alice.presences() == [(bob.full, "unavailable")]
    alice.send("<presence><show>dnd</show></presence>")
    bob.send("<presence><show>away</show></presence>")
    assert await bob.presences() == [(bob.full, None)]
    assert await alice.presences() == [(alice.full, None)]
    await unblock(alice, bob.bare)
    assert await bob.presences() == [(alice.full, None)]
    assert await alice.presences() == [(bob.full, None)]


async def test_directed_presence_is_taken_back(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    alice.send(f"<presence to='{bob.bare}'/>")
    assert await bob.presences() == [(alice.full, None)]
    await block(alice, bob.bare)
    assert await bob.presences() == [(alice.full, "unavailable")]
    alice.leave()
    assert await bob.presences() == []


async def test_temporary_watcher_is_shut_out(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    bob.send(f"<presence type='probe' to='{alice.bare}'/>")
    assert await bob.presences() == [(alice.full, None)]
    await block(alice, bob.bare)
    assert await bob.presences() == [(alice.full, "unavailable")]
    assert place.context.counters.temporary_subscriptions == 0


async def test_stanzas_of_the_blocked_are_refused(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    await block(alice, bob.bare)
    bob.edge.written.clear()
    bob.send(f"<message type='chat' id='m' to='{alice.bare}'><body>hello?</body></message>")
    (error,) = await bob.take("message")
    assert condition(error) == "service-unavailable"
    for to in (alice.bare, alice.full):
        ping = await bob.ask("get", f"<ping xmlns='{ns.PING}'/>", to)
        assert condition(ping) == "service-unavailable"
        assert condition(await bob.ask("get", f"<vCard xmlns='{ns.VCARD}'/>", to)) == "service-unavailable"
    assert await alice.take("message") == []


async def test_blocker_cannot_write_either(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    await block(alice, bob.bare)
    alice.send(f"<message type='chat' id='m' to='{bob.full}'><body>and you?</body></message>")
    (error,) = await alice.take("message")
    assert condition(error) == "not-acceptable"
    inner = error.find("error")
    assert inner is not None and inner.find("blocked", ns.BLOCKING_ERRORS) is not None
    assert await bob.take("message") == []


async def test_bad_commands_are_refused(place: Place) -> None:
    alice = await place.sign_in("alice")
    place.set(MAX_ENTRIES, 2)
    expected = {
        change("block"): "bad-request",
        change("block", "a@b@c"): "jid-malformed",
        change("block", "bob@example.org/desk"): "not-acceptable",
        change("block", "alice@example.org"): "not-allowed",
        change("block", "example.org"): "not-allowed",
        change("block", "a@x.org", "b@x.org", "c@x.org"): "resource-constraint",
    }
    for payload, refusal in expected.items():
        assert condition(await alice.ask("set", payload)) == refusal, payload
    assert listed(await alice.ask("get", LIST)) == []


async def test_policy_survives_for_the_next_login(place: Place) -> None:
    (alice,) = await place.people("alice")
    await policy_changes.put(place.context, alice, BLOCK, [parse("bob@example.org"), parse("evil.example")])
    await policy_changes.put(place.context, alice, ALLOW, [parse("good@evil.example")])
    await policy_changes.set_default(place.context, alice, ALLOW)
    assert await policy_changes.load(place.context, alice) == rows.Policy(
        ALLOW,
        [
            rows.Entry(BLOCK, 2, "bob@example.org", None),
            rows.Entry(BLOCK, None, None, "evil.example"),
            rows.Entry(ALLOW, 3, "good@evil.example", None),
        ],
    )
    policy = (await place.sign_in("alice")).user.policy
    assert policy is not None
    allowed = {
        name: policy.allows(parse(name))
        for name in ("bob@example.org", "x@evil.example", "good@evil.example")
    }
    assert allowed == {"bob@example.org": False, "x@evil.example": False, "good@evil.example": True}


async def test_default_block_hides_from_all_but_the_allowed(place: Place) -> None:
    alice, bob, carol = await place.friends("alice", "bob", "carol")
    person = alice.user.person
    await policy_changes.put(place.context, person, ALLOW, [parse(carol.bare)])
    assert await bob.presences() == [] and await carol.presences() == []
    await policy_changes.set_default(place.context, person, BLOCK)
    assert await bob.presences() == [(alice.full, "unavailable")]
    assert await carol.presences() == []
    await policy_changes.remove(place.context, person, [parse(carol.bare)], ALLOW)
    assert await carol.presences() == [(alice.full, "unavailable")]
    await policy_changes.set_default(place.context, person, None)
    assert await bob.presences() == [(alice.full, None)]
    assert listed(await alice.ask("get", LIST)) == []  # XEP-0191 shows names, not defaults


async def test_subscription_of_a_blocked_person_is_not_shown(place: Place) -> None:
    place.set(AUTO_AUTHORIZE, False)
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    await block(alice, bob.bare)
    bob.send(f"<presence type='subscribe' to='{alice.bare}'/>")
    assert [p for p in await alice.presences() if p[1] == "subscribe"] == []


async def test_system_default_holds_for_those_without_a_choice(place: Place) -> None:
    place.set(DEFAULT_BLOCK, "block")
    alice = await place.sign_in("alice")
    assert alice.user.policy is not None and not alice.user.policy.allows(parse("bob@example.org"))
    await policy_changes.set_default(place.context, alice.user.person, ALLOW)
    assert alice.user.policy is None


async def test_full_addresses_are_refused_to_administrators_too(place: Place) -> None:
    (alice,) = await place.people("alice")
    with pytest.raises(StanzaError):
        await policy_changes.put(place.context, alice, BLOCK, [parse("bob@example.org/desk")])


async def test_who_blocks_the_own_domain_still_reaches_the_server(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    await policy_changes.put(place.context, alice.user.person, BLOCK, [parse("example.org")])
    ping = f"<ping xmlns='{ns.PING}'/>"
    assert (await alice.ask("get", ping, "example.org")).get("type") == "result"
    assert condition(await alice.ask("get", ping, bob.bare)) == "not-acceptable"
    assert (await alice.ask("get", LIST)).get("type") == "result"
