"""Keeps the live transactions of one agent by key, and knows whose timer fires next."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from ubiety.sip.transaction import Transaction

_SLACK = 1024  # how many entries of the queue may be out of date before it is made anew


class Register:
    """The live transactions. Each stands in the queue once, under a time that is never too late."""

    __slots__ = ("_last_key", "_live", "_queue")

    def __init__(self) -> None:
        self._live: dict[int, Transaction] = {}
        self._queue: list[tuple[float, int]] = []
        self._last_key = 0

    def __len__(self) -> int:
        return len(self._live)

    @property
    def queue_length(self) -> int:
        """How many entries the queue has, those that are out of date among them."""
        return len(self._queue)

    def new_key(self) -> int:
        """Return a key that was never used."""
        self._last_key += 1
        return self._last_key

    def add(self, transaction: Transaction) -> None:
        """Keep a transaction under a new key."""
        transaction.key = self.new_key()
        self._live[transaction.key] = transaction
        self.arm(transaction)

    def get(self, key: int) -> Transaction | None:
        """Return the transaction with this key while it lives."""
        return self._live.get(key)

    def settle(self, transaction: Transaction) -> bool:
        """Note that a transaction took a step; return whether it is over, and then forget it."""
        if not transaction.is_over:
            self.arm(transaction)
            return False
        self._live.pop(transaction.key, None)
        if len(self._queue) > 2 * len(self._live) + _SLACK:
            self._queue = [entry for entry in self._queue if self._find(entry) is not None]
            heapify(self._queue)
        return True

    def arm(self, transaction: Transaction) -> None:
        """Make sure that the transaction is looked at when its next timer fires."""
        due = transaction.deadline()
        if due is not None and (transaction.queued is None or due < transaction.queued):
            transaction.queued = due
            heappush(self._queue, (due, transaction.key))

    def _find(self, entry: tuple[float, int]) -> Transaction | None:
        """Return the transaction that an entry of the queue is for, None if it is out of date."""
        transaction = self._live.get(entry[1])
        return transaction if transaction is not None and transaction.queued == entry[0] else None

    def deadline(self) -> float | None:
        """When the next timer fires."""
        while self._queue:
            entry = self._queue[0]
            transaction = self._find(entry)
            if transaction is not None and transaction.deadline() == entry[0]:
                return entry[0]
            heappop(self._queue)
            if transaction is not None:  # its timer was stopped or put off
                transaction.queued = None
                self.arm(transaction)
        return None

    def due(self, now: float) -> Iterator[Transaction]:
        """Go through the transactions with a timer that fires by `now`; each must be settled afterwards."""
        while (due := self.deadline()) is not None and due <= now:
            transaction = self._live[heappop(self._queue)[1]]
            transaction.queued = None
            yield transaction
