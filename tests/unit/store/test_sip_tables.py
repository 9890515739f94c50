"""What SIP needs in the database: routes, trust, subscriptions, conversations, messages on their way."""

import pytest
from sqlalchemy import Connection

from tests.unit.store.people import add_people
from ubiety.store import (
    acl,
    changes,
    federated_domains,
    microsoft_addresses,
    outgoing_messages,
    sip_dialogs,
    sip_subscriptions,
    static_routes,
    tls_peers,
    users,
)
from ubiety.store.database import Database
from ubiety.store.errors import Conflict
from ubiety.store.outgoing_messages import Outgoing
from ubiety.store.sip_subscriptions import IN, OUT, Fresh, Update
from ubiety.store.static_routes import Route

LYNC = Route(0, ".com.domaina", "domain", "Lync", "lync1.domaina.com", 5061, "tls", 1, 10, True, True, False)


async def test_routes_are_added_found_changed_and_deleted(database: Database) -> None:
    first = await database.write(static_routes.add, LYNC)
    second = await database.write(static_routes.add, LYNC._replace(next_hop="192.0.2.7", priority=2))
    user = await database.write(static_routes.add, LYNC._replace(pattern="91...", kind="user"))
    assert [route.id for route in await database.read(static_routes.list_all)] == [first, second, user]
    assert await database.read(static_routes.find, first) == LYNC._replace(id=first)
    assert await database.read(static_routes.count_same, "domain", ".com.domaina") == 2
    changed = LYNC._replace(id=first, in_service=False, is_blocked=True, allow_less_specific=False, weight=7)
    assert await database.write(static_routes.put, changed)
    assert await database.read(static_routes.find, first) == changed
    assert await database.write(static_routes.delete, first)
    assert not await database.write(static_routes.delete, first)
    assert not await database.write(static_routes.put, changed)
    assert await database.read(static_routes.find, first) is None


async def test_the_same_route_is_there_only_once(database: Database) -> None:
    await database.write(static_routes.add, LYNC)
    with pytest.raises(Conflict):
        await database.write(static_routes.add, LYNC._replace(priority=5))
    other = await database.write(static_routes.add, LYNC._replace(port=5060))
    with pytest.raises(Conflict):
        await database.write(static_routes.put, LYNC._replace(id=other))


async def test_trusted_peers_are_listed_in_order(database: Database) -> None:
    ip = await database.write(acl.add, "ip", "192.0.2.0/24", "front ends")
    await database.write(acl.add, "fqdn", "lync1.domaina.com", "", ("domaina.com", "bücher.example"))
    with pytest.raises(Conflict):
        await database.write(acl.add, "ip", "192.0.2.0/24", "again")
    assert [(one.kind, one.value) for one in await database.read(acl.list_all)] == [
        ("fqdn", "lync1.domaina.com"),
        ("ip", "192.0.2.0/24"),
    ]
    assert (await database.read(acl.find, ip)) == acl.Entry(ip, "ip", "192.0.2.0/24", "front ends")
    limited, loose = await database.read(acl.list_all)
    assert (limited.domains, loose.domains) == (("domaina.com", "bücher.example"), ())
    assert await database.write(acl.delete, ip) and not await database.write(acl.delete, ip)
    await database.write(tls_peers.add, "pool.domaina.com", "pool")
    with pytest.raises(Conflict):
        await database.write(tls_peers.add, "pool.domaina.com", "")
    assert [one.subject for one in await database.read(tls_peers.list_all)] == ["pool.domaina.com"]
    assert await database.write(tls_peers.delete, "pool.domaina.com")
    assert not await database.write(tls_peers.delete, "pool.domaina.com")


async def test_a_domain_is_federated_once(database: Database) -> None:
    await database.write(federated_domains.add, "partner.example", "sip", "")
    with pytest.raises(Conflict):
        await database.write(federated_domains.add, "partner.example", "xmpp", "")
    found = await database.read(federated_domains.find, "partner.example")
    assert found is not None and found.protocol == "sip"
    assert await database.read(federated_domains.list_all) == [found]
    assert await database.write(federated_domains.delete, "partner.example")
    assert not await database.write(federated_domains.delete, "partner.example")


