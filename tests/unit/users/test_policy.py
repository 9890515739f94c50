"""A policy: defaults, lists, and what beats what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.jid import parse
from ubiety.users.policy import Policy

NAMES = ["a@x.org", "b@x.org", "a@y.org", "x.org", "y.org"]


@pytest.mark.parametrize(
    ("default", "allowed", "blocked", "expected"),
    [
        (True, [], [], {"a@x.org": True, "x.org": True}),
        (False, [], [], {"a@x.org": False}),
        (True, [], ["a@x.org"], {"a@x.org": False, "b@x.org": True, "a@x.org/desk": False}),
        (True, [], ["x.org"], {"a@x.org": False, "b@x.org/desk": False, "a@y.org": True}),
        (True, ["a@x.org"], ["x.org"], {"a@x.org": True, "b@x.org": False}),
        (False, ["x.org"], ["a@x.org"], {"a@x.org": False, "b@x.org": True, "a@y.org": False}),
        (False, ["a@x.org"], [], {"a@x.org/desk": True, "b@x.org": False}),
    ],
)
def test_who_is_let_in(
    default: bool, allowed: list[str], blocked: list[str], expected: dict[str, bool]
) -> None:
    policy = Policy(default, allowed, blocked)
    assert {name: policy.allows(parse(name)) for name in expected} == expected


def test_blocked_by_name_only_is_blocked_for_writing() -> None:
    policy = Policy(False, ["c@x.org"], ["a@x.org", "y.org"])
    blocked = {name: policy.blocks(parse(name)) for name in ("a@x.org", "b@x.org", "z@y.org", "c@x.org")}
    assert blocked == {"a@x.org": True, "b@x.org": False, "z@y.org": True, "c@x.org": False}


@given(
    st.booleans(),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["allow", "block"])),
    st.sampled_from([name for name in NAMES if "@" in name]),
)
def test_nearest_entry_decides(default: bool, entries: dict[str, str], name: str) -> None:
    lists = {action: [e for e, a in entries.items() if a == action] for action in ("allow", "block")}
    policy = Policy(default, lists["allow"], lists["block"])
    nearest = entries.get(name) or entries.get(name.split("@")[1])
    expected = default if nearest is None else nearest == "allow"
    assert policy.allows(parse(name)) is expected
    assert policy.blocks(parse(name)) is (nearest == "block")
    assert policy.admits(parse(name)) is (nearest == "allow")
