"""Questions between nodes whose answers may be larger than one message of the bus."""

import asyncio
import itertools
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from ubiety.routing.links import Links

PART = 256 * 1024
"""Bytes of an answer that travel in one message."""
KEEP_SECONDS = 30.0
"""So long the rest of an answer is kept for who asked."""
MAX_ANSWER = 64 * 1024 * 1024

Answerer = Callable[[int, Any], Awaitable[bytes]]


async def ask(links: Links, node_id: int, name: str, value: Any, seconds: float = 5.0) -> bytes:
    """Ask a node and return its whole answer. Raises NodeUnreachable, or ValueError with its words."""
    first: bytes
    key, parts, first = await links.ask(node_id, name, value, seconds)
    rest = [await links.ask(node_id, f"{name}.part", (key, index), seconds) for index in range(1, parts)]
    unpacker = zlib.decompressobj()
    whole = unpacker.decompress(b"".join((first, *rest)), MAX_ANSWER)
    if not unpacker.eof:
        raise ValueError(f"The answer to {name} is too large, or incomplete.")
    return whole


def answer(links: Links, name: str, fn: Answerer) -> None:
    """Answer what others ask under a name with ``await fn(node_id, value)``."""
    kept: dict[int, list[bytes]] = {}
    keys = itertools.count(1)

    async def reply(node_id: int, value: Any) -> tuple[int, int, bytes]:
        packed = zlib.compress(await fn(node_id, value), 1)
        parts = [packed[start : start + PART] for start in range(0, len(packed), PART)]
        key = next(keys)
        if len(parts) > 1:
            kept[key] = parts
            asyncio.get_running_loop().call_later(KEEP_SECONDS, kept.pop, key, None)
        return key, len(parts), parts[0]

    async def reply_part(_node_id: int, value: Any) -> bytes:
        key, index = value
        if key not in kept:
            raise ValueError(f"The answer to {name} is not kept any more.")
        part: bytes = kept[key][index]
        if index == len(kept[key]) - 1:
            del kept[key]
        return part

    links.answer(name, reply)
    links.answer(f"{name}.part", reply_part)
