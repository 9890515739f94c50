"""The people every server is given: names, one password, contact lists."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass

DOMAIN = "example.org"
PASSWORD = "correct-horse-battery"
CONTACTS = 50
SALT = b"ubiety bench salt"
ITERATIONS = 4096
#: Messages in each office person's archive before the clock starts: an archive in service is not empty, and
#: what a message costs grows with it on one of the peers.
HISTORY = 100
HISTORY_DAYS = 5


@dataclass(frozen=True)
class Person:
    """One account: its user id and the user ids of its mutual contacts."""

    name: str
    contacts: tuple[str, ...]

    @property
    def jid(self) -> str:
        """The bare address."""
        return f"{self.name}@{DOMAIN}"


@dataclass(frozen=True)
class Population:
    """Who exists on the server, by the part that they play.

    `loners` have no contacts: their logins and idle sessions are counted. `office` people chat with their
    partner (the neighbour whose number differs in the lowest bit); their other contacts, `absent`, never log
    in. `crowd` people watch each other: `CONTACTS` mutual contacts each, all online.
    """

    loners: tuple[Person, ...]
    office: tuple[Person, ...]
    crowd: tuple[Person, ...]
    absent: tuple[Person, ...]

    @property
    def everybody(self) -> tuple[Person, ...]:
        """All accounts."""
        return self.loners + self.office + self.crowd + self.absent


def make_population(loners: int, office: int, crowd: int) -> Population:
    """Invent the people: `office` must be even, `crowd` 0 or larger than `CONTACTS`."""
    colleagues = CONTACTS - 1
    absent_of: list[list[str]] = [[] for _ in range(max(office // 2, 2 * CONTACTS) if office else 0)]
    office_people = []
    for i in range(office):
        absent = [(i * 7 + k) % len(absent_of) for k in range(colleagues)]
        for index in absent:
            absent_of[index].append(_office(i))
        office_people.append(Person(_office(i), (_office(i ^ 1), *(_absent(k) for k in absent))))
    return Population(
        tuple(Person(f"loner{i:05d}", ()) for i in range(loners)),
        tuple(office_people),
        _make_crowd(crowd),
        tuple(Person(_absent(k), tuple(of)) for k, of in enumerate(absent_of)),
    )


def pairs(population: Population) -> Iterator[tuple[Person, Person]]:
    """Partners who chat, one of whom has written `HISTORY` messages to the other before."""
    yield from zip(population.office[::2], population.office[1::2], strict=True)


def history_times(now: float) -> list[int]:
    """When the messages of a pair's history were sent (seconds since 1970), evenly over `HISTORY_DAYS`."""
    step = HISTORY_DAYS * 86_400 // HISTORY
    return [int(now) - (HISTORY - number) * step for number in range(HISTORY)]


def _make_crowd(size: int) -> tuple[Person, ...]:
    """People in a ring, each with the `CONTACTS` nearest as contacts."""
    half = CONTACTS // 2
    steps = [*range(-half, 0), *range(1, half + 1)]
    return tuple(Person(_crowd(i), tuple(_crowd((i + s) % size) for s in steps)) for i in range(size))


def _absent(i: int) -> str:
    return f"absent{i:05d}"


def _office(i: int) -> str:
    return f"office{i:05d}"


def _crowd(i: int) -> str:
    return f"crowd{i:05d}"


@dataclass(frozen=True)
class Scram:
    """SCRAM-SHA-1 keys of `PASSWORD`, as the peers' account stores hold them (RFC 5802 §3)."""

    stored_key: bytes
    server_key: bytes

    @property
    def stored_base64(self) -> str:
        """The stored key for ejabberd."""
        return base64.b64encode(self.stored_key).decode()

    @property
    def server_base64(self) -> str:
        """The server key for ejabberd."""
        return base64.b64encode(self.server_key).decode()


def scram_keys() -> Scram:
    """Derive the keys that all accounts share: one salt, so that provisioning stays fast."""
    salted = hashlib.pbkdf2_hmac("sha1", PASSWORD.encode(), SALT, ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha1")
    return Scram(hashlib.sha1(client_key).digest(), hmac.digest(salted, b"Server Key", "sha1"))
