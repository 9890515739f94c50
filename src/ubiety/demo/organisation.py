"""The invented firm of the sample organisation: who works there and who knows whom. Pure and repeatable.

The people, their ids and contact lists depend on the domain only; the passwords on a seed that each
installation makes for itself, so that no two sample installations share one.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from ubiety.demo.names import DEPARTMENTS, FIRM, GIVEN_NAMES, PASSWORD_WORDS, SURNAMES

TEAM_SIZE = 12
CROSS_CONTACTS = 3
VISITORS = ("Engineering", "Sales", "Support")
"""Departments with a desk left free: a person whom nobody simulates, with many contacts online."""

_FOLDED = str.maketrans({"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "ß": "ss"})


@dataclass(frozen=True, slots=True)
class Person:
    """One employee. `is_simulated`: a simulated client logs in as this person; `is_visitor`: a free desk."""

    userid: str
    given_name: str
    surname: str
    department: str
    title: str
    phone: str
    mail: str
    password: str
    is_simulated: bool
    is_visitor: bool

    @property
    def name(self) -> str:
        """The name as contact lists show it."""
        return f"{self.given_name} {self.surname}"


@dataclass(frozen=True, slots=True)
class Organisation:
    """The whole firm: its people in order, and each one's contacts (user ids) in the order of people."""

    firm: str
    domain: str
    people: tuple[Person, ...]
    contacts: dict[str, tuple[str, ...]]

    @property
    def simulated(self) -> tuple[Person, ...]:
        """The people whom simulated clients log in as."""
        return tuple(person for person in self.people if person.is_simulated)

    @property
    def visitors(self) -> tuple[Person, ...]:
        """The people to log in as when trying Ubiety."""
        return tuple(person for person in self.people if person.is_visitor)

    def address(self, person: Person) -> str:
        """Return the person's bare JID."""
        return f"{person.userid}@{self.domain}"


def build_organisation(domain: str, seed: str) -> Organisation:
    """Build the firm in a domain, with passwords that follow from the seed."""
    people = tuple(_hire(number, domain, seed) for number in range(sum(d.size for d in DEPARTMENTS)))
    return Organisation(FIRM, domain, people, _introduce(people))


def make_userid(given_name: str, surname: str) -> str:
    """Return the user id for a name: `given.surname` in plain ASCII lower case."""
    folded = unicodedata.normalize("NFKD", f"{given_name}.{surname}".translate(_FOLDED))
    return folded.encode("ascii", "ignore").decode("ascii").lower()


def make_password(seed: str, userid: str) -> str:
    """Return a password that is easy to read out and to type: two words and two digits."""
    digest = hashlib.sha256(f"{seed}\0{userid}".encode()).digest()
    picks = [int.from_bytes(digest[start : start + 4]) for start in (0, 4, 8)]
    words = [PASSWORD_WORDS[pick % len(PASSWORD_WORDS)] for pick in picks[:2]]
    return f"{words[0]}-{words[1]}-{10 + picks[2] % 90}"


def _hire(number: int, domain: str, seed: str) -> Person:
    """Make the employee of that number; 0 is the managing director."""
    desk = number
    department = DEPARTMENTS[0]
    for department in DEPARTMENTS:
        if desk < department.size:
            break
        desk -= department.size
    given_name = GIVEN_NAMES[number % len(GIVEN_NAMES)]
    # 37 and 100 share no factor: the second hundred gets the same given names with other surnames.
    surname = SURNAMES[(number * 37 + number // len(GIVEN_NAMES) * 11) % len(SURNAMES)]
    userid = make_userid(given_name, surname)
    return Person(
        userid=userid,
        given_name=given_name,
        surname=surname,
        department=department.name,
        title=department.titles[(desk - 1) % len(department.titles)] if desk else department.head,
        phone=f"+44 1632 960{number:03d}",  # a range of numbers kept free for fiction
        mail=f"{userid}@{domain}",
        password=make_password(seed, userid),
        is_simulated=desk % 5 == 0,
        is_visitor=desk == 1 and department.name in VISITORS,
    )


def _introduce(people: Sequence[Person]) -> dict[str, tuple[str, ...]]:
    """Return everybody's contacts: always mutual, in the order of the people."""
    pairs = {*_team_pairs(people), *_head_pairs(people), *_cross_pairs(people), *_visitor_pairs(people)}
    known: dict[str, set[str]] = {person.userid: set() for person in people}
    for one, other in pairs:
        known[one].add(other)
        known[other].add(one)
    order = {person.userid: number for number, person in enumerate(people)}
    return {userid: tuple(sorted(others, key=order.__getitem__)) for userid, others in known.items()}


def _team_pairs(people: Sequence[Person]) -> Iterable[tuple[str, str]]:
    """Everybody knows the team (the department, or a part of it) and the head of the department."""
    for department in DEPARTMENTS:
        members = [person.userid for person in people if person.department == department.name]
        for start in range(0, len(members), TEAM_SIZE):
            yield from combinations(members[start : start + TEAM_SIZE], 2)
        yield from ((members[0], member) for member in members[1:])


def _head_pairs(people: Sequence[Person]) -> Iterable[tuple[str, str]]:
    """The heads of the departments know each other."""
    heads = [person.userid for person in people if person.title == _head_title(person)]
    return combinations(heads, 2)


def _head_title(person: Person) -> str:
    return next(department.head for department in DEPARTMENTS if department.name == person.department)


def _cross_pairs(people: Sequence[Person]) -> Iterable[tuple[str, str]]:
    """Everybody knows some people of other departments."""
    random = Random("acquaintances")
    for person in people:
        others = [other.userid for other in people if other.department != person.department]
        yield from ((person.userid, other) for other in random.sample(others, CROSS_CONTACTS))


def _visitor_pairs(people: Sequence[Person]) -> Iterable[tuple[str, str]]:
    """The free desks know each other and one simulated person in three, so that a visitor sees life."""
    visitors = [person.userid for person in people if person.is_visitor]
    simulated = [person.userid for person in people if person.is_simulated]
    yield from combinations(visitors, 2)
    for number, visitor in enumerate(visitors):
        yield from ((visitor, other) for other in simulated[number :: len(visitors)])
