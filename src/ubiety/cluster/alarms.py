"""Alarms of this node: what is wrong now, kept in the database, and told in the log.

Names and severities are those of the original where it has them (facts §7.5). An alarm is current from
``begin`` to ``end``; a notice happens and is over. Without a database they wait in memory.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from ubiety.clock import Clock
from ubiety.store import alarms
from ubiety.store.database import Database
from ubiety.store.errors import StoreError
from ubiety.telemetry import event

RETRY_SECONDS = 2.0
MAX_WAITING = 1000
TIDY_SECONDS = 3600.0
KEEP_SECONDS = 90 * 86_400.0
"""How long alarms that are over can be looked at."""


@dataclass(frozen=True, slots=True)
class AlarmKind:
    """What an alarm means; docs/services.md is written from this."""

    name: str
    severity: str
    """`critical`, `error`, `warning` or `notice`."""
    meaning: str
    cure: str


REPLICATION_FAILURE = "IDSReplicationFailure"
REPLICATION_INFORMATION = "IDSReplicationInformation"
DATABASE_ERROR = "PEDatabaseError"
PEER_FAILURE = "PEPeerNodeFailure"
BUS_FAILURE = "BusUnavailable"
RESTART_REQUIRED = "XCPConfigMgrJabberRestartRequired"
SERVICE_FAILED = "ServiceFailed"
FAILOVER = "SRMFailover"
FAILED = "SRMFailed"

KINDS = {
    one.name: one
    for one in (
        AlarmKind(
            REPLICATION_FAILURE,
            "error",
            "The data monitor holds the feature services of this node back; or something broke that it waits"
            " for at a start: the schema, a replica that is away or lags behind, this node's copy of the"
            " directory.",
            "See `ubiety utils dbreplication runtimestate`: it names what is waited for, or broken.",
        ),
        AlarmKind(
            REPLICATION_INFORMATION,
            "notice",
            "What IDSReplicationFailure was about is well again; the feature services start.",
            "Nothing.",
        ),
        AlarmKind(
            DATABASE_ERROR,
            "error",
            "The database does not answer. Who is signed in stays signed in; nobody signs in anew, and what"
            " must be written waits in memory.",
            "See that PostgreSQL runs and can be reached from this node.",
        ),
        AlarmKind(
            PEER_FAILURE,
            "error",
            "Another node of the cluster is not heard of: it is down, or the bus or the network is. The text"
            " says whose people nobody serves meanwhile, and why.",
            "See `ubiety node list`; start the node, or mend the network or NATS. People of a node that is"
            " gone for good and has no backup: `ubiety node remove NAME --move-people`.",
        ),
        AlarmKind(
            BUS_FAILURE,
            "error",
            "The bus between the nodes (NATS) cannot be used. People of one node chat as before; what goes to"
            " another node waits or is stored. The text says why: not reached, not trusted, or this node is"
            " not let in.",
            "As the text says; `ubiety check` says it, too. See that nats-server runs and that `[bus]` in"
            " `ubiety.toml` has its address, password and authority.",
        ),
        AlarmKind(
            RESTART_REQUIRED,
            "warning",
            "A setting was changed that takes effect when a service is restarted.",
            "Restart the service that the alarm names: `ubiety utils service restart NAME`.",
        ),
        AlarmKind(
            SERVICE_FAILED,
            "error",
            "A service of this node has failed by itself. It is started again unless that was disabled.",
            "See the log for the reason; `ubiety utils service start NAME`.",
        ),
        AlarmKind(
            FAILOVER,
            "critical",
            "A node fails over: the other node of its redundancy group takes its people.",
            "See `ubiety utils ha status` for the reason; mend it, then fall back.",
        ),
        AlarmKind(
            FAILED,
            "critical",
            "Both nodes of a redundancy group are in failed mode: something went wrong between them.",
            "Mend the reason that `ubiety utils ha status` names, then `ubiety utils ha recover GROUP`.",
        ),
    )
}


class Current(NamedTuple):
    """An alarm that is not over."""

    name: str
    text: str
    raised: float


class Alarms:
    """The alarms of one node."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.node_id = 1
        self.current: dict[str, Current] = {}
        self._database = database
        self._clock = clock
        self._waiting: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque(maxlen=MAX_WAITING)
        self._wake = asyncio.Event()

    def begin(self, name: str, text: str) -> None:
        """Something is wrong from now on; called again, it renews the text."""
        known = self.current.get(name)
        if known is not None and known.text == text:
            return
        now = self._clock.now()
        self.current[name] = Current(name, text, known.raised if known is not None else now)
        event("alarm_raised", level=_level(name), alarm=name, severity=KINDS[name].severity, text=text)
        self._put(alarms.begin, name, KINDS[name].severity, text, now)

    def end(self, name: str) -> None:
        """It is well again."""
        known = self.current.pop(name, None)
        if known is not None:
            event("alarm_cleared", alarm=name, text=known.text)
            self._put(alarms.clear, name, self._clock.now())

    def note(self, name: str, text: str) -> None:
        """Something happened and is over."""
        event("alarm_noted", level=_level(name), alarm=name, severity=KINDS[name].severity, text=text)
        self._put(alarms.note, name, KINDS[name].severity, text, self._clock.now())

    async def run(self) -> None:
        """Write down what waits, for as long as the node runs."""
        self._waiting.appendleft((alarms.clear_all, (self._clock.now(),)))
        tidied = float("-inf")
        while True:
            while self._waiting:
                fn, arguments = self._waiting[0]
                try:
                    await self._database.write(fn, self.node_id, *arguments)
                except StoreError:
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                self._waiting.popleft()
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TIDY_SECONDS)
            if self._clock.monotonic() - tidied > TIDY_SECONDS:
                tidied = self._clock.monotonic()
                self._put(alarms.gc_alarms, self._clock.now() - KEEP_SECONDS)

    def _put(self, fn: Callable[..., Any], *arguments: Any) -> None:
        self._waiting.append((fn, arguments))
        self._wake.set()


def _level(name: str) -> str:
    severity = KINDS[name].severity
    return {"critical": "error", "notice": "info"}.get(severity, severity)
