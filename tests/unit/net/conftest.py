"""The loops that tests of sockets run in: a node has uvloop, and the parts work with any."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    plain: LoopFactory = asyncio.new_event_loop
    if item.path.name == "test_sip.py":
        return {"asyncio": plain, "uvloop": uvloop.new_event_loop}
    if item.path.name.startswith("test_sip_"):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": plain}
