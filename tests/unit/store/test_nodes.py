"""Nodes and redundancy groups as rows."""

import threading

import pytest
from sqlalchemy import Connection, text

from tests.databases import open_migrated
from ubiety.store import changes, nodes
from ubiety.store.database import Database
from ubiety.store.epochs import next_epoch
from ubiety.store.errors import Conflict
from ubiety.store.revisions import apply


def _register(database: Database, name: str, **about: str) -> nodes.NodeRow:
    return database.write_now(nodes.register, name, "1.0", "boot", 10.0, **about)


def test_the_first_node_is_number_one_and_the_publisher(database: Database) -> None:
    first = _register(database, "alpha", address="alpha.example.org")
    second = _register(database, "beta.example.org")
    assert (first.id, first.is_publisher, first.address) == (1, True, "alpha.example.org")
    assert (second.id, second.is_publisher) == (2, False)
    groups = database.read_now(nodes.list_groups)
    assert [group.name for group in groups] == ["alpha", "beta-example-org"]
    assert first.group_id != second.group_id


def test_a_node_that_starts_again_keeps_its_id_and_drains_no_more(database: Database) -> None:
    made = _register(database, "alpha")
    database.write_now(nodes.set_draining, made.id, True)
    database.write_now(nodes.set_state, made.id, "Normal", "Normal", 11.0)
    again = database.write_now(nodes.register, "alpha", "1.1", "other", 20.0, ports={"c2s": 5222})
    assert again.id == made.id
    assert (again.release, again.boot, again.started, again.ports) == ("1.1", "other", 20.0, {"c2s": 5222})
    assert not again.draining
    assert again.state == "Normal"


def test_a_set_that_was_served_before_there_were_nodes_belongs_to_the_first(database: Database) -> None:
    database.write_now(next_epoch, 1, "node1")
    assert _register(database, "node1").id == 1


def test_ids_of_removed_nodes_are_not_given_again(database: Database) -> None:
    _register(database, "alpha")
    gone = _register(database, "beta")
    database.write_now(next_epoch, gone.id, "beta")
    assert database.write_now(nodes.remove, gone.id)
    assert _register(database, "gamma").id == 3
    assert [group.name for group in database.read_now(nodes.list_groups)] == ["alpha", "gamma"]


def test_the_publisher_and_a_node_with_people_stay(database: Database) -> None:
    first, second = _register(database, "alpha"), _register(database, "beta")
    database.write_now(_add_person, second.id)
    with pytest.raises(Conflict, match="publisher"):
        database.write_now(nodes.remove, first.id)
    with pytest.raises(Conflict, match="1 people are assigned"):
        database.write_now(nodes.remove, second.id)
    assert database.read_now(nodes.count_assigned) == {second.id: 1}
    database.write_now(nodes.set_publisher, second.id)
    assert database.write_now(nodes.remove, first.id)
    assert not database.write_now(nodes.remove, first.id)


def test_two_nodes_join_one_group_and_leave_their_own(database: Database) -> None:
    one, two = _register(database, "alpha"), _register(database, "beta")
    pair = database.write_now(nodes.add_group, "east", "Both in the east", [one.id, two.id])
    assert [group.name for group in database.read_now(nodes.list_groups)] == ["east"]
    assert {node.group_id for node in database.read_now(nodes.list_all)} == {pair.id}
    database.write_now(nodes.set_ha, pair.id, True)
    with pytest.raises(Conflict, match="disable high availability"):
        database.write_now(nodes.add_group, "west", "", [two.id])
    database.write_now(nodes.set_ha, pair.id, False)
    database.write_now(nodes.add_group, "west", "", [two.id])
    with pytest.raises(Conflict, match="two nodes"):
        database.write_now(nodes.set_ha, pair.id, True)


def test_a_group_named_after_its_node_can_become_a_pair(database: Database) -> None:
    one, two = _register(database, "alpha"), _register(database, "beta")
    database.write_now(nodes.add_group, "alpha", "", [one.id, two.id])
    assert [group.name for group in database.read_now(nodes.list_groups)] == ["alpha"]
    third = _register(database, "gamma")
    with pytest.raises(Conflict, match="already"):
        database.write_now(nodes.add_group, "alpha", "", [third.id])


