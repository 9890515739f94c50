"""Personal events: the newest of many people's nodes, and how much room is used."""

from sqlalchemy import Connection

from ubiety.store import domains, pep, users
from ubiety.store.database import Database
from ubiety.store.pep import Item


def fill(conn: Connection) -> list[int]:
    """Three people: the first has two nodes, the second one, the third an empty one."""
    domain = domains.add(conn, "example.org", 0.0)
    made = [users.create(conn, f"{name}@example.org", name, domain.id, 0.0) for name in ("a", "b", "c")]
    for number, (owner, node, ids) in enumerate(
        [(0, "nick", "12"), (0, "mood", "3"), (1, "nick", "45"), (2, "nick", "")]
    ):
        node_id = pep.put_node(conn, made[owner], node, {"max_items": number + 1})
        for item_id in ids:
            pep.publish(conn, node_id, Item(item_id, "x@example.org", 1.0, b"<x/>" * int(item_id)), 10)
    return made


def test_newest_items(database: Database) -> None:
    people = database.write_now(fill)
    found = database.read_now(pep.load_last, people, ["nick", "mood", "other"])
    assert [(i.user_id, i.node, i.options, i.item.item_id) for i in found] == [
        (people[0], "mood", {"max_items": 2}, "3"),
        (people[0], "nick", {"max_items": 1}, "2"),
        (people[1], "nick", {"max_items": 3}, "5"),
    ]
    assert found[1].item == Item("2", "x@example.org", 1.0, b"<x/><x/>")
    assert database.read_now(pep.load_last, [people[1], 99], ["mood"]) == []


def test_owners_are_asked_for_in_parts(database: Database) -> None:
    people = database.write_now(fill)
    many = [*range(10_000, 10_000 + pep.CHUNK), *people]
    assert len(database.read_now(pep.load_last, many, ["nick"])) == 2


def test_room(database: Database) -> None:
    people = database.write_now(fill)
    used = [database.read_now(pep.used, user_id) for user_id in people]
    assert used == [(2, 4 * (1 + 2 + 3)), (1, 4 * (4 + 5)), (1, 0)]


def test_trim(database: Database) -> None:
    people = database.write_now(fill)
    node = database.read_now(pep.find_node, people[0], "nick")
    assert node is not None
    database.write_now(pep.trim, node.id, 1)
    assert [item.item_id for item in database.read_now(pep.load_items, node.id)] == ["2"]
