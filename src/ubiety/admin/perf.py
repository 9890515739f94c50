"""Counters by their familiar names: `show perf query counter Cisco Presence Engine Active JsmSessions`."""

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from pydantic import Field

from ubiety.admin.context import Node
from ubiety.admin.ha import ANSWER_SECONDS
from ubiety.admin.operation import Arguments, Line, Operation, Result
from ubiety.admin.problems import NOT_FOUND, Problem
from ubiety.admin.rbac import Caller
from ubiety.telemetry import Counters

CLASSES = (
    ("Cisco Presence Engine", ("ActiveJsmSessions", "XMPPPresence")),
    ("Cisco XCP CM", ("Cm",)),
    ("Cisco XCP Auth Component", ("SASL", "FailedLicense")),
    ("Cisco XCP JSM", ("Jsm",)),
)
"""Perf class -> how the names of its counters begin; the first that fits."""


class Query(Arguments):
    """Which counter."""

    words: Line = Field(description="Class and counter, spaced as you like, or the counter alone.")


class NodeValue(Result):
    """A counter of one node."""

    node: str
    value: int


class Values(Result):
    """A counter of all nodes."""

    perf_class: str
    counter: str
    sentence: str
    nodes: list[NodeValue]
    missing: list[str] = Field([], description="Nodes that did not answer.")


async def query(node: Node, caller: Caller, arguments: Query) -> Values:
    """Reads a counter of this node. Raises Problem."""
    perf_class, counter = find(arguments.words)
    item = next(one for one in fields(Counters) if one.metadata["original"] == counter)
    value = NodeValue(node=node.config.node, value=getattr(node.metrics.counters, item.name))
    sentence = item.metadata["sentence"]
    return Values(perf_class=perf_class, counter=counter, sentence=sentence, nodes=[value], missing=[])


def merge(arguments: Query, parts: Sequence[Values], missing: Sequence[str]) -> Values:
    """The values of all nodes."""
    values = sorted((one for part in parts for one in part.nodes), key=lambda one: one.node)
    return parts[0].model_copy(update={"nodes": values, "missing": sorted(missing)})


def find(words: str) -> tuple[str, str]:
    """The class and the counter that are meant. Raises Problem."""
    wanted = _squeeze(words)
    counters = [item.metadata["original"] for item in fields(Counters) if item.metadata["original"]]
    for counter in counters:
        perf_class = _class_of(counter)
        if wanted in (_squeeze(perf_class + counter), _squeeze(counter)):
            return perf_class, counter
    known = ", ".join(f'"{_class_of(counter)}" {counter}' for counter in counters)
    raise Problem(NOT_FOUND, f"There is no counter {words!r}.", f"There are: {known}.")


def _class_of(counter: str) -> str:
    return next((name for name, begins in CLASSES if counter.startswith(begins)), "Ubiety")


def _squeeze(words: str) -> str:
    return re.sub(r"[^a-z0-9]", "", words.lower())


OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation(
        "counter.query",
        "Reads a counter by its familiar name, of every node.",
        Query,
        Values,
        "system.read",
        False,
        query,
        place="all",
        merge=merge,
        seconds=ANSWER_SECONDS,
    ),
)
