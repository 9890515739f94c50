"""Two simulated pools that share a domain, each the other's static route: neither is Ubiety."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ubiety.lab.plan import make_plan
from ubiety.lab.pool import Pool

DOMAIN = "example.org"


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_pool(name: str, port: int, other: int, users: list[dict[str, Any]], **more: Any) -> Pool:
    """A pool of one front end on `port`, with a static route to `other`."""
    table: dict[str, Any] = {
        "domains": [DOMAIN],
        "trusted": ["127.0.0.1"],
        "front_ends": [{"name": name, "host": "127.0.0.1", "tcp_port": port}],
        "routes": {DOMAIN: {"host": "127.0.0.1", "port": other, "transport": "tcp"}},
        "users": users,
        "time_out": 3.0,
        "retry": 0.2,
    }
    return Pool(make_plan({**table, **more}))


@asynccontextmanager
async def two_pools(**more: Any) -> AsyncIterator[tuple[Pool, Pool]]:
    """Bob lives on the left, Ann on the right; `more` are settings of both plans."""
    left_port, right_port = free_port(), free_port()
    left = make_pool("left", left_port, right_port, [{"uri": f"bob@{DOMAIN}", "name": "Bob"}], **more)
    right = make_pool("right", right_port, left_port, [{"uri": f"ann@{DOMAIN}", "name": "Ann"}], **more)
    async with left, right:
        yield left, right
