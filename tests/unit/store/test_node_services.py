"""Decisions about services and alarms, in both databases."""

from tests.databases import open_migrated
from ubiety.store import alarms, node_services, nodes
from ubiety.store.database import Database
from ubiety.store.node_services import Decision


async def _open(url: str) -> Database:
    database = open_migrated(url)
    database.write_now(nodes.register, "node1", "0.1.0", "boot", 1.0)
    return database


async def test_decisions_are_kept_by_node_and_service(fresh_url: str) -> None:
    database = await _open(fresh_url)
    assert await database.read(node_services.load, 1) == {}
    await database.write(node_services.save, 1, "Cisco XCP Router", Decision(stopped=True))
    await database.write(
        node_services.save, 1, "Cisco Presence Engine", Decision(activated=False, auto_restart=False)
    )
    await database.write(node_services.save, 1, "Cisco XCP Router", Decision())
    assert await database.read(node_services.load, 1) == {
        "Cisco XCP Router": Decision(True, False, True),
        "Cisco Presence Engine": Decision(False, False, False),
    }
    assert await database.read(node_services.load, 2) == {}
    database.close()


async def test_alarms_begin_once_and_end(fresh_url: str) -> None:
    database = await _open(fresh_url)
    await database.write(alarms.begin, 1, "DatabaseUnreachable", "error", "first words", 10.0)
    await database.write(alarms.begin, 1, "DatabaseUnreachable", "error", "newer words", 11.0)
    await database.write(alarms.note, 1, "SRMFailover", "critical", "to node2", 12.0)
    (current,) = await database.read(alarms.list_page)
    assert (current.node, current.name, current.text, current.raised, current.cleared) == (
        "node1",
        "DatabaseUnreachable",
        "newer words",
        10.0,
        None,
    )
    assert [one.name for one in await database.read(alarms.list_page, with_cleared=True)] == [
        "SRMFailover",
        "DatabaseUnreachable",
    ]
    await database.write(alarms.clear, 1, "DatabaseUnreachable", 13.0)
    assert await database.read(alarms.list_page) == []
    await database.write(alarms.begin, 1, "DatabaseUnreachable", "error", "again", 14.0)
    await database.write(alarms.clear_all, 1, 15.0)
    newest, *_ = await database.read(alarms.list_page, with_cleared=True)
    assert (newest.text, newest.raised, newest.cleared) == ("again", 14.0, 15.0)
    page = await database.read(alarms.list_page, with_cleared=True, before=newest.id, limit=1)
    assert [one.name for one in page] == ["SRMFailover"]
    assert await database.write(alarms.gc_alarms, 1, 14.0) == 2
    database.close()
