"""To which node a person is assigned: at once, and anew when nodes come and go (pure).

Nodes come as groups: the ids of each redundancy group's nodes, its first one first. A person who is assigned
to no node (set 0) may not sign in. An administrator's choice needs none of this.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ubiety.settings import Setting

BALANCED = "balanced"
ACTIVE_STANDBY = "active-standby"
NONE = "none"
NOBODY = 0

MODE = Setting(
    "cluster.assignment_mode",
    str,
    BALANCED,
    "",
    "User Assignment Mode for Presence Server: how people are spread over the nodes. balanced: equally;"
    " active-standby: over the first node of each redundancy group; none: an administrator assigns them.",
    choices=(BALANCED, ACTIVE_STANDBY, NONE),
)
SETTINGS = (MODE,)

Groups = Sequence[Sequence[int]]


class Move(NamedTuple):
    """One person who is to belong to another node."""

    user_id: int
    from_set: int
    to_set: int


def receivers(groups: Groups, mode: str) -> list[int]:
    """Return the nodes to which a mode assigns people."""
    if mode == NONE:
        return []
    chosen = [group[:1] if mode == ACTIVE_STANDBY else group for group in groups]
    return sorted(node for group in chosen for node in group)


def assign(counts: Mapping[int, int], groups: Groups, mode: str) -> int:
    """Return the node for one more person, 0 for none; ``counts``: how many each has."""
    chosen = receivers(groups, mode)
    return min(chosen, key=lambda node: (counts.get(node, 0), node), default=NOBODY)


def targets(counts: Mapping[int, int], groups: Groups, mode: str) -> dict[int, int]:
    """Return how many people each node should have, so that the fewest have to move.

    What does not divide evenly goes to those that have most.
    """
    chosen = receivers(groups, mode)
    if not chosen:
        return {}
    each, over = divmod(sum(counts.values()), len(chosen))
    fullest = sorted(chosen, key=lambda node: (-counts.get(node, 0), node))
    return {node: each + (place < over) for place, node in enumerate(fullest)}


def rebalance(people: Mapping[int, Sequence[int]], groups: Groups, mode: str) -> list[Move]:
    """Return the fewest moves after which everybody is assigned as the mode has it.

    ``people``: set -> ids of those assigned to it; 0, and sets of nodes that are gone, are emptied. Who moves
    goes to the other node of the group if there is room: its backup knows them already. Those who came last
    move first.
    """
    counts = {set_id: len(ids) for set_id, ids in people.items()}
    wanted = targets(counts, groups, mode)
    if not wanted:
        return []
    room = {node: count - counts.get(node, 0) for node, count in wanted.items()}
    partners = {node: [other for other in group if other != node] for group in groups for node in group}
    moves: list[Move] = []
    for set_id in sorted(people):
        keep = min(wanted.get(set_id, 0), counts[set_id])
        for user_id in sorted(people[set_id])[keep:]:
            node = _next(room, partners.get(set_id, ()))
            room[node] -= 1
            moves.append(Move(user_id, set_id, node))
    return moves


def _next(room: Mapping[int, int], preferred: Sequence[int]) -> int:
    for node in preferred:
        if room.get(node, 0) > 0:
            return node
    return max(room, key=lambda node: (room[node], -node))
