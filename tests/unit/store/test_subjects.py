"""The smaller subjects: addresses, domains, epochs, policy, what clients and administrators keep with us."""

import pytest
from sqlalchemy import Connection, text

from tests.unit.store.people import add_people
from ubiety.store import (
    addresses,
    audit,
    domains,
    epochs,
    pep,
    policy,
    private_xml,
    tokens,
    vcards,
)
from ubiety.store.database import Database
from ubiety.store.errors import Conflict


@pytest.fixture
def user_id(database: Database) -> int:
    return database.write_now(add_people, 1)[0][0]


def test_addresses_have_one_id(database: Database) -> None:
    first = database.write_now(addresses.intern, "ann@example.org")
    assert database.write_now(addresses.intern, "ann@example.org") == first
    assert database.read_now(addresses.find, "ann@example.org") == first
    assert database.read_now(addresses.find, "bob@example.org") is None
    assert database.read_now(addresses.text, first) == "ann@example.org"
    assert database.read_now(addresses.text, 999) is None
    many = database.write_now(
        addresses.intern_many, ["bob@example.org", "ann@example.org", "bob@example.org"]
    )
    assert many["ann@example.org"] == first
    assert set(many) == {"ann@example.org", "bob@example.org"}
    assert database.read_now(addresses.texts, [first, many["bob@example.org"], 999]) == {
        first: "ann@example.org",
        many["bob@example.org"]: "bob@example.org",
    }


def test_merged_addresses_are_followed_and_renamed_ones_keep_their_id(database: Database) -> None:
    kept = database.write_now(addresses.intern, "new@example.org")
    old = database.write_now(addresses.intern, "old@example.org")
    database.write_now(
        lambda conn: conn.execute(text(f"UPDATE addresses SET merged_into = {kept} WHERE id = {old}"))
    )
    assert database.read_now(addresses.find, "old@example.org") == kept
    assert database.write_now(addresses.intern, "old@example.org") == kept
    assert database.read_now(addresses.lookup_many, ["old@example.org", "x@example.org"]) == {
        "old@example.org": kept
    }
    database.write_now(addresses.rename, kept, "newest@example.org")
    assert database.read_now(addresses.find, "newest@example.org") == kept
    with pytest.raises(Conflict):
        database.write_now(addresses.rename, kept, "old@example.org")


def test_thousands_of_addresses_at_once(database: Database) -> None:
    jids = [f"p{number}@example.com" for number in range(6_000)]
    made = database.write_now(addresses.intern_many, jids)
    assert len(set(made.values())) == 6_000
    assert database.read_now(addresses.lookup_many, jids) == made
    assert database.read_now(addresses.texts, made.values()) == {own: jid for jid, own in made.items()}


def test_domains(database: Database) -> None:
    first = database.write_now(domains.add, "example.org", 1.0)
    assert first.is_default
    second = database.write_now(domains.add, "example.com", 2.0)
    assert not second.is_default
    with pytest.raises(Conflict):
        database.write_now(domains.add, "example.com", 3.0)
    assert [d.name for d in database.read_now(domains.list_all)] == ["example.com", "example.org"]
    assert database.write_now(domains.make_default, "example.com")
    assert not database.write_now(domains.make_default, "example.net")
    assert database.read_now(domains.default) == second._replace(is_default=True)
    with pytest.raises(Conflict, match="default"):
        database.write_now(domains.delete, "example.com")
    assert database.write_now(domains.delete, "example.org")
    assert not database.write_now(domains.delete, "example.org")
    again = database.write_now(domains.add, "example.org", 4.0)
    assert again.id > second.id


def test_a_domain_with_people_stays(database: Database, user_id: int) -> None:
    database.write_now(domains.add, "example.com", 2.0, is_default=True)
    with pytest.raises(Conflict, match="1 people"):
        database.write_now(domains.delete, "example.org")


def test_epochs_grow_over_all_sets(database: Database) -> None:
    given = [database.write_now(epochs.next_epoch, set_id, "node1") for set_id in (1, 1, 2, 1)]
    assert given == sorted(set(given))
    assert given[0] >= 1
    assert database.read_now(epochs.find, 1) == ("node1", given[3])
    assert database.read_now(epochs.find, 2) == ("node1", given[2])
    assert database.read_now(epochs.find, 3) is None


def test_policy(database: Database, user_id: int) -> None:
    assert database.read_now(policy.load, user_id) == policy.Policy(None, [])
    bob = database.write_now(addresses.intern, "bob@example.com")
    database.write_now(policy.set_default, user_id, "block")
    database.write_now(policy.put_address, user_id, "block", bob)
    database.write_now(policy.put_address, user_id, "allow", bob)
    database.write_now(policy.put_domain, user_id, "block", "example.net")
    assert database.read_now(policy.load, user_id) == policy.Policy(
        "block",
        [
            policy.Entry("allow", bob, "bob@example.com", None),
            policy.Entry("block", None, None, "example.net"),
        ],
    )
    assert not database.write_now(policy.remove_address, user_id, bob, "block")
    assert database.write_now(policy.remove_address, user_id, bob, "allow")
    assert not database.write_now(policy.remove_domain, user_id, "example.net", "allow")
    assert database.write_now(policy.clear, user_id, "block") == 1
    database.write_now(policy.set_default, user_id, None)
    assert database.read_now(policy.load, user_id) == policy.Policy(None, [])
    with pytest.raises(Conflict):
        database.write_now(policy.set_default, user_id, "perhaps")


