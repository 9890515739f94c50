"""Operations on domains, settings, sessions, tokens, announcements and the node."""

import pytest

from tests.unit.admin.small_node import CONTACTS, SmallNode, do, refused
from ubiety.admin.rbac import Caller
from ubiety.admin.tokens import find_caller
from ubiety.settings import Settings
from ubiety.store import settings as stored


async def test_domains_are_added_into_the_certificate_and_deleted(node: SmallNode) -> None:
    made = await do(node, "domain.add", name="Bücher.example")
    assert (made.name, made.in_certificate, made.is_default) == ("bücher.example", True, False)
    assert (await refused(node, "domain.add", name="bücher.example")).kind.status == 409
    assert [one.name for one in (await do(node, "domain.list")).domains] == ["bücher.example", "example.org"]
    await do(node, "domain.delete", name="xn--bcher-kva.example")
    assert node.domains == ["example.org"]


async def test_a_domain_with_people_or_the_default_one_stays(node: SmallNode) -> None:
    await do(node, "domain.add", name="example.com")
    await do(node, "user.add", userid="user1", domain="example.com")
    problem = await refused(node, "domain.delete", name="example.com")
    assert problem.kind.status == 409 and "user list --domain example.com" in problem.cure
    assert (await refused(node, "domain.delete", name="example.org")).kind.status == 409
    assert (await refused(node, "domain.delete", name="example.net")).kind.status == 404


@pytest.mark.parametrize("name", ["a b", "exa/mple", "@", "x" * 2000, "-.-"])
async def test_what_is_no_domain_is_refused(node: SmallNode, name: str) -> None:
    if len(name) > 255:
        with pytest.raises(ValueError):
            await do(node, "domain.add", name=name)
    else:
        assert (await refused(node, "domain.add", name=name)).kind.status == 422
    assert node.domains == ["example.org"]


async def test_a_setting_is_stored_and_applied(node: SmallNode) -> None:
    shown = await do(node, "setting.set", name="roster.maximum", value="7")
    assert (shown.value, shown.takes_effect) == (7, "Takes effect at once.")
    assert node.settings.get(CONTACTS) == 7
    again = Settings([CONTACTS])
    assert again.load({"roster.maximum": (await node.database.read(stored.load))["roster.maximum"]}) == []
    assert again.get(CONTACTS) == 7
    assert (await do(node, "setting.reset", name="roster.maximum")).value == 200
    assert "roster.maximum" not in await node.database.read(stored.load)


async def test_a_value_that_does_not_fit_is_refused_with_what_does(node: SmallNode) -> None:
    problem = await refused(node, "setting.set", name="roster.maximum", value="many")
    assert problem.kind.status == 422 and "from 0 to 5000" in problem.detail
    assert (await do(node, "setting.get", name="roster.maximum")).value == 200
    assert await node.database.read(stored.load) == {}
    assert (await refused(node, "setting.get", name="no.such")).kind.status == 422


async def test_sessions_are_listed_by_person_and_domain_and_ended(node: SmallNode) -> None:
    await do(node, "domain.add", name="example.com")
    for address in (
        "user2@example.org/a",
        "user1@example.org/b",
        "user1@example.org/a",
        "user1@example.com/a",
    ):
        node.sessions.add(address)
    listed = await do(node, "session.list")
    assert listed.total == 4 and listed.sessions[0].address == "user1@example.com/a"
    assert (await do(node, "session.list", userid="user1")).total == 2
    assert (await do(node, "session.list", domain="example.com")).total == 1
    assert (await do(node, "session.list", limit=1)).total == 4
    assert (await do(node, "session.kick", userid="user1", resource="a")).sessions_ended == 1
    assert (await do(node, "session.kick", userid="user1", reason="Maintenance")).sessions_ended == 1
    assert node.sessions.reasons[-1] == "Maintenance"
    assert (await refused(node, "session.kick", userid="user1")).kind.status == 404


async def test_announcements_reach_their_audience(node: SmallNode) -> None:
    await do(node, "domain.add", name="example.com")
    await do(node, "user.add", userid="user1", department="Sales")
    await do(node, "user.add", userid="user2@example.com", department="Sales")
    await do(node, "user.add", userid="user3")
    await do(node, "user.disable", userid="user3")
    node.sessions.add("user1@example.org/a")
    node.sessions.add("user1@example.org/b")
    await do(node, "announcement.send", text="Hello", subject="News")
    await do(node, "announcement.send", text="Hello", audience="domain", name="example.com")
    await do(node, "announcement.send", text="Hello", audience="department", name="Sales")
    await do(node, "announcement.send", text="Hello", audience="online")
    both = ["user1@example.org", "user2@example.com"]
    assert [one[0] for one in node.announced] == [both, both[1:], both, both[:1]]
    assert node.announced[0][1:] == ("News", "Hello")
    assert (await refused(node, "announcement.send", text="x", audience="department")).kind.status == 422
    problem = await refused(node, "announcement.send", text="x", audience="department", name="Nobody")
    assert problem.kind.status == 404 and len(node.announced) == 4


async def test_tokens_cannot_give_more_than_their_maker_holds(node: SmallNode) -> None:
    maker = Caller("token:maker", frozenset({"tokens.*", "people.*@example.org"}))
    problem = await refused(node, "token.add", maker, name="all")
    assert problem.kind.status == 403
    made = await do(node, "token.add", maker, name="some", permissions=["people.read@example.org"])
    found = await find_caller(node, made.token)
    assert found == Caller("token:some", frozenset({"people.read@example.org"}))
    assert (await refused(node, "token.add", name="some")).kind.status == 409
    assert (await refused(node, "token.add", name="x", permissions=["fly"])).kind.status == 422
    assert (await refused(node, "token.add", name="x", role="king")).kind.status == 422
    assert (await refused(node, "token.delete", name="none")).kind.status == 404


async def test_status_tells_counts_and_hides_passwords(node: SmallNode) -> None:
    await do(node, "user.add", userid="user1")
    await do(node, "user.disable", userid="user1")
    status = await do(node, "node.status")
    assert (status.people, status.people_enabled, status.domains) == (1, 0, ["example.org"])
    assert status.counters["messages"] == 0 and status.uptime >= 0


async def test_a_faulty_certificate_is_reported_and_the_old_one_stays(node: SmallNode) -> None:
    before = await do(node, "certificate.show")
    (node.config.certificates_dir / "server.pem").write_text("nonsense")
    problem = await refused(node, "certificate.reload")
    assert problem.kind.status == 409 and "server.pem" in problem.detail
    assert (await do(node, "certificate.show")).fingerprint == before.fingerprint
