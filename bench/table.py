"""The table: our figure, each peer's, the ratios, the budget and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.budgets import BASELINE, OURS, ROWS, Row
from bench.meter import Measurement
from bench.suite import Results

_PEERS = ("prosody", "ejabberd")


@dataclass(frozen=True)
class Line:
    """One row as figures; None where something was not measured."""

    row: Row
    figures: dict[str, float | None]
    ratios: dict[str, float | None]
    verdict: str


def make_lines(results: Results) -> list[Line]:
    """Medians of all rows that were measured."""
    return [_make_line(row, results.samples[row.key]) for row in ROWS if row.key in results.samples]


def _make_line(row: Row, samples: dict[str, list[Measurement]]) -> Line:
    figures = {
        name: _median([m.value * row.scale for m in samples.get(name, [])]) for name in (OURS, *_PEERS)
    }
    ours = samples.get(OURS, [])
    # The ratio within each run, then the median: the machine's speed drifts between runs.
    ratios = {
        peer: _median([a.value / b.value for a, b in zip(ours, samples.get(peer, []), strict=False)])
        for peer in _PEERS
    }
    reached = figures[OURS] if row.is_absolute else ratios[BASELINE]
    return Line(row, figures, ratios, _verdict(row, reached))


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _verdict(row: Row, reached: float | None) -> str:
    if reached is None or row.must is None or row.aim is None:
        return "-"
    if reached <= row.aim:
        return "aim"
    return "pass" if reached <= row.must else "FAIL"


_HEAD = ("operation", "Ubiety", "Prosody", "ejabberd", "÷ Prosody", "÷ ejabberd", "must", "aim", "verdict")


def render_markdown(lines: Sequence[Line]) -> str:
    """A table for bench/README.md."""
    out = ["| " + " | ".join(_HEAD) + " |", "|---|" + "---:|" * 7 + "---|"]
    out += ["| " + " | ".join(_cells(line)) + " |" for line in lines]
    return "\n".join(out)


def render_text(lines: Sequence[Line]) -> str:
    """The same table for a terminal."""
    cells = [list(_HEAD), *(_cells(line) for line in lines)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_HEAD))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if i in (0, 8) else text.rjust(width) for i, (text, width) in enumerate(pairs)
        )
        for pairs in (list(zip(row, widths, strict=True)) for row in cells)
    )


def _cells(line: Line) -> list[str]:
    row = line.row
    budget = (_limit(row, row.must), _limit(row, row.aim))
    figures = [_figure(line.figures[name], row.unit) for name in (OURS, *_PEERS)]
    ratios = ["-" if ratio is None else f"{ratio:.3f}" for ratio in line.ratios.values()]
    return [row.title, *figures, *ratios, *budget, line.verdict]


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def _limit(row: Row, value: float | None) -> str:
    if value is None:
        return "-"
    return f"≤ {value:g} {row.unit}" if row.is_absolute else f"≤ {value:.2f} ×"
