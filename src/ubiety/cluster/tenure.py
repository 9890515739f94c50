"""Until when this node may serve each set (design.md §1, "Who serves, when things fail"). Pure.

At most two nodes are entitled to a set: its own and the other one of the group. A node serves while it has
a *lease*, a row in the database that it renews; or a *hold* from the other node, which has no database either
and promised not to take the set; or while the row names no *successor*, for then nobody may take it.

Whatever extends a tenure counts from before it was asked for, on the monotonic clock, minus a margin for
clocks that differ; whoever may take a set waits from after. So no two nodes serve a set at the same time,
whatever is lost, late or stopped in between. Times are seconds of the monotonic clock, and arguments.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

LEASE = 2.5
"""Seconds for which a lease or a hold is given."""
MARGIN = 0.25
"""By so much less its owner counts: two clocks may differ by a tenth."""
RENEW = 0.5
BLIND = 0.8
"""The database counts as away when nothing that was asked since was answered."""
ASK_BELOW = LEASE - MARGIN - RENEW
"""A hold is asked for when less than this is left."""
NOBODY = 0


@dataclass(frozen=True, slots=True)
class Renewal:
    """One statement that renews all leases: ``rows`` are (set, epoch, successor to be named)."""

    sent: float
    rows: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Take:
    """An attempt to take a set; ``has_waited``: also from another node whose lease has run out."""

    set_id: int
    successor: int
    sent: float
    has_waited: bool


@dataclass(frozen=True, slots=True)
class AskHold:
    """Ask a node to promise that it will not take sets, (set, epoch), for as long as a lease."""

    node_id: int
    sets: tuple[tuple[int, int], ...]
    sent: float


@dataclass(frozen=True, slots=True)
class Lost:
    """A set that this node may serve no more; ``until`` is when it ended."""

    set_id: int
    epoch: int
    until: float
    reason: str


@dataclass(slots=True)
class _Served:
    epoch: int
    until: float
    named: set[int] = field(
        default_factory=set
    )  # who the row may name as successor: told, or not yet answered
    is_taken: bool = False
    ended: float = inf  # until when it was ours, once it is taken


class Tenure:
    """One node's right to serve sets. One instance per start of the process."""

    def __init__(self, node_id: int, now: float) -> None:
        self.node_id = node_id
        self._started = now
        self._rivals: dict[int, int] = {}
        self._served: dict[int, _Served] = {}
        self._taking: set[int] = set()
        self._granted: dict[int, float] = {}
        self._newest: dict[int, int] = {}  # set -> the largest epoch heard of
        self._answered = -inf  # when the last statement was sent that the database has answered
        self._failed = False

    # -- what others read --------------------------------------------------------------------------------

    def deadline(self) -> float:
        """Return until when every set may be served; infinity where nothing ends."""
        return min((served.until for served in self._served.values()), default=inf)

    def serving(self) -> dict[int, int]:
        """Return set -> epoch of what this node believes to serve."""
        return {set_id: served.epoch for set_id, served in self._served.items()}

    def until(self, set_id: int) -> float:
        """Return until when a set may be served; minus infinity when it may not."""
        served = self._served.get(set_id)
        return served.until if served is not None else -inf

    def is_blind(self, now: float) -> bool:
        """Tell whether this node has no database."""
        return self._failed or now - self._answered > BLIND

    def promised(self, set_id: int) -> float:
        """Return until when the other node counts on us to leave a set alone; minus infinity: it does not."""
        return self._granted.get(set_id, -inf)

    # -- who else is entitled ----------------------------------------------------------------------------

    def set_rivals(self, rivals: Mapping[int, int]) -> None:
        """Note which other node may take each set that we serve or might serve; 0 or absent: none may."""
        self._rivals = {set_id: node_id for set_id, node_id in rivals.items() if node_id != self.node_id}

    def are_rivals_named(self) -> bool:
        """Tell whether the row of every set that we serve names who may take it, and nobody else."""
        named = ((set_id, served.named) for set_id, served in self._served.items() if not served.is_taken)
        return all(names == {self._rivals.get(set_id, NOBODY)} for set_id, names in named)

    def note_epoch(self, set_id: int, epoch: int) -> None:
        """Note an epoch that was read: whoever asks for a hold with an older one gets none."""
        self._newest[set_id] = max(epoch, self._newest.get(set_id, 0))

    # -- taking ------------------------------------------------------------------------------------------

    def take(self, set_id: int, now: float) -> Take | None:
        """Begin to take a set; None while it is served, being taken, or promised to the other node."""
        if set_id in self._served or set_id in self._taking or self._granted.get(set_id, -inf) > now:
            return None
        self._taking.add(set_id)
        # Our earlier process may have granted a hold that it can tell us nothing about.
        return Take(set_id, self._rivals.get(set_id, NOBODY), now, now - self._started >= LEASE)

    def taken(self, order: Take, epoch: int | None) -> None:
        """Take the database's answer: the new epoch, or None when it was refused or never came."""
        self._taking.discard(order.set_id)
        if epoch is not None:
            self.note_epoch(order.set_id, epoch)
            until = order.sent + LEASE - MARGIN if order.successor else inf
            self._served[order.set_id] = _Served(epoch, until, {order.successor})

    def give(self, set_id: int) -> int | None:
        """Stop to serve a set, by our own will; return its epoch, for the row to be cleared."""
        served = self._served.pop(set_id, None)
        return None if served is None or served.is_taken else served.epoch

    # -- the lease ---------------------------------------------------------------------------------------

    def renew(self, now: float) -> Renewal:
        """Begin a renewal; ``renewed`` or ``failed`` follows."""
        rows = []
        for set_id, served in self._served.items():
            if served.is_taken:
                continue
            successor = self._rivals.get(set_id, NOBODY)
            served.named.add(successor)
            if successor and served.until == inf:
                served.until = now + LEASE - MARGIN  # from here on somebody may take it
            rows.append((set_id, served.epoch, successor))
        return Renewal(now, tuple(rows))

    def renewed(self, renewal: Renewal, kept: Container[int]) -> None:
        """Take the database's answer: which of the rows are still ours."""
        self._answered, self._failed = renewal.sent, False
        for set_id, epoch, successor in renewal.rows:
            served = self._served.get(set_id)
            if served is None or served.epoch != epoch:
                continue
            if set_id not in kept:
                served.is_taken, served.ended, served.until = True, served.until, -inf
                continue
            served.named = {successor}
            # It may have run out meanwhile: the row is the same, so nobody served the set in between.
            served.until = max(served.until, renewal.sent + LEASE - MARGIN) if successor else inf

    def failed(self) -> None:
        """Note that the database refused or did not answer a renewal."""
        self._failed = True

    # -- holds -------------------------------------------------------------------------------------------

    def asks(self, now: float) -> list[AskHold]:
        """Return whom to ask for holds now: while we have no database and not long to go."""
        if not self.is_blind(now):
            return []
        wanted: dict[int, list[tuple[int, int]]] = {}
        for set_id, served in self._served.items():
            if now < served.until < now + ASK_BELOW and len(served.named) == 1:
                (node_id,) = served.named
                wanted.setdefault(node_id, []).append((set_id, served.epoch))
        return [AskHold(node_id, tuple(sets), now) for node_id, sets in wanted.items()]

    def grant(self, sets: Iterable[tuple[int, int]], now: float) -> list[int]:
        """Answer the other node: which of its sets we promise to leave alone for the length of a lease."""
        if not self.is_blind(now):
            return []  # who has no database gives way to who has one
        granted = [
            set_id
            for set_id, epoch in sets
            if set_id not in self._served
            and set_id not in self._taking
            and epoch >= self._newest.get(set_id, 0)
        ]
        for set_id in granted:
            self._granted[set_id] = now + LEASE
        return granted

    def held(self, ask: AskHold, granted: Iterable[int], now: float) -> None:
        """Take the other node's answer. It extends what has not ended yet, and revives nothing."""
        epochs = dict(ask.sets)
        for set_id in granted:
            served = self._served.get(set_id)
            if served is None or served.epoch != epochs.get(set_id) or served.named != {ask.node_id}:
                continue
            if now < served.until:
                served.until = max(served.until, ask.sent + LEASE - MARGIN)

    # -- the end -----------------------------------------------------------------------------------------

    def expire(self, now: float) -> list[Lost]:
        """Return, once, what may be served no more; call it whenever the deadline has passed."""
        over = [(set_id, served) for set_id, served in self._served.items() if served.until <= now]
        for set_id, _ in over:
            del self._served[set_id]
        return [
            Lost(
                set_id,
                served.epoch,
                min(now, served.ended if served.is_taken else served.until),
                "another node has taken it" if served.is_taken else "neither lease nor hold",
            )
            for set_id, served in over
        ]
