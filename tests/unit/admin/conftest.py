"""Fixtures for the tests of administration."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.admin.small_node import SmallNode, small_node


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[SmallNode]:
    """A node without XMPP on SQLite."""
    async with small_node(tmp_path / "data") as made:
        yield made
