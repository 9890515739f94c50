"""Who served whom, and when, as the nodes' logs tell it: no set may have two nodes at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.cluster.rig import ClusterNode

TOLERANCE = 0.02
"""What lies between reading two clocks in one process (seconds)."""


@dataclass(frozen=True)
class Term:
    """A time during which one node served a set."""

    set_id: int
    epoch: int
    node: str
    begin: float
    end: float


def terms(node: ClusterNode) -> list[Term]:
    """Return the terms of a node; one that was killed served until then."""
    found: list[Term] = []
    open_terms: dict[tuple[int, int], float] = {}
    deaths = iter([*node.deaths, float("inf")])
    death = next(deaths)
    for entry in node.events("set_served", "set_released"):
        at = _seconds(entry["at"])
        while at > death:
            found += _close_all(open_terms, node, death)
            death = next(deaths)
        key = int(str(entry["set_id"])), int(str(entry["epoch"]))
        if entry["event"] == "set_served":
            open_terms[key] = at
        elif key in open_terms:
            until = entry.get("until")
            end = at if until is None else min(at, _seconds(until))
            found.append(Term(*key, node.data.name, open_terms.pop(key), end))
    return found + _close_all(open_terms, node, death)


def overlaps(nodes: Sequence[ClusterNode]) -> list[str]:
    """Return one line for each set that two nodes served at once, or whose epochs did not grow."""
    everything = sorted(
        (term for node in nodes for term in terms(node)), key=lambda term: (term.set_id, term.begin)
    )
    assert everything, "the logs tell of nobody who served anybody"
    lines = []
    for one, other in pairwise(everything):
        if one.set_id != other.set_id:
            continue
        if other.begin < one.end - TOLERANCE or other.epoch <= one.epoch:
            lines.append(f"{one} and {other}")
    return lines


def _close_all(open_terms: dict[tuple[int, int], float], node: ClusterNode, end: float) -> list[Term]:
    closed = [Term(*key, node.data.name, begin, end) for key, begin in open_terms.items()]
    open_terms.clear()
    return closed


def _seconds(value: object) -> float:
    return float(str(value))
