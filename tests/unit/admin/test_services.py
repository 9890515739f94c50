"""Operations on services, the database and alarms, as they are called."""

import pytest

from tests.unit.admin.small_node import SmallNode, do
from ubiety.admin.problems import Problem
from ubiety.cluster import alarms as kinds
from ubiety.cluster.services import (
    AUTHENTICATION,
    CONNECTION_MANAGER,
    DATA_MONITOR,
    DATABASE,
    PRESENCE_ENGINE,
    ROUTER,
    SIP_FEDERATION,
    Kind,
)
from ubiety.store import alarms as rows
from ubiety.store import nodes


@pytest.fixture
async def running(node: SmallNode) -> SmallNode:
    """The node with all services started."""
    await node.database.write(nodes.register, node.config.node, "0.1.0", "boot", 1.0)
    await node.topology.refresh(node.database)
    await node.services.open(1)
    await node.services.start_wanted(Kind.NETWORK)
    await node.services.start_wanted(Kind.FEATURE)
    node.services.outside(DATABASE, "")
    return node


async def test_the_list_has_state_start_and_up_time(running: SmallNode) -> None:
    found = await do(running, "service.list")
    assert (found.node, found.primary) == ("node1", True)
    by_name = {one.name: one for one in found.services}
    router = by_name[ROUTER]
    assert (router.status, router.kind, router.critical, router.activated) == (
        "STARTED",
        "network",
        True,
        True,
    )
    assert router.started is not None and router.uptime is not None and router.uptime >= 0
    assert by_name[CONNECTION_MANAGER].requires == [ROUTER]
    assert by_name[DATABASE].kind == "outside"


async def test_services_are_ordered_by_name_or_alias(running: SmallNode) -> None:
    running.told.clear()
    stopped = await do(running, "service.stop", service="Cisco XCP Router")
    assert (stopped.status, stopped.reason) == ("STOPPED", "Commanded Out of Service")
    assert running.told == [f"-{one}" for one in (SIP_FEDERATION, CONNECTION_MANAGER, AUTHENTICATION, ROUTER)]
    with pytest.raises(Problem, match="needs Cisco XCP Router") as caught:
        await do(running, "service.start", service="cm")
    assert caught.value.kind.status == 409 and "service start" in caught.value.cure
    assert (await do(running, "service.start", service="router")).status == "STARTED"
    assert (await do(running, "service.show", service="cm")).status == "STOPPED"
    assert (await do(running, "service.restart", service="pe")).status == "STARTED"
    with pytest.raises(Problem) as unknown:
        await do(running, "service.stop", service="Cisco Tomcat")
    assert unknown.value.kind.status == 404
    with pytest.raises(Problem, match="runs outside"):
        await do(running, "service.stop", service="db")


async def test_activation_and_auto_restart(running: SmallNode) -> None:
    gone = await do(running, "service.deactivate", service="pe")
    assert (gone.activated, gone.status, gone.reason) == (False, "STOPPED", "Service Not Activated")
    with pytest.raises(Problem, match="always active"):
        await do(running, "service.deactivate", service="router")
    assert (await do(running, "service.activate", service=PRESENCE_ENGINE)).status == "STARTED"
    changed = await do(running, "service.auto_restart", service="pe", enabled=False)
    assert changed.auto_restart is False


async def test_a_node_that_is_not_there(running: SmallNode) -> None:
    with pytest.raises(Problem) as caught:
        await do(running, "service.list", node="node9")
    assert caught.value.kind.status == 404


async def test_the_state_of_the_database(running: SmallNode) -> None:
    found = await do(running, "database.state")
    (own,) = found.nodes
    assert (own.node, own.state, own.problems) == ("node1", "(2) Setup Completed", [])
    assert own.database and own.answers and own.publisher and own.ping is not None
    assert found.good and found.version.startswith("SQLite") and found.rows["users"] == 0
    await do(running, "service.stop", service=DATA_MONITOR)
    assert not (await do(running, "database.state")).nodes[0].monitor


async def test_alarms_are_listed_with_meaning_and_cure(running: SmallNode) -> None:
    assert (await do(running, "alarm.list")).alarms == []
    await running.database.write(rows.begin, 1, kinds.DATABASE_ERROR, "error", "it does not answer", 10.0)
    await running.database.write(rows.note, 1, kinds.FAILOVER, "critical", "node1 to node2", 11.0)
    (one,) = (await do(running, "alarm.list")).alarms
    assert (one.node, one.name, one.cleared) == ("node1", kinds.DATABASE_ERROR, None)
    assert "signed in" in one.meaning and one.cure
    everything = await do(running, "alarm.list", all=True, limit=1)
    assert [one.name for one in everything.alarms] == [kinds.FAILOVER]
    older = await do(running, "alarm.list", all=True, before=everything.next)
    assert [one.name for one in older.alarms] == [kinds.DATABASE_ERROR]
