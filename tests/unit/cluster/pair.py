"""Two cores of redundancy that talk to each other in memory, with leases and a clock moved by hand."""

from dataclasses import dataclass, field

from ubiety.cluster.redundancy import Redundancy
from ubiety.cluster.states import (
    Announce,
    Broken,
    Configured,
    HandedOver,
    HandOver,
    HealthSeen,
    Heartbeat,
    Holder,
    LeasesSeen,
    Limits,
    NotTaken,
    Order,
    Reason,
    Request,
    Requested,
    Services,
    ServicesSettled,
    ServingSeen,
    State,
    Taken,
    TakeOver,
)

STEP = 0.1
LEASE = 2.5
HEARTBEAT = 0.5
ONE, TWO = 1, 2
CRITICAL = ("Cisco XCP Router", "Cisco Presence Engine")


@dataclass
class Machine:
    """One node: what outlives its core (the row in the database), and what its surroundings do to it."""

    id: int
    core: Redundancy | None = None
    boots: int = 0
    written: tuple[State, Reason] = (State.UNKNOWN, Reason.UNKNOWN)
    serving: dict[int, float] = field(default_factory=dict)
    """Set -> until when, by the lease or by a hold."""
    down: dict[str, float] = field(default_factory=dict)
    """Service -> since when it does not run."""
    unstartable: set[str] = field(default_factory=set)
    has_database: bool = True
    moves_fail: bool = False
    """Taking and handing over fail, while the database answers otherwise."""
    is_hung: bool = False
    lag: float = 0.2
    """How long it takes to carry an order out."""
    todo: list[tuple[float, Order]] = field(default_factory=list)
    said_at: float = -1.0

    @property
    def peer_id(self) -> int:
        """The other one."""
        return TWO if self.id == ONE else ONE

    @property
    def is_awake(self) -> bool:
        """Whether the process runs."""
        return self.core is not None and not self.is_hung


