"""Begins and ends to serve sets here, and knows who serves which elsewhere.

How a new kind of state joins a home: implement ``routing.homes.Homed`` and be in the list given here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ubiety.cluster.tenure import Lost
from ubiety.cluster.topology import Topology
from ubiety.routing.homes import Homed, Homes
from ubiety.routing.links import Item, Kind, LinkEvent, Links
from ubiety.store.leases import Lease
from ubiety.telemetry import event

STALE_SECONDS = 2.5
"""A node whose lease has run out for so long is not sent anything any more."""


class Taker(Protocol):
    """Takes and gives sets: ``Tenures`` or ``AlwaysServing``."""

    def serving(self) -> dict[int, int]:
        """Return set -> epoch of what this node serves."""

    def watch(self, notice: Callable[[Lost], None]) -> None:
        """Have losses told."""

    async def take(self, set_id: int) -> int | None:
        """Begin to serve a set."""

    async def give(self, set_id: int) -> None:
        """Free a set."""


class Serving:
    """One per node: what belongs together when a set is begun or ended here."""

    def __init__(
        self, tenures: Taker, homes: Homes, homed: Sequence[Homed], set_epoch: Callable[[int], None]
    ) -> None:
        self._tenures = tenures
        self._homes = homes
        self._homed = homed
        self._set_epoch = set_epoch
        tenures.watch(lambda lost: self.drop(lost.set_id))

    async def begin(self, set_id: int) -> bool:
        """Take a set and serve it; False when it is not ours to take. Raises StoreError."""
        epoch = await self._tenures.take(set_id)
        if epoch is None or self._tenures.serving().get(set_id) != epoch:
            return False
        self._set_epoch(epoch)
        self._homes.here.add(set_id)
        try:
            for homed in self._homed:
                await homed.load(set_id)
        except BaseException:
            self.drop(set_id)
            await self._tenures.give(set_id)
            raise
        return set_id in self._homes.here

    async def end(self, set_id: int) -> None:
        """Hand a set over: everything durable, clients closed at a pace, then the lease is free."""
        try:
            for homed in self._homed:
                await homed.hand_over(set_id)
        finally:
            self.drop(set_id)
            await self._tenures.give(set_id)

    def drop(self, set_id: int) -> None:
        """Serve a set no more, at once."""
        self._homes.here.discard(set_id)
        for homed in self._homed:
            try:
                homed.release(set_id)
            except Exception as error:  # noqa: BLE001  the others must stop all the same
                event("release_failed", level="error", set_id=set_id, reason=repr(error), exc_info=error)


def is_served(homes: Homes, links: Links | None, set_id: int) -> bool:
    """Tell whether some node serves a set, as far as this one can know."""
    owner = homes.serving.get(set_id)
    if set_id in homes.here or owner is None:
        return set_id in homes.here
    return set_id not in homes.lapsed or (links is not None and links.is_up(owner))


def without_service(homes: Homes, links: Links | None, topology: Topology, node_id: int) -> str:
    """Say that nobody serves the people of a node, and why; empty: they are served, or it has none."""
    people = homes.count_in(node_id)
    if not people or is_served(homes, links, node_id):
        return ""
    group = topology.group_of(node_id)
    if group is None or not group.is_pair:
        why = "no other node backs it up"
    elif not group.ha_enabled:
        why = f"high availability of {group.name} is off"
    else:
        why = f"nor does the other node of {group.name} serve them"
    return f"{people} people of {topology.name_of(node_id)} are without service: {why}."


class Whereabouts:
    """Keeps ``Homes.serving``: what the other nodes say, and what the rows say of those that say nothing."""

    def __init__(
        self,
        homes: Homes,
        serving: Callable[[], Mapping[int, int]],
        links: Links | None = None,
        others: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        """``serving``: set -> epoch of what is served here; ``others``: the other nodes."""
        self._homes = homes
        self._serving = serving
        self._links = links
        self._others = others
        self._epochs: dict[int, int] = {}
        self._watchers: list[Callable[[int, int | None], None]] = []
        if links is not None:
            links.handle(Kind.SERVING, self._hear)
            links.watch(self._link_changed)

    def watch(self, notice: Callable[[int, int | None], None]) -> None:
        """Have ``notice(set, node)`` called when another node, or nobody known, serves a set from now on."""
        self._watchers.append(notice)

    def announce(self) -> None:
        """Tell the other nodes what is served here, after each change: see ``Tenures.watch_serving``."""
        for node_id in self._others() if self._links is not None else ():
            self._tell(node_id)

    def read(self, found: Mapping[int, Lease]) -> None:
        """Take over what the rows say: see ``Tenures.watch_leases``."""
        self._homes.lapsed = {
            lease.set_id for lease in found.values() if lease.owner and lease.left < -STALE_SECONDS
        }
        for set_id, lease in found.items():
            if set_id in self._homes.here or lease.epoch < self._epochs.get(set_id, 0):
                continue
            if lease.is_live and lease.owner != self._homes.node_id:
                self._note(set_id, lease.owner, lease.epoch)
            elif not lease.owner or lease.left < -STALE_SECONDS:
                self._forget(set_id)

    def _note(self, set_id: int, node_id: int, epoch: int) -> None:
        before = self._homes.serving.get(set_id), self._epochs.get(set_id)
        self._epochs[set_id] = epoch
        self._homes.serving[set_id] = node_id
        if before != (node_id, epoch):
            self._changed(set_id, node_id)

    def _forget(self, set_id: int) -> None:
        if self._homes.serving.pop(set_id, None) is not None:
            self._changed(set_id, None)

    def _changed(self, set_id: int, node_id: int | None) -> None:
        for notice in self._watchers:
            notice(set_id, node_id)

    def _tell(self, node_id: int) -> None:
        assert self._links is not None
        pairs: list[Any] = [[set_id, epoch] for set_id, epoch in self._serving().items()]
        self._links.send(node_id, (Kind.SERVING, pairs))

    def _hear(self, node_id: int, item: Item) -> None:
        said: dict[int, int] = dict(item[1])
        for set_id, epoch in said.items():
            if set_id not in self._homes.here and epoch >= self._epochs.get(set_id, 0):
                self._note(set_id, node_id, epoch)
        for set_id, owner in list(self._homes.serving.items()):
            if owner == node_id and set_id not in said:
                self._forget(set_id)

    def _link_changed(self, node_id: int, what: LinkEvent) -> None:
        if what in (LinkEvent.UP, LinkEvent.RESTARTED):
            self._tell(node_id)
