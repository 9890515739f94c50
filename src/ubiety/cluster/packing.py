"""Items as bytes: msgpack, the one encoding between nodes."""

from typing import Any

import msgpack

from ubiety.routing.links import Item


class PackingError(ValueError):
    """The bytes are no items."""


def pack(items: Any) -> bytes:
    """Return items as bytes. Raises TypeError, ValueError or OverflowError for what cannot travel."""
    packed: bytes = msgpack.packb(items)
    return packed


def unpack(body: bytes | memoryview) -> tuple[Item, ...]:
    """Return the items of a body; every list in them is a tuple. Raises PackingError."""
    try:
        items: tuple[Item, ...] = msgpack.unpackb(body, use_list=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise PackingError(f"not msgpack: {error}") from error
    if not isinstance(items, tuple):
        raise PackingError("not a list of items")
    return items
