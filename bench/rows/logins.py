"""Rows of logins: SASL, bind, contact list, initial presence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.load.fleet import Fleet
from bench.meter import Measurement, Meter
from bench.people import Person


async def measure_logins(
    fleet: Fleet, people: Sequence[Person], cpu: Callable[[], float], warm: int
) -> Measurement:
    """CPU per login; the first `warm` people log in before the count, and all stay logged in."""
    names = [person.name for person in people]
    await fleet.login(names[:warm])
    await fleet.settle(cpu)
    meter = Meter(cpu)
    await fleet.login(names[warm:])
    counted = meter.read(len(names) - warm)
    await fleet.settle(cpu)
    # What a server does after the last answer (presence, writing) belongs to the logins; waiting does not.
    whole = meter.read(len(names) - warm)
    rate = counted.operations / counted.seconds
    return Measurement(
        whole.value,
        whole.operations,
        counted.seconds,
        counted.server_share,
        counted.generator_share,
        {"per_second": rate},
    )