async def test_addresses_of_the_microsoft_side(database: Database) -> None:
    everybody = [f"ysam{number}@implync.net" for number in range(5)]
    assert await database.write(microsoft_addresses.add_many, everybody) == 5
    assert await database.write(microsoft_addresses.add_many, [*everybody, "x@implync.net"]) == 1
    assert await database.read(microsoft_addresses.has, "ysam3@implync.net")
    assert not await database.read(microsoft_addresses.has, "ysam9@implync.net")
    first = await database.read(microsoft_addresses.list_page, "", 2)
    rest = await database.read(microsoft_addresses.list_page, first[-1])
    assert [*first, *rest] == sorted([*everybody, "x@implync.net"])
    assert await database.write(microsoft_addresses.delete, "x@implync.net")
    assert await database.read(microsoft_addresses.count) == 5


async def test_changes_are_made_known_to_other_nodes(migrated_url: str) -> None:
    database = Database(migrated_url)
    horizon = await database.read(changes.horizon)
    made = await database.write(acl.add, "all", "", "")
    await database.write(acl.delete, made)
    kinds = [one.kind for one in (await database.read(changes.read, horizon)).changes]
    assert kinds == [changes.FEDERATION] * 2
    database.close()


def _move(conn: Connection, user_id: int, set_id: int) -> None:
    conn.exec_driver_sql(f"UPDATE users SET set_id = {set_id} WHERE id = {user_id}")


async def test_subscriptions_follow_their_person(database: Database) -> None:
    (anna, _), (ben, _) = await database.write(add_people, 2)
    fresh = [
        Fresh(anna, "ysam@implync.net", OUT, "wanted", "", {}, 0.0),
        Fresh(anna, "bob@implync.net", IN, "pending", "c2@x", {"local_tag": "ü"}, 90.0),
        Fresh(ben, "bob@implync.net", IN, "active", "c3@x", {"route_set": ["<sip:a;lr>"]}, 200.0),
    ]
    ids = await database.write(sip_subscriptions.add_many, fresh)
    assert len(set(ids)) == 3
    rows = await database.read(sip_subscriptions.list_of_set, 1)
    assert [(one.id, one.user_id, one.peer, one.direction) for one in rows] == [
        (ids[0], anna, "ysam@implync.net", OUT),
        (ids[1], anna, "bob@implync.net", IN),
        (ids[2], ben, "bob@implync.net", IN),
    ]
    assert rows[1].record == {"local_tag": "ü"} and rows[1].peer_id == rows[2].peer_id
    assert [one.id for one in await database.read(sip_subscriptions.list_of_set, 1, ids[0], 1)] == [ids[1]]
    await database.write(_move, anna, 2)
    assert [one.id for one in await database.read(sip_subscriptions.list_of_set, 2)] == ids[:2]
    assert [one.id for one in await database.read(sip_subscriptions.list_of_user, anna)] == ids[:2]


async def test_subscriptions_change_and_end(database: Database) -> None:
    ((anna, _),) = await database.write(add_people, 1)
    made = await database.write(
        sip_subscriptions.add, Fresh(anna, "bob@implync.net", IN, "pending", "c@x", {}, 10.0)
    )
    update = Update(made, "active", "d@x", {"remote_cseq": 7}, 20.0)
    assert await database.write(sip_subscriptions.update, update)
    found = await database.read(sip_subscriptions.find, made)
    assert found is not None
    assert (found.state, found.call_id, found.record, found.expires) == (
        "active",
        "d@x",
        {"remote_cseq": 7},
        20.0,
    )
    other = Fresh(anna, "ysam@implync.net", OUT, "wanted", "", {}, 0.0)
    wanted = await database.write(sip_subscriptions.add, other)
    assert await database.read(sip_subscriptions.count) == {(IN, "active"): 1, (OUT, "wanted"): 1}
    assert await database.write(sip_subscriptions.gc_subscriptions, 20.0) == 0
    assert await database.write(sip_subscriptions.gc_subscriptions, 20.5) == 1, "the outbound one stays"
    assert not await database.write(sip_subscriptions.update, update)
    await database.write(sip_subscriptions.update_many, [update, Update(wanted, "active", "e", {}, 5.0)])
    assert await database.write(sip_subscriptions.delete_peer, anna, "nobody@implync.net", OUT) == 0
    assert await database.write(sip_subscriptions.delete_peer, anna, "ysam@implync.net", IN) == 0
    assert await database.write(sip_subscriptions.delete_peer, anna, "ysam@implync.net", OUT) == 1
    again = await database.write(sip_subscriptions.add, other)
    await database.write(sip_subscriptions.delete_many, [again, made])
    assert await database.read(sip_subscriptions.count) == {}


