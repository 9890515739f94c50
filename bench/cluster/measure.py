"""The order of play with one cluster: fill it, look at it, chat on it, kill a node, look again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from bench.cluster.base import Cluster
from bench.cluster.generator import Generator
from bench.cluster.report import Cost, Death, Latencies, Latency, Memory, Report
from bench.process import BenchError

_QUIET_SECONDS = 0.5
_QUIET_SHARE = 0.3
"""Part of a core that a whole cluster at rest may use: heartbeats, leases, pings."""
_WAIT_FOR_REST = 120.0
_WATCH_SECONDS = 6.0
_WARM_UP_SECONDS = 2.0
_DEAD = 0
_PORTION = 3000
"""Of the logins, so that one sees how far it is."""


@dataclass(frozen=True)
class Plan:
    """How much to do."""

    warm: int
    """Sessions before the clock starts."""
    idle: float
    """Seconds before memory is read."""
    rate: float
    """Messages a second for the latency, in all."""
    chat_seconds: float
    chatters: int
    echo_seconds: float
    at_once: int
    """Logins in flight while the cluster is filled."""
    crowd_at_once: int
    """Logins in flight after a node's death; 0: all of its clients come at once."""


class Meter:
    """CPU of all parts and of the generator since it was made."""

    def __init__(self, cluster: Cluster, generator: Generator) -> None:
        self._cluster = cluster
        self._generator = generator
        self._start = (cluster.cpu(), generator.cpu(), time.monotonic())

    def read(self, operations: int, seconds: float | None = None) -> Cost:
        """What each of so many operations took; `seconds`: how long they took, if not until now."""
        if operations <= 0:
            raise BenchError("nothing was done")
        now = self._cluster.cpu()
        used = {name: (spent - self._start[0][name]) / operations for name, spent in now.items()}
        nodes = [part.name for part in self._cluster.nodes]
        return Cost(
            operations=operations,
            seconds=time.monotonic() - self._start[2] if seconds is None else seconds,
            nodes=sum(used[name] for name in nodes),
            others={name: spent for name, spent in used.items() if name not in nodes},
            generator=(self._generator.cpu() - self._start[1]) / operations,
        )


class Play:
    """One cluster's turn."""

    def __init__(
        self, cluster: Cluster, generator: Generator, plan: Plan, say: Callable[[str], None]
    ) -> None:
        self._cluster = cluster
        self._generator = generator
        self._plan = plan
        self._say = say
        self._crowd = cluster.ground.crowd

    def play(self) -> Report:
        """Everything, in order. Raises BenchError."""
        login, memory = self._fill()
        before = self._look()
        same, cross = self._echo(is_cross=False), self._echo(is_cross=True)
        death = self._kill()
        after = self._look()
        return Report(
            name=self._cluster.name,
            version=self._cluster.version,
            sessions=self._crowd.people,
            nodes=self._crowd.nodes,
            contacts=self._crowd.contacts,
            is_tls=self._cluster.ground.tls,
            is_spread=self._crowd.spread,
            login=login,
            memory=memory,
            before=before,
            message_same=same,
            message_cross=cross,
            death=death,
            after=after,
        )

    def _fill(self) -> tuple[Cost, Memory]:
        plan, crowd = self._plan, self._crowd
        self._generator.enter(0, plan.warm, plan.at_once)
        self._rest()
        before, meter, began = self._cluster.resident(), self._meter(), time.monotonic()
        times = list[float]()
        for first in range(plan.warm, crowd.people, _PORTION):
            last = min(first + _PORTION, crowd.people)
            times += self._generator.enter(first, last, plan.at_once)
            self._say(f"{last} are on after {time.monotonic() - began:.0f} s")
        self._rest()
        # What is done after the last answer belongs to the logins; waiting for it does not.
        login = meter.read(len(times), times[-1] - began)
        self._say(f"{login.per_second:.0f} logins a second")
        time.sleep(plan.idle)
        after, nodes = self._cluster.resident(), [part.name for part in self._cluster.nodes]
        grown = [(after[name] - before[name]) / (len(times) / len(nodes)) for name in nodes]
        return login, Memory(grown, after)

    def _look(self) -> Latencies:
        """Single messages among all: between people at one node, and between two nodes."""
        plan, generator = self._plan, self._generator
        generator.reset()
        sent = generator.chat(plan.rate, plan.chat_seconds)
        time.sleep(2)
        tally = generator.tally()
        missing = sent - len(tally.same) - len(tally.cross)
        self._say(f"{sent} messages, {missing} undelivered")
        return Latencies(_latency(tally.same), _latency(tally.cross), missing)

    def _echo(self, is_cross: bool) -> Cost:
        """Pairs that keep one message in flight each way, as in `python -m bench`'s row of messages."""
        plan, generator = self._plan, self._generator
        generator.reset()
        generator.start_echo(self._crowd.chatters(plan.chatters), is_cross)
        time.sleep(_WARM_UP_SECONDS)
        before, meter = generator.tally().delivered, self._meter()
        time.sleep(plan.echo_seconds)
        delivered = generator.tally().delivered - before
        cost = meter.read(delivered)
        generator.stop_echo()
        self._rest()
        tally = generator.tally()
        if tally.sent != tally.delivered or tally.refused:
            self._say(
                f"of {tally.sent} messages {tally.delivered} were delivered, {tally.refused} turned away"
            )
        return cost

    def _kill(self) -> Death:
        plan, generator = self._plan, self._generator
        generator.reset()
        meter = self._meter()
        killed = self._cluster.kill(_DEAD)
        # The people of the dead node who had signed in elsewhere are cut off when another node serves them.
        watch = _WATCH_SECONDS if self._crowd.spread else 0.0
        times, elsewhere = generator.come_back(_DEAD, plan.crowd_at_once or self._crowd.people, watch)
        delays = [moment - killed for moment in times]
        self._rest()
        tally = generator.tally()
        cost = meter.read(len(times), delays[-1] - delays[0])
        self._say(f"{len(times)} came back in {delays[-1]:.1f} s")
        return Death(
            first=delays[0],
            half=median(delays),
            most=delays[int(0.95 * (len(delays) - 1))],
            last=delays[-1],
            rate=_rate(delays),
            cost=cost,
            attempts=tally.attempts,
            errors=tally.errors,
            lost_elsewhere=elsewhere,
            online=tally.online,
            resident=self._cluster.resident(),
        )

    def _meter(self) -> Meter:
        return Meter(self._cluster, self._generator)

    def _rest(self) -> None:
        """Wait until the servers and the generator have nothing left to do."""
        end = time.monotonic() + _WAIT_FOR_REST
        while time.monotonic() < end:
            before = sum(self._cluster.cpu().values()) + self._generator.cpu()
            time.sleep(_QUIET_SECONDS)
            used = sum(self._cluster.cpu().values()) + self._generator.cpu() - before
            if used < _QUIET_SHARE * _QUIET_SECONDS:
                return
        self._say(f"the cluster was not at rest after {_WAIT_FOR_REST:.0f} s")


def _latency(delays: Sequence[float]) -> Latency | None:
    if len(delays) < 2:
        return None
    cuts = quantiles(delays, n=100)
    return Latency(len(delays), cuts[49], cuts[98], max(delays))


def _rate(moments: Sequence[float]) -> float:
    """Logins a second between a fifth and 95 %: the first were ready but for a node that serves them."""
    first, last = len(moments) // 5, len(moments) - 1 - len(moments) // 20
    return (last - first) / max(1e-9, moments[last] - moments[first])
