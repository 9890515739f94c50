"""A node that became Normal just now may have read the leases before: it believes them when that is over."""

from dataclasses import replace

import pytest

from tests.unit.cluster.pair import ONE, STEP, TWO, Pair
from ubiety.cluster.cues import HOLDS, Cue
from ubiety.cluster.redundancy import Redundancy
from ubiety.cluster.states import HealthSeen, Holder, LeasesSeen, Reason, ServingSeen, State


def normal() -> tuple[Redundancy, float, float]:
    """A node that became Normal at this moment and serves nobody yet; the moment, and the time-out."""
    pair = Pair()
    pair.boot(ONE, TWO)
    core = pair.machines[ONE].core
    assert core is not None
    while core.state is not State.NORMAL:
        pair.run(STEP)
    return core, core.facts.since, core.facts.limits.heartbeat_timeout


def see(core: Redundancy, own: Holder, now: float, *, down_since: float | None = None) -> State:
    """The node looks around: it serves nobody, and its own lease is so; returns its state."""
    core.receive(ServingSeen(frozenset()), now)
    core.receive(HealthSeen(down_since, True), now)
    core.receive(LeasesSeen(own, Holder.PEERS), now)
    return core.state


@pytest.mark.parametrize(
    ("down_since", "state"), [(None, State.FAILED_OVER), (0.0, State.FAILED_OVER_UNWELL)]
)
def test_a_lease_read_before_the_state_is_not_believed(down_since: float | None, state: State) -> None:
    core, since, timeout = normal()
    core.facts.limits = replace(core.facts.limits, critical_delay=1e9)  # a service alone is no cause here
    for after in (0.0, timeout / 2, timeout - 0.01):
        assert not HOLDS[Cue.SETTLED_IN](core.facts, since + after)
        assert see(core, Holder.PEERS, since + after, down_since=down_since) is State.NORMAL
    deadline = core.deadline(since + timeout - 0.01)
    assert deadline is not None and deadline <= since + timeout, "it looks again when the time-out is over"
    assert see(core, Holder.PEERS, since + timeout, down_since=down_since) is state
    assert core.reason is Reason.PEER_DOWN


def test_a_lease_that_turns_out_to_be_open_fails_nothing_over() -> None:
    core, since, timeout = normal()
    assert see(core, Holder.PEERS, since) is State.NORMAL
    assert see(core, Holder.FREE, since + timeout - 0.01) is State.NORMAL
    assert see(core, Holder.FREE, since + timeout) is State.NORMAL
    assert HOLDS[Cue.SETTLED_IN](core.facts, since + timeout)
