"""Rows of resident memory per idle session."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from bench.load.fleet import Fleet
from bench.meter import Measurement
from bench.people import Person
from bench.servers.base import Server


async def measure_memory(
    servers: Sequence[Server], people: Sequence[Person], tls: bool, warm: int, idle: float
) -> Mapping[str, Measurement]:
    """Growth of resident memory per session, by server name.

    The first `warm` sessions pay for what a server sets up once. The servers idle side by side for `idle`
    seconds, because some give memory back only after a while: this row needs no core of its own.
    """
    fleets, before = {}, {}
    for server in servers:
        fleet = Fleet(server.tls_port if tls else server.port, tls)
        fleets[server.name] = fleet
        await fleet.login([person.name for person in people[:warm]])
        await fleet.settle(server.cpu)
        before[server.name] = server.resident()
        await fleet.login([person.name for person in people[warm:]])
        await fleet.settle(server.cpu)
    await asyncio.sleep(idle)
    count = len(people) - warm
    return {
        server.name: Measurement(
            (server.resident() - before[server.name]) / count,
            count,
            idle,
            notes={"lost": fleets[server.name].lost},
        )
        for server in servers
    }
