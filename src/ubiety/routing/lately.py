"""What was lately: a bounded memory that costs two dictionaries."""

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Lately(Generic[K, V]):
    """Remembers at least the last ``size`` entries, at most twice as many."""

    __slots__ = ("_old", "_size", "_young")

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def put(self, key: K, value: V) -> None:
        """Remember a value."""
        young = self._young
        young[key] = value
        if len(young) >= self._size:
            self._young, self._old = {}, young

    def get(self, key: K) -> V | None:
        """Return what is remembered under a key, None when it is nothing or too long ago."""
        found = self._young.get(key)
        return found if found is not None else self._old.get(key)

    def forget(self, key: K) -> None:
        """Forget an entry."""
        self._young.pop(key, None)
        self._old.pop(key, None)
