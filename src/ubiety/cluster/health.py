"""Whether a load balancer may send clients to this node (pure): /healthz."""

from collections.abc import Collection
from typing import NamedTuple


class Health(NamedTuple):
    """How this node is towards clients."""

    is_active: bool
    """It serves: clients are welcome."""
    status: str
    """`active`, `starting`, `draining`, `standby` or `down`."""
    reason: str
    """Why it is not active."""


ACTIVE = Health(True, "active", "")


class Facts(NamedTuple):
    """What health is decided on."""

    is_up: bool
    """All parts are composed and the services were started."""
    held_back: str
    """What the data monitor waits for."""
    is_draining: bool
    sets: Collection[int]
    """The sets that this node serves."""
    own_set: int
    down: Collection[str]
    """Services without which nobody can be served, and that do not run."""
    passes_on: bool = False
    """It need not serve anybody: what comes here is passed on to other nodes."""


def judge(facts: Facts) -> Health:
    """Return the first thing that keeps clients away."""
    if facts.held_back:
        return Health(False, "starting", facts.held_back)
    if not facts.is_up:
        return Health(False, "starting", "The node is starting.")
    if facts.is_draining:
        return Health(False, "draining", "The node is being drained.")
    if not facts.sets and not facts.passes_on:
        return Health(False, "standby", "This node serves nobody now: another one does, or nobody may.")
    if facts.down:
        return Health(False, "down", f"Not running: {', '.join(facts.down)}.")
    return ACTIVE
