"""Rows of resident memory per idle session."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bench.load.fleet import Fleet
from bench.meter import Measurement
from bench.people import Person
from bench.servers.base import Server


@dataclass(frozen=True)
class Case:
    """One server holding sessions of one kind."""

    row: str
    server: Server
    tls: bool


async def measure_memory(
    cases: Sequence[Case], people: Sequence[Person], warm: int, idle: float
) -> list[Measurement]:
    """Growth of resident memory per session, case by case.

    The first `warm` sessions pay for what a server sets up once. The servers idle side by side for `idle`
    seconds, because some give memory back only after a while: this row needs no core of its own.
    """
    names = [person.name for person in people]
    fleets, before = [], []
    for case in cases:
        server = case.server
        fleet = Fleet(server.tls_port if case.tls else server.port, case.tls)
        fleets.append(fleet)
        await fleet.login(names[:warm])
        await fleet.settle(server.cpu)
        before.append(server.resident())
        await fleet.login(names[warm:])
        await fleet.settle(server.cpu)
    await asyncio.sleep(idle)
    count = len(names) - warm
    return [
        Measurement((case.server.resident() - start) / count, count, idle, notes={"lost": fleet.lost})
        for case, fleet, start in zip(cases, fleets, before, strict=True)
    ]