async def test_what_is_of_a_person_goes_with_them(database: Database) -> None:
    ((anna, _),) = await database.write(add_people, 1)
    await database.write(sip_subscriptions.add, Fresh(anna, "bob@implync.net", IN, "active", "c@x", {}, 10.0))
    dialog = sip_dialogs.Fresh(anna, "bob@implync.net", "d@x", {}, 10.0)
    await database.write(sip_dialogs.add_many, [dialog])
    await database.write(outgoing_messages.add, Outgoing(anna, 1, "bob@implync.net", 1.0, b"<message/>"))
    await database.write(users.delete, anna)
    assert await database.read(sip_subscriptions.count) == {}
    assert await database.read(sip_dialogs.count) == 0
    assert await database.write(outgoing_messages.gc_outgoing) == 1
    assert await database.read(outgoing_messages.count) == 0


async def test_conversations_are_kept_for_another_node(database: Database) -> None:
    (anna, _), (ben, _) = await database.write(add_people, 2)
    made = [
        sip_dialogs.Fresh(anna, "bob@implync.net", "a@x", {"local_cseq": 1}, 10.0),
        sip_dialogs.Fresh(ben, "bob@implync.net", "b@x", {}, 20.0),
    ]
    first, second = await database.write(sip_dialogs.add_many, made)
    later = sip_dialogs.Update(first, "a2@x", {"local_cseq": 1001}, 30.0)
    await database.write(sip_dialogs.update_many, [later, later._replace(id=99)])
    rows = await database.read(sip_dialogs.list_of_set, 1)
    assert [(one.id, one.peer, one.call_id, one.record, one.updated) for one in rows] == [
        (first, "bob@implync.net", "a2@x", {"local_cseq": 1001}, 30.0),
        (second, "bob@implync.net", "b@x", {}, 20.0),
    ]
    assert [one.id for one in await database.read(sip_dialogs.list_of_user, ben)] == [second]
    assert await database.write(sip_dialogs.gc_dialogs, 25.0) == 1
    await database.write(sip_dialogs.delete_many, [first, first])
    assert await database.read(sip_dialogs.count) == 0


async def test_messages_wait_in_order_until_they_are_taken(database: Database) -> None:
    (anna, _), (ben, _) = await database.write(add_people, 2)
    many = [
        Outgoing(sender, number, "bob@implync.net", 1.0, f"<message id='{number}'/>".encode())
        for number in (3 << 40, 1, 2)
        for sender in (ben, anna)
    ]
    await database.write(outgoing_messages.add_many, many)
    await database.write(outgoing_messages.add, many[0])
    assert await database.read(outgoing_messages.count) == 6
    seen: list[tuple[int, int]] = []
    after = (0, 0)
    while page := await database.read(outgoing_messages.list_of_set, 1, after, 4):
        seen += [(one.sender_id, one.number) for one in page]
        after = seen[-1]
    assert seen == [(sender, number) for sender in (anna, ben) for number in (1, 2, 3 << 40)]
    assert await database.write(outgoing_messages.delete, anna, 1)
    assert not await database.write(outgoing_messages.delete, anna, 1)
    await database.write(outgoing_messages.delete_many, [(anna, 2), (ben, 9)])
    (left,) = await database.read(outgoing_messages.list_of_sender, anna)
    assert left == Outgoing(anna, 3 << 40, "bob@implync.net", 1.0, f"<message id='{3 << 40}'/>".encode())
    assert await database.write(outgoing_messages.gc_outgoing) == 0


async def test_subscriptions_are_listed_page_by_page(database: Database) -> None:
    (user_id, _), (other_id, _) = await database.write(add_people, 2)
    fresh = [
        Fresh(user_id, "ysam@domaina.com", IN, "granted", "c1", {}, 5.0),
        Fresh(other_id, "ysam@domaina.com", OUT, "asked", "c2", {}, 6.0),
        Fresh(other_id, "zoe@domaina.com", OUT, "asked", "c3", {}, 7.0),
    ]
    first, second, third = await database.write(sip_subscriptions.add_many, fresh)
    found = await database.read(sip_subscriptions.list_page, 0, 2)
    assert [(one.id, one.direction, one.peer) for one in found] == [
        (first, IN, "ysam@domaina.com"),
        (second, OUT, "ysam@domaina.com"),
    ]
    assert [one.id for one in await database.read(sip_subscriptions.list_page, second, 2)] == [third]
    ysam = await database.read(sip_subscriptions.list_page, 0, 9, "ysam@domaina.com")
    assert [one.id for one in ysam] == [first, second]
    bob = await database.read(sip_subscriptions.list_page, 0, 9, found[1].person)
    assert [one.id for one in bob] == [second, third]
