"""Emptying a node before it is stopped: nobody new comes in, its people move, its clients leave at a pace."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum
from typing import Any

from ubiety.net.listeners import Listeners
from ubiety.net.service import DRAIN_RATE, C2sService
from ubiety.telemetry import event


class DrainPhase(Enum):
    """How far it is; the value is what an administrator reads."""

    SERVING = "serving"
    HANDING_OVER = "handing over"
    CLOSING = "closing clients"
    DRAINED = "drained"
    FAILED = "failed"


class HandOverError(Exception):
    """The people of this node cannot be handed over. The text names the cause and the cure."""


class Drain:
    """One per node. ``hand_over`` gives the node's people to its backup; it raises HandOverError."""

    def __init__(
        self,
        service: C2sService,
        listeners: Listeners,
        hand_over: Callable[[], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.phase = DrainPhase.SERVING
        self.problem = ""
        """Why it failed."""
        self._service = service
        self._listeners = listeners
        self._hand_over = hand_over
        self._spawn = spawn
        self._ended = asyncio.Event()
        self._ended.set()

    @property
    def step(self) -> str:
        """How far it is, in words."""
        return self.phase.value

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._service)

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens by itself."""
        return self._ended.is_set()

    def start(self, rate: float | None = None) -> None:
        """Begin, or follow another rate (clients a second; None: the setting's)."""
        service = self._service
        service.drain_rate = rate or float(service.context.settings.get(DRAIN_RATE))
        if not self._ended.is_set() or self.phase is DrainPhase.DRAINED:
            return
        self._ended.clear()
        self._spawn(self._run())

    async def _run(self) -> None:
        service = self._service
        service.is_draining = True
        self._listeners.close()
        self.problem = ""
        event("drain_began", clients=self.clients, rate=service.drain_rate)
        try:
            self.phase = DrainPhase.HANDING_OVER
            await self._hand_over()
            self.phase = DrainPhase.CLOSING
            await service.drain()
            self.phase = DrainPhase.DRAINED if service.is_draining else DrainPhase.SERVING
        except HandOverError as error:
            self.phase, self.problem = DrainPhase.FAILED, str(error)
        finally:
            self._ended.set()
            event("drain_ended", phase=self.phase.value, clients=self.clients, reason=self.problem)

    async def cancel(self) -> None:
        """Let clients in again. Raises ListenError."""
        self._service.is_draining = False
        await self._ended.wait()
        await self._listeners.open()
        self.phase, self.problem = DrainPhase.SERVING, ""
