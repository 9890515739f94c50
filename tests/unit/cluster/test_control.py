"""The Control Center with real services of its own making and a real database."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.databases import open_in
from ubiety.clock import SystemClock
from ubiety.cluster import control
from ubiety.cluster.control import COMMANDED, FAILED_OVER, NOT_ACTIVATED, ControlCenter, Hooks
from ubiety.cluster.services import (
    AUTHENTICATION,
    CONNECTION_MANAGER,
    DATABASE,
    PRESENCE_ENGINE,
    ROUTER,
    Kind,
    ServiceError,
    State,
)
from ubiety.store import nodes

NAMES = (ROUTER, PRESENCE_ENGINE, AUTHENTICATION, CONNECTION_MANAGER)


class Rig:
    """Services that note what they are told, and the Control Center over them."""

    def __init__(self, path: Path) -> None:
        self.told: list[str] = []
        self.broken: set[str] = set()
        self.restarted: list[str] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.database = open_in(path)
        self.database.write_now(nodes.register, "node1", "0.1.0", "boot", 1.0)
        self.center = self.make()

    def make(self) -> ControlCenter:
        """Return a Control Center as a fresh process has it."""
        hooks = {name: Hooks(self._order("+", name), self._order("-", name)) for name in NAMES}
        return ControlCenter(hooks, self.database, SystemClock(), self._spawn, self.restarted.append)

    def _order(self, sign: str, name: str):  # type: ignore[no-untyped-def]
        async def done() -> None:
            if name in self.broken:
                raise RuntimeError("the port is taken")
            self.told.append(sign + name)

        return done

    def _spawn(self, work):  # type: ignore[no-untyped-def]
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def boot(self, center: ControlCenter | None = None) -> list[str]:
        """Start as a node does."""
        center = center or self.center
        await center.open(1)
        return [*await center.start_wanted(Kind.NETWORK), *await center.start_wanted(Kind.FEATURE)]

    def running(self, center: ControlCenter | None = None) -> set[str]:
        return {one.name for one in (center or self.center).all() if one.is_running}

    def take(self) -> list[str]:
        told, self.told = self.told, []
        return told


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    for task in list(rig.tasks):
        task.cancel()
    rig.database.close()


async def test_a_node_starts_and_stops_its_services_in_order(rig: Rig) -> None:
    assert await rig.boot() == []
    assert rig.take() == [f"+{name}" for name in NAMES]
    router = rig.center.find("router")
    assert router.state is State.STARTED
    assert router.started_at > 0
    await rig.center.close()
    assert rig.take() == [f"-{name}" for name in reversed(NAMES)]


async def test_a_stopped_router_takes_all_xcp_services_with_it_and_does_not_bring_them_back(rig: Rig) -> None:
    await rig.boot()
    rig.take()
    await rig.center.stop("router")
    assert rig.take() == [f"-{CONNECTION_MANAGER}", f"-{AUTHENTICATION}", f"-{ROUTER}"]
    assert rig.center.find("cm").reason == COMMANDED
    await rig.center.start("router")
    assert rig.running() == {ROUTER, PRESENCE_ENGINE}

    fresh = rig.make()  # the node has started again
    await rig.boot(fresh)
    assert rig.running(fresh) == {ROUTER, PRESENCE_ENGINE}
    await fresh.start("cm")
    again = rig.make()
    await rig.boot(again)
    assert rig.running(again) == {ROUTER, PRESENCE_ENGINE, CONNECTION_MANAGER}


async def test_a_restarted_router_brings_back_what_ran(rig: Rig) -> None:
    await rig.boot()
    await rig.center.stop("authentication")
    rig.take()
    rig.restarted.clear()
    await rig.center.restart("router")
    assert rig.take() == [f"-{CONNECTION_MANAGER}", f"-{ROUTER}", f"+{ROUTER}", f"+{CONNECTION_MANAGER}"]
    assert rig.restarted == [ROUTER, CONNECTION_MANAGER]
    assert AUTHENTICATION not in rig.running()


async def test_a_deactivated_service_stays_away(rig: Rig) -> None:
    await rig.boot()
    await rig.center.deactivate("pe")
    engine = rig.center.find("pe")
    assert (engine.state, engine.reason) == (State.STOPPED, NOT_ACTIVATED)
    with pytest.raises(ServiceError, match="is not activated"):
        await rig.center.start("pe")
    assert rig.center.critical_down() == []  # nobody wants it here

    fresh = rig.make()
    await rig.boot(fresh)
    assert PRESENCE_ENGINE not in rig.running(fresh)
    await fresh.activate("pe")
    assert PRESENCE_ENGINE in rig.running(fresh)


async def test_a_service_that_does_not_start_says_why(rig: Rig) -> None:
    rig.broken.add(CONNECTION_MANAGER)
    assert await rig.boot() == [CONNECTION_MANAGER]
    manager = rig.center.find("cm")
    assert manager.state is State.STOPPED
    assert "the port is taken" in manager.reason
    with pytest.raises(ServiceError, match="the port is taken"):
        await rig.center.start("cm")


async def test_the_data_monitor_holds_feature_services_back(rig: Rig) -> None:
    rig.center.held_back = "the primary database is not reachable"
    await rig.center.open(1)
    await rig.center.start_wanted(Kind.NETWORK)
    with pytest.raises(ServiceError, match="the primary database is not reachable"):
        await rig.center.start("cm")
    rig.center.held_back = ""
    await rig.center.start("cm")


async def test_critical_services_feed_fail_over(rig: Rig) -> None:
    await rig.boot()
    center = rig.center
    assert center.critical_down() == []
    assert center.critical_down_since() is None
    await center.stop("authentication")
    assert center.critical_down() == []
    center.is_authentication_critical = lambda: True
    assert center.critical_down() == [AUTHENTICATION]
    center.is_authentication_critical = lambda: False
    await center.stop("pe")
    assert center.critical_down() == [PRESENCE_ENGINE]
    assert center.critical_down_since() == center.find("pe").down_since


async def test_the_recovery_manager_stops_and_starts_everything(rig: Rig) -> None:
    await rig.boot()
    await rig.center.stop("authentication")
    await rig.center.stop("pe")
    await rig.center.stop_all()
    assert rig.running() == set()
    assert rig.center.find("cm").reason == FAILED_OVER
    assert await rig.center.start_all() == []
    # The engine is critical: whoever falls back wants it. Authentication was stopped by an administrator.
    assert rig.running() == {ROUTER, PRESENCE_ENGINE, CONNECTION_MANAGER}
    await rig.center.stop_all()
    rig.broken.add(ROUTER)
    assert await rig.center.start_all() == [ROUTER]

    rig.broken.clear()
    fresh = rig.make()
    await rig.boot(fresh)
    assert ROUTER in rig.running(fresh), "a fail-over must not be remembered as an administrator's order"


async def test_a_service_that_fails_is_down_and_started_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "AGAIN_SECONDS", 0.05)
    await rig.boot()
    fail = asyncio.Event()

    async def work() -> None:
        await fail.wait()
        raise OSError("the socket broke")

    changes: list[set[str]] = []
    rig.center.watch(lambda: changes.append(rig.running()))
    rig.center.supervise(PRESENCE_ENGINE, work())
    fail.set()
    await asyncio.sleep(0.01)
    engine = rig.center.find("pe")
    assert engine.state is State.STOPPED
    assert engine.reason == "OSError: the socket broke"
    assert rig.center.critical_down() == [PRESENCE_ENGINE]
    assert changes == [set(NAMES) - {PRESENCE_ENGINE}]
    await asyncio.sleep(0.2)
    assert engine.is_running

    await rig.center.set_auto_restart("pe", False)
    rig.center.failed(PRESENCE_ENGINE, "again")
    await asyncio.sleep(0.3)
    assert not engine.is_running


async def test_stopping_a_supervised_service_is_no_failure(rig: Rig) -> None:
    await rig.boot()
    rig.center.supervise(PRESENCE_ENGINE, asyncio.sleep(60))
    rig.center.release(PRESENCE_ENGINE)
    await asyncio.sleep(0.01)
    assert rig.center.find("pe").is_running


async def test_what_runs_outside_is_shown_and_not_ordered(rig: Rig) -> None:
    rig.center.outside(DATABASE, "")
    assert rig.center.find("db").state is State.STARTED
    rig.center.outside(DATABASE, "it does not answer")
    assert rig.center.find("db").reason == "it does not answer"
    with pytest.raises(ServiceError, match="runs outside"):
        await rig.center.restart("db")


async def test_orders_are_carried_out_while_the_database_is_locked(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "WRITE_SECONDS", 0.1)
    await rig.boot()
    locker = sqlite3.connect(tmp_path / "ubiety.db")
    locker.execute("BEGIN IMMEDIATE")
    await rig.center.stop("pe")
    assert PRESENCE_ENGINE not in rig.running()
    locker.rollback()
    locker.close()
    fresh = rig.make()
    for _ in range(100):  # what waited is put down when the database answers again
        await fresh.open(1)
        if fresh.find("pe").decision.stopped:
            break
        await asyncio.sleep(0.05)
    assert fresh.find("pe").decision.stopped
