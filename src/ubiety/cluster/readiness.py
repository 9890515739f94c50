"""May the feature services of this node start? The decisions of the data monitor, without any I/O (pure).

A node waits until all its conditions hold (facts §3, "Cisco IM and Presence Data Monitor"). A subscriber
waits for as long as it takes; the publisher goes on when its time is over, with what is not essential
missing. Only this node is held. What breaks later is told, and holds nothing back any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

QUIET_SECONDS = 5.0
"""A condition that is missing for less is not worth an alarm."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that must hold."""

    name: str
    is_essential: bool = True
    """Without it nobody can be served: the publisher waits for it, too."""
    needs: str = ""
    """Another condition without which nothing can be said about this one."""


@dataclass(slots=True)
class Standing:
    """How one condition stands."""

    condition: Condition
    problem: str = "not looked at yet"
    """Empty: it holds."""
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Delayed:
    """Feature services are held back for longer than a moment."""

    text: str


@dataclass(frozen=True, slots=True)
class Released:
    """Feature services may start now."""

    missing: str
    """What the publisher did not wait for any longer; empty: all is well."""


@dataclass(frozen=True, slots=True)
class Troubled:
    """A condition broke after the start."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """A condition holds again, or the delay is over."""

    name: str


Output = Delayed | Released | Troubled | Recovered
HOLD = ""
"""The name under which the delay itself recovers."""


class Readiness:
    """Sees how the conditions stand and says what follows. ``now``: monotonic seconds."""

    def __init__(self, conditions: Sequence[Condition], *, is_publisher: bool, timeout: float) -> None:
        self.is_publisher = is_publisher
        self.timeout = timeout
        self.is_released = False
        self._began: float | None = None
        self._standings = {one.name: Standing(one) for one in conditions}
        self._told: set[str] = set()
        self._told_missing: list[str] = []

    @property
    def standings(self) -> list[Standing]:
        """All conditions."""
        return [*self._standings.values()]

    @property
    def problems(self) -> list[str]:
        """What is missing now, each in words; without what cannot be known because of something else."""
        return [self._words([one]) for one in self._missing()]

    @property
    def waiting_for(self) -> str:
        """What feature services wait for, in words; empty once they are released."""
        return "" if self.is_released else self._words(self._missing())

    def seen(self, name: str, problem: str, now: float) -> None:
        """A condition was looked at; ``problem`` is empty when it holds."""
        standing = self._standings[name]
        if bool(standing.problem) != bool(problem) or not standing.since:
            standing.since = now
        standing.problem = problem

    def step(self, now: float) -> list[Output]:
        """Return what follows from all that was seen."""
        if self._began is None:
            self._began = now
        return self._watch(now) if self.is_released else self._wait(now, now - self._began)

    def _wait(self, now: float, waited: float) -> list[Output]:
        missing = self._missing()
        is_late = self.is_publisher and waited >= self.timeout
        if not missing or (is_late and not any(one.condition.is_essential for one in missing)):
            self.is_released = True
            outputs: list[Output] = [Released(self._words(missing))]
            if HOLD in self._told:
                self._told.discard(HOLD)
                outputs.append(Recovered(HOLD))
            return outputs + self._watch(now)
        names = [one.condition.name for one in missing]
        if waited >= QUIET_SECONDS and names != self._told_missing:
            self._told.add(HOLD)
            self._told_missing = names
            return [Delayed(self._words(missing))]
        return []

    def _watch(self, now: float) -> list[Output]:
        outputs: list[Output] = []
        for name, standing in self._standings.items():
            if standing.problem and self._is_hidden(standing):
                standing.since = now  # whether it is a problem of its own is seen from here on
                continue
            is_old = now - standing.since >= QUIET_SECONDS
            if standing.problem and is_old and name not in self._told:
                self._told.add(name)
                outputs.append(Troubled(name, standing.problem))
            elif not standing.problem and name in self._told:
                self._told.discard(name)
                outputs.append(Recovered(name))
        return outputs

    def _missing(self) -> list[Standing]:
        return [one for one in self._standings.values() if one.problem and not self._is_hidden(one)]

    def _is_hidden(self, standing: Standing) -> bool:
        needed = self._standings.get(standing.condition.needs)
        return needed is not None and bool(needed.problem)

    @staticmethod
    def _words(missing: Sequence[Standing]) -> str:
        return "; ".join(f"{one.condition.name}: {one.problem}" for one in missing)
