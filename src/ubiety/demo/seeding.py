"""Puts the sample organisation into an empty installation, once, and remembers its passwords."""

import asyncio
import csv
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from itertools import islice
from pathlib import Path
from secrets import token_bytes, token_hex

from sqlalchemy import Connection

from ubiety.config import ConfigError
from ubiety.demo.organisation import Organisation, Person, build_organisation
from ubiety.demo.photos import Photo, draw_photo
from ubiety.demo.vcards import render_vcard
from ubiety.directory.assignment import BALANCED
from ubiety.directory.passwords import HASHES, ITERATIONS, SALT_BYTES, dump_keys, hash_password
from ubiety.directory.placing import Placing
from ubiety.store import addresses, domains, roster, users, vcards
from ubiety.store.database import Database
from ubiety.users import avatars

STATE_FILE = "sample.json"
PEOPLE_FILE = "sample-people.csv"
PEOPLE_PER_WRITE = 50
HASH_THREADS = 4


class NotEmptyError(ConfigError):
    """The installation has people of its own, among whom the sample organisation does not belong."""


async def prepare(
    database: Database, data_dir: Path, domain: str, now: float, iterations: int = ITERATIONS.default
) -> Organisation:
    """Return the sample organisation of this installation; at the first start put it into the database.

    `iterations` is the work to derive keys from a password, as the setting `password.iterations` has it.
    A start that was interrupted is taken up where it ended. Raises NotEmptyError, StoreError or OSError.
    """
    state_file = data_dir / STATE_FILE
    state = _read_state(state_file)
    if not state:
        people, _ = await database.read(users.count)
        if people:
            raise NotEmptyError(
                f"{data_dir} holds an installation with {people} people of its own. "
                "Start it without --demo, or choose another directory for the sample organisation."
            )
        state = {"domain": domain, "seed": token_hex(16)}
        _write_private(state_file, json.dumps(state))
    firm = build_organisation(state["domain"], state["seed"])
    if state.get("complete") != "yes":
        await seed(database, firm, now, iterations)
        _write_private(data_dir / PEOPLE_FILE, render_people(firm))
        _write_private(state_file, json.dumps({**state, "complete": "yes"}))
    return firm


async def seed(database: Database, firm: Organisation, now: float, iterations: int) -> None:
    """Put the people, their portraits and their contact lists into the database; repeatable."""
    loop = asyncio.get_running_loop()
    domain_id = await database.write(_add_domain, firm.domain, now)
    user_ids: dict[str, int] = {}
    with ThreadPoolExecutor(HASH_THREADS, "sample") as pool:
        for people in _batches(firm.people):
            jobs = [loop.run_in_executor(pool, _prepare_person, person, iterations) for person in people]
            made = await asyncio.gather(*jobs)
            user_ids.update(await database.write(_add_people, firm, people, made, domain_id, now))
    for people in _batches(firm.people):
        await database.write(_add_contacts, firm, people, user_ids)


def render_people(firm: Organisation) -> str:
    """Return all people with addresses and passwords as CSV."""
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(("address", "password", "name", "department", "title", "phone", "simulated"))
    for person in firm.people:
        simulated = "yes" if person.is_simulated else "no"
        row = (firm.address(person), person.password, person.name, person.department, person.title)
        writer.writerow((*row, person.phone, simulated))
    return text.getvalue()


def _prepare_person(person: Person, iterations: int) -> tuple[str, Photo]:
    """Return the stored form of the password, and the portrait. Takes milliseconds: for a thread."""
    salts = [token_bytes(SALT_BYTES) for _ in HASHES]
    return dump_keys(hash_password(person.password, iterations, salts)), draw_photo(person.userid)


def _add_domain(conn: Connection, name: str, now: float) -> int:
    found = domains.find(conn, name)
    return (found or domains.add(conn, name, now)).id


def _add_people(
    conn: Connection,
    firm: Organisation,
    people: Sequence[Person],
    made: Sequence[tuple[str, Photo]],
    domain_id: int,
    now: float,
) -> dict[str, int]:
    """Add those who are not there yet; return user id -> row id of all of them."""
    user_ids: dict[str, int] = {}
    placing = Placing(conn, BALANCED)
    for person, (scram, photo) in zip(people, made, strict=True):
        found = users.find(conn, person.userid, domain_id)
        if found is not None:
            user_ids[person.userid] = found.id
            continue
        address = firm.address(person)
        set_id = placing.next()
        user_id = users.create(conn, address, person.userid, domain_id, now, _profile(person), set_id=set_id)
        users.set_scram(conn, user_id, scram)
        vcards.put(conn, user_id, render_vcard(person, firm.firm, address, photo), photo.sha1)
        avatars.publish(conn, user_id, avatars.Photo(photo.data, "image/png"), address, now)
        user_ids[person.userid] = user_id
    return user_ids


def _profile(person: Person) -> Mapping[str, str]:
    return {
        "display_name": person.name,
        "given_name": person.given_name,
        "surname": person.surname,
        "mail": person.mail,
        "department": person.department,
        "title": person.title,
        "phone": person.phone,
    }


def _add_contacts(
    conn: Connection, firm: Organisation, people: Sequence[Person], user_ids: Mapping[str, int]
) -> None:
    known = {person.userid: person for person in firm.people}
    address_ids = addresses.lookup_many(conn, [firm.address(person) for person in firm.people])
    for person in people:
        user_id = user_ids[person.userid]
        for contact in (known[userid] for userid in firm.contacts[person.userid]):
            contact_id = address_ids[firm.address(contact)]
            roster.put_item(conn, user_id, contact_id, contact.name, (contact.department,))
            roster.set_subscription(conn, user_id, contact_id, roster.BOTH)
        roster.bump_version(conn, user_id)


def _batches(people: Sequence[Person]) -> list[list[Person]]:
    rest = iter(people)
    return list(iter(lambda: list(islice(rest, PEOPLE_PER_WRITE)), []))


def _read_state(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    state: dict[str, str] = json.loads(path.read_text("utf-8"))
    return state


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read: it holds passwords, or what they follow from."""
    new = path.with_suffix(path.suffix + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
