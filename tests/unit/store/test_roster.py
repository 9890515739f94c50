"""Contact lists: items, subscriptions, requests that wait."""

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.unit.store.people import add_people
from ubiety.store import roster, users
from ubiety.store.database import Database

People = list[tuple[int, int]]


@pytest.fixture
def people(database: Database) -> People:
    return database.write_now(add_people, 3)


def test_an_item_with_groups(database: Database, people: People) -> None:
    (owner, _), (_, contact), _ = people
    database.write_now(roster.put_item, owner, contact, "Bo", ["Work", "Äpfel", "Work"])
    expected = roster.Item(contact, "person1@example.org", "Bo", roster.LISTED, 0, ("Work", "Äpfel"))
    assert database.read_now(roster.load_items, owner) == [expected]
    assert database.read_now(roster.load_item, owner, contact) == expected
    database.write_now(roster.put_item, owner, contact, "Bob", ())
    item = database.read_now(roster.load_item, owner, contact)
    assert item == expected._replace(name="Bob", groups=())
    assert database.write_now(roster.remove_item, owner, contact)
    assert not database.write_now(roster.remove_item, owner, contact)
    assert database.read_now(roster.load_items, owner) == []
    assert database.read_now(roster.load_item, owner, contact) is None


def test_names_are_any_text(database: Database, people: People) -> None:
    (owner, _), (_, contact), _ = people
    name = "\"'\\ \n <&> :param %s 名前 \U0001f600"
    database.write_now(roster.put_item, owner, contact, name, [name])
    (item,) = database.read_now(roster.load_items, owner)
    assert (item.name, item.groups) == (name, (name,))


def test_a_subscription_keeps_the_name(database: Database, people: People) -> None:
    (owner, _), (_, contact), _ = people
    database.write_now(roster.put_item, owner, contact, "Bo", ["Work"])
    database.write_now(roster.set_subscription, owner, contact, roster.TO, ask=True, approved=True)
    database.write_now(roster.set_state, owner, contact, 5)
    database.write_now(roster.put_item, owner, contact, "Bob", ["Home"])
    item = database.read_now(roster.load_item, owner, contact)
    assert item is not None
    assert (item.name, item.groups, item.state) == ("Bob", ("Home",), 5)
    assert item.flags == roster.TO | roster.ASK | roster.APPROVED | roster.LISTED
    assert item.subscription == roster.TO
    assert item.is_listed


def test_a_request_waits_without_being_listed(database: Database, people: People) -> None:
    (owner, _), (_, contact), (_, other) = people
    database.write_now(roster.set_pending, owner, contact, b"<presence id='1'/>")
    database.write_now(roster.set_pending, owner, contact, b"<presence id='2'/>")
    assert database.read_now(roster.load_pending, owner) == [
        roster.Pending(contact, "person1@example.org", b"<presence id='2'/>")
    ]
    item = database.read_now(roster.load_item, owner, contact)
    assert item is not None
    assert not item.is_listed
    assert database.read_now(roster.count, owner) == roster.Counts(0, 0)
    assert database.write_now(roster.clear_pending, owner, contact)
    assert database.read_now(roster.load_item, owner, contact) is None  # nothing was left to say
    assert not database.write_now(roster.clear_pending, owner, other)


def test_a_request_of_a_listed_contact_leaves_the_item(database: Database, people: People) -> None:
    (owner, _), (_, contact), _ = people
    database.write_now(roster.put_item, owner, contact, "Bo")
    database.write_now(roster.set_pending, owner, contact, b"<presence/>")
    database.write_now(roster.set_subscription, owner, contact, roster.NONE)
    assert len(database.read_now(roster.load_pending, owner)) == 1
    database.write_now(roster.clear_pending, owner, contact)
    item = database.read_now(roster.load_item, owner, contact)
    assert item is not None
    assert item.flags == roster.LISTED


def test_an_approval_in_advance_goes_with_its_reason(database: Database, people: People) -> None:
    (owner, _), (_, contact), _ = people
    database.write_now(roster.set_subscription, owner, contact, roster.NONE, approved=True, listed=False)
    item = database.read_now(roster.load_item, owner, contact)
    assert item is not None
    assert item.flags == roster.APPROVED
    database.write_now(roster.set_subscription, owner, contact, roster.NONE, listed=False)
    assert database.read_now(roster.load_item, owner, contact) is None