def test_vcards(database: Database, user_id: int) -> None:
    assert database.read_now(vcards.load, user_id) is None
    assert database.read_now(vcards.photo_hash, user_id) == ""
    database.write_now(vcards.put, user_id, b"<vCard/>", "ab12")
    database.write_now(vcards.put, user_id, b"<vCard>\x00\xff</vCard>", "cd34")
    assert database.read_now(vcards.load, user_id) == vcards.Vcard(b"<vCard>\x00\xff</vCard>", "cd34")
    assert database.read_now(vcards.photo_hash, user_id) == "cd34"
    assert database.write_now(vcards.delete, user_id)
    assert not database.write_now(vcards.delete, user_id)


def test_private_xml(database: Database, user_id: int) -> None:
    assert database.read_now(private_xml.load, user_id, "urn:x", "notes") is None
    database.write_now(private_xml.put, user_id, "urn:x", "notes", b"<notes/>")
    database.write_now(private_xml.put, user_id, "urn:x", "notes", b"<notes>1</notes>")
    assert database.read_now(private_xml.load, user_id, "urn:x", "notes") == b"<notes>1</notes>"
    assert database.read_now(private_xml.used, user_id) == (1, 16)


def test_pep(database: Database, user_id: int) -> None:
    assert database.read_now(pep.find_node, user_id, "urn:x:list") is None
    node = database.write_now(pep.put_node, user_id, "urn:x:list", {"pubsub#max_items": 3})
    assert database.write_now(pep.put_node, user_id, "urn:x:list", {"pubsub#access_model": "open"}) == node
    assert database.read_now(pep.load_nodes, user_id) == [
        pep.Node(node, "urn:x:list", {"pubsub#access_model": "open"})
    ]
    for number in (1, 2, 3, 1, 4):
        item = pep.Item(f"i{number}", "ann@example.org/desk", float(number), b"<x/>")
        database.write_now(pep.publish, node, item, 3)
    assert [item.item_id for item in database.read_now(pep.load_items, node)] == ["i4", "i1", "i3"]
    assert [item.item_id for item in database.read_now(pep.load_items, node, 1)] == ["i4"]
    found = database.read_now(pep.load_item, node, "i1")
    assert found == pep.Item("i1", "ann@example.org/desk", 1.0, b"<x/>")
    assert database.write_now(pep.retract, node, "i1")
    assert not database.write_now(pep.retract, node, "i1")
    assert database.write_now(pep.purge, node) == 2
    assert database.write_now(pep.delete_node, user_id, "urn:x:list")
    assert not database.write_now(pep.delete_node, user_id, "urn:x:list")


def test_a_deleted_node_takes_its_items_along(database: Database, user_id: int) -> None:
    node = database.write_now(pep.put_node, user_id, "n", {})
    database.write_now(pep.publish, node, pep.Item("a", "", 1.0, b"<x/>"), 1)
    database.write_now(pep.delete_node, user_id, "n")

    def count(conn: Connection) -> object:
        return conn.execute(text("SELECT COUNT(*) FROM pep_items")).scalar()

    assert database.read_now(count) == 0


def test_audit(database: Database) -> None:
    for number in range(5):
        database.write_now(audit.add, float(number), "admin", "user.add", {"userid": f"p{number}"}, "ok")
    newest = database.read_now(audit.list_page, limit=2)
    assert [record.arguments for record in newest] == [{"userid": "p4"}, {"userid": "p3"}]
    older = database.read_now(audit.list_page, before=newest[-1].id)
    assert [record.at for record in older] == [2.0, 1.0, 0.0]
    assert database.write_now(audit.gc_audit, 2.0) == 2
    assert len(database.read_now(audit.list_page)) == 3


def test_tokens(database: Database) -> None:
    made = database.write_now(tokens.add, "reports", "aa" * 32, ["user.list", "audit.list"], 5.0)
    expected = tokens.Token(made, "reports", ["audit.list", "user.list"], 5.0)
    assert database.read_now(tokens.find, "aa" * 32) == expected
    assert database.read_now(tokens.find, "bb" * 32) is None
    assert database.read_now(tokens.list_all) == [expected]
    with pytest.raises(Conflict):
        database.write_now(tokens.add, "reports", "bb" * 32, [], 5.0)
    assert database.write_now(tokens.delete, "reports")
    assert not database.write_now(tokens.delete, "reports")
