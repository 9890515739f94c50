"""Which people of other nodes were shown here, and to whom: what must be taken back when a node is lost.

Pure. It holds no more than what is shown: a person who is available elsewhere and watched by somebody who
is signed in here.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Seen:
    """One person: resources that are available, and the address ids of those who were shown them."""

    bare: str
    resources: tuple[str, ...]
    watchers: "array[int]"


class Shown:
    """Everybody of other nodes who is shown here, by address id."""

    def __init__(self) -> None:
        self._seen: dict[int, Seen] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._seen))

    def get(self, address_id: int) -> Seen | None:
        """Return what is shown of a person."""
        return self._seen.get(address_id)

    def has(self, address_id: int, resource: str) -> bool:
        """Tell whether a resource of a person is shown."""
        seen = self._seen.get(address_id)
        return seen is not None and resource in seen.resources

    def put(self, address_id: int, bare: str, resource: str, watchers: Sequence[int]) -> None:
        """A resource was shown to these watchers, to whomever else others were shown before."""
        seen = self._seen.get(address_id)
        if seen is None:
            if watchers:
                self._seen[address_id] = Seen(bare, (resource,), array("q", watchers))
            return
        if resource not in seen.resources:
            seen.resources = (*seen.resources, resource)
        if len(watchers) == 1:
            if watchers[0] not in seen.watchers:
                seen.watchers.append(watchers[0])
        else:
            known = set(seen.watchers)
            seen.watchers.extend(watcher for watcher in watchers if watcher not in known)

    def replace(self, address_id: int, bare: str, resource: str, watchers: Sequence[int]) -> None:
        """A resource was shown to all who may see the person and are signed in."""
        seen = self._seen.get(address_id)
        if not watchers:
            self._seen.pop(address_id, None)
        elif seen is None:
            self._seen[address_id] = Seen(bare, (resource,), array("q", watchers))
        else:
            seen.watchers = array("q", watchers)
            if resource not in seen.resources:
                seen.resources = (*seen.resources, resource)

    def remove(self, address_id: int, resource: str) -> None:
        """A resource is gone."""
        seen = self._seen.get(address_id)
        if seen is None:
            return
        seen.resources = tuple(one for one in seen.resources if one != resource)
        if not seen.resources:
            del self._seen[address_id]

    def forget_watcher(self, address_id: int, watcher: int) -> None:
        """A watcher does not see a person any more."""
        seen = self._seen.get(address_id)
        if seen is not None and watcher in seen.watchers:
            seen.watchers.remove(watcher)
            if not seen.watchers:
                del self._seen[address_id]

    def take(self, address_ids: Iterable[int]) -> dict[int, Seen]:
        """Return what is shown of these people and forget it."""
        taken = ((address_id, self._seen.pop(address_id, None)) for address_id in address_ids)
        return {address_id: seen for address_id, seen in taken if seen is not None}
