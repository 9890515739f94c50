"""The sample organisation: whole, repeatable, mutual, and typed without trouble."""

import re

import pytest

from ubiety.demo.names import DEPARTMENTS, GIVEN_NAMES, PASSWORD_WORDS, SURNAMES
from ubiety.demo.organisation import Organisation, build_organisation, make_password, make_userid


@pytest.fixture(scope="module")
def firm() -> Organisation:
    return build_organisation("example.org", "a seed")


def test_has_two_hundred_distinct_people(firm: Organisation) -> None:
    assert len(firm.people) == 200
    assert len({person.userid for person in firm.people}) == 200
    assert len({person.phone for person in firm.people}) == 200
    assert len(set(GIVEN_NAMES)) == len(set(SURNAMES)) == 100


def test_departments_have_their_size_and_one_head(firm: Organisation) -> None:
    for department in DEPARTMENTS:
        members = [person for person in firm.people if person.department == department.name]
        assert len(members) == department.size
        assert [person.title for person in members].count(department.head) == 1


def test_is_the_same_each_time(firm: Organisation) -> None:
    assert build_organisation("example.org", "a seed") == firm


def test_another_seed_changes_passwords_only(firm: Organisation) -> None:
    other = build_organisation("example.org", "another seed")
    assert other.contacts == firm.contacts
    assert [person.userid for person in other.people] == [person.userid for person in firm.people]
    same = [one for one, two in zip(firm.people, other.people, strict=True) if one.password == two.password]
    assert not same


def test_mail_and_address_are_in_the_domain(firm: Organisation) -> None:
    person = firm.people[7]
    assert person.mail == firm.address(person) == f"{person.userid}@example.org"


def test_contacts_are_mutual_and_never_oneself(firm: Organisation) -> None:
    assert set(firm.contacts) == {person.userid for person in firm.people}
    for userid, contacts in firm.contacts.items():
        assert userid not in contacts
        assert len(set(contacts)) == len(contacts) > 0
        assert all(userid in firm.contacts[contact] for contact in contacts)


def test_contacts_reach_across_departments(firm: Organisation) -> None:
    department = {person.userid: person.department for person in firm.people}
    for userid, contacts in firm.contacts.items():
        departments = {department[contact] for contact in contacts}
        assert department[userid] in departments
        assert len(departments) > 1


def test_forty_are_simulated_in_all_departments(firm: Organisation) -> None:
    assert len(firm.simulated) == 40
    assert {person.department for person in firm.simulated} == {d.name for d in DEPARTMENTS}


def test_visitors_are_free_know_each_other_and_see_many_online(firm: Organisation) -> None:
    simulated = {person.userid for person in firm.simulated}
    visitors = {person.userid for person in firm.visitors}
    assert len(visitors) == 3
    assert not visitors & simulated
    for visitor in visitors:
        contacts = set(firm.contacts[visitor])
        assert visitors - {visitor} <= contacts
        assert len(contacts & simulated) >= 12


def test_user_ids_are_plain_ascii(firm: Organisation) -> None:
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+", person.userid) for person in firm.people)
    assert make_userid("Søren", "Łukasz") == "soren.lukasz"
    assert make_userid("Zoë", "Grünwald") == "zoe.grunwald"


def test_passwords_are_easy_to_type(firm: Organisation) -> None:
    words = set(PASSWORD_WORDS)
    for person in firm.people:
        first, second, digits = person.password.split("-")
        assert first in words
        assert second in words
        assert re.fullmatch(r"[1-9]\d", digits)
    assert all(re.fullmatch(r"[a-z]{3,8}", word) for word in words)
    assert make_password("s", "one") != make_password("s", "two")
