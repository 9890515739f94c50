"""The sample organisation in a database: once, whole, and with the same passwords at the next start."""

import csv
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lxml import etree
from sqlalchemy import Connection

from tests.databases import open_in
from ubiety.demo.banner import render_banner
from ubiety.demo.organisation import Organisation, build_organisation
from ubiety.demo.photos import draw_photo
from ubiety.demo.seeding import PEOPLE_FILE, STATE_FILE, NotEmptyError, prepare
from ubiety.demo.vcards import render_vcard
from ubiety.directory.passwords import load_keys
from ubiety.store import addresses, domains, roster, users
from ubiety.store.database import Database
from ubiety.xmpp.sasl import check_password

NOW = 1_800_000_000.0
ITERATIONS = 10  # the work is the same, only less of it


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = open_in(tmp_path)
    yield database
    database.close()


async def prepare_in(database: Database, directory: Path) -> Organisation:
    return await prepare(database, directory, "example.org", NOW, ITERATIONS)


async def test_all_people_are_there_with_keys_and_contacts(database: Database, tmp_path: Path) -> None:
    firm = await prepare_in(database, tmp_path)

    def check(conn: Connection) -> None:
        assert users.count(conn) == (200, 200)
        assert domains.default(conn) is not None
        for person in firm.people[::17]:
            address_id = addresses.find(conn, firm.address(person))
            assert address_id is not None
            user = users.find_by_address(conn, address_id)
            assert user is not None
            assert (user.userid, user.display_name) == (person.userid, person.name)
            assert (user.department, user.title, user.phone) == (
                person.department,
                person.title,
                person.phone,
            )
            credentials = users.load_credentials(conn, firm.address(person))
            assert credentials is not None
            assert credentials.scram is not None
            keys = load_keys(credentials.scram)
            assert set(keys) == {"sha256", "sha1"}
            assert all(check_password(one, person.password) for one in keys.values())
            items = roster.load_items(conn, user.id)
            assert {item.jid for item in items} == {
                f"{contact}@example.org" for contact in firm.contacts[person.userid]
            }
            assert all(item.subscription == roster.BOTH and item.is_listed for item in items)
            departments = {firm.address(other): other.department for other in firm.people}
            assert all(item.groups == (departments[item.jid],) for item in items)

    await database.read(check)


async def test_a_second_start_changes_nothing(database: Database, tmp_path: Path) -> None:
    first = await prepare_in(database, tmp_path)

    def leave(conn: Connection) -> None:
        address_id = addresses.find(conn, firm_address)
        assert address_id is not None
        user = users.find_by_address(conn, address_id)
        assert user is not None
        assert users.delete(conn, user.id)

    firm_address = first.address(first.people[3])
    await database.write(leave)
    assert await prepare_in(database, tmp_path) == first
    assert await database.read(users.count) == (199, 199)  # who was deleted stays away


async def test_an_interrupted_start_is_taken_up(database: Database, tmp_path: Path) -> None:
    first = await prepare_in(database, tmp_path)
    state = json.loads((tmp_path / STATE_FILE).read_text())
    (tmp_path / STATE_FILE).write_text(json.dumps({"domain": state["domain"], "seed": state["seed"]}))
    assert await prepare_in(database, tmp_path) == first
    assert await database.read(users.count) == (200, 200)
    assert json.loads((tmp_path / STATE_FILE).read_text())["complete"] == "yes"


async def test_does_not_mix_with_an_installation_in_use(database: Database, tmp_path: Path) -> None:
    def add(conn: Connection) -> None:
        domain = domains.add(conn, "example.org", NOW)
        users.create(conn, "anna@example.org", "anna", domain.id, NOW)

    await database.write(add)
    with pytest.raises(NotEmptyError, match="1 people of its own"):
        await prepare_in(database, tmp_path)
    assert not (tmp_path / STATE_FILE).exists()
    assert await database.read(users.count) == (1, 1)


async def test_passwords_are_for_the_owner_of_the_directory_only(database: Database, tmp_path: Path) -> None:
    firm = await prepare_in(database, tmp_path)
    for name in (STATE_FILE, PEOPLE_FILE):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    with (tmp_path / PEOPLE_FILE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["address"]: row["password"] for row in rows} == {
        firm.address(person): person.password for person in firm.people
    }
    assert sum(row["simulated"] == "yes" for row in rows) == 40


async def test_the_banner_says_who_and_where(database: Database, tmp_path: Path) -> None:
    firm = await prepare_in(database, tmp_path)
    ports = {"c2s": 15222, "c2s_tls": 15223, "api": 18443}
    text = render_banner(firm, "127.0.0.1", ports, tmp_path, tmp_path / "ca.pem")
    for person in firm.visitors:
        assert firm.address(person) in text
        assert person.password in text
    for told in ("15222", "15223", "18443", str(tmp_path / "ca.pem"), str(tmp_path / PEOPLE_FILE)):
        assert told in text
    assert max(map(len, text.splitlines())) < 120 + len(str(tmp_path))


def test_a_vcard_is_well_formed_and_whole() -> None:
    firm = build_organisation("example.org", "s")
    person = firm.people[9]
    photo = draw_photo(person.userid)
    card = etree.fromstring(render_vcard(person, firm.firm, firm.address(person), photo))
    texts = {etree.QName(element).localname: element.text for element in card.iter() if element.text}
    assert etree.QName(card).namespace == "vcard-temp"
    assert texts["FN"] == person.name
    assert texts["ORGUNIT"] == person.department
    assert texts["TITLE"] == person.title
    assert texts["NUMBER"] == person.phone
    assert texts["TYPE"] == "image/png"
