"""What the features of a person need from the node, handed to each by constructor."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ubiety.clock import Clock
from ubiety.presence.sources import Sources
from ubiety.routing.homes import Homes, Person
from ubiety.routing.links import Links
from ubiety.routing.router import Router
from ubiety.settings import Settings
from ubiety.store.database import Database
from ubiety.store.epochs import COUNTER_BITS
from ubiety.store.ledger import Ledger
from ubiety.telemetry import Counters
from ubiety.users.actor import User
from ubiety.users.engine import Engine
from ubiety.users.hooks import Hooks
from ubiety.users.neighbours import Neighbours
from ubiety.users.outside import Outside


@dataclass
class Context:
    """One per node; made in ``app.py``."""

    homes: Homes
    router: Router
    database: Database
    ledger: Ledger
    settings: Settings
    clock: Clock
    counters: Counters
    next_number: Callable[[], int]
    """Numbers messages on this node: sortable, never used twice (design.md promise 2)."""
    defer: Callable[[Callable[[], None]], object]
    """Runs a function at the end of this turn of the loop."""
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    """Runs a coroutine beside the loop's other work and logs it if it fails."""
    load: Callable[[Person], Coroutine[Any, Any, User]]
    """Returns a person's actor, loaded from the database if need be."""
    actors: dict[int, User] = field(default_factory=dict)
    """The people loaded on this node, by the id of their address."""
    looked_at: dict[int, User] = field(default_factory=dict)
    """Those of them who have temporary watchers."""
    domain: str = field(default="localhost")
    """The default domain: the server's own address towards its people."""
    hooks: Hooks = field(default_factory=Hooks)
    """Where features join in."""
    engine: Engine = field(default_factory=Engine)
    """Whether presence is distributed."""
    links: Links | None = None
    """The way to the other nodes; None where there is but one."""

    neighbours: Neighbours | None = None
    """The people whom other nodes serve; None where there is but one node."""

    outside: Outside | None = None
    """The way to people who have no home in this cluster; None where there is none.

    Set before anybody is loaded.
    """

    sources: Sources = field(default_factory=Sources)
    """What is known of people's presence besides their devices."""

    def set_epoch(self, epoch: int) -> None:
        """Number messages in a new epoch from now on, unless the present one is greater."""
        if epoch > self.next_number() >> COUNTER_BITS:
            self.next_number = count(epoch << COUNTER_BITS).__next__
