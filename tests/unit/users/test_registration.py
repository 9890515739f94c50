"""Accounts and passwords by clients (XEP-0077)."""

from tests.unit.users.place import Place, condition
from ubiety.element import Element, parse_element
from ubiety.stanza import from_element
from ubiety.store import users
from ubiety.users.registration import HOUR, PER_HOUR, REMOVAL
from ubiety.xmpp import ns


def register(username: str | None = None, password: str | None = None, more: str = "") -> str:
    """A registration query."""
    name = f"<username>{username}</username>" if username is not None else ""
    word = f"<password>{password}</password>" if password is not None else ""
    return f"<query xmlns='{ns.REGISTER}'>{name}{word}{more}</query>"


async def keys(place: Place, name: str) -> str | None:
    """The stored keys of somebody."""
    found = await place.database.read(users.load_credentials, f"{name}@example.org")
    return found.scram if found is not None else None


async def before_login(place: Place, payload: str, kind: str = "set", address: str = "192.0.2.1") -> Element:
    """Ask before login."""
    iq = f"<iq type='{kind}' id='r'>{payload}</iq>"
    stanza = from_element(parse_element(iq.encode()))
    return parse_element(await place.registration.register(address, stanza, "example.org"))


async def test_password_is_changed(place: Place) -> None:
    alice, phone = await place.sign_in("alice"), await place.sign_in("alice", "phone")
    for to in ("example.org", None):
        answer = await alice.ask("get", register(), to)
        assert [e.name for e in answer.elements[0].elements] == ["registered", "username", "password"]
        changed = await alice.ask("set", register("alice", f"new {to}"), to)
        assert changed.get("type") == "result"
        assert await keys(place, "alice") == f"keys of new {to}"
    assert not phone.session.ended


async def test_bad_changes_are_refused(place: Place) -> None:
    alice, _ = await place.sign_in("alice"), await place.people("bob")
    expected = {
        register("bob", "new password"): "not-allowed",
        register("alice"): "bad-request",
        register("alice", "abc"): "not-acceptable",
        register(more="<remove/>"): "not-allowed",
        register("a@b@c", "new password"): "not-acceptable",
    }
    for payload, refusal in expected.items():
        assert condition(await alice.ask("set", payload, "example.org")) == refusal, payload
    assert await keys(place, "alice") is None and await keys(place, "bob") is None


async def test_password_that_is_kept_elsewhere(place: Place) -> None:
    alice = await place.sign_in("alice")
    await place.database.write(lambda conn: conn.exec_driver_sql("UPDATE users SET auth = 'ldap'").close())
    assert condition(await alice.ask("set", register("alice", "new password"))) == "not-allowed"


async def test_account_is_removed_where_that_is_allowed(place: Place) -> None:
    place.set(REMOVAL, True)
    alice = await place.sign_in("alice")
    answer = await alice.ask("set", register(more="<remove/>"), "example.org")
    assert answer.get("type") == "result"
    await place.settle()
    assert alice.session.ended
    assert place.context.homes.find("alice@example.org") is None
    assert await place.database.read(users.load_credentials, "alice@example.org") is None


async def test_account_is_made(place: Place) -> None:
    form = await before_login(place, register(), "get")
    assert [e.name for e in form.elements[0].elements] == ["instructions", "username", "password"]
    await place.people("bob")
    assert (await before_login(place, register("Alice", "password"))).get("type") == "result"
    assert await keys(place, "alice") == "keys of password"
    alice = await place.sign_in("alice")
    assert alice.user.person.enabled


async def test_bad_registrations_are_refused(place: Place) -> None:
    await place.people("bob")
    expected = {
        register("bob", "password"): "conflict",
        register("alice"): "bad-request",
        register("", "password"): "bad-request",
        register("alice", "abc"): "not-acceptable",
        register("al ice", "password"): "not-acceptable",
    }
    for payload, refusal in expected.items():
        assert condition(await before_login(place, payload)) == refusal, payload
    assert await keys(place, "alice") is None


async def test_one_place_makes_few_accounts_an_hour(place: Place) -> None:
    place.set(PER_HOUR, 2)
    await place.people("bob")
    addresses = [
        "2001:db8::1",
        "2001:db8::2",
        "2001:db8::3",
        "2001:db8:0:1::1",
        "::ffff:192.0.2.1",
        "192.0.2.1",
    ]
    answers = [
        (await before_login(place, register(f"user{number}", "password"), address=address)).get("type")
        for number, address in enumerate(addresses)
    ]
    assert answers == ["result", "result", "error", "result", "result", "result"]
    refused = await before_login(place, register("more", "password"))
    assert condition(refused) == "resource-constraint"
    place.clock.advance(HOUR)
    assert (await before_login(place, register("more", "password"))).get("type") == "result"
