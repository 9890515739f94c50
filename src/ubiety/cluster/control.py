"""The Control Center: starts and stops the services of this node, one order after the other.

What an order means is decided in ``cluster/services.py``; here it is carried out, remembered over a restart
of the node (``store/node_services.py``), and told: a service that fails by itself counts as down, is started
again, and, while it is down, is a reason to fail over if it is critical.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from ubiety.clock import Clock
from ubiety.cluster import services
from ubiety.cluster.services import AUTHENTICATION, Declared, Kind, ServiceError, Situation, State
from ubiety.store import node_services
from ubiety.store.database import Database
from ubiety.store.errors import StoreError
from ubiety.store.node_services import Decision
from ubiety.telemetry import event

STEP_SECONDS = 30.0
"""Time that one service has to start or to stop."""
WRITE_SECONDS = 3.0
"""Time for which an order waits to be put down: it is carried out without a database, too."""
AGAIN_SECONDS = 2.0
"""Pause before a service that failed is started again; it doubles with each failure."""
LONGEST_PAUSE = 60.0
STEADY_SECONDS = 300.0
"""Whoever ran this long is forgiven earlier failures."""

COMMANDED = "Commanded Out of Service"
NOT_ACTIVATED = "Service Not Activated"
FAILED_OVER = "Stopped by Cisco Server Recovery Manager"


class Hooks(NamedTuple):
    """What starts and what stops a service: both return when it is done, or raise."""

    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]


class Service:
    """One service of this node."""

    def __init__(self, declared: Declared, hooks: Hooks | None) -> None:
        self.declared = declared
        self.hooks = hooks
        self.decision = Decision()
        self.state = State.STOPPED
        self.started_at = 0.0
        """Seconds since 1970; only while it runs."""
        self.down_since = 0.0
        self.reason = ""
        """Why it does not run."""
        self.error: Exception | None = None
        """Why it did not start."""
        self.failures = 0

    @property
    def name(self) -> str:
        """The full name."""
        return self.declared.name

    @property
    def is_running(self) -> bool:
        """Whether it does its work."""
        return self.state is State.STARTED

    @property
    def is_wanted(self) -> bool:
        """Whether it runs when the node starts."""
        return self.decision.activated and not self.decision.stopped

    def became(self, state: State, now: float, reason: str = "") -> None:
        """Note a new state."""
        if state is State.STARTED:
            self.started_at = now
        elif self.is_running or not self.down_since:
            self.down_since = now
        self.state, self.reason = state, reason


class ControlCenter:
    """The services of one node."""

    def __init__(
        self,
        hooks: Mapping[str, Hooks],
        database: Database,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        restarted: Callable[[str], None],
    ) -> None:
        """``hooks``: by full name; ``restarted`` is told which service runs with its settings of now."""
        self.node_id = 1
        self._database = database
        self._clock = clock
        self._spawn = spawn
        self._restarted = restarted
        self._services = {
            one.name: Service(one, hooks.get(one.name))
            for one in services.SERVICES
            if one.name in hooks or one.kind is Kind.OUTSIDE
        }
        self._lock = asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watchers: list[Callable[[], None]] = []
        self._is_stopping = False
        self.held_back = ""
        """Why feature services may not start yet; empty: they may (see ``cluster/monitor.py``)."""
        self.is_authentication_critical: Callable[[], bool] = lambda: False

    # -- what there is -------------------------------------------------------------------------------

    def all(self) -> list[Service]:
        """Return all services, in the order of starting."""
        return [*self._services.values()]

    def find(self, name: str) -> Service:
        """Return a service by its name or an alias. Raises ServiceError."""
        return self._services[services.find(self._declared, name).name]

    def watch(self, changed: Callable[[], None]) -> None:
        """Have ``changed()`` called when a service has started, stopped or failed."""
        self._watchers.append(changed)

    def is_running(self, name: str) -> bool:
        """Tell whether a service runs, by its full name."""
        return self._services[name].is_running

    def critical_down(self) -> list[str]:
        """Return the critical services that should run and do not: a reason to fail over (facts §2)."""
        return [
            one.name
            for one in self._services.values()
            if self._is_critical(one) and one.decision.activated and not one.is_running
        ]

    def not_running(self) -> dict[str, str]:
        """Return the services that nobody has stopped and that do not run all the same, with the reasons."""
        return {
            one.name: one.reason
            for one in self._services.values()
            if one.hooks is not None and one.is_wanted and one.state is State.STOPPED
            if one.reason not in ("", FAILED_OVER)
        }

    def critical_down_since(self) -> float | None:
        """Return since when a critical service is down (seconds since 1970); None: they all run."""
        down = [self._services[name].down_since for name in self.critical_down()]
        return min(down) if down else None

    def outside(self, name: str, problem: str) -> None:
        """Note how something is that runs beside the node: ``problem`` is empty when it is well."""
        service = self._services[name]
        state = State.STOPPED if problem else State.STARTED
        if service.state is not state:
            self._become(service, state, problem)

    # -- orders --------------------------------------------------------------------------------------

    async def start(self, name: str) -> Service:
        """Start a service. Nothing happens to one that runs. Raises ServiceError."""
        return await self._obey("start", name)

    async def stop(self, name: str) -> Service:
        """Stop a service and what needs it, also for the next starts of the node. Raises ServiceError."""
        return await self._obey("stop", name)

    async def restart(self, name: str) -> Service:
        """Stop a service and start it, with all that ran and needs it. Raises ServiceError."""
        return await self._obey("restart", name)

    async def activate(self, name: str) -> Service:
        """Let a feature service run on this node, and start it. Raises ServiceError."""
        service = self._ordered("activate", name)
        async with self._lock:
            await self._decide(service, service.decision._replace(activated=True))
            if not service.is_running:
                await self._carry_out(services.start(self._situation, service.name), is_remembered=True)
        return service

    async def deactivate(self, name: str) -> Service:
        """Stop a feature service until it is activated again. Raises ServiceError."""
        service = self._ordered("deactivate", name)
        async with self._lock:
            if service.is_running:
                steps = services.stop(self._situation, service.name)
                await self._carry_out(steps, is_remembered=True, is_stop=True)
            await self._decide(service, service.decision._replace(activated=False, stopped=False))
            service.reason = NOT_ACTIVATED
        return service

    async def set_auto_restart(self, name: str, enabled: bool) -> Service:
        """Say whether a service is started again when it fails. Raises ServiceError."""
        service = self._ordered("restart", name)
        await self._decide(service, service.decision._replace(auto_restart=enabled))
        return service

    # -- start and end of the node -------------------------------------------------------------------

    async def open(self, node_id: int) -> None:
        """Read what was decided for this node. Raises StoreError."""
        self.node_id = node_id
        for name, decision in (await self._database.read(node_services.load, node_id)).items():
            if name in self._services:
                self._services[name].decision = decision

    async def start_wanted(self, kind: Kind) -> list[str]:
        """Start all of a kind that nobody has stopped or deactivated; return those that failed."""
        async with self._lock:
            return await self._start_those(
                one for one in self._services.values() if one.declared.kind is kind and one.is_wanted
            )

    async def close(self) -> None:
        """Stop everything in order: the node ends."""
        self._is_stopping = True
        async with self._lock:
            for service in reversed(self.all()):
                if service.is_running and service.hooks is not None:
                    with suppress(ServiceError):
                        await self._do_step(service, is_start=False, reason="")

    # -- what the Server Recovery Manager orders -----------------------------------------------------

    async def stop_all(self) -> None:
        """Stop the critical services and what needs them: the node is failed over. It is not remembered."""
        async with self._lock:
            for service in reversed(self.all()):
                if self._is_critical(service) and service.is_running:
                    await self._carry_out(services.stop(self._situation, service.name), reason=FAILED_OVER)

    async def start_all(self) -> list[str]:
        """Start the critical services, stopped or not, and what else is wanted; return those that failed."""
        async with self._lock:
            for service in self._services.values():
                if self._is_critical(service) and service.decision.stopped:
                    await self._decide(service, service.decision._replace(stopped=False))
            failed = await self._start_those(one for one in self._services.values() if one.is_wanted)
        return [name for name in failed if self._is_critical(self._services[name])]

    # -- services that fail by themselves ------------------------------------------------------------

    def supervise(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run what a service does for as long as it runs; when it ends by itself, the service has failed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))

    def release(self, name: str) -> None:
        """Cancel what a service does."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()

    def failed(self, name: str, reason: str) -> None:
        """A service has failed: it is down, and started again if that is allowed."""
        service = self._services[name]
        if not service.is_running or self._is_stopping:
            return
        now = self._clock.now()
        service.failures = 1 if now - service.started_at > STEADY_SECONDS else service.failures + 1
        event("service_failed", level="error", service=name, reason=reason, failures=service.failures)
        self._become(service, State.STOPPED, reason)
        if service.decision.auto_restart:
            self._spawn(self._start_again(service))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is not task:
            return  # it was stopped
        del self._tasks[name]
        if task.cancelled():
            return  # the whole process ends
        error = task.exception()
        self.failed(name, f"{type(error).__name__}: {error}" if error is not None else "It ended by itself.")

    async def _start_again(self, service: Service) -> None:
        pause = min(LONGEST_PAUSE, AGAIN_SECONDS * 2 ** min(service.failures - 1, 10))
        while True:
            await asyncio.sleep(pause)
            async with self._lock:
                if service.state is not State.STOPPED or not service.is_wanted or self._is_stopping:
                    return
                if service.reason == FAILED_OVER:
                    return
                with suppress(ServiceError):
                    await self._carry_out(services.start(self._situation, service.name))
                    return
            pause = min(LONGEST_PAUSE, pause * 2)

    # -- how it is done ------------------------------------------------------------------------------

    @property
    def _declared(self) -> dict[str, Declared]:
        return {name: service.declared for name, service in self._services.items()}

    @property
    def _situation(self) -> Situation:
        every = self._services.values()
        return Situation(
            self._declared,
            {one.name for one in every if one.is_running},
            {one.name for one in every if not one.decision.activated},
        )

    def _is_critical(self, service: Service) -> bool:
        if service.name == AUTHENTICATION:
            return self.is_authentication_critical()
        return service.declared.is_critical

    def _ordered(self, order: str, name: str) -> Service:
        service = self.find(name)
        services.check_order(service.declared, order)
        return service

    async def _obey(self, order: str, name: str) -> Service:
        service = self._ordered(order, name)
        async with self._lock:
            if order == "start" and service.is_running:
                return service
            self._check_held_back(service, order)
            steps = services.ORDERS[order](self._situation, service.name)
            await self._carry_out(steps, is_remembered=True, is_stop=order == "stop")
        return service

    def _check_held_back(self, service: Service, order: str) -> None:
        if order != "stop" and service.declared.kind is Kind.FEATURE and self.held_back:
            raise ServiceError(
                f"The {services.DATA_MONITOR} holds feature services back: {self.held_back}",
                "See: ubiety utils dbreplication runtimestate",
            )

    async def _carry_out(
        self,
        steps: Iterable[services.Step],
        *,
        is_remembered: bool = False,
        is_stop: bool = False,
        reason: str = COMMANDED,
    ) -> None:
        """Do the steps in order; the first that fails ends it. ``is_stop``: what stops shall stay stopped."""
        for is_start, name in steps:
            service = self._services[name]
            if is_remembered and (is_start or is_stop):
                await self._decide(service, service.decision._replace(stopped=not is_start))
            if is_start:
                await self._do_step(service, is_start=True, reason="")
            elif service.is_running:
                await self._do_step(service, is_start=False, reason=reason)
            else:
                service.reason = reason

    async def _start_those(self, chosen: Iterable[Service]) -> list[str]:
        failed = []
        for service in list(chosen):
            if service.is_running or service.hooks is None:
                continue
            try:
                await self._carry_out(services.start(self._situation, service.name))
            except ServiceError as error:
                service.reason = service.reason or error.detail
                failed.append(service.name)
        return failed

    async def _do_step(self, service: Service, *, is_start: bool, reason: str) -> None:
        assert service.hooks is not None
        self._become(service, State.STARTING if is_start else State.STOPPING, "")
        try:
            async with asyncio.timeout(STEP_SECONDS):
                await (service.hooks.start() if is_start else service.hooks.stop())
        except Exception as error:
            service.error = error
            text = str(error) or type(error).__name__
            word = "start" if is_start else "stop"
            event("service_order_failed", service=service.name, order=word, reason=text)
            self._become(service, State.STOPPED, f"It did not {word}: {text}")
            raise ServiceError(
                f"{service.name} did not {word}: {text}", "See the log of the node."
            ) from error
        self._become(service, State.STARTED if is_start else State.STOPPED, reason)
        if is_start:
            self._restarted(service.name)

    def _become(self, service: Service, state: State, reason: str) -> None:
        service.became(state, self._clock.now(), reason)
        if state in (State.STARTED, State.STOPPED):
            event("service_started" if service.is_running else "service_stopped", service=service.name)
            for changed in self._watchers:
                changed()

    async def _decide(self, service: Service, decision: Decision) -> None:
        """Remember; without a database for as long as the process lives."""
        if service.decision == decision:
            return
        service.decision = decision
        writing = asyncio.ensure_future(
            self._database.write(node_services.save, self.node_id, service.name, decision)
        )
        try:
            await asyncio.wait_for(asyncio.shield(writing), WRITE_SECONDS)
        except TimeoutError:
            writing.add_done_callback(lambda done: done.cancelled() or done.exception())
            event("decision_not_written", level="warning", service=service.name, reason="no answer")
        except StoreError as error:
            event("decision_not_written", level="warning", service=service.name, reason=str(error))
