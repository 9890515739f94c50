"""How fast strangers may come: token buckets for connections and logins, back-off for guessed passwords."""

import asyncio
from collections import OrderedDict

from ubiety.settings import Setting

ACCEPT_RATE = Setting(
    "c2s.accept_rate",
    int,
    2000,
    "connections per second",
    "New client connections let in per second; more wait their turn.",
    minimum=1,
    maximum=100_000,
)
LOGIN_RATE = Setting(
    "c2s.login_rate",
    int,
    1000,
    "logins per second",
    "Logins begun per second; more wait their turn, so that a crowd that comes back harms nobody.",
    minimum=1,
    maximum=100_000,
)
ADDRESS_CONNECTIONS = Setting(
    "c2s.connections_per_address",
    int,
    20_000,
    "connections",
    "Client connections from one network address at a time.",
    minimum=1,
    maximum=100_000,
)
NEGOTIATING = Setting(
    "c2s.negotiating_per_address",
    int,
    200,
    "connections",
    "Connections from one network address that log in at a time; more wait their turn.",
    minimum=1,
    maximum=100_000,
)
ALL = (ACCEPT_RATE, LOGIN_RATE, ADDRESS_CONNECTIONS, NEGOTIATING)


class TokenBucket:
    """``rate`` tokens a second, at most one second's worth saved up. Time comes as an argument."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._tokens = rate
        self._at = now

    def reserve(self, now: float) -> float:
        """Take a token; return the seconds to wait until it is there (0 when it is)."""
        self._tokens = min(self.rate, self._tokens + (now - self._at) * self.rate)
        self._at = now
        self._tokens -= 1
        return 0.0 if self._tokens >= 0 else -self._tokens / self.rate

    def try_reserve(self, now: float, most: float = 0.0) -> float | None:
        """Take a token if it is there within `most` seconds; return the seconds to wait, or None."""
        wait = self.reserve(now)
        if wait > most:
            self._tokens += 1
            return None
        return wait


class Pace:
    """A token bucket that coroutines can wait at."""

    def __init__(self, rate: float, max_wait: float = 30.0) -> None:
        self._bucket = TokenBucket(rate, asyncio.get_running_loop().time())
        self._max_wait = max_wait

    def set_rate(self, rate: float) -> None:
        """Follow a changed setting."""
        self._bucket.rate = rate

    async def turn(self) -> bool:
        """Wait for a token. False when the queue is longer than anybody would wait."""
        wait = self._bucket.reserve(asyncio.get_running_loop().time())
        if wait > self._max_wait:
            return False
        if wait > 0:
            await asyncio.sleep(wait)
        return True


class Backoff:
    """Failed logins by key (an address, an account): each failure makes the next try wait longer.

    The first ``free`` failures cost nothing; then the wait doubles from half a second to ``most``. A
    key is forgotten after ``forget`` quiet seconds. Pure: time comes as an argument.
    """

    def __init__(self, free: int, most: float, forget: float = 900.0, keys: int = 100_000) -> None:
        self._free = free
        self._most = most
        self._forget = forget
        self._keys = keys
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def failed(self, key: str, now: float) -> None:
        """Count a failure."""
        count, at = self._failures.pop(key, (0, now))
        if now - at > self._forget:
            count = 0
        self._failures[key] = (count + 1, now)
        if len(self._failures) > self._keys:
            self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forget the failures of a key."""
        self._failures.pop(key, None)

    def wait(self, key: str, now: float) -> float:
        """Return how many seconds the next try must wait."""
        count, at = self._failures.get(key, (0, 0.0))
        if count <= self._free or now - at > self._forget:
            return 0.0
        delay = min(self._most, 0.5 * 2.0 ** min(count - self._free - 1, 20))
        return max(0.0, at + delay - now)
