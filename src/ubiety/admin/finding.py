"""What a check of the installation finds (facts: passed, warning or failed, the problem and its solution)."""

from dataclasses import dataclass
from typing import Final, Literal

Outcome = Literal["passed", "warning", "failed"]

PASSED: Final = "passed"
WARNING: Final = "warning"
FAILED: Final = "failed"
OUTCOMES: tuple[Outcome, ...] = (PASSED, WARNING, FAILED)
"""From the best to the worst."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    check: str
    """What was looked at, in a few words; the same at every run."""
    outcome: Outcome
    text: str
    """What was found, as a sentence."""
    cure: str = ""
    lines: tuple[str, ...] = ()
    """Text to copy, for instance zone lines."""


def worst(findings: list[Finding]) -> Outcome:
    """The worst outcome of all."""
    return max((one.outcome for one in findings), key=OUTCOMES.index, default=PASSED)