def test_counts_and_holders(database: Database, people: People) -> None:
    (one, one_address), (two, two_address), (_, three_address) = people
    database.write_now(roster.put_item, one, two_address, "")
    database.write_now(roster.set_subscription, one, two_address, roster.BOTH)
    database.write_now(roster.put_item, one, three_address, "")
    database.write_now(roster.set_subscription, one, three_address, roster.TO)
    database.write_now(roster.set_subscription, two, one_address, roster.FROM, listed=False)
    assert database.read_now(roster.count, one) == roster.Counts(2, 1)
    assert database.read_now(roster.count, two) == roster.Counts(0, 1)
    assert database.read_now(roster.load_holders, two_address) == [(one, roster.BOTH | roster.LISTED)]
    assert database.read_now(roster.load_packed, one) == [
        (two_address, roster.BOTH | roster.LISTED),
        (three_address, roster.TO | roster.LISTED),
    ]


def test_versions_grow(database: Database, people: People) -> None:
    owner = people[0][0]
    assert [database.write_now(roster.bump_version, owner) for _ in range(3)] == [1, 2, 3]
    login = database.read_now(users.load_login, people[0][1])
    assert login is not None
    assert login.roster_version == 3


@given(st.integers(0, 3), st.booleans(), st.booleans(), st.booleans(), st.booleans())
@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_flags_survive(
    database: Database,
    people: People,
    subscription: int,
    ask: bool,
    approved: bool,
    listed: bool,
    waits: bool,
) -> None:
    """Whatever one side stores comes back in every form in which it is read."""
    (owner, address), (_, contact), _ = people
    database.write_now(roster.remove_item, owner, contact)
    if waits:
        database.write_now(roster.set_pending, owner, contact, b"<presence/>")
    database.write_now(
        roster.set_subscription, owner, contact, subscription, ask=ask, approved=approved, listed=listed
    )
    flags = subscription | ask << 2 | waits << 3 | approved << 4 | listed << 5
    expected = [(contact, flags)] if flags else []
    assert database.read_now(roster.load_packed, owner) == expected
    assert [(i.contact_id, i.flags) for i in database.read_now(roster.load_items, owner)] == expected
    login = database.read_now(users.load_login, address)
    assert login is not None
    assert list(zip(login.contacts, login.flags, strict=True)) == expected
    assert login.has_pending_in is waits


def test_both_rows_of_a_relation_are_read_and_written_at_once(database: Database, people: People) -> None:
    (one, one_address), (two, two_address), _ = people
    ours, theirs = (one, two_address, "person1@example.org"), (two, one_address, "person0@example.org")
    assert database.read_now(roster.load_both, ours, theirs) == (None, None)
    database.write_now(roster.put_item, one, two_address, "Bo", ["Work", "Home"], had_groups=False)
    asked = roster.Change(one, two_address, roster.ASK | roster.LISTED)
    waits = roster.Change(two, one_address, roster.PENDING_IN, b"<presence/>")
    database.write_now(roster.write_rows, [asked, waits])
    item, hidden = database.read_now(roster.load_both, ours, theirs)
    assert item == roster.Item(*ours[1:], "Bo", roster.ASK | roster.LISTED, 0, ("Home", "Work"))
    assert hidden == roster.Item(*theirs[1:], "", roster.PENDING_IN, 0, ())
    database.write_now(roster.write_rows, [waits._replace(flags=roster.PENDING_IN | roster.TO, stanza=None)])
    (request,) = database.read_now(roster.load_pending, two)
    assert request.stanza == b"<presence/>"  # it was there before
    database.write_now(roster.write_rows, [asked._replace(flags=roster.BOTH), waits._replace(flags=0)])
    item, hidden = database.read_now(roster.load_both, ours, theirs)
    assert item is not None and item.flags == roster.BOTH and item.groups == ("Home", "Work")
    assert hidden is None and database.read_now(roster.load_pending, two) == []
    assert database.read_now(roster.load_with_count, one, two_address, ours[2]) == (item, 0)
