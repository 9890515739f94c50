"""What keeps the administration interface from being guessed at or flooded (pure)."""

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

FREE_FAILURES = 5
FIRST_DELAY = 1.0
LONGEST_DELAY = 300.0
FORGET_AFTER = 900.0
RATE = 50.0
"""Requests per second of one address, on average."""
BURST = 200.0
MAX_ADDRESSES = 10_000


@dataclass(slots=True)
class _Address:
    """What is remembered of one address."""

    tokens: float
    at: float
    failures: int = 0
    failed_at: float = 0.0


class Guard:
    """Counts requests and wrong tokens by network address; times are monotonic seconds."""

    def __init__(self) -> None:
        self._addresses: OrderedDict[str, _Address] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Seconds that this address must wait before it is answered; 0 lets one request pass."""
        entry = self._entry(address, now)
        delay = self._failure_delay(entry, now)
        if delay > 0:
            return delay
        entry.tokens = min(BURST, entry.tokens + (now - entry.at) * RATE)
        entry.at = now
        if entry.tokens < 1:
            return (1 - entry.tokens) / RATE
        entry.tokens -= 1
        return 0.0

    def failed(self, address: str, now: float) -> int:
        """Notes a wrong token; returns how many there were."""
        entry = self._entry(address, now)
        if now - entry.failed_at > FORGET_AFTER:
            entry.failures = 0
        entry.failures += 1
        entry.failed_at = now
        return entry.failures

    def succeeded(self, address: str) -> None:
        """Forgets the failures of an address that showed a good token."""
        if entry := self._addresses.get(_key(address)):
            entry.failures = 0

    def _failure_delay(self, entry: _Address, now: float) -> float:
        over = entry.failures - FREE_FAILURES
        if over < 0:
            return 0.0
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(over, 20))
        return entry.failed_at + delay - now

    def _entry(self, address: str, now: float) -> _Address:
        key = _key(address)
        entry = self._addresses.get(key)
        if entry is None:
            entry = self._addresses[key] = _Address(BURST, now)
            if len(self._addresses) > MAX_ADDRESSES:
                self._addresses.popitem(last=False)
        self._addresses.move_to_end(key)
        return entry


def _key(address: str) -> str:
    """An IPv6 network counts as one: whoever has an address there has all of them."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or int(parsed) >> 64)
    return str(parsed)
