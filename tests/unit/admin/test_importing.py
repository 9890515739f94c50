"""admin/importing.py, on both databases."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.admin.small_node import SmallNode, do, refused, small_node
from ubiety.admin.rbac import Caller
from ubiety.directory.passwords import load_keys
from ubiety.store import users, vcards
from ubiety.users import avatars
from ubiety.xmpp.sasl import check_password

JPEG = b"\xff\xd8\xff\xe0 a small picture"


@pytest.fixture
async def node(fresh_url: str, tmp_path: Path) -> AsyncIterator[SmallNode]:
    """On SQLite and on PostgreSQL."""
    async with small_node(tmp_path / "data", fresh_url) as made:
        yield made


def row(number: int, userid: str, **about: Any) -> dict[str, Any]:
    return {"number": number, "userid": userid, **about}


async def userids(node: SmallNode) -> list[str]:
    return [one.userid for one in (await do(node, "user.list")).people]


async def test_bad_rows_do_not_keep_the_good_ones_out(node: SmallNode) -> None:
    await do(node, "user.add", userid="present")
    report = await do(
        node,
        "user.import",
        rows=[
            row(2, "user1", name="User One", password="secret", department="Sales"),
            row(3, "present"),
            row(4, "bad\nid"),
            row(5, "user5", domain="example.net"),
            row(6, "user6", password="tab\x00"),
            row(7, "user7", name="x" * 300),
            row(8, "user8", photo="no base64!"),
            row(9, "USER1"),
            row(10, "user10"),
        ],
    )
    assert (report.added, report.failed, report.updated) == (2, 7, 0)
    assert [one.number for one in report.rows] == list(range(2, 11))
    reasons = {one.number: one.reason for one in report.rows if one.outcome == "failed"}
    assert set(reasons) == {3, 4, 5, 6, 7, 8, 9} and all(reasons.values())
    assert "example.net is not served" in reasons[5] and "exists already" in reasons[3]
    assert await userids(node) == ["present", "user1", "user10"]
    stored = await node.database.read(users.load_credentials, "user1@example.org")
    assert stored is not None and check_password(load_keys(stored.scram or "")["sha1"], "secret")


async def test_a_dry_run_reports_and_changes_nothing(node: SmallNode) -> None:
    report = await do(node, "user.import", rows=[row(2, "user1"), row(3, "user1")], dry_run=True)
    assert (report.added, report.failed) == (1, 1)
    assert await userids(node) == [] and node.changed == []


async def test_an_update_changes_who_is_there(node: SmallNode) -> None:
    await do(node, "user.add", userid="user1", name="Old", title="Clerk")
    rows = [row(2, "user1", name="New", password="p", enabled=False), row(3, "user2")]
    report = await do(node, "user.import", rows=rows, update=True)
    assert (report.updated, report.added) == (1, 1)
    shown = await do(node, "user.show", userid="user1")
    assert (shown.name, shown.title, shown.enabled, shown.has_password) == ("New", "Clerk", False, True)


async def test_a_photo_becomes_an_avatar_and_leaves_the_vcard_to_the_directory(node: SmallNode) -> None:
    picture = base64.b64encode(JPEG).decode()
    await do(node, "user.import", rows=[row(2, "user1", name="User <One>", photo=picture)])
    user = (await node.database.read(users.list_page))[0]
    assert await node.database.read(vcards.load, user.id) is None
    published = await node.database.read(avatars.load, user.id)
    assert published is not None and published.photo == avatars.Photo(JPEG, "image/jpeg")


async def test_the_text_of_a_file(node: SmallNode) -> None:
    text = "userid;name;shoe size\nuser1;User One;42\n;x;1\n"
    report = await do(node, "user.import", content=text)
    assert [(one.outcome, one.number) for one in report.rows] == [("skipped", 1), ("added", 2), ("failed", 3)]
    ldif = "dn: uid=user2,o=x\nobjectClass: inetOrgPerson\nuid: user2\ncn: User Two\n"
    assert (await do(node, "user.import", content=ldif)).added == 1
    problem = await refused(node, "user.import", content="what is this\n")
    assert problem.kind.status == 422 and "userid,name" in problem.detail


async def test_rows_of_another_domain_need_its_permission(node: SmallNode) -> None:
    await do(node, "domain.add", name="example.com")
    caller = Caller("token:sync", frozenset({"people.write@example.com"}))
    rows = [row(2, "user1"), row(3, "user2", domain="example.org"), row(4, "user3@example.org")]
    report = await do(node, "user.import", caller, rows=rows, domain="example.com")
    assert [one.outcome for one in report.rows] == ["added", "failed", "added"]
    everybody = (await do(node, "user.list")).people
    assert [one.address for one in everybody] == ["user1@example.com", r"user3\40example.org@example.com"]
    assert (await refused(node, "user.import", caller, rows=rows)).kind.status == 403


async def test_the_audit_has_numbers_and_no_passwords(node: SmallNode) -> None:
    await do(node, "user.import", rows=[row(2, "user1", password="topsecret")])
    entry = (await do(node, "audit.list")).entries[0]
    assert entry.arguments == {"rows": 1, "content": 0}
