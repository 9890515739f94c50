"""admin/rbac.py and guard.py."""

import pytest

from ubiety.admin.guard import BURST, FREE_FAILURES, LONGEST_DELAY, MAX_ADDRESSES, RATE, Guard
from ubiety.admin.operations import OPERATIONS
from ubiety.admin.rbac import PERMISSIONS, ROLES, Caller, check_grants, covers, role_grants


def caller(*grants: str) -> Caller:
    return Caller("test", frozenset(grants))


@pytest.mark.parametrize(
    ("grant", "permission", "domain", "holds"),
    [
        ("*", "people.write", None, True),
        ("*", "people.write", "example.org", True),
        ("people.*", "people.write", None, True),
        ("people.*", "settings.read", None, False),
        ("people.read", "people.write", None, False),
        ("people.write@example.org", "people.write", "example.org", True),
        ("people.write@example.org", "people.write", "example.com", False),
        ("people.write@example.org", "people.write", None, False),
        ("*@example.org", "people.write", "example.org", True),
        ("*@example.org", "settings.write", None, False),
    ],
)
def test_what_a_grant_gives(grant: str, permission: str, domain: str | None, holds: bool) -> None:
    assert caller(grant).holds(permission, domain) is holds


def test_every_operation_has_a_known_permission_and_a_name_of_two_words() -> None:
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)
    for operation in OPERATIONS:
        assert operation.permission in PERMISSIONS, operation.name
        assert operation.name.count(".") == 1 and operation.sentence.endswith(".")
        assert operation.changes is not operation.permission.endswith(".read")


def test_roles_hold_known_permissions_only() -> None:
    for role in ROLES:
        check_grants(role_grants(role))
        check_grants(role_grants(role, ["example.org"]))
    with pytest.raises(ValueError, match="is no role"):
        role_grants("king")
    for wrong in ("people.fly", "people.read@", ""):
        with pytest.raises(ValueError):
            check_grants([wrong])


def test_nobody_hands_out_what_he_does_not_hold() -> None:
    assert covers(caller("*"), ["*", "people.read@example.org"])
    assert covers(caller("people.*"), ["people.*", "people.read@example.org"])
    assert not covers(caller("people.*"), ["*"])
    assert not covers(caller("people.*@example.org"), ["people.read"])
    assert not covers(caller("people.read"), ["people.*"])
    assert covers(caller(*PERMISSIONS), ["*"])


def test_the_domains_of_a_limited_caller() -> None:
    limited = caller("people.read@example.org", "people.*@example.com", "settings.read")
    assert limited.domains("people.read") == ["example.com", "example.org"]
    assert limited.domains("settings.read") == []


def test_wrong_tokens_make_an_address_wait_longer_each_time() -> None:
    guard, now = Guard(), 100.0
    for _ in range(FREE_FAILURES - 1):
        assert guard.wait("192.0.2.1", now) == 0
        guard.failed("192.0.2.1", now)
    waits = []
    for _ in range(12):
        guard.failed("192.0.2.1", now)
        waits.append(guard.wait("192.0.2.1", now))
        now += waits[-1]
        assert guard.wait("192.0.2.1", now) == 0
    assert waits[:3] == [1.0, 2.0, 4.0] and waits[-1] == LONGEST_DELAY
    assert guard.wait("192.0.2.2", now) == 0
    guard.succeeded("192.0.2.1")
    assert guard.wait("192.0.2.1", now) == 0


def test_failures_are_forgotten_in_time() -> None:
    guard = Guard()
    for _ in range(FREE_FAILURES):
        guard.failed("192.0.2.1", 0.0)
    assert guard.failed("192.0.2.1", 10_000.0) == 1
    assert guard.wait("192.0.2.1", 10_000.0) == 0


def test_an_ipv6_network_is_one_address() -> None:
    guard = Guard()
    for number in range(FREE_FAILURES):
        guard.failed(f"2001:db8::{number}", 0.0)
    assert guard.wait("2001:db8::ffff", 0.0) > 0
    assert guard.wait("2001:db8:0:1::1", 0.0) == 0
    assert guard.wait("::ffff:192.0.2.1", 0.0) == 0


def test_requests_are_paced() -> None:
    guard = Guard()
    passed = sum(guard.wait("192.0.2.1", 0.0) == 0 for _ in range(int(BURST) + 50))
    assert passed == BURST
    assert guard.wait("192.0.2.1", 0.0) == pytest.approx(1 / RATE)
    assert guard.wait("192.0.2.1", 1.0) == 0


def test_a_crowd_of_addresses_does_not_fill_the_memory() -> None:
    guard = Guard()
    for number in range(MAX_ADDRESSES + 10):
        guard.failed(f"host-{number}", 0.0)
    assert len(guard._addresses) == MAX_ADDRESSES