class Pair:
    """Two machines, the leases, the link between them, and the time."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.now = 100.0
        self.limits = limits or Limits()
        self.is_linked = True
        self.is_enabled = {ONE: True, TWO: True}
        self.leases: dict[int, tuple[int, float]] = {}
        self.machines = {ONE: Machine(ONE), TWO: Machine(TWO)}
        self.seen: list[tuple[State, Reason, State, Reason]] = []

    # -- what happens to it ----------------------------------------------------------------------

    def boot(self, *ids: int) -> None:
        """Start processes."""
        for one in ids:
            machine = self.machines[one]
            machine.boots += 1
            machine.serving.clear()
            machine.is_hung = False
            self.restart(one)

    def restart(self, one: int) -> None:
        """Restart only the recovery manager of a node: its people stay served."""
        machine = self.machines[one]
        boot = f"boot {machine.boots}"
        machine.core = Redundancy(one, machine.peer_id, boot, machine.written[0], self.now)
        machine.todo.clear()
        self._give(machine, Configured(self.is_enabled[one], self.limits))
        self._give(machine, ServingSeen(frozenset(machine.serving)))

    def kill(self, one: int) -> None:
        """End a process without a word."""
        machine = self.machines[one]
        machine.core = None
        machine.serving.clear()
        machine.todo.clear()

    def shut_down(self, one: int) -> None:
        """End a process on purpose: it frees its leases and says good-bye."""
        machine = self.machines[one]
        assert machine.core is not None
        for set_id in machine.serving:
            self.leases.pop(set_id, None)
        said = machine.core.heartbeat(self.now, is_leaving=True)
        self.kill(one)
        self._hear(machine.peer_id, said)

    def ask(self, one: int, request: Request) -> str:
        """Have an administrator ask; returns the refusal."""
        core = self.machines[one].core
        if core is None or self.machines[one].is_hung:
            return "the node does not answer"
        refusal = core.refusal(request, self.now)
        if not refusal:
            self._give(self.machines[one], Requested(request))
        return refusal

    def fail(self, one: int, service: str = CRITICAL[0]) -> None:
        """Have a critical service end."""
        self.machines[one].down.setdefault(service, self.now)

    def mend(self, one: int) -> None:
        """Have all services of a node run."""
        self.machines[one].down.clear()

    def break_inside(self, one: int) -> None:
        """Have an internal error happen."""
        self._give(self.machines[one], Broken())

    def enable(self, is_enabled: bool, *ids: int) -> None:
        """Turn high availability on or off at these nodes."""
        for one in ids:
            self.is_enabled[one] = is_enabled
            if self.machines[one].core is not None:
                self._give(self.machines[one], Configured(is_enabled, self.limits))

    # -- time --------------------------------------------------------------------------------------

    def run(self, seconds: float) -> "Pair":
        """Let time pass."""
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            for machine in self.machines.values():
                if machine.is_awake:
                    self._turn(machine)
            self._check()
        return self

    def until(self, one: tuple[State, Reason], two: tuple[State, Reason], seconds: float = 60.0) -> None:
        """Let time pass until both are in these states, at most so long."""
        for _ in range(round(seconds / STEP)):
            if self.states() == (*one, *two):
                return
            self.run(STEP)
        raise AssertionError(f"not {one}, {two} but {self.states()}; on the way: {self.seen[-8:]}")

    def states(self) -> tuple[State, Reason, State, Reason]:
        """State and reason of both, as written down."""
        return (*self.machines[ONE].written, *self.machines[TWO].written)

    def served(self) -> dict[int, list[int]]:
        """Set -> the nodes that serve it."""
        return {
            set_id: [
                one
                for one, machine in self.machines.items()
                if machine.is_awake and set_id in machine.serving
            ]
            for set_id in (ONE, TWO)
        }

    # -- inside ------------------------------------------------------------------------------------

    def _turn(self, machine: Machine) -> None:
        self._renew(machine)
        self._give(machine, ServingSeen(frozenset(machine.serving)))
        self._give(machine, HealthSeen(min(machine.down.values(), default=None), machine.has_database))
        if machine.has_database:
            own, peers = self._holder(machine, machine.id), self._holder(machine, machine.peer_id)
            self._give(machine, LeasesSeen(own, peers))
        due = [order for at, order in machine.todo if at <= self.now]
        machine.todo = [(at, order) for at, order in machine.todo if at > self.now]
        for order in due:
            self._perform(machine, order)
        assert machine.core is not None
        if self.now - machine.said_at >= HEARTBEAT:
            machine.said_at = self.now
            self._hear(machine.peer_id, machine.core.heartbeat(self.now))

    def _renew(self, machine: Machine) -> None:
        """Keep what is served: by the lease, or by a hold of a peer that has no database either."""
        other = self.machines[machine.peer_id]
        both_cut = not machine.has_database and not other.has_database
        is_held = both_cut and self.is_linked and other.is_awake
        is_alone = not self.is_enabled[machine.id]
        for set_id, until in list(machine.serving.items()):
            if is_held or (is_alone and set_id == machine.id):
                machine.serving[set_id] = self.now + LEASE
            elif until <= self.now:
                del machine.serving[set_id]
            elif machine.has_database:
                machine.serving[set_id] = self.now + LEASE
            if machine.has_database and set_id in machine.serving:
                self.leases[set_id] = (machine.id, self.now + LEASE)

    def _holder(self, machine: Machine, set_id: int) -> Holder:
        owner, until = self.leases.get(set_id, (0, 0.0))
        if until <= self.now:
            return Holder.FREE
        return Holder.OURS if owner == machine.id else Holder.PEERS

    def _perform(self, machine: Machine, order: Order) -> None:
        match order:
            case TakeOver(set_id):
                is_free = self._holder(machine, set_id) is not Holder.PEERS
                if machine.has_database and is_free and not machine.moves_fail:
                    self.leases[set_id] = (machine.id, self.now + LEASE)
                    machine.serving[set_id] = self.now + LEASE
                    self._give(machine, Taken(set_id))
                else:
                    self._give(machine, NotTaken(set_id))
            case HandOver(set_id):
                if machine.has_database and not machine.moves_fail and set_id in machine.serving:
                    del machine.serving[set_id]
                    self.leases.pop(set_id, None)
                self._give(machine, HandedOver(set_id))
            case Services():
                self._settle(machine, order)
            case Announce(heartbeat):
                self._hear(machine.peer_id, heartbeat)

    def _settle(self, machine: Machine, order: Services) -> None:
        if order is Services.STOP:
            machine.down = dict.fromkeys(CRITICAL, self.now)
        else:
            machine.down = dict.fromkeys(sorted(machine.unstartable), self.now)
        failed = () if order is Services.STOP else tuple(sorted(machine.unstartable))
        self._give(machine, ServicesSettled(failed))

    def _hear(self, one: int, heartbeat: Heartbeat) -> None:
        machine = self.machines[one]
        if self.is_linked and machine.is_awake:
            self._give(machine, heartbeat)

    def _give(self, machine: Machine, given: object) -> None:
        core = machine.core
        if core is None:
            return
        for order in core.receive(given, self.now):  # type: ignore[arg-type]
            lag = 0.0 if isinstance(order, Announce) else machine.lag
            machine.todo.append((self.now + lag, order))
        self._note(machine, (core.state, core.reason))

    def _note(self, machine: Machine, now: tuple[State, Reason]) -> None:
        machine.written = now
        states = self.states()
        if not self.seen or self.seen[-1] != states:
            self.seen.append(states)

    def _check(self) -> None:
        for set_id, nodes in self.served().items():
            assert len(nodes) <= 1, f"set {set_id} is served by both; {self.seen[-6:]}"


def running(limits: Limits | None = None) -> Pair:
    """A pair that runs well."""
    pair = Pair(limits)
    pair.boot(ONE, TWO)
    pair.until((State.NORMAL, Reason.NORMAL), (State.NORMAL, Reason.NORMAL))
    pair.run(2)
    assert pair.served() == {ONE: [ONE], TWO: [TWO]}
    return pair
