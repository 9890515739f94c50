"""Operations on privacy policies: admin/policies.py."""

import pytest

from tests.unit.admin.small_node import SmallNode, do, refused
from ubiety.admin.rbac import Caller


async def test_a_policy_from_the_default_to_the_lists(node: SmallNode) -> None:
    await do(node, "user.add", userid="anna")
    shown = await do(node, "policy.show", userid="anna")
    assert (shown.default, shown.applies, shown.allowed, shown.blocked) == ("system", "allow", [], [])
    done = await do(node, "policy.set", userid="anna", default="block")
    assert (done.default, done.applies) == ("block", "block")
    await do(node, "policy.allow", userid="anna", entry="Ben@Example.org")
    done = await do(node, "policy.block", userid="anna", entry="example.com")
    assert (done.allowed, done.blocked) == (["ben@example.org"], ["example.com"])
    done = await do(node, "policy.block", userid="anna", entry="ben@example.org")
    assert (done.allowed, done.blocked) == ([], ["ben@example.org", "example.com"])
    await do(node, "policy.remove", userid="anna", entry="example.com")
    done = await do(node, "policy.remove", userid="anna", entry="ben@example.org")
    assert (done.allowed, done.blocked) == ([], [])
    assert (await do(node, "policy.set", userid="anna", default="system")).applies == "allow"


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("ben@example.org/desk", "names one device"),
        ("@@", "neither an address nor a domain"),
        ("anna@example.org", "themselves"),
        ("example.org", "their own server"),
    ],
)
async def test_entries_that_cannot_be_blocked(node: SmallNode, entry: str, complaint: str) -> None:
    await do(node, "user.add", userid="anna")
    problem = await refused(node, "policy.block", userid="anna", entry=entry)
    assert problem.kind.status == 422 and complaint in problem.detail
    assert (await do(node, "policy.show", userid="anna")).blocked == []


async def test_what_is_not_there_cannot_be_removed_or_shown(node: SmallNode) -> None:
    await do(node, "user.add", userid="anna")
    assert "neither list" in (await refused(node, "policy.remove", userid="anna", entry="a@b.org")).detail
    assert (await refused(node, "policy.show", userid="nobody")).kind.status == 404


async def test_a_helpdesk_of_one_domain_changes_policies_there_only(node: SmallNode) -> None:
    await do(node, "domain.add", name="example.com")
    await do(node, "user.add", userid="anna")
    await do(node, "user.add", userid="ben", domain="example.com")
    helper = Caller("token:help", frozenset({"people.write@example.com"}))
    assert (
        await do(node, "policy.set", helper, userid="ben@example.com", default="block")
    ).applies == "block"
    problem = await refused(node, "policy.set", helper, userid="anna", default="block")
    assert problem.kind.status == 403
