"""Two flows and what lies between them: a channel that loses, repeats and reorders, with its own clock."""

from ubiety.cluster.flow import Flow
from ubiety.routing.links import Item, LinkEvent


class End:
    """One side: its flow, and what came out of it, in order."""

    def __init__(self, boot: int, now: float, **bounds: int) -> None:
        self.flow = Flow(boot, now, **bounds)
        self.items: list[Item] = []
        self.events: list[tuple[float, LinkEvent]] = []
        self.lost: list[Item] = []

    def names(self) -> list[LinkEvent]:
        return [event for _, event in self.events]

    def gather(self, now: float) -> None:
        self.events += [(now, event) for event in self.flow.take_events()]
        self.lost += self.flow.take_lost()


class Channel:
    """Messages on their way: ``flying[i]`` are those for side ``i``."""

    def __init__(self, **bounds: int) -> None:
        self.now = 100.0
        self.bounds = bounds
        self._boots = iter(range(1, 1000))
        self.ends = [self._new_end(), self._new_end()]
        self.flying: list[list[bytes]] = [[], []]
        self.longest = 0

    def _new_end(self) -> End:
        return End(next(self._boots), self.now, **self.bounds)

    def restart(self, side: int) -> End:
        """Kill a side and start it anew; returns the dead one."""
        dead, self.ends[side] = self.ends[side], self._new_end()
        return dead

    def flush(self, side: int) -> None:
        end = self.ends[side]
        out = end.flow.flush(self.now)
        self.longest = max([self.longest, *map(len, out)])
        self.flying[1 - side] += out
        end.gather(self.now)

    def deliver(self, side: int, index: int = 0, repeated: bool = False) -> None:
        queue = self.flying[side]
        if not queue:
            return
        index %= len(queue)
        data = queue[index] if repeated else queue.pop(index)
        end = self.ends[side]
        items = end.flow.receive(data, self.now)
        end.gather(self.now)
        end.items += items

    def lose(self, side: int, index: int = 0) -> None:
        if self.flying[side]:
            self.flying[side].pop(index % len(self.flying[side]))

    def wait(self, seconds: float, step: float = 0.01, delivers: bool = False) -> None:
        """Let time pass for both sides; ``delivers``: everything arrives, at once and in order."""
        end = self.now + seconds
        while self.now < end:
            self.now += step
            for side in (0, 1):
                if self.ends[side].flow.deadline() <= self.now:
                    self.ends[side].flow.tick(self.now)
                self.flush(side)
            for side in (0, 1):
                while delivers and self.flying[side]:
                    self.deliver(side)
