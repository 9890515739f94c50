"""admin/people.py, on a real database."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.unit.admin.small_node import SmallNode, do, refused, small_node
from ubiety.admin.problems import Problem
from ubiety.admin.rbac import Caller
from ubiety.directory.passwords import load_keys
from ubiety.store import users
from ubiety.xmpp.sasl import check_password


async def test_a_life_on_both_databases(fresh_url: str, tmp_path: Path) -> None:
    async with small_node(tmp_path / "data", fresh_url) as node:
        await do(node, "user.add", userid="user1", password=SecretStr("secret"))
        await do(node, "user.update", userid="user1", name="User One")
        await do(node, "user.disable", userid="user1")
        assert [one.enabled for one in (await do(node, "user.list", text="user one")).people] == [False]
        assert (await refused(node, "user.add", userid="user1")).kind.status == 409
        await do(node, "user.delete", userid="user1")
        assert (await do(node, "user.list")).people == []


async def test_a_person_is_added_with_keys_and_no_password(node: SmallNode) -> None:
    made = await do(
        node, "user.add", userid="user1", name="User One", password=SecretStr("secret"), mail="u@x"
    )
    assert (made.address, made.name, made.mail, made.enabled) == (
        "user1@example.org",
        "User One",
        "u@x",
        True,
    )
    stored = await node.database.read(users.load_credentials, "user1@example.org")
    assert stored is not None and stored.scram is not None and "secret" not in stored.scram
    keys = load_keys(stored.scram)
    assert set(keys) == {"sha256", "sha1"}
    assert all(check_password(one, "secret") and not check_password(one, "Secret") for one in keys.values())
    assert len(node.changed) == 1


async def test_the_same_person_twice_is_a_conflict_with_a_cure(node: SmallNode) -> None:
    await do(node, "user.add", userid="user1")
    problem = await refused(node, "user.add", userid="USER1")
    assert problem.kind.status == 409 and "user update" in problem.cure


async def test_user_ids_may_hold_an_at_sign(node: SmallNode) -> None:
    made = await do(node, "user.add", userid="user1@elsewhere.example")
    assert made.address == r"user1\40elsewhere.example@example.org"
    shown = await do(node, "user.show", userid="user1@elsewhere.example")
    assert shown.userid == "user1@elsewhere.example" and not shown.has_password
    by_address = await do(node, "user.show", userid=made.address)
    assert by_address.userid == shown.userid


async def test_people_of_another_domain(node: SmallNode) -> None:
    problem = await refused(node, "user.add", userid="user1", domain="example.com")
    assert problem.kind.status == 404 and "ubiety domain add example.com" in problem.cure
    await do(node, "domain.add", name="Example.COM")
    assert (await do(node, "user.add", userid="user1", domain="example.com")).address == "user1@example.com"
    assert (await do(node, "user.add", userid="user2@example.com")).address == "user2@example.com"
    listed = await do(node, "user.list", domain="example.com")
    assert [one.userid for one in listed.people] == ["user1", "user2"]


@pytest.mark.parametrize("userid", ["a\nb", "x" * 256, "\x00"])
async def test_impossible_user_ids_are_refused(node: SmallNode, userid: str) -> None:
    with pytest.raises((Problem, ValueError)):
        await do(node, "user.add", userid=userid)
    assert not (await do(node, "user.list")).people


async def test_lists_are_paged_and_searched(node: SmallNode) -> None:
    for number in range(5):
        await do(node, "user.add", userid=f"user{number}", department="Sales" if number % 2 else "IT")
    first = await do(node, "user.list", limit=3)
    rest = await do(node, "user.list", limit=3, after=first.next)
    assert [one.userid for one in first.people + rest.people] == [f"user{n}" for n in range(5)]
    assert rest.next is None
    assert [one.userid for one in (await do(node, "user.list", department="Sales")).people] == [
        "user1",
        "user3",
    ]
    assert [one.userid for one in (await do(node, "user.list", text="USER4")).people] == ["user4"]


async def test_an_update_changes_what_is_given_only(node: SmallNode) -> None:
    await do(node, "user.add", userid="user1", name="User One", title="Clerk")
    changed = await do(node, "user.update", userid="user1", title="Manager")
    assert (changed.name, changed.title) == ("User One", "Manager")
    assert (await do(node, "user.update", userid="user1", title="")).title == ""


async def test_a_new_password_ends_sessions(node: SmallNode) -> None:
    await do(node, "user.add", userid="user1", password=SecretStr("old"))
    node.sessions.add("user1@example.org/desk")
    node.sessions.add("user2@example.org/desk")
    done = await do(node, "user.password", userid="user1", password=SecretStr("new"))
    assert done.sessions_ended == 1 and len(node.sessions.present) == 1
    stored = await node.database.read(users.load_credentials, "user1@example.org")
    assert stored is not None and check_password(load_keys(stored.scram or "")["sha256"], "new")


@pytest.mark.parametrize("password", ["", "x" * 2000, "tab\tand\x00"])
async def test_impossible_passwords_are_refused(node: SmallNode, password: str) -> None:
    await do(node, "user.add", userid="user1")
    problem = await refused(node, "user.password", userid="user1", password=SecretStr(password))
    assert problem.kind.status == 422 and (not password or password not in problem.detail)


async def test_disabling_ends_sessions_and_enabling_lets_in_again(node: SmallNode) -> None:
    await do(node, "user.add", userid="user1")
    node.sessions.add("user1@example.org/desk")
    assert (await do(node, "user.disable", userid="user1")).sessions_ended == 1
    assert not (await do(node, "user.show", userid="user1")).enabled
    await do(node, "user.enable", userid="user1")
    assert (await do(node, "user.show", userid="user1")).enabled


async def test_deleting_a_person(node: SmallNode) -> None:
    await do(node, "user.add", userid="user1")
    await do(node, "user.delete", userid="user1")
    assert (await refused(node, "user.show", userid="user1")).kind.status == 404
    assert (await do(node, "user.add", userid="user1")).userid == "user1"


async def test_permissions_are_limited_to_a_domain_however_it_is_named(node: SmallNode) -> None:
    await do(node, "domain.add", name="example.com")
    await do(node, "user.add", userid="user1@example.com")
    caller = Caller("token:helpdesk", frozenset({"people.*@example.org"}))
    assert (await do(node, "user.add", caller, userid="user1")).domain == "example.org"
    for attempt in ({"userid": "user1", "domain": "example.com"}, {"userid": "user1@example.com"}):
        problem = await refused(node, "user.disable", caller, **attempt)
        assert problem.kind.status == 403 and "example.org only" in problem.detail
    assert (await refused(node, "user.list", caller)).kind.status == 403
    assert len((await do(node, "user.list", caller, domain="example.org")).people) == 1
    assert (await refused(node, "setting.list", caller)).kind.status == 403


async def test_changes_are_audited_without_secrets_and_refusals_too(node: SmallNode) -> None:
    await do(node, "user.add", userid="user1", password=SecretStr("very secret"))
    await refused(node, "user.disable", Caller("token:ci", frozenset({"people.read"})), userid="user1")
    await do(node, "user.show", userid="user1")
    newest, oldest = (await do(node, "audit.list")).entries
    assert (oldest.actor, oldest.operation, oldest.outcome) == ("unix:root", "user.add", "done")
    assert oldest.arguments == {"userid": "user1", "password": "**********"}
    assert newest.actor == "token:ci" and newest.outcome.startswith("forbidden: ")


async def test_what_sip_needs_is_kept_only_while_sip_clients_are_on(node: SmallNode) -> None:
    await do(node, "user.add", userid="user1", name="One", password="first")
    stored = await node.database.read(users.load_credentials, "user1@example.org")
    assert stored is not None and node.vault.open("user1", stored.scram) == {}
    node.settings.set_text("sip.clients", "true")
    await do(node, "user.password", userid="user1", password="second")
    stored = await node.database.read(users.load_credentials, "user1@example.org")
    assert stored is not None and list(node.vault.open("user1", stored.scram)) == ["SHA-256"]
    assert set(load_keys(stored.scram or "")) == {"sha256", "sha1"}
    node.settings.set_text("sip.clients", "false")
    await do(node, "user.password", userid="user1", password="third")
    stored = await node.database.read(users.load_credentials, "user1@example.org")
    assert stored is not None and node.vault.open("user1", stored.scram) == {}
