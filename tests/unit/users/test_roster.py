"""Contact lists as clients see and change them (RFC 6121 §2)."""

import pytest

from tests.unit.users.place import Client, Place, condition
from ubiety.element import Element
from ubiety.users.preferences import MAX_CONTACTS
from ubiety.users.roster import RosterCache
from ubiety.xmpp import ns


def query(content: str = "", ver: str | None = None) -> str:
    """A roster query."""
    version = f" ver='{ver}'" if ver is not None else ""
    return f"<query xmlns='{ns.ROSTER}'{version}>{content}</query>"


def contacts(answer: Element) -> dict[str | None, tuple[str | None, list[str]]]:
    """The contacts in an answer or a push: name and groups."""
    return {
        item.get("jid"): (item.get("name"), [group.text for group in item.findall("group")])
        for item in answer.elements[0].findall("item")
    }


async def fetch(client: Client, ver: str | None = None) -> Element:
    """Ask for the list."""
    return await client.ask("get", query(ver=ver))


async def put(client: Client, jid: str, name: str = "", *groups: str) -> None:
    """Add or change a contact."""
    listed = "".join(f"<group>{group}</group>" for group in groups)
    answer = await client.ask("set", query(f"<item jid='{jid}' name='{name}'>{listed}</item>"))
    assert answer.get("type") == "result", answer


async def test_add_change_and_read(place: Place) -> None:
    alice = await place.sign_in("alice")
    assert contacts(await fetch(alice)) == {}
    await put(alice, "Bob@Example.org/desk", "Bob &amp; co", "Friends", "Work &lt;1&gt;")
    assert contacts(await fetch(alice)) == {"bob@example.org": ("Bob & co", ["Friends", "Work <1>"])}
    await put(alice, "bob@example.org", "Robert", "Work")
    await put(alice, "carol@elsewhere.example")
    assert contacts(await fetch(alice)) == {
        "bob@example.org": ("Robert", ["Work"]),
        "carol@elsewhere.example": (None, []),
    }


async def test_pushes_go_to_clients_that_have_the_list(place: Place) -> None:
    desk, phone, deaf = [await place.sign_in("alice", name) for name in ("desk", "phone", "deaf")]
    for client in (desk, phone):
        await fetch(client)
    await put(desk, "bob@example.org", "Bob")
    versions = set()
    for client in (desk, phone):
        (push,) = await client.take("iq")
        assert push.get("type") == "set" and push.get("to") == client.full
        assert contacts(push) == {"bob@example.org": ("Bob", [])}
        versions.add(push.elements[0].get("ver"))
    assert len(versions) == 1
    assert await deaf.take("iq") == []


async def test_versions_spare_what_is_known(place: Place) -> None:
    alice = await place.sign_in("alice")
    first = await fetch(alice, ver="")
    version = first.elements[0].get("ver")
    assert version is not None
    assert (await fetch(alice, ver=version)).elements == []
    await put(alice, "bob@example.org")
    (push,) = await alice.take("iq")
    newer = push.elements[0].get("ver")
    assert newer != version
    again = await fetch(alice, ver=version)
    assert again.elements[0].get("ver") == newer and list(contacts(again)) == ["bob@example.org"]
    assert (await fetch(alice, ver=newer)).elements == []
    assert len(contacts(await fetch(alice, ver="unheard-of"))) == 1


async def test_version_outlives_the_actor(place: Place) -> None:
    alice = await place.sign_in("alice")
    await put(alice, "bob@example.org")
    version = (await fetch(alice)).elements[0].get("ver")
    alice.leave()
    place.context.actors.clear()
    again = await place.sign_in("alice")
    assert (await fetch(again, ver=version)).elements == []


@pytest.mark.parametrize(
    ("item", "refusal"),
    [
        ("", "bad-request"),
        ("<item jid='a@b'/><item jid='c@d'/>", "bad-request"),
        ("<item/>", "jid-malformed"),
        ("<item jid='a@b@c'/>", "jid-malformed"),
        ("<item jid='alice@example.org'/>", "not-allowed"),
        ("<item jid='a@b'><group>x</group><group>x</group></item>", "bad-request"),
        ("<item jid='a@b'><group/></item>", "not-acceptable"),
        (f"<item jid='a@b' name='{'n' * 1024}'/>", "not-acceptable"),
        (f"<item jid='a@b'><group>{'n' * 1024}</group></item>", "not-acceptable"),
        (
            "<item jid='a@b'>" + "".join(f"<group>{n}</group>" for n in range(101)) + "</item>",
            "not-acceptable",
        ),
        ("<item jid='a@b' subscription='remove'/>", "item-not-found"),
    ],
)
async def test_bad_changes_are_refused(place: Place, item: str, refusal: str) -> None:
    alice = await place.sign_in("alice")
    assert condition(await alice.ask("set", query(item))) == refusal
    assert contacts(await fetch(alice)) == {}


async def test_client_cannot_give_itself_a_subscription(place: Place) -> None:
    alice = await place.sign_in("alice")
    await place.people("bob")
    await alice.ask("set", query("<item jid='bob@example.org' subscription='both' ask='subscribe'/>"))
    (item,) = (await fetch(alice)).elements[0].elements
    assert (item.get("subscription"), item.get("ask")) == ("none", None)  # RFC 6121 §2.1.2.5: ignored


async def test_full_list(place: Place) -> None:
    place.set(MAX_CONTACTS, 2)
    alice = await place.sign_in("alice")
    await put(alice, "a@example.org")
    await put(alice, "b@example.org")
    assert condition(await alice.ask("set", query("<item jid='c@example.org'/>"))) == "not-allowed"
    await put(alice, "b@example.org", "who is there may be changed")
    await alice.ask("set", query("<item jid='a@example.org' subscription='remove'/>"))
    await put(alice, "c@example.org")
    assert len(contacts(await fetch(alice))) == 2


async def test_list_of_somebody_else(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    assert condition(await bob.ask("get", query(), alice.bare)) == "service-unavailable"
    assert condition(await bob.ask("set", query("<item jid='a@b'/>"), alice.bare)) == "service-unavailable"


def test_cache_keeps_the_newest() -> None:
    cache = RosterCache(2)
    cache.put(1, 1, b"one")
    cache.put(2, 1, b"two")
    assert cache.get(1, 1) == b"one" and cache.get(1, 2) is None
    cache.put(3, 1, b"three")
    assert [cache.get(user, 1) for user in (1, 2, 3)] == [b"one", None, b"three"]
    cache.put(1, 2, b"newer")
    assert cache.get(1, 1) is None and cache.get(1, 2) == b"newer"
