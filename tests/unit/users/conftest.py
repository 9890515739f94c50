"""Fixtures: a node's people without sockets."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.routing.nodes import Nodes
from tests.unit.users.place import Place, open_place


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """People on a real SQLite database."""
    opened = open_place(tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
async def nodes(postgres_url: str) -> AsyncIterator[Nodes]:
    """Two nodes on an empty PostgreSQL database."""
    made = Nodes(postgres_url)
    await made.advance(1)
    yield made
    await made.close()
