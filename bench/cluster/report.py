"""What was seen of each cluster, and the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """CPU seconds of each operation."""

    operations: int
    seconds: float
    nodes: float
    others: dict[str, float]
    """Of the database and the bus."""
    generator: float

    @property
    def per_second(self) -> float:
        """How many there were a second."""
        return self.operations / self.seconds


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    per_session: list[float]
    """Of each node."""
    parts: dict[str, int]
    """In all, with everybody signed in."""


@dataclass(frozen=True)
class Latency:
    """Seconds from sending to reception."""

    messages: int
    p50: float
    p99: float
    slowest: float


@dataclass(frozen=True)
class Latencies:
    """Of messages between people signed in at one node, and at two; None where there were none."""

    same: Latency | None
    cross: Latency | None
    undelivered: int


@dataclass(frozen=True)
class Death:
    """What a killed node cost; seconds since it was killed."""

    first: float
    """When the first of its people was signed in again."""
    half: float
    most: float
    """When 95 % were."""
    last: float
    rate: float
    """Logins a second, without the first fifth and the last twentieth."""
    cost: Cost
    attempts: int
    errors: dict[str, int]
    lost_elsewhere: int
    """Sessions at other nodes that ended: of people of the dead node who had signed in elsewhere."""
    online: int
    resident: dict[str, int]
    """Bytes of each part afterwards."""


@dataclass(frozen=True)
class Report:
    """One cluster's run."""

    name: str
    version: str
    sessions: int
    nodes: int
    contacts: int
    is_tls: bool
    is_spread: bool
    login: Cost
    memory: Memory
    before: Latencies
    message_same: Cost
    message_cross: Cost
    death: Death
    after: Latencies

    @property
    def is_whole(self) -> bool:
        """Whether nothing was lost but the sessions of the dead node, and those came back."""
        undelivered = self.before.undelivered + self.after.undelivered
        is_calm = self.is_spread or not self.death.lost_elsewhere
        return self.death.online == self.sessions and is_calm and not undelivered


def render(reports: Sequence[Report], is_markdown: bool = False) -> str:
    """One column for each cluster."""
    rows = [("", *(report.name for report in reports))]
    rows += [(title, *(show(report) for report in reports)) for title, show in _ROWS]
    if is_markdown:
        rows.insert(1, ("---", *("---:" for _ in reports)))
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if i else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _ms(cost: Cost) -> str:
    return f"{cost.nodes * 1e3:.2f} ms"


def _us(cost: Cost) -> str:
    return f"{cost.nodes * 1e6:,.1f} µs"


def _other_ms(cost: Cost) -> str:
    return " + ".join(f"{spent * 1e3:.2f}" for name, spent in cost.others.items() if name != "epmd") or "-"


def _other_us(cost: Cost) -> str:
    return " + ".join(f"{spent * 1e6:.1f}" for name, spent in cost.others.items() if name != "epmd") or "-"


def _latency(latency: Latency | None) -> str:
    if latency is None:
        return "-"
    return f"{latency.p50 * 1e3:.2f} / {latency.p99 * 1e3:.1f} / {latency.slowest * 1e3:.0f} ms"


def _memory(report: Report) -> str:
    return " / ".join(f"{size / 1024:.1f}" for size in report.memory.per_session) + " kB"


def _whole(parts: dict[str, int]) -> str:
    sizes = [size for name, size in parts.items() if name.startswith("node")]
    others = [size for name, size in parts.items() if not name.startswith(("node", "epmd"))]
    words = f"{sum(sizes) / 2**20:,.0f}"
    return (f"{words} + {sum(others) / 2**20:,.0f}" if others else words) + " MiB"


_ROWS: tuple[tuple[str, Callable[[Report], str]], ...] = (
    ("nodes, sessions, contacts", lambda r: f"{r.nodes}, {r.sessions:,}, {r.contacts}"),
    ("logins per second", lambda r: f"{r.login.per_second:,.0f}"),
    ("CPU per login: nodes", lambda r: _ms(r.login)),
    ("… database + bus (ms)", lambda r: _other_ms(r.login)),
    ("… generator", lambda r: f"{r.login.generator * 1e3:.2f} ms"),
    ("resident memory per session, each node", _memory),
    ("memory in all: nodes (+ database and bus)", lambda r: _whole(r.memory.parts)),
    ("delivery at one node: p50 / p99 / slowest", lambda r: _latency(r.before.same)),
    ("… between nodes", lambda r: _latency(r.before.cross)),
    ("CPU per message at one node: nodes", lambda r: _us(r.message_same)),
    ("… between nodes: nodes", lambda r: _us(r.message_cross)),
    ("… between nodes: database + bus (µs)", lambda r: _other_us(r.message_cross)),
    ("… messages per second, one node / between", lambda r: _rates(r.message_same, r.message_cross)),
    ("node killed: first one back after", lambda r: f"{r.death.first:.2f} s"),
    ("… half / 95 % / all back after", lambda r: _back(r.death)),
    ("… logins per second", lambda r: f"{r.death.rate:,.0f}"),
    ("… CPU per login: surviving nodes", lambda r: _ms(r.death.cost)),
    ("… database + bus (ms)", lambda r: _other_ms(r.death.cost)),
    ("… generator", lambda r: f"{r.death.cost.generator * 1e3:.2f} ms"),
    ("… attempts per login", lambda r: f"{r.death.attempts / r.death.cost.operations:.2f}"),
    (
        "… on afterwards; lost at survivors",
        lambda r: f"{r.death.online:,}; {r.death.lost_elsewhere}",
    ),
    ("… then memory in all", lambda r: _whole(r.death.resident)),
    ("… then delivery at one node", lambda r: _latency(r.after.same)),
    ("… then between nodes", lambda r: _latency(r.after.cross)),
    ("single messages undelivered", lambda r: f"{r.before.undelivered + r.after.undelivered}"),
)


def _rates(same: Cost, cross: Cost) -> str:
    return f"{same.per_second:,.0f} / {cross.per_second:,.0f}"


def _back(death: Death) -> str:
    return f"{death.half:.1f} / {death.most:.1f} / {death.last:.1f} s"
