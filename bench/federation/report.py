"""What was seen, and the table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Of one kind of operation; CPU seconds of the node for each."""

    operations: int
    seconds: float
    cpu: float
    server_share: float
    generator_share: float
    surplus: int = 0
    """Requests beyond one for each operation."""

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds


@dataclass(frozen=True)
class Restart:
    """Seconds since the node was started again."""

    rate: int
    """`federation.restore_rate`."""
    stopping: float
    first: float
    """When the first request came."""
    whole: float
    """When every subscription was in order again."""
    cpu: float
    """CPU seconds of the node, its start included."""
    peak: int
    """Most requests within one second."""
    requests: int
    subscriptions: int
    surplus: int
    """NOTIFYs and SUBSCRIBEs beyond one for each subscription."""


@dataclass(frozen=True)
class Report:
    """One run."""

    people: int
    inbound: Cost
    inbound_bytes: float
    outbound: Cost
    outbound_bytes: float
    presence: Cost
    told_seconds: float
    opened: Cost
    to_sip: Cost
    to_xmpp: Cost
    restarts: list[Restart]
    errors: int
    refused: dict[str, int]

    @property
    def is_whole(self) -> bool:
        """Whether nothing was refused or lost."""
        return not self.errors and not self.refused


def render(report: Report, is_markdown: bool = False) -> str:
    """A row for each figure."""
    rows = _rows(report)
    if is_markdown:
        lines = ["| | number | a second | CPU each | node / generator | |", "|---|---:|---:|---:|---:|---|"]
        return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
    rows.insert(0, ("", "number", "a second", "CPU each", "node / generator", ""))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if i in (0, 5) else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _rows(report: Report) -> list[tuple[str, ...]]:
    rows = [
        _row("subscriptions in", report.inbound, f"{report.inbound_bytes / 1024:.1f} kB each"),
        _row("subscriptions out", report.outbound, f"{report.outbound_bytes / 1024:.1f} kB each"),
        _row(
            f"NOTIFYs of a change of {report.people:,} people",
            report.presence,
            f"all told after {report.told_seconds:.1f} s; {report.presence.surplus} beside",
        ),
        _row("conversations opened", report.opened, ""),
        _row("messages, XMPP to SIP", report.to_sip, ""),
        _row("messages, SIP to XMPP", report.to_xmpp, ""),
    ]
    return rows + [_restart(restart) for restart in report.restarts]


def _row(title: str, cost: Cost, more: str) -> tuple[str, ...]:
    shares = f"{cost.server_share:.0%} / {cost.generator_share:.0%}"
    return (title, f"{cost.operations:,}", f"{cost.rate:,.0f}", f"{cost.cpu * 1e6:,.0f} µs", shares, more)


def _restart(one: Restart) -> tuple[str, ...]:
    more = f"first after {one.first:.1f} s, whole after {one.whole:.1f} s; peak {one.peak:,} in a second"
    return (
        f"restart, restore_rate {one.rate:,}",
        f"{one.subscriptions:,}",
        f"{one.subscriptions / (one.whole - one.first):,.0f}",
        f"{one.cpu / one.subscriptions * 1e6:,.0f} µs",
        f"{one.cpu / one.whole:.0%}",
        f"{more}; {one.surplus} beside; stopped in {one.stopping:.1f} s",
    )
