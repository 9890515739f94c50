"""The process of a node: starts it, waits for the signal to stop, stops it."""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from ubiety.app import Node
from ubiety.config import Config
from ubiety.net.watchdog import Watchdog


def _calm_collector() -> None:
    """Have the garbage collector look at young objects only, mostly.

    A full collection over the sessions of 15,000 people stops the node for some 50 ms, and finds nothing:
    what ends is freed by reference counts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 200)


async def _serve(config: Config, ready: Callable[[Node], Coroutine[Any, Any, None]]) -> int:
    node = Node(config)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    if not await _start(node, stopping):
        return 0
    _calm_collector()
    watchdog = Watchdog(loop)
    watchdog.start()
    try:
        await ready(node)
        await stopping.wait()
    finally:
        watchdog.stop()
        await node.stop()
    return 0


async def _start(node: Node, stopping: asyncio.Event) -> bool:
    """Start the node; it may wait long for its database, and is stopped all the same."""
    loop = asyncio.get_running_loop()
    starting, stopped = loop.create_task(node.start()), loop.create_task(stopping.wait())
    await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if starting.done():
        starting.result()
        return True
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    if node.is_composed:
        await node.stop()
    return False


def run(config: Config, ready: Callable[[Node], Coroutine[Any, Any, None]]) -> int:
    """Serve until a signal comes; ``ready`` is awaited once the node serves. Returns the exit status.

    Raises StartError, ListenError, CertificateError or StoreError when the node cannot start.
    """
    return uvloop.run(_serve(config, ready))
