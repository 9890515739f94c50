"""SIP stacks run in the loop that a node has; one node that shares its domain with SIPp."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from tests.sip.federated import Federated


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="package")
def federated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federated]:
    """A node for all tests that leave only accounts and routes behind."""
    made = Federated(tmp_path_factory.mktemp("federated"))
    made.start()
    yield made
    made.stop()
