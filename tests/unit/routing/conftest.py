"""Fixtures: a node that can crash, with clients that check what was promised."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.rig import Rig
from tests.unit.routing.nodes import Nodes


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A rig on an empty SQLite database."""
    made = Rig(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def three_nodes(postgres_url: str) -> AsyncIterator[Nodes]:
    """Three nodes on an empty PostgreSQL database."""
    made = Nodes(postgres_url, 3)
    await made.advance(1)
    yield made
    await made.close()


@pytest.fixture
async def nodes(postgres_url: str) -> AsyncIterator[Nodes]:
    """Two nodes on an empty PostgreSQL database."""
    made = Nodes(postgres_url)
    await made.advance(1)
    yield made
    await made.close()