def test_a_new_node_joins_the_group_that_its_configuration_names(database: Database) -> None:
    one = _register(database, "alpha", group="east")
    two = _register(database, "beta", group="east")
    assert one.group_id == two.group_id
    with pytest.raises(Conflict, match="alpha, beta"):
        _register(database, "gamma", group="east")
    with pytest.raises(Conflict, match="two nodes"):
        database.write_now(nodes.move_node, _register(database, "gamma").id, one.group_id)


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 129, "a%"])
def test_names_that_a_group_cannot_have(database: Database, name: str) -> None:
    node = _register(database, "alpha")
    with pytest.raises(Conflict, match="128"):
        database.write_now(nodes.add_group, name, "", [node.id])


@pytest.mark.parametrize("description", ["50 %", 'a"b', "a&b", "a\\b", "<b>", "x" * 129])
def test_descriptions_that_a_group_cannot_have(database: Database, description: str) -> None:
    node = _register(database, "alpha")
    with pytest.raises(Conflict, match="128"):
        database.write_now(nodes.add_group, "east", description, [node.id])
    with pytest.raises(Conflict, match="128"):
        database.write_now(nodes.describe_group, node.group_id, description)
    database.write_now(nodes.describe_group, node.group_id, "Größe, ok?")
    assert database.read_now(nodes.list_groups)[0].description == "Größe, ok?"


def test_a_state_that_is_the_same_is_no_change(database: Database) -> None:
    node = _register(database, "alpha")
    assert database.write_now(nodes.set_state, node.id, "Normal", "Normal", 12.0)
    assert not database.write_now(nodes.set_state, node.id, "Normal", "Normal", 13.0)
    loaded = database.read_now(nodes.load, node.id)
    assert loaded is not None
    assert loaded.state_since == 12.0


def test_nodes_that_start_for_the_first_time_together_get_different_ids(fresh_url: str) -> None:
    database = open_migrated(fresh_url)
    databases = [Database(fresh_url) for _ in range(4)]
    threads = [
        threading.Thread(target=_register, args=(one, f"node{number}"))
        for number, one in enumerate(databases)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = database.read_now(nodes.list_all)
    for one in [*databases, database]:
        one.close()
    assert [node.id for node in found] == [1, 2, 3, 4]
    assert [node.is_publisher for node in found] == [True, False, False, False]


def test_people_of_an_older_installation_belong_to_the_first_node(database_url: str) -> None:
    database = Database(database_url)
    database.write_now(apply, "0001")
    database.write_now(_add_person, None)
    database.write_now(next_epoch, 1, "node1")
    database.migrate()
    database.migrate()
    node = database.write_now(nodes.register, "node1", "1.0", "boot", 1.0)
    assert database.read_now(nodes.count_assigned) == {node.id: 1}
    assert node.id == 1
    assert database.read_now(lambda conn: conn.execute(text("SELECT COUNT(*) FROM users")).scalar()) == 1
    database.close()


def _add_person(conn: Connection, set_id: int | None) -> None:
    conn.execute(text("INSERT INTO domains (name, created) VALUES ('example.org', 1)"))
    conn.execute(text("INSERT INTO addresses (jid) VALUES ('ada@example.org')"))
    column, value = ("", "") if set_id is None else (", set_id", f", {set_id}")
    conn.execute(
        text(
            f"INSERT INTO users (address_id, userid, domain_id, created{column})"
            f" SELECT a.id, 'ada', d.id, 1{value} FROM addresses a, domains d"
        )
    )


def test_sqlite_keeps_no_list_of_changes(sqlite: Database) -> None:
    _register(sqlite, "alpha")
    assert sqlite.read_now(changes.read, 0) == changes.Seen(0, [])
    assert sqlite.read_now(lambda conn: conn.execute(text("SELECT COUNT(*) FROM changes")).scalar()) == 0
